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


BASE: dict[str, Any] = {
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
MAIL = {"name": "mail", "url": "https://mail.test/", "secret_files": ["/s"]}
PAGE = "https://legal.test/"
TOLD: dict[str, Any] = {
    "support_contact": "x@y.test",
    "privacy_contact": "p@y.test",
    "legal": {
        **{
            name: {"link": PAGE, "version": "1"}
            for name in ("terms_of_use", "privacy_policy", "usage_policy")
        },
        "enterprise_commitments": PAGE,
        "trust_center": PAGE,
    },
}
REAL = TOLD | {"token_key_files": ["/t"], "mail": MAIL}


def test_production_takes_what_is_set() -> None:
    from services.settings.config import SettingsConfig

    assert SettingsConfig.model_validate(BASE | REAL).mail is not None


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({}, "support_contact"),
        (TOLD, "token_key_files"),
        (TOLD | {"token_key_files": ["/t"]}, "mail has to be set"),
        (REAL | {"notifications": [MAIL]}, "would go to both"),
        (REAL | {"mail": MAIL | {"url": "http://mail.test/"}}, "https"),
        (REAL | {"mail": MAIL | {"events": ["member.left"]}}, "no event"),
        (REAL | {"mail": MAIL | {"events": ["password.changed"]}}, "left out"),
        (REAL | {"password_hashing": {"memory_kib": 1024, "lanes": 1}}, "weaker"),
        ({"support_contact": "x@y.test", "password_hashing": {"memory_kib": 8, "lanes": 4}}, "lane"),
        ({"support_contact": "x@y.test"}, "privacy_contact"),
        ({"support_contact": "x@y.test", "privacy_contact": "p@y.test"}, "legal"),
        ({"legal": {"trust_center": "http://plain.test"}}, "trust_center"),
        ({"account_deletion_grace_days": -1}, "greater than or equal to 0"),
    ],
)
def test_production_refuses_local_values(overrides: dict[str, Any], word: str) -> None:
    from services.settings.config import SettingsConfig

    with pytest.raises(ValueError, match=word):
        SettingsConfig.model_validate(BASE | overrides)
