"""A failure says what, why, what to do next and where to look; scripts know it by its exit code."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from kept.cli import main
from kept.client.errors import KeptError
from kept.client.next_steps import NEXT_STEPS
from kept.errors.v1 import reasons_pb2
from tests.unit.clients.conftest import PROFILE, Services

FAILURES = [
    (KeptError("GRANT_EXPIRED", "The grant's time is over.", status="PERMISSION_DENIED"), 1),
    (KeptError("INTERNAL", "A fault.", status="INTERNAL", correlation_id="c-1"), 1),
    (KeptError("OVERLOADED", "Busy.", status="RESOURCE_EXHAUSTED"), 1),
    (KeptError("NOT_REACHABLE", "Nobody answers.", status="UNAVAILABLE"), 3),
    (KeptError("LEASE_LAPSED", "Not sure.", status="UNAVAILABLE", retry_after=timedelta(seconds=0.5)), 3),
    (KeptError("DEADLINE_EXCEEDED", "Too late.", status="DEADLINE_EXCEEDED"), 3),
]


@pytest.mark.parametrize(("error", "code"), FAILURES, ids=[error.reason for error, _ in FAILURES])
def test_exit_code(error: KeptError, code: int, services: Services) -> None:
    services.answers["GetKeyStatus"] = error
    assert main(["keys", "status"]) == code


def test_people_are_told_everything(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services.answers["PlaceHold"] = KeptError(
        "INVALID_ARGUMENT",
        "A field is not valid; nothing was changed.",
        status="INVALID_ARGUMENT",
        fields=[("review_at", "must be in the future")],
        correlation_id="correlation-1",
    )
    line = "holds place -o org_1 --record 0198c5a0-1c2b-7d3e-8f40-5a6b7c8d9e0f --reference M --review-at 2020-01-01"
    assert main(line.split()) == 1
    assert capsys.readouterr().err.splitlines() == [
        "kept: A field is not valid; nothing was changed.",
        "  review_at: must be in the future",
        "  reason: INVALID_ARGUMENT",
        "  next: Correct the fields named above; nothing was changed.",
        "  correlation id: correlation-1",
    ]


def test_who_may_not_read_is_told_what_is_missing(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["ReadInteractions"] = KeptError(
        "NOT_AUTHORIZED",
        "You are not authorized for this; the details say what is missing.",
        status="PERMISSION_DENIED",
        metadata={"missing": "one of the roles ENGINEER", "policy": "records.role"},
    )
    assert main(["logs", "read", "-o", "org_1", "--detail", "masked", "--grant", "grant_1"]) == 1
    assert (
        "  next: What is missing: one of the roles ENGINEER. The policy that asks for it: records.role."
        in capsys.readouterr().err
    )


def test_programs_are_told_everything(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services.answers["GetKeyStatus"] = KeptError(
        "LEASE_LAPSED",
        "Not sure.",
        status="UNAVAILABLE",
        retry_after=timedelta(seconds=0.5),
        correlation_id="c",
    )
    assert main(["keys", "status", "--json"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    error = json.loads(shown.err)["error"]
    assert (error["reason"], error["retry_after_seconds"], error["correlation_id"]) == (
        "LEASE_LAPSED",
        0.5,
        "c",
    )
    assert error["next_step"].endswith("Retry after 0.5 s.")


def test_an_unanswered_change_names_its_request_id(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["RequestGrant"] = KeptError("DEADLINE_EXCEEDED", "Late.", status="DEADLINE_EXCEEDED")
    assert main(["access", "request", "--power", "legal", "--reason", "a matter"]) == 3
    assert f"  request id: {services.asked[-1][1].request_id}" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            KeptError("POWER_REQUIRED", "x", metadata={"power": "POWER_ROLE_ASSIGNMENT"}),
            "Request the power with `kept access request --power role-assignment --reason …` and have a colleague approve it.",
        ),
        (KeptError("ADMIN_REQUIRED", "x", metadata={"admins": "Ada Li"}), "Ask one of your admins: Ada Li"),
        (
            KeptError("ADMIN_REQUIRED", "x", metadata={"support": "help@kept.example"}),
            "There is no admin to ask; write to help@kept.example.",
        ),
        (
            KeptError("NOT_AUTHORIZED", "x", metadata={"missing": "a signed agreement in force"}),
            "What is missing: a signed agreement in force. `kept status` shows your roles and agreement; an operator changes them "
            "with `kept people`.",
        ),
        (
            KeptError(
                "NOT_AUTHORIZED",
                "x",
                metadata={"missing": "a ticket", "policy": "own.tickets", "advice": "Open one first."},
            ),
            "What is missing: a ticket. Open one first. The policy that asks for it: own.tickets. `kept status` shows your roles "
            "and agreement; an operator changes them with `kept people`.",
        ),
        (
            KeptError("UNAUTHENTICATED", "x", metadata={"problem": "EXPIRED"}),
            "What is wrong with the token: EXPIRED. Sign in again with `kept login`; if that does not help, `kept doctor` shows "
            "clock and certificate faults.",
        ),
        (
            KeptError(
                "RULES_REFUSED",
                "x",
                metadata={"where": "rule 1. {problem}", "problem": "'(a{1000}){10}' is too large"},
            ),
            "Mend the rules at rule 1. {problem}: '(a{1000}){10}' is too large. Try the file with `kept detectors test --draft FILE`.",
        ),
        (KeptError("SOMETHING_NEW", "x"), ""),
    ],
)
def test_next_step_uses_what_the_service_said(error: KeptError, words: str) -> None:
    assert error.next_step() == words


def test_every_reason_of_the_contract_has_a_next_step() -> None:
    reasons = {name.removeprefix("REASON_") for name in dict(reasons_pb2.Reason.items())} - {"UNSPECIFIED"}
    assert reasons <= NEXT_STEPS.keys()


def test_control_characters_of_a_failure_are_not_printed(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["GetKeyStatus"] = KeptError("NOT_FOUND", "no \x1b[2J such", status="NOT_FOUND")
    assert main(["keys", "status"]) == 1
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("version = 1\n[[", "it is no TOML"),
        ("version = 2", "version = 1 is missing"),
        ("version = 1\ncolour = 3", "unknown key 'colour'"),
        ("version = 1\n[addresses]\nsettings = 'x'", "addresses.access_control is missing"),
        pytest.param(f"version = {'[' * 5000}", "it is no TOML", id="nested"),
        pytest.param(f"version = {'1' * 5000}", "it is no TOML", id="a long number"),
        pytest.param(
            PROFILE.replace("http://127.0.0.1:6/workforce", "https://[::1"),
            "issuers.workforce is no URL",
            id="no URL",
        ),
    ],
)
def test_a_wrong_profile_is_named_with_its_fault(
    content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.toml"
    if content is not None:
        file.write_text(content)
    assert main(["keys", "status", "--profile", str(file)]) == 2
    shown = capsys.readouterr().err
    assert str(file) in shown
    assert words in shown


def test_a_password_does_not_cross_a_network_in_clear(
    profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile_file.write_text(
        profile_file.read_text().replace("http://127.0.0.1:6/w", "http://issuer.example/w")
    )
    assert main(["login", "--as", "anna"]) == 2
    assert "issuers.workforce must be an https URL" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["--help"], ["access", "request", "--help"], ["audit", "--help"]])
def test_help_waits_for_nothing_heavy(line: list[str]) -> None:
    program = (
        "import sys; from kept.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'grpc', 'rich', 'google', 'cryptography', 'urllib.request'} & set(sys.modules); "
        "sys.exit(f'loaded: {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: kept" in done.stdout
