"""Who calls: a service by the SPIFFE id in its certificate, a person by an OIDC token whose audience is this one service.

Tokens are verified here (RFC 7519, RFC 9068 in spirit): issuer, audience, expiry, not-before, key id, and an algorithm out of a
pinned list.
What the person may do is not in the token; access control's directory (or settings, for its own members) says.
"""

import hashlib
import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from http.client import HTTPException
from typing import Any, Final

import grpc
import structlog
from joserfc import jwt
from joserfc.jwk import JWKRegistry, Key, KeySet

from kept.options.v1 import roles_pb2
from shared.clock import Clock
from shared.config import Issuer
from shared.errors import KeptError, Reason
from shared.redaction import Secret
from shared.remembered import Remembered

# Keys of an issuer are trusted this long after they were fetched; an issuer that is down longer fails closed.
_KEYS_LIFETIME: Final = 3600.0
# A token with an unknown key id makes us look again, at most this often.
_KEYS_REFRESH: Final = 10.0
# Without keys that count an issuer is asked at most this often.
_KEYS_RETRY: Final = 2.0
_FETCH_TIMEOUT: Final = 3.0
_LONGEST_TOKEN: Final = 8192
# Tokens whose signatures are known to be good; people show theirs again and again, as long as they last.
_TOKENS_REMEMBERED: Final = 10_000
# Tolerated difference between the issuer's clock and ours, in seconds, for "issued at" and "not before" only: expiry is exact.
_LEEWAY: Final = 5

_log = structlog.get_logger(__name__)


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
    affiliations: customers' organizations that one of staff has to do with; only known to safety review.
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
    affiliations: frozenset[str] = frozenset()
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


def _unauthenticated(text: str, problem: str) -> KeptError:
    """problem: what is wrong with the token, in one word; kept.errors.v1 lists them."""
    return KeptError(Reason.REASON_UNAUTHENTICATED, text, metadata={"problem": problem})


class RefusedToken(KeptError):
    """A token of no use whose signature is good. caller: whom it names, so that whose it was can be written down; nothing else follows.
    actor: their id, once somebody has found it."""

    def __init__(self, why: KeptError, caller: Caller) -> None:
        super().__init__(why.reason, why.text, metadata=why.metadata)
        self.caller = caller
        self.actor = ""


@dataclass(frozen=True)
class _Listed:
    """What an issuer listed, and when that was fetched, on the boot-time clock."""

    keys: KeySet
    ids: frozenset[str]
    fetched: float


class IssuerKeys:
    """The public keys of one issuer (JWKS, RFC 7517), fetched when needed and trusted for an hour."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._listed: _Listed | None = None
        self._tried = float("-inf")

    def find(self, key_id: str) -> KeySet:
        """The keys, with `key_id` among them. Raises UNAUTHENTICATED, or PEER_UNAVAILABLE when none can be had."""
        listed = self._fresh()
        if listed is None or key_id not in listed.ids:
            listed = self._refreshed(key_id)
        if listed is None:
            raise KeptError(
                Reason.REASON_PEER_UNAVAILABLE,
                "The issuer's keys cannot be fetched.",
                metadata={"service": "issuer"},
                retry_after=timedelta(seconds=_KEYS_RETRY),
            )
        if key_id not in listed.ids:
            raise _unauthenticated(
                "The token is signed with a key that its issuer does not list.", "UNKNOWN_KEY"
            )
        return listed.keys

    def _fresh(self) -> _Listed | None:
        """What may be trusted now."""
        listed = self._listed
        if listed is None or self._clock.boottime() - listed.fetched > _KEYS_LIFETIME:
            return None
        return listed

    def _refreshed(self, key_id: str) -> _Listed | None:
        # Only who needs other keys waits for an issuer that is slow; and who shows made-up key ids cannot make us ask again and again.
        with self._lock:
            listed = self._fresh()
            if listed is not None and key_id in listed.ids:
                return listed
            if self._clock.boottime() - self._tried > (_KEYS_RETRY if listed is None else _KEYS_REFRESH):
                self._tried = self._clock.boottime()
                self._fetch()
            return self._fresh()

    def _fetch(self) -> None:
        try:
            if not self._issuer.jwks_url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
                raise ValueError("not https")
            with urllib.request.urlopen(self._issuer.jwks_url, timeout=_FETCH_TIMEOUT) as answer:  # noqa: S310 - scheme checked
                listed = json.loads(answer.read(1_000_000))["keys"]
            if not isinstance(listed, list):
                raise TypeError("not a list")
        except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("issuer.unreachable", issuer=self._issuer.issuer, error=type(error).__name__)
            return
        # One that lists none that we can use has withdrawn all.
        keys = [key for key in map(self._imported, listed) if key is not None and key.kid is not None]
        self._listed = _Listed(KeySet(keys), frozenset(str(key.kid) for key in keys), self._clock.boottime())

    def _imported(self, listed: Any) -> Key | None:
        """A key, unless it is of a kind, curve or size that we do not know: such are passed over (RFC 7517 §5)."""
        try:
            return JWKRegistry.import_key(listed)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one key is nothing to the others
            _log.warning("issuer.key_passed_over", issuer=self._issuer.issuer, error=type(error).__name__)
            return None


@dataclass(frozen=True)
class _Signed:
    """What a token says that was signed with one of `keys`: as long as these are the issuer's keys, the signature need not be verified
    again. Times, audience and the key's being listed are looked at each time."""

    issuer: Issuer
    key_id: str
    keys: KeySet
    claims: Mapping[str, Any]


class TokenVerifier:
    """Verifies tokens of the configured issuers.

    `verify` gives a Caller of kind STAFF or CUSTOMER with issuer, subject, token and, for customers, the organization that the
    issuer vouches for; nothing of it is a role.
    """

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._clock = clock
        # By the tokens' SHA-256: the tokens themselves are not kept.
        self._signed: Remembered[bytes, _Signed] = Remembered(_TOKENS_REMEMBERED)
        self._issuers: Mapping[str, tuple[Issuer, IssuerKeys]] = {
            issuer.issuer: (issuer, IssuerKeys(issuer, clock)) for issuer in issuers
        }

    def verify(self, token: Secret, audience: str) -> Caller:
        """Raises KeptError UNAUTHENTICATED, saying what is wrong in general terms, or PEER_UNAVAILABLE without keys."""
        text = token.reveal()
        if not text or len(text) > _LONGEST_TOKEN or not text.isascii():
            raise _unauthenticated("The token is missing or not a token; sign in.", "MALFORMED")
        digest = hashlib.sha256(text.encode()).digest()
        signed = self._signed.get(digest)
        if signed is None or self._keys(signed.issuer, signed.key_id) is not signed.keys:
            signed = self._verify_signature(text)
            self._signed.put(digest, signed)
        caller = _named(signed.issuer, signed.claims, token)
        try:
            self._check_claims(signed.claims, audience)
        except KeptError as error:
            raise RefusedToken(error, caller) from error
        return caller

    def _keys(self, issuer: Issuer, key_id: str) -> KeySet:
        return self._issuers[issuer.issuer][1].find(key_id)

    def _verify_signature(self, text: str) -> _Signed:
        header, claims = _peek(text)
        known = self._issuers.get(str(claims.get("iss")))
        if known is None:
            raise _unauthenticated(
                "The token comes from an issuer that is not trusted here.", "UNKNOWN_ISSUER"
            )
        issuer, _ = known
        if header.get("alg") not in issuer.algorithms:
            raise _unauthenticated("The token's algorithm is not one that is allowed.", "ALGORITHM")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _unauthenticated("The token names no key.", "UNKNOWN_KEY")
        keys = self._keys(issuer, key_id)
        try:
            claims = jwt.decode(text, keys, algorithms=list(issuer.algorithms)).claims
        # A key of another kind than the algorithm wants, too, and whatever else the library stumbles over in what a stranger wrote.
        except Exception as error:
            raise _unauthenticated("The token's signature does not verify.", "SIGNATURE") from error
        return _Signed(issuer, key_id, keys, claims)

    def _check_claims(self, claims: Mapping[str, Any], audience: str) -> None:
        now = self._clock.now().timestamp()
        named = claims.get("aud")
        if named != audience and named != [
            audience
        ]:  # one audience, this one: a token for several opens several
            raise _unauthenticated("The token is for another service.", "AUDIENCE")
        expires, issued, begins = (_time(claims.get(name)) for name in ("exp", "iat", "nbf"))
        if expires is None or issued is None or (begins is None and "nbf" in claims):
            raise _unauthenticated("The token's times are not valid.", "TIMES")
        if now >= expires:
            raise _unauthenticated("The token has expired; sign in again.", "EXPIRED")
        if issued > now + _LEEWAY or (begins or 0) > now + _LEEWAY:
            raise _unauthenticated("The token is not valid yet; check the clocks.", "NOT_YET_VALID")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise _unauthenticated("The token names nobody.", "NOBODY")


def _named(issuer: Issuer, claims: Mapping[str, Any], token: Secret) -> Caller:
    """Whom a signed token names; with an empty subject where it names nobody."""
    kind = CallerKind.STAFF if issuer.kind == "workforce" else CallerKind.CUSTOMER
    organization = claims.get("org", "") if kind is CallerKind.CUSTOMER else ""
    subject = claims.get("sub")
    return Caller(
        kind,
        issuer=issuer.issuer,
        subject=subject if isinstance(subject, str) else "",
        token=token,
        organization_id=str(organization),
    )


def _time(value: object) -> float | None:
    """A NumericDate (RFC 7519 §2), or None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


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
        raise _unauthenticated("The token is not a token; sign in.", "MALFORMED") from error
    return decoded[0], decoded[1]


class CertificateIdentity:
    """Names services by their certificates: spiffe://<trust domain>/<service> or …/gateway/<name>."""

    def __init__(self, trust_domain: str) -> None:
        self._prefix = f"spiffe://{trust_domain}/"

    def identify(self, context: grpc.ServicerContext) -> Caller:
        """Raises UNAUTHENTICATED without exactly one SPIFFE id of this trust domain."""
        ids: Any = context.auth_context().get("peer_spiffe_id", [])
        if len(ids) != 1:
            raise _unauthenticated("The certificate carries no SPIFFE id.", "CERTIFICATE")
        return self.name(ids[0].decode("ascii", "replace"))

    def name(self, spiffe_id: str) -> Caller:
        """The caller that a SPIFFE id names."""
        path = spiffe_id.removeprefix(self._prefix)
        if path == spiffe_id or not path:
            raise _unauthenticated("The certificate is of another trust domain.", "CERTIFICATE")
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
            raise _unauthenticated("The authorization is not one bearer token.", "MALFORMED")
        return self._verifier.verify(Secret(value[7:].strip()), self._audience)


def with_correlation(caller: Caller, correlation_id: str) -> Caller:
    """The same caller, in a call with this correlation id."""
    return replace(caller, correlation_id=correlation_id)
