"""Options that cannot both be meant: refused by name before anything is asked of a service, instead of going by one of them."""

import shlex

import pytest

from kept.cli import main
from tests.unit.clients.conftest import ORG, Services

RECORD = "0198c5a0-1c2b-7d3e-8f40-5a6b7c8d9e0f"
PLACE = f"holds place -o {ORG} --reference M-17 --review-at 2027-01-31 --everything"
POWER = "access request --reason 'a new customer' --power operator"


@pytest.mark.parametrize(
    ("line", "option"),
    [
        (f"{PLACE} --end-user u-1", "--end-user"),
        (f"{PLACE} --from 2026-01-31", "--from"),
        (f"{PLACE} --until 2026-01-31", "--until"),
        (f"{PLACE} --record {RECORD}", "--record"),
        (f"{POWER} --record {RECORD}", "--record"),
        (f"{POWER} --from 2026-01-31", "--from"),
        (f"{POWER} --until 2026-01-31", "--until"),
        (f"{POWER} --detail full", "--detail"),
        (f"{POWER} --budget 7", "--budget"),
        (f"{POWER} --purpose legal-compliance", "--purpose"),
        (f"{POWER} --case case_1", "--case"),
        (f"{POWER} --screening", "--screening"),
        (f"{POWER} --evaluation", "--evaluation"),
        (f"{POWER} -o {ORG}", "--organization"),
        ("logout --all --as anna", "--as"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(
    line: str, option: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(line)) == 2
    assert option in capsys.readouterr().err
    assert services.asked == []


def test_without_the_contradiction_it_is_done(services: Services) -> None:
    for line in (PLACE, POWER, "logout --all"):
        assert main(shlex.split(line)) == 0
    (_, hold), (_, power) = services.asked
    assert hold.HasField("scope")
    assert hold.scope.end_user == ""
    assert not power.HasField("data")
