"""A classifier to plug into safety review, as a process of its own: optional, and trained by whoever runs it on data of their own."""
