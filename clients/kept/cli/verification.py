"""Offline verification: `kept certificates verify`, `kept audit verify`, and the tree head that both rest on.

Nothing here trusts the network: keys are the pinned ones (or --keys FILE), and a file is verified as it lies there.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kept.cli.exits import Exit
from kept.cli.invocation import Invocation
from kept.client.errors import KeptError

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The file to verify.")]
_Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys", metavar="FILE", help="Signing keys to trust. Those pinned in the profile without it."
    ),
]


def trusted(call: Invocation, file: Path | None, purpose: str) -> dict[str, bytes]:
    """Key id -> public key, of "certificates" or "audit_log". Raises KeptError when none is pinned."""
    from kept.client.signing_keys import load

    path = call.profile.signing_keys if file is None else file
    keys = {key.key_id: key.public_key for key in load(path) if key.purpose == purpose}
    if not keys:
        raise KeptError("NO_KEYS", f"{path} names no key of the {purpose.replace('_', ' ')} to verify with.")
    return keys


def read_evidence(file: Path) -> bytes:
    """The file as it lies there. Raises KeptError (UNREADABLE)."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be read: {error.strerror}.") from None


def verdict(call: Invocation, what: str, facts: dict[str, Any], failure: str | None) -> None:
    """Says what came of it; exit code 4 when it did not verify."""
    if call.as_json:
        call.show_document({"verified": failure is None, "failure": failure, **facts})
    else:
        from kept.cli.output import plain

        typer.echo(f"{what}: verified" if failure is None else f"{what}: NOT VERIFIED: {plain(failure)}")
        for name, value in facts.items():
            typer.echo(f"  {name.replace('_', ' '):<20} {plain(str(value))}")
    if failure is not None:
        raise typer.Exit(Exit.NOT_VERIFIED)


def verify_certificate(call: Invocation, file: _File, keys: _Keys = None) -> None:
    """Verify a certificate."""


def verify_audit(call: Invocation, file: _File, keys: _Keys = None) -> None:
    """Verify an export."""


def head(call: Invocation) -> None:
    """Head."""
