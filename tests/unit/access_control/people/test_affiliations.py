"""Who has to do with a customer: declared by one and at once, taken back by another; told to safety review and to nobody else."""

from datetime import timedelta

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, directory_pb2, grants_pb2
from services.access_control.store import affiliations as store
from shared.identity import Caller, CallerKind
from shared.ids import new_id, new_record_id
from tests.unit.access_control.workforce import Workforce, migrated_vault, workforce, world
from tests.unit.access_control.world import ORG, OTHER, SAFETY, World, refusal

__all__ = ["migrated_vault", "workforce", "world"]

GET_CASE = "/kept.safety_review.v1.CaseService/GetCase"


def _declare(
    world: World, who: str, organization_id: str = ORG, person_id: str = ""
) -> directory_pb2.Affiliation:
    request = directory_pb2.DeclareAffiliationRequest(organization_id=organization_id, person_id=person_id)
    return world.directory(who).DeclareAffiliation(request).affiliation


def _end(world: World, who: str, person_id: str) -> None:
    world.directory(who).EndAffiliation(
        directory_pb2.EndAffiliationRequest(person_id=person_id, organization_id=ORG)
    )


def _told(world: World, service: str, method: str) -> list[str]:
    asking = authz_pb2_grpc.AuthzServiceStub(world.served.channel(Caller(CallerKind.SERVICE, service)))
    token = world.token("sara", f"kept:{service}")
    answer = asking.Check(authz_pb2.CheckRequest(token=token, method=method))
    return list(answer.affiliated_organization_ids)


def _case(world: World, record_id: bytes) -> str:
    """A case of ORG on one record. Returns the id."""
    review = authz_pb2_grpc.AuthzServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "safety_review"))
    )
    case_id = new_id("case")
    review.OpenCase(authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=ORG, record_ids=[record_id]))
    return case_id


def test_what_is_declared_counts_at_once_and_only_another_ends_it(workforce: Workforce) -> None:
    world = workforce.world
    sara = world.person("sara", SAFETY)
    assert _told(world, "safety_review", GET_CASE) == []
    made = _declare(world, "sara")
    assert (made.person_id, made.organization_id, made.declared_by) == (sara, ORG, sara)
    assert _declare(world, "sara") == made, "said twice, done once"
    assert _told(world, "safety_review", GET_CASE) == [ORG]
    listed = directory_pb2.ListAffiliationsRequest(person_id=sara)
    assert list(world.directory("ada").ListAffiliations(listed).affiliations) == [made]
    _end(world, "ada", sara)
    assert _told(world, "safety_review", GET_CASE) == []
    _end(world, "ada", sara)
    assert [len(world.entries(f"affiliation.{act}")) for act in ("declared", "ended")] == [1, 1]


def test_its_cases_open_nothing_to_them(workforce: Workforce) -> None:
    world = workforce.world
    world.person("sara", SAFETY)
    world.person("sue", SAFETY)
    mine = new_record_id(world.clock.now())
    case = {"purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY, "case_id": _case(world, mine)}
    grant = world.request("sara", **case)
    world.approve("sue", grant)
    world.open("sara", grant.grant_id, mine)
    _declare(world, "sara", OTHER)
    world.open("sara", grant.grant_id, mine)
    _declare(world, "sara")
    assert refusal(lambda: world.open("sara", grant.grant_id, mine)) == "GRANT_REVOKED"
    assert refusal(lambda: world.request("sara", **case)) == "CONFLICT_OF_INTEREST"


def test_who_has_to_do_with_a_customer_sees_and_decides_no_grant_for_its_cases(workforce: Workforce) -> None:
    """A colleague who could warn the customer does not learn from access control what safety review keeps from her."""
    world = workforce.world
    _, _, me = (world.person(who, SAFETY) for who in ("sara", "sue", "fay"))
    case_id = _case(world, new_record_id(world.clock.now()))
    safety = {"purpose": grants_pb2.PURPOSE_SAFETY_AND_SECURITY}
    for_case, other = world.request("sara", **safety, case_id=case_id), world.request("sara", **safety)
    mine = world.request("fay", **safety, case_id=case_id)
    approved = [world.request("sara", **safety, case_id=case_id) for _ in range(2)]
    for approver, grant in zip(("fay", "sue"), approved, strict=True):
        world.approve(approver, grant)

    def listed() -> set[str]:
        found = world.grants("fay").ListGrants(grants_pb2.ListGrantsRequest()).grants
        return {grant.grant_id for grant in found}

    of_the_case = {grant.grant_id for grant in (for_case, mine, *approved)}
    assert listed() == {other.grant_id, *of_the_case}
    _declare(world, "fay", OTHER)
    assert listed() == {other.grant_id, *of_the_case}
    _declare(world, "fay")
    assert listed() == {other.grant_id}
    fay = world.grants("fay")
    for grant_id in of_the_case:
        for refused in (
            lambda one=grant_id: fay.GetGrant(grants_pb2.GetGrantRequest(grant_id=one)),
            lambda one=grant_id: fay.ApproveGrant(grants_pb2.ApproveGrantRequest(grant_id=one)),
            lambda one=grant_id: fay.DenyGrant(grants_pb2.DenyGrantRequest(grant_id=one, reason="no")),
            lambda one=grant_id: fay.RevokeGrant(grants_pb2.RevokeGrantRequest(grant_id=one, reason="no")),
        ):
            assert refusal(refused) == "NOT_FOUND"
    assert {entry["subjects"][0] for entry in world.entries("grant.revoked")} == {
        mine.grant_id,
        approved[0].grant_id,
    }
    assert refusal(lambda: world.authorize("sara", approved[0].grant_id)) == "GRANT_REVOKED"
    world.authorize("sara", approved[1].grant_id)
    world.approve("fay", other)
    # What ended stays so when the affiliation ends.
    _end(world, "ada", me)
    assert listed() == {other.grant_id, *of_the_case}
    assert refusal(lambda: world.authorize("sara", approved[0].grant_id)) == "GRANT_REVOKED"


def test_an_approval_that_was_there_before_an_affiliation_counted_so_counts_no_more(
    workforce: Workforce,
) -> None:
    """As a version left it that asked the requester alone: it counts neither now nor once the affiliation has ended."""
    world = workforce.world
    world.person("sara", SAFETY)
    fay = world.person("fay", SAFETY)
    mine = new_record_id(world.clock.now())
    grant = world.request("sara", purpose=grants_pb2.PURPOSE_SAFETY_AND_SECURITY, case_id=_case(world, mine))
    world.approve("fay", grant)
    world.open("sara", grant.grant_id, mine)  # what is known of her is in memory then
    with world.database.transaction() as tx:
        store.add(tx, store.Affiliation(fay, ORG, fay, world.clock.now()))
    assert refusal(lambda: world.open("sara", grant.grant_id, mine)) == "GRANT_REVOKED"
    _end(world, "ada", fay)
    assert refusal(lambda: world.open("sara", grant.grant_id, mine)) == "GRANT_REVOKED"


def test_no_other_service_is_told(workforce: Workforce) -> None:
    world = workforce.world
    world.person("sara", SAFETY)
    _declare(world, "sara")
    assert _told(world, "retention", "/kept.retention.v1.HoldService/ListHolds") == []


def test_nobody_ends_their_own_and_declaring_it_for_another_takes_the_power(workforce: Workforce) -> None:
    world = workforce.world
    _declare(world, "ada")
    assert refusal(lambda: _end(world, "ada", workforce.ids["ada"])) == "SECOND_PERSON_REQUIRED"
    assert refusal(lambda: _declare(world, "eve", ORG, workforce.ids["colin"])) == "POWER_REQUIRED"
    assert _declare(world, "ada", OTHER, workforce.ids["colin"]).declared_by == workforce.ids["ada"]
    assert refusal(lambda: _declare(world, "ada", ORG, "person_" + "0" * 26)) == "NOT_FOUND"


def test_none_is_declared_with_an_organization_that_there_is_not(workforce: Workforce) -> None:
    world = workforce.world
    world.person("sara", SAFETY)
    nobody = new_id("org")
    assert refusal(lambda: _declare(world, "sara", nobody)) == "UNKNOWN_ORGANIZATION"
    unknown = authz_pb2.RequireOrganizationRequest(organization_id=nobody)
    known = authz_pb2.RequireOrganizationRequest(organization_id=ORG)
    asked = [
        authz_pb2_grpc.AuthzServiceStub(world.served.channel(Caller(CallerKind.SERVICE, service)))
        for service in ("retention", "safety_review")
    ]
    assert refusal(lambda: asked[0].RequireOrganization(unknown)) == "UNKNOWN_ORGANIZATION"
    assert refusal(lambda: asked[1].RequireOrganization(unknown)) == "UNKNOWN_ORGANIZATION"
    # What is known is known without settings too; what is not may be there by now.
    world.clock.advance(timedelta(seconds=10))
    for one in asked:
        one.RequireOrganization(known)
    assert refusal(lambda: asked[0].RequireOrganization(unknown)) == "LEASE_LAPSED"
    assert world.entries("affiliation.declared") == []
