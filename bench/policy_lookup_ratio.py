"""What a record costs of the policies: admission's decision on it, out of a replica of 100,000 organizations, against a bare look-up of its
organization in a dict of as many, in turns. Every record of a batch is of another organization: nothing that was decided before helps."""

import random
import statistics
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from bench.figures import Figure, median_ratio
from bench.settings_service import policy_of
from kept.retention.v1 import rules_pb2_grpc
from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from services.logging.policies import Policies
from services.logging.recording.admission import STORE, BatchAdmission
from shared.clock import CLOCK_TOLERANCE, Clock, SystemClock
from shared.ids import new_id, new_record_id

_ORGANIZATIONS: Final = 100_000
_BATCH: Final = 500
_GATEWAY: Final = "bench"


def measure(small: bool) -> Iterator[Figure]:
    """`policy_lookup_ratio`, `policy_lookup_ns` and `policy_replica_mib`."""
    batches = 200 if small else 2000
    clock, seed = SystemClock(), random.Random(1)
    organizations = [new_id("org") for _ in range(_ORGANIZATIONS)]
    policies = Policies(
        cast(policies_pb2_grpc.PolicyServiceStub, _Settings(organizations, clock)),
        cast(rules_pb2_grpc.RuleServiceStub, None),
        clock,
    )
    [poll, _] = [job.step for job in policies.jobs]
    tracemalloc.start()
    while poll():
        pass
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    bare = dict.fromkeys(organizations, STORE)
    decided, looked_up = [], []
    for _ in range(batches + 1):
        now = clock.now()
        # Each side gets strings of its own, as they come out of a message: nobody has hashed them before.
        records = [
            (choice.encode(), new_record_id(now - CLOCK_TOLERANCE / 2))
            for choice in seed.sample(organizations, _BATCH)
        ]
        decided.append(_decide(policies, now, [(name.decode(), record_id) for name, record_id in records]))
        looked_up.append(_look_up(bare, [(name.decode(), record_id) for name, record_id in records]))
    yield Figure(
        "policy_lookup_ratio",
        median_ratio(decided[1:], looked_up[1:]),
        "ratio",
        False,
        f"admission's decision on a record ÷ a bare dict look-up, both of {_ORGANIZATIONS} organizations; batches of {_BATCH} records of "
        f"as many organizations, in turns; the replica holds {held / 2**20:.0f} MiB",
    )
    yield Figure(
        "policy_lookup_ns",
        statistics.median(decided) / _BATCH * 1e9,
        "nanoseconds",
        False,
        "the median decision of it",
    )
    yield Figure(
        "policy_replica_mib", held / 2**20, "MiB", False, "memory that the replica holds, policies and all"
    )


def _decide(policies: Policies, now: Any, records: Sequence[tuple[str, bytes]]) -> float:
    started = time.perf_counter()
    registered = policies.gateway_throughout(_GATEWAY, now, now + CLOCK_TOLERANCE)
    admission = BatchAdmission(now, registered, policies.organization_throughout)
    for organization_id, record_id in records:
        admission.decide(organization_id, record_id)
    ended = time.perf_counter()
    if any(admission.decide(*record) is not STORE for record in records):
        raise RuntimeError("every record was to be stored")
    return ended - started


def _look_up(bare: Mapping[str, object], records: Sequence[tuple[str, bytes]]) -> float:
    started = time.perf_counter()
    for organization_id, _ in records:
        bare[organization_id]
    return time.perf_counter() - started


class _Settings:
    """Settings, as far as it is polled."""

    def __init__(self, organizations: Sequence[str], clock: Clock) -> None:
        self._organizations = organizations
        self._clock = clock

    def ListPolicyChanges(
        self, request: policies_pb2.ListPolicyChangesRequest, timeout: float = 0.0
    ) -> policies_pb2.ListPolicyChangesResponse:
        since = request.since_version
        page = self._organizations[since : since + request.page_size]
        answer, now = policies_pb2.ListPolicyChangesResponse(), self._clock.now()
        for number, organization_id in enumerate(page, since + 1):
            change = answer.changes.add(version=number, organization=policy_of(organization_id))
            # None is of the same instant as another: each costs memory.
            change.effective_at.FromDatetime(now - timedelta(days=90, microseconds=number))
        if not page:
            gateway = policies_pb2.GatewayPolicy(name=_GATEWAY, all_organizations=True)
            change = answer.changes.add(version=since + 1, gateway=gateway)
            change.effective_at.FromDatetime(now - timedelta(days=90))
        answer.lease.version, answer.lease.complete, answer.lease.reset = (
            answer.changes[-1].version,
            not page,
            not since,
        )
        answer.lease.answered_at.FromDatetime(now)
        answer.lease.duration.FromTimedelta(timedelta(seconds=2))
        return answer
