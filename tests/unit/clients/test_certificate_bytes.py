"""A certificate of which one byte was changed, whichever: it does not verify, or says the same as before."""

import json
from typing import Any

from kept.evidence.certificates import verify_certificate
from tests.unit.clients.test_certificate_pdf import body, log
from tests.unit.clients.test_evidence_commands import Log

__all__ = ["log"]


def _envelope(log: Log) -> dict[str, Any]:
    return log.certificate(body(days=1))


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_no_byte_of_a_certificate_may_be_otherwise(log: Log) -> None:
    envelope = _envelope(log)
    text = json.dumps(envelope, separators=(",", ":")).encode()
    certifies, logs = (dict([log.public(key)]) for key in (log.certificate_key, log.log_key))
    assert verify_certificate(_parsed(text), certifies, logs).ok
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= (1, 0x20, 0x04)[place % 3]
        read = _parsed(bytes(changed))
        if read == envelope:  # the byte said nothing, as the case of a \\u escape's digits
            continue
        assert read is None or not verify_certificate(read, certifies, logs).ok, (
            f"byte {place} of {len(text)}"
        )


def test_no_byte_of_a_certificate_may_be_left_out(log: Log) -> None:
    envelope = _envelope(log)
    text = json.dumps(envelope, separators=(",", ":")).encode()
    certifies, logs = (dict([log.public(key)]) for key in (log.certificate_key, log.log_key))
    for place in range(0, len(text), 5):
        read = _parsed(text[:place] + text[place + 1 :])
        assert read is None or not verify_certificate(read, certifies, logs).ok, (
            f"byte {place} of {len(text)}"
        )
