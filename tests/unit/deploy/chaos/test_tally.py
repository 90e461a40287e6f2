"""What callers saw is summed up as it was: what failed, how long nobody was answered, when everybody was again."""

import threading
import time

from deploy.chaos.tally import Call, Tally, summarize
from deploy.chaos.trials import Outcome


def test_failures_and_gaps_are_told_by_kind() -> None:
    calls = [
        Call("record", 10.0, 0.5),
        Call("record", 11.0, 0.1, "NOT_REACHABLE"),
        Call("record", 14.0, 1.0),
        Call("read", 12.0, 0.25),
    ]
    read, record = summarize(calls, 10.0, 16.0)
    assert (read.kind, read.calls, read.failed) == ("read", 1, 0)
    assert (record.calls, record.failed, record.reasons) == (3, 1, {"NOT_REACHABLE": 1})
    assert (record.median, record.slowest) == (1.0, 1.0)
    assert record.longest_gap == 4.5, "from the end of the first that was answered to the end of the next"
    assert read.longest_gap == 3.75, "a kind that is not asked for is not answered either"


def test_recovery_counts_calls_that_began_after_the_cause_was_gone() -> None:
    tally = Tally()
    since = time.monotonic()
    tally.add(Call("record", since - 1, 1.5))
    tally.add(Call("record", since + 1, 0.5, "NOT_REACHABLE"))
    threading.Timer(0.05, tally.add, [Call("record", since + 2, 0.25)]).start()
    assert tally.wait_answered(["record"], since, 10) == {"record": 2.25}
    assert tally.wait_answered(["record", "read"], since, 0) == {"record": 2.25, "read": None}


def test_what_retries_must_cover_may_not_fail_and_what_they_cannot_fails_by_a_reason_that_says_so() -> None:
    lapsed = summarize([Call("record", 0, 1, "LEASE_LAPSED")], 0, 2)
    crashed = summarize([Call("record", 0, 1, "INTERNAL")], 0, 2)
    assert Outcome("a restart", True, 2, lapsed).problems
    assert not Outcome("a partition", False, 2, lapsed).problems
    assert Outcome("a partition", False, 2, crashed).problems
    assert Outcome("a partition", False, 2, lapsed, {"settings and logging": None}).problems
