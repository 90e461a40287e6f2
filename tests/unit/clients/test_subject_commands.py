"""`kept settings subjects`: what is typed becomes the request that is meant, and a certificate is shown to be an end user's, or not."""

import base64
import hmac
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import grants_pb2
from kept.cli import arguments, main
from kept.evidence.verdicts import Verdict
from kept.logging.v1 import read_pb2
from kept.settings.v1 import subject_requests_pb2 as contract
from tests.unit.clients.conftest import ORG, Services

SUBJECT = "subject_" + "a" * 26


def received() -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    return made


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (
            "create find --end-user u-1 --received 2026-01-02 --reference DSR-1 --request-id r-1",
            contract.CreateSubjectRequestRequest(
                request_id="r-1",
                organization_id=ORG,
                kind=contract.SUBJECT_REQUEST_KIND_FIND,
                end_user="u-1",
                received_at=received(),
                reference="DSR-1",
            ),
        ),
        (
            "create erase --end-user u-1 --yes --request-id r-1",
            contract.CreateSubjectRequestRequest(
                request_id="r-1",
                organization_id=ORG,
                kind=contract.SUBJECT_REQUEST_KIND_ERASE,
                end_user="u-1",
            ),
        ),
        (
            "list --open",
            contract.ListSubjectRequestsRequest(organization_id=ORG, open_only=True, page_size=100),
        ),
        (f"show {SUBJECT}", contract.GetSubjectRequestRequest(subject_request_id=SUBJECT)),
        (
            f"complete {SUBJECT} --withdrawn",
            contract.CompleteSubjectRequestRequest(subject_request_id=SUBJECT, withdrawn=True),
        ),
        (
            f"extend {SUBJECT} --because many",
            contract.ExtendSubjectRequestRequest(
                subject_request_id=SUBJECT, extension=contract.SUBJECT_REQUEST_EXTENSION_MANY
            ),
        ),
        (f"export {SUBJECT}", contract.ExportSubjectRequestRequest(subject_request_id=SUBJECT)),
    ],
)
def test_command_line_becomes_request(line: str, request_: Message, services: Services) -> None:
    assert main(shlex.split(f"settings subjects {line}")) == 0
    assert services.asked[-1][1] == request_


def test_an_erasure_asks_twice(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, code in (("u-2", 2), ("u-1", 0)):
        monkeypatch.setattr("typer.prompt", lambda *_, typed=typed, **__: typed)
        assert main(shlex.split("settings subjects create erase --end-user u-1")) == code
        assert len(services.asked) == (code == 0)


@pytest.mark.parametrize(
    ("detail", "command"),
    [
        (grants_pb2.DETAIL_METADATA, "kept logs list --grant GRANT --end-user 'u-1'"),
        (grants_pb2.DETAIL_FULL, "kept logs read --detail full --grant GRANT --end-user 'u-1'"),
    ],
)
def test_an_open_request_says_how_its_records_are_read(
    detail: "grants_pb2.Detail.ValueType",
    command: str,
    services: Services,
    capsys: pytest.CaptureFixture[str],
) -> None:
    services.answers["GetSubjectRequest"] = contract.GetSubjectRequestResponse(
        request=contract.SubjectRequest(subject_request_id=SUBJECT),
        records=contract.SubjectRecords(
            organization_id=ORG, filter=read_pb2.RecordFilter(end_user="u-1"), detail=detail
        ),
    )
    assert main(shlex.split(f"settings subjects show {SUBJECT}")) == 0
    assert command in capsys.readouterr().err


def test_choices_are_the_contracts() -> None:
    for choices, enum, prefix in (
        (arguments.SubjectRequestKind, contract.SubjectRequestKind, "SUBJECT_REQUEST_KIND"),
        (arguments.SubjectRequestExtension, contract.SubjectRequestExtension, "SUBJECT_REQUEST_EXTENSION"),
    ):
        assert {arguments.enum_value(enum, prefix, choice) for choice in choices} == set(enum.values()) - {0}


def test_whose_erasure_a_certificate_is_of_is_verified_offline(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    salt = bytes(range(32))
    services.answers["ExportSubjectRequest"] = contract.ExportSubjectRequestResponse(subject_salt=salt)
    exported = tmp_path / "request.json"
    assert main(["settings", "subjects", "export", SUBJECT, "--output", str(exported)]) == 0
    assert base64.b64decode(json.loads(exported.read_text())["subject_salt"]) == salt
    # Made as retention makes it (services.retention.subject_states), by hand: the two must agree for ever.
    commitment = hmac.digest(salt, b"kept/subject/v1\0" + ORG.encode() + b"\0u-1", "sha256")
    certificate = tmp_path / "certificate.json"
    certificate.write_text(
        json.dumps(
            {
                "body": {
                    "organization_id": ORG,
                    "subject": {"commitment": base64.b64encode(commitment).decode()},
                }
            }
        )
    )
    monkeypatch.setattr("kept.cli.subjects.trusted", lambda *_: {})
    signed = Verdict(True)
    monkeypatch.setattr("kept.evidence.certificates.verify_certificate", lambda *_: signed)
    line = ["settings", "subjects", "verify", str(certificate), "--request", str(exported), "--end-user"]
    assert main([*line, "u-1"]) == 0
    assert main([*line, "u-2"]) == 4
    signed = Verdict(False, "The signature is wrong.")
    assert main([*line, "u-1"]) == 4
    exported.write_text('{"subject_salt": "short"}')
    assert main([*line, "u-1"]) == 2
