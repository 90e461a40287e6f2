"""What a condition asks for, in words that tell what to do next: by the attribute that it looks at.

A key is an attribute as policies write it; with "not " before it, for a condition that must not hold, or that compares with "". An empty
text is for attributes that nobody can do anything about; a condition of those alone is shown as it is written. "{}" stands for what the
attribute is compared with.
"""

from collections.abc import Mapping
from typing import Final

WORDS: Final[Mapping[str, str]] = {
    "principal.enabled": "an enabled person",
    "principal.agreed": "a signed agreement in force",
    "principal.listed": "a provider that is on the published list of sub-processors",
    "principal.roles": "one of the roles {}",
    "principal.powers": "a grant of the power that this is done under, in force",
    "principal.role": "the role {} in your organization",
    "principal.organization": "something of your own organization",
    "resource.any_staff": "",
    "resource.roles": "one of the roles that this method asks for",
    "not resource.power": "",
    "resource.power": "a grant of the power that this is done under, in force",
    "resource.customers": "another role in your organization",
    "resource.requester": "a grant of your own",
    "not resource.requester": "somebody else than who asks: ask a colleague",
    "resource.member": "a grant of your own",
    "not resource.member": "somebody else than who asks: ask another admin",
    "resource.what": "a purpose or power {}",
    "resource.organization": "a grant for this organization",
    "resource.state": "a grant that is {}",
    "resource.valid_from": "a grant whose time has begun",
    "resource.expires_at": "a grant whose time is not over: request a new one",
    "resource.detail": "a grant that gives this much detail, or a question for less",
    "resource.staff_approvals": "more approvals by colleagues who could approve it now",
    "resource.staff_approvals_needed": "",
    "resource.customer_approved": "the approval of an admin of the organization",
    "resource.for_case": "",
    "not resource.for_case": "a request that is not for a case",
    "resource.for_service": "a grant that is for the service {}",
    "not resource.for_service": "a grant that is for a person, not for a service",
    "resource.breaks_glass": "a request that breaks the glass",
    "not resource.breaks_glass": "",
    "resource.duration": "a shorter time",
    "not resource.duration": "a shorter time",
    "not resource.budget": "a smaller budget of records",
    "resource.budget": "a smaller budget of records",
    "resource.has_ticket": "a ticket",
    "context.case_admits": "a case that is open, or upheld while a hold keeps one of its records",
    "context.case_upheld": "a case that is upheld, while a hold keeps one of its records",
    "context.customer_required": "",
    "context.organization": "a grant for this organization",
    "context.detail": "a grant that gives this much detail, or a question for less",
    "context.now": "",
    "context.age": "records that were recorded less long ago",
}
