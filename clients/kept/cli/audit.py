"""`kept audit`: the log of who did what, with proofs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kept.cli.arguments import Limit, Reason
from kept.cli.invocation import Invocation, group, verb
from kept.cli.verification import verify_audit
from kept.cli.whole_files import private_file
from kept.cli.witness import head, witness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc

# Which policy texts decided, as hashes; and what another column says already.
_FOR_PROGRAMS: Final = frozenset({"policy_set", "policies", "requester"})
_Whose = Annotated[
    str,
    typer.Option(
        "--organization",
        "-o",
        metavar="ORG",
        help="Organization id, org_…. A customer's own without it; for auditors, the vendor's own entries.",
    ),
]
_After = Annotated[
    int, typer.Option("--after", metavar="NUMBER", min=0, help="Only entries with a greater number.")
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    audit = group(app, "audit", "Who did what, when: an append-only log with proofs.")
    verb(audit, "list")(list_)
    verb(audit, "export")(export)
    verb(audit, "verify")(verify_audit)
    verb(audit, "head")(head)
    verb(audit, "witness")(witness)
    verb(audit, "keys")(keys)
    verb(audit, "replace-key")(replace_key)
    verb(audit, "revoke-key")(revoke_key)


def _stub(call: Invocation) -> "audit_pb2_grpc.AuditServiceStub":
    from kept.access_control.v1 import audit_pb2_grpc

    return audit_pb2_grpc.AuditServiceStub(call.channel("access_control"))


def _pages(
    call: Invocation, organization: str, after: int, limit: int | None
) -> "Iterator[audit_pb2.ListEntriesResponse]":
    """Pages until the list's end, or `limit` entries."""
    from kept.archive.access_log import pages

    return pages(_stub(call), organization, after, limit)


def entry_document(entry: "audit_pb2.LoggedEntry") -> dict[str, Any]:
    """An entry for people and programs: its number, and what its body says; "erased" where the body is gone."""
    document: dict[str, Any] = {"number": entry.number, "leaf_index": entry.leaf_index}
    try:
        body = json.loads(entry.body) if entry.body else None
    except ValueError:
        body = None
    return document | (body if isinstance(body, dict) else {"erased": True})


def list_(call: Invocation, organization: _Whose = "", after: _After = 0, limit: Limit = 100) -> None:
    """What happened, who did it, to what.

    Entries in order, oldest first; --json tells all of each.
    """
    own = organization or str(call.session.claims().get("org", ""))
    entries = [entry_document(entry) for page in _pages(call, own, after, limit) for entry in page.entries]
    if call.as_json:
        call.show_document({"organization_id": own, "entries": entries})
    else:
        call.tell(lambda: _table(entries))


def _table(entries: list[dict[str, Any]]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    from kept.cli.output import plain

    if not entries:
        return Text("There is no entry.")
    shown = Table(
        "number",
        "when",
        "what",
        "who",
        "reported by",
        "about",
        "facts",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for entry in entries:
        if entry.get("erased"):
            shown.add_row(str(entry["number"]), "", "(erased)", "", "", "", "")
            continue
        facts = entry.get("facts") or {}
        cells = [
            str(entry["number"]),
            str(entry.get("occurred_at", ""))[:19].replace("T", " "),
            str(entry.get("kind", "")),
            str(entry.get("actor", "")),
            str(entry.get("reported_by", "")),
            _few(entry.get("subjects") or []),
            ", ".join(
                f"{key}: {facts[key]}" for key in sorted(facts) if facts[key] and key not in _FOR_PROGRAMS
            ),
        ]
        shown.add_row(*(Text(plain(cell)) for cell in cells))
    return shown


def _few(subjects: list[Any]) -> str:
    shown = " ".join(str(subject) for subject in subjects[:2])
    return f"{shown} +{len(subjects) - 2}" if len(subjects) > 2 else shown


def export(
    call: Invocation,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is the terminal.")
    ],
    organization: _Whose = "",
) -> None:
    """Write a whole log to a file.

    That of one organization; it verifies offline, by `kept audit verify FILE`.

    Keep your exports: a later one that does not continue an earlier one shows that entries were taken away or changed.
    """
    from kept.archive.access_log import page_document

    own = organization or str(call.session.claims().get("org", ""))
    with private_file(call, output) as out:
        pages = [page_document(page) for page in _pages(call, own, 0, None)]
        content = {"format": "kept-audit-export/1", "organization_id": own, "pages": pages}
        out.write((json.dumps(content, indent=1) + "\n").encode())


def keys(call: Invocation) -> None:
    """The public keys that the log is signed with: the one that signs, past ones, revoked ones."""
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
    from kept.client.documents import to_document

    stub = audit_pb2_grpc.AuditServiceStub(call.public_channel("access_control"))
    answer = stub.ListSigningKeys(audit_pb2.ListSigningKeysRequest())
    if call.as_json:
        call.show_document(to_document(answer))
    else:
        call.tell(lambda: _keys_table(to_document(answer)["keys"]))


def _keys_table(listed: list[dict[str, Any]]) -> "RenderableType":
    from rich.table import Table

    shown = Table("key id", "since", "until", "", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in listed:
        revoked = f"revoked {key['revoked_at'][:10]}" if key.get("revoked_at") else ""
        until = key["retired_at"][:10] if key.get("retired_at") else "signs now"
        shown.add_row(key["key_id"], key["created_at"][:10], until, revoked)
    return shown


_KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `kept audit keys` shows it.")]


def replace_key(call: Invocation, key_id: _KeyId, reason: Reason) -> None:
    """Have a new key sign the log from now on.

    What the replaced key signed stays good; readers add the new key by `kept trust`. Needs the power of an operator.
    """
    from kept.access_control.v1 import audit_pb2

    answer = _stub(call).ReplaceSigningKey(audit_pb2.ReplaceSigningKeyRequest(key_id=key_id, reason=reason))
    _tell_signs(call, answer.key_id)


def revoke_key(call: Invocation, key_id: _KeyId, reason: Reason) -> None:
    """Trust a key no more, because somebody else may have it.

    For ever, and for all that it signed: exports, heads and certificates that rest on it have to be fetched anew, and readers learn it by
    `kept trust`. A key that signs now is replaced first. Needs the power of an operator.
    """
    from kept.access_control.v1 import audit_pb2

    answer = _stub(call).RevokeSigningKey(audit_pb2.RevokeSigningKeyRequest(key_id=key_id, reason=reason))
    _tell_signs(call, answer.key_id)


def _tell_signs(call: Invocation, key_id: str) -> None:
    if call.as_json:
        call.show_document({"key_id": key_id})
    else:
        call.note(f"The log is signed with {key_id} now.")
