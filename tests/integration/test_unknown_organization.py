"""An organization that there is not: whatever retention, safety review and access control are asked to begin for it is refused by name.

They know no organizations of their own, so each has to ask. Settings looks its own up, and logging refuses record by record; what only
lists or ends something finds nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import pytest

from deploy.local.story.plot import Plot
from kept.client.errors import from_rpc_error
from shared.ids import new_id, new_record_id
from tests.integration.test_caller_matrix import KINDS
from tests.integration.test_hostile_input import door
from tests.support.contracts import Method, methods

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

_UNKNOWN: Final = "org_" + "q" * 26


def _begins(method: Method) -> bool:
    """Whether people, or settings for them, have something begun for an organization that they name."""
    callers = method.callers
    name = method.path.rsplit("/", 1)[-1]
    return (
        method.service in ("retention", "safety_review", "access_control")
        and callers is not None
        and bool(callers.roles or callers.any_staff or "settings" in callers.services)
        and not {"organization_id", "data"}.isdisjoint(method.descriptor.input_type.fields_by_name)
        # Members are settings' own, of organizations that it has made a moment ago.
        and not name.startswith(("List", "Get", "End", "Watch", "SyncMember"))
    )


BEGINNING: Final = {method.path.rsplit("/", 1)[-1]: method for method in methods() if _begins(method)}
_NOW: Final = datetime.now(UTC)
_GRANT: Final[dict[str, Any]] = {
    "request_id": "request-1",
    "data": {"organization_id": _UNKNOWN, "detail": 3, "budget": 5},
    "purpose": 1,
    "reason": "of nobody",
    "ticket": "T-1",
    "duration": timedelta(hours=1),
}
_MEMBER: Final = new_id("member")
# What else each asks for; one that is new here needs a line.
_ASKED: Final[dict[str, dict[str, Any]]] = {
    "SetTerm": {"request_id": "request-1", "kind": 1, "days": 10, "reference": "x"},
    "PlaceHold": {
        "request_id": "request-1",
        "kind": 1,
        "reference": "Matter 1",
        "scope": {},
        "review_at": _NOW + timedelta(days=30),
    },
    "EraseOrganization": {
        "account_deletion_id": new_id("deletion"),
        "confirmed_by": _MEMBER,
        "claim_sha256": bytes(32),
    },
    "EraseSubject": {"request_id": "request-1", "end_user": "x", "requested_by": _MEMBER},
    "EraseContent": {"request_id": new_id("zdr"), "before": _NOW, "requested_by": _MEMBER},
    "OpenCase": {
        "request_id": "request-1",
        "category": "fraud",
        "severity": 1,
        "reason": "of nobody",
        "record_ids": [new_record_id(_NOW)],
    },
    "StartRescreening": {"grant_id": new_id("grant"), "from": _NOW - timedelta(days=1), "until": _NOW},
    "RequestGrant": _GRANT,
    "BreakGlass": _GRANT,
    "DeclareAffiliation": {},
}


@pytest.mark.parametrize("name", sorted({*BEGINNING, *_ASKED}))
def test_nothing_is_begun_for_an_organization_that_there_is_not(plot: Plot, name: str) -> None:
    method = BEGINNING[name]
    assert method.callers is not None
    asked = dict(_ASKED[name])
    if "organization_id" in method.descriptor.input_type.fields_by_name:
        asked["organization_id"] = _UNKNOWN
    request = type(method.request())(**asked)
    declared = method.callers
    able = [kind for kind in KINDS if kind.passes(declared)]
    people = [kind for kind in able if kind.door == "people"]
    channel, metadata = door(plot, method, (people or able)[0])
    with pytest.raises(grpc.RpcError) as refused:
        method.invoke(channel, request.SerializeToString(), metadata)
    assert from_rpc_error(refused.value, method.service).reason == "UNKNOWN_ORGANIZATION"
