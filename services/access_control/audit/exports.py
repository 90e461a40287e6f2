"""Sealing what a customer takes along: one entry of the audit log, whose place in the signed tree is the archive's signature."""

import hashlib

from services.access_control.audit.decision_log import DecisionLog
from shared.database import Database
from shared.identity import Caller
from shared.ids import derived_id


class Exports:
    """Seals exports."""

    def __init__(self, database: Database, decisions: DecisionLog) -> None:
        self._database = database
        self._decisions = decisions

    def seal(self, caller: Caller, organization_id: str, manifest_sha256: bytes) -> str:
        """Writes down who took along an archive with that manifest; returns the entry's id, the same however often it is asked for. Raises
        WRONG_ORGANIZATION."""
        caller.require_organization(organization_id)
        named = "\x00".join(("export", organization_id, caller.actor, manifest_sha256.hex())).encode()
        with self._database.transaction() as tx:
            return self._decisions.write(
                tx,
                "export.sealed",
                caller.actor,
                organization_id=organization_id,
                facts={"manifest_sha256": manifest_sha256.hex()},
                entry_id=derived_id("entry", hashlib.sha256(named).digest()),
            )
