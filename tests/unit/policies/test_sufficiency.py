"""Every set that lacks one condition: none is forgotten, and what the schema says anyway is none."""

from pathlib import Path

from kept.policies import PolicySet, needed_by, read_table
from kept.policies.cases import Case
from kept.policies.conditions import expression_text
from kept.policies.sufficiency import without_one_condition

SCHEMA = """
entity Person = { enabled: Bool, roles: Set<String> };
entity Robot = { enabled: Bool };
entity Door = { open: Bool };
action Enter appliesTo { principal: [Person, Robot], resource: Door, context: {} };
action Paint appliesTo { principal: Person, resource: Door, context: {} };
"""


def missing(text: str) -> list[str]:
    return [label for label, _ in without_one_condition(text, SCHEMA)]


def test_parts_of_the_scope() -> None:
    text = '@id("a") permit (principal is Person, action == Action::"Enter", resource is Door);'
    assert missing(text) == ["a: the whole policy", "a: what kind of principal", "a: which action"]


def test_the_kind_that_an_action_is_for_anyway_is_no_condition() -> None:
    text = '@id("a") permit (principal is Person, action == Action::"Paint", resource is Door);'
    assert missing(text) == ["a: the whole policy", "a: which action"]


def test_one_entity_becomes_any_of_its_kind() -> None:
    text = '@id("a") permit (principal == Robot::"r", action, resource);'
    assert missing(text) == ["a: the whole policy", "a: which principal"]


def test_every_operand_and_every_element() -> None:
    text = """@id("a") forbid (principal, action, resource)
        when { resource.open && (principal.enabled || !resource.open) }
        unless { ["x", "y"].contains("x") };"""
    assert missing(text) == [
        "a: the whole policy",
        "a: when resource.open",
        "a: when principal.enabled",
        "a: when !(resource.open)",
        "a: when (principal.enabled) || (!(resource.open))",
        "a: when the whole clause",
        'a: unless "x" in ["x", "y"].contains("x")',
        'a: unless "y" in ["x", "y"].contains("x")',
        "a: unless the whole clause",
    ]


def test_the_set_lacks_what_is_said_to_be_missing() -> None:
    text = '@id("a") permit (principal, action, resource) when { resource.open && principal.enabled };'
    bodies = {
        label: parsed["staticPolicies"]["policy0"]["conditions"][0]["body"]
        for label, parsed in without_one_condition(text, SCHEMA)
        if "policy0" in parsed["staticPolicies"]
    }
    assert expression_text(bodies["a: when resource.open"]) == "true && (principal.enabled)"
    assert expression_text(bodies["a: when principal.enabled"]) == "(resource.open) && true"
    assert bodies["a: when the whole clause"] == {"Value": True}


def test_a_condition_that_no_case_needs_shows(tmp_path: Path) -> None:
    text = """@id("a") permit (principal is Person, action == Action::"Paint", resource)
        when { principal.roles.contains("PAINTER") && principal.enabled };
        @id("b") forbid (principal is Person, action == Action::"Enter", resource)
        when { principal.roles.contains("PAINTER") };"""
    (tmp_path / "cases.toml").write_text("""
        who."a painter" = { type = "Person", enabled = true, roles = ["PAINTER"] }
        who."a guest" = { like = "a painter", roles = [] }
        what."the door" = { type = "Door", open = true }
        cases = [
          { who = "a painter", does = "Paint", to = "the door", is = "allowed", by = "a" },
          { who = "a guest", does = "Paint", to = "the door", is = "denied" },
        ]
    """)
    found = dict(needed_by(PolicySet(text, SCHEMA), read_table(tmp_path)))
    assert found["a: when principal.enabled"] == ""
    assert found["a: which action"] == ""
    # Robots enter too, and have no roles.
    assert found["b: what kind of principal"] == "the schema"
    guest = found['a: when (principal.roles).contains("PAINTER")']
    assert isinstance(guest, Case)
    assert guest.who == "a guest"
