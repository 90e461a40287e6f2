"""Who calls: a service by the SPIFFE id in its certificate, a person by an OIDC token whose audience is this one service.

Tokens are verified here (RFC 7519, RFC 9068 in spirit): issuer, audience, expiry, not-before, key id, and an algorithm out of a
pinned list.
What the person may do is not in the token; access control's directory (or settings, for its own members) says.
"""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

import grpc
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from kept.options.v1 import roles_pb2
from shared.clock import Clock
from shared.config import Issuer
from shared.errors import KeptError, Reason
from shared.redaction import Secret

# Keys of an issuer are trusted this long after they were fetched; an issuer that is down longer fails closed.
_KEYS_LIFETIME: Final = 3600.0
# A token with an unknown key id makes us look again, at most this often.
_KEYS_REFRESH: Final = 10.0
_FETCH_TIMEOUT: Final = 3.0
_LONGEST_TOKEN: Final = 8192
# Tolerated difference between the issuer's clock and ours, in seconds, for "issued at" and "not before" only: expiry is exact.
_LEEWAY: Final = 5


class CallerKind(Enum):
    """What kind of caller."""

    SERVICE = "service"
    GATEWAY = "gateway"
    STAFF = "staff"
    CUSTOMER = "customer"
    PUBLIC = "public"


@dataclass(frozen=True)
class Caller:
    """Whoever made the call, as far as proven so far.

    name: the last part of a service's or gateway's SPIFFE id. issuer, subject, token: of a person. person_id, roles: of staff, once
    decided. member_id, organization_id, customer_role: of a customer, once decided.
    """

    kind: CallerKind
    name: str = ""
    issuer: str = ""
    subject: str = ""
    token: Secret = field(default_factory=lambda: Secret(""))
    person_id: str = ""
    roles: frozenset["roles_pb2.StaffRole.ValueType"] = frozenset()
    member_id: str = ""
    organization_id: str = ""
    customer_role: "roles_pb2.CustomerRole.ValueType" = roles_pb2.CUSTOMER_ROLE_UNSPECIFIED
    correlation_id: str = ""

    @property
    def actor(self) -> str:
        """The caller as the audit log names it."""
        if self.person_id or self.member_id:
            return self.person_id or self.member_id
        prefix = "gateway/" if self.kind is CallerKind.GATEWAY else ""
        return f"service:{prefix}{self.name or self.kind.value}"

    @property
    def is_customer(self) -> bool:
        """Whether the caller is a customer's person: sees the own organization and nothing else."""
        return self.kind is CallerKind.CUSTOMER

    def require_organization(self, organization_id: str) -> None:
        """Raises WRONG_ORGANIZATION when a customer names another organization than the own; staff and services pass."""
        if self.is_customer and self.organization_id != organization_id:
            raise KeptError(
                Reason.REASON_WRONG_ORGANIZATION,
                "You can only act on your own organization; check the organization id.",
            )


def _unauthenticated(text: str) -> KeptError:
    return KeptError(Reason.REASON_UNAUTHENTICATED, text)


class IssuerKeys:
    """The public keys of one issuer (JWKS, RFC 7517), fetched when needed and trusted for an hour."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._ids: frozenset[str] = frozenset()
        self._fetched = float("-inf")

    def find(self, key_id: str) -> KeySet:
        """The keys, with `key_id` among them. Raises UNAUTHENTICATED, or PEER_UNAVAILABLE when none can be had."""
        with self._lock:
            age = self._clock.boottime() - self._fetched
            if (
                self._keys is None
                or age > _KEYS_LIFETIME
                or (key_id not in self._ids and age > _KEYS_REFRESH)
            ):
                self._fetch()
            if self._keys is None or key_id not in self._ids:
                raise _unauthenticated("The token is signed with a key that its issuer does not list.")
            return self._keys

    def _fetch(self) -> None:
        try:
            if not self._issuer.jwks_url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
                raise ValueError("not https")
            with urllib.request.urlopen(self._issuer.jwks_url, timeout=_FETCH_TIMEOUT) as answer:  # noqa: S310 - scheme checked
                listed = json.loads(answer.read(1_000_000))
            self._keys = KeySet.import_key_set(listed)
            self._ids = frozenset(str(key.get("kid")) for key in listed["keys"])
            self._fetched = self._clock.boottime()
        except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
            if self._keys is None or self._clock.boottime() - self._fetched > _KEYS_LIFETIME:
                self._keys, self._ids = None, frozenset()
                raise KeptError(
                    Reason.REASON_PEER_UNAVAILABLE,
                    "The issuer's keys cannot be fetched.",
                    metadata={"service": "issuer"},
                ) from error


class TokenVerifier:
    """Verifies tokens of the configured issuers.

    `verify` gives a Caller of kind STAFF or CUSTOMER with issuer, subject, token and, for customers, the organization that the
    issuer vouches for; nothing of it is a role.
    """

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._clock = clock
        self._issuers: Mapping[str, tuple[Issuer, IssuerKeys]] = {
            issuer.issuer: (issuer, IssuerKeys(issuer, clock)) for issuer in issuers
        }

    def verify(self, token: Secret, audience: str) -> Caller:
        """Raises KeptError UNAUTHENTICATED, saying what is wrong in general terms, or PEER_UNAVAILABLE without keys."""
        text = token.reveal()
        if not text or len(text) > _LONGEST_TOKEN or not text.isascii():
            raise _unauthenticated("The token is missing or not a token; sign in.")
        header, claims = _peek(text)
        known = self._issuers.get(str(claims.get("iss")))
        if known is None:
            raise _unauthenticated("The token comes from an issuer that is not trusted here.")
        issuer, keys = known
        if header.get("alg") not in issuer.algorithms:
            raise _unauthenticated("The token's algorithm is not one that is allowed.")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _unauthenticated("The token names no key.")
        try:
            claims = jwt.decode(text, keys.find(key_id), algorithms=list(issuer.algorithms)).claims
        except JoseError as error:
            raise _unauthenticated("The token's signature does not verify.") from error
        self._check_claims(claims, audience)
        kind = CallerKind.STAFF if issuer.kind == "workforce" else CallerKind.CUSTOMER
        organization = claims.get("org", "") if kind is CallerKind.CUSTOMER else ""
        return Caller(
            kind, issuer=issuer.issuer, subject=claims["sub"], token=token, organization_id=str(organization)
        )

    def _check_claims(self, claims: Mapping[str, Any], audience: str) -> None:
        now = self._clock.now().timestamp()
        named = claims.get("aud")
        if named != audience and named != [
            audience
        ]:  # one audience, this one: a token for several opens several
            raise _unauthenticated("The token is for another service.")
        expires, issued, begins = (_time(claims.get(name)) for name in ("exp", "iat", "nbf"))
        if expires is None or issued is None or (begins is None and "nbf" in claims):
            raise _unauthenticated("The token's times are not valid.")
        if now >= expires:
            raise _unauthenticated("The token has expired; sign in again.")
        if issued > now + _LEEWAY or (begins or 0) > now + _LEEWAY:
            raise _unauthenticated("The token is not valid yet; check the clocks.")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise _unauthenticated("The token names nobody.")


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519 §2), or None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _peek(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified: only to find out which key to verify with."""
    import base64

    try:
        parts = text.split(".")
        if len(parts) != 3:
            raise ValueError("not three parts")
        decoded = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2]]
        if not all(isinstance(part, dict) for part in decoded):
            raise ValueError("not objects")
    except (ValueError, RecursionError) as error:
        raise _unauthenticated("The token is not a token; sign in.") from error
    return decoded[0], decoded[1]


class CertificateIdentity:
    """Names services by their certificates: spiffe://<trust domain>/<service> or …/gateway/<name>."""

    def __init__(self, trust_domain: str) -> None:
        self._prefix = f"spiffe://{trust_domain}/"

    def identify(self, context: grpc.ServicerContext) -> Caller:
        """Raises UNAUTHENTICATED without exactly one SPIFFE id of this trust domain."""
        ids: Any = context.auth_context().get("peer_spiffe_id", [])
        if len(ids) != 1:
            raise _unauthenticated("The certificate carries no SPIFFE id.")
        return self.name(ids[0].decode("ascii", "replace"))

    def name(self, spiffe_id: str) -> Caller:
        """The caller that a SPIFFE id names."""
        path = spiffe_id.removeprefix(self._prefix)
        if path == spiffe_id or not path:
            raise _unauthenticated("The certificate is of another trust domain.")
        if path.startswith("gateway/"):
            return Caller(CallerKind.GATEWAY, name=path.removeprefix("gateway/"))
        return Caller(CallerKind.SERVICE, name=path)


class BearerIdentity:
    """Names people by the bearer token in the call's metadata (RFC 6750); without one the caller is the public."""

    def __init__(self, verifier: TokenVerifier, audience: str) -> None:
        self._verifier = verifier
        self._audience = audience

    def identify(self, context: grpc.ServicerContext) -> Caller:
        """Raises UNAUTHENTICATED for a token that does not verify: a bad token is never the public."""
        values = [value for key, value in context.invocation_metadata() if key == "authorization"]
        if not values:
            return Caller(CallerKind.PUBLIC)
        value = values[0]
        if len(values) != 1 or not isinstance(value, str) or not value.lower().startswith("bearer "):
            raise _unauthenticated("The authorization is not one bearer token.")
        return self._verifier.verify(Secret(value[7:].strip()), self._audience)


def with_correlation(caller: Caller, correlation_id: str) -> Caller:
    """The same caller, in a call with this correlation id."""
    return replace(caller, correlation_id=correlation_id)
