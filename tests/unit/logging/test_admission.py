"""Which records may be stored: tables of cases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kept.retention.v1 import rules_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2_grpc
from services.logging.policies import Policies
from services.logging.recording.admission import (
    STORE,
    STORE_WITHOUT_CONTENT,
    Admission,
    BatchAdmission,
    GatewayPolicy,
    OrganizationPolicy,
    admit,
    refuse,
    span_of,
)
from shared.errors import Reason
from shared.ids import new_record_id, record_time
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import NOON, ORG, OTHER, Peers

OPEN = OrganizationPolicy(records_here=True, zero_data_retention=False, closed=False)
ZDR = OrganizationPolicy(records_here=True, zero_data_retention=True, closed=False)
ELSEWHERE = OrganizationPolicy(records_here=False, zero_data_retention=False, closed=False)
CLOSED = OrganizationPolicy(records_here=True, zero_data_retention=False, closed=True)
ALL = GatewayPolicy(all_organizations=True, organization_ids=frozenset())
MINE = GatewayPolicy(all_organizations=False, organization_ids=frozenset([ORG]))
ANOTHERS = GatewayPolicy(all_organizations=False, organization_ids=frozenset([OTHER]))
REVOKED = GatewayPolicy(all_organizations=False, organization_ids=frozenset())
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("organization", "gateway", "age", "expected"),
    [
        ([OPEN], [ALL], SECOND, STORE),
        ([OPEN], [MINE], SECOND, STORE),
        ([ZDR], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        # Changed in the middle: the strictest counts, in either direction.
        ([OPEN, ZDR], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        ([ZDR, OPEN], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        ([OPEN, CLOSED], [ALL], SECOND, refuse(Reason.REASON_CLOSED)),
        ([ELSEWHERE, OPEN], [ALL], SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([None, ELSEWHERE], [ALL], SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([None, OPEN], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([None], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([OPEN], [ANOTHERS], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [ALL, REVOKED], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [None, ALL], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        # Both bounds of time are included.
        ([OPEN], [ALL], 24 * HOUR, STORE),
        ([OPEN], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_RECORD_TOO_LATE)),
        ([ZDR], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_RECORD_TOO_LATE)),
        ([CLOSED], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_CLOSED)),
        ([OPEN], [ALL], -5 * SECOND, STORE),
        ([OPEN], [ALL], -6 * SECOND, refuse(Reason.REASON_RECORD_FROM_FUTURE)),
        ([ELSEWHERE], [ALL], -6 * SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([OPEN], [ALL], timedelta(days=20_000), refuse(Reason.REASON_RECORD_TOO_LATE)),
    ],
)
def test_decisions(
    organization: Sequence[OrganizationPolicy | None],
    gateway: Sequence[GatewayPolicy | None],
    age: timedelta,
    expected: Admission,
) -> None:
    assert admit(ORG, NOON - age, NOON, organization, gateway) == expected


def test_a_policy_must_allow_five_seconds_more_on_either_side() -> None:
    assert span_of(NOON - HOUR, NOON) == (NOON - HOUR - 5 * SECOND, NOON + 5 * SECOND)
    # What is too late anyway asks about no time that the replica has forgotten.
    assert span_of(NOON - 900 * HOUR, NOON) == (NOON - 24 * HOUR - 5 * SECOND, NOON + 5 * SECOND)


def known_to(*policies: tuple[float, OrganizationPolicy]) -> Policies:
    """What logging knows after one poll, a minute later, of an organization whose policies count from so many seconds after noon."""
    clock = ManualClock(NOON + timedelta(minutes=1))
    peers = Peers(clock)  # type: ignore[abstract] # it answers what is asked here
    peers.policies.changes.clear()
    for seconds, policy in policies:
        peers.set_organization(
            ORG,
            at=NOON + timedelta(seconds=seconds),
            deployment=organizations_pb2.DEPLOYMENT_SAAS
            if policy.records_here
            else organizations_pb2.DEPLOYMENT_PRIVATE,
            zero_data_retention=policy.zero_data_retention,
            closed=policy.closed,
        )
    channel = peers.connect("settings")
    made = Policies(
        policies_pb2_grpc.PolicyServiceStub(channel), rules_pb2_grpc.RuleServiceStub(channel), clock
    )
    for job in made.jobs:
        job.step()
    return made


@pytest.mark.parametrize(
    ("policies", "created", "received", "expected"),
    [
        # A first policy: before it nothing was promised, so the tolerance before a creation may reach back to before it.
        ([(0, OPEN)], 0, 1, [OPEN]),
        ([(0, OPEN)], 4.999, 6, [OPEN]),
        ([(0, ZDR)], 2, 3, [ZDR]),
        ([(0, ELSEWHERE)], 2, 3, [ELSEWHERE]),
        # What was created before any policy is nobody's.
        ([(0, OPEN)], -0.001, 1, [None, OPEN]),
        ([(0, OPEN)], -10, -6, [None]),
        # Received before any policy, by a clock that may be five seconds slow: the policy is the first one there is.
        ([(0, OPEN)], 0, -3, [OPEN]),
        # A later policy does reach five seconds back and forth: the strictest counts.
        ([(-60, ZDR), (0, OPEN)], 4.999, 6, [ZDR, OPEN]),
        ([(-60, ZDR), (0, OPEN)], 5.001, 6, [OPEN]),
        ([(-60, OPEN), (0, ZDR)], -9, -5, [OPEN, ZDR]),
        ([(-60, OPEN), (0, ZDR)], -9, -5.001, [OPEN]),
        ([(0, OPEN), (1, ZDR), (2, OPEN)], 3, 4, [OPEN, ZDR, OPEN]),
        # Both a first and a later one within the tolerance: the unknown before the first is left out, nothing else.
        ([(0, ZDR), (3, OPEN)], 4, 5, [ZDR, OPEN]),
        ([], 0, 1, [None]),
        # From the future: which policy will count is nobody's to say, and admission refuses it by its time.
        ([(0, OPEN)], -1, -9, [None]),
    ],
)
def test_which_policies_count(
    policies: list[tuple[float, OrganizationPolicy]],
    created: float,
    received: float,
    expected: list[OrganizationPolicy | None],
) -> None:
    created_at, received_at = NOON + timedelta(seconds=created), NOON + timedelta(seconds=received)
    begins, ends = span_of(created_at, received_at)
    assert known_to(*policies).organization_throughout(ORG, begins, created_at, ends) == expected


# Instants around which a decision may turn: the late window, its tolerance, and now.
_EDGES = (-86_405, -86_400, -86_395, -5, 0, 5)
_near_an_edge = st.builds(
    lambda edge, off: edge + off / 1000, st.sampled_from(_EDGES), st.integers(-2_500, 2_500)
)
_policy = st.sampled_from((OPEN, ZDR, CLOSED, ELSEWHERE))


@settings(max_examples=400)
@given(
    first=st.tuples(st.just(-100_000.0) | _near_an_edge, _policy),
    later=st.lists(st.tuples(_near_an_edge, _policy), max_size=2),
    created=st.lists(_near_an_edge, min_size=10, max_size=10),
    microseconds=st.integers(0, 999),
)
def test_a_batch_decides_on_each_record_as_if_it_were_alone(
    first: tuple[float, OrganizationPolicy],
    later: list[tuple[float, OrganizationPolicy]],
    created: list[float],
    microseconds: int,
) -> None:
    received_at = NOON + timedelta(microseconds=microseconds)
    policies = known_to(*sorted((first, *later), key=lambda change: change[0]))
    batch = BatchAdmission(received_at, [ALL], policies.organization_throughout)
    for offset in created:
        record_id = new_record_id(NOON + timedelta(seconds=offset))
        created_at = record_time(record_id)
        begins, ends = span_of(created_at, received_at)
        alone = admit(
            ORG,
            created_at,
            received_at,
            policies.organization_throughout(ORG, begins, created_at, ends),
            [ALL],
        )
        assert batch.decide(ORG, record_id) == alone
    assert batch.decide(ORG, bytes(16)) == refuse(Reason.REASON_INVALID_RECORD_ID)
