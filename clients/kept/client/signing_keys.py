"""The public keys that certificates and the audit log are verified with, pinned beside the profile.

What is verified offline rests on these keys alone, so they are not fetched anew at each use: whoever could exchange evidence on its
way could exchange keys too. They are taken at first sign-in, shown, and from then on only on purpose (`kept trust`).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kept.client import private_files
from kept.client.errors import KeptError
from kept.evidence.verdicts import EvidenceError, parse

if TYPE_CHECKING:
    import grpc

# What is signed -> the service that publishes the keys.
SOURCES: Final = {"audit_log": "access_control", "certificates": "retention"}


@dataclass(frozen=True, order=True)
class SigningKey:
    """One Ed25519 key. key_id: the first 16 bytes of SHA-256 of the key, in hex. revoked_at: what it signed proves nothing any more."""

    purpose: str
    key_id: str
    public_key: bytes
    created_at: datetime
    revoked_at: datetime | None = None


def key_id_of(public_key: bytes) -> str:
    """The id that a key has by its content."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def fetch(channel: Callable[[str], "grpc.Channel"]) -> list[SigningKey]:
    """The keys that the services publish now. channel: service -> channel; no token is needed. Raises KeptError."""
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
    from kept.retention.v1 import certificates_pb2, certificates_pb2_grpc

    audit = audit_pb2_grpc.AuditServiceStub(channel("access_control"))
    certificates = certificates_pb2_grpc.CertificateServiceStub(channel("retention"))
    answers: dict[str, Any] = {
        "audit_log": audit.ListSigningKeys(audit_pb2.ListSigningKeysRequest()),
        "certificates": certificates.ListSigningKeys(certificates_pb2.ListSigningKeysRequest()),
    }
    found = [
        SigningKey(purpose, key.key_id, key.public_key, key.created_at.ToDatetime(UTC), _revoked_at(key))
        for purpose, answer in answers.items()
        for key in answer.keys
    ]
    for key in found:
        if len(key.public_key) != 32 or key.key_id != key_id_of(key.public_key):
            raise KeptError(
                "KEYS_CHANGED",
                f"The {SOURCES[key.purpose]} service names a key by an id that is not its own.",
            )
    return sorted(found)


def _revoked_at(key: Any) -> datetime | None:
    # Keys of certificates have no such field yet.
    if "revoked_at" not in key.DESCRIPTOR.fields_by_name or not key.HasField("revoked_at"):
        return None
    revoked_at: datetime = key.revoked_at.ToDatetime(UTC)
    return revoked_at


def load(file: Path) -> list[SigningKey]:
    """The keys in a file; none when there is no file. Raises KeptError (UNREADABLE)."""
    try:
        content = parse(file.read_bytes(), "The file of signing keys")
        return sorted(
            SigningKey(
                purpose,
                key["key_id"],
                bytes.fromhex(key["public_key"]),
                datetime.fromisoformat(key["created_at"]),
                datetime.fromisoformat(key["revoked_at"]) if key.get("revoked_at") else None,
            )
            for purpose in SOURCES
            for key in content[purpose]
        )
    except FileNotFoundError:
        return []
    except EvidenceError as error:
        raise KeptError("UNREADABLE", f"{file}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise KeptError("UNREADABLE", f"The file of signing keys {file} cannot be read.") from None


def save(file: Path, keys: list[SigningKey]) -> None:
    """Writes keys to a file that `load` reads: {"audit_log": [{"key_id", "public_key" in hex, "created_at", "revoked_at"}], …}, by
    purpose."""
    content = {
        purpose: [
            {
                "key_id": key.key_id,
                "public_key": key.public_key.hex(),
                "created_at": key.created_at.isoformat(),
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
            }
            for key in keys
            if key.purpose == purpose
        ]
        for purpose in SOURCES
    }
    private_files.write(file, json.dumps(content, indent=2) + "\n")


def added(pinned: list[SigningKey], published: list[SigningKey]) -> list[SigningKey]:
    """What a service publishes beyond what is pinned: new keys, and pinned ones that were revoked since. Raises KeptError (KEYS_CHANGED)
    when a pinned key is published no more or differently, or one that was revoked as if it was not: past keys stay published and
    revoked ones revoked, so that is a change of identity."""
    by_id = {(key.purpose, key.key_id): key for key in published}
    for key in pinned:
        known = by_id.get((key.purpose, key.key_id))
        name = f"The pinned {key.purpose.replace('_', ' ')} key {key.key_id}"
        if known is None or known not in (key, replace(key, revoked_at=known.revoked_at)):
            raise KeptError("KEYS_CHANGED", f"{name} is published no more.")
        if key.revoked_at is not None and known.revoked_at is None:
            raise KeptError("KEYS_CHANGED", f"{name} was revoked, and is published as if it was not.")
    return [key for key in published if key not in pinned]
