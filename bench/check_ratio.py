"""A decision and its durable audit entry against an empty call: one caller, in turns."""

import statistics
from collections.abc import Iterator

from bench.access_control import running
from bench.empty_server import CALLER
from bench.figures import Figure, in_turns


def measure(small: bool) -> Iterator[Figure]:
    """`check_ratio` (of a person of the workforce by role, the longer way) and `check_us`; `member_check_ratio` (of a customer's)."""
    calls = 300 if small else 3000
    with running(people=1) as there:
        staff, member = there.staff[0], there.members_of_one[0]
        with (
            there.channel(CALLER) as bare,
            there.channel(staff.service) as retention,
            there.channel(member.service) as settings,
        ):
            empty, check = there.empty(bare), there.check(retention, staff)
            in_turns(check, empty, calls // 10)  # warm: connections, plans, caches
            checked, plain = in_turns(check, empty, calls)
            of_member, beside = in_turns(there.check(settings, member), empty, calls)
    yield Figure(
        "check_ratio",
        statistics.median(checked) / statistics.median(plain),
        "ratio",
        False,
        f"median Check of a person by role, audit entry durable, ÷ median empty RPC; {calls} of each in turns, one caller, mTLS, "
        "two processes on the same builder",
    )
    yield Figure(
        "check_us", statistics.median(checked) * 1e6, "microseconds", False, "the median Check of it"
    )
    yield Figure(
        "member_check_ratio",
        statistics.median(of_member) / statistics.median(beside),
        "ratio",
        False,
        "the same for a customer's member",
    )
