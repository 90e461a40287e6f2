"""`kept settings addresses`, `kept settings opt-outs`, `kept settings controls watch`."""

import json
import shlex
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from kept.cli import arguments, main
from kept.client.errors import KeptError
from kept.client.reading import resumed
from kept.settings.v1 import data_controls_pb2 as contract
from tests.unit.clients.conftest import ORG, Services

OPT_OUT = "optout_" + "a" * 26


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("addresses show", contract.GetNotificationAddressesRequest(organization_id=ORG)),
        (
            "addresses set --to settings=dpo@acme.example --to subject-requests=dsr@acme.example --etag e-1",
            contract.UpdateNotificationAddressesRequest(
                organization_id=ORG,
                etag="e-1",
                addresses=[
                    contract.NotificationAddress(
                        topic=contract.NOTIFICATION_TOPIC_SETTINGS, email="dpo@acme.example"
                    ),
                    contract.NotificationAddress(
                        topic=contract.NOTIFICATION_TOPIC_SUBJECT_REQUESTS, email="dsr@acme.example"
                    ),
                ],
            ),
        ),
        (
            "addresses set --none --etag e-1",
            contract.UpdateNotificationAddressesRequest(organization_id=ORG, etag="e-1"),
        ),
        (
            f"opt-outs request {ORG} --reason 'by letter'",
            contract.RequestAssistedOptOutRequest(organization_id=ORG, reason="by letter"),
        ),
        (
            f"opt-outs decide {OPT_OUT} --deny --reason no",
            contract.DecideAssistedOptOutRequest(assisted_opt_out_id=OPT_OUT, reason="no"),
        ),
        ("opt-outs list --as anna", contract.ListAssistedOptOutsRequest()),
        ("controls watch", contract.WatchDataControlsRequest(organization_id=ORG)),
    ],
)
def test_command_line_becomes_request(line: str, request_: Message, services: Services) -> None:
    assert main(shlex.split(f"settings {line}")) == 0
    assert services.asked[-1][1] == request_


@pytest.mark.parametrize(
    "line", ["set", "set --none --to settings=a@b.example", "set --to king=a@b.example", "set --to settings"]
)
def test_wrong_command_line_asks_no_service(line: str, services: Services) -> None:
    assert main(shlex.split(f"settings addresses {line}")) == 2
    assert services.asked == []


def test_setting_takes_the_current_etag(services: Services) -> None:
    services.answers["GetNotificationAddresses"] = contract.GetNotificationAddressesResponse(etag="e-7")
    assert main(shlex.split("settings addresses set --none")) == 0
    assert services.asked[-1][1].etag == "e-7"


def test_whom_and_where_to_write_where_there_is_no_address_is_shown(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["GetNotificationAddresses"] = contract.GetNotificationAddressesResponse(
        otherwise=["Ada Admin"], admin_emails=["ada@acme.example", "bea@acme.example"]
    )
    assert main(["settings", "addresses", "show"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Otherwise: Ada Admin Their addresses: ada@acme.example, bea@acme.example" in out


def test_choices_are_the_contracts() -> None:
    enum = contract.NotificationTopic
    numbers = {
        arguments.enum_value(enum, "NOTIFICATION_TOPIC", topic) for topic in arguments.NotificationTopic
    }
    assert numbers == set(enum.values()) - {0}


def test_a_watch_shows_one_change_a_line(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    services.answers["WatchDataControls"] = [
        contract.WatchDataControlsResponse(
            change=contract.DataControlsChange(controls=contract.DataControls(etag=f"controls-{number}"))
        )
        for number in (1, 2)
    ]
    assert main(shlex.split("settings controls watch --json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["change"]["controls"]["etag"] for line in lines] == ["controls-1", "controls-2"]


def test_a_broken_stream_is_opened_again_and_no_other_failure_is_hidden() -> None:
    away = KeptError("PEER_UNAVAILABLE", "away", status="UNAVAILABLE")
    opened: list[int] = []
    waited: list[float] = []

    def open_() -> list[contract.WatchDataControlsResponse]:
        opened.append(1)
        if len(opened) == 1:
            raise away
        return [contract.WatchDataControlsResponse()]

    assert len(list(resumed(open_, pauses=(0.5,), wait=waited.append))) == 1
    assert waited == [0.5]
    with pytest.raises(KeptError):
        list(resumed(_failing, pauses=(0.5,), wait=waited.append))
    assert waited == [0.5]


@pytest.mark.parametrize("status", ["UNAUTHENTICATED", "CANCELLED"])
def test_a_token_or_a_wait_that_ends_in_the_middle_ends_no_stream(status: str) -> None:
    """A long read outlives its token, and goes on under the next; one that is refused from the beginning is refused."""
    opened: list[int] = []

    def open_() -> Iterator[contract.WatchDataControlsResponse]:
        opened.append(1)
        if len(opened) < 4:
            yield contract.WatchDataControlsResponse()
        if len(opened) != 3:
            raise KeptError(status, "expired", status=status)

    assert len(list(resumed(open_, pauses=(), wait=lambda _: None))) == 3
    with pytest.raises(KeptError):
        list(resumed(open_, pauses=(), wait=lambda _: None))
    assert len(opened) == 4


def _failing() -> list[contract.WatchDataControlsResponse]:
    raise KeptError("NOT_FOUND", "gone", status="NOT_FOUND")
