"""The table of cases: what it understands, what it refuses, and what it says of a case that does not hold."""

from pathlib import Path

import pytest

from kept.policies import PolicyError, PolicySet, read_table

SCHEMA = """
entity Person = { level: Long };
entity Door = { owner: Person, until: Long };
action Open appliesTo { principal: Person, resource: Door, context: { now: Long } };
"""
POLICY = """
@id("open") permit (principal is Person, action == Action::"Open", resource is Door)
when { principal.level > 1 && context.now < resource.until };
"""
CAST = """
[who]
"a guest" = { type = "Person", level = 1 }
"a host" = { like = "a guest", level = 2 }
[what]
"her door" = { type = "Door", owner = { who = "a host" }, until = "now + 2 hours" }
[usually]
Open = { now = "now" }
[when]
"it is late" = { now = "now + 2 hours" }
"it is nearly late" = { now = "now + 7199999 milliseconds" }
"""
CASE = '{ who = "a host", does = "Open", to = "her door", is = "allowed", by = "open" },\n'


def table(folder: Path, lines: str, cast: str = CAST) -> list[str]:
    """What is said of the cases that do not hold."""
    (folder / "cast.toml").write_text(cast)
    (folder / "cases.toml").write_text(f"cases = [\n{lines}]\n")
    return [failure.came for failure in read_table(folder).failures(PolicySet(POLICY, SCHEMA))]


def test_cases_that_hold(tmp_path: Path) -> None:
    lines = CASE + CASE.replace("a host", "a guest").replace('"allowed", by = "open"', '"denied"')
    late = CASE.replace('"her door",', '"her door", when = "it is late",').replace(
        '"allowed", by = "open"', '"denied"'
    )
    nearly = CASE.replace('"her door",', '"her door", when = "it is nearly late",')
    assert table(tmp_path, lines + late + nearly) == []


@pytest.mark.parametrize(
    ("line", "came"),
    [
        (CASE.replace("a host", "a guest"), "was denied; nothing permits it"),
        (CASE.replace('"allowed", by = "open"', '"denied"'), "was allowed by open"),
        (CASE.replace('by = "open"', 'by = "another"'), "was allowed by open"),
        (CASE.replace("Open", "Paint"), "could not be evaluated: the request"),
        (
            CASE.replace("a host", "a guest").replace('"allowed", by = "open"', '"denied", told = "x"'),
            'was told "another level"',
        ),
    ],
)
def test_a_case_that_does_not_hold_says_what_came(tmp_path: Path, line: str, came: str) -> None:
    (found,) = table(tmp_path, line)
    assert found.startswith(came)


@pytest.mark.parametrize(
    ("lines", "cast", "problem"),
    [
        (CASE.replace("a host", "a ghost"), CAST, 'who "a ghost" is not said to be anything'),
        (CASE.replace("her door", "his door"), CAST, 'what "his door" is not said'),
        (CASE.replace('is = "allowed"', 'is = "maybe"'), CAST, 'is = "allowed" or "denied"'),
        (CASE.replace(', by = "open"', ""), CAST, "by = …"),
        (CASE.replace('does = "Open", ', ""), CAST, "missing: ['does']"),
        (CASE.replace("by =", "because = 1, by ="), CAST, "unknown: ['because']"),
        (CASE + CASE, CAST, "said twice"),
        (CASE, CAST + "[where]\n", "where is none of"),
        (CASE, CAST.replace('like = "a guest"', 'like = "a host"'), "like itself"),
        (CASE, CAST.replace("+ 2 hours", "+ 2 moons"), "is no instant"),
        (CASE, CAST.replace('type = "Person", ', ""), "has no type"),
        (CASE.replace("a host", ""), "[who", "cannot be read as TOML"),
        pytest.param(CASE, f"who = {'[' * 5000}", "cast.toml cannot be read as TOML", id="nested"),
        pytest.param(CASE, f"who = {'1' * 5000}", "cast.toml cannot be read as TOML", id="a long number"),
        (CASE, 'who = "x"', "cast.toml: who has to hold a table for each name"),
        (CASE, "[who]\n'a host' = 3", "cast.toml: who has to hold a table for each name"),
        (CASE, "cases = 3", "cast.toml: cases has to be a list of tables"),
        (CASE, "cases = [3]", "cast.toml: cases has to be a list of tables"),
        (CASE.replace('"her door"', "3"), CAST, "all that a case says is text"),
        (CASE, CAST.replace('"Person"', "3"), "nothing that Cedar can read"),
        (CASE, CAST.replace("level = 2", "level = 2.5"), "nothing that Cedar can read"),
        (CASE, CAST.replace("level = 2", "level = 2026-01-01"), "nothing that Cedar can read"),
        (
            CASE,
            CAST.replace('Open = { now = "now" }', "Open = { now = 2026-01-01 }"),
            "nothing that Cedar can read",
        ),
    ],
)
def test_a_table_that_is_not_understood_is_refused(
    tmp_path: Path, lines: str, cast: str, problem: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        table(tmp_path, lines, cast)
    assert any(problem in found for found in refused.value.problems), refused.value.problems


def test_no_cases_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="holds no file"):
        read_table(tmp_path)
