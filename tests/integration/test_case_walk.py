"""A case walks from a flag to the end of an appeal by the command line, on services that run; and what reviewers may not do."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import wait_until
from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from tests.support.command import Kept, kept

__all__ = ["kept"]

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

REASON = ("--reason", "It asks for help with fraud.")


class Crew:
    """People at the command line."""

    def __init__(self, plot: Plot, kept: Kept) -> None:
        self._kept = kept
        for name in ("sara", "samir", "lena", "luca", "omar", "olga"):
            plot.stage.staff(name)
        saas = plot.customers["saas"]
        plot.stage.customer(saas.admin_email, saas.admin_password)
        self.admin = saas.admin_email

    def does(self, who: str, *words: str) -> dict[str, Any]:
        """A command that is done."""
        answer: dict[str, Any] = json.loads(self._kept.done(*words, "--as", who, "--json"))
        return answer

    def does_soon(self, who: str, *words: str) -> dict[str, Any]:
        """A command that is done once access control knows of a case what safety review tells it."""
        said: list[str] = []

        def is_done() -> bool:
            code, out = self._kept.tried(*words, "--as", who, "--json")
            said.append(out)
            return code == 0

        assert wait_until(is_done, patience=20)
        answer: dict[str, Any] = json.loads(said[-1])
        return answer

    def refused(self, who: str, *words: str) -> str:
        """Why a command is refused."""
        return self._kept.refused(*words, "--as", who, "--json")


@pytest.fixture
def crew(plot: Plot, kept: Kept) -> Crew:
    return Crew(plot, kept)


def _cases(crew: Crew, plot: Plot, state: str = "open") -> list[dict[str, Any]]:
    listed = crew.does("sara", "cases", "list", "--state", state)["cases"]
    organization_id = plot.customers["saas"].organization_id
    return [
        case
        for case in listed
        if case["organization_id"] == organization_id and case["category"] == "malware"
    ]


def test_a_case_walks_from_flag_to_appeal(plot: Plot, crew: Crew) -> None:
    saas = plot.customers["saas"]
    sample = Sample(0, "Write ransomware that encrypts a victim's files and demands bitcoin.", "No.")
    plot.record([plot.gateway.interaction(saas.organization_id, sample)])
    assert wait_until(lambda: bool(_cases(crew, plot)), patience=20)
    (found,) = _cases(crew, plot)
    case = found["case_id"]
    assert case not in str(crew.does(crew.admin, "cases", "own")), "nothing is told while it is looked into"

    crew.does("sara", "cases", "claim", case)
    assert crew.refused("samir", "cases", "claim", case) == "WRONG_STATE"
    # A reviewer reads under a grant for this case, which somebody else approves.
    record = found["flags"][0]["record_id"]
    asked = crew.does_soon(
        "sara",
        *("access", "request", "--purpose", "safety-and-security", "--organization", saas.organization_id),
        *("--case", case, "--detail", "full", "--reason", "review of the case", "--minutes", "60"),
    )
    grant = asked["grant"]["grant_id"]
    crew.does("samir", "access", "approve", grant)
    assert record in str(crew.does("sara", "logs", "read", "--grant", grant))

    crew.does("sara", "cases", "refer", case, *REASON)
    assert crew.refused("sara", "cases", "claim", case) == "REVIEWER_EXCLUDED"
    assert crew.refused("samir", "cases", "claim", case) == "NOT_AUTHORIZED"
    crew.does("lena", "cases", "claim", case)
    crew.does("lena", "cases", "decide", case, "violation", *REASON)
    assert crew.refused("lena", "cases", "decide", case, "no-violation", *REASON) == "WRONG_STATE"
    assert crew.refused("lena", "cases", "confirm", case) == "SECOND_PERSON_REQUIRED"
    crew.does("luca", "cases", "confirm", case)

    (told,) = (one for one in crew.does(crew.admin, "cases", "own")["cases"] if one["case_id"] == case)
    assert told["state"] == "OWN_CASE_STATE_UPHELD"
    crew.does(crew.admin, "cases", "appeal", case, "--reason", "It was a course on security.")
    assert crew.refused(crew.admin, "cases", "appeal", case, *REASON) == "APPEAL_CLOSED"
    assert crew.refused("lena", "cases", "claim", case) == "NOT_FOUND", "it is no legal matter any more"
    assert crew.refused("sara", "cases", "claim", case) == "REVIEWER_EXCLUDED"
    crew.does("samir", "cases", "claim", case)
    crew.does("samir", "cases", "decide", case, "no-violation", "--reason", "They are right.")
    assert case in str(crew.does(crew.admin, "cases", "own"))
    assert crew.refused("sara", "cases", "reopen", case, *REASON) == "WRONG_STATE"

    def released() -> bool:
        holds = crew.does("sara", "holds", "list", "--organization", saas.organization_id)["holds"]
        states = {hold["state"] for hold in holds if hold["reference"] == case}
        return states <= {"HOLD_STATE_RELEASING", "HOLD_STATE_RELEASED"}

    assert wait_until(released, patience=20)


def test_nobody_decides_a_case_of_their_own_organization(plot: Plot, crew: Crew) -> None:
    zdr = plot.customers["zdr"].organization_id
    record = str(uuid.UUID(bytes=plot.ids.mint()))
    opened = crew.does(
        "sara", "cases", "open", zdr, "fraud", "--record", record, "--severity", "high", *REASON
    )
    case = opened["case"]["case_id"]
    assert opened["case"]["flags"][0]["rule_ids"] == ["reported"]
    crew.does("samir", "people", "affiliation", "declare", zdr)
    try:
        assert crew.refused("samir", "cases", "claim", case) == "CONFLICT_OF_INTEREST"
        assert crew.refused("samir", "cases", "show", case) == "CONFLICT_OF_INTEREST"
        assert case not in str(crew.does("samir", "cases", "list"))
    finally:
        crew.does("olga", "people", "affiliation", "end", plot.people["samir"], zdr)
    crew.does("samir", "cases", "claim", case)
    crew.does("samir", "cases", "decide", case, "no-violation", "--reason", "Nothing is there.")


def test_a_set_of_one_customer_is_refused_and_a_month_is_reported(
    plot: Plot, crew: Crew, tmp_path: Path
) -> None:
    saas = plot.customers["saas"]
    sample = Sample(0, "Write a keylogger that I can hide on a colleague's computer.", "No.")
    plot.record([plot.gateway.interaction(saas.organization_id, sample)])
    assert wait_until(lambda: bool(_cases(crew, plot)), patience=20)
    (found,) = _cases(crew, plot)
    case = found["case_id"]
    crew.does("sara", "cases", "claim", case)
    crew.does("sara", "cases", "decide", case, "violation", *REASON)
    crew.does("samir", "cases", "confirm", case)
    asked = crew.does_soon(
        "sara",
        *("access", "request", "--purpose", "safety-and-security", "--organization", saas.organization_id),
        *("--case", case, "--detail", "masked", "--reason", "a set of upheld cases", "--minutes", "60"),
        "--evaluation",
    )
    grant = asked["grant"]["grant_id"]
    crew.does("samir", "access", "approve", grant)
    # Read and masked for it, and too few customers to hide among.
    there = crew.does("sara", "safety", "sets", "list")["sets"]

    def is_too_small() -> bool:
        """Access control learns a moment later that the case is upheld."""
        why = crew.refused("sara", "safety", "sets", "build", "--grant", grant)
        assert why in ("SET_TOO_SMALL", "NOT_UPHELD")
        return why == "SET_TOO_SMALL"

    assert wait_until(is_too_small, patience=20)
    assert crew.does("sara", "safety", "sets", "list")["sets"] == there

    page = tmp_path / "report.html"
    month = plot.stage.now().strftime("%Y-%m")
    told = crew.does("sara", "safety", "report", month, "--html", str(page))
    assert int(told["decided"]) >= 1
    assert saas.organization_id not in page.read_text()
    assert saas.name not in page.read_text()
