"""`kept trust-center`: what is typed becomes the request that is meant, as nobody unless --as says who."""

import hashlib
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kept.cli import arguments, main, trust_center
from kept.settings.v1 import organizations_pb2, terms_pb2
from kept.settings.v1 import trust_pb2 as contract
from tests.unit.clients.conftest import ORG, Services

WHO = "--name Pia --email pia@x.test --company 'X AG'"
PIA = contract.Requester(name="Pia", email="pia@x.test", company="X AG")
LIST = """
[[subprocessors]]
name = "Alpha"
purpose = "hosting"
location = "Ireland"
data = "records, sealed"
"""
ALPHA = contract.Subprocessor(name="Alpha", purpose="hosting", location="Ireland", data="records, sealed")
JUNE = Timestamp()
JUNE.FromDatetime(datetime(2026, 6, 1, tzinfo=UTC))

REQUESTS: list[tuple[str, Message]] = [
    ("contacts", contract.GetContactsRequest()),
    ("commitments", contract.GetCommitmentsRequest()),
    ("subprocessors", contract.ListSubprocessorsRequest()),
    ("documents", contract.ListDocumentsRequest()),
    ("documents --earlier", contract.ListDocumentsRequest(include_earlier=True)),
    (
        f"request document_1 {WHO} --request-id r-1",
        contract.RequestDocumentRequest(request_id="r-1", document_id="document_1", requester=PIA),
    ),
    (
        f"request-addendum {WHO} --deployment private --request-id r-1",
        contract.RequestDataProcessingAddendumRequest(
            request_id="r-1", requester=PIA, deployment=organizations_pb2.DEPLOYMENT_PRIVATE
        ),
    ),
    ("status", contract.GetTrustRequestRequest(claim="the-claim")),
    (
        "object 4 -r 'not there'",
        contract.ObjectToSubprocessorsRequest(organization_id=ORG, version=4, reason="not there"),
    ),
    ("objections 4", contract.ListSubprocessorObjectionsRequest(version=4)),
    ("requests", contract.ListTrustRequestsRequest(page_size=100)),
    ("requests --decided --limit 5", contract.ListTrustRequestsRequest(include_decided=True, page_size=5)),
    (
        "decide trustrequest_1 --approve --link https://x.test/y -r fine",
        contract.DecideTrustRequestRequest(
            trust_request_id="trustrequest_1", approve=True, link="https://x.test/y", reason="fine"
        ),
    ),
    (
        "decide trustrequest_1 --deny -r no",
        contract.DecideTrustRequestRequest(trust_request_id="trustrequest_1", reason="no"),
    ),
    (
        "publish-document --kind soc-2-type-ii --title 'SOC 2' --version 2026 --file list.toml",
        contract.PublishDocumentRequest(
            kind=contract.DOCUMENT_KIND_SOC_2_TYPE_II,
            title="SOC 2",
            version="2026",
            visibility=contract.DOCUMENT_VISIBILITY_ON_REQUEST,
            sha256=hashlib.sha256(LIST.encode()).digest(),
        ),
    ),
    (
        f"publish-document --kind other --title x --version 1 --visibility public --link https://x.test --sha256 {'ab' * 32}",
        contract.PublishDocumentRequest(
            kind=contract.DOCUMENT_KIND_OTHER,
            title="x",
            version="1",
            visibility=contract.DOCUMENT_VISIBILITY_PUBLIC,
            link="https://x.test",
            sha256=b"\xab" * 32,
        ),
    ),
    ("withdraw-document document_1", contract.WithdrawDocumentRequest(document_id="document_1")),
    (
        "publish-subprocessors list.toml --request-id r-1",
        contract.PublishSubprocessorsRequest(request_id="r-1", subprocessors=[ALPHA]),
    ),
    (
        "publish-subprocessors list.toml --request-id r-1 --effective 2026-06-01",
        contract.PublishSubprocessorsRequest(request_id="r-1", subprocessors=[ALPHA], effective_at=JUNE),
    ),
    ("withdraw-subprocessors 4", contract.WithdrawSubprocessorsRequest(version=4)),
]
# Whoever asks these is asked for no identity.
OPEN = ("contacts", "commitments", "subprocessors", "documents", "request ", "request-addendum", "status")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.toml").write_text(LIST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEPT_CLAIM", "the-claim")


@pytest.mark.parametrize(("line", "expected"), REQUESTS, ids=[line.split(" -")[0] for line, _ in REQUESTS])
@pytest.mark.parametrize("json_flag", ["", " --json"], ids=["table", "json"])
def test_command_line_becomes_request(
    line: str, expected: Message, json_flag: str, services: Services
) -> None:
    assert main(shlex.split(f"trust-center {line}{json_flag}")) == 0
    assert services.asked[-1][1] == expected
    is_open = f"{line} ".startswith(OPEN)
    assert (services.identities == [None]) is is_open


def test_who_is_named_asks_for_the_own_organization(services: Services) -> None:
    assert main(shlex.split(f"trust-center request document_1 {WHO} --as ada")) == 0
    assert services.identities == ["ada"]


@pytest.mark.parametrize(
    "line",
    [
        "request document_1 --name Pia",
        "decide trustrequest_1 -r fine",
        "decide trustrequest_1 --approve -r fine",
        "decide trustrequest_1 --deny --link https://x.test -r fine",
        "publish-document --kind soc-2-type-ii --title x --version 1",
        f"publish-document --kind soc-2-type-ii --title x --version 1 --file list.toml --sha256 {'ab' * 32}",
        "publish-document --kind soc-2-type-ii --title x --version 1 --file nowhere.pdf",
        "publish-subprocessors nowhere.toml",
        "publish-subprocessors other.toml",
        "object 0 -r why",
    ],
)
def test_wrong_command_line_asks_no_service(line: str, services: Services) -> None:
    Path("other.toml").write_text(LIST.replace('data = "records, sealed"', "data = 1"))
    assert main(shlex.split(f"trust-center {line}")) == 2
    assert services.asked == []


def test_choices_are_the_contracts() -> None:
    for choices, enum, prefix in (
        (trust_center.DocumentKind, contract.DocumentKind, "DOCUMENT_KIND"),
        (trust_center.Visibility, contract.DocumentVisibility, "DOCUMENT_VISIBILITY"),
    ):
        assert {arguments.enum_value(enum, prefix, one) for one in choices} == set(enum.values()) - {0}


def test_that_no_addendum_is_required_is_an_answer(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(f"trust-center request-addendum {WHO} --deployment private")) == 0
    assert "No addendum is required" in capsys.readouterr().out


def test_commitments_say_what_a_trial_key_means(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["GetCommitments"] = contract.GetCommitmentsResponse(
        version="1", general_terms="https://x.test/terms"
    )
    assert main(["trust-center", "commitments"]) == 0
    shown = capsys.readouterr().out
    assert "a trial key, fall under the general terms: https://x.test/terms" in shown


def test_lists_say_what_they_change_and_from_when(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["ListSubprocessors"] = contract.ListSubprocessorsResponse(
        current=contract.SubprocessorList(version=1, subprocessors=[ALPHA]),
        upcoming=[
            contract.SubprocessorList(
                version=2, effective_at=JUNE, added=["Gamma\x1b[2J"], removed=["Alpha"], subprocessors=[ALPHA]
            )
        ],
    )
    services.answers["GetContacts"] = contract.GetContactsResponse(
        contacts=[terms_pb2.Contact(kind=terms_pb2.CONTACT_KIND_PRIVACY, address="p@x.test")]
    )
    assert main(["trust-center", "subprocessors"]) == 0
    shown = capsys.readouterr().out
    assert "List 2, in force from 2026-06-01 00:00:00Z. new: Gamma\ufffd[2J. gone: Alpha" in shown
    assert "Ireland" in shown
    assert "\x1b" not in shown
    assert main(["trust-center", "contacts"]) == 0
    assert capsys.readouterr().out.split() == ["for", "address", "privacy", "p@x.test"]
