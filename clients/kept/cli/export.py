"""`kept export`: an organization takes along what is its own, as one archive that verifies offline."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from kept.cli.arguments import OwnOrganization
from kept.cli.invocation import Invocation, group, verb
from kept.cli.verification import trusted, verdict
from kept.cli.whole_files import whole_file
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.archive.contents import Contents
    from kept.archive.writing import Writer

_Answer = TypeVar("_Answer")
_NO_GRANT = "no grant was given: kept access request, then --grant"
_README = """Everything that one organization put in or that is about it, as its admin may see it, each part as it was when it was read.

manifest.json names every part with its size and SHA-256. signature.json is the vendor's audit log saying who took this manifest along, and
when, with proof. Check all of it, offline, before you unpack it:

    kept export verify FILE

"""


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    export = group(app, "export", "Take along what is your organization's own. For admins.")
    verb(export, "create")(create)
    verb(export, "verify")(verify)


def create(
    call: Invocation,
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="FILE", help="Where to write it; - is the terminal's end of a pipe."
        ),
    ],
    grant: Annotated[
        str,
        typer.Option(
            "--grant",
            "-g",
            metavar="GRANT",
            help="Your grant for customer-export, grant_…: its prompts and generations too. None without it.",
        ),
    ] = "",
    organization: OwnOrganization = "",
) -> None:
    """Write one archive (tar) of settings, histories, members, keys, requests, grants, certificates, usage and the access log.

    With --grant prompts and generations too, in the grant's detail: each is in the access log as read by you, and in the archive's copy
    of that log.

    Parts are written as they come; the archive is in its place once it is whole, and signed. Whatever goes wrong before, nothing is left.
    """
    from kept.archive.contents import Contents
    from kept.archive.writing import Writer
    from kept.client.clock import system_now

    own = call.own_organization(organization)
    contents = Contents(call.channel, own)
    begun_at = system_now()
    with whole_file(output) as out:
        writer = Writer(out, int(begun_at.timestamp()))
        said = {
            "organization_id": own,
            "exported_by": str(call.session.claims().get("sub", "")),
            "begun_at": begun_at.isoformat(timespec="seconds"),
            "written_at": int(begun_at.timestamp()),
            **_write(call, contents, writer, grant),
        }
        digest = writer.finish(said, lambda manifest: _sealed(call, own, manifest))
    if call.as_json:
        document = {"organization_id": own, "manifest_sha256": digest.hex(), "parts": writer.count}
        if str(output) != "-":
            call.show_document(document)
        return
    call.note(
        f"Written to {output}: {writer.count} parts, signed. Check it with: kept export verify {output}"
    )


def _write(call: Invocation, contents: "Contents", writer: "Writer", grant: str) -> dict[str, Any]:
    """Writes every part; returns what the manifest says of the grant and of what is left out."""
    from kept.archive.contents import MEANINGS, PARTS
    from kept.client.documents import to_document

    scope = None
    if grant:
        scope = contents.grant(grant)
        if not scope.HasField("data"):
            raise typer.BadParameter(f"{grant} is a grant of a power; records need a grant of data.")
    names = "".join(f"{name + '/' if name else '':<26}{MEANINGS[name]}\n" for name in MEANINGS)
    writer.add("README.txt", (_README + names).encode())
    for part in PARTS:
        found = contents.part(part)
        if part.field:
            _tell(call, part.name, writer.add_lines(part.name, found))
        else:
            writer.add_document(part.name, found)
    lists: list[tuple[str, Iterator[Any]]] = [
        ("subject-requests", contents.subject_requests()),
        ("subprocessor-objections", contents.subprocessor_objections()),
        ("certificates", contents.certificates()),
        ("usage", contents.usage()),
    ]
    if scope is not None:
        lists.append(("records", contents.records(scope)))
    lists.append(("access-log", contents.access_log()))  # last: it holds what was read for this
    for name, documents in lists:
        _tell(call, name, writer.add_lines(name, documents))
    left_out = {} if scope is not None else {"records": _NO_GRANT}
    return {"grant": None if scope is None else to_document(scope), "left_out": left_out}


def _tell(call: Invocation, name: str, count: int) -> None:
    call.note(f"  {name:<26}{count}")


def _sealed(call: Invocation, organization_id: str, manifest_sha256: bytes) -> dict[str, Any]:
    """The audit log's entry of the export, with its proof and the signed head."""
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, exports_pb2, exports_pb2_grpc
    from kept.client.documents import to_document

    channel = call.channel("access_control")
    seal = exports_pb2.SealExportRequest(organization_id=organization_id, manifest_sha256=manifest_sha256)
    exports = exports_pb2_grpc.ExportServiceStub(channel)
    sealed = patiently(lambda: exports.SealExport(seal))  # sealed twice, it is the same entry
    wanted = audit_pb2.GetInclusionProofRequest(entry_id=sealed.audit_entry_id)
    log = audit_pb2_grpc.AuditServiceStub(channel)
    return to_document(patiently(lambda: log.GetInclusionProof(wanted)))


def patiently(ask: Callable[[], _Answer], wait: Callable[[float], object] = time.sleep) -> _Answer:
    """What a question is answered with, asked again for two minutes where the answer is that it comes later: what may have taken an hour to
    write must not be lost for a restart. Raises KeptError."""
    from kept.client.reading import PAUSES

    for pause in (*PAUSES, *(5.0,) * 24):
        try:
            return ask()
        except KeptError as error:
            if error.status != "UNAVAILABLE":
                raise
            wait(pause)
    return ask()


def verify(
    call: Invocation,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive.")],
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="FILE", help="Signing keys to trust. Those pinned in the profile without it."
        ),
    ] = None,
) -> None:
    """Verify an archive, offline, as it lies there: every byte of it, who took it along and when, its access log, its certificates.

    Exit code 4 when something does not verify. Nothing is asked of any service; the keys are those pinned by `kept login` or `kept trust`,
    or in --keys FILE.
    """
    from kept.archive.verification import verify_archive

    log_keys, certificate_keys = trusted(call, keys, "audit_log"), trusted(call, keys, "certificates")
    try:
        with file.open("rb") as source:
            result, seen = verify_archive(source, log_keys, certificate_keys)
    except OSError as error:
        raise KeptError("UNREADABLE", f"{file} cannot be read: {error.strerror}.") from None
    verdict(call, str(file), asdict(seen) if result.ok else {}, None if result.ok else result.problem)
