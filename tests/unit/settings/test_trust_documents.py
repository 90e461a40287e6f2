"""Documents on trust: anybody may look and ask, a person decides, and what strangers write is bounded and forgotten."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, members_pb2, organizations_pb2, terms_pb2
from kept.settings.v1 import trust_pb2 as contract
from services.settings.accounts.password_resets import SOURCE
from services.settings.sources import Sources
from services.settings.trust import documents as trust_documents
from services.settings.trust.terms_text import load
from tests.unit.settings.world import ERASURE, Stubs, World, person, refused

SOC = contract.DOCUMENT_KIND_SOC_2_TYPE_II
ADDENDUM = contract.DOCUMENT_KIND_DATA_PROCESSING_ADDENDUM
PUBLIC = contract.DOCUMENT_VISIBILITY_PUBLIC
ON_REQUEST = contract.DOCUMENT_VISIBILITY_ON_REQUEST
CUSTOMERS = contract.DOCUMENT_VISIBILITY_CUSTOMERS
SAAS, PRIVATE = organizations_pb2.DEPLOYMENT_SAAS, organizations_pb2.DEPLOYMENT_PRIVATE
CLOUD = organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD
LINK = "https://files.vendor.test/x"


def publish(
    world: World,
    kind: contract.DocumentKind.ValueType = SOC,
    version: str = "2026",
    visibility: contract.DocumentVisibility.ValueType = ON_REQUEST,
) -> contract.TrustDocument:
    return (
        world.staff()
        .trust.PublishDocument(
            contract.PublishDocumentRequest(
                kind=kind,
                title="The report",
                version=version,
                visibility=visibility,
                link=LINK if visibility == PUBLIC else "",
                sha256=b"s" * 32,
            )
        )
        .document
    )


def requester(name: str = "pia") -> contract.Requester:
    return contract.Requester(
        name=f"{name.title()} Prospect", email=f"{name}@prospect.test", company="Prospect AG"
    )


def ask(
    caller: Stubs, document: contract.TrustDocument, number: int = 1, who: str = "pia"
) -> contract.RequestDocumentResponse:
    return caller.trust.RequestDocument(
        contract.RequestDocumentRequest(
            request_id=f"request-of-a-document-{number}",
            document_id=document.document_id,
            requester=requester(who),
        )
    )


def ask_addendum(
    caller: Stubs, deployment: organizations_pb2.Deployment.ValueType = SAAS, number: int = 1
) -> contract.RequestDataProcessingAddendumResponse:
    return caller.trust.RequestDataProcessingAddendum(
        contract.RequestDataProcessingAddendumRequest(
            request_id=f"request-of-an-addendum-{number}", requester=requester(), deployment=deployment
        )
    )


def decide(
    world: World, request: contract.TrustRequest, approve: bool = True, **more: Any
) -> contract.TrustRequest:
    wanted = {"reason": "as you asked", "link": LINK if approve else ""} | more
    return (
        world.staff(2)
        .trust.DecideTrustRequest(
            contract.DecideTrustRequestRequest(
                trust_request_id=request.trust_request_id, approve=approve, **wanted
            )
        )
        .request
    )


def by_claim(world: World, claim: str) -> contract.TrustRequest:
    return world.public().trust.GetTrustRequest(contract.GetTrustRequestRequest(claim=claim)).request


def waiting(world: World, decided_too: bool = False) -> list[contract.TrustRequest]:
    return list(
        world.staff()
        .trust.ListTrustRequests(contract.ListTrustRequestsRequest(include_decided=decided_too))
        .requests
    )


def documents(world: World, earlier: bool = False) -> list[contract.TrustDocument]:
    return list(
        world.public().trust.ListDocuments(contract.ListDocumentsRequest(include_earlier=earlier)).documents
    )


def test_anybody_learns_contacts_and_commitments(world: World) -> None:
    nobody = world.public().trust
    contacts = nobody.GetContacts(contract.GetContactsRequest()).contacts
    assert [(one.kind, one.address) for one in contacts] == [
        (terms_pb2.CONTACT_KIND_SUPPORT, "help@vendor.test"),
        (terms_pb2.CONTACT_KIND_PRIVACY, "privacy@vendor.test"),
    ]
    told = nobody.GetCommitments(contract.GetCommitmentsRequest())
    text = load()
    assert told.version == text.version
    assert [(one.commitment_id, one.text) for one in told.commitments] == [
        (one.commitment_id, one.promise) for one in text.commitments
    ]
    assert any("trial key" in one.text for one in told.commitments)
    assert told.general_terms.startswith("https://")


def test_a_prospect_asks_a_person_decides_and_the_claim_tells(world: World) -> None:
    document = publish(world)
    asked = ask(world.public(), document)
    assert by_claim(world, asked.claim) == asked.request
    assert not asked.request.HasField("requester")
    [seen] = waiting(world)
    assert seen.requester == requester()
    decided = decide(world, asked.request)
    assert (decided.state, decided.decided_by) == (contract.TRUST_REQUEST_STATE_APPROVED, person(2))
    told = by_claim(world, asked.claim)
    assert (told.link, told.reason, told.decided_by) == (LINK, "as you asked", "")
    assert waiting(world) == []
    assert waiting(world, decided_too=True) == [decided]
    with refused(reasons_pb2.REASON_WRONG_STATE):
        decide(world, asked.request, approve=False)
    assert world.kinds() == ["document.published", "document.requested", "document.approved"]
    actors = [entry.actor for entry in world.peers.entries]
    assert actors == [person(1), "service:public", person(2)]
    assert "rospect" not in str(world.peers.entries), "ids only"


def test_a_denial_has_a_reason_and_no_link(world: World) -> None:
    asked = ask(world.public(), publish(world))
    for approve, link in ((True, ""), (False, LINK)):
        with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
            decide(world, asked.request, approve, link=link)
    denied = decide(world, asked.request, approve=False, reason="sign the agreement first")
    assert denied.state == contract.TRUST_REQUEST_STATE_DENIED
    assert by_claim(world, asked.claim).reason == "sign the agreement first"


def test_of_two_decisions_at_once_the_first_counts(world: World) -> None:
    asked = ask(world.public(), publish(world))
    outcome = world.during(
        f"UPDATE trust_requests SET state = 3 WHERE trust_request_id = '{asked.request.trust_request_id}'",
        lambda: decide(world, asked.request),
    )
    assert getattr(outcome, "reason", None) == reasons_pb2.REASON_WRONG_STATE


def test_who_may_see_what(world: World) -> None:
    public = publish(world, contract.DOCUMENT_KIND_ISO_27001, visibility=PUBLIC)
    hidden = publish(world, contract.DOCUMENT_KIND_ISO_42001, visibility=ON_REQUEST)
    customers = publish(world, SOC, visibility=CUSTOMERS)
    assert {one.document_id: one.link for one in documents(world)} == {
        public.document_id: LINK,
        hidden.document_id: "",
        customers.document_id: "",
    }
    with refused(reasons_pb2.REASON_WRONG_STATE):
        ask(world.public(), public)
    prospect = ask(world.public(), customers, 1)
    with refused(reasons_pb2.REASON_CUSTOMERS_ONLY):
        decide(world, prospect.request)
    assert decide(world, prospect.request, approve=False).state == contract.TRUST_REQUEST_STATE_DENIED
    admin = world.admin()
    asked = ask(world.customer(admin), customers, 2)
    assert asked.request.organization_id == admin.organization_id
    assert decide(world, asked.request).state == contract.TRUST_REQUEST_STATE_APPROVED
    assert world.kinds(admin.organization_id)[-2:] == ["document.requested", "document.approved"]


def test_a_token_of_somebody_who_is_not_there_makes_no_customer(world: World) -> None:
    gone = members_pb2.Member(member_id="member_" + "0" * 26, organization_id="org_" + "0" * 26)
    asked = ask(world.customer(gone), publish(world, visibility=CUSTOMERS))
    assert asked.request.organization_id == ""
    admin, other = world.admin("acme"), world.admin("other")
    foreign = ask(world.customer(admin, other.organization_id), documents(world)[0], 2)
    assert foreign.request.organization_id == ""


def test_who_is_removed_meanwhile_asks_as_a_stranger(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    document = publish(world)
    outcome = world.during(
        "SELECT 1 FROM organizations FOR NO KEY UPDATE; "
        f"DELETE FROM members WHERE member_id = '{member.member_id}'",
        lambda: ask(world.customer(member), document),
    )
    assert isinstance(outcome, contract.RequestDocumentResponse)
    assert outcome.request.organization_id == ""


def test_versions_are_added_and_taken_back_never_replaced(world: World) -> None:
    first, other = publish(world, version="2025"), publish(world, contract.DOCUMENT_KIND_OTHER, "1")
    second, another = publish(world, version="2026"), publish(world, contract.DOCUMENT_KIND_OTHER, "2")
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        publish(world, version="2025")
    assert documents(world) == [another, second, other]
    withdraw = contract.WithdrawDocumentRequest(document_id=second.document_id)
    gone = world.staff().trust.WithdrawDocument(withdraw).document
    assert gone.HasField("withdrawn_at")
    world.clock.advance(timedelta(hours=1))
    assert world.staff().trust.WithdrawDocument(withdraw).document == gone
    assert documents(world) == [another, other, first], "the one before it counts again"
    assert documents(world, earlier=True) == [another, gone, other, first]
    with refused(reasons_pb2.REASON_NOT_FOUND):
        ask(world.public(), second)
    assert world.kinds().count("document.withdrawn") == 1


@pytest.mark.parametrize(
    ("visibility", "link"), [(PUBLIC, ""), (ON_REQUEST, LINK), (PUBLIC, "http://plain.test")]
)
def test_a_link_belongs_to_public_documents(
    world: World, visibility: contract.DocumentVisibility.ValueType, link: str
) -> None:
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.staff().trust.PublishDocument(
            contract.PublishDocumentRequest(
                kind=SOC, title="x", version="1", visibility=visibility, link=link, sha256=b"s" * 32
            )
        )
    assert documents(world) == []


@pytest.mark.parametrize("deployment", [PRIVATE, CLOUD])
def test_no_addendum_is_required_elsewhere_and_nothing_is_stored(
    world: World, deployment: organizations_pb2.Deployment.ValueType
) -> None:
    answer = ask_addendum(world.public(), deployment)
    assert not answer.required
    assert not answer.HasField("request")
    admin = world.admin(deployment=deployment)
    assert not ask_addendum(world.customer(admin), SAAS).required, "what is known of a customer counts"
    assert waiting(world) == []


def test_an_addendum_is_asked_for_and_what_a_customer_got_is_among_its_documents(world: World) -> None:
    admin = world.admin()
    document = publish(world, ADDENDUM, version="2026-03")
    asked = ask_addendum(world.customer(admin), PRIVATE)
    assert asked.required
    assert by_claim(world, asked.claim).kind == ADDENDUM
    decided = decide(world, asked.request)
    assert decided.document_id == document.document_id
    terms = world.customer(admin).organizations.GetEffectiveTerms(
        terms_pb2.GetEffectiveTermsRequest(organization_id=admin.organization_id)
    )
    assert terms.documents[-1] == terms_pb2.AppliedDocument(
        name="data-processing-addendum", version="2026-03", since=decided.decided_at
    )


def test_an_addendum_is_given_once_there_is_one(world: World) -> None:
    asked = ask_addendum(world.customer(world.admin()))
    publish(world)
    gone = publish(world, ADDENDUM, version="2026-02")
    world.staff().trust.WithdrawDocument(contract.WithdrawDocumentRequest(document_id=gone.document_id))
    with refused(reasons_pb2.REASON_WRONG_STATE) as caught:
        decide(world, asked.request)
    assert caught[0].metadata == {"state": "NOT_PUBLISHED"}
    assert "Publish the document first" in str(caught[0])
    document = publish(world, ADDENDUM, version="2026-03")
    assert decide(world, asked.request).document_id == document.document_id
    other = ask_addendum(world.customer(world.admin("other")), number=2)
    world.staff().trust.WithdrawDocument(contract.WithdrawDocumentRequest(document_id=document.document_id))
    assert decide(world, other.request, approve=False).state == contract.TRUST_REQUEST_STATE_DENIED


def test_a_document_that_was_withdrawn_since_is_given_to_nobody(world: World) -> None:
    document = publish(world)
    asked = ask(world.public(), document)
    world.staff().trust.WithdrawDocument(contract.WithdrawDocumentRequest(document_id=document.document_id))
    with refused(reasons_pb2.REASON_WRONG_STATE) as caught:
        decide(world, asked.request)
    assert caught[0].metadata == {"state": "WITHDRAWN"}
    assert [each.trust_request_id for each in waiting(world)] == [asked.request.trust_request_id]
    denied = decide(world, asked.request, approve=False)
    assert denied.state == contract.TRUST_REQUEST_STATE_DENIED


def test_a_repetition_is_the_same_request_without_a_claim(world: World) -> None:
    document = publish(world)
    first = ask(world.public(), document)
    again = ask(world.public(), document)
    assert (again.request, again.claim) == (first.request, "")
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        ask(world.public(), document, who="somebody-else")
    assert len(waiting(world)) == 1


@pytest.fixture
def small(url: str) -> Iterator[World]:
    made = World(url, public_requests={"by_source": 50, "by_address": 2, "altogether": 3})
    yield made
    made.database.close()


def test_strangers_write_so_much_an_hour_and_no_more(small: World) -> None:
    document = publish(small)
    ask(small.public(), document, 1)
    ask(small.public(), document, 2)
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN) as caught:
        ask(small.public(), document, 3)
    assert caught[0].retry_after == timedelta(hours=1)
    assert ask(small.public(), document, 2).claim == "", "a repetition counts for nothing"
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        small.public().trust.RequestDocument(
            contract.RequestDocumentRequest(
                request_id="request-of-a-document-3",
                document_id=document.document_id,
                requester=contract.Requester(name="P", email="PIA@prospect.test", company="P"),
            )
        )
    ask(small.public(), document, 4, who="other")
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        ask(small.public(), document, 5, who="third")
    small.clock.advance(timedelta(minutes=59))
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN) as caught:
        ask(small.public(), document, 5, who="third")
    assert caught[0].retry_after == timedelta(minutes=1)
    small.clock.advance(timedelta(minutes=1))
    ask(small.public(), document, 5, who="third")
    assert len(waiting(small)) == 4


def test_what_fails_is_not_counted(small: World) -> None:
    document = publish(small)
    for number in range(5):
        with refused(reasons_pb2.REASON_NOT_FOUND):
            ask(small.public(), contract.TrustDocument(document_id="document_" + "0" * 26), number)
    ask(small.public(), document)


def test_a_network_is_bounded_whatever_address_it_comes_from(url: str) -> None:
    from services.settings.trust.public_pace import PublicLimits, PublicPace

    world = World(url)
    pace = PublicPace(world.database, world.clock, PublicLimits(by_source=2))

    def count(peer: str, email: str) -> None:
        with world.database.transaction() as tx:
            pace.count(tx, Sources().of(peer), email)

    count("ipv6:%5B2001:db8::7%5D:51000", "a@x.test")
    count("ipv6:%5B2001:db8::8%5D:51001", "b@x.test")
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        count("ipv6:%5B2001:db8::9%5D:51002", "c@x.test")
    count("ipv6:%5B2001:db8:0:1::9%5D:51002", "d@x.test")
    count("unix:", "e@x.test")
    world.clock.advance(timedelta(hours=2))
    assert not pace.job.step()
    with world.database.transaction() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM public_requests").scalar_one() == 0
    world.database.close()


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("ipv4:192.0.2.7:51000", "192.0.2.7"),
        ("ipv6:%5B2001:db8::7%5D:51000", "2001:db8::/64"),
        ("ipv6:[::ffff:192.0.2.7]:51000", "192.0.2.7"),
        ("unix:/x", ""),
        ("", ""),
    ],
)
def test_a_source_is_a_network(peer: str, source: str) -> None:
    assert Sources().of(peer) == source
    assert not Sources(are_hidden=True).of(peer)


@pytest.mark.parametrize("are_hidden", [False, True])
def test_behind_a_proxy_nobody_holds_up_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch, are_hidden: bool
) -> None:
    monkeypatch.setattr("shared.inprocess._Context.peer", lambda _: "ipv4:192.0.2.7:51000")
    world = World(url, hidden_sources=are_hidden, public_requests={"by_source": 1})
    document = publish(world)
    ask(world.public(), document, 1)
    with nullcontext() if are_hidden else refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        ask(world.public(), document, 2, who="somebody-else")
    forgotten = [
        members_pb2.RequestPasswordResetRequest(email=f"{number}@acme.test")
        for number in range(SOURCE.free + 2)
    ]
    with nullcontext() if are_hidden else refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        for request in forgotten:
            world.public().members.RequestPasswordReset(request)
    world.database.close()


def test_no_more_wait_than_anybody_can_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_documents, "MOST_WAITING", 1)
    document = publish(world)
    first = ask(world.public(), document, 1)
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        ask(world.public(), document, 2)
    decide(world, first.request)
    ask(world.public(), document, 2)


def test_what_was_asked_is_forgotten_after_its_time_whoever_asked(world: World) -> None:
    document = publish(world)
    admin = world.admin()
    asked = [ask(world.public(), document, 1), ask(world.customer(admin), document, 2)]
    decide(world, asked[1].request)
    world.clock.advance(timedelta(days=180))
    world.run_jobs()
    assert [by_claim(world, one.claim).state for one in asked] == [
        contract.TRUST_REQUEST_STATE_REQUESTED,
        contract.TRUST_REQUEST_STATE_APPROVED,
    ]
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    for one in asked:
        with refused(reasons_pb2.REASON_NOT_FOUND):
            by_claim(world, one.claim)


def test_of_an_addendum_that_an_organization_got_who_asked_is_forgotten_and_not_that_it_got_it(
    world: World,
) -> None:
    admin = world.admin()
    publish(world, ADDENDUM, version="2026-03")
    asked = ask_addendum(world.customer(admin))
    decide(world, asked.request, reason="for Pia")
    wanted = terms_pb2.GetEffectiveTermsRequest(organization_id=admin.organization_id)
    before = world.customer(admin).organizations.GetEffectiveTerms(wanted).documents
    assert "2026-03" in [one.version for one in before]
    world.clock.advance(timedelta(days=180))
    world.run_jobs()
    [kept] = waiting(world, decided_too=True)
    assert kept.requester == requester()
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    [blanked] = waiting(world, decided_too=True)
    assert (blanked.requester, blanked.reason) == (contract.Requester(), "")
    with world.database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM trust_requests").all()
    assert "pia" not in str(rows).lower()
    assert b"" in rows[0], "nor a digest by which a name is guessed"
    assert world.customer(admin).organizations.GetEffectiveTerms(wanted).documents == before


def test_of_an_addendum_whose_requester_left_the_rest_is_forgotten_too(world: World) -> None:
    admin = world.admin()
    publish(world, ADDENDUM, version="2026-03")
    member = world.colleague(admin)
    asked = ask_addendum(world.customer(member))
    decide(world, asked.request, reason="for Pia")
    world.customer(admin).members.RemoveMember(
        members_pb2.RemoveMemberRequest(member_id=member.member_id, etag=member.etag)
    )
    [left] = waiting(world, decided_too=True)
    assert left.requester == contract.Requester(company="Prospect AG")
    world.clock.advance(timedelta(days=180, seconds=1))
    world.run_jobs()
    with world.database.engine.connect() as connection:
        [row] = connection.exec_driver_sql("SELECT * FROM trust_requests").all()
    assert not {"Prospect AG", "for Pia", member.member_id} & set(row)


def test_who_was_removed_by_a_process_of_the_version_before_is_forgotten_by_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes by the address alone, and keeps the digest."""
    monkeypatch.setattr(trust_documents, "_BATCH", 2)
    admin, document = world.admin(), publish(world)
    member = world.colleague(admin)
    for number in range(5):
        ask(world.customer(member), document, number, who=f"somebody-{number}")
    asked = {"stays": ask(world.customer(admin), document, 5), "stranger": ask(world.public(), document, 6)}
    by_address = ask(world.customer(admin), document, 7)
    with world.database.engine.begin() as tx:
        tx.exec_driver_sql("DELETE FROM members WHERE member_id = %s", (member.member_id,))
        tx.exec_driver_sql(
            "UPDATE trust_requests SET name = '', email = '' WHERE trust_request_id = %s",
            (by_address.request.trust_request_id,),
        )
    world.run_jobs()
    with world.database.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT trust_request_id, name || email, content_sha256 <> '' FROM trust_requests"
        ).all()
    assert len(rows) == 8
    known = {row[0] for row in rows if row[1] and row[2]}
    assert known == {one.request.trust_request_id for one in asked.values()}
    assert {row[1:] for row in rows if row[0] not in known} == {("", False)}


def test_what_customers_asked_goes_with_them(world: World) -> None:
    admin = world.admin()
    ask(world.customer(admin), publish(world), 1)
    assert [one.organization_id for one in waiting(world)] == [admin.organization_id]
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["trust_requests"] == 1
    assert waiting(world) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"company": "two\nlines"},
        {"email": "nobody"},
        {"email": "x" * 250 + "@y.test"},
        {"email": "p\u0430ul@prospect.test"},  # a Cyrillic letter
    ],
)
def test_what_is_no_requester_is_refused(world: World, change: dict[str, str]) -> None:
    document, who = publish(world), requester()
    for name, value in change.items():
        setattr(who, name, value)
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.public().trust.RequestDocument(
            contract.RequestDocumentRequest(
                request_id="request-of-a-document", document_id=document.document_id, requester=who
            )
        )
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.public().trust.RequestDocument(
            contract.RequestDocumentRequest(
                request_id="request-of-a-document", document_id=document.document_id
            )
        )
    assert waiting(world) == []


def test_the_public_and_customers_decide_and_publish_nothing(world: World) -> None:
    admin = world.admin()
    asked = ask(world.public(), publish(world))
    decision = contract.DecideTrustRequestRequest(
        trust_request_id=asked.request.trust_request_id, approve=True, reason="x", link=LINK
    )
    for caller, reason in (
        (world.public(), reasons_pb2.REASON_UNAUTHENTICATED),
        (world.customer(admin), reasons_pb2.REASON_CALLER_NOT_ALLOWED),
    ):
        with refused(reason):
            caller.trust.DecideTrustRequest(decision)
        with refused(reason):
            caller.trust.ListTrustRequests(contract.ListTrustRequestsRequest())
        with refused(reason):
            caller.trust.PublishSubprocessors(contract.PublishSubprocessorsRequest(request_id="request-1"))
