"""The protocol of docs/leases.md as a model: what can happen to changes, polls, leases and records, in every order.

Time is whole ticks, and now is always 0. Clocks are not states: where a clock is read, it shows anything that it may show. So settings may
have any number of replicas, whose clocks step and stand still as they like, as long as each is at most `spread` ahead of the slowest, whose
time this is; and a receiver's clock may show what it likes. A change, a poll and an answer may be lost at any step, which is also what a
crash of settings looks like; a receiver's crash is a step of its own. Whoever has a next step may wait for as long as it likes: that is a
pause, a slow network, a late answer.

Only differences of times mean something, and beyond `_FAR` none means more. So gaps in the past are drawn together, what is long over and
known to all is forgotten, and a finite number of states stands for histories of any length.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

TOLERANCE: Final = 1
# How wrong a clock is that is wrong.
_WRONG: Final = 2 * TOLERANCE
# Longer than any difference of past instants that is asked for.
_FAR: Final = _WRONG + 1

# How a promise is broken.
IGNORANT: Final = "a receiver holds a lease and does not know what is in force"
STALE: Final = "a record would be stored against what was in force when it was created"
OUT_OF_ORDER: Final = "a change counts from before the one that it came after"


@dataclass(frozen=True)
class Rules:
    """The rules, and what they rest on; each can be taken out. Their order is that of docs/leases.md."""

    clock_after_lock: bool = True
    order_kept: bool = True
    visible_before_release: bool = True
    polls_take_lock: bool = True
    rows_after_lock: bool = True
    from_sending: bool = True
    complete_only: bool = True
    lease_at_use: bool = True
    after_last_byte: bool = True
    clock_at_use: bool = True
    round_trip_in_doubt: bool = True
    tolerance_before: bool = True
    tolerance_after: bool = True
    throughout: bool = True
    # What is assumed: of PostgreSQL's primary, of CLOCK_BOOTTIME, of gateways.
    on_primary: bool = True
    boottime_runs: bool = True
    gateways_in_time: bool = True


@dataclass(frozen=True)
class Size:
    """How much there is of everything. receivers: the first of them records, and the others only poll. live: changes that are not yet old
    and known to all. replicas: changes under way at once. page: changes in an answer. spread: how far settings' clocks are apart. lease:
    how long one is."""

    receivers: int = 1
    live: int = 2
    replicas: int = 2
    page: int = 1
    spread: int = TOLERANCE
    lease: int = 1


class Change(NamedTuple):
    """A change on its way into the feed. at: the clock's reading while it waits, its effective instant once it has one, else 0. forbids:
    what it says, once it has an instant: the other than the one before. (To say the same again is no change.)"""

    phase: str
    at: int = 0
    forbids: bool = False


# Phases of a change. From LOCKED to VISIBLE it holds the lock. WAITS and UNLOCKED there are only without a safeguard.
WAITS, LOCKED, STAMPED, VISIBLE, UNLOCKED = "waiting", "locked", "stamped", "visible", "unlocked"
_EXCLUSIVE: Final = frozenset({LOCKED, STAMPED, VISIBLE})
_UNSEEN: Final = frozenset({STAMPED, UNLOCKED})
_TIMED: Final = frozenset({WAITS, STAMPED, UNLOCKED})


class Poll(NamedTuple):
    """A poll on its way. known, complete: what the receiver has with the answer, once that is read. at: what settings' clock showed."""

    phase: str
    sent: int
    known: int
    complete: bool = False
    at: int = 0


# Phases of a poll. HELD has the lock, shared; ASKED there is only without a safeguard.
SENT, ASKED, HELD, READ, ANSWERED = "sent", "asked", "held", "read", "answered"


class Lease(NamedTuple):
    """until: when it is over. low, high: how far from now the receiver's clock may be while the lease is good."""

    until: int
    low: int
    high: int


class Batch(NamedTuple):
    """Records that have passed the check and are not stored yet. received_at: what the receiver's clock showed. newest: when the newest of
    them was created at the latest; `_STILL` where they come in yet, which there is only without a safeguard."""

    received_at: int
    newest: int


_STILL: Final = 1
_BEGINNING: Final = -1000  # before anything that is asked for
_SAYS: Final = {False: "allowed", True: "forbidden"}


class Receiver(NamedTuple):
    """known: how many policies it has, counted from the one that everything began with; 0 for nothing."""

    known: int = 0
    lease: Lease | None = None
    poll: Poll | None = None
    batch: Batch | None = None


_NEW: Final = Receiver()


class State(NamedTuple):
    """feed: what is committed, as (effective instant, forbids), after the policy that everything began with. forbids: that one's."""

    forbids: bool
    feed: tuple[tuple[int, bool], ...]
    changes: tuple[Change, ...]
    receivers: tuple[Receiver, ...]


class Leases:
    """The model: see tests.models.search. size: how much there is of everything."""

    def __init__(self, size: Size, rules: Rules | None = None) -> None:
        self.size = size
        self._rules = rules or Rules()
        self._ids_off = range(-_WRONG, (TOLERANCE if self._rules.gateways_in_time else _WRONG) + 1)
        self._readings = range(size.spread + 1)

    def beginning(self) -> State:
        """Everything is allowed, and no receiver knows anything."""
        return State(False, (), (), (Receiver(),) * self.size.receivers)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """See Model."""
        yield "time passes", _later(state, -self.size.lease)
        if not self._rules.boottime_runs:
            yield "time passes, and receivers do not notice", _later(state, -self.size.lease, boottime=0)
        yield from self._settings(state)
        for number, receiver in enumerate(state.receivers):
            name = f"receiver {number + 1}"
            for sentence, after in self._receiver(state, receiver, records=number == 0):
                receivers = (*state.receivers[:number], after, *state.receivers[number + 1 :])
                yield f"{name} {sentence}", State(state.forbids, state.feed, state.changes, receivers)
        if state.feed and _is_settled(state):
            yield "the oldest change is history", _forgotten(state)

    # --- changes -----------------------------------------------------------------------------------------------------

    def _settings(self, state: State) -> Iterator[tuple[str, State]]:
        rules, size, changes = self._rules, self.size, state.changes
        is_held = any(change.phase in _EXCLUSIVE for change in changes)
        is_free = not is_held and not any(
            one.poll is not None and one.poll.phase == HELD for one in state.receivers
        )
        if len(changes) < size.replicas and len(changes) + len(state.feed) < size.live:
            if not rules.clock_after_lock:
                for read in self._readings:
                    yield (
                        f"a change reads the clock, {read:+}, and waits",
                        _with(state, (*changes, Change(WAITS, read))),
                    )
            elif is_free:
                yield "a change takes the lock", _with(state, (*changes, Change(LOCKED)))
        for number, change in enumerate(changes):
            rest, (phase, at, forbids) = changes[:number] + changes[number + 1 :], change
            if phase != VISIBLE:
                yield "a change is lost", _with(state, rest)
            if phase == WAITS and is_free:
                yield "the change takes the lock", _with(state, (*rest, self._stamped(state, at)))
            elif phase == LOCKED:
                for read in self._readings:
                    yield (
                        f"the change reads the clock, {read:+}",
                        _with(state, (*rest, self._stamped(state, read))),
                    )
            elif phase == STAMPED and not rules.visible_before_release:
                yield "the change lets go of the lock", _with(state, (*rest, Change(UNLOCKED, at, forbids)))
            elif phase in _UNSEEN:
                after = (*rest, Change(VISIBLE)) if phase == STAMPED else rest
                feed = (*state.feed, (at, forbids))
                yield (
                    "the change becomes visible",
                    State(state.forbids, feed, _sorted(after), state.receivers),
                )
            elif phase == VISIBLE:
                yield "the change lets go of the lock", _with(state, rest)

    def _stamped(self, state: State, read: int) -> Change:
        effective_at, forbids = read + self.size.lease, not state.forbids
        if state.feed:
            last, said = state.feed[-1]
            effective_at, forbids = (
                max(effective_at, last) if self._rules.order_kept else effective_at,
                not said,
            )
        return Change(STAMPED, effective_at, forbids)

    # --- a receiver --------------------------------------------------------------------------------------------------

    def _receiver(self, state: State, one: Receiver, *, records: bool) -> Iterator[tuple[str, Receiver]]:
        known, lease, poll, batch = one
        if one != _NEW:
            yield "dies and starts again", _NEW
        if poll is None:
            yield "sends a poll", Receiver(known, lease, Poll(SENT, 0, known), batch)
        else:
            yield "hears nothing of its poll", Receiver(known, lease, None, batch)
            yield from self._polling(state, one, poll, records)
        if not records:
            return
        if batch is None:
            for received_at in self._checked(one):
                newest = 0 if self._rules.after_last_byte else _STILL
                sentence = f"finds its lease good for a batch, its clock at {received_at:+}"
                yield sentence, Receiver(known, lease, poll, Batch(received_at, newest))
        elif batch.newest == _STILL:
            yield "gets the last byte of the batch", Receiver(known, lease, poll, Batch(batch.received_at, 0))
        else:
            yield "stores the batch or refuses it", Receiver(known, lease, poll, None)

    def _polling(
        self, state: State, one: Receiver, poll: Poll, records: bool
    ) -> Iterator[tuple[str, Receiver]]:
        rules = self._rules
        is_held = any(change.phase in _EXCLUSIVE for change in state.changes)

        def on(after: Poll) -> Receiver:
            return Receiver(one.known, one.lease, after, one.batch)

        match poll.phase:
            case "sent" if not rules.rows_after_lock:
                for asked in self._read(state, one, poll, ASKED):
                    yield "gets settings to begin the statement that takes the lock and reads", on(asked)
            case "sent" if not rules.polls_take_lock:
                for read in self._read(state, one, poll, READ):
                    yield f"has its poll read, up to policy {read.known}, without the lock", on(read)
            case "sent" | "asked" if not is_held:
                yield "has the lock taken, shared, for its poll", on(Poll(HELD, *poll[1:]))
            case "held" if not rules.rows_after_lock:
                yield (
                    "has its poll read as of when the statement began, and the lock let go",
                    on(Poll(READ, *poll[1:])),
                )
            case "held":
                for read in self._read(state, one, poll, READ):
                    yield f"has its poll read, up to policy {read.known}, and the lock let go", on(read)
            case "read":
                for at in self._readings if records else (0,):
                    answered = Poll(ANSWERED, poll.sent, poll.known, poll.complete, at)
                    yield f"has its poll answered at {at:+} by settings' clock", on(answered)
            case "answered":
                lease = self.leased(poll, records) or one.lease
                yield "takes the answer", Receiver(poll.known, lease, None, one.batch)

    def _read(self, state: State, one: Receiver, poll: Poll, phase: str) -> Iterator[Poll]:
        for there in range(1 if not self._rules.on_primary else len(state.feed) + 1, len(state.feed) + 2):
            known = max(one.known, min(one.known + self.size.page, there))
            yield Poll(phase, poll.sent, known, known >= there)

    def leased(self, poll: Poll, records: bool) -> Lease | None:
        """What an answer that is taken now gives."""
        rules = self._rules
        if not poll.complete and rules.complete_only:
            return None
        until = (poll.sent if rules.from_sending else 0) + self.size.lease
        # Settings' clock shows at least `at` now, and at most `at` and what has passed since the poll was sent.
        least, most = poll.at, poll.at - poll.sent
        if not rules.round_trip_in_doubt:
            least, most = most, least
        low, high = (most - TOLERANCE, least + TOLERANCE) if rules.clock_at_use else (-_WRONG, _WRONG)
        if not records:
            low = high = 0
        return Lease(until, low, high) if until > 0 and low <= high else None

    def _checked(self, one: Receiver) -> Iterable[int]:
        """What the receiver's clock may show where the check passes."""
        if not self._rules.lease_at_use and one.known:
            return range(-TOLERANCE, TOLERANCE + 1)
        return () if one.lease is None else range(one.lease.low, one.lease.high + 1)

    # --- what is promised --------------------------------------------------------------------------------------------

    def broken(self, state: State) -> str:
        """See Model."""
        to_come = [(change.at, change.forbids) for change in state.changes if change.phase in _UNSEEN]
        history = [*state.feed, *to_come]
        for (before, _), (after, _) in pairwise(state.feed):
            if after < before:
                return OUT_OF_ORDER
        reached = sum(at <= 0 for at, _ in state.feed) + any(at <= 0 for at, _ in to_come)
        for one in state.receivers:
            if one.lease is not None and one.known - 1 < reached:
                return IGNORANT
            if (
                one.batch is not None
                and one.batch.newest != _STILL
                and self._is_stale(state, history, one, one.batch)
            ):
                return STALE
        return ""

    def _is_stale(self, state: State, history: list[tuple[int, bool]], one: Receiver, batch: Batch) -> bool:
        """Whether a record of the batch, created at any time before its end, would be stored against what was in force then."""
        if not any(forbids for _, forbids in history) and not state.forbids:
            return False
        table = [(_BEGINNING, state.forbids), *state.feed[: one.known - 1]]
        oldest = min([at for at, _ in history], default=0) - 1
        return any(
            _in_force(history, created, state.forbids)
            and self.is_stored(table, created + off, batch.received_at)
            for created in range(oldest, batch.newest + 1)
            for off in self._ids_off
        )

    def is_stored(self, table: list[tuple[int, bool]], created_at: int, received_at: int) -> bool:
        """What admission makes of a record's id: whether every policy that is known to be in force at some point of its span allows it."""
        rules = self._rules
        begins = created_at - TOLERANCE * rules.tolerance_before
        ends = received_at + TOLERANCE * rules.tolerance_after
        if not rules.throughout:
            begins = ends = received_at
        if created_at > received_at + TOLERANCE:
            return False
        for number, (at, forbids) in enumerate(table):
            until = table[number + 1][0] if number + 1 < len(table) else ends + 1
            if forbids and at <= ends and until > begins and at != until:
                return False
        return True

    def told(self, state: State) -> str:
        """See Model."""
        feed = [_SAYS[state.forbids], *(f"{_SAYS[forbids]} from {at:+}" for at, forbids in state.feed)]
        coming = [f"a change is {one.phase}" for one in state.changes]
        leases = [
            f"knows {one.known}"
            + (f", leased to {one.lease.until:+}" if one.lease else "")
            + (f", has a batch received at {one.batch.received_at:+}" if one.batch else "")
            for one in state.receivers
        ]
        return "; ".join([*feed, *coming, *leases])


def _later(state: State, over: int, *, boottime: int = 1) -> State:
    """A tick later. over: when a poll was sent that can give no lease any more. boottime: how much of the tick receivers
    notice."""
    moved = _moved(state)
    feed = tuple([(moved(at), forbids) for at, forbids in state.feed])
    changes = tuple(
        [Change(phase, moved(at) if phase in _TIMED else 0, forbids) for phase, at, forbids in state.changes]
    )
    receivers = []
    for number, (known, lease, poll, batch) in enumerate(state.receivers):
        if lease is not None:
            lease = Lease(lease.until - boottime, lease.low, lease.high) if lease.until > boottime else None
        if poll is not None:
            at = poll.at - 1 if poll.phase == ANSWERED and poll.sent - 1 > over and number == 0 else 0
            poll = Poll(poll.phase, max(poll.sent - 1, over), poll.known, poll.complete, at)
        if batch is not None:
            batch = Batch(moved(batch.received_at), _STILL if batch.newest == _STILL else moved(batch.newest))
        receivers.append(Receiver(known, lease, poll, batch))
    return State(state.forbids, feed, changes, tuple(receivers))


def _moved(state: State) -> Callable[[int], int]:
    """What becomes of an instant when a tick passes: it is one further away, and gaps in the past are drawn together to `_FAR`."""
    points = {at for at, _ in state.feed} | {one.at for one in state.changes if one.phase in _TIMED} | {1}
    for one in state.receivers:
        if one.batch is not None:
            points |= {one.batch.received_at, one.batch.newest}
    if min(points) > -_FAR:
        return lambda at: at - 1
    drawn = {point: point - 1 for point in points if point > 0}
    later, place = 1, 0
    for point in sorted(points - drawn.keys(), reverse=True):
        place -= min(later - point, _FAR)
        drawn[point], later = place, point
    return drawn.__getitem__


def _forgotten(state: State) -> State:
    """The same without the oldest change, in a past of which nobody asks any more."""
    receivers = []
    for known, lease, poll, batch in state.receivers:
        if poll is not None:
            poll = Poll(poll.phase, poll.sent, poll.known - 1, poll.complete, poll.at)
        receivers.append(Receiver(known - 1, lease, poll, batch))
    return State(state.feed[0][1], state.feed[1:], state.changes, tuple(receivers))


def _in_force(history: list[tuple[int, bool]], instant: int, forbids: bool) -> bool:
    """Whether what is in force at an instant forbids. forbids: what everything began with."""
    for at, says in history:
        if at <= instant:
            forbids = says
    return forbids


def _with(state: State, changes: tuple[Change, ...]) -> State:
    return State(state.forbids, state.feed, _sorted(changes), state.receivers)


def _sorted(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(sorted(changes)) if len(changes) > 1 else changes


def _is_settled(state: State) -> bool:
    """Whether everybody knows the oldest change, and nothing that is not yet decided on is from before it."""
    instants = [0]
    for one in state.receivers:
        if one.known < 2:
            return False
        if one.batch is not None:
            instants += [one.batch.received_at, min(one.batch.newest, 0)]
    return state.feed[0][0] + _WRONG + TOLERANCE <= min(instants)
