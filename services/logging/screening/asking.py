"""A batch is handed to safety review, and its verdicts are written down. One record that is refused never costs the others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from sys import getsizeof
from typing import Final, TypeVar

import structlog

from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.logging.store import screening as store
from services.logging.store import stripes
from services.logging.store.screening import Key, Screened, Verdict
from shared.database import Database
from shared.errors import KeptError, Reason, peer_unavailable

# What a record takes in memory besides its end user and content: itself, its key and, where it waits alone, its batch. Measured with
# CPython 3.11 (tracemalloc): 460 bytes alone, 280 among 500; the rest is what allocations are rounded up to.
_RECORD_BYTES: Final = 512
# Of a question; well below what a message may have.
BATCH_BYTES: Final = 4 * 1024 * 1024
# What a batch may take; with it, no batch from memory is in progress any more when the backlog takes its records.
_SCREEN_SECONDS: Final = 30.0
# Failures that pass by themselves, whatever was asked about. Any other is about these records, and narrowed down to the one that it is of.
PASSING: Final = frozenset(
    (
        Reason.REASON_PEER_UNAVAILABLE,
        Reason.REASON_LEASE_LAPSED,
        Reason.REASON_DATABASE_UNAVAILABLE,
        Reason.REASON_KEY_STORE_UNAVAILABLE,
        Reason.REASON_CATCHING_UP,
        Reason.REASON_OVERLOADED,
        Reason.REASON_SHUTTING_DOWN,
        Reason.REASON_DEADLINE_EXCEEDED,
    )
)
_FINAL_VERDICTS: Final = frozenset((screening_pb2.VERDICT_CLEAN, screening_pb2.VERDICT_FLAGGED))
_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Screenable:
    """A stored record whose content is in memory. content: a serialized InteractionContent, which takes no more room than it has bytes."""

    key: Key
    end_user: str
    content: bytes = field(repr=False)


@dataclass(slots=True)
class Waiting:
    """Records that go to screening together, in the order of their keys. together: one row says that they wait (store.in_batches); else
    each has one. size: bytes of memory that they take. since: when they came, boottime."""

    records: Sequence[Screenable]
    together: bool = False
    size: int = field(init=False)
    since: float = 0.0

    def __post_init__(self) -> None:
        self.size = sum(_RECORD_BYTES + getsizeof(one.end_user) + len(one.content) for one in self.records)

    @property
    def key(self) -> Key:
        """The key of the row that is theirs."""
        return self.records[0].key


def fresh(records: Iterable[Screenable]) -> list[Waiting]:
    """What was stored in one transaction, in the order of its keys, as it waits now."""
    return [
        Waiting(batch, together=len(batch) > 1) for batch in store.in_batches(records, lambda one: one.key[0])
    ]


class Asking:
    """Has records screened whose content is at hand."""

    def __init__(self, database: Database, screen: screening_pb2_grpc.ScreeningServiceStub) -> None:
        self._database = database
        self._screen = screen

    def screen_now(self, records: Iterable[Screenable]) -> int:
        """Screens these, in batches as they are opened; one that screening refuses costs no other. How many have a verdict now: not what
        is refused, nor what a detector did not screen. Raises what passes."""
        groups = grouped(records, lambda one: len(one.content), BATCH_BYTES)
        return sum(self.ask([Waiting(group)], last_try=False) for group in groups)

    def ask(self, batches: Sequence[Waiting], *, last_try: bool) -> int:
        """Has batches screened, at most 500 records; one that screening refuses never costs the others. How many have a verdict now.
        last_try: what stays incomplete is left to a person; then none of them waits together. Raises what passes."""
        try:
            return self._ask_once(batches, last_try=last_try)
        except KeptError as error:
            if error.reason in PASSING:
                raise
            records = [one for batch in batches for one in batch.records]
            if len(records) > 1:
                with self._database.transaction() as tx:
                    store.unfold_batches(tx, [batch.key for batch in batches if batch.together])
                return sum(self.ask([Waiting(half)], last_try=last_try) for half in halves(records))
            _log.error("screening.refused", reason=error.name)
            if last_try:
                self.refused(records[0].key, error)
            return 0

    def _ask_once(self, batches: Sequence[Waiting], *, last_try: bool) -> int:
        """Has batches screened and writes the verdicts down; how many are final.

        Raises PEER_UNAVAILABLE for an answer that does not speak of exactly these records: nothing is taken from it.
        """
        records = [one for batch in batches for one in batch.records]
        answers = self._screen.Screen(iter([_request(records)]), timeout=_SCREEN_SECONDS)
        said = [record for answer in answers for record in answer.records]
        if [one.record_id for one in said] != [one.key[1] for one in records]:
            raise peer_unavailable("safety_review")
        verdicts = [
            Verdict(
                key=asked.key,
                number=one.verdict,
                rules_version=one.rules_version,
                final=one.verdict in _FINAL_VERDICTS,
            )
            for asked, one in zip(records, said, strict=True)
        ]
        following = iter(verdicts)
        screened = [
            Screened(list(islice(following, len(batch.records))), batch.together) for batch in batches
        ]
        with self._database.transaction() as tx:
            # A hold that a flag leads to copies rows under their stripe: either it sees the verdict, or we see its copy.
            stripes.share(tx, {verdict.key[0] for verdict in verdicts})
            store.record(tx, screened)
            if last_try:
                store.give_up(tx, [verdict.key for verdict in verdicts if not verdict.final])
        return sum(verdict.final for verdict in verdicts)

    def refused(self, key: Key, error: KeptError) -> None:
        """Leaves a claimed record that is refused to a person. One that another service stumbles over (INTERNAL) stays claimed and is
        tried again when its claim ends: that fault may be mended by then, and meanwhile others have their turn."""
        if error.reason != Reason.REASON_INTERNAL:
            self.give_up([key])

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


def halves(items: Sequence[_T]) -> tuple[Sequence[_T], Sequence[_T]]:
    """What is asked about next where one of several is refused."""
    middle = len(items) // 2
    return items[:middle], items[middle:]


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
