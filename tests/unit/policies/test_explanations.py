"""What somebody is told who is denied: the conditions that did not hold, of the policies that stood in the way, and nothing else."""

from typing import Any

import pytest

from kept.policies import PolicySet

SCHEMA = """
entity Person = { enabled: Bool, roles: Set<String>, badge?: Long };
entity Grant = { requester: Person, what: String, state: String };
action Read appliesTo { principal: Person, resource: Grant, context: { customer_required: Bool, night: Bool } };
"""
READ = """
@id("read")
permit (principal is Person, action == Action::"Read", resource is Grant)
when { principal == resource.requester && resource.state == "APPROVED" };
"""
STANDING = """
@id("standing") forbid (principal is Person, action, resource) unless { principal.enabled };
"""
BY_ROLE = """
@id("support") permit (principal is Person, action == Action::"Read", resource is Grant)
when { resource.what == "SUPPORT" && principal.roles.containsAny(["ENGINEER", "ON_CALL"]) };
@id("legal") permit (principal is Person, action == Action::"Read", resource is Grant)
when { resource.what == "LEGAL" && principal.roles.contains("LAWYER") };
"""
NIGHT = """
@id("night") @advice("Come back at eight.")
forbid (principal is Person, action == Action::"Read", resource is Grant) when { context.night };
"""
CUSTOMER = """
@id("customer") forbid (principal is Person, action == Action::"Read", resource is Grant)
when { context.customer_required && resource.state != "APPROVED" };
"""
ALTERNATIVES = """
@id("alternatives") permit (principal is Person, action == Action::"Read", resource is Grant)
when {
  (resource.what == "SUPPORT" && principal.roles.contains("ENGINEER")) ||
  (resource.what == "LEGAL" && principal.roles.contains("LAWYER") && resource.state == "APPROVED")
};
"""
GUARDED = """
@id("guarded") permit (principal is Person, action == Action::"Read", resource is Grant)
when { principal has badge && principal.badge > 3 };
"""


def explained(text: str, **changes: Any) -> tuple[Any, ...]:
    """What Eve is told: (policies, conditions, missing)."""
    person = {"enabled": changes.get("enabled", True), "roles": changes.get("roles", [])}
    if "badge" in changes:
        person["badge"] = changes["badge"]
    uid = {"type": "Person", "id": "eve"}
    requester = {"type": "Person", "id": changes.get("requester", "eve")}
    grant = {
        "requester": {"__entity": requester},
        "what": changes.get("what", "SUPPORT"),
        "state": changes.get("state", "APPROVED"),
    }
    context = {
        "customer_required": changes.get("customer_required", False),
        "night": changes.get("night", False),
    }
    question = (
        {"uid": uid, "attrs": person, "parents": []},
        "Read",
        {"uid": {"type": "Grant", "id": "g"}, "attrs": grant, "parents": []},
        context,
    )
    policies = PolicySet(text, SCHEMA)
    assert not policies.decide(*question).allowed
    why = policies.explain(*question)
    return why.policies, why.conditions, why.missing, why.advice


ENGINEERS = 'principal.roles.containsAny(["ENGINEER", "ON_CALL"])'


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        (
            READ,
            {"requester": "sam"},
            (("read",), ("principal == (resource.requester)",), "a grant of your own", ""),
        ),
        (
            READ,
            {"state": "REVOKED"},
            (("read",), ('(resource.state) == "APPROVED"',), "a grant that is APPROVED", ""),
        ),
        (
            READ,
            {"state": "REVOKED", "requester": "sam"},
            (
                ("read",),
                ("principal == (resource.requester)", '(resource.state) == "APPROVED"'),
                "a grant of your own; a grant that is APPROVED",
                "",
            ),
        ),
        # A forbid is told before what else may be missing: while it stands nothing helps.
        (
            READ + STANDING,
            {"enabled": False, "requester": "sam"},
            (("standing",), ("principal.enabled",), "an enabled person", ""),
        ),
        # Of several permits the one about the same thing, not the one whose purpose is another.
        (
            BY_ROLE,
            {"what": "LEGAL", "roles": ["ENGINEER"]},
            (("legal",), ('(principal.roles).contains("LAWYER")',), "one of the roles LAWYER", ""),
        ),
        (
            BY_ROLE,
            {},
            (
                ("support",),
                ('(principal.roles).containsAny(["ENGINEER", "ON_CALL"])',),
                "one of the roles ENGINEER, ON CALL",
                "",
            ),
        ),
        (
            ALTERNATIVES,
            {"what": "LEGAL", "state": "REVOKED"},
            (
                ("alternatives",),
                ('(principal.roles).contains("LAWYER")', '(resource.state) == "APPROVED"'),
                "one of the roles LAWYER; a grant that is APPROVED",
                "",
            ),
        ),
        # What nobody can change is told where there is nothing else to tell; the policy's author may say more.
        (
            READ + NIGHT,
            {"night": True},
            (("night",), ("!(context.night)",), "another night", "Come back at eight."),
        ),
        (
            READ + CUSTOMER,
            {"customer_required": True, "state": "REQUESTED"},
            (("customer",), ('(resource.state) == "APPROVED"',), "a grant that is APPROVED", ""),
        ),
        (
            READ + '@id("closed") @advice("Come back tomorrow.") forbid (principal, action, resource);',
            {},
            (("closed",), (), "a policy that allows it", "Come back tomorrow."),
        ),
        # A condition behind a guard is not asked for while the guard does not hold.
        (GUARDED, {"badge": 3}, (("guarded",), ("(principal.badge) > 3",), "another badge", "")),
        (
            '@id("else") permit (principal, action, resource == Grant::"h");',
            {},
            ((), (), "a policy that allows it", ""),
        ),
    ],
)
def test_the_conditions_that_failed_are_told(
    text: str, changes: dict[str, Any], told: tuple[Any, ...]
) -> None:
    assert explained(text, **changes) == told
