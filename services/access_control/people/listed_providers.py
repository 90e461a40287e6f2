"""Providers against the published list of sub-processors (C23): who comes from one that customers cannot find there holds and approves no
grants.

The list is settings', public and dated. It is asked for every minute, and an answer is good for ten: what is known of a provider is an
instant until which it is listed (`Provider.listed_until`), so that whoever decides needs no answer at that moment, and nobody decides by
an old one. A list that is to come counts from its instant on, by the answer that announced it. Where settings cannot be reached for
longer, grants of providers' people are refused until it can; they are not ended, for nothing has ended. Once the list says that a
provider is not on it, they are.

A provider is known by its name: the same words, in whatever case.
"""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.settings.v1 import trust_pb2, trust_pb2_grpc
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.grants.ended_authority import end_lost
from services.access_control.people.standing import Provider
from services.access_control.store import Connection
from services.access_control.store import directory as people
from services.access_control.store import standing as store
from shared.clock import Clock
from shared.database import Database
from shared.jobs import Job

_ACTOR: Final = "service:access_control"
_INTERVAL: Final = timedelta(minutes=1)
GOOD_FOR: Final = timedelta(minutes=10)
_AT_ONCE: Final = 100


def same_name(name: str) -> str:
    """A name as it is compared: two that differ in nothing but case, width and space are one."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def listed_until(
    name: str, answer: trust_pb2.ListSubprocessorsResponse, asked_at: datetime
) -> datetime | None:
    """Until when a provider of this name is known to be on the list, by an answer to what was asked at an instant; None where it is not on
    the list in force, or there is none."""
    if not answer.HasField("current") or not _names(answer.current, name):
        return None
    until = asked_at + GOOD_FOR
    for coming in answer.upcoming:
        counts_from = coming.effective_at.ToDatetime(tzinfo=UTC)
        # One whose stated instant is over and that is not in force is still being announced: its instant moves.
        if counts_from > asked_at and not _names(coming, name):
            until = min(until, counts_from)
    return until


def _names(listed: trust_pb2.SubprocessorList, name: str) -> bool:
    wanted = same_name(name)
    return any(same_name(one.name) == wanted for one in listed.subprocessors)


class ListedProviders:
    """The look at the list. job: to be put among the service's jobs."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decisions: DecisionLog,
        trust: trust_pb2_grpc.TrustServiceStub,
    ) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._trust = trust
        self.job = Job("listed_providers", _INTERVAL, self.look)

    def look(self) -> bool:
        """Asks for the list and notes for each provider until when it is on it. A job's step: there is never more to do at once. Raises
        what the call raises; what is known stays good as long as it was."""
        asked_at = self._clock.now()
        answer: trust_pb2.ListSubprocessorsResponse | None = None
        after = 0
        while True:
            with self._database.transaction() as tx:
                found = store.list_providers(tx, after, _AT_ONCE)
            for _, provider in found:
                if provider.ended_at is not None:
                    continue
                if answer is None:  # where there is no provider nobody is asked
                    answer = self._trust.ListSubprocessors(trust_pb2.ListSubprocessorsRequest())
                with self._database.transaction() as tx:
                    self._note(tx, provider, answer, asked_at)
            if len(found) < _AT_ONCE:
                return False
            after = found[-1][0]

    def _note(
        self,
        tx: Connection,
        provider: Provider,
        answer: trust_pb2.ListSubprocessorsResponse,
        asked_at: datetime,
    ) -> None:
        until = listed_until(provider.name, answer, asked_at)
        known = store.provider(tx, provider.provider_id, "update")
        if known is None or known.ended_at is not None:
            return
        if (known.listed_until is None) == (until is None):
            if until != known.listed_until:
                store.set_listed(tx, provider.provider_id, until)
            return
        concerned = people.lock_people_of(tx, provider.provider_id)
        now = self._clock.now()
        is_listed = until is not None
        if not is_listed:
            store.set_listed(tx, provider.provider_id, None)
        # Of one who was not listed until now too: what fell meanwhile does not rise again.
        ended = end_lost(tx, self._decisions, concerned, _ACTOR, "their provider was not listed", now)
        if is_listed:
            store.set_listed(tx, provider.provider_id, until)
        self._decisions.write(
            tx,
            "provider.listed" if is_listed else "provider.unlisted",
            _ACTOR,
            subjects=[provider.provider_id],
            facts={"ended_grants": ended, "version": answer.current.version},
        )
