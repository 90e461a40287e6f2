"""A set of policies: what is refused as one, and that whatever cannot be evaluated is a denial."""

from pathlib import Path
from typing import Any

import pytest

from kept.policies import PolicyError, PolicyFolder, PolicySet

SCHEMA = """
entity Person = { level: Long, title?: String };
entity Door = { needs: Long, owner: Person };
action Open appliesTo { principal: Person, resource: Door, context: { night: Bool } };
action Paint appliesTo { principal: Person, resource: Door, context: {} };
"""
OPEN = """
@id("open")
permit (principal is Person, action == Action::"Open", resource is Door)
when { principal.level >= resource.needs };
"""
# 2^63 - 1 and one more: Cedar's arithmetic fails, and by itself it would skip the policy.
FAILING = "when { principal.level + 9223372036854775807 > 0 };"


def entity(kind: str, name: str, **attributes: Any) -> Any:
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": []}


EVE = entity("Person", "eve", level=3)
DOOR = entity("Door", "door", needs=2, owner={"__entity": EVE["uid"]})
DAY = {"night": False}


def test_the_policies_that_decided_are_named() -> None:
    verdict = PolicySet(OPEN, SCHEMA).decide(EVE, "Open", DOOR, DAY)
    assert (verdict.allowed, verdict.policies) == (True, ("open",))


def test_what_nothing_permits_is_denied() -> None:
    assert not PolicySet(OPEN, SCHEMA).decide(EVE, "Paint", DOOR).allowed


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_an_error_in_any_policy_is_a_denial_that_names_it(effect: str) -> None:
    broken = (
        f'@id("broken") {effect} (principal is Person, action == Action::"Open", resource is Door) {FAILING}'
    )
    policies = PolicySet(OPEN + broken, SCHEMA)
    verdict = policies.decide(EVE, "Open", DOOR, DAY)
    assert (verdict.allowed, verdict.errors) == (False, ("broken",))
    told = policies.explain(EVE, "Open", DOOR, DAY)
    assert told.policies == ("broken",)
    assert told.missing == "a policy that can be evaluated: broken failed; tell whoever runs this service"


def test_a_request_that_does_not_fit_the_schema_is_a_denial() -> None:
    stranger = entity("Person", "eve", level="three")
    assert not PolicySet(OPEN, SCHEMA).decide(stranger, "Open", DOOR, DAY).allowed
    verdict = PolicySet(OPEN, SCHEMA).decide(EVE, "Open", DOOR, {}, checked=True)
    assert (verdict.allowed, verdict.errors) == (False, ("the request",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("permit (", "it is no Cedar"),
        ("", "it holds no policy"),
        (OPEN.replace('@id("open")', ""), 'policy0 (counted from 0) has no @id("…")'),
        (OPEN + OPEN, "open is the id of two policies"),
        (OPEN.replace("principal is Person", "principal == ?principal"), "it holds a template"),
        (OPEN.replace("principal.level", "principal.height"), "open does not fit the schema"),
        (OPEN.replace("Open", "Break"), "open does not fit the schema"),
    ],
)
def test_a_set_that_cannot_be_used_says_why(text: str, problem: str) -> None:
    with pytest.raises(PolicyError) as refused:
        PolicySet(text, SCHEMA)
    assert any(problem in found for found in refused.value.problems), refused.value.problems


@pytest.fixture
def folder(tmp_path: Path) -> PolicyFolder:
    (tmp_path / "a.cedar").write_text(OPEN)
    (tmp_path / "b.cedar").write_text(OPEN.replace('"open"', '"again"'))
    (tmp_path / "schema.cedarschema").write_text(SCHEMA)
    return PolicyFolder(tmp_path)


def test_the_hash_is_that_of_the_files_one_after_the_other(folder: PolicyFolder) -> None:
    import hashlib

    files = b"".join((folder.path / name).read_bytes() for name in ("a.cedar", "b.cedar"))
    assert folder.load(SCHEMA).sha256 == hashlib.sha256(files).hexdigest()


def test_a_sealed_folder_is_whole(folder: PolicyFolder) -> None:
    folder.write_seal(folder.load(SCHEMA))
    assert folder.load_sealed(SCHEMA).names == ("open", "again")


def _lose_a_file(path: Path) -> None:
    (path / "b.cedar").unlink()


def _add_a_file(path: Path) -> None:
    (path / "c.cedar").write_text(OPEN.replace('"open"', '"third"'))


def _alter_a_file(path: Path) -> None:
    (path / "a.cedar").write_text(OPEN.replace(">=", ">"))


def _lose_the_seal(path: Path) -> None:
    (path / "policies.sha256").unlink()


def _empty_the_seal(path: Path) -> None:
    (path / "policies.sha256").write_text("")


def _another_schema(path: Path) -> None:
    (path / "schema.cedarschema").write_text(SCHEMA + "entity House;\n")


def _no_end_of_line(path: Path) -> None:
    # Joined with the next file it would be in a comment.
    (path / "a.cedar").write_text(OPEN + "// the end")


def _no_text(path: Path) -> None:
    (path / "a.cedar").write_bytes(b"\xff\xfe")


def _a_folder_in_place_of_a_file(path: Path) -> None:
    (path / "c.cedar").mkdir()


def _enormous(path: Path) -> None:
    (path / "c.cedar").write_text("//" + "x" * 1_000_000 + "\n")


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_lose_a_file, "not whole yet"),
        (_add_a_file, "not whole yet"),
        (_alter_a_file, "not whole yet"),
        (_lose_the_seal, "there is no policies.sha256"),
        (_empty_the_seal, "not whole yet"),
        (_another_schema, "another version"),
        (_no_end_of_line, "a.cedar does not end"),
        (_no_text, "a.cedar cannot be read"),
        (_a_folder_in_place_of_a_file, "c.cedar cannot be read"),
        (_enormous, "c.cedar is larger"),
    ],
)
def test_a_folder_that_is_not_as_it_was_sealed_is_not_taken(
    folder: PolicyFolder, harm: Any, problem: str
) -> None:
    folder.write_seal(folder.load(SCHEMA))
    harm(folder.path)
    with pytest.raises(PolicyError, match=problem):
        folder.load_sealed(SCHEMA)


def test_a_folder_that_is_not_there_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicyFolder(tmp_path / "nowhere").load(SCHEMA)
