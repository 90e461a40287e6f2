"""A deletion certificate, verified offline (format: docs/certificates.md).

What is shown: a pinned key signed the body; the audit log holds retention's entry of a certificate with exactly this body's SHA-256; and
that entry stands in the tree of a signed head. So it cannot have been made up later, or for one reader only.
"""

import hashlib
import hmac
from typing import Any, Final

from kept.evidence.audit import check_act, check_head
from kept.evidence.verdicts import (
    HASH_BYTES,
    Evidence,
    EvidenceError,
    PinnedKeys,
    Verdict,
    canonical,
    check_signature,
)

_CERTIFICATE: Final = b"kept/certificate/v1\0"
_SUBJECT: Final = b"kept/subject/v1\0"


def verify_certificate(envelope: Any, certificate_keys: PinnedKeys, log_keys: PinnedKeys) -> Verdict:
    """Verifies an envelope `{"body", "signature", "key_id", "audit_entry", "head"}`. certificate_keys: of who certifies. log_keys: of the
    audit log; the two are pinned apart, so that neither can speak for the other."""
    try:
        _check(Evidence(envelope, "the certificate"), certificate_keys, log_keys)
    except EvidenceError as error:
        return Verdict(False, str(error))
    return Verdict(True)


def verify_subject(envelope: Any, salt: bytes, end_user: str) -> Verdict:
    """Whether a certificate is of the erasure of this end user. salt: 32 bytes, which the organization got when it passed the request on.
    Says nothing about signatures: that is `verify_certificate`'s."""
    try:
        body = Evidence(envelope, "the certificate").nested("body")
        committed = body.nested("subject").digest("commitment")
        message = _SUBJECT + body.text("organization_id").encode() + b"\0" + end_user.encode()
    except EvidenceError as error:
        return Verdict(False, str(error))
    # HMAC takes a shorter key for the same with zeros at its end (RFC 2104 §2).
    if len(salt) != HASH_BYTES or not hmac.compare_digest(committed, hmac.digest(salt, message, "sha256")):
        return Verdict(
            False, "The certificate is of another end user's erasure, or the salt is another one's."
        )
    return Verdict(True)


def _check(envelope: Evidence, certificate_keys: PinnedKeys, log_keys: PinnedKeys) -> None:
    body = envelope.nested("body").raw
    message = canonical(body, "the certificate")
    key_id = envelope.text("key_id")
    check_signature(
        _CERTIFICATE, message, envelope.binary("signature"), key_id, certificate_keys, "the certificate"
    )
    head = check_head(envelope.nested("head"), log_keys)
    logged = check_act(
        envelope.nested("audit_entry"), head, "certificate.signed", "retention", "a certificate"
    )
    named = logged.nested("facts").text("certificate_sha256")
    if named != hashlib.sha256(message).hexdigest():
        raise EvidenceError("The audit entry names another certificate than this one.")
    if logged.text("organization_id") != body.get("organization_id"):
        raise EvidenceError("The audit entry and the certificate are of different organizations.")
