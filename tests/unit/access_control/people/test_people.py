"""Who is who: nobody raises themselves, nobody is two people, and nobody looks like somebody else."""

from collections.abc import Callable
from functools import partial

import pytest

from kept.access_control.v1 import directory_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.store import directory as store
from tests.support.meanwhile import meanwhile
from tests.unit.access_control.grants.test_granting import in_parallel
from tests.unit.access_control.workforce import END, KEEP, Workforce, migrated_vault, workforce, world
from tests.unit.access_control.world import DAY, ENGINEER, LEGAL, MINUTE, OPERATOR, World, refusal

__all__ = ["migrated_vault", "workforce", "world"]


def role_of(workforce: Workforce, who: str) -> str:
    return workforce.person(who).roles[0].role_assignment_id


def agreement_of(workforce: Workforce, who: str) -> str:
    return workforce.person(who).agreements[0].agreement_id


def second_identity(workforce: Workforce, who: str) -> str:
    """A further way for somebody to sign in."""
    directory = workforce.world.directory
    proposer, confirmer = ("bob", "cleo") if who == "ada" else ("ada", "cleo")
    request = directory_pb2.LinkIdentityRequest(person_id=workforce.ids[who], subject=f"{who}-admin")
    made = directory(proposer).LinkIdentity(request).identity
    directory(confirmer).ConfirmIdentity(directory_pb2.ConfirmIdentityRequest(identity_id=made.identity_id))
    return f"{who}-admin"


# What somebody tries for themselves, as (workforce, who signs in).
OWN: dict[str, Callable[[Workforce, str], object]] = {
    "assign a role": lambda w, me: w.assign(me, "ada", LEGAL),
    "confirm a role": lambda w, me: w.confirm(me, w.assign("bob", "ada", LEGAL)),
    "link an identity": lambda w, me: w.world.directory(me).LinkIdentity(
        directory_pb2.LinkIdentityRequest(person_id=w.ids["ada"], subject="ada-2")
    ),
    "confirm an identity": lambda w, me: w.world.directory(me).ConfirmIdentity(
        directory_pb2.ConfirmIdentityRequest(
            identity_id=w.world.directory("bob")
            .LinkIdentity(directory_pb2.LinkIdentityRequest(person_id=w.ids["ada"], subject="ada-2"))
            .identity.identity_id
        )
    ),
    "record an agreement": lambda w, me: w.sign(me, w.ids["ada"]),
    "confirm the review of a role": lambda w, me: w.verdict(me, role_of(w, "ada"), KEEP),
    "confirm the review of an agreement": lambda w, me: w.verdict(me, agreement_of(w, "ada"), KEEP),
    "end by review": lambda w, me: w.verdict(me, role_of(w, "ada"), END),
    "disable": lambda w, me: w.world.directory(me).DisablePerson(
        directory_pb2.DisablePersonRequest(person_id=w.ids["ada"])
    ),
    "approve a power": lambda w, me: w.world.approve(
        me, w.world.request("ada", power=roles_pb2.POWER_OPERATOR)
    ),
    "approve a power asked for by the other identity": lambda w, me: w.world.approve(
        "ada", w.world.request(me, power=roles_pb2.POWER_OPERATOR)
    ),
}
# What takes two: as Ada proposes it, and as somebody confirms it.
HALVES: dict[str, tuple[Callable[[Workforce], str], Callable[[Workforce, str, str], object]]] = {
    "a role": (lambda w: w.assign("ada", "eve", LEGAL), lambda w, me, made: w.confirm(me, made)),
    "an identity": (
        lambda w: (
            w.world.directory("ada")
            .LinkIdentity(directory_pb2.LinkIdentityRequest(person_id=w.ids["eve"], subject="eve-2"))
            .identity.identity_id
        ),
        lambda w, me, made: w.world.directory(me).ConfirmIdentity(
            directory_pb2.ConfirmIdentityRequest(identity_id=made)
        ),
    ),
    "a provider": (
        lambda w: (
            w.world.directory("ada")
            .CreateProvider(directory_pb2.CreateProviderRequest(name="Acme"))
            .provider.provider_id
        ),
        lambda w, me, made: w.world.directory(me).ConfirmProvider(
            directory_pb2.ConfirmProviderRequest(provider_id=made)
        ),
    ),
}


def both_halves(what: str) -> Callable[[Workforce, str], object]:
    """What takes two is done by one."""
    propose, confirm = HALVES[what]
    return lambda w, me: confirm(w, me, propose(w))


@pytest.mark.parametrize("identity", ["the first", "a second"])
@pytest.mark.parametrize("act", [*OWN, *(f"both halves of {what}" for what in HALVES)])
def test_nobody_raises_themselves(workforce: Workforce, act: str, identity: str) -> None:
    me = "ada" if identity == "the first" else second_identity(workforce, "ada")
    before = workforce.person("ada")
    attempt = OWN.get(act) or both_halves(act.removeprefix("both halves of "))
    assert refusal(lambda: attempt(workforce, me)) == "SECOND_PERSON_REQUIRED"
    kinds = ("directory.refused", "grant.refused")
    (refused,) = (entry for kind in kinds for entry in workforce.world.entries(kind))
    assert (refused["actor"], refused["facts"]["refused"]) == (
        workforce.ids["ada"],
        "SECOND_PERSON_REQUIRED",
    )
    after = workforce.person("ada")
    assert [(r.role, r.review) for r in after.roles if r.confirmed_by] == [
        (r.role, r.review) for r in before.roles
    ]
    assert after.agreements == before.agreements


def empowered(w: Workforce, who: str, by: str) -> None:
    """Whoever may assign roles by the word of somebody who left may not any more; another's word it is."""
    w.world.approve(by, w.world.request(who, power=roles_pb2.POWER_ROLE_ASSIGNMENT))


@pytest.mark.parametrize("how", ["disabled", "no operator any more"])
@pytest.mark.parametrize("what", HALVES)
def test_what_somebody_proposed_who_could_not_any_more_is_confirmed_by_nobody(
    workforce: Workforce, what: str, how: str
) -> None:
    """Whoever is found out leaves nothing behind that one colleague makes count."""
    w, directory = workforce, workforce.world.directory
    propose, confirm = HALVES[what]
    made = propose(w)
    if how == "disabled":
        directory("bob").DisablePerson(directory_pb2.DisablePersonRequest(person_id=w.ids["ada"]))
    else:
        directory("bob").EndRole(directory_pb2.EndRoleRequest(role_assignment_id=role_of(w, "ada")))
    empowered(w, "bob", by="cleo")
    assert refusal(lambda: confirm(w, "bob", made)) == "WRONG_STATE"
    (told,) = w.world.entries("directory.refused")
    assert (told["actor"], told["facts"]["refused"]) == (w.ids["bob"], "WRONG_STATE")


# How what takes two is ended.
ENDS: dict[str, Callable[[Workforce, str], object]] = {
    "a role": lambda w, made: w.world.directory("cleo").EndRole(
        directory_pb2.EndRoleRequest(role_assignment_id=made)
    ),
    "an identity": lambda w, made: w.world.directory("cleo").EndIdentity(
        directory_pb2.EndIdentityRequest(identity_id=made)
    ),
    "a provider": lambda w, made: w.world.directory("cleo").EndProvider(
        directory_pb2.EndProviderRequest(provider_id=made)
    ),
}


@pytest.mark.parametrize("was", ["proposed", "confirmed"])
@pytest.mark.parametrize("what", HALVES)
def test_what_was_ended_is_proposed_anew_and_takes_two_again(
    workforce: Workforce, what: str, was: str
) -> None:
    """As who is told that a proposal has lapsed is told to do."""
    w, (propose, confirm) = workforce, HALVES[what]
    made = propose(w)
    if was == "confirmed":
        confirm(w, "bob", made)
    ENDS[what](w, made)
    again = propose(w)
    assert refusal(lambda: confirm(w, "ada", again)) == "SECOND_PERSON_REQUIRED"
    confirm(w, "bob", again)
    kind = what.split()[-1]
    acts = ["proposed", *(["confirmed"] if was == "confirmed" else []), "ended", "proposed", "confirmed"]
    assert {act: len(w.world.entries(f"{kind}.{act}")) for act in acts} == {
        act: acts.count(act) for act in acts
    }


def test_an_identity_that_is_proposed_again_signs_in_once_confirmed(workforce: Workforce) -> None:
    w, directory = workforce, workforce.world.directory
    second_identity(w, "eve")
    (made,) = [
        one
        for one in directory("ada")
        .ListIdentities(directory_pb2.ListIdentitiesRequest(person_id=w.ids["eve"]))
        .identities
        if one.subject == "eve-admin"
    ]
    ENDS["an identity"](w, made.identity_id)
    link = directory_pb2.LinkIdentityRequest(person_id=w.ids["eve"], subject="eve-admin")
    again = directory("bob").LinkIdentity(link).identity
    assert (again.identity_id, again.linked_by, again.confirmed_by) == (made.identity_id, w.ids["bob"], "")
    assert refusal(lambda: w.person("eve-admin")) == "NOT_AUTHORIZED"
    confirm = directory_pb2.ConfirmIdentityRequest(identity_id=again.identity_id)
    assert directory("cleo").ConfirmIdentity(confirm).identity.confirmed_by == w.ids["cleo"]
    assert w.person("eve-admin") == w.person("eve")


def test_a_name_is_free_once_its_provider_has_ended_and_is_one_successor_s(workforce: Workforce) -> None:
    w, directory = workforce, workforce.world.directory
    before = w.provider()
    create = directory_pb2.CreateProviderRequest
    assert refusal(lambda: directory("ada").CreateProvider(create(name="Acme"))) == "CONFUSABLE"
    ENDS["a provider"](w, before)
    made = directory("ada").CreateProvider(create(name="Acme")).provider
    assert made.provider_id != before
    assert not made.agreements
    for name in ("Acme", "\u0410cme"):
        assert refusal(partial(directory("ada").CreateProvider, create(name=name))) == "CONFUSABLE"


@pytest.mark.parametrize(
    ("who", "refused"), [("ada", "WRONG_STATE"), ("bob", "NOT_AUTHORIZED")], ids=["proposes", "confirms"]
)
@pytest.mark.parametrize("what", HALVES)
def test_who_is_disabled_a_moment_before_it_is_confirmed_makes_nobody_count(
    workforce: Workforce, what: str, who: str, refused: str
) -> None:
    w, (propose, confirm) = workforce, HALVES[what]
    made = propose(w)
    with w.world.database.transaction() as first:
        store.person(first, w.ids[who], "update")
        store.disable(first, w.ids[who], w.world.clock.now())
        second = meanwhile(first, w.world.database.engine, lambda: refusal(lambda: confirm(w, "bob", made)))
    assert second.is_waiting
    assert second.result() == refused
    assert w.world.entries(f"{what.split()[-1]}.confirmed") == []


@pytest.mark.parametrize("what", HALVES)
def test_that_the_power_to_propose_has_ended_takes_nothing_from_a_proposal(
    workforce: Workforce, what: str
) -> None:
    """Powers are for hours, and colleagues come back tomorrow."""
    propose, confirm = HALVES[what]
    made = propose(workforce)
    workforce.world.advance(DAY)
    empowered(workforce, "bob", by="cleo")
    confirm(workforce, "bob", made)


@pytest.mark.parametrize(
    "act", ["confirm", "record an agreement", "review the provider", "review its agreement"]
)
def test_a_provider_s_people_do_not_raise_the_provider(workforce: Workforce, act: str) -> None:
    w, directory = workforce, workforce.world.directory
    provider_id = w.provider()
    w.create("ada", "vera", provider_id=provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera", OPERATOR)
    power = w.world.request("vera", power=roles_pb2.POWER_ROLE_ASSIGNMENT)
    w.world.approve("bob", power)
    listed = directory("ada").ListProviders(directory_pb2.ListProvidersRequest()).providers[0]
    attempts: dict[str, Callable[[], object]] = {
        "confirm": lambda: directory("vera").ConfirmProvider(
            directory_pb2.ConfirmProviderRequest(provider_id=provider_id)
        ),
        "record an agreement": lambda: w.sign("vera", provider_id),
        "review the provider": lambda: w.verdict("vera", provider_id),
        "review its agreement": lambda: w.verdict("vera", listed.agreements[0].agreement_id),
    }
    assert refusal(attempts[act]) == "SECOND_PERSON_REQUIRED"


def test_a_power_is_needed_to_make_anybody_count(world: World) -> None:
    for subject in ("ada", "bob", "eve"):
        world.person(subject, OPERATOR)
    request = directory_pb2.CreateProviderRequest(name="Acme")
    assert refusal(lambda: world.directory("ada").CreateProvider(request)) == "POWER_REQUIRED"


def test_a_further_identity_takes_two_and_is_one_persons_for_ever(workforce: Workforce) -> None:
    w, directory = workforce, workforce.world.directory
    w.world.advance(MINUTE)
    request = directory_pb2.LinkIdentityRequest(person_id=w.ids["eve"], subject="eve-2")
    made = directory("ada").LinkIdentity(request).identity
    assert directory("ada").LinkIdentity(request).identity == made
    assert refusal(lambda: w.person("eve-2")) == "NOT_AUTHORIZED"  # only proposed
    confirm = directory_pb2.ConfirmIdentityRequest(identity_id=made.identity_id)
    assert directory("bob").ConfirmIdentity(confirm).identity.confirmed_by == w.ids["bob"]
    assert refusal(lambda: directory("cleo").ConfirmIdentity(confirm)) == "WRONG_STATE"
    assert w.person("eve-2") == w.person("eve")
    listed = directory("ada").ListIdentities(directory_pb2.ListIdentitiesRequest(person_id=w.ids["eve"]))
    assert [identity.subject for identity in listed.identities] == ["eve", "eve-2"]
    directory("cleo").EndIdentity(directory_pb2.EndIdentityRequest(identity_id=made.identity_id))
    assert refusal(lambda: w.person("eve-2")) == "NOT_AUTHORIZED"
    for subject in ("eve-2", "EVE-2", "eve"):
        taken = directory_pb2.LinkIdentityRequest(person_id=w.ids["colin"], subject=subject)
        assert refusal(partial(directory("ada").LinkIdentity, taken)) == "ALREADY_EXISTS"
    assert refusal(lambda: w.create("ada", "zoe", subject="eve-2")) == "ALREADY_EXISTS"


def test_an_identity_of_another_issuer_is_another_identity(workforce: Workforce) -> None:
    unknown = directory_pb2.LinkIdentityRequest(
        person_id=workforce.ids["eve"], issuer="https://elsewhere.test", subject="eve"
    )
    assert refusal(lambda: workforce.world.directory("ada").LinkIdentity(unknown)) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("Eve", "new@vendor.test"),
        ("EVE", "new@vendor.test"),
        ("\u0415ve", "new@vendor.test"),  # CYRILLIC CAPITAL LETTER IE
        ("E\u200bve", "new@vendor.test"),
        ("Somebody New", "c0lin@vendor.test"),
        ("Somebody New", "co1in@vendor.test"),
        ("Somebody New", "CoIin@vendor.test"),
    ],
)
def test_nobody_looks_like_a_colleague(workforce: Workforce, name: str, email: str) -> None:
    w = workforce
    assert refusal(lambda: w.create("ada", "new", display_name=name, email=email)) == "CONFUSABLE"
    (refused,) = w.world.entries("directory.refused")
    assert (refused["actor"], refused["facts"]["refused"]) == (w.ids["ada"], "CONFUSABLE")
    people = w.world.directory("ada").ListPeople(directory_pb2.ListPeopleRequest()).people
    assert len(people) == 5
    w.create("ada", "new")  # nothing was left of it


@pytest.mark.parametrize("name", [" ", "\u3164", "\u200b \ufe0f"])
def test_a_name_of_which_nothing_is_seen_is_none(workforce: Workforce, name: str) -> None:
    w = workforce
    provider = directory_pb2.CreateProviderRequest(name=name)
    assert refusal(lambda: w.create("ada", "new", display_name=name)) == "INVALID_ARGUMENT"
    assert refusal(lambda: w.world.directory("ada").CreateProvider(provider)) == "INVALID_ARGUMENT"
    refused = w.world.entries("directory.refused")
    assert [entry["facts"]["refused"] for entry in refused] == ["INVALID_ARGUMENT"] * 2
    w.create("ada", "new", display_name=f"A{name}B")


def test_of_two_who_look_alike_one_is_registered(workforce: Workforce) -> None:
    outcomes = in_parallel(
        lambda: workforce.create("ada", "zoe", display_name="Zoe Kim", email="zoe@vendor.test"),
        lambda: workforce.create("bob", "zoe2", display_name="Z\u043ee Kim", email="kim@vendor.test"),
    )
    assert sorted(outcomes) == ["", "CONFUSABLE"]


def test_an_address_in_another_script_is_no_address(workforce: Workforce) -> None:
    create = workforce.create
    assert refusal(lambda: create("ada", "new", email="\u0435ve@vendor.test")) == "INVALID_ARGUMENT"
    assert refusal(lambda: create("ada", "new", display_name="Eve\u202e")) == "INVALID_ARGUMENT"


def test_a_person_needs_both_agreements(workforce: Workforce) -> None:
    w = workforce
    w.create("ada", "zoe")
    w.give("zoe")
    assert refusal(lambda: w.world.request("zoe")) == "NOT_AUTHORIZED"
    w.sign("ada", w.ids["zoe"], directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY)
    assert refusal(lambda: w.world.request("zoe")) == "NOT_AUTHORIZED"
    w.sign("ada", w.ids["zoe"], directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS, days=10)
    assert w.world.request("zoe").state == grants_pb2.GRANT_STATE_REQUESTED
    w.world.advance(MINUTE)


def test_people_of_a_provider_count_while_the_provider_does(workforce: Workforce) -> None:
    w, directory = workforce, workforce.world.directory
    provider = directory("ada").CreateProvider(directory_pb2.CreateProviderRequest(name="Acme")).provider
    confusable = directory_pb2.CreateProviderRequest(name="\u0410cme")
    assert refusal(lambda: directory("ada").CreateProvider(confusable)) == "CONFUSABLE"
    w.world.publish("Acme")
    w.create("ada", "vera", provider_id=provider.provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera")
    reasons = [refusal(lambda: w.world.request("vera"))]  # the provider is only proposed
    directory("bob").ConfirmProvider(directory_pb2.ConfirmProviderRequest(provider_id=provider.provider_id))
    reasons.append(refusal(lambda: w.world.request("vera")))  # and has signed nothing
    w.sign("ada", provider.provider_id, directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY)
    reasons.append(refusal(lambda: w.world.request("vera")))
    w.sign("ada", provider.provider_id, directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS)
    assert reasons == ["NOT_AUTHORIZED"] * 3
    grant = w.world.request("vera")
    w.world.approve("eve", grant)
    of_another = w.world.request("eve")
    w.world.approve("vera", of_another)
    end = directory_pb2.EndProviderRequest(provider_id=provider.provider_id)
    assert directory("cleo").EndProvider(end).ended_grants == 2
    assert refusal(lambda: w.world.authorize("eve", of_another.grant_id)) == "GRANT_REVOKED"
    assert refusal(lambda: w.world.request("vera")) == "NOT_AUTHORIZED"
    assert refusal(lambda: w.create("ada", "vic", provider_id=provider.provider_id)) == "WRONG_STATE"
    assert refusal(lambda: w.sign("ada", provider.provider_id)) == "WRONG_STATE"
    listed = directory("ada").ListProviders(directory_pb2.ListProvidersRequest()).providers[0]
    assert listed.ended_at.seconds
    assert not listed.HasField("counts_until")


def test_the_standing_of_a_provider_is_part_of_what_is_remembered(workforce: Workforce) -> None:
    """Check answers from memory where nothing changed; a provider's agreement is part of that."""
    w = workforce
    provider_id = w.provider()
    w.create("ada", "vera", provider_id=provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera", ENGINEER)
    for _ in range(2):
        w.person("vera")
    listed = w.world.directory("ada").ListProviders(directory_pb2.ListProvidersRequest()).providers[0]
    w.verdict("bob", listed.agreements[0].agreement_id, END)
    assert refusal(lambda: w.person("vera")) == "NOT_AUTHORIZED"
