"""`kept settings keys`: which API keys are an organization's, and under which terms their data fall."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kept.cli.arguments import Limit, OwnOrganization, RequestId, enum_value, sha256
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.settings.v1 import api_keys_pb2, api_keys_pb2_grpc

_TRIAL_WORDS: Final = (
    "Trial key: what is sent with it falls under the general terms, not under the enterprise commitments. "
    "Zero data retention counts for it all the same."
)
_TRIAL_ORGANIZATION_WORDS: Final = (
    "Your organization is a trial: what is sent with any of its keys falls under the general terms."
)


class ApiKeyKind(StrEnum):
    """What a key is for."""

    PRODUCTION = "production"
    TRIAL = "trial"


def add_to(settings: typer.Typer) -> None:
    """Adds the group."""
    keys = group(settings, "keys", "API keys. What a trial key sends falls under the general terms.")
    verb(keys, "register")(register)
    verb(keys, "list")(list_)
    verb(keys, "revoke")(revoke)


def _stub(call: Invocation) -> "api_keys_pb2_grpc.ApiKeyServiceStub":
    from kept.settings.v1 import api_keys_pb2_grpc

    return api_keys_pb2_grpc.ApiKeyServiceStub(call.channel("settings"))


def _say_terms(call: Invocation, key: "api_keys_pb2.ApiKey") -> None:
    from kept.settings.v1 import api_keys_pb2

    if key.terms == api_keys_pb2.TERMS_KIND_GENERAL:
        call.note(_TRIAL_WORDS if key.kind == _kind(ApiKeyKind.TRIAL) else _TRIAL_ORGANIZATION_WORDS)


def _kind(kind: ApiKeyKind) -> int:
    from kept.logging.v1 import interactions_pb2

    return int(enum_value(interactions_pb2.ApiKeyKind, "API_KEY_KIND", kind))


def register(
    call: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you call it. Not the key.")],
    kind: Annotated[
        ApiKeyKind, typer.Option("--kind", help="Trial: its data fall under the general terms.")
    ] = ApiKeyKind.PRODUCTION,
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint",
            metavar="HEX",
            help="SHA-256 of the key. Without it the key is asked for, or taken from $KEPT_API_KEY, and hashed here.",
        ),
    ] = "",
    organization: OwnOrganization = "",
    request_id: RequestId = "",
) -> None:
    """Register an API key by its SHA-256. The key itself goes nowhere: it is hashed on this machine.

    What is sent with a trial key falls under the general terms, whatever your organization pays.
    """
    import hashlib

    from kept.cli.output import sheet
    from kept.cli.signing_in import secret
    from kept.settings.v1 import api_keys_pb2

    if fingerprint:
        digest = bytes.fromhex(sha256(fingerprint))
    else:
        digest = hashlib.sha256(secret("KEPT_API_KEY", "API key").strip().encode()).digest()
    response = _stub(call).RegisterApiKey(
        api_keys_pb2.RegisterApiKeyRequest(
            request_id=call.request_id(request_id),
            organization_id=call.own_organization(organization),
            name=name,
            kind=_kind(kind),  # type: ignore[arg-type]
            fingerprint=digest,
        )
    )
    call.show(response, lambda: sheet(response.api_key))
    _say_terms(call, response.api_key)


def list_(call: Invocation, organization: OwnOrganization = "", limit: Limit = 1000) -> None:
    """Your organization's API keys, revoked ones too, and the terms that their data fall under."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import api_keys_pb2

    wanted = api_keys_pb2.ListApiKeysRequest(organization_id=call.own_organization(organization))
    response = pages(_stub(call).ListApiKeys, wanted, limit)
    columns = [
        ("key", "api_key_id"),
        "name",
        "kind",
        "terms",
        "registered_at",
        "registered_by",
        "revoked_at",
        "revoked_by",
    ]
    call.show(response, lambda: table(response.api_keys, columns, "No key is registered."))


def revoke(
    call: Invocation,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key id, apikey_….")],
) -> None:
    """End an API key for good. No gateway takes it from "ends at" on."""
    from kept.cli.output import sheet
    from kept.settings.v1 import api_keys_pb2

    response = _stub(call).RevokeApiKey(api_keys_pb2.RevokeApiKeyRequest(api_key_id=key))
    call.show(response, lambda: sheet(response))
