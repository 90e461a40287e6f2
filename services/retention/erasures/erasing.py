"""Asks each service to erase an organization, and makes its receipt."""

from collections.abc import Callable
from datetime import UTC
from typing import Final

from kept.access_control.v1 import lifecycle_pb2 as access_control_pb2
from kept.logging.v1 import lifecycle_pb2 as logging_pb2
from kept.safety_review.v1 import lifecycle_pb2 as safety_review_pb2
from kept.settings.v1 import lifecycle_pb2 as settings_pb2
from services.retention.certificates.certificate import Receipt
from services.retention.peers import Peers

Erase = Callable[[Peers, str, str], Receipt]


def _logging(peers: Peers, organization_id: str, erasure_id: str) -> Receipt:
    answer = peers.logging.EraseOrganization(
        logging_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=erasure_id)
    )
    return Receipt("logging", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed), answer.held)


def _safety_review(peers: Peers, organization_id: str, erasure_id: str) -> Receipt:
    answer = peers.safety_review.EraseOrganization(
        safety_review_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=erasure_id)
    )
    return Receipt(
        "safety_review", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed), answer.kept
    )


def _access_control(peers: Peers, organization_id: str, erasure_id: str) -> Receipt:
    answer = peers.access_control.EraseOrganization(
        access_control_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=erasure_id)
    )
    return Receipt("access_control", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed))


def _settings(peers: Peers, organization_id: str, erasure_id: str) -> Receipt:
    answer = peers.settings.EraseOrganization(
        settings_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=erasure_id)
    )
    return Receipt("settings", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed))


# In this order: what settings knows of the organization goes last.
ERASE: Final[dict[str, Erase]] = {
    "logging": _logging,
    "safety_review": _safety_review,
    "access_control": _access_control,
    "settings": _settings,
}
