"""A token that was signed for somebody and is of no use where it is shown is refused by name, and whose it was is in the audit log,
whichever service it was shown to."""

import json

import grpc
import pytest

from deploy.local.layout import SERVICES
from deploy.local.story.plot import Plot
from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
from kept.client.errors import from_rpc_error
from tests.integration.test_caller_matrix import _session
from tests.support.contracts import Method, methods

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


def for_people(service: str) -> Method:
    """A method of the service that people call."""
    return next(
        method
        for method in methods()
        if method.service == service
        and method.callers is not None
        and (method.callers.roles or method.callers.any_staff)
    )


def denials(plot: Plot, after: int = 0) -> list[dict[str, object]]:
    """What the vendor's own log says of refused methods after a number; each with its number."""
    found: list[dict[str, object]] = []
    stub = plot.stage.staff("ada").stub(audit_pb2_grpc.AuditServiceStub)
    while True:
        page = stub.ListEntries(audit_pb2.ListEntriesRequest(after_number=after, page_size=500))
        for entry in page.entries:
            after = entry.number
            found.append({"number": entry.number, **json.loads(entry.body or b"{}")})
        if page.complete:
            return found


@pytest.mark.parametrize("service", SERVICES)
def test_whose_it_was_is_written_down(plot: Plot, service: str) -> None:
    method = for_people(service)
    before = denials(plot)[-1]["number"]
    assert isinstance(before, int)
    other = next(name for name in SERVICES if name != service)
    # Somebody's who shows it nowhere else: a token is written down once in a while, not each time.
    token = _session(plot, "emma").access_token(f"kept:{other}")
    bearer = ("authorization", f"Bearer {token}")

    with pytest.raises(grpc.RpcError) as refused:
        method.invoke(plot.stage._people(service), method.request().SerializeToString(), (bearer,))

    assert from_rpc_error(refused.value, service).reason == "UNAUTHENTICATED"
    (entry,) = [entry for entry in denials(plot, before) if entry["kind"] == "method.denied"]
    assert str(entry["actor"]).startswith("person_")
    assert entry["facts"]["method"] == method.path  # type: ignore[index] # of an entry
    assert entry["facts"]["problem"] == "AUDIENCE"  # type: ignore[index]
