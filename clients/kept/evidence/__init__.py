"""Evidence, verified offline: audit lists and certificates against keys that the reader has pinned. Needs no server and no code of one.

`audit.verify_list(…)` and `certificates.verify_certificate(…)` take what was exported as JSON and return a `Verdict`: fine, or the first
thing that is wrong, in a sentence. Formats: docs/audit-log.md, docs/certificates.md.
"""

from kept.evidence.verdicts import Evidence, EvidenceError, PinnedKeys, Revoked, Verdict

__all__ = ["Evidence", "EvidenceError", "PinnedKeys", "Revoked", "Verdict"]
