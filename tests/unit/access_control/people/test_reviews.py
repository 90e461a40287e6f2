"""Reviews, lapses, and grants that end with the authority they rested on."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from kept.access_control.v1 import directory_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from tests.unit.access_control.grants.test_granting import in_parallel
from tests.unit.access_control.test_notifications import Told, told
from tests.unit.access_control.workforce import END, Workforce, migrated_vault, workforce, world
from tests.unit.access_control.world import DAY, ENGINEER, LEGAL, MINUTE, OPERATOR, refusal

__all__ = ["migrated_vault", "told", "workforce", "world"]

DUE, LAPSED = directory_pb2.REVIEW_STATE_DUE, directory_pb2.REVIEW_STATE_LAPSED
REVOKED = grants_pb2.GRANT_STATE_REVOKED
OPERATORS = ("ada", "bob", "cleo")
EVERYBODY = (*OPERATORS, "eve", "colin")


def role_id(workforce: Workforce, who: str) -> str:
    return workforce.person(who).roles[0].role_assignment_id


def state(workforce: Workforce, grant: grants_pb2.Grant, viewer: str = "eve") -> int:
    request = grants_pb2.GetGrantRequest(grant_id=grant.grant_id)
    return workforce.world.grants(viewer).GetGrant(request).grant.state


def test_what_nobody_confirmed_is_listed_and_confirmed_by_another(workforce: Workforce) -> None:
    w = workforce
    w.travel(90 * DAY - MINUTE)
    assert w.due() == []
    w.travel(MINUTE)
    found = w.due(size=3)
    assert len(found) == 2 * len(EVERYBODY)  # a role and an agreement each
    assert {item.holder_name for item in found} == {name.title() for name in EVERYBODY}
    assert {item.review.state for item in found} == {DUE}
    assert [item.review.reviewed_at.seconds for item in found] == sorted(
        item.review.reviewed_at.seconds for item in found
    )
    eve = role_id(w, "eve")
    confirmed = w.verdict("ada", eve).review
    assert (confirmed.reviewed_by, confirmed.state) == (
        w.ids["ada"],
        directory_pb2.REVIEW_STATE_CONFIRMED,
    )
    assert eve not in {item.subject_id for item in w.due()}
    assert w.world.entries("review.confirmed")[-1]["subjects"] == [eve, w.ids["eve"]]
    colin = role_id(w, "colin")
    assert w.verdict("ada", colin, END).ended_grants == 0
    assert refusal(lambda: w.world.request("colin")) == "NOT_AUTHORIZED"
    assert refusal(lambda: w.verdict("ada", colin)) == "NOT_FOUND"


def test_what_is_not_confirmed_in_time_lapses_at_that_instant(workforce: Workforce) -> None:
    w = workforce
    w.travel(90 * DAY)
    w.refresh(*OPERATORS, "colin")
    w.verdict("ada", w.person("eve").agreements[0].agreement_id)
    w.travel(30 * DAY - MINUTE)
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    w.world.authorize("eve", grant.grant_id)
    w.world.advance(MINUTE)
    # Before anybody wrote it down.
    assert refusal(lambda: w.world.authorize("eve", grant.grant_id)) == "NOT_AUTHORIZED"
    assert w.person("eve").roles[0].review.state == LAPSED
    w.work()
    w.work()
    (lapsed,) = w.world.entries("review.lapsed")
    assert lapsed["subjects"] == [role_id(w, "eve"), w.ids["eve"]]
    assert (lapsed["facts"]["role"], lapsed["facts"]["ended_grants"]) == ("ENGINEER", "1")
    (revoked,) = w.world.entries("grant.revoked")
    assert revoked["facts"]["why"] == "the requester's authority ended: the role lapsed"
    assert state(w, grant) == REVOKED
    # It is given anew, by two people, and what ended stays ended.
    assert refusal(lambda: w.verdict("ada", role_id(w, "eve"))) == "WRONG_STATE"
    assert role_id(w, "eve") in {item.subject_id for item in w.due()}
    w.give("eve")
    assert refusal(lambda: w.world.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"
    assert w.world.request("eve").state == grants_pb2.GRANT_STATE_REQUESTED
    assert [role.review.state for role in w.person("eve").roles] == [directory_pb2.REVIEW_STATE_CONFIRMED]


def test_a_lapsed_role_that_makes_room_takes_its_grants_along(workforce: Workforce) -> None:
    w = workforce
    w.travel(90 * DAY)
    w.refresh(*OPERATORS, "colin")
    w.verdict("ada", w.person("eve").agreements[0].agreement_id)
    w.travel(30 * DAY - MINUTE)
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    w.world.advance(MINUTE)
    w.assign("ada", "eve")  # before the job noticed, and nobody confirms it
    assert state(w, grant) == REVOKED


def test_becoming_due_is_told_once(workforce: Workforce) -> None:
    workforce.work()
    assert workforce.world.entries("review.due") == []
    workforce.travel(90 * DAY)
    assert in_parallel(workforce.work, workforce.work) == ["", ""]  # two replicas
    workforce.work()
    due = workforce.world.entries("review.due")
    assert len(due) == 2 * len(EVERYBODY)
    assert {entry["actor"] for entry in due} == {"service:access_control"}
    workforce.refresh(*EVERYBODY)
    workforce.travel(90 * DAY)
    workforce.work()
    assert len(workforce.world.entries("review.due")) == 2 * len(due)


def test_whoever_is_notified_is_told_of_what_is_due_and_what_lapsed(told: Told) -> None:
    person_id = told.person("eve", ENGINEER, days=1)
    (job,) = (job for job in told.service.jobs if job.name == "reviews")
    for days in (90, 30):
        told.advance(days * DAY)
        job.step()
        job.step()
    due, lapsed = told.written()
    assert (due["type"], lapsed["type"]) == ("review.due", "review.lapsed")
    assert lapsed["data"]["person_id"] == person_id
    assert lapsed["data"]["subject_id"].startswith("role_")
    assert lapsed["data"]["due_at"] == due["data"]["due_at"] == "2026-06-29T12:00:00.000000Z"


# What takes the authority of Colin, who approved, or of Eve, who holds: (workforce, who).
ENDINGS: dict[str, Callable[[Workforce, str], object]] = {
    "the role ends": lambda w, who: w.world.directory("ada").EndRole(
        directory_pb2.EndRoleRequest(role_assignment_id=role_id(w, who))
    ),
    "a review ends the role": lambda w, who: w.verdict("ada", role_id(w, who), END),
    "a review ends the agreement": lambda w, who: w.verdict(
        "ada", w.person(who).agreements[0].agreement_id, END
    ),
    "the person is disabled": lambda w, who: w.world.directory("ada").DisablePerson(
        directory_pb2.DisablePersonRequest(person_id=w.ids[who])
    ),
}


@pytest.mark.parametrize("who", ["eve", "colin"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_who_loses_authority_loses_grants_for_good(workforce: Workforce, ending: str, who: str) -> None:
    w = workforce
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    waiting = w.world.request("eve", detail=grants_pb2.DETAIL_FULL)  # takes two, and Colin is one
    w.world.approve("colin", waiting)
    elsewhere = w.world.request("eve" if who == "colin" else "colin")
    w.world.approve("ada", elsewhere)
    ENDINGS[ending](w, who)
    assert {tuple(entry["subjects"]) for entry in w.world.entries("grant.revoked")} == {
        (grant.grant_id,),
        (waiting.grant_id,),
    }
    whose = "requester" if who == "eve" else "approver"
    assert {e["facts"]["why"].split(":")[0] for e in w.world.entries("grant.revoked")} == {
        f"the {whose}'s authority ended"
    }
    if "disabled" not in ending:
        # The role comes back; the grant does not.
        if "role" in ending:
            w.give(who)
        else:
            w.sign("ada", w.ids[who])
        assert w.world.request(who).state == grants_pb2.GRANT_STATE_REQUESTED
        assert refusal(lambda: w.world.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"
    holder = "eve" if who == "colin" else "colin"
    w.world.authorize(holder, elsewhere.grant_id)


def test_an_approver_with_another_role_that_counts_still_carries_the_grant(workforce: Workforce) -> None:
    w = workforce
    w.give("colin", OPERATOR)
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    engineer = next(r for r in w.person("colin").roles if r.role == ENGINEER)
    w.verdict("ada", engineer.role_assignment_id, END)
    w.world.authorize("eve", grant.grant_id)


@pytest.mark.parametrize("who", ["eve", "colin"])
def test_an_agreement_that_runs_out_ends_grants_even_if_the_next_is_signed_at_once(
    workforce: Workforce, who: str
) -> None:
    w = workforce
    w.verdict("ada", w.person(who).agreements[0].agreement_id, END)
    w.sign("ada", w.ids[who], days=1)
    w.travel(DAY - MINUTE)
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    w.world.advance(MINUTE)
    w.sign("ada", w.ids[who])  # before the job noticed
    assert refusal(lambda: w.world.authorize("eve", grant.grant_id)) == "GRANT_REVOKED"
    w.work()
    assert [entry["facts"]["ended_grants"] for entry in w.world.entries("agreement.expired")] == ["0"]


def test_an_agreement_renewed_in_time_carries_the_grant_on(workforce: Workforce) -> None:
    w = workforce
    w.verdict("ada", w.person("eve").agreements[0].agreement_id, END)
    w.sign("ada", w.ids["eve"], days=1)
    w.travel(DAY - MINUTE)
    w.sign("ada", w.ids["eve"])
    grant = w.world.request("eve")
    w.world.approve("colin", grant)
    w.world.advance(2 * MINUTE)
    w.work()
    w.world.authorize("eve", grant.grant_id)
    assert len(w.world.entries("agreement.expired")) == 1


def test_a_provider_that_lapses_takes_its_people_along(workforce: Workforce) -> None:
    w = workforce
    provider_id = w.provider()
    w.create("ada", "vera", provider_id=provider_id)
    w.sign("ada", w.ids["vera"])
    w.give("vera")
    w.travel(90 * DAY)
    w.refresh(*EVERYBODY, "vera")
    provider = w.world.directory("ada").ListProviders(directory_pb2.ListProvidersRequest()).providers[0]
    w.verdict("ada", provider.agreements[0].agreement_id)
    assert [item.subject_id for item in w.due()] == [provider_id]
    w.travel(30 * DAY - MINUTE)
    grant = w.world.request("vera")
    w.world.approve("eve", grant)
    w.world.advance(MINUTE)
    assert refusal(lambda: w.world.authorize("vera", grant.grant_id)) == "NOT_AUTHORIZED"
    w.work()
    assert [entry["subjects"] for entry in w.world.entries("review.lapsed")] == [[provider_id]]
    assert [entry["subjects"] for entry in w.world.entries("grant.revoked")] == [[grant.grant_id]]


def test_a_power_ends_with_the_authority_of_who_approved_it(workforce: Workforce) -> None:
    """Bob approved Ada's power; Cleo, whose power Ada approved, ends Bob's role."""
    w = workforce
    w.world.directory("cleo").EndRole(directory_pb2.EndRoleRequest(role_assignment_id=role_id(w, "bob")))
    assert refusal(lambda: w.create("ada", "zoe")) == "POWER_REQUIRED"
    assert refusal(lambda: w.create("bob", "zoe")) == "NOT_AUTHORIZED"
    w.create("cleo", "zoe")


def test_a_proposal_is_confirmed_as_such_and_lapses_too(workforce: Workforce) -> None:
    w = workforce
    proposed = w.assign("ada", "eve", LEGAL)
    assert refusal(lambda: w.verdict("bob", proposed)) == "WRONG_STATE"
    w.travel(90 * DAY)
    w.refresh(*OPERATORS)
    w.travel(30 * DAY)
    assert refusal(lambda: w.confirm("bob", proposed)) == "WRONG_STATE"
    assert w.assign("ada", "eve", LEGAL) != proposed


def test_a_review_and_a_lapse_at_the_same_time_leave_one_outcome(workforce: Workforce) -> None:
    w = workforce
    w.travel(90 * DAY)
    w.refresh(*EVERYBODY)
    w.travel(90 * DAY)
    eve = role_id(w, "eve")
    outcomes = in_parallel(
        lambda: w.verdict("ada", eve), lambda: w.verdict("bob", eve, END), lambda: w.work()
    )
    assert set(outcomes) <= {"", "NOT_FOUND"}
    ended = not any(role.role_assignment_id == eve for role in w.person("eve").roles)
    assert ended
    assert len(w.world.entries("role.ended")) == 1


def test_leavers_are_listed_no_more(workforce: Workforce) -> None:
    w = workforce
    w.travel(90 * DAY)
    disable = directory_pb2.DisablePersonRequest(person_id=w.ids["eve"])
    w.world.directory("ada").DisablePerson(disable)
    assert w.ids["eve"] not in {item.holder_id for item in w.due()}
    w.work()
    assert w.ids["eve"] not in {s for entry in w.world.entries("review.due") for s in entry["subjects"]}


def test_a_page_token_of_another_list_is_refused(workforce: Workforce) -> None:
    list_reviews = workforce.world.directory("ada").ListReviews
    for token in ("7", "x-role_1", "1-role_1"):
        request = directory_pb2.ListReviewsRequest(page_token=token)
        assert refusal(partial(list_reviews, request)) == "INVALID_ARGUMENT"


def test_two_operators_may_hold_powers_over_a_quarter(workforce: Workforce) -> None:
    """Ninety days without anybody asking change nothing yet."""
    workforce.travel(119 * DAY)
    workforce.create("ada", "zoe")
    workforce.world.advance(timedelta(days=2))
    power = {"power": roles_pb2.POWER_ROLE_ASSIGNMENT}
    assert refusal(lambda: workforce.world.request("ada", **power)) == "NOT_AUTHORIZED"
