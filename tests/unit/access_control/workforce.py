"""The workforce of a test: operators who may assign roles, engineers, a provider; and the acts of the directory in one line each."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.access_control.people.standing import AGREEMENTS_NEEDED
from tests.unit.access_control.world import DAY, ENGINEER, OPERATOR, World, migrated_vault, world

__all__ = ["Workforce", "migrated_vault", "workforce", "world"]

KEEP, END = directory_pb2.REVIEW_VERDICT_KEEP, directory_pb2.REVIEW_VERDICT_END
Role = "roles_pb2.StaffRole.ValueType"


class Workforce:
    """Ada, Bob and Cleo are operators who may assign roles; Eve and Colin are engineers. ids: of people, by subject."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ids = {name: world.person(name, OPERATOR) for name in ("ada", "bob", "cleo")}
        self.ids |= {name: world.person(name, ENGINEER) for name in ("eve", "colin")}
        self.empower()

    def empower(self) -> None:
        """The power to assign roles, for eight hours, for each operator."""
        for holder, approver in (("ada", "bob"), ("bob", "ada"), ("cleo", "ada")):
            power = self.world.request(
                holder, power=roles_pb2.POWER_ROLE_ASSIGNMENT, duration=timedelta(hours=8)
            )
            self.world.approve(approver, power)

    def travel(self, by: timedelta) -> None:
        """Time passes, in which nobody does anything; the operators take their powers again, if they can."""
        self.world.advance(by)
        self.empower()

    def work(self) -> None:
        """The service does by itself what there is to do."""
        (job,) = (job for job in self.world.service.jobs if job.name == "reviews")
        while job.step():
            pass

    def person(self, who: str) -> directory_pb2.Person:
        """As the directory shows them."""
        me: directory_pb2.Person = self.world.directory(who).GetMe(directory_pb2.GetMeRequest()).person
        return me

    def create(self, actor: str, who: str, **fields: str) -> str:
        """A new person. Returns the id."""
        request = directory_pb2.CreatePersonRequest(
            **{"display_name": who.title(), "email": f"{who}@vendor.test", "subject": who, **fields}
        )
        made: str = self.world.directory(actor).CreatePerson(request).person.person_id
        self.ids[who] = made
        return made

    def assign(self, actor: str, who: str, role: Role = ENGINEER) -> str:  # type: ignore[valid-type]
        """A proposed role. Returns the id."""
        request = directory_pb2.AssignRoleRequest(person_id=self.ids[who], role=role)
        made: str = self.world.directory(actor).AssignRole(request).role_assignment.role_assignment_id
        return made

    def confirm(self, actor: str, role_id: str) -> None:
        """A confirmed role."""
        self.world.directory(actor).ConfirmRole(directory_pb2.ConfirmRoleRequest(role_assignment_id=role_id))

    def give(self, who: str, role: Role = ENGINEER) -> str:  # type: ignore[valid-type]
        """A role, by Ada and Bob. Returns the id."""
        role_id = self.assign("ada", who, role)
        self.confirm("bob", role_id)
        return role_id

    def sign(
        self, actor: str, signer_id: str, *kinds: "directory_pb2.AgreementKind.ValueType", days: int = 365
    ) -> str:
        """A signed agreement, of both kinds where none is named. Returns the id."""
        request = directory_pb2.RecordAgreementRequest(
            document_sha256=bytes(32), kinds=kinds or AGREEMENTS_NEEDED
        )
        if signer_id.startswith("provider_"):
            request.provider_id = signer_id
        else:
            request.person_id = signer_id
        request.signed_at.FromDatetime(self.world.clock.now())
        request.expires_at.FromDatetime(self.world.clock.now() + days * DAY)
        made: str = self.world.directory(actor).RecordAgreement(request).agreement_id
        return made

    def provider(self, name: str = "Acme", *, days: int = 365) -> str:
        """A provider that counts. Returns the id."""
        directory = self.world.directory
        request = directory_pb2.CreateProviderRequest(name=name)
        provider_id: str = directory("ada").CreateProvider(request).provider.provider_id
        directory("bob").ConfirmProvider(directory_pb2.ConfirmProviderRequest(provider_id=provider_id))
        self.sign("cleo", provider_id, days=days)
        self.world.publish(name)
        return provider_id

    def verdict(
        self, actor: str, subject_id: str, verdict: "directory_pb2.ReviewVerdict.ValueType" = KEEP
    ) -> directory_pb2.ConfirmReviewResponse:
        """What comes out of a review."""
        request = directory_pb2.ConfirmReviewRequest(subject_id=subject_id, verdict=verdict)
        return self.world.directory(actor).ConfirmReview(request)

    def due(self, actor: str = "ada", size: int = 0) -> list[directory_pb2.ReviewItem]:
        """What is to be reviewed, over all pages."""
        found: list[directory_pb2.ReviewItem] = []
        request = directory_pb2.ListReviewsRequest(page_size=size)
        while True:
            page = self.world.directory(actor).ListReviews(request)
            found += page.reviews
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def refresh(self, *who: str) -> None:
        """Everything of these people is confirmed, by an operator who is somebody else."""
        for name in who:
            person = self.person(name)
            for subject_id in (
                *(role.role_assignment_id for role in person.roles),
                *(agreement.agreement_id for agreement in person.agreements),
            ):
                self.verdict("ada" if name != "ada" else "bob", subject_id)


@pytest.fixture
def workforce(world: World) -> Workforce:
    return Workforce(world)


Act = Callable[[Workforce], object]
