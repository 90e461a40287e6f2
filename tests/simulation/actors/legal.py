"""Legal staff: Lena places holds and lets them go, and sets terms of contracts and ends them; Luca confirms."""

from datetime import timedelta
from itertools import chain

from kept.options.v1 import roles_pb2
from kept.retention.v1 import contracts_pb2, contracts_pb2_grpc, holds_pb2, holds_pb2_grpc, rules_pb2
from shared.ids import new_id
from tests.simulation.model import APPLICATIONS, END_USERS, Hold
from tests.simulation.scene import Scene, stamp

_TERMS = (
    (rules_pb2.TERM_KIND_AT_MOST, 3),
    (rules_pb2.TERM_KIND_AT_MOST, 5),
    (rules_pb2.TERM_KIND_AT_MOST, 40),
    (rules_pb2.TERM_KIND_AT_LEAST, 4),
    (rules_pb2.TERM_KIND_AT_LEAST, 35),
)
_LONGER = (rules_pb2.TERM_KIND_AT_MOST, 40)
_OPEN = (
    contracts_pb2.CONTRACT_TERM_STATE_PROPOSED,
    contracts_pb2.CONTRACT_TERM_STATE_CONFIRMED,
    contracts_pb2.CONTRACT_TERM_STATE_IN_FORCE,
)


class Legal:
    """Both of them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seed = scene.world.seed

    def places_hold(self) -> None:
        """Lena holds some records of somebody's, mostly young ones, Luca confirms."""
        candidates = [sent for sent in self._scene.model.records.values() if sent.stored]
        if not candidates:
            return
        candidates = self._seed.choice((candidates, candidates[-20:]))
        organization_id = self._seed.choice(candidates).organization_id
        chosen = [sent.record_id for sent in candidates if sent.organization_id == organization_id]
        records = self._seed.sample(chosen, k=min(len(chosen), self._seed.randint(1, 3)))
        request = holds_pb2.PlaceHoldRequest(
            request_id=new_id("request"),
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=organization_id,
            record_ids=records,
            reference="matter",
            review_at=stamp(self._scene.now + timedelta(days=365)),
        )
        self._may_be_secret(request)

        def placed() -> holds_pb2.Hold:
            self._empowered()
            hold = self._holds("lena").PlaceHold(request).hold
            return self._holds("luca").ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)).hold

        self._scene.world.leases("access_control", "access_control_2")
        hold = self._scene.world.attempt(placed)
        if isinstance(hold, holds_pb2.Hold):
            lost = set(hold.lost)
            held = [record_id for record_id in records if record_id not in lost]
            self._scene.model.holds[hold.hold_id] = Hold(
                hold.hold_id,
                organization_id,
                held,
                is_active=hold.state == holds_pb2.HOLD_STATE_ACTIVE,
                with_content=self._with_content() & set(held),
            )

    def _with_content(self) -> frozenset[bytes]:
        found = chain.from_iterable(
            self._scene.world.databases.looks.rows(
                "logging", f"SELECT record_id FROM {table} WHERE content IS NOT NULL"
            )
            for table in ("interactions", "retained", "confidential_rows")
        )
        return frozenset(record_id.bytes for (record_id,) in found)

    def holds_end_user(self) -> None:
        """Lena holds all of an end user's, or of some days or all of a customer's, what comes included; Luca confirms."""
        organization_id = self._scene.some_organization().organization_id
        scope = holds_pb2.HoldScope(end_user=self._seed.choice(("", *END_USERS, *END_USERS)))
        if self._seed.random() < 0.3:
            scope.first_day = (
                (self._scene.now - timedelta(days=self._seed.choice((1, 5, 29)))).date().isoformat()
            )
            scope.last_day = (self._scene.now + timedelta(days=self._seed.choice((0, 5)))).date().isoformat()
        request = holds_pb2.PlaceHoldRequest(
            request_id=new_id("request"),
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=organization_id,
            scope=scope,
            reference="matter",
            review_at=stamp(self._scene.now + timedelta(days=365)),
        )
        self._may_be_secret(request)

        def placed() -> holds_pb2.Hold:
            self._empowered()
            hold = self._holds("lena").PlaceHold(request).hold
            return self._holds("luca").ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)).hold

        self._scene.world.leases("access_control")
        hold = self._scene.world.attempt(placed)
        if isinstance(hold, holds_pb2.Hold):
            self._scene.model.holds[hold.hold_id] = Hold(
                hold.hold_id,
                organization_id,
                [],
                is_active=hold.state == holds_pb2.HOLD_STATE_ACTIVE,
                scope=scope,
                placed_at=self._scene.now,
            )

    def _may_be_secret(self, request: holds_pb2.PlaceHoldRequest) -> None:
        """Every fourth or so is one of which the law forbids telling."""
        if request.request_id[-1] in "01234567":
            self.makes_secret(request)

    def makes_secret(self, request: holds_pb2.PlaceHoldRequest) -> None:
        """An order forbids telling the customer of this one."""
        request.secrecy.legal_basis = "order"
        request.secrecy.review_at.CopyFrom(stamp(self._scene.now + timedelta(days=300)))

    def ends_secrecy(self) -> None:
        """Luca finds that the customer may be told of a hold."""
        self._scene.world.leases("access_control")

        def ended() -> None:
            self._empowered()
            stub = self._holds("luca")
            found = stub.ListHolds(holds_pb2.ListHoldsRequest(page_size=1000)).holds
            secret = [hold for hold in found if hold.HasField("secrecy")]
            if secret:
                chosen = self._seed.choice(secret).hold_id
                stub.ReviewHoldSecrecy(
                    holds_pb2.ReviewHoldSecrecyRequest(hold_id=chosen, ends=True, reason="lifted")
                )

        self._scene.world.attempt(ended)

    def extends_hold(self) -> None:
        """Lena puts a review off."""
        standing = [hold for hold in self._scene.model.holds.values() if not hold.releasing]
        if not standing:
            return
        request = holds_pb2.ExtendHoldRequest(hold_id=self._seed.choice(standing).hold_id, reason="appeal")
        request.review_at.CopyFrom(stamp(self._scene.now + timedelta(days=400)))

        def extend() -> None:
            self._empowered()
            self._holds("lena").ExtendHold(request)

        self._scene.world.leases("access_control")
        self._scene.world.attempt(extend)

    def releases_hold(self) -> None:
        """Lena lets a hold go."""
        standing = [hold for hold in self._scene.model.holds.values() if not hold.releasing]
        if not standing:
            return
        hold = self._seed.choice(standing)
        hold.releasing = True  # from the moment it is asked for, nothing relies on it any more

        def release() -> holds_pb2.ReleaseHoldResponse:
            self._empowered()
            return self._holds("lena").ReleaseHold(
                holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="matter closed")
            )

        self._scene.world.leases("access_control", "access_control_2")
        hold.released = isinstance(self._scene.world.attempt(release), holds_pb2.ReleaseHoldResponse)

    def sets_term(self) -> None:
        """Lena proposes a term of some customer's contract, shorter or longer than what counts, and Luca confirms it."""
        self._sets(self._scene.some_organization().organization_id, *self._seed.choice(_TERMS))

    def sets_application_term(self) -> None:
        """The same of one of its applications."""
        organization_id = self._scene.some_organization().organization_id
        self._sets(organization_id, *self._seed.choice(_TERMS), APPLICATIONS[-1])

    def keeps_longer(self) -> None:
        """The same, longer than the default, and always for the same customer: others' days go meanwhile."""
        for organization in self._scene.open_organizations()[:1]:
            self._sets(organization.organization_id, *_LONGER)

    def _sets(
        self, organization_id: str, kind: "rules_pb2.TermKind.ValueType", days: int, application: str = ""
    ) -> None:
        request = contracts_pb2.SetTermRequest(
            request_id=new_id("request"),
            organization_id=organization_id,
            kind=kind,
            days=days,
            reference="contract",
            application=application,
        )

        def set_() -> None:
            self._empowered()
            term = self._contracts("lena").SetTerm(request).term
            self._contracts("luca").ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=term.term_id))

        self._scene.world.leases("access_control")
        self._scene.world.attempt(set_)

    def ends_term(self) -> None:
        """Lena proposes the end of a term, and Luca confirms it; or one that nobody confirmed is withdrawn."""
        self._scene.world.leases("access_control")

        def ended() -> None:
            self._empowered()
            found = self._contracts("lena").ListTerms(contracts_pb2.ListTermsRequest()).terms
            open_ = [each for each in found if each.state in _OPEN]
            if open_:
                chosen = self._seed.choice(open_)
                request = contracts_pb2.EndTermRequest(term_id=chosen.term_id, reason="over")
                if self._contracts("lena").EndTerm(request).term.state in _OPEN:
                    asked = contracts_pb2.ConfirmTermRequest(
                        term_id=chosen.term_id, proposal=contracts_pb2.TERM_PROPOSAL_END
                    )
                    self._contracts("luca").ConfirmTerm(asked)

        self._scene.world.attempt(ended)

    def _contracts(self, name: str) -> contracts_pb2_grpc.ContractServiceStub:
        return contracts_pb2_grpc.ContractServiceStub(self._scene.world.person(name)("retention"))

    def _empowered(self) -> None:
        self._scene.power("lena", "luca", roles_pb2.POWER_LEGAL)
        self._scene.power("luca", "lena", roles_pb2.POWER_LEGAL)

    def _holds(self, name: str) -> holds_pb2_grpc.HoldServiceStub:
        return holds_pb2_grpc.HoldServiceStub(self._scene.world.person(name)("retention"))
