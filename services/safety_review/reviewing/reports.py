"""Cases that no detector found: a person of safety staff saw something."""

import hashlib

from kept.safety_review.v1 import cases_pb2
from services.safety_review.detection.rule_fields import Category
from services.safety_review.reviewing.case_acts import CaseActs, Review
from services.safety_review.reviewing.flags import Flags
from services.safety_review.reviewing.reviewers import Reviewer, require_sight
from services.safety_review.store import cases as store
from services.safety_review.store import erased_records, erasures, history
from services.safety_review.store.verdicts import RecordKey
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, not_found
from shared.ids import BEHIND_ALL_RECORDS, is_record_id
from shared.organizations import RequireOrganization
from shared.outbox import Outbox


class Reports(CaseActs):
    """The act."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        flags: Flags,
        require_organization: RequireOrganization,
    ) -> None:
        super().__init__(database, clock, outbox)
        self._flags = flags
        self._require_organization = require_organization

    def open(self, reviewer: Reviewer, request: cases_pb2.OpenCaseRequest) -> Review:
        """Puts records into a case and holds them; those that are in one already, which was not dismissed, stay there. The case that the
        first new record is in, or where none is new, the first of all. Idempotent by request_id. Raises CONFLICT_OF_INTEREST,
        INVALID_ARGUMENT, NOT_FOUND for an erased organization or end user, UNKNOWN_ORGANIZATION, REQUEST_ID_REUSED, and what access control
        answers with when it cannot say whether there is one."""
        if request.category not in set(Category):
            raise invalid("category", "is none of the usage policy's")
        for index, record_id in enumerate(
            request.record_ids
        ):  # as retention will: what cannot be held is in no case
            if not is_record_id(record_id) or record_id >= BEHIND_ALL_RECORDS:
                raise invalid(f"record_ids[{index}]", "is no UUIDv7 of a day of the calendar")
        self._require_organization(request.organization_id)
        said = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
        keys = [RecordKey(request.organization_id, record_id) for record_id in sorted(request.record_ids)]
        with self._database.transaction() as tx:
            closed = erasures.stay_inside(tx, [request.organization_id])
            done = history.opening(tx, request.request_id)
            if done is not None:
                if done[:2] != (reviewer.person_id, said):
                    raise _reused()
                case = store.find(tx, done[2])
                assert case is not None  # the row goes with its case
                require_sight(reviewer, case)  # who opened it may be affiliated since
                return self._review(tx, case)
            if closed:
                raise not_found("organization")
            if erased_records.among(tx, keys):
                raise not_found("record")
            known = store.undismissed(tx, keys)
            new = [key.record_id for key in keys if key not in known]
            if new:
                case = self._flags.report(
                    tx,
                    reviewer.person_id,
                    request.organization_id,
                    request.category,
                    request.severity,
                    new,
                    request.reason,
                )
            else:
                case = store.case_of(tx, keys[0])
                assert case is not None
            require_sight(reviewer, case)
            if not history.add_opening(tx, request.request_id, reviewer.person_id, said, case.case_id):
                raise _reused()
            if new:
                facts, now = {"records": len(new)}, self._clock.now()
                self._audit(tx, "case.reported", reviewer.person_id, case, facts, now)
            return self._review(tx, case)


def _reused() -> KeptError:
    return KeptError(
        Reason.REASON_REQUEST_ID_REUSED, "This request id came before with something else; use a new one."
    )
