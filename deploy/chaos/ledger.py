"""After all trials: is everything that was acknowledged there, once?"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import psycopg

from deploy.chaos.load import ASK, ASKED_FOR, Load

_PATIENCE = 30.0


@dataclass(frozen=True)
class Ledger:
    """sent, acknowledged: distinct records. stored: rows with a key that opens them. lost: acknowledged and not stored. counted: what
    logging's own counts say. billed: what usage says. asked, unanswered: grants that callers got an id for, and that they asked for without
    learning more; granted: that there are. audit_gaps: numbers that an organization's audit entries lack."""

    sent: int
    acknowledged: int
    stored: int
    lost: int
    missed_by_readers: int
    counted: int
    billed: int
    asked: int
    unanswered: int
    granted: int
    audit_gaps: int

    @property
    def problems(self) -> list[str]:
        """What does not add up."""
        found = []
        if self.lost or self.missed_by_readers:
            found.append(f"{self.lost} acknowledged records are lost, {self.missed_by_readers} were not read")
        for name, count in (("stored", self.stored), ("counted", self.counted), ("billed", self.billed)):
            if count != self.acknowledged:
                found.append(f"{count} records are {name}, {self.acknowledged} were acknowledged")
        if not self.asked <= self.granted <= self.asked + self.unanswered:
            found.append(
                f"{self.asked} grants were answered for and {self.unanswered} not, {self.granted} are there"
            )
        if self.audit_gaps:
            found.append(f"{self.audit_gaps} numbers are missing in the audit log")
        return found


def settle(load: Load) -> Ledger:
    """Waits until what was recorded is counted too, and compares."""
    acknowledged = set(load.acknowledged)
    stack = load.plot.stage.stack
    with (
        closing(psycopg.connect(_plain(stack.database_url("logging")), autocommit=True)) as logging,
        closing(
            psycopg.connect(_plain(stack.database_url("access_control")), autocommit=True)
        ) as access_control,
    ):
        ends = time.monotonic() + _PATIENCE
        while _one(logging, "SELECT count(*) FROM usage_arrivals") and time.monotonic() < ends:
            time.sleep(0.2)
        ids = [one.hex() for one in acknowledged]
        here = "FROM interactions JOIN data_keys USING (data_key_id) WHERE interactions.application = 'chaos'"
        found = _one(logging, f"SELECT count(*) {here} AND record_id = ANY(%s::uuid[])", ids)
        return Ledger(
            sent=len(load.sent),
            acknowledged=len(acknowledged),
            stored=_one(logging, f"SELECT count(*) {here}"),
            lost=len(acknowledged) - found,
            missed_by_readers=len(load.missing),
            counted=_one(logging, "SELECT coalesce(sum(records), 0) FROM stored_counts"),
            billed=_one(
                logging, "SELECT coalesce(sum(calls), 0) FROM billing_usage WHERE application = 'chaos'"
            ),
            asked=len(load.asked),
            unanswered=sum(
                call.kind == ASK and bool(call.reason) for call in load.tally.between(0, time.monotonic())
            ),
            granted=_one(access_control, "SELECT count(*) FROM grants WHERE reason = %s", ASKED_FOR),
            audit_gaps=_one(
                access_control,
                "SELECT coalesce(sum(last - entries), 0) FROM (SELECT max(number) AS last, count(number) AS entries "
                "FROM audit_entries GROUP BY organization_id) AS chains",
            ),
        )


def _one(connection: psycopg.Connection, statement: str, *given: object) -> int:
    row = connection.execute(statement, given).fetchone()
    return int(row[0]) if row else 0


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")
