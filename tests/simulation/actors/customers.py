"""Customers: their admins choose, and leave."""

from datetime import UTC, timedelta
from functools import partial
from typing import Any, Final

from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from kept.settings.v1 import (
    account_pb2,
    account_pb2_grpc,
    data_controls_pb2,
    data_controls_pb2_grpc,
    subject_requests_pb2,
    subject_requests_pb2_grpc,
    zero_data_retention_pb2,
    zero_data_retention_pb2_grpc,
)
from shared.change_feed import LEASE_DURATION
from shared.clock import CLOCK_TOLERANCE
from shared.ids import new_id
from tests.simulation.faults import Broken
from tests.simulation.model import Organization, Subject
from tests.simulation.scene import Scene

# What settings says of an erasure that is certified.
_ENDED: Final = (
    subject_requests_pb2.SUBJECT_REQUEST_STATE_HELD,
    subject_requests_pb2.SUBJECT_REQUEST_STATE_DONE,
)


class Customers:
    """The admins, and the two of compliance who decide on what they ask for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def _admin(self, organization: Organization) -> Any:
        return self._scene.world.person(organization.admin_id, organization.organization_id)("settings")

    def _some_open(self, *, but: int) -> Organization | None:
        """One that is still there, unless so few are left."""
        choices = self._scene.open_organizations()
        return self._seed.choice(choices) if len(choices) > but else None

    def zero_data_retention(self) -> None:
        """An admin asks for zero data retention, two people approve."""
        organization = self.some_without_zero_data_retention()
        if organization is not None:
            self.chooses_zero_data_retention(organization, erases=self._seed.random() < 0.7)

    def some_without_zero_data_retention(self) -> Organization | None:
        """A customer whose content is kept; None where it would be the last one: somebody's content should be left to look at."""
        choices = [one for one in self._scene.open_organizations() if one.zdr_from is None]
        return self._seed.choice(choices) if len(choices) > 1 else None

    def chooses_zero_data_retention(self, organization: Organization, *, erases: bool) -> None:
        """The same for one customer. erases: who wants what was logged before gone."""
        asking = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(self._admin(organization))

        def decided() -> Any:
            current = asking.GetAdditionalCommitments(
                zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
            )
            request = asking.RequestZeroDataRetention(
                zero_data_retention_pb2.RequestZeroDataRetentionRequest(
                    organization_id=organization.organization_id,
                    commitments_version=current.version,
                    accepted_commitments=[commitment.name for commitment in current.commitments],
                    erase_logged_before=erases,
                )
            ).request
            for name in ("carla", "chen"):
                deciding = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(
                    self._scene.world.person(name)("settings")
                )
                request = deciding.DecideZeroDataRetention(
                    zero_data_retention_pb2.DecideZeroDataRetentionRequest(
                        zero_data_retention_request_id=request.zero_data_retention_request_id,
                        approve=True,
                        reason="fine",
                    )
                ).request
            return request

        request = self._scene.world.attempt(decided)
        if isinstance(request, zero_data_retention_pb2.ZeroDataRetentionRequest) and request.HasField(
            "effective_at"
        ):
            organization.zdr_from = request.effective_at.ToDatetime(tzinfo=UTC)
            if any(
                abs(process.clock.skew) > CLOCK_TOLERANCE
                for process in self._scene.world.processes.values()
                if process.room == "settings"
            ):
                # An instant by a clock that is wrong; processes still had leases by the right one, for so long.
                organization.zdr_from = max(organization.zdr_from, self._scene.now + LEASE_DURATION)

    def training(self) -> None:
        """An admin allows training use, or allows it no more; what the history says is what she was told."""
        organization = self._some_open(but=0)
        if organization is None:
            return
        controls = data_controls_pb2_grpc.DataControlsServiceStub(self._admin(organization))
        wanted = self._seed.random() < 0.5

        def changed() -> bool:
            current = controls.GetDataControls(
                data_controls_pb2.GetDataControlsRequest(organization_id=organization.organization_id)
            ).controls
            if organization.training_allowed not in (None, current.training_allowed):
                raise Broken("8: training consent is not what the admin was told")
            organization.training_allowed = None  # until we are told
            controls.UpdateDataControls(
                data_controls_pb2.UpdateDataControlsRequest(
                    organization_id=organization.organization_id, etag=current.etag, training_allowed=wanted
                )
            )
            return wanted

        came = self._scene.world.attempt(changed)
        if isinstance(came, bool):
            organization.training_allowed = came

    def leaves(self) -> None:
        """An admin deletes the account."""
        organization = self._some_open(but=1)
        if organization is None:
            return
        account = account_pb2_grpc.AccountServiceStub(self._admin(organization))

        def confirmed() -> Any:
            deletion = account.RequestAccountDeletion(
                account_pb2.RequestAccountDeletionRequest(organization_id=organization.organization_id)
            ).deletion
            return account.ConfirmAccountDeletion(
                account_pb2.ConfirmAccountDeletionRequest(
                    account_deletion_id=deletion.account_deletion_id,
                    confirmation_sentence=deletion.confirmation_sentence,
                )
            )

        organization.leaving_at = self._scene.now
        with (
            self._scene.world.quiet()
        ):  # the claim is shown once; without it nobody here would follow the erasure
            answer = self._scene.world.attempt(confirmed)
        if isinstance(answer, account_pb2.ConfirmAccountDeletionResponse):
            organization.claim = answer.claim

    def some_end_users_customer(self) -> Organization | None:
        """A customer that is still there."""
        return self._some_open(but=0)

    def passes_erasure_on(self, organization: Organization, end_user: str) -> None:
        """An end user asks to be forgotten; the customer's admin passes it on, and settings mostly gets to it at once."""
        subject = Subject(organization.organization_id, end_user, new_id("request"))
        self._scene.model.subjects.append(subject)
        self._passes_on(subject)
        if self._seed.random() < 0.8:
            self._scene.world.step_jobs("settings", "subject_requests")
            self._asks_how_far(subject)

    def _passes_on(self, subject: Subject) -> None:
        """Until it is acknowledged. Whoever has left passes nothing on."""
        organization = self._scene.model.organizations[subject.organization_id]
        asking = subject_requests_pb2_grpc.SubjectRequestServiceStub(self._admin(organization))
        request = subject_requests_pb2.CreateSubjectRequestRequest(
            request_id=subject.request_id,
            organization_id=subject.organization_id,
            kind=subject_requests_pb2.SUBJECT_REQUEST_KIND_ERASE,
            end_user=subject.end_user,
        )
        answer = self._scene.world.attempt(partial(asking.CreateSubjectRequest, request))
        if isinstance(answer, subject_requests_pb2.CreateSubjectRequestResponse):
            subject.passed_at = self._scene.now
            subject.subject_request_id = answer.request.subject_request_id

    def _asks_how_far(self, subject: Subject) -> subject_requests_pb2.SubjectRequest | None:
        """What settings says, and what retention says of the same; None where settings says nothing (any more)."""
        organization = self._scene.model.organizations[subject.organization_id]
        told = None
        if subject.subject_request_id:
            asking = subject_requests_pb2_grpc.SubjectRequestServiceStub(self._admin(organization))
            wanted = subject_requests_pb2.GetSubjectRequestRequest(
                subject_request_id=subject.subject_request_id
            )
            answer = self._scene.world.attempt(partial(asking.GetSubjectRequest, wanted))
            if isinstance(answer, subject_requests_pb2.GetSubjectRequestResponse):
                told = answer.request
                subject.erasure_id = subject.erasure_id or told.erasure_id
        if subject.erasure_id:
            self._asks_retention(subject)
        return told

    def _asks_retention(self, subject: Subject) -> None:
        erasing = erasures_pb2_grpc.ErasureServiceStub(self._scene.world.service("settings", "retention"))
        request = erasures_pb2.GetErasureRequest(erasure_id=subject.erasure_id)
        answer = self._scene.world.attempt(partial(erasing.GetErasure, request))
        if not isinstance(answer, erasures_pb2.GetErasureResponse):
            return
        erasure = answer.erasure
        subject.begun_at = subject.begun_at or self._scene.now
        if erasure.HasField("fenced_at"):
            fenced_at = erasure.fenced_at.ToDatetime(tzinfo=UTC)
            if subject.fenced_at not in (None, fenced_at):
                raise Broken("10: the fence of an end user's erasure was moved")
            subject.fenced_at = fenced_at
        subject.done = erasure.state == erasures_pb2.ERASURE_STATE_DONE
        if subject.done:
            subject.done_at = subject.done_at or self._scene.now
        subject.kept = bool(erasure.kept)

    def follow_subjects(self) -> None:
        """Customers ask how far the erasures of their end users are: in a quiet moment those that were passed on before have begun, those
        that were begun before are done, and of those that were done before settings says so."""
        before = self._scene.now - timedelta(days=1)
        for subject in self._scene.model.subjects:
            whose = f"{subject.end_user} of {subject.organization_id}"
            was_begun = subject.begun_at is not None and subject.begun_at < before
            was_done = subject.done_at is not None and subject.done_at < before
            was_passed_on = subject.passed_at is not None and subject.passed_at < before
            if subject.passed_at is None:
                self._passes_on(subject)
            told = self._asks_how_far(subject)
            if told is not None and not subject.erasure_id and was_passed_on:
                raise Broken(f"10: {whose} was not handed over")
            if not subject.done and was_begun:
                raise Broken(f"10: {whose} is not erased")
            if told is not None and was_done and told.state not in _ENDED:
                raise Broken(f"10: settings does not know that {whose} is erased")

    def follow_erasures(self) -> None:
        """Who has left asks how far the erasure is."""
        erasing = erasures_pb2_grpc.ErasureServiceStub(self._scene.world.public("retention"))
        for organization in self._scene.model.organizations.values():
            if organization.claim and not organization.erased:
                request = erasures_pb2.GetErasureByClaimRequest(claim=organization.claim)
                answer = self._scene.world.attempt(partial(erasing.GetErasureByClaim, request))
                state = answer.erasure.state if hasattr(answer, "erasure") else None
                organization.erased = state == erasures_pb2.ERASURE_STATE_DONE
                if not organization.erased and self._is_overdue(organization):
                    raise Broken(f"10: {organization.organization_id} left and is not erased")

    def _is_overdue(self, organization: Organization) -> bool:
        left = organization.leaving_at
        return left is not None and self._scene.now > left + timedelta(days=14)
