"""Every kind of audit entry that there is, what it says, and the facts that it may hold. Nothing else gets into the audit log.

A kind is "<noun>.<past participle>". Its facts are ids, names of rules and states, counts, instants, and what a person wrote down as a
reason: never content, never a name or an address of a person. docs/audit-log.md shows this table to auditors; a test compares the two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Kind:
    """meaning: what happened, for an auditor. facts: names that may come with it; each may be absent. owner: the one service whose act it
    is, so that nobody else's word is taken for it; empty where any service does it."""

    meaning: str
    facts: frozenset[str]
    owner: str = ""


def _kind(meaning: str, facts: str = "") -> Kind:
    return Kind(meaning, frozenset(facts.split()))


# Why something was refused, and by which policies.
_REFUSAL: Final = " refused missing power state problem policies policy_set"
_SCOPE: Final = " duration_seconds detail budget records covers_from covers_until permission"
_POLICIES: Final = " policies policy_set"
_READ: Final = " detail service purpose reason ticket requester approvers permission" + _POLICIES
_LAPSING: Final = " role kinds last_reviewed_by"
_ORDERED: Final = "key_id reason"
_TERM: Final = "term application reference from_day until_day"
_EFFECT: Final = "days_let_go records_let_go days_kept_longer days_before"

_ACCESS_CONTROL: Final = {
    # decisions
    "method.allowed": _kind("Somebody was allowed to call a method.", "method service" + _POLICIES),
    "method.denied": _kind("Somebody was not allowed to call a method.", "method service" + _REFUSAL),
    "request.refused": _kind("Somebody sent what the contract does not allow.", "method refused fields"),
    "access.authorized": _kind("A read was allowed, before anything was looked up.", _READ),
    "access.denied": _kind("A read was not allowed.", "detail service permission" + _REFUSAL),
    "records.opened": _kind("Keys of records were released, or their log data.", "records left_out" + _READ),
    "records.screened": _kind("Records were handed to screening.", "records request_id" + _POLICIES),
    # grants
    "grant.requested": _kind(
        "A grant was asked for.", "what requester reason ticket start_at rules" + _SCOPE + _POLICIES
    ),
    "grant.approved": _kind(
        "Somebody, or a rule, approved a grant.",
        "what requester activated valid_from expires_at narrowed rules" + _SCOPE + _POLICIES,
    ),
    "grant.denied": _kind("A grant was denied.", "what requester why"),
    "grant.cancelled": _kind("Who asked took the request back.", "what requester"),
    "grant.revoked": _kind("A grant was ended before its time.", "what requester why"),
    "grant.extension_requested": _kind(
        "A longer time was asked for.", "what requester reason extension_seconds" + _POLICIES
    ),
    "grant.extension_approved": _kind(
        "Somebody approved a longer time; others still have to.",
        "what requester extension_seconds expires_at" + _POLICIES,
    ),
    "grant.extension_denied": _kind("A longer time was denied.", "what requester why extension_seconds"),
    "grant.extension_cancelled": _kind(
        "Who asked for a longer time took that back.", "what requester extension_seconds"
    ),
    "grant.extended": _kind(
        "A grant got a longer time.", "what requester extension_seconds expires_at" + _POLICIES
    ),
    "grant.refused": _kind("An act on grants was refused.", "act" + _REFUSAL),
    "export.sealed": _kind(
        "An admin took along an archive of the organization with this manifest.", "manifest_sha256"
    ),
    "break_glass.used": _kind(
        "Somebody on call took access at once.", "what requester reason ticket" + _SCOPE + _POLICIES
    ),
    "break_glass.review_due": _kind("Nobody reviewed it within a day.", "what requester due_at"),
    "break_glass.reviewed": _kind("Somebody else reviewed it.", "what requester verdict note late"),
    "case.known": _kind("A case of safety review can be named in grants.", "records state"),
    "case.named": _kind("A grant was asked for to review a case."),
    "case.closed": _kind("A case was closed.", "upheld ended_grants"),
    "affiliation.declared": _kind(
        "A person has to do with a customer and decides no case of it.", "ended_grants"
    ),
    "affiliation.ended": _kind("A person's affiliation with a customer was ended."),
    "evaluation_key.made": _kind("The key of an evaluation set was made, or made known again.", "ends_at"),
    "evaluation_key.opened": _kind("The key of an evaluation set was opened for somebody's evaluation."),
    # people
    "operator.bootstrapped": _kind(
        "The first operators of an empty installation were made.", "role document_sha256 expires_at"
    ),
    "operator.recovered": _kind(
        "Operators were made by command, for none was left.",
        "role document_sha256 expires_at operators_in_force_before",
    ),
    "person.created": _kind("A person was entered in the directory.", "provider"),
    "person.disabled": _kind("A person is nobody from now on.", "ended_grants"),
    "identity.proposed": _kind("Another way to sign in was proposed for a person."),
    "identity.confirmed": _kind("Another way to sign in counts from now on."),
    "identity.ended": _kind("A way to sign in counts no more."),
    "role.proposed": _kind("A role was proposed for a person.", "person role"),
    "role.confirmed": _kind("A second person confirmed a role.", "person role"),
    "role.ended": _kind("A role was ended.", "person ended_grants" + _LAPSING),
    "agreement.recorded": _kind("A signed agreement was recorded.", "document_sha256 expires_at kinds"),
    "agreement.ended": _kind("An agreement was ended.", "ended_grants" + _LAPSING),
    "agreement.expired": _kind("An agreement reached its end.", "ended_grants" + _LAPSING),
    "provider.proposed": _kind("A provider (sub-processor) was proposed."),
    "provider.confirmed": _kind("A second person confirmed a provider."),
    "provider.listed": _kind(
        "A provider was found on the published list of sub-processors.", "ended_grants version"
    ),
    "provider.unlisted": _kind(
        "A provider is not on the published list of sub-processors any more.", "ended_grants version"
    ),
    "provider.ended": _kind("A provider's people count no more.", "ended_grants" + _LAPSING),
    "review.due": _kind("A role, agreement or provider is to be confirmed again.", "lapses_at" + _LAPSING),
    "review.confirmed": _kind("It was confirmed again.", "lapses_at" + _LAPSING),
    "review.lapsed": _kind("Nobody confirmed it in time; it counts no more.", "ended_grants" + _LAPSING),
    "directory.refused": _kind("An act on the directory was refused.", "act role" + _REFUSAL),
    # policies
    "policies.changed": _kind("Another set of policies decides.", "before after added removed altered"),
    "policies.refused": _kind("A set of policies was not taken.", "in_use problem"),
    # keys
    "root.created": _kind("A root key was made."),
    "epoch.created": _kind(
        "An organization's key pair of a day was made, or an application's.", "day application"
    ),
    "keys.marked": _kind(
        "Keys were marked; they open nothing from now on.",
        "destruction epochs first_day last_day hold records",
    ),
    "keys.destroyed": _kind(
        "What was marked is gone from every copy.", "destruction epochs organizations key_store root"
    ),
    "keys.withheld": _kind("Keys of an end user's records are released to nobody any more.", "records"),
    "keys.disclosed": _kind("Keys were kept for a hold of which the law forbade telling.", "hold records"),
    "keys.retained": _kind("Keys of records were kept for a hold.", "hold records lost"),
    "signing_key.created": _kind("A key may sign heads of this log.", "key_id"),
    "signing_key.retired": _kind("A key signs no more; what it signed stays good.", "key_id"),
    "signing_key.revoked": _kind("What a key signed proves nothing any more.", "key_id"),
    "signing_key.replacement_ordered": _kind("Somebody ordered another signing key.", _ORDERED),
    "signing_key.revocation_ordered": _kind("Somebody ordered that a key be revoked.", _ORDERED),
}
_SETTINGS: Final = {
    "organization.created": _kind(
        "A customer was entered.", "tier deployment training_allowed usage_agreed effective_at"
    ),
    "organization.updated": _kind(
        "What is agreed with a customer changed.",
        "changed tier tier_before deployment deployment_before training_retention_days contracts usage_agreed effective_at",
    ),
    "organization.closed": _kind("An organization sends nothing any more.", "effective_at"),
    "terms.accepted": _kind("A customer accepted what it takes on itself.", "version duties"),
    "document.published": _kind("A version of a document was published.", "document_kind version visibility"),
    "document.withdrawn": _kind("It was taken back.", "document_kind version"),
    "document.requested": _kind("Somebody asked for a document, customer or not.", "document_kind"),
    "document.approved": _kind("A request for a document was approved.", "document_kind"),
    "document.denied": _kind("A request for a document was denied.", "document_kind"),
    "subprocessors.published": _kind(
        "A list of sub-processors was published.", "version subprocessors added removed changed effective_at"
    ),
    "subprocessors.announced": _kind(
        "A customer was told of a list that is to come into force.",
        "version added removed changed effective_at",
    ),
    "subprocessors.withdrawn": _kind("A list was taken back before it came into force.", "version"),
    "subprocessors.objected": _kind("A customer objected to a list.", "version"),
    "api_key.registered": _kind("A customer registered an API key, by its fingerprint.", "key_kind"),
    "api_key.revoked": _kind("A customer ended an API key for good.", "key_kind"),
    "gateway.registered": _kind(
        "A service identity may record for customers.", "all_organizations effective_at"
    ),
    "gateway.revoked": _kind("It may no more.", "effective_at"),
    "data_controls.updated": _kind(
        "A customer decided about its data.",
        "training_allowed require_customer_approval accepted_at effective_at etag",
    ),
    "assisted_opt_out.requested": _kind(
        "One of the vendor's people wants training off for a customer whose admins cannot be reached.",
        "admins",
    ),
    "assisted_opt_out.decided": _kind("Another decided on it.", "approved"),
    "notification_addresses.updated": _kind(
        "A customer changed whom to write to.", "addresses addresses_before"
    ),
    "zero_data_retention.requested": _kind(
        "A customer asked that nothing be kept.", "commitments_version copied erase_logged_before"
    ),
    "zero_data_retention.approved": _kind("Somebody approved it.", "approvals needed"),
    "zero_data_retention.denied": _kind("Somebody denied it."),
    "zero_data_retention.decided": _kind("It is decided.", "approved effective_at"),
    "zero_data_retention.withdrawn": _kind("The customer took the request back."),
    "zero_data_retention.end_approved": _kind(
        "One of the vendor's people wants it to end.", "approvals needed ends_at"
    ),
    "zero_data_retention.end_announced": _kind("It has an instant at which it ends.", "ends_at cause"),
    "zero_data_retention.end_called_off": _kind("The customer is eligible again; it stays in force."),
    "zero_data_retention.ended": _kind("Content is logged again.", "effective_at"),
    "member.invited": _kind("A customer's person was invited.", "role"),
    "member.invitation_revoked": _kind(
        "An admin took an invitation back, its inviter is an admin no more, or an operator invited another first admin."
    ),
    "member.registered": _kind("A customer's person has an account.", "role"),
    "member.updated": _kind("A customer's person changed the own name."),
    "member.role_changed": _kind("A customer's person has another role.", "role role_before"),
    "member.removed": _kind("An admin removed a customer's person.", "role"),
    "member.left": _kind("A customer's person deleted the own account."),
    "email_change.requested": _kind("A customer's person asked for another address of the own account."),
    "email.changed": _kind("A customer's person has another address."),
    "password.changed": _kind("A customer's person changed the own password."),
    "password_reset.issued": _kind("A token for a new password was sent to a customer's person."),
    "password.reset": _kind("A customer's person set a new password with such a token."),
    "profile.exported": _kind("A customer's person took the own data along."),
    "account_deletion.requested": _kind("An admin asked that the organization be deleted.", "erases_at"),
    "account_deletion.confirmed": _kind("The admin confirmed it.", "erases_at"),
    "account_deletion.cancelled": _kind("The admin took it back.", "erases_at"),
    "account_deletion.handed_over": _kind("Its time came; retention erases.", "erases_at"),
    "subject_request.created": _kind("A customer passed a data subject's request on.", "subject_kind due_at"),
    "subject_request.handed_over": _kind("Retention erases the end user.", "erasure_id"),
    "subject_request.extended": _kind("Its deadline was put off.", "due_at why"),
    "subject_request.reminded": _kind("Somebody was reminded of its deadline.", "due_at overdue"),
    "subject_request.exported": _kind("An admin took along what is known of it."),
    "subject_request.ended": _kind("It has its answer.", "outcome late certificate_id"),
    "subject_request.completed": _kind("What holds had kept is gone too.", "certificate_id"),
}
_LOGGING: Final = {
    "partition.dropped": _kind("A day's rows were dropped.", "day dropped held"),
    "rows.removed": _kind(
        "Rows of one organization's day, or of an application's, were removed by its term.",
        "day dropped held application",
    ),
    "rows.kept": _kind(
        "Rows of one organization's day, or of an application's, outlive it by its term.", "day application"
    ),
    "rows.held": _kind("Rows are kept beyond their day for a hold.", "hold_kind low high without_content"),
    "rows.disclosed": _kind("The secrecy of what is kept for a hold has ended."),
    "rows.released": _kind("Rows that a hold kept were removed.", "removed through"),
    "subject.fenced": _kind("Nothing older of one end user is written from now on."),
    "subject.erased": _kind(
        "One end user's rows were removed, but what holds keep.", "interactions unscreened held"
    ),
    "content.fenced": _kind("No older content of an organization is written from now on.", "before"),
    "content.erased": _kind(
        "Content from before zero data retention was removed, but what holds keep.",
        "contents data_keys unscreened held",
    ),
}
_RETENTION: Final = {
    "rule.changed": _kind(
        "How long data live changed.",
        "term run_window_seconds effective_at version term_before run_window_seconds_before application",
    ),
    "term.proposed": _kind("A contract term was proposed.", "request_id " + _TERM + " " + _EFFECT),
    "term.confirmed": _kind("A second person confirmed a contract term.", _TERM + " " + _EFFECT),
    "term.begun": _kind("A contract term counts from an instant on.", _TERM + " effective_at"),
    "term.withdrawn": _kind("A proposed contract term was withdrawn, or lapsed unconfirmed.", "reason"),
    "term.end_proposed": _kind("The end of a contract term was proposed.", "reason " + _EFFECT),
    "term.end_confirmed": _kind(
        "A second person confirmed the end of a contract term.", _TERM + " " + _EFFECT
    ),
    "term.ended": _kind("A contract term counts no more.", "reason ended_at"),
    "hold.placed": _kind(
        "A hold was placed.",
        "hold_kind reference request_id review_at scope first_day last_day legal_basis secrecy_review_at",
    ),
    "hold.secrecy_reviewed": _kind(
        "Somebody looked again whether the law still forbids telling of a hold.",
        "ends hold_kind reason review_at review_at_before",
    ),
    "hold.disclosed": _kind(
        "A hold of which the law forbade telling may be told of.",
        "hold_kind reference review_at legal_basis placed_at kept counted scope first_day last_day",
    ),
    "hold.extended": _kind(
        "The review of a hold, or its end, was put off.", "hold_kind reason review_at review_at_before"
    ),
    "hold.confirmed": _kind("A second person confirmed a hold.", "hold_kind"),
    "hold.activated": _kind("A hold keeps what it is on.", "hold_kind kept lost gone_through_day"),
    "hold.failed": _kind("A hold came too late for what it names.", "hold_kind kept lost"),
    "hold.released": _kind("A hold is let go.", "hold_kind reason"),
    "hold.lapsed": _kind("Nobody confirmed a hold in time.", "hold_kind reason"),
    "hold.ended": _kind("What a hold kept is gone.", "hold_kind kept removed root_key_id"),
    "run.started": _kind("A retention run began.", "through_day"),
    "run.ended": _kind(
        "A retention run ended.",
        "through_day certificates epochs_destroyed late_seconds records_held records_removed",
    ),
    "run.not_certified": _kind(
        "A run left something older behind.", "through_day oldest_day records_removed why"
    ),
    "erasure.started": _kind("The erasure of an organization began.", "account_deletion_id confirmed_by"),
    "erasure.ended": _kind("An organization is erased, but what holds keep.", "certificate_id kept"),
    "subject_erasure.started": _kind(
        "The erasure of one end user of an organization began.", "request_id requested_by subject_commitment"
    ),
    "subject_erasure.failed": _kind(
        "It could not be begun, and nothing was done; or it cannot go on, for logging was restored to before it. Pass it on again.",
        "reason",
    ),
    "subject_erasure.ended": _kind("The end user is erased, but what holds keep.", "certificate_id kept"),
    "subject_erasure.completed": _kind("What holds had kept of the end user is gone too.", "certificate_id"),
    "content_erasure.started": _kind(
        "The erasure of what was logged before zero data retention began.", "request_id requested_by before"
    ),
    "content_erasure.ended": _kind("That content is erased, but what holds keep.", "certificate_id kept"),
    "content_erasure.completed": _kind("What holds had kept of it is gone too.", "certificate_id"),
    "erasure.completed": _kind("What holds had kept of it is gone too.", "certificate_id"),
    "certificate.signed": _kind(
        "A certificate of deletion was signed.", "certificate_id certificate_sha256 key_id"
    ),
}
_ANY_SERVICE: Final = {
    "organization.erased": _kind(
        "A service removed what it had of an organization; numbers by what it was.",
        "subject_requests assisted_opt_outs notification_addresses "
        "service grants members invitations sign_ins data_controls_changes zero_data_retention_requests account_deletions "
        "usage_agreements organization_changes trust_requests subprocessor_objections terms_acceptances api_keys "
        "interactions data_keys stored_counts dropped_counts "
        "unscreened billing_usage usage_reports usage_arrivals cases flags verdicts kept",
    ),
    "database.caught_up": _kind(
        "A service found its database older than this log, and made up for it.",
        "service found_at replayed unknown",
    ),
}
_SAFETY_REVIEW: Final = {
    "records.flagged": _kind("Rules matched records.", "category rules matches rules_version"),
    "rules.reloaded": _kind(
        "Other rules are in force.", "version sha256 previous_version previous_sha256 rules cause"
    ),
    "rescreening.started": _kind("What is stored is to be screened by the rules in force.", "rules_version"),
    "rescreening.ended": _kind("It was screened, or could not be.", "screened left_out state problem"),
    "rules.refused": _kind("A rules file was not put into force.", "refused sha256 where problem"),
    "case.opened": _kind("A case was opened.", "category"),
    "case.claimed": _kind("Somebody took a case.", "category until"),
    "case.dismissed": _kind("No violation was found; the case is closed.", "category decision"),
    "case.decided": _kind("Somebody found a violation; another has to confirm.", "category decision"),
    "case.confirmed": _kind("A second person confirmed the violation.", "category decided_by"),
    "case.told": _kind("From now on the customer may see an upheld case, and appeal.", "category"),
    "case.returned": _kind("A second person did not confirm it.", "category decided_by"),
    "case.reported": _kind("Somebody put records into a case that no detector found.", "category records"),
    "case.escalated": _kind("A reviewer handed a case on, undecided.", "category desk"),
    "case.reopened": _kind("Staff opened a closed case again.", "category was"),
    "case.appealed": _kind("A customer's admin appealed.", "category"),
    "behaviour.noticed": _kind(
        "Flags of an organization reached a rate that makes a case urgent.",
        "category window_days flags one_end_user",
    ),
    "log_data.found": _kind(
        "A rule over log data found too much of something in a window.",
        "rule rules_version counted threshold window_from records without_content",
    ),
    "evaluation_set.built": _kind("Texts of upheld cases became a set.", "items categories withheld ends_at"),
    "evaluation_set.used": _kind("Detectors were evaluated on a set.", "rules_version candidate_version"),
    "evaluation_set.ended": _kind("A set was deleted, or its term was over.", "items"),
    "cases.erased": _kind(
        "Cases that nothing kept any more were removed, with their flags.", "cases flags verdicts"
    ),
    "records.erased": _kind(
        "What was known about an end user's records was removed.", "verdicts flags cases"
    ),
    "hold.refused": _kind("A hold that safety review asked for was refused.", "reason request_id"),
}
KINDS: Final[Mapping[str, Kind]] = {
    name: replace(kind, owner=owner)
    for owner, kinds in (
        ("access_control", _ACCESS_CONTROL),
        ("settings", _SETTINGS),
        ("logging", _LOGGING),
        ("retention", _RETENTION),
        ("safety_review", _SAFETY_REVIEW),
        ("", _ANY_SERVICE),
    )
    for name, kind in kinds.items()
}


def require_declared(kind: str, facts: Iterable[str]) -> None:
    """Raises ValueError for a kind that is not declared, or a fact that is not declared for it."""
    declared = KINDS.get(kind)
    if declared is None:
        raise ValueError(f"audit entries of kind {kind} are not declared in shared.audit_kinds")
    if not declared.facts.issuperset(facts):
        unknown = ", ".join(sorted(set(facts) - declared.facts))
        raise ValueError(f"facts of {kind} that are not declared in shared.audit_kinds: {unknown}")
