"""What names a customer is told to safety review, of the organizations that it names, and to nobody else."""

import pytest

from kept.settings.v1 import identifiers_pb2, identifiers_pb2_grpc
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from tests.unit.settings.world import World, refused


def _asked(
    world: World, *organization_ids: str, service: str = "safety_review"
) -> identifiers_pb2.ListIdentifiersResponse:
    channel = world._server.channel(Caller(CallerKind.SERVICE, name=service), "settings")
    request = identifiers_pb2.ListIdentifiersRequest(organization_ids=organization_ids)
    return identifiers_pb2_grpc.IdentifierServiceStub(channel).ListIdentifiers(request)


def test_the_words_that_name_these_customers_and_no_other(world: World) -> None:
    acme, other = world.admin("acme"), world.admin("other")
    colleague = world.colleague(acme)
    told = _asked(world, acme.organization_id)
    assert list(told.organization_names) == ["Acme Ltd"]
    assert {acme.email, colleague.email} <= set(told.emails)
    assert other.email not in told.emails
    assert {(person.first_name, person.last_name) for person in told.people} == {
        (member.first_name, member.last_name) for member in (acme, colleague)
    }
    both = _asked(world, acme.organization_id, other.organization_id)
    assert {acme.email, other.email} <= set(both.emails)
    assert _asked(world, "org_" + "0" * 26) == identifiers_pb2.ListIdentifiersResponse()


@pytest.mark.parametrize("service", ["logging", "retention", "access_control"])
def test_no_other_service_is_told(world: World, service: str) -> None:
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        _asked(world, world.admin("acme").organization_id, service=service)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        _asked(world)
