"""The list of fields is fixed and published, and two stores stay two: contract, tables, statements and docs say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from kept.logging.v1 import usage_pb2
from services.logging.store import figures, metadata
from services.logging.usage.fields import DURATION_LIMITS, DURATIONS, FEATURES, FIGURES, MINIMUM_GROUP, SUMS

ROOT: Final = Path(__file__).parents[4]
STORE: Final = ROOT / "services" / "logging" / "store"
DOCS: Final = (ROOT / "docs" / "usage.md").read_text()
BILLING: Final = {"billing_usage", "usage_reports"}
ARRIVALS: Final = {"usage_arrivals"}
ANALYTICS: Final = {"analytics_usage", "analytics_cells", "analytics_keys"}


def test_the_contract_has_these_fields_and_no_other() -> None:
    def names(message: object) -> list[str]:
        return [one.name for one in message.DESCRIPTOR.fields]  # type: ignore[attr-defined]

    assert names(usage_pb2.UsageFeatures) == list(FEATURES)
    assert names(usage_pb2.UsageFigures) == [*SUMS, "durations", "features"]
    assert names(usage_pb2.UsageCounts) == ["hour", "application", "model", "figures"]
    assert names(usage_pb2.AnalyticsCell) == ["hour", "model", "organizations", "figures"]


def test_the_tables_have_these_columns_and_no_other() -> None:
    keys = {
        "billing_usage": ["organization_id", "hour", "application", "model", "writer"],
        "analytics_usage": ["hour", "model", "key_id", "pseudonym", "writer"],
        "analytics_cells": ["hour", "model", "organizations"],
    }
    for name, columns in keys.items():
        assert metadata.tables[name].columns.keys() == [*columns, *FIGURES]
    assert metadata.tables["usage_reports"].columns.keys() == [
        "organization_id",
        "request_id",
        "content_sha256",
        "reported_at",
    ]
    assert metadata.tables["usage_arrivals"].columns.keys() == [
        "organization_id",
        "arrival_id",
        "hour",
        "application",
        "model",
        "figures",
    ]
    assert metadata.tables["analytics_keys"].columns.keys() == ["day", "key_id", "key"]
    assert {
        name for name in metadata.tables if "usage" in name or "analytics" in name
    } == BILLING | ARRIVALS | ANALYTICS


def test_the_published_list_is_this_one() -> None:
    published = re.findall(r"^\| `([a-z_]+)` \|", DOCS, re.MULTILINE)
    assert [name for name in published if name in (*SUMS, *FEATURES)] == [*SUMS, *FEATURES]
    limits = re.search(r"^    less than ([0-9., ]+) s$", DOCS, re.MULTILINE)
    assert limits is not None
    assert [float(one) * 1000 for one in limits[1].split(", ")] == list(DURATION_LIMITS)
    assert f"{len(DURATIONS)} numbers" in DOCS
    assert f"fewer than {MINIMUM_GROUP} organizations" in DOCS
    keys = {"organization", "hour", "application", "model", "durations", "organizations"}
    assert set(published) == keys | {*SUMS, *FEATURES}


def _mentioned(node: ast.AST) -> set[str]:
    """Tables that a piece of code names, as a variable, an attribute, an import or within a text."""
    found: set[str] = set()
    for inner in ast.walk(node):
        words = (
            [inner.id]
            if isinstance(inner, ast.Name)
            else [inner.attr]
            if isinstance(inner, ast.Attribute)
            else [alias.name for alias in inner.names]
            if isinstance(inner, ast.ImportFrom)
            else re.findall(r"[a-z_]+", inner.value)
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            else []
        )
        found |= set(words) & (BILLING | ARRIVALS | ANALYTICS)
    return found


def test_no_module_of_the_store_knows_both() -> None:
    """A statement that joined them would have to name tables of both. Only the list of tables does."""
    told = {file.name: _mentioned(ast.parse(file.read_text())) for file in STORE.glob("*.py")}
    assert told["tables.py"] == BILLING | ARRIVALS | ANALYTICS
    assert {name for name, tables in told.items() if tables & BILLING} == {"tables.py", "billing.py"}
    assert told["arrivals.py"] == ARRIVALS
    assert {name for name, tables in told.items() if tables & ANALYTICS} == {"tables.py", "analytics.py"}
    others = [file for file in (ROOT / "services" / "logging").rglob("*.py") if file.parent != STORE]
    outside = {file.name for file in others if _mentioned(ast.parse(file.read_text()))}
    assert outside == {"0003_usage.py", "0005_usage_arrivals.py"}


def test_nothing_but_hour_model_and_figures_is_in_both() -> None:
    billing = {one.name for name in BILLING | ARRIVALS for one in metadata.tables[name].columns}
    analytics = {one.name for name in ANALYTICS for one in metadata.tables[name].columns}
    # `writer` has other values in each: see test_counting.
    assert billing & analytics == {"hour", "model", "writer", *FIGURES}


def test_figures_go_to_the_driver_as_one_array() -> None:
    assert figures.array_of([[1, -2], [3, 4]]) == "{1,-2,3,4}"
