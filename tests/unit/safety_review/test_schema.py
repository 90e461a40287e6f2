"""The migrations and the tables that the code queries are the same; rules that cannot be used stop the start."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kept.safety_review.v1 import detectors_pb2
from services.safety_review.detection.rules import DEFAULT_RULES
from services.safety_review.store import metadata
from shared.config import ConfigError
from shared.errors import Reason
from tests.unit.safety_review.world import World, refused

RULES = """
format = 1
version = "own"
[[rule]]
id = "test.own"
category = "test"
severity = "critical"
action = "flag"
literals = ["okapi"]
[rule.examples]
positive = ["an okapi"]
negative = ["a zebra"]
"""


def test_migrations_make_the_tables_that_the_store_has(world: World) -> None:
    with world.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    assert differences == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (RULES.replace("critical", "dreadful"), "severity"),
        (RULES.replace("an okapi", "an opaki"), "positive example 1 is missed"),
        ("", "format"),
    ],
)
def test_rules_that_cannot_be_used_stop_the_start(url: str, tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what):
        World(url, rules_file=file)


def test_rules_in_force_are_listed(url: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    world = World(url, rules_file=file)
    listed = world.staff().detectors.ListRules(detectors_pb2.ListRulesRequest())
    assert [(rule.rule_id, rule.category, rule.severity) for rule in listed.rules] == [
        ("test.own", "test", 3)
    ]
    version, _, digest = listed.rules_version.partition("-")
    assert version == "own"
    assert len(digest) == 16
    (answer,) = world.answers([world.record("Okapi!")])
    assert answer.records[0].rules_version == listed.rules_version
    world.close()


def test_the_default_rules_lie_beside_the_code() -> None:
    import services.safety_review

    assert DEFAULT_RULES.is_file()
    assert DEFAULT_RULES.is_relative_to(Path(services.safety_review.__file__).parent)


def test_people_without_the_role_see_nothing(world: World) -> None:
    with refused(Reason.REASON_NOT_AUTHORIZED):
        world.nobody().detectors.ListRules(detectors_pb2.ListRulesRequest())
