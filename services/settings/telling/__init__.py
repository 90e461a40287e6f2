"""Whom settings tells something: people by mail and webhook, other services by the outbox."""
