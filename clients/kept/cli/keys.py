"""`kept keys`: what keys there are, what waits to be destroyed, and which backups are worth anything."""

from typing import TYPE_CHECKING

import typer

from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.access_control.v1 import keys_pb2


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    keys = group(app, "keys", "The keys that open content.")
    verb(keys, "status")(status)


def status(call: Invocation) -> None:
    """How many keys of which kind live where, what waits to be destroyed and why, and which backups are usable.

    For operators and auditors. A backup of access control's database that is older than the instant shown opens nothing: it was
    wrapped under a root that is gone. It is good only together with all WAL since.
    """
    from kept.access_control.v1 import keys_pb2, keys_pb2_grpc

    stub = keys_pb2_grpc.KeyServiceStub(call.channel("access_control"))
    response = stub.GetKeyStatus(keys_pb2.GetKeyStatusRequest())
    call.show(response, lambda: _view(response))


def _view(response: "keys_pb2.GetKeyStatusResponse") -> "list[RenderableType]":
    from kept.cli.output import sheet, table

    shown: list[RenderableType] = [
        table(response.keys, ["kind", "living", "destroyed", "place"], "There are no keys."),
        "",
        sheet(response, skip=["keys", "retired_roots", "pending_destructions"]),
    ]
    if response.pending_destructions:
        columns = ["destruction_id", "begun_at", "epochs", "organizations", "waits_for"]
        shown += ["", "Not done yet", table(response.pending_destructions, columns, "")]
    if response.retired_roots:
        columns = ["root_key_id", "retired_at", "waits_for"]
        shown += ["", "Replaced and not destroyed yet", table(response.retired_roots, columns, "")]
    return shown
