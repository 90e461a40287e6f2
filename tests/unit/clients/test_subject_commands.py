"""`kept settings subjects`: what is typed becomes the request that is meant, and a certificate is shown to be an end user's, or not."""

import base64
import hmac
import json
import shlex
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import grants_pb2
from kept.cli import arguments, main
from kept.client.errors import KeptError
from kept.evidence.verdicts import Verdict
from kept.logging.v1 import read_pb2
from kept.settings.v1 import subject_requests_pb2 as contract
from tests.unit.clients.conftest import ORG, Services

SUBJECT = "subject_" + "a" * 26
GRANT = "grant_" + "a" * 26


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


DETAILS = [grants_pb2.DETAIL_METADATA, grants_pb2.DETAIL_FULL]


@pytest.mark.parametrize("detail", DETAILS)
def test_an_open_request_is_answered_under_a_grant_of_the_admins_own(
    detail: "grants_pb2.Detail.ValueType",
    services: Services,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    services.answers["GetSubjectRequest"] = contract.GetSubjectRequestResponse(
        request=contract.SubjectRequest(subject_request_id=SUBJECT),
        records=contract.SubjectRecords(
            organization_id=ORG, filter=read_pb2.RecordFilter(end_user="u-1"), detail=detail
        ),
    )
    assert main(shlex.split(f"settings subjects show {SUBJECT}")) == 0
    assert f"kept settings subjects ask {SUBJECT}" in capsys.readouterr().err

    assert main(shlex.split(f"settings subjects ask {SUBJECT} --minutes 30 --request-id request-1")) == 0
    method, asked = services.asked[-1]
    scope = grants_pb2.DataScope(organization_id=ORG, detail=detail, budget=10_000)
    assert (method, asked.data, asked.purpose) == ("RequestGrant", scope, grants_pb2.PURPOSE_CUSTOMER_EXPORT)
    assert (asked.duration.seconds, asked.request_id) == (1800, "request-1")
    assert SUBJECT in asked.reason

    capsys.readouterr()
    # The grant may give more than the request needs; it is not taken.
    scope.detail = grants_pb2.DETAIL_FULL
    services.answers["GetGrant"] = grants_pb2.GetGrantResponse(
        grant=grants_pb2.Grant(grant_id=GRANT, data=scope)
    )
    record = read_pb2.InteractionRecord(end_user="u-1", record_id=bytes(16))
    services.answers["ReadInteractions"] = [read_pb2.ReadInteractionsResponse(records=[record] * 2)]
    file = tmp_path / "records.jsonl"
    words = f"settings subjects records {SUBJECT} --grant {GRANT} --output {file} --json"
    assert main(shlex.split(words)) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 2
    assert [json.loads(line)["end_user"] for line in file.read_text().splitlines()] == ["u-1"] * 2
    _, read = services.asked[-1]
    assert (read.grant_id, read.detail, read.filter.end_user) == (GRANT, detail, "u-1")


def test_what_breaks_off_leaves_no_records_and_an_answered_request_has_none(
    services: Services, tmp_path: Path
) -> None:
    services.answers["GetSubjectRequest"] = contract.GetSubjectRequestResponse(
        request=contract.SubjectRequest(subject_request_id=SUBJECT)
    )
    words = f"settings subjects records {SUBJECT} --grant {GRANT} --output {tmp_path / 'records.jsonl'}"
    assert main(shlex.split(words)) == 1
    assert main(shlex.split(f"settings subjects ask {SUBJECT}")) == 1
    services.answers["GetSubjectRequest"] = contract.GetSubjectRequestResponse(
        records=contract.SubjectRecords(organization_id=ORG, detail=grants_pb2.DETAIL_FULL)
    )
    services.answers["ReadInteractions"] = KeptError("GRANT_REVOKED", "", status="PERMISSION_DENIED")
    before = sorted(tmp_path.iterdir())
    assert main(shlex.split(words)) == 1
    assert sorted(tmp_path.iterdir()) == before


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
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600, "a salt is nobody else's"
    # Made as retention makes it (services.retention.erasures.subject_states), by hand: the two must agree for ever.
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
