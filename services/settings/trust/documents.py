"""Documents on trust, and who asks for them: certificates, reports, the data processing addendum. Anybody may ask, a person decides.

What strangers write is bounded, and forgotten after a time. Who asked gets a claim, with which the decision can be looked up by who has no
account; a customer who was signed in asked for its organization, and that request goes with the organization.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

from kept.settings.v1 import organizations_pb2
from kept.settings.v1 import trust_pb2 as contract
from services.settings.accounts.tokens import fingerprint, new_token
from services.settings.organizations.lifecycle import active
from services.settings.store import Tx, members, organizations
from services.settings.store import trust_documents as documents_store
from services.settings.store import trust_requests as requests_store
from services.settings.store.organizations import Organization
from services.settings.store.trust_documents import Document
from services.settings.store.trust_requests import TrustRequest
from services.settings.telling.notices import Notices
from services.settings.trust.public_pace import PublicPace
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Outbox
from shared.pages import page
from shared.redaction import Secret

_LIST: Final = "trust_requests"
_MOST_LISTED: Final = 500
# Requests that wait for a decision, over all.
MOST_WAITING: Final = 10_000
_BATCH: Final = 500
_REQUESTED = contract.TRUST_REQUEST_STATE_REQUESTED
_APPROVED = contract.TRUST_REQUEST_STATE_APPROVED
_DENIED = contract.TRUST_REQUEST_STATE_DENIED
_ADDENDUM = contract.DOCUMENT_KIND_DATA_PROCESSING_ADDENDUM


@dataclass(frozen=True)
class Requester:
    """Who asks. source: the network that the call came from, "" where it is not known."""

    name: str = field(repr=False)
    email: str = field(repr=False)
    company: str = field(repr=False)
    source: str = field(repr=False)


@dataclass(frozen=True)
class Asked:
    """A request as stored, and its claim; an empty one on a repetition."""

    request: TrustRequest
    claim: Secret


def is_addendum_required(deployment: "organizations_pb2.Deployment.ValueType") -> bool:
    """Whether the vendor processes anything that an addendum would be about: on its own platform only (C29)."""
    return deployment == organizations_pb2.DEPLOYMENT_SAAS


class TrustDocuments:
    """Documents and requests for them. kept_for: how long requests of nobody's organization are kept."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        notices: Notices,
        pace: PublicPace,
        *,
        kept_for: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._notices = notices
        self._pace = pace
        self._kept_for = kept_for
        self.job = Job("trust_requests", timedelta(minutes=10), self._forget)

    def list_newest(self, earlier_too: bool) -> Sequence[Document]:
        """Newest first; of each kind the newest that counts, or every one there was. Other documents all count."""
        with self._database.transaction() as tx:
            found = documents_store.list_newest(tx, _MOST_LISTED)
        if earlier_too:
            return found
        shown: list[Document] = []
        kinds = set()
        for one in found:
            if one.withdrawn_at is None and one.kind not in kinds:
                shown.append(one)
                if one.kind != contract.DOCUMENT_KIND_OTHER:
                    kinds.add(one.kind)
        return shown

    def publish(
        self,
        caller: Caller,
        kind: "contract.DocumentKind.ValueType",
        *,
        title: str,
        version: str,
        visibility: "contract.DocumentVisibility.ValueType",
        link: str,
        sha256: bytes,
    ) -> Document:
        """Publishes a version. Raises ALREADY_EXISTS; INVALID_ARGUMENT for a public one without a link, or another one with it."""
        if (visibility == contract.DOCUMENT_VISIBILITY_PUBLIC) != bool(link):
            raise invalid("link", "a public document needs one, and no other has one")
        with self._database.transaction() as tx:
            added = documents_store.add(
                tx,
                Document(
                    document_id=new_id("document"),
                    number=0,
                    kind=kind,
                    title=title,
                    version=version,
                    visibility=visibility,
                    link=link,
                    sha256=sha256,
                    published_by=caller.actor,
                    published_at=self._clock.now(),
                ),
            )
            if added is None:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "This version of the document was published already; versions are not replaced.",
                    metadata={"kind": "document"},
                )
            self._audit_document(tx, "document.published", caller, added)
            return added

    def withdraw(self, caller: Caller, document_id: str) -> Document:
        """Takes a document back; one that was taken back stays so. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            document = documents_store.find(tx, document_id, lock=True)
            if document is None:
                raise not_found("document")
            if document.withdrawn_at is None:
                document = replace(document, withdrawn_at=self._clock.now())
                documents_store.withdraw(tx, document_id, document.withdrawn_at or self._clock.now())
                self._audit_document(tx, "document.withdrawn", caller, document)
            return document

    def request(self, caller: Caller, request_id: str, requester: Requester, document_id: str) -> Asked:
        """Asks for a document. Raises NOT_FOUND, WRONG_STATE for a public one, REQUEST_ID_REUSED, ASKED_TOO_OFTEN, CLOSED."""
        with self._database.transaction() as tx:
            document = documents_store.find(tx, document_id)
            if document is None or document.withdrawn_at is not None:
                raise not_found("document")
            if document.visibility == contract.DOCUMENT_VISIBILITY_PUBLIC:
                raise wrong_state("Everybody may read this document; the list has its link.", "PUBLIC")
            return self._ask(
                tx, caller, request_id, requester, document.kind, document_id, _own_organization(tx, caller)
            )

    def request_addendum(
        self,
        caller: Caller,
        request_id: str,
        requester: Requester,
        deployment: "organizations_pb2.Deployment.ValueType",
    ) -> Asked | None:
        """Asks for the data processing addendum; None where none is required. Raises REQUEST_ID_REUSED, ASKED_TOO_OFTEN, CLOSED."""
        with self._database.transaction() as tx:
            organization = _own_organization(tx, caller)
            if not is_addendum_required(deployment if organization is None else organization.deployment):
                return None
            return self._ask(tx, caller, request_id, requester, _ADDENDUM, None, organization)

    def _ask(
        self,
        tx: Tx,
        caller: Caller,
        request_id: str,
        requester: Requester,
        kind: "contract.DocumentKind.ValueType",
        document_id: str | None,
        organization: Organization | None,
    ) -> Asked:
        organization_id = None if organization is None else organization.organization_id
        said = asdict(requester) | {"document": document_id, "organization": organization_id}
        del said["source"]  # a repetition may come from elsewhere
        content = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()
        claim = new_token()
        new = TrustRequest(
            trust_request_id=new_id("trustrequest"),
            number=0,
            request_id=request_id,
            content_sha256=content,
            claim_sha256=fingerprint(claim),
            kind=kind,
            document_id=document_id,
            name=requester.name,
            email=requester.email,
            company=requester.company,
            organization_id=organization_id,
            state=_REQUESTED,
            requested_at=self._clock.now(),
            requested_by=None if organization is None else caller.subject,
        )
        if requests_store.find_by_request(tx, request_id) is None:
            self._pace.count(tx, requester.source, requester.email)
            if requests_store.waiting(tx) >= MOST_WAITING:
                raise KeptError(
                    Reason.REASON_ASKED_TOO_OFTEN,
                    "Too many requests wait for a decision; ask again later.",
                    retry_after=timedelta(hours=1),
                )
        added = requests_store.add(tx, new)
        if added is None:
            known = requests_store.find_by_request(tx, request_id)
            if known is None or (known.content_sha256, known.kind) != (content, kind):
                raise KeptError(
                    Reason.REASON_REQUEST_ID_REUSED,
                    "This request id came before with another content; use a new one.",
                )
            return Asked(known, Secret(""))
        # Who asked is a customer's person only where the table of members says so.
        actor = caller.subject if organization is not None else "service:public"
        self._audit_request(tx, "document.requested", actor, added)
        return Asked(added, claim)

    def find_by_claim(self, claim: Secret) -> TrustRequest:
        """The request of a claim. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            found = requests_store.find_by_claim(tx, fingerprint(claim))
        if found is None:
            raise not_found("trust_request")
        return found

    def page(self, decided_too: bool, page_size: int, page_token: str) -> tuple[Sequence[TrustRequest], str]:
        """A page, oldest first, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            read = partial(requests_store.list_after, tx, decided_too)
            return page(_LIST, page_size, page_token, read, lambda one: one.number)

    def decide(
        self, caller: Caller, trust_request_id: str, approve: bool, reason: str, link: str
    ) -> TrustRequest:
        """Decides, once. Raises NOT_FOUND, WRONG_STATE, CUSTOMERS_ONLY; INVALID_ARGUMENT for an approval without a link, or a denial with
        one."""
        if approve != bool(link):
            raise invalid("link", "an approval needs one, and a denial has none")
        with self._database.transaction() as tx:
            request = requests_store.lock(tx, trust_request_id)
            if request is None:
                raise not_found("trust_request")
            if request.state != _REQUESTED:
                raise wrong_state(
                    "The request is decided already.", contract.TrustRequestState.Name(request.state)
                )
            document = self._document_of(tx, request)
            if approve:
                _require_may_give(document, request)
            request = replace(
                request,
                state=_APPROVED if approve else _DENIED,
                document_id=request.document_id or (document.document_id if document and approve else None),
                decided_at=self._clock.now(),
                decided_by=caller.actor,
                reason=reason,
                link=link,
            )
            requests_store.decide(tx, request)
            self._audit_request(
                tx, "document.approved" if approve else "document.denied", caller.actor, request
            )
            return request

    def _document_of(self, tx: Tx, request: TrustRequest) -> Document | None:
        if request.document_id is not None:
            return documents_store.find(tx, request.document_id)
        return documents_store.newest_of(tx, request.kind)

    def _forget(self) -> bool:
        before = self._clock.now() - self._kept_for
        with self._database.transaction() as tx:
            removed = requests_store.remove_older(tx, before, _BATCH)
            blanked = requests_store.blank_older(tx, before, _BATCH)
            departed = requests_store.blank_departed(tx, _BATCH)
        return _BATCH in (removed, blanked, departed)

    def _audit_document(self, tx: Tx, kind: str, caller: Caller, document: Document) -> None:
        facts: dict[str, str | int | bool] = {
            "document_kind": contract.DocumentKind.Name(document.kind),
            "version": document.version,
        }
        if kind == "document.published":
            facts["visibility"] = contract.DocumentVisibility.Name(document.visibility)
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                subjects=[document.document_id],
                facts=facts,
            ),
        )

    def _audit_request(self, tx: Tx, kind: str, actor: str, request: TrustRequest) -> None:
        organization_id = request.organization_id or ""
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=organization_id,
                subjects=[request.trust_request_id, *([request.document_id] if request.document_id else [])],
                facts={"document_kind": contract.DocumentKind.Name(request.kind)},
            ),
        )
        self._notices.emit(
            tx, kind, organization_id=organization_id, trust_request_id=request.trust_request_id
        )


def _require_may_give(document: Document | None, request: TrustRequest) -> None:
    """Raises WRONG_STATE for what was withdrawn since, or is not there, for terms name the version that was given; CUSTOMERS_ONLY for what
    only customers may see, where who asked was not signed in as one."""
    if document is None:
        raise wrong_state("Publish the document first; then the request can be approved.", "NOT_PUBLISHED")
    if document.withdrawn_at is not None:
        raise wrong_state("The document was withdrawn since; the request can be denied.", "WITHDRAWN")
    if document.visibility == contract.DOCUMENT_VISIBILITY_CUSTOMERS and request.organization_id is None:
        raise KeptError(
            Reason.REASON_CUSTOMERS_ONLY,
            "The document is for customers only, and who asked was not signed in as one.",
        )


def _own_organization(tx: Tx, caller: Caller) -> Organization | None:
    """The organization of a customer's person who is signed in. The methods are public, so that nobody has looked yet whether the person
    that the token names is still there. Raises CLOSED."""
    if not caller.is_customer:
        return None
    # The lock first: who is being removed leaves no name behind that the removal has not seen.
    organization = organizations.lock(tx, caller.organization_id, shared=True)
    member = members.find(tx, caller.subject)
    if member is None or member.organization_id != caller.organization_id:
        return None
    return active(organization)
