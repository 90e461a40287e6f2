"""Tokens: short ones to show to a service, and a long one to get more of them.

Access tokens are JWTs (RFC 7519) signed with ES256, one audience each, a quarter of an hour; refresh tokens
are random, known by their hash, in memory alone. All by the stack's clock: after a journey through time
everybody signs in again.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from joserfc import jwt
from joserfc.jwk import ECKey

from deploy.local import private_files
from shared.clock import Clock

Kind = Literal["workforce", "customer"]

ACCESS_LIFE = timedelta(minutes=15)
REFRESH_LIFE = timedelta(hours=12)
_MOST_REFRESH_TOKENS = 10_000


@dataclass(frozen=True)
class Subject:
    """Whom a token speaks for. Customers' people have an organization, the workforce has none."""

    subject: str
    name: str
    email: str
    organization: str | None = None
    signed_in_at: datetime | None = None
    """By the clock of whoever compared the password; for customers' people, whose sessions end with it."""

    def claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = {"sub": self.subject, "name": self.name, "email": self.email}
        return claims if self.organization is None else claims | {"org": self.organization}


class SigningKey:
    """An issuer's ES256 key, kept in a file."""

    def __init__(self, path: Path) -> None:
        """Read the key, or make it."""
        if not path.exists():
            private_files.write(path, ECKey.generate_key("P-256").as_pem(private=True))
        self._key = ECKey.import_key(path.read_bytes())
        self.key_id = self._key.thumbprint()  # RFC 7638

    def public(self) -> dict[str, Any]:
        """The public half as a JWK (RFC 7517)."""
        return {**self._key.as_dict(private=False), "kid": self.key_id, "use": "sig", "alg": "ES256"}

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(
            {"alg": "ES256", "typ": "JWT", "kid": self.key_id}, claims, self._key, algorithms=["ES256"]
        )


class TokenIssuer:
    """One issuer: its name, its key, the refresh tokens that it gave out."""

    def __init__(self, issuer: str, key: SigningKey, clock: Clock) -> None:
        self.issuer = issuer
        self.key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._refresh: OrderedDict[bytes, tuple[Subject, datetime]] = OrderedDict()

    def access_token(self, subject: Subject, audience: str) -> str:
        """A signed token for one audience, good for ACCESS_LIFE from now."""
        now = int(self._clock.now().timestamp())
        claims = subject.claims() | {
            "iss": self.issuer,
            "aud": audience,
            "iat": now,
            "exp": now + int(ACCESS_LIFE.total_seconds()),
            "jti": secrets.token_urlsafe(12),
        }
        return self.key.sign(claims)

    def refresh_token(self, subject: Subject) -> str:
        """A new refresh token, good for REFRESH_LIFE from now or until this process ends."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._refresh[_digest(token)] = (subject, self._clock.now() + REFRESH_LIFE)
            if len(self._refresh) > _MOST_REFRESH_TOKENS:
                self._refresh.popitem(last=False)
        return token

    def forget(self, refresh_token: str) -> None:
        """The session has ended."""
        with self._lock:
            self._refresh.pop(_digest(refresh_token), None)

    def redeem(self, refresh_token: str) -> Subject | None:
        """Whom a refresh token speaks for; None if unknown or expired. It may be used again."""
        digest = _digest(refresh_token)
        with self._lock:
            known = self._refresh.get(digest)
            if known is None:
                return None
            subject, expires = known
            if expires <= self._clock.now():
                del self._refresh[digest]
                return None
            return subject


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
