"""A batch is handed to safety review, and its verdicts are written down. One record that is refused never costs the others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.logging.store import screening as store
from services.logging.store import stripes
from services.logging.store.screening import Key, Verdict
from shared.database import Database
from shared.errors import KeptError, Reason, peer_unavailable

# A batch of the contract: at most 500 records; bytes well below what a message may have.
BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
# What a batch may take; with it, no batch from memory is in progress any more when the backlog takes its records.
_SCREEN_SECONDS: Final = 30.0
# Refusals that pass by themselves; any other means that asking again gives the same answer.
PASSING: Final = frozenset(
    (
        Reason.REASON_PEER_UNAVAILABLE,
        Reason.REASON_LEASE_LAPSED,
        Reason.REASON_DATABASE_UNAVAILABLE,
        Reason.REASON_OVERLOADED,
        Reason.REASON_SHUTTING_DOWN,
        Reason.REASON_DEADLINE_EXCEEDED,
        Reason.REASON_INTERNAL,
    )
)
_FINAL_VERDICTS: Final = frozenset((screening_pb2.VERDICT_CLEAN, screening_pb2.VERDICT_FLAGGED))
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Screenable:
    """A stored record whose content is in memory. content: a serialized InteractionContent, which takes no more room than it has bytes.
    since: when it came, boottime."""

    key: Key
    end_user: str
    content: bytes = field(repr=False)
    since: float = 0.0


class Asking:
    """Has records screened whose content is at hand."""

    def __init__(self, database: Database, screen: screening_pb2_grpc.ScreeningServiceStub) -> None:
        self._database = database
        self._screen = screen

    def screen_now(self, records: Iterable[Screenable]) -> int:
        """Screens these, in batches as they are opened; one that screening refuses costs no other. How many have a verdict now: not what
        is refused, nor what a detector did not screen. Raises what passes."""
        groups = grouped(records, lambda one: len(one.content), BATCH_BYTES)
        return sum(self.ask(group, last_try=False) for group in groups)

    def ask(self, batch: Sequence[Screenable], *, last_try: bool) -> int:
        """Has a batch screened; one record that screening refuses never costs the others. How many have a verdict now. Raises what
        passes."""
        try:
            return self._ask_once(batch, last_try=last_try)
        except KeptError as error:
            if error.reason in PASSING:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                return sum(self.ask(half, last_try=last_try) for half in (batch[:middle], batch[middle:]))
            _log.error("screening.refused", reason=error.name)
            if last_try:
                self.give_up([batch[0].key])
            return 0

    def _ask_once(self, batch: Sequence[Screenable], *, last_try: bool) -> int:
        """Has a batch screened and writes the verdicts down; how many are final. last_try: what stays incomplete is left to a person.

        Raises PEER_UNAVAILABLE for an answer that does not speak of exactly these records: nothing is taken from it.
        """
        answers = self._screen.Screen(iter([_request(batch)]), timeout=_SCREEN_SECONDS)
        records = [record for answer in answers for record in answer.records]
        if [record.record_id for record in records] != [one.key[1] for one in batch]:
            raise peer_unavailable("safety_review")
        verdicts = [
            Verdict(
                key=asked.key,
                number=said.verdict,
                rules_version=said.rules_version,
                final=said.verdict in _FINAL_VERDICTS,
            )
            for asked, said in zip(batch, records, strict=True)
        ]
        with self._database.transaction() as tx:
            # A hold that a flag leads to copies rows under their stripe: either it sees the verdict, or we see its copy.
            stripes.share(tx, {verdict.key[0] for verdict in verdicts})
            store.record(tx, verdicts)
            if last_try:
                store.give_up(tx, [verdict.key for verdict in verdicts if not verdict.final])
        return sum(verdict.final for verdict in verdicts)

    def give_up(self, keys: Sequence[Key]) -> None:
        """Leaves these to a person."""
        if keys:
            with self._database.transaction() as tx:
                store.give_up(tx, keys)


def _request(batch: Sequence[Screenable]) -> screening_pb2.ScreenRequest:
    request = screening_pb2.ScreenRequest()
    for one in batch:
        added = request.interactions.add(
            record_id=one.key[1], organization_id=one.key[0], end_user=one.end_user
        )
        added.content.MergeFromString(one.content)
    return request


def grouped(items: Iterable[_T], size_of: Callable[[_T], int], limit: int) -> Iterator[list[_T]]:
    """The items in groups of at most `limit` bytes; a group has one item at least. No more are taken than the next group's first."""
    group: list[_T] = []
    size = 0
    for item in items:
        if group and size + size_of(item) > limit:
            yield group
            group, size = [], 0
        group.append(item)
        size += size_of(item)
    if group:
        yield group
