"""Providers and the published list of sub-processors: who is not on it, or of whom that is not known, holds and approves no grants."""

from datetime import UTC, datetime, timedelta

import pytest

from kept.access_control.v1 import directory_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import trust_pb2
from services.access_control.people.listed_providers import GOOD_FOR, listed_until, same_name
from shared.errors import KeptError
from tests.unit.access_control.workforce import Workforce, migrated_vault, workforce, world
from tests.unit.access_control.world import ENGINEER, refusal

__all__ = ["migrated_vault", "workforce", "world"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def answer(
    *names: str, upcoming: tuple[tuple[timedelta, str], ...] = ()
) -> trust_pb2.ListSubprocessorsResponse:
    """A list in force, and lists of one name each that count so much later than NOW."""
    made = trust_pb2.ListSubprocessorsResponse()
    made.current.subprocessors.extend(trust_pb2.Subprocessor(name=name) for name in names)
    for later, name in upcoming:
        coming = made.upcoming.add()
        coming.effective_at.FromDatetime(NOW + later)
        coming.subprocessors.add(name=name)
    return made


@pytest.mark.parametrize(
    ("listed", "until"),
    [
        (trust_pb2.ListSubprocessorsResponse(), None),
        (answer(), None),
        (answer("Globex"), None),
        (answer("Acme Ltd"), None),
        (answer("Globex", "Acme"), GOOD_FOR),
        (answer("ACME"), GOOD_FOR),
        (answer(" Ａcme "), GOOD_FOR),
        # A list that is to come counts from its instant on: without it, or with it.
        (answer("Acme", upcoming=((5 * MINUTE, "Globex"),)), 5 * MINUTE),
        (answer("Acme", upcoming=((30 * DAY, "Globex"),)), GOOD_FOR),
        (answer("Acme", upcoming=((5 * MINUTE, "acme"),)), GOOD_FOR),
        # It is still being announced, so its instant moves.
        (answer("Acme", upcoming=((-MINUTE, "Globex"),)), GOOD_FOR),
        # One who is to be listed is not listed yet.
        (answer("Globex", upcoming=((5 * MINUTE, "Acme"),)), None),
    ],
)
def test_until_when_a_provider_is_known_to_be_listed(
    listed: trust_pb2.ListSubprocessorsResponse, until: timedelta | None
) -> None:
    assert listed_until("Acme", listed, NOW) == (None if until is None else NOW + until)


def test_names_are_the_same_words() -> None:
    assert same_name("Acme  Ltd") == same_name("ACME Ltd")
    assert same_name("Acme Ltd") != same_name("AcmeLtd")
    assert same_name("Acme") != same_name("\u0410cme"), "one that only looks the same is another"


def vera(w: Workforce) -> str:
    """An engineer from a provider, who may do her work. Returns the provider's id."""
    provider_id = w.provider()
    w.create("ada", "vera", provider_id=provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera", ENGINEER)
    return provider_id


def test_who_is_not_listed_sees_the_own_grants_alone_one_by_one_and_in_the_list(workforce: Workforce) -> None:
    w = workforce
    vera(w)
    own, others = w.world.request("vera"), w.world.request("colin")

    def seen(grant: grants_pb2.Grant) -> tuple[bool, bool]:
        stub = w.world.grants("vera")
        listed = {one.grant_id for one in stub.ListGrants(grants_pb2.ListGrantsRequest()).grants}
        try:
            stub.GetGrant(grants_pb2.GetGrantRequest(grant_id=grant.grant_id))
        except KeptError:
            return grant.grant_id in listed, False
        return grant.grant_id in listed, True

    assert [seen(own), seen(others)] == [(True, True), (True, True)]
    w.world.publish("Globex")
    assert [seen(own), seen(others)] == [(True, True), (False, False)]


def test_who_is_not_listed_holds_and_approves_no_grants(workforce: Workforce) -> None:
    w = workforce
    provider_id = vera(w)
    held = w.world.request("vera")
    w.world.approve("eve", held)
    w.world.authorize("vera", held.grant_id)
    approved = w.world.request("eve")
    w.world.approve("vera", approved)
    w.world.authorize("eve", approved.grant_id)
    undecided = w.world.request("colin")
    w.world.publish("Globex")
    # Ended, for good, with what rested on the provider's people: held, and approved.
    assert refusal(lambda: w.world.authorize("vera", held.grant_id)) == "GRANT_REVOKED"
    assert refusal(lambda: w.world.authorize("eve", approved.grant_id)) == "GRANT_REVOKED"
    assert refusal(lambda: w.world.request("vera")) == "PROVIDER_NOT_LISTED"
    assert refusal(lambda: w.world.approve("vera", undecided)) == "NOT_FOUND", (
        "what is nothing to her is not shown"
    )
    power = refusal(lambda: w.world.request("vera", power=roles_pb2.POWER_OPERATOR))
    assert power == "PROVIDER_NOT_LISTED"
    [entry] = w.world.entries("provider.unlisted")
    assert entry["facts"]["ended_grants"] == "2"
    assert entry["subjects"] == [provider_id]
    [shown] = w.world.directory("ada").ListProviders(directory_pb2.ListProvidersRequest()).providers
    assert not shown.HasField("listed_until")
    assert shown.HasField("counts_until"), "she still counts: for what takes no grant"
    assert w.person("vera").person_id == w.ids["vera"]
    # Listed again she asks anew; what was ended stays so.
    w.world.publish("Globex", "acme")
    assert refusal(lambda: w.world.authorize("vera", held.grant_id)) == "GRANT_REVOKED"
    assert w.world.request("vera").state == grants_pb2.GRANT_STATE_REQUESTED
    assert len(w.world.entries("provider.listed")) == 2
    w.world.look()
    assert len(w.world.entries("provider.listed")) == 2, "what is so already is no news"


def test_where_the_list_is_not_known_it_is_as_if_nobody_stood_on_it(workforce: Workforce) -> None:
    w = workforce
    vera(w)
    held = w.world.request("vera")
    w.world.approve("eve", held)
    w.world.subprocessors = None  # settings cannot be reached
    assert refusal(w.world.look) == "PEER_UNAVAILABLE"
    w.world.advance(GOOD_FOR - MINUTE)
    w.world.authorize("vera", held.grant_id)
    w.world.advance(MINUTE)
    assert refusal(lambda: w.world.authorize("vera", held.grant_id)) == "PROVIDER_NOT_LISTED"
    assert refusal(lambda: w.world.request("vera")) == "PROVIDER_NOT_LISTED"
    own = w.world.request("eve")  # the vendor's own are not concerned
    w.world.approve("colin", own)
    w.world.authorize("eve", own.grant_id)
    # Nothing has ended, so nothing was: it is known again, and the grant is good for the rest of its time.
    assert not w.world.entries("provider.unlisted")
    w.world.publish("Acme")
    w.world.authorize("vera", held.grant_id)


def test_a_list_that_is_to_come_counts_from_its_instant_on_whether_anybody_asks_then_or_not(
    workforce: Workforce,
) -> None:
    w = workforce
    vera(w)
    held = w.world.request("vera")
    w.world.approve("eve", held)
    assert w.world.subprocessors is not None
    coming = w.world.subprocessors.upcoming.add(version=2)
    coming.effective_at.FromDatetime(w.world.clock.now() + 5 * MINUTE)
    w.world.look()
    w.world.subprocessors = None
    w.world.advance(5 * MINUTE - timedelta(microseconds=1))
    w.world.authorize("vera", held.grant_id)
    w.world.advance(timedelta(microseconds=1))
    assert refusal(lambda: w.world.authorize("vera", held.grant_id)) == "PROVIDER_NOT_LISTED"


def test_a_provider_that_was_never_on_the_list_is_asked_for_nothing_and_gets_nothing(
    workforce: Workforce,
) -> None:
    w = workforce
    vera(w)
    w.world.publish()
    assert refusal(lambda: w.world.request("vera")) == "PROVIDER_NOT_LISTED"
    for _ in range(2):
        w.world.look()
    assert len(w.world.entries("provider.unlisted")) == 1
