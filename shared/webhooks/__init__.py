"""Webhooks, as Standard Webhooks 1.0.0 has them (https://www.standardwebhooks.com): one signed message to each endpoint that asked for its
event, by way of the outbox, until the endpoint has taken it."""

from shared.webhooks.delivery import Message, Webhook, sign
from shared.webhooks.endpoints import Endpoint, require_usable
from shared.webhooks.telling import Events, Told

__all__ = ["Endpoint", "Events", "Message", "Told", "Webhook", "require_usable", "sign"]
