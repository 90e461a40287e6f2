"""`kept audit witness` and `kept audit head`: the log only ever grows, seen from outside."""

import json
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kept.cli.exits import Exit
from kept.cli.invocation import Invocation
from kept.cli.verification import read_evidence, trusted, verdict
from kept.client.errors import KeptError

_STALE_AFTER: Final = 3600
# Facts of a head that people are shown.
_SHOWN: Final = ("tree_size", "root_hash", "timestamp_ms", "key_id")


def witness(
    call: Invocation,
    memory: Annotated[
        Path | None,
        typer.Option(
            "--memory",
            metavar="FILE",
            help="Where the last head that was seen is kept. witness.json beside the profile without it.",
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", metavar="SECONDS", min=1, help="Look again and again, until something is wrong."
        ),
    ] = None,
    stale_after: Annotated[
        int,
        typer.Option(
            "--stale-after",
            metavar="SECONDS",
            min=60,
            help="How old the newest head may be; a quiet log signs one every ten minutes.",
        ),
    ] = _STALE_AFTER,
) -> None:
    """Look whether the log only grows.

    Keeps the last head that it saw, and cries out when the next one does not continue it.

    Checks the newest head's signature and age, and by a proof that the tree of the remembered head is its beginning. What is wrong goes to
    stderr, with both heads as JSON, and the exit code is 4; the remembered head stays as it was. Needs no sign-in. Run it where the
    operator of the log has no access: with --every as a service, or without it by a timer.
    """
    file = memory or call.profile.file.parent / "witness.json"
    while True:
        try:
            _look(call, file, stale_after, every is not None)
        except KeptError as error:
            if every is None or not error.unreachable:
                raise
            _cry(f"{_now():%Y-%m-%d %H:%M:%S} nobody answered: {error.text}")
        if every is None:
            return
        _pause(every)


def _look(call: Invocation, file: Path, stale_after: int, every: bool) -> None:
    seen = _recalled(file, "head")
    shown, problem = _newest(call, seen, stale_after)
    if problem is not None:
        _cry(f"{_now():%Y-%m-%d %H:%M:%S} THE AUDIT LOG DOES NOT VERIFY: {problem}")
        _cry("  seen before: " + json.dumps(seen, sort_keys=True))
        _cry("  shown now:   " + json.dumps(shown, sort_keys=True))
        if call.as_json:
            call.show_document({"seen": seen, "shown": shown, "problem": problem})
        raise typer.Exit(Exit.NOT_VERIFIED)
    _remember(file, {"head": shown, "seen_at": _now().isoformat()})
    if call.as_json:
        call.show_document({"seen": seen, "shown": shown, "problem": None}, one_line=every)
    else:
        before = "first seen" if seen is None else f"continues {seen['tree_size']}"
        call.note(f"{_now():%Y-%m-%d %H:%M:%S} {shown['tree_size']} entries, {before}")


def head(call: Invocation) -> None:
    """The newest signed head of the log, checked.

    Checked against the one that was seen here before. Needs no sign-in.

    The head is remembered beside the profile. That the log only ever grows is checked each time: exit code 4 when the new head does not
    continue the remembered one.
    """
    file = call.profile.file.parent / "tree-head.json"
    seen = _recalled(file)
    newest, problem = _newest(call, seen, None)
    if problem is None:
        _remember(file, newest)
    before = (newest if seen is None else seen)["tree_size"]
    # Programs get all of it, the signature too: such a file verifies.
    shown = newest if call.as_json else {name: newest[name] for name in _SHOWN}
    verdict(call, "tree head", shown | {"seen_before": int(before) if problem is None else before}, problem)


def _newest(call: Invocation, seen: Any | None, stale_after: int | None) -> tuple[dict[str, Any], str | None]:
    """The newest head, and what is wrong with it."""
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
    from kept.client.documents import to_document
    from kept.evidence.witness import look

    stub = audit_pb2_grpc.AuditServiceStub(call.public_channel("access_control"))
    keys = trusted(call, None, "audit_log")
    newest = to_document(stub.GetTreeHead(audit_pb2.GetTreeHeadRequest()).head)

    def proof(first: int, second: int) -> Sequence[str]:
        asked = audit_pb2.GetConsistencyProofRequest(first_size=first, second_size=second)
        try:
            steps: Sequence[str] = to_document(stub.GetConsistencyProof(asked))["proof"]
        except KeptError as error:
            if error.unreachable:
                raise
            return []  # a log that refuses to prove it does not continue what was seen
        return steps

    result = look(
        seen,
        newest,
        proof,
        keys,
        now_ms=int(_now().timestamp() * 1000),
        stale_after_ms=None if stale_after is None else stale_after * 1000,
    )
    return newest, None if result.ok else result.problem


def _recalled(file: Path, name: str | None = None) -> dict[str, Any] | None:
    """The head that a file remembers, in a field of this name or alone; None where there is no file. Raises KeptError UNREADABLE: to begin
    anew would be to forget what was seen."""
    if not file.exists():
        return None
    content = read_evidence(file)
    head = content.get(name) if name is not None and isinstance(content, dict) else content
    if not isinstance(head, dict) or "tree_size" not in head:
        raise KeptError("UNREADABLE", f"{file} does not have the head that was seen before.")
    return head


def _remember(file: Path, content: dict[str, Any]) -> None:
    from kept.client import private_files

    private_files.write(file, json.dumps(content) + "\n")


def _now() -> datetime:
    from kept.client.clock import system_now

    return system_now().astimezone(UTC)


def _cry(text: str) -> None:
    from kept.cli.output import plain

    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
