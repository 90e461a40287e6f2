"""How zero data retention ends: by the admin at once; by two of the vendor's people after a notice; by itself, after as long a notice, when
the organization is not eligible any more, unless it is again before that.

Whatever ends it, content is never logged again without a stated instant: `ends_at` beforehand, `end_effective_at` when it has ended. What
the two jobs do is decided again under the lock of the organization's row.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.accounts.admins import lock_for_act
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations
from services.settings.store import zero_data_retention as store
from services.settings.store.organizations import Organization
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.zero_data_retention.announcing import Announcer
from services.settings.zero_data_retention.eligibility import is_eligible
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.jobs import Attempts, Job
from shared.voices import Voice, Voices, counting, people

_ACTOR: Final = "service:settings"
_VOICES_NEEDED: Final = 2
_ENDING: Final = "/kept.settings.v1.ZeroDataRetentionService/EndZeroDataRetention"
_BATCH: Final = 50
_REQUESTED = contract.ZERO_DATA_RETENTION_STATE_REQUESTED
_APPROVED = contract.ZERO_DATA_RETENTION_STATE_APPROVED
_ENDED = contract.ZERO_DATA_RETENTION_STATE_ENDED
_WITHDRAWN = contract.ZERO_DATA_RETENTION_STATE_WITHDRAWN
_NO_END = contract.ZERO_DATA_RETENTION_END_UNSPECIFIED
_BY_ADMIN = contract.ZERO_DATA_RETENTION_END_ADMIN
_BY_VENDOR = contract.ZERO_DATA_RETENTION_END_VENDOR
_NOT_ELIGIBLE = contract.ZERO_DATA_RETENTION_END_NOT_ELIGIBLE


def earliest_end(request: ZdrRequest, now: datetime) -> datetime:
    """When it can end at the earliest: now, but for what was logged before is erased with the keys of the UTC day on which it came into
    force, and keys are never made again; so content can be sealed from the next day on."""
    if not request.erase_logged_before or request.effective_at is None:
        return now
    last_day = (request.effective_at.astimezone(UTC) - timedelta(microseconds=1)).date()
    next_day = datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) + timedelta(days=1)
    return max(now, next_day)


class ZeroDataRetentionEnds:
    """The ends of all organizations' requests. notice: how long before its end a customer is told, where the customer does not end it
    itself."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: Policies,
        announcer: Announcer,
        voices: Voices,
        *,
        notice: timedelta,
    ) -> None:
        self._voices = voices
        self._database = database
        self._clock = clock
        self._policies = policies
        self._announcer = announcer
        self._notice = notice
        self.jobs = (
            Job("zero_data_retention", timedelta(seconds=5), self.end_due),
            Job("zero_data_retention_eligibility", timedelta(seconds=5), self.look_at_eligibility),
        )

    def end(self, caller: Caller, request_id: str, reason: str) -> ZdrRequest:
        """An admin's withdrawal or end, or one of the two voices of the vendor that it takes; the same again changes nothing. The voice of
        somebody who could not end it any more, or of 72 hours ago, counts no longer. Raises NOT_FOUND, WRONG_STATE, SECOND_PERSON_REQUIRED,
        ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            named = store.find(tx, request_id)
        if named is None or (caller.is_customer and named.organization_id != caller.organization_id):
            raise not_found("zero_data_retention_request")
        lapsed: set[str] = set()
        if not caller.is_customer:
            named_people = people(named.end_approvals)
            lapsed = set(named_people) - self._voices(named_people, _ENDING)
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, named.organization_id)
            request = store.find(tx, request_id)  # again: as it is under the lock
            if request is None:
                raise not_found("zero_data_retention_request")
            if caller.is_customer:
                return self._end_by_admin(tx, caller, request, organization, reason)
            return self._end_by_vendor(tx, caller, request, reason, lapsed)

    def _end_by_admin(
        self, tx: Tx, caller: Caller, request: ZdrRequest, organization: Organization, reason: str
    ) -> ZdrRequest:
        if request.state in (_ENDED, _WITHDRAWN) or request.end_cause == _BY_ADMIN:
            return request
        if request.state == _APPROVED:
            request = replace(request, end_reason=reason)
            now = self._clock.now()
            ends_at = earliest_end(request, now)
            if ends_at <= now:
                return self._put_out_of_force(tx, caller.actor, request, organization)
            return self._announce(tx, caller.actor, request, ends_at, _BY_ADMIN)
        if request.state != _REQUESTED:
            raise _wrong(request, "The request was denied; there is nothing to end.")
        request = replace(request, state=_WITHDRAWN, end_reason=reason)
        store.change(tx, request)
        self._announcer.audit(tx, "zero_data_retention.withdrawn", caller.actor, request, {})
        self._announcer.tell(tx, "zero_data_retention.ended", caller.actor, request, "VENDOR")
        return request

    def _end_by_vendor(
        self, tx: Tx, caller: Caller, request: ZdrRequest, reason: str, lapsed: Collection[str]
    ) -> ZdrRequest:
        # An end that loss of eligibility brings may still be called off; the vendor's own is not.
        if request.state == _ENDED or request.end_cause in (_BY_ADMIN, _BY_VENDOR):
            return request
        if request.state != _APPROVED:
            raise _wrong(request, "Only what is in force can be ended.")
        now = self._clock.now()
        before = counting(request.end_approvals, now)
        if caller.person_id in people(before):
            raise KeptError(
                Reason.REASON_SECOND_PERSON_REQUIRED,
                "You have asked for the end already; the second voice is another person's.",
            )
        request = replace(request, end_approvals=(*before, Voice(caller.person_id, now)), end_reason=reason)
        voices = len(set(people(request.end_approvals)) - set(lapsed))
        facts: dict[str, str | int | bool] = {"approvals": voices, "needed": _VOICES_NEEDED}
        if voices >= _VOICES_NEEDED:
            ends_at = self._after_notice(request)
            facts["ends_at"] = ends_at.isoformat()
            request = replace(request, ends_at=ends_at, end_cause=_BY_VENDOR)
            self._announcer.tell(tx, "zero_data_retention.ending", caller.actor, request, "CUSTOMER")
        store.change(tx, request)
        self._announcer.audit(tx, "zero_data_retention.end_approved", caller.actor, request, facts, now)
        return request

    def look_at_eligibility(self) -> bool:
        """A job: gives notice where an organization that has it is not eligible any more, and calls that end off where it is again. True
        when there may be more at once."""
        with self._database.transaction() as tx:
            found = store.list_of_changed_eligibility(tx, _BATCH)
        attempts = Attempts()
        for request_id, organization_id in found:
            with attempts.attempt(), self._database.transaction() as tx:
                organization = organizations.lock(tx, organization_id)
                request = store.find(tx, request_id)
                if organization is None or request is None or request.state != _APPROVED:
                    continue  # ended meanwhile, or erased
                if is_eligible(organization) and request.end_cause == _NOT_ELIGIBLE:
                    self._call_off(tx, request)
                elif not is_eligible(organization) and request.ends_at is None:
                    self._announce(tx, _ACTOR, request, self._after_notice(request), _NOT_ELIGIBLE)
        attempts.raise_first()
        return len(found) == _BATCH

    def end_due(self) -> bool:
        """A job: ends what is at its last instant. True when there may be more at once."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            due = store.list_ending(tx, now, _BATCH)
        attempts = Attempts()
        for named in due:
            with attempts.attempt(), self._database.transaction() as tx:
                organization = organizations.lock(tx, named.organization_id)
                request = store.find(tx, named.request_id)
                if organization is None or request is None or request.state != _APPROVED:
                    continue  # ended by an admin meanwhile, or erased
                if request.ends_at is None or request.ends_at > now:
                    continue  # another end has taken its place
                if request.end_cause == _NOT_ELIGIBLE and is_eligible(organization):
                    self._call_off(tx, request)  # at the last moment
                else:
                    self._put_out_of_force(tx, _ACTOR, request, organization)
        attempts.raise_first()
        return len(due) == _BATCH

    def _after_notice(self, request: ZdrRequest) -> datetime:
        """When it ends if notice is given now, however short that is."""
        now = self._clock.now()
        return max(now + self._notice, earliest_end(request, now))

    def _announce(
        self,
        tx: Tx,
        actor: str,
        request: ZdrRequest,
        ends_at: datetime,
        cause: "contract.ZeroDataRetentionEnd.ValueType",
    ) -> ZdrRequest:
        """Names the instant of an end that is to come, and tells the customer."""
        request = replace(request, ends_at=ends_at, end_cause=cause)
        store.change(tx, request)
        facts: dict[str, str | int | bool] = {
            "ends_at": ends_at.isoformat(),
            "cause": contract.ZeroDataRetentionEnd.Name(cause),
        }
        self._announcer.audit(tx, "zero_data_retention.end_announced", actor, request, facts)
        self._announcer.tell(tx, "zero_data_retention.ending", actor, request, "CUSTOMER")
        return request

    def _call_off(self, tx: Tx, request: ZdrRequest) -> None:
        request = replace(request, ends_at=None, end_cause=_NO_END)
        store.change(tx, request)
        self._announcer.audit(tx, "zero_data_retention.end_called_off", _ACTOR, request, {})
        self._announcer.tell(tx, "zero_data_retention.stays", _ACTOR, request, "CUSTOMER")

    def _put_out_of_force(
        self, tx: Tx, actor: str, request: ZdrRequest, organization: Organization
    ) -> ZdrRequest:
        organizations.set_zero_data_retention(tx, organization.organization_id, False)
        current = controls.newest(tx, organization.organization_id)
        effective_at = self._policies.publish_organization(
            tx,
            replace(organization, zero_data_retention=False),
            current is not None and current.require_customer_approval,
        )
        request = replace(request, state=_ENDED, end_effective_at=effective_at)
        store.change(tx, request)
        self._announcer.audit(
            tx, "zero_data_retention.ended", actor, request, {"effective_at": effective_at.isoformat()}
        )
        self._announcer.tell(tx, "zero_data_retention.ended", actor, request, "CUSTOMER")
        return request


def _wrong(request: ZdrRequest, text: str) -> KeptError:
    return wrong_state(text, contract.ZeroDataRetentionState.Name(request.state))
