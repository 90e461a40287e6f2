"""Chapter 2: the gateway records everything for each customer, and only what may be kept is kept."""

import secrets
from collections import Counter
from datetime import UTC, timedelta

import psycopg

from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot, Sent
from kept.client.record_ids import created_at
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2

_PLANTED = Sample(
    0, "Please say zebracanary for me.", "I would rather not.", application="story", model="story-1"
)


def play(plot: Plot) -> None:
    """See the module."""
    marker = secrets.token_hex(16)
    batches = {
        which: [
            plot.gateway.interaction(customer.organization_id, sample, f"{marker} " if which == "zdr" else "")
            for sample in [*plot.samples, _PLANTED]
        ]
        for which, customer in plot.customers.items()
    }
    receipts = {which: plot.record(interactions) for which, interactions in batches.items()}
    _saas(plot, batches["saas"], receipts["saas"])
    _zdr(plot, receipts["zdr"], marker)
    _private(plot, receipts["private"])
    again = {which: plot.record(interactions) for which, interactions in batches.items()}
    outcomes = Counter(
        receipt.outcome for which in ("saas", "zdr") for receipt in again[which] if which in plot.customers
    )
    plot.tell.expect(
        "sending the whole input again stores nothing twice: every record is a DUPLICATE",
        set(outcomes) == {ingest_pb2.OUTCOME_DUPLICATE},
        str({ingest_pb2.Outcome.Name(outcome): count for outcome, count in outcomes.items()}),
    )


def record_one(plot: Plot, which: str, sample: Sample) -> Sent:
    """Records one interaction for a customer and says when it was answered for."""
    interaction = plot.gateway.interaction(plot.customers[which].organization_id, sample)
    (receipt,) = plot.record([interaction])
    plot.tell.require("one more record is stored", receipt.outcome == ingest_pb2.OUTCOME_STORED)
    return Sent(interaction.record_id, sample, plot.stage.now())


def _saas(plot: Plot, sent: list[interactions_pb2.Interaction], receipts: list[ingest_pb2.Receipt]) -> None:
    now = plot.stage.now()
    plot.sent = [
        Sent(one.record_id, sample, now) for one, sample in zip(sent, [*plot.samples, _PLANTED], strict=True)
    ]
    plot.planted = plot.sent[-1]
    stored = [receipt for receipt in receipts if receipt.outcome == ingest_pb2.OUTCOME_STORED]
    dues = {receipt.due_at.ToDatetime(tzinfo=UTC) for receipt in stored}
    expected = {
        created_at(receipt.record_id).replace(hour=0, minute=0, second=0, microsecond=0)
        + timedelta(days=30, hours=-2)
        for receipt in stored
    }
    plot.tell.require(
        f"{plot.customers['saas'].name}: {len(stored)} records STORED, to be gone by "
        + ", ".join(f"{due:%Y-%m-%d %H:%M} UTC" for due in sorted(dues)),
        len(stored) == len(sent) and dues == expected,
        f"{len(stored)} of {len(sent)}; {refusals(receipts)}",
    )


def refusals(receipts: list[ingest_pb2.Receipt]) -> str:
    """The reasons of what was refused, counted."""
    counted = Counter(reasons_pb2.Reason.Name(receipt.reason) for receipt in receipts if receipt.reason)
    return ", ".join(f"{reason} {count}" for reason, count in counted.items())


def _zdr(plot: Plot, receipts: list[ingest_pb2.Receipt], marker: str) -> None:
    customer = plot.customers["zdr"]
    plot.tell.require(
        f"{customer.name}: {len(receipts)} records STORED_WITHOUT_CONTENT",
        all(receipt.outcome == ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT for receipt in receipts),
    )
    with psycopg.connect(_plain(plot.stage.stack.database_url("logging")), autocommit=True) as rows:
        sealed, keys, kept = _rows(rows, customer.organization_id)
        plot.tell.expect(
            "no row of it has sealed content or a data key; its log data is there",
            sealed == 0 and keys == 0 and kept == len(receipts),
            f"{sealed} sealed, {keys} keys, {kept} rows",
        )
        # The scan is worth something only if it would find a marker that is there: one is put there, into a table of its own.
        control = secrets.token_hex(16)
        rows.execute("CREATE TABLE story_scan_control (found text)")
        try:
            rows.execute("INSERT INTO story_scan_control VALUES (%s)", (control,))
            with plot.tell.working("looking through every file of the stack"):
                found = files_with(plot, [marker, control])
        finally:
            rows.execute("DROP TABLE story_scan_control")
    plot.tell.require(
        "a marker that was stored on purpose is found, so the search finds what is there",
        bool(found[control]),
    )
    plot.tell.expect(
        f"the marker of its prompts is in no file of the stack, WAL and logs included ({len(plot.stage.stack.files())} files)",
        not found[marker],
        ", ".join(found[marker][:3]),
    )


def _rows(rows: "psycopg.Connection[tuple[int]]", organization_id: str) -> tuple[int, int, int]:
    counts = []
    for query in (
        "SELECT count(*) FROM interactions WHERE organization_id = %s AND content IS NOT NULL",
        "SELECT count(*) FROM data_keys WHERE organization_id = %s",
        "SELECT count(*) FROM interactions WHERE organization_id = %s",
    ):
        row = rows.execute(query, (organization_id,)).fetchone()
        counts.append(row[0] if row else -1)
    return counts[0], counts[1], counts[2]


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def files_with(plot: Plot, texts: list[str]) -> dict[str, list[str]]:
    """The names of the stack's files in which each text stands, as UTF-8 or as hex of it."""
    found: dict[str, list[str]] = {text: [] for text in texts}
    for file in plot.stage.stack.files():
        try:
            content = file.read_bytes()
        except FileNotFoundError:  # a file of PostgreSQL's that has gone meanwhile
            continue
        for text in texts:
            if text.encode() in content or text.encode().hex().encode() in content:
                found[text].append(file.name)
    return found


def _private(plot: Plot, receipts: list[ingest_pb2.Receipt]) -> None:
    reasons = {receipt.reason for receipt in receipts}
    plot.tell.expect(
        f"{plot.customers['private'].name}: {len(receipts)} records REFUSED, DEPLOYMENT_SENDS_NO_CONTENT",
        reasons == {reasons_pb2.REASON_DEPLOYMENT_SENDS_NO_CONTENT}
        and all(receipt.outcome == ingest_pb2.OUTCOME_REFUSED for receipt in receipts),
    )
