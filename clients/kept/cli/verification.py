"""Offline verification: `kept certificates verify` and `kept audit verify`.

Nothing here trusts the network: keys are the pinned ones (or --keys FILE), and a file is verified as it lies there.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kept.cli.exits import Exit
from kept.cli.invocation import Invocation
from kept.cli.named_files import read_bytes
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.evidence import PinnedKeys

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The file to verify.")]
_Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys", metavar="FILE", help="Signing keys to trust. Those pinned in the profile without it."
    ),
]

_FEW: Final = 20


def trusted(call: Invocation, file: Path | None, purpose: str) -> "PinnedKeys":
    """Key id -> public key, of "certificates" or "audit_log", revoked ones as such. Raises KeptError when none is pinned."""
    from kept.client.signing_keys import load
    from kept.evidence import Revoked

    path = call.profile.signing_keys if file is None else file
    keys = {
        key.key_id: Revoked(f"{key.revoked_at:%Y-%m-%d}") if key.revoked_at else key.public_key
        for key in load(path)
        if key.purpose == purpose
    }
    if not keys:
        raise KeptError("NO_KEYS", f"{path} names no key of the {purpose.replace('_', ' ')} to verify with.")
    return keys


def read_evidence(file: Path) -> Any:
    """The JSON in a file, whatever it is. Raises KeptError (UNREADABLE; CONTRADICTORY where it says something twice)."""
    from kept.evidence.verdicts import EvidenceError, parse

    try:
        return parse(read_bytes(file), str(file))
    except EvidenceError as error:
        raise KeptError("CONTRADICTORY", str(error)) from None
    except (ValueError, RecursionError):
        raise KeptError("UNREADABLE", f"{file} is no JSON.") from None


def _certificate_in(file: Path) -> Any:
    """What a file of JSON holds, or what is attached to a PDF. Raises KeptError (UNREADABLE), EvidenceError for another PDF."""
    try:
        with file.open("rb") as opened:
            is_pdf = opened.read(5) == b"%PDF-"
    except OSError:
        is_pdf = False
    if not is_pdf:
        return read_evidence(file)
    from kept.evidence.certificate_pdf import read_pdf

    return read_pdf(read_bytes(file))


def verdict(call: Invocation, what: str, facts: dict[str, Any], failure: str | None) -> None:
    """Says what came of it; exit code 4 when it did not verify."""
    if call.as_json:
        call.show_document({"verified": failure is None, "failure": failure, **facts})
    else:
        from kept.cli.output import plain

        typer.echo(f"{what}: verified" if failure is None else f"{what}: NOT VERIFIED: {plain(failure)}")
        for name, value in facts.items():
            typer.echo(f"  {name.replace('_', ' '):<20} {plain(_in_words(value))}")
    if failure is not None:
        raise typer.Exit(Exit.NOT_VERIFIED)


def _in_words(value: Any) -> str:
    """Of a list how many, and the first of them."""
    if not isinstance(value, list):
        return str(value)
    few = ", ".join(map(str, value[:_FEW])) + (", …" if len(value) > _FEW else "")
    return f"{len(value)} ({few})" if value else "0"


def verify_certificate(call: Invocation, file: _File, keys: _Keys = None) -> None:
    """Verify a certificate of deletion, offline.

    Checks its signature, its entry in the audit log, and the signed tree that holds the entry.

    A PDF that `kept certificates pdf` wrote is verified by what is attached to it, and its page has to say the same.

    Exit code 4 when it does not verify. Nothing is asked of any service; the keys are those pinned by `kept login` or `kept trust`, or
    in --keys FILE.
    """
    from kept.evidence import EvidenceError
    from kept.evidence.certificates import verify_certificate as verify

    try:
        envelope = _certificate_in(file)
    except EvidenceError as error:
        verdict(call, str(file), {}, str(error))
        return
    result = verify(envelope, trusted(call, keys, "certificates"), trusted(call, keys, "audit_log"))
    body = envelope.get("body") if isinstance(envelope, dict) else None
    facts = {} if not result.ok or not isinstance(body, dict) else body
    plain_facts = {name: value for name, value in facts.items() if isinstance(value, str | int | bool)}
    verdict(call, str(file), plain_facts, None if result.ok else result.problem)


def verify_audit(
    call: Invocation,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Exports, and heads as `kept audit head --json` shows them."),
    ],
    keys: _Keys = None,
) -> None:
    """Verify what was exported of the audit log, offline, and say the first thing that is wrong.

    Every entry is unchanged, none is missing, and the list reaches its signed end.

    Several files, oldest first, are also held against each other: an export has to continue the one before of its organization, and no
    two heads of one size may differ.

    Exit code 4 when something does not verify. Nothing is asked of any service; the keys are those pinned by `kept login` or `kept trust`,
    or in --keys FILE.
    """
    from kept.evidence.collection import about, verify_collection

    log_keys = trusted(call, keys, "audit_log")
    pieces = [(str(file), read_evidence(file)) for file in files]
    result = verify_collection(pieces, log_keys)
    # Of the last export, where there is one: heads only show that it is the log that others see.
    told = [piece for _, piece in pieces if result.ok and "pages" in piece] or [pieces[-1][1]]
    facts = about(told[-1]) if result.ok else {}
    verdict(call, ", ".join(map(str, files)), facts, None if result.ok else result.problem)
