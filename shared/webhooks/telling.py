"""Telling of events: what a message may say, and to which endpoints it goes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from shared.clock import Clock
from shared.outbox import Connection
from shared.webhooks.delivery import Message, Webhook


@dataclass(frozen=True)
class Told:
    """What a message says, a field each: ids, words of ours, numbers and instants (UTC). What is empty is left out. A service's own class
    adds the fields, and refuses what none of them may carry."""

    @property
    def data(self) -> dict[str, str | int | bool]:
        """As it is sent: by name, instants as RFC 3339 in UTC."""
        data: dict[str, str | int | bool] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, datetime):
                data[field.name] = value.isoformat(timespec="microseconds").replace("+00:00", "Z")
            elif value:
                data[field.name] = value
        return data


class Events:
    """The events of a service, by name. Without webhooks nobody is told."""

    def __init__(self, names: Collection[str], clock: Clock, webhooks: Sequence[Webhook]) -> None:
        self._names = frozenset(names)
        self._clock = clock
        self._webhooks = tuple(webhooks)

    def emit(self, tx: Connection, event: str, told: Told) -> None:
        """Has every endpoint told that asked for the event, if the caller's transaction commits. Raises KeyError for what is no event."""
        if event not in self._names:
            raise KeyError(event)
        message = Message.of(event, self._clock.now(), told.data)
        for webhook in self._webhooks:
            if webhook.takes(event):
                webhook.put(tx, message)

    def are_well(self) -> bool:
        """Whether every endpoint takes what it is sent, as far as anybody knows."""
        return all(webhook.is_well() for webhook in self._webhooks)
