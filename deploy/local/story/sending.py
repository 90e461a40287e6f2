"""Recording by hand: the lines of a file, for one organization, as the stack's gateway sends them."""

from collections import Counter
from datetime import UTC
from pathlib import Path

from rich.console import Console

from deploy.local.errors import LocalStackError
from deploy.local.stack import Stack
from deploy.local.story import interactions
from deploy.local.story.gateway import Gateway
from deploy.local.story.stage import Stage
from deploy.local.story.telling import Broken, Narrator
from kept.client.errors import KeptError
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2


def send(stack: Stack, organization_id: str, file: Path, limit: int | None, console: Console) -> int:
    """Says what became of each, counted. 0 if nothing was refused and every line could be used, else 1.

    Raises LocalStackError when the file cannot be read or nothing is answered.
    """
    try:
        samples, faults = interactions.read(file)
    except OSError as error:
        raise LocalStackError(f"{file} cannot be read: {error.strerror}.") from None
    narrator = Narrator(console)
    for fault in faults:
        narrator.warn(fault)
    with Stage(stack) as stage:
        gateway = Gateway(stage)
        try:
            receipts = gateway.record(
                [gateway.interaction(organization_id, sample) for sample in samples[:limit]],
                narrator.until,
            )
        except Broken:
            raise LocalStackError("Not all of it was recorded: logging gives no answer.") from None
        except KeptError as error:
            raise LocalStackError(f"Not all of it was recorded: {error.text}") from None
    outcomes = Counter(_words(receipt) for receipt in receipts)
    for words, count in outcomes.items():
        narrator.say(f"{count} {words}")
    refused = any(receipt.outcome == ingest_pb2.OUTCOME_REFUSED for receipt in receipts)
    return 1 if refused or faults else 0


def _words(receipt: ingest_pb2.Receipt) -> str:
    outcome = ingest_pb2.Outcome.Name(receipt.outcome).removeprefix("OUTCOME_")
    if receipt.reason:
        return f"{outcome}: {reasons_pb2.Reason.Name(receipt.reason).removeprefix('REASON_')}"
    if receipt.HasField("due_at"):
        return f"{outcome}, to be gone by {receipt.due_at.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M} UTC"
    return outcome
