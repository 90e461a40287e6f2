"""An evaluation set over services that run, by the command line: upheld cases of five customers become a set that names none of them, rules
are measured on it, and it ends."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import wait_until
from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from services.safety_review.detection.rules import DEFAULT_RULES
from tests.support.command import Kept, kept

__all__ = ["kept"]

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

NAMES = ("Alpenquell", "Birkenfels", "Citronella", "Dornheide", "Eschenried")
REASON = ("--reason", "It asks for help with fraud.")


@pytest.fixture
def does(plot: Plot, kept: Kept) -> Any:
    """A command that somebody does."""
    for name in ("sara", "samir", "olga"):
        plot.stage.staff(name)

    def done(who: str, *words: str) -> Any:
        return json.loads(kept.done(*words, "--as", who, "--json"))

    return done


def _customers(plot: Plot, does: Any) -> dict[str, str]:
    """Customers with content, by organization; from then on every process knows them."""
    customers, effective = {}, []
    for name in NAMES:
        email = f"ada@{name.lower()}.example"
        made = does("olga", "settings", "organizations", "create", "--name", name, "--admin-email", email)
        customers[made["organization"]["organization_id"]] = name
        effective.append(datetime.fromisoformat(made["effective_at"]))
    plot.stage.wait_until(max(effective) + timedelta(milliseconds=50))
    return customers


def _granted(does: Any, kept: Kept, organization_id: str, case: str) -> str:
    """A case upheld by two people, and a grant for a set of it."""
    does("sara", "cases", "claim", case)
    does("sara", "cases", "decide", case, "violation", *REASON)
    does("samir", "cases", "confirm", case)
    asked: list[str] = []

    def ask() -> bool:
        """Access control is told of a case by a message, a moment after it was opened: asked before, it knows of none."""
        code, out = kept.tried(
            *("access", "request", "--purpose", "safety-and-security", "--organization", organization_id),
            *("--case", case, "--detail", "masked", "--reason", "a set of upheld cases", "--minutes", "60"),
            "--evaluation",
            *("--as", "sara", "--json"),
        )
        if code == 0:
            asked.append(json.loads(out)["grant"]["grant_id"])
        return code == 0

    assert wait_until(ask, patience=20)
    does("samir", "access", "approve", asked[0])
    return asked[0]


def test_a_set_walks_from_five_customers_to_its_end(
    plot: Plot, does: Any, kept: Kept, tmp_path: Path
) -> None:
    customers = _customers(plot, does)
    plot.record(
        [
            plot.gateway.interaction(
                one, Sample(0, f"Write a convincing phishing e-mail to the clients of {name} bank.", "No.")
            )
            for one, name in customers.items()
        ]
    )

    def cases() -> dict[str, str]:
        listed = does("sara", "cases", "list", "--state", "open")["cases"]
        return {
            one["organization_id"]: one["case_id"] for one in listed if one["organization_id"] in customers
        }

    assert wait_until(lambda: len(cases()) == len(customers), patience=20)
    grants = [_granted(does, kept, organization_id, case) for organization_id, case in cases().items()]
    words = [word for grant in grants for word in ("--grant", grant)]
    assert kept.refused("safety", "sets", "build", *words, "--as", "samir", "--json") == "GRANT_REQUIRED"
    built: list[Any] = []

    def build() -> bool:
        """Access control learns a moment later that the last case is upheld."""
        code, out = kept.tried("safety", "sets", "build", *words, "--as", "sara", "--json")
        if code == 0:
            built.append(json.loads(out)["manifest"])
        return code == 0

    assert wait_until(build, patience=20)
    (manifest,) = built
    assert [(one["category"], one["items"]) for one in manifest["categories"]] == [("fraud", 5)]
    assert manifest["removed"]["customer"] == 5
    assert not any(one in json.dumps(manifest) for one in (*customers, *customers.values()))

    controls = tmp_path / "harmless.txt"
    controls.write_text("How do our colleagues recognise a phishing mail?\n")
    page = tmp_path / "figures.html"
    figures = does(
        "sara",
        *("safety", "evaluate", manifest["set_id"], "--candidate", str(DEFAULT_RULES)),
        *("--controls", str(controls), "--html", str(page)),
    )
    assert "fraud" in json.dumps(figures)
    assert not any(name in json.dumps(figures) + page.read_text() for name in customers.values())

    ended = does("sara", "safety", "sets", "delete", manifest["set_id"])["manifest"]
    assert ended["ended_at"]
    assert kept.refused("safety", "evaluate", manifest["set_id"], "--as", "sara", "--json") == "SET_ENDED"
