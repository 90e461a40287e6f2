"""Signs certificates, has them written into the audit log, and completes them with the log's proof."""

from datetime import datetime, timedelta
from typing import Final

import structlog

from kept.access_control.v1 import audit_pb2
from services.retention.certificates import certificate as certificates
from services.retention.certificates.certificate import Certificate, Statement
from services.retention.certificates.signing import SigningKey
from services.retention.peers import Peers
from services.retention.store import Tx
from services.retention.store import certificates as rows
from shared.audit import entry
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason
from shared.jobs import Attempts, Job
from shared.outbox import Outbox

_BATCH: Final = 50
# The entry is still on its way: in the outbox, or appended and not in the tree yet.
_ON_ITS_WAY: Final = frozenset({Reason.REASON_NOT_FOUND, Reason.REASON_NOT_YET_INTEGRATED})
_log = structlog.get_logger(__name__)


class Certifier:
    """Issues certificates. One is shown to nobody before its proof is there."""

    def __init__(
        self, database: Database, clock: Clock, outbox: Outbox, peers: Peers, key: SigningKey
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._peers = peers
        self._key = key
        self._is_key_known = False
        self.job = Job("certificates", timedelta(milliseconds=500), self.step)

    def issue(self, tx: Tx, statement: Statement) -> str:
        """Signs a certificate in the caller's transaction and gives its id; the same act is certified once, however often this is
        called."""
        now = self._clock.now()
        certificate = certificates.sign(statement, self._key, now)
        rows.add_key(tx, self._key, now)
        if rows.add(tx, certificate):
            self._audit(tx, certificate, now)
            after_commit(tx, self.job.wake.set)
        return certificate.certificate_id

    def _audit(self, tx: Tx, certificate: Certificate, now: datetime) -> None:
        self._outbox.audit(
            tx,
            entry(
                "certificate.signed",
                actor="service:retention",
                at=now,
                organization_id=certificate.organization_id,
                subjects=[certificate.certificate_id, certificate.act_id],
                facts={
                    "certificate_id": certificate.certificate_id,
                    "certificate_sha256": certificate.sha256,
                    "key_id": certificate.key_id,
                },
                entry_id=certificate.entry_id,
            ),
        )

    def step(self) -> bool:
        """The job: fetches proofs for certificates that have none. Raises the first failure once all were tried."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            if not self._is_key_known:
                rows.add_key(tx, self._key, now)
            waiting = rows.take_unfinished(tx, now, _BATCH)
        self._is_key_known = True
        attempts, completed = Attempts(), 0
        for certificate in waiting:
            with attempts.attempt():
                completed += self._complete(certificate)
        attempts.raise_first()
        return len(waiting) == _BATCH and completed > 0

    def _repeat(self, lost: Certificate) -> None:
        """Signs what a lost certificate said once more, under an id of its own."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            repeated = certificates.repeat(lost, self._key, now)
            if rows.replace_unfinished(tx, lost.certificate_id, repeated):
                self._audit(tx, repeated, now)

    def _complete(self, certificate: Certificate) -> bool:
        try:
            proof = self._peers.audit.GetInclusionProof(
                audit_pb2.GetInclusionProofRequest(entry_id=certificate.entry_id)
            )
        except KeptError as error:
            if error.reason in _ON_ITS_WAY:
                return False
            raise
        try:
            envelope = certificates.envelope(certificate, proof.entry, proof.head)
        except ValueError:
            # The log has this entry for other bytes: they were signed before this database was restored, and are lost.
            _log.error("certificate.repeated", certificate_id=certificate.certificate_id)
            self._repeat(certificate)
            return False
        with self._database.transaction() as tx:
            rows.complete(tx, certificate.certificate_id, envelope)
        return True
