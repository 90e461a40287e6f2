"""Who counts, and until when: tables of agreements, providers and reviews."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.access_control.people.person import Person, signed_until
from services.access_control.people.standing import (
    AGREEMENTS_NEEDED,
    CONFIDENTIALITY,
    SECURITY_CONTROLS,
    Agreement,
    Kinds,
    Provider,
    ReviewTerms,
    RoleAssignment,
    agreed_until,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
REVIEW = ReviewTerms().confirmed("person_b", NOW)
ONLY_CONFIDENTIALITY, ONLY_SECURITY = frozenset({CONFIDENTIALITY}), frozenset({SECURITY_CONTROLS})


def signed(kinds: Kinds = AGREEMENTS_NEEDED, days: int = 10) -> Agreement:
    return Agreement("agreement_1", "x", kinds, bytes(32), NOW, NOW + days * DAY, "person_b", NOW, REVIEW)


PROVIDER = Provider("provider_1", "Acme", "person_a", NOW, REVIEW, "person_b", None, (signed(days=8),))


@pytest.mark.parametrize(
    ("agreements", "days"),
    [
        ((), None),
        ((signed(),), 10),
        ((signed(ONLY_CONFIDENTIALITY),), None),
        ((signed(ONLY_SECURITY),), None),
        ((signed(ONLY_CONFIDENTIALITY), signed(ONLY_SECURITY, 3)), 3),
        ((signed(days=3), signed(days=7)), 7),  # the next one was signed before the last one ended
        ((signed(days=3), signed(ONLY_SECURITY, 7)), 3),
        ((signed(days=300),), 120),  # nobody said since that it is needed
    ],
)
def test_what_has_to_be_signed(agreements: tuple[Agreement, ...], days: int | None) -> None:
    assert agreed_until(agreements) == (None if days is None else NOW + days * DAY)


@pytest.mark.parametrize(
    ("own", "provider", "days"),
    [
        ((signed(),), None, 10),
        ((signed(),), PROVIDER, 8),
        ((signed(days=5),), PROVIDER, 5),
        ((), PROVIDER, None),
        ((signed(),), replace(PROVIDER, agreements=()), None),
        ((signed(),), replace(PROVIDER, agreements=(signed(ONLY_CONFIDENTIALITY),)), None),
        ((signed(),), replace(PROVIDER, agreements=(signed(ONLY_SECURITY),)), None),
        ((signed(),), replace(PROVIDER, confirmed_by=""), None),
        ((signed(),), replace(PROVIDER, ended_at=NOW), None),
        ((signed(days=300),), replace(PROVIDER, agreements=(signed(days=300),)), 120),
        ((signed(),), replace(PROVIDER, review=replace(REVIEW, lapses_at=NOW + 2 * DAY)), 2),
    ],
)
def test_people_of_a_provider_need_both(
    own: tuple[Agreement, ...], provider: Provider | None, days: int | None
) -> None:
    assert signed_until(own, provider) == (None if days is None else NOW + days * DAY)


@pytest.mark.parametrize(
    ("after", "state"),
    [
        (timedelta(0), directory_pb2.REVIEW_STATE_CONFIRMED),
        (90 * DAY - MOMENT, directory_pb2.REVIEW_STATE_CONFIRMED),
        (90 * DAY, directory_pb2.REVIEW_STATE_DUE),
        (120 * DAY - MOMENT, directory_pb2.REVIEW_STATE_DUE),
        (120 * DAY, directory_pb2.REVIEW_STATE_LAPSED),
    ],
)
def test_what_time_does_to_a_confirmation(
    after: timedelta, state: "directory_pb2.ReviewState.ValueType"
) -> None:
    assert REVIEW.state_at(NOW + after) == state
    role = RoleAssignment("role_1", "person_a", roles_pb2.STAFF_ROLE_ENGINEER, "b", NOW, "c", REVIEW)
    person = Person("person_a", "A", "a@v", (role,), NOW + 400 * DAY)
    counts = state != directory_pb2.REVIEW_STATE_LAPSED
    assert person.roles_at(NOW + after) == (frozenset({role.role}) if counts else frozenset())


def test_a_proposed_role_counts_for_nothing() -> None:
    role = RoleAssignment("role_1", "person_a", roles_pb2.STAFF_ROLE_ENGINEER, "b", NOW, review=REVIEW)
    assert not role.counts(NOW)
