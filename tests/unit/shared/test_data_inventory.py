"""The data inventory says of every column of every service what it is and what becomes of it, and of no other."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, MetaData

from shared.data_inventory import load, page
from tests.support.contracts import SERVICES

ROOT = Path(__file__).parents[3]
INVENTORY = load()
STORED = tuple(sorted(path.parent.name for path in (ROOT / "services").glob("*/store")))


def metadata_of(service: str) -> MetaData:
    """A service's schema, with the tables of all its store's modules. That it is what the database has is another test's (test_schema)."""
    package = importlib.import_module(f"services.{service}.store")
    for path in (ROOT / "services" / service / "store").glob("*.py"):
        importlib.import_module(
            f"services.{service}.store.{path.stem}" if path.stem != "__init__" else package.__name__
        )
    found: MetaData = package.metadata
    return found


def columns(service: str) -> Iterator[tuple[str, str]]:
    for table in metadata_of(service).tables.values():
        for column in table.columns:
            yield table.name, column.name


def test_every_service_that_stores_something_is_in_it() -> None:
    assert set(STORED) == set(SERVICES)
    assert {table.service for table in INVENTORY.tables} == set(STORED)


@pytest.mark.parametrize("service", STORED)
def test_it_names_every_column_of_a_service_and_no_other(service: str) -> None:
    named = {(one.table, one.column) for one in INVENTORY.columns() if one.service == service}
    there = set(columns(service))
    assert named - there == set(), "the inventory names what is not there any more"
    assert there - named == set(), "say in shared/data_inventory.toml what this is, and what becomes of it"


def test_content_is_where_it_may_be_and_nowhere_else() -> None:
    """Prompts and generations are in these columns, and they are bytes: sealed."""
    content = [(one.service, one.table, one.column) for one in INVENTORY.columns() if one.kind == "content"]
    assert content == [
        ("logging", "confidential_rows", "content"),
        ("logging", "interactions", "content"),
        ("logging", "retained", "content"),
        ("safety_review", "evaluation_items", "sealed"),
    ]
    for service, table, column in content:
        assert isinstance(metadata_of(service).tables[table].columns[column].type, LargeBinary)


def test_pseudonyms_of_end_users_are_log_data_wherever_they_are() -> None:
    found = {(one.service, one.table): one.kind for one in INVENTORY.columns() if one.column == "end_user"}
    assert set(found.values()) == {"log_data"}
    assert ("logging", "interactions") in found


def test_whatever_is_called_an_address_or_a_password_is_said_to_be_one() -> None:
    for one in INVENTORY.columns():
        if one.column in ("email", "email_key", "email_folded", "first_name", "last_name"):
            assert one.kind in ("contact", "workforce"), one
        if "password" in one.column and one.column.endswith("hash"):
            assert one.kind == "secret", one


def test_the_page_is_made_of_it() -> None:
    assert (ROOT / "docs" / "data-inventory.md").read_text() == page(INVENTORY), (
        "write it anew with python -m shared.data_inventory"
    )


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('content = ["content"]', 'content = ["content", "model"]', "twice"),
        ('content = ["content"]', 'contents = ["content"]', "contents"),
        ('fate = "moved"', 'fate = "nowhere"', "becomes of it"),
        ("[fates]", '[fates]\nunheard = "Of nothing."', "unheard"),
        ('but_until_erased = ["end_user"]', 'but_until_erased = ["nobody"]', "has not"),
    ],
)
def test_a_file_that_cannot_be_relied_on_is_refused(
    tmp_path: Path, before: str, after: str, problem: str
) -> None:
    text = (ROOT / "shared" / "data_inventory.toml").read_text()
    assert before in text
    broken = tmp_path / "inventory.toml"
    broken.write_text(text.replace(before, after, 1))
    with pytest.raises(ValueError, match=problem):
        load(broken)
