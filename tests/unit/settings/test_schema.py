"""The migrations and the tables that the code queries are the same, and configuration refuses what must not be."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.settings.store import metadata
from tests.unit.settings.world import World


def test_migrations_make_the_tables_that_the_store_has(world: World) -> None:
    with world.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    assert differences == []


MAIL = {"name": "mail", "url": "https://mail.test/", "secret_files": ["/s"]}
REAL: dict[str, Any] = {"support_contact": "x@y.test", "token_key_files": ["/t"], "mail": MAIL}


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({}, "support_contact"),
        ({"support_contact": "x@y.test"}, "token_key_files"),
        ({"support_contact": "x@y.test", "token_key_files": ["/t"]}, "mail"),
        (REAL | {"mail": MAIL | {"url": "http://mail.test/"}}, "https"),
        (REAL | {"mail": MAIL | {"events": ["member.left"]}}, "no event"),
        (REAL | {"mail": MAIL | {"events": ["password.changed"]}}, "left out"),
        (REAL | {"password_hashing": {"memory_kib": 1024, "lanes": 1}}, "weaker"),
        ({"support_contact": "x@y.test", "password_hashing": {"memory_kib": 8, "lanes": 4}}, "lane"),
        ({"account_deletion_grace_days": -1}, "greater than or equal to 0"),
    ],
)
def test_production_refuses_local_values(overrides: dict[str, Any], word: str) -> None:
    from services.settings.config import SettingsConfig

    base = {
        "environment": "production",
        "trust_domain": "kept.test",
        "services_address": "h:1",
        "people_address": "h:1",
        "health_address": "h:1",
        "metrics_address": "h:1",
        "database_url": "postgresql://",
        "tls": {"certificate": "/c", "key": "/k", "authority": "/a"},
        "audience": "kept:settings",
    }
    with pytest.raises(ValueError, match=word):
        SettingsConfig.model_validate(base | overrides)
