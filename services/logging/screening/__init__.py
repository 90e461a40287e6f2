"""What has content is screened once: from memory, out of the backlog, and again under a grant."""
