"""What the one page of a deletion certificate says: every fact of the signed body and of the proof, as labelled lines.

The page is for reading; what is signed is the JSON, which is attached to it (docs/certificates.md). A certificate may rest on a thousand
days and holds, and a page has room for some forty lines: a list that is too long is cut, and says how many more there are, that they are
in the attached file, and the SHA-256 of the whole list as canonical JSON (RFC 8785), so that the page still vouches for all of it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kept.evidence.verdicts import Evidence, canonical

# The name of the attached JSON.
ATTACHED: Final = "certificate.json"
# Pages are kept for years: one that was made in an earlier edition stays true, and is held against that one.
EDITION: Final = 2


@dataclass(frozen=True)
class Room:
    """How much a page shows: so many items of each list, so many characters of each text."""

    items: int
    characters: int


@dataclass(frozen=True)
class Section:
    """lines: (label, text); a label may be empty."""

    title: str
    lines: list[tuple[str, str]]


def sections(envelope: Any, room: Room, edition: int = EDITION) -> list[Section]:
    """The page of a certificate `{"body", "signature", …}`, in an edition. Raises EvidenceError for what is no certificate. Verifies
    nothing."""
    whole = Evidence(envelope, "the certificate")
    body = whole.nested("body")
    said = [_Page(body, room, one).section() for one in _SAID if one.edition <= edition and one.applies(body)]
    return [*said, *(_unnamed(body, room) if edition > 1 else ()), _proof(whole)]


@dataclass(frozen=True)
class _Said:
    """A section of the page. facts: (label, name in the body) of single values. lists: (label, name, how an item is written). inside: in
    which part of the body. where: what has to be in the body for it to be a section at all. edition: the first that has it."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    lists: tuple[tuple[str, str, Callable[[Any], str]], ...] = ()
    inside: str = ""
    where: str = ""
    edition: int = 1

    def applies(self, body: Evidence) -> bool:
        """Whether the body says anything of it."""
        needed = self.inside or self.where
        return not needed or needed in body.raw


@dataclass(frozen=True)
class _Page:
    body: Evidence
    room: Room
    said: _Said

    def section(self) -> Section:
        of = self.body.nested(self.said.inside) if self.said.inside else self.body
        lines = [(label, self._text(of.raw.get(name))) for label, name in self.said.facts]
        for label, name, write in self.said.lists:
            lines += self._list(label, of.items(name), write)
        return Section(self.said.title, lines)

    def _list(self, label: str, items: list[Any], write: Callable[[Any], str]) -> list[tuple[str, str]]:
        if not items:
            return [(label, "none")]
        shown = [
            (label if at == 0 else "", self._text(write(item)))
            for at, item in enumerate(items[: self.room.items])
        ]
        left = len(items) - len(shown)
        if left:
            digest = hashlib.sha256(canonical(items, label)).hexdigest()
            more = f"{left} more of {len(items)}, all in the attached {ATTACHED}; SHA-256 of the whole list: {digest}"
            shown.append(("" if shown else label, more))
        return shown

    def _text(self, value: Any) -> str:
        text = _written(value)
        if len(text) <= self.room.characters:
            return text
        digest = hashlib.sha256(canonical(value, "a text")).hexdigest()
        return f"{text[: self.room.characters]}… ({len(text)} characters, all in the attached {ATTACHED}; SHA-256 of it: {digest})"


def _written(value: Any) -> str:
    """A value as the page has it: words for what JSON has none for, everything else as it stands in the body."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_written(each)}" for name, each in value.items())
    if isinstance(value, list):
        return " ".join(_written(each) for each in value) or "none"
    return str(value)


_SAID: Final = (
    _Said(
        "What was deleted",
        (
            ("Certificate", "certificate_id"),
            ("Organization", "organization_id"),
            ("Run or erasure", "act_id"),
            ("Signed at", "signed_at"),
            ("Begun at", "started_at"),
            ("Through day", "through_day"),
            ("Records removed", "records_removed"),
            ("Last row removed at", "removed_at"),
            ("Records held back", "records_held"),
            ("Seconds late", "late_seconds"),
            ("Rule in force", "rule"),
            ("Further certificate", "further"),
            ("Completes", "completes"),
            ("Repeats", "repeats"),
            ("Format", "format"),
        ),
    ),
    _Said(
        "The end user",
        (
            ("Commitment", "commitment"),
            ("Created before", "fenced_at"),
            ("Copies unreadable by", "sealed_copies_unreadable_by"),
        ),
        (("Sealed copies", "sealed_copies", _written), ("Copies", "copies", _written)),
        inside="subject",
    ),
    _Said(
        "Content from before zero data retention",
        (
            ("Created before", "before"),
            ("Nothing older written from", "fenced_at"),
            ("Contents removed", "contents_removed"),
        ),
        (("Not touched", "stays", _written),),
        inside="content",
        edition=2,
    ),
    _Said("Days and keys", lists=(("Days", "days", _written), ("Destructions", "destructions", _written))),
    _Said(
        "Applications with terms of their own",
        lists=(("Rules in force", "applications", _written),),
        where="applications",
    ),
    _Said(
        "What remains, and why",
        (("Holds not named", "holds_not_named"),),
        (("Holds", "holds", _written), ("Kept", "kept", _written)),
    ),
    _Said("What no certificate says", (("Reservation", "reservation"),), where="reservation", edition=2),
    _Said("Receipts of services", lists=(("Receipts", "receipts", _written),)),
)


def _unnamed(body: Evidence, room: Room) -> list[Section]:
    """What a newer version says and this page has no words for: as it stands, so that the page leaves nothing out."""
    known = {said.inside for said in _SAID}
    for said in _SAID:
        if not said.inside:
            known |= {name for _, name in said.facts} | {name for _, name, _ in said.lists}
    names = sorted(set(body.raw) - known)
    if not names:
        return []
    page = _Page(body, room, _Said("Also"))
    return [Section("Also", [(name.replace("_", " "), page._text(body.raw[name])) for name in names])]


def _proof(envelope: Evidence) -> Section:
    entry, head = envelope.nested("audit_entry"), envelope.nested("head")
    body = canonical(envelope.nested("body").raw, "the certificate")
    return Section(
        "Proof",
        [
            ("SHA-256 of the body", hashlib.sha256(body).hexdigest()),
            ("Signature (Ed25519)", f"{envelope.text('signature')} by key {envelope.text('key_id')}"),
            (
                "Audit log",
                f"entry {entry.number('number')} of {entry.text('organization_id')}, leaf {entry.number('leaf_index')} of a tree of "
                f"{head.number('tree_size')}, root {head.text('root_hash')}, head signed by key {head.text('key_id')}",
            ),
            (
                "To check it",
                f"kept certificates verify FILE: this file, or {ATTACHED}, which is attached to it and is what is signed.",
            ),
        ],
    )
