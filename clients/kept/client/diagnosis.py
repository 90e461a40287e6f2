"""What is wrong with an installation, seen from here: profile, authority, clocks, certificates, services, sign-in."""

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from kept.client.clock import system_now
from kept.client.errors import KeptError
from kept.client.profile import SERVICES, Profile
from kept.client.session import Session, opener

if TYPE_CHECKING:
    import grpc

_TIMEOUT_SECONDS: Final = 5
# Record ids and tokens are judged by clocks that may differ by this much and no more.
_TOLERANCE: Final = timedelta(seconds=5)
# Seconds since 1970; what says more is no time that datetime has.
_LAST_SECOND: Final = 60_000_000_000
_SOON: Final = timedelta(days=7)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. state: "ok", "note" or "bad". next_step: empty when all is well."""

    what: str
    state: str
    words: str
    next_step: str = ""


def examine(
    profile: Profile, channel: Callable[[str], "grpc.Channel"], session: Callable[[], Session]
) -> Iterator[Finding]:
    """Everything that can be looked at without rights. channel: service -> channel without a token. session: who is signed in;
    raises KeptError when nobody is."""
    yield Finding("profile", "ok", f"{profile.file} ({profile.name})")
    for service in SERVICES:
        yield _certificate(profile, service)
        yield from _health(profile, channel(service), service)
    for kind, issuer in profile.issuers.items():
        yield _issuer_clock(kind, issuer)
    yield _sign_in(session)
    yield _signing_keys(profile)


def _certificate(profile: Profile, service: str) -> Finding:
    what = f"{service} certificate"
    host, _, port = profile.addresses[service].partition(",")[0].rpartition(":")
    try:
        context = ssl.create_default_context(cafile=str(profile.authority))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as secured,
        ):
            certificate = secured.getpeercert()
    except FileNotFoundError:
        return Finding(
            what, "bad", f"there is no {profile.authority}", "Correct tls.authority in the profile."
        )
    except ssl.SSLCertVerificationError as error:
        return Finding(
            what,
            "bad",
            f"not trusted: {error.verify_message}",
            "Check the profile's authority file, and this machine's clock.",
        )
    except OSError as error:
        return Finding(
            what,
            "bad",
            f"no TLS at {host}:{port}: {error.strerror or error}",
            "Check the address, and that the service runs.",
        )
    assert certificate is not None
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    left = until - system_now()
    words = f"good until {until:%Y-%m-%d %H:%M}Z"
    return Finding(what, "note" if left < _SOON else "ok", words)


# Parts of a service that some have: name, what it says when it is well, when it is not, and what to do then.
_PARTS: Final = (
    (
        "audit_log",
        "tells of nothing that the database does not know",
        "not asked yet, or tells of more than the database knows: everything is refused",
        "Look whether access control serves; after a restore, wait until it has made up for what it missed (docs/backups.md).",
    ),
    (
        "leases",
        "in force",
        "lapsed: what needs them is refused",
        "Look whether settings and the others serve; leases come back by themselves within seconds.",
    ),
    (
        "outbox",
        "nothing is refused",
        "holds messages that their receiver does not take",
        "Its log names receiver and reason (outbox.refused, webhook.endpoint_gone); they are kept and tried again.",
    ),
)


def _health(profile: Profile, channel: "grpc.Channel", service: str) -> Iterator[Finding]:
    """Whether it serves, has its database, holds its leases, and gets rid of its messages: by the names that servers report
    (shared/server.py)."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub: Any = health_pb2_grpc.HealthStub(channel)  # its types come without its method

    def serves(part: str) -> bool | None:
        """None where the server knows no such part."""
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=part), timeout=_TIMEOUT_SECONDS)
        except KeptError as error:
            if error.status == "NOT_FOUND":
                return None
            raise
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    try:
        whole, database = serves(""), serves("database")
        states = {part: serves(part) for part, *_ in _PARTS}
    except KeptError as error:
        yield Finding(service, "bad", error.text, "Check the address, and that the service runs.")
        return
    if whole:
        yield Finding(service, "ok", f"serves at {profile.addresses[service]}")
    else:
        yield Finding(service, "bad", "does not serve", "Wait until it does; its log says what it waits for.")
    if database:
        yield Finding(f"{service} database", "ok", "answers, with this version's schema")
    else:
        yield Finding(
            f"{service} database",
            "bad",
            "does not answer, or has another version's schema",
            "Look at the database; after an upgrade, run the migrations.",
        )
    for part, well, ill, next_step in _PARTS:
        if states[part]:
            yield Finding(f"{service} {part.replace('_', ' ')}", "ok", well)
        elif states[part] is False:
            yield Finding(f"{service} {part.replace('_', ' ')}", "bad", ill, next_step)


def _issuer_clock(kind: str, issuer: str) -> Finding:
    what = f"{kind} issuer"
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        with opener(issuer).open(address, timeout=_TIMEOUT_SECONDS) as reply:
            date = reply.headers.get("Date", "")
    # HTTPException: the port speaks something else; ValueError: no request can name it.
    except (OSError, HTTPException, ValueError):
        return Finding(what, "bad", f"{issuer} does not answer", "Check [issuers] in the profile.")
    try:
        ahead = parsedate_to_datetime(date) - system_now()
    except (TypeError, ValueError):
        return Finding(what, "ok", "answers; tells no time")
    if abs(ahead) > _TOLERANCE:
        return Finding(
            what, "bad", f"its clock differs by {ahead.total_seconds():+.0f} s", "Set this machine's clock."
        )
    return Finding(what, "ok", "answers; its clock is this machine's")


def _sign_in(find: Callable[[], Session]) -> Finding:
    what = "sign-in"
    try:
        session = find()
        session.access_token("kept:access_control", fresh=True)
    except KeptError as error:
        return Finding(what, "note", error.text, error.next_step())
    issued = session.claims().get("iat")
    if isinstance(issued, int | float) and abs(issued) < _LAST_SECOND:
        ahead = datetime.fromtimestamp(issued, UTC) - system_now()
        if abs(ahead) > _TOLERANCE:
            # Only a local stack's clock travels: what it says then is no fault.
            return Finding(
                what,
                "note",
                f"{session.name}; tokens are dated {ahead.total_seconds():+.0f} s from this machine's clock",
                "On a local stack with a travelling clock that is meant; elsewhere set the clocks.",
            )
    return Finding(what, "ok", f"{session.name} ({session.kind})")


def _signing_keys(profile: Profile) -> Finding:
    from kept.client.signing_keys import load

    try:
        keys = load(profile.signing_keys)
    except KeptError as error:
        return Finding("signing keys", "bad", error.text, "Pin them anew: kept trust --replace.")
    if not keys:
        return Finding("signing keys", "note", "none are pinned", "Pin them with `kept trust`.")
    return Finding("signing keys", "ok", f"{len(keys)} pinned")
