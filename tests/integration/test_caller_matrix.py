"""Every method × every kind of caller: only the declared ones pass. Generated from the contracts, so a new method is in it by itself."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from deploy.local.issuer.tokens import SigningKey
from deploy.local.story.plot import Plot
from kept.client.errors import from_rpc_error
from kept.options.v1 import callers_pb2, roles_pb2
from tests.support.contracts import SERVICES, Method, methods

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

METHODS = methods()
# What a caller who is not among the declared ones may be told.
REFUSALS = {
    "UNAUTHENTICATED",
    "CALLER_NOT_ALLOWED",
    "NOT_AUTHORIZED",
    "POWER_REQUIRED",
    "ADMIN_REQUIRED",
    "GATEWAY_NOT_REGISTERED",
}


@dataclass(frozen=True)
class Kind:
    """A kind of caller. door: "services" or "people". certificate: whose, at the door of services. token: gives one for an audience.
    passes: whether a method's declaration includes this kind."""

    name: str
    door: str
    passes: Callable[[callers_pb2.Callers], bool]
    certificate: str = ""
    token: Callable[[Plot, str], str] | None = None
    streams: bool = field(default=True)


def service(name: str) -> Kind:
    return Kind(f"service {name}", "services", lambda declared: name in declared.services, certificate=name)


def staff(username: str, roles: str, *powers: str) -> Kind:
    numbers = {roles_pb2.StaffRole.Value(f"STAFF_ROLE_{role}") for role in roles.split()}
    held = {roles_pb2.Power.Value(f"POWER_{power}") for power in powers}

    def passes(declared: callers_pb2.Callers) -> bool:
        if declared.public or declared.any_staff:
            return True
        return bool(numbers & set(declared.roles)) and (not declared.power or declared.power in held)

    return Kind(f"{roles.lower()} {username}", "people", passes, token=_signed_in(username))


def customer(which: str, role: str) -> Kind:
    number = roles_pb2.CustomerRole.Value(f"CUSTOMER_ROLE_{role}")
    return Kind(
        f"{role.lower()} of {which}",
        "people",
        lambda declared: declared.public or number in declared.customers,
        token=lambda plot, audience: _customer(plot, which, role).access_token(audience),
    )


def _signed_in(username: str) -> Callable[[Plot, str], str]:
    return lambda plot, audience: _session(plot, username).access_token(audience)


def _session(plot: Plot, name: str) -> Any:
    if name not in plot.stage._sessions.names():
        plot.stage.staff(name)
    return plot.stage._sessions.find(name)


def _customer(plot: Plot, which: str, role: str) -> Any:
    who = plot.customers[which]
    email, password = (
        (who.admin_email, who.admin_password) if role == "ADMIN" else (who.member_email, who.member_password)
    )
    if email not in plot.stage._sessions.names():
        plot.stage.customer(email, password)
    return plot.stage._sessions.find(email)


def _claims(plot: Plot, audience: str) -> dict[str, Any]:
    body = _session(plot, "olga").access_token(audience).split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def _issuer_key(plot: Plot) -> SigningKey:
    return SigningKey(plot.stage.stack.layout.issuer / "workforce.pem")


def _expired(plot: Plot, audience: str) -> str:
    claims = _claims(plot, audience)
    return _issuer_key(plot).sign(claims | {"iat": claims["iat"] - 3600, "exp": claims["iat"] - 1})


def _forged(plot: Plot, audience: str) -> str:
    header = {"alg": "ES256", "typ": "JWT", "kid": _issuer_key(plot).key_id}
    return jwt.encode(header, _claims(plot, audience), ECKey.generate_key("P-256"))


def _for_another(plot: Plot, audience: str) -> str:
    other = next(f"kept:{name}" for name in SERVICES if f"kept:{name}" != audience)
    return str(_session(plot, "olga").access_token(other))


def nobody(_: callers_pb2.Callers) -> bool:
    return False


KINDS = [
    *(service(name) for name in (*SERVICES, "training", "issuer", "stranger")),
    Kind(
        "gateway that is registered",
        "services",
        lambda declared: declared.gateways,
        certificate="gateway/demo",
    ),
    Kind("gateway that is not", "services", nobody, certificate="gateway/unknown"),
    Kind("nobody", "people", lambda declared: declared.public),
    Kind("expired token", "people", nobody, token=_expired),
    Kind("forged token", "people", nobody, token=_forged),
    Kind("token for another service", "people", nobody, token=_for_another),
    staff("olga", "OPERATOR", "OPERATOR", "ROLE_ASSIGNMENT"),
    staff("omar", "OPERATOR", "ROLE_ASSIGNMENT"),
    staff("emma", "ENGINEER"),
    staff("elias", "ENGINEER ON_CALL"),
    staff("sara", "SAFETY"),
    staff("lena", "LEGAL"),
    staff("luca", "LEGAL", "LEGAL"),
    staff("carla", "COMPLIANCE"),
    staff("ada", "AUDITOR"),
    customer("saas", "ADMIN"),
    customer("saas", "MEMBER"),
    customer("zdr", "ADMIN"),
]


def test_every_method_declares_its_callers() -> None:
    undeclared = [method.path for method in METHODS if method.callers is None]
    assert undeclared == [], "a method without the option is refused to everyone"
    assert len(METHODS) > 60


def outcome(plot: Plot, method: Method, kind: Kind) -> str:
    """ "OK", or the reason that the call was refused for."""
    if kind.door == "services":
        channel = plot.stage.service(kind.certificate)._channel(method.service)
        metadata: tuple[tuple[str, str], ...] = ()
    else:
        channel = plot.stage._people(method.service)
        token = kind.token(plot, f"kept:{method.service}") if kind.token else ""
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        method.invoke(channel, b"", metadata)
    except grpc.RpcError as error:
        return from_rpc_error(error, method.service).reason
    return "OK"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_only_the_declared_callers_pass(plot: Plot, kind: Kind) -> None:
    wrong = []
    for method in METHODS:
        declared = method.callers
        assert declared is not None
        got = outcome(plot, method, kind)
        passed = got not in REFUSALS
        if passed is not kind.passes(declared) or got in ("INTERNAL", "UNKNOWN"):
            wrong.append(f"{method.path}: {got}")
    assert wrong == []


@pytest.mark.parametrize("name", SERVICES)
def test_without_a_certificate_the_door_of_services_stays_shut(plot: Plot, name: str) -> None:
    authority = plot.stage._profile.authority.read_bytes()
    with grpc.secure_channel(
        plot.stage.stack.addresses(name).services, grpc.ssl_channel_credentials(authority)
    ) as channel:
        for method in METHODS:
            if method.service == name:
                with pytest.raises(grpc.RpcError) as refused:
                    method.invoke(channel, b"", ())
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                break
