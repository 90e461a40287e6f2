"""Whose a span is. Never a guess: what names no organization, or two, is rejected; whether the gateway may record for the one that is
named is Ingest's to decide."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.values import by_name
from services.logging.records import API_KEY_ID_FORM

ORGANIZATION: Final = "kept.organization_id"
API_KEY_KIND: Final = "kept.api_key_kind"
API_KEY_ID: Final = "kept.api_key_id"
_APPLICATION: Final = "service.name"


Attributes = dict[str, common_pb2.AnyValue]

_KEY_KINDS: Final = {
    "production": interactions_pb2.API_KEY_KIND_PRODUCTION,
    "trial": interactions_pb2.API_KEY_KIND_TRIAL,
}


class Fault(StrEnum):
    """Why a span or an event is rejected before it is an interaction. The names stand in partial successes (docs/otlp.md)."""

    ORGANIZATION_NOT_NAMED = "ORGANIZATION_NOT_NAMED"
    ORGANIZATION_AMBIGUOUS = "ORGANIZATION_AMBIGUOUS"
    INVALID_API_KEY_KIND = "INVALID_API_KEY_KIND"
    INVALID_API_KEY_ID = "INVALID_API_KEY_ID"
    INVALID_TRACE_ID = "INVALID_TRACE_ID"
    INVALID_SPAN_ID = "INVALID_SPAN_ID"
    NO_START_TIME = "NO_START_TIME"
    TOO_LARGE = "TOO_LARGE"
    MALFORMED = "MALFORMED"


class Rejected(Exception):
    """This span or event is not recorded; the others are."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True)
class Facts:
    """What a resource says of all its spans. organizations, key_kinds, key_ids: what it names, of several values
    two: they are ambiguous already."""

    application: str = ""
    organizations: frozenset[str] = frozenset()
    key_kinds: frozenset[str] = frozenset()
    key_ids: frozenset[str] = frozenset()


def facts_of(resource: resource_pb2.Resource) -> Facts:
    """What this resource says."""
    said = resource.attributes
    attributes = by_name(said)
    application = attributes.get(_APPLICATION)
    return Facts(
        "" if application is None else application.string_value,
        _named(frozenset(), said, attributes, ORGANIZATION),
        _named(frozenset(), said, attributes, API_KEY_KIND),
        _named(frozenset(), said, attributes, API_KEY_ID),
    )


def organization_of(
    facts: Facts, said: Iterable[common_pb2.KeyValue], attributes: Attributes, only: str
) -> str:
    """The organization that resource and span agree on; where neither names one, the one that the gateway is bound to alone. What comes
    from a customer's own program may set attributes of a span, so a span that names another organization than its resource is not
    believed.

    said, attributes: the span's, as a list and by name. only: empty where the gateway is bound to several. Raises Rejected:
    ORGANIZATION_NOT_NAMED, ORGANIZATION_AMBIGUOUS.
    """
    named = _named(facts.organizations, said, attributes, ORGANIZATION)
    if len(named) > 1:
        raise Rejected(Fault.ORGANIZATION_AMBIGUOUS)
    organization = next(iter(named), only)
    if not organization:
        raise Rejected(Fault.ORGANIZATION_NOT_NAMED)
    return organization


def key_kind_of(
    facts: Facts, said: Iterable[common_pb2.KeyValue], attributes: Attributes
) -> interactions_pb2.ApiKeyKind.ValueType:
    """Whose key it was. It says which terms count: an unknown kind, or two, are no guess either. Raises INVALID_API_KEY_KIND."""
    named = _named(facts.key_kinds, said, attributes, API_KEY_KIND)
    if not named:
        return interactions_pb2.API_KEY_KIND_UNSPECIFIED
    kind = _KEY_KINDS.get(next(iter(named)))
    if kind is None or len(named) > 1:
        raise Rejected(Fault.INVALID_API_KEY_KIND)
    return kind


def key_id_of(facts: Facts, said: Iterable[common_pb2.KeyValue], attributes: Attributes) -> str:
    """Which key it was; empty where nothing says so. Raises INVALID_API_KEY_ID for what is no key's id, and for two."""
    named = _named(facts.key_ids, said, attributes, API_KEY_ID)
    if not named:
        return ""
    key_id = next(iter(named))
    if len(named) > 1 or not API_KEY_ID_FORM.fullmatch(key_id):
        raise Rejected(Fault.INVALID_API_KEY_ID)
    return key_id


def _named(
    before: frozenset[str], said: Iterable[common_pb2.KeyValue], attributes: Attributes, key: str
) -> frozenset[str]:
    """What was named before, and the values under a key, which OTLP allows once and senders repeat: two at most, for a resource that names
    many would have them copied for each span. What is no text counts as empty text: named, and nobody's."""
    if key not in attributes or len(before) > 1:
        return before
    named = set(before)
    for one in said:
        if one.key == key:
            named.add(one.value.string_value)
            if len(named) > 1:
                break
    return frozenset(named)
