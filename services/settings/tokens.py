"""Bearer secrets that are shown once, such as invitations and claims: 256 random bits; only the SHA-256 is kept."""

import base64
import hashlib

from shared import ids
from shared.redaction import Secret


def new_token() -> Secret:
    """32 random bytes, base64url without padding: 43 characters."""
    return Secret(base64.urlsafe_b64encode(ids.entropy(32)).rstrip(b"=").decode("ascii"))


def fingerprint(token: Secret) -> bytes:
    """What is stored of a token. A plain hash is enough: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(token.reveal().encode()).digest()
