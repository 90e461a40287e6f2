"""`kept account` and what admins do with members: what is typed becomes the request, and secrets are no options."""

import json
import shlex
from pathlib import Path

import pytest
from google.protobuf.message import Message

from kept.cli import main
from kept.client.errors import KeptError
from kept.options.v1 import roles_pb2
from kept.settings.v1 import members_pb2
from tests.unit.clients.conftest import ORG, Services

MEMBER = members_pb2.Member(member_id="member_1", first_name="Ada", last_name="Lo", etag="member-7")
SECRETS = {
    "KEPT_PASSWORD": "the current one",
    "KEPT_NEW_PASSWORD": "the one after it",
    "KEPT_RESET_TOKEN": "sent",
    "KEPT_CHANGE_TOKEN": "came",
}


@pytest.fixture(autouse=True)
def known(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    services.answers["GetProfile"] = members_pb2.GetProfileResponse(
        profile=members_pb2.Profile(member=MEMBER, organization_name="Acme Ltd")
    )
    services.answers["ListMembers"] = members_pb2.ListMembersResponse(members=[MEMBER])


REQUESTS: list[tuple[str, Message]] = [
    ("account show", members_pb2.GetProfileRequest()),
    (
        "account rename --last-name Li",
        members_pb2.UpdateProfileRequest(etag="member-7", first_name="Ada", last_name="Li"),
    ),
    (
        "account rename --first-name Bo --etag member-3",
        members_pb2.UpdateProfileRequest(etag="member-3", first_name="Bo", last_name="Lo"),
    ),
    (
        "account email new@acme.example",
        members_pb2.RequestEmailChangeRequest(email="new@acme.example", password="the current one"),
    ),
    ("account confirm-email", members_pb2.ConfirmEmailChangeRequest(change_token="came")),
    (
        "account password",
        members_pb2.ChangePasswordRequest(
            current_password="the current one", new_password="the one after it"
        ),
    ),
    ("account forgot ada@acme.example", members_pb2.RequestPasswordResetRequest(email="ada@acme.example")),
    (
        "account reset",
        members_pb2.ResetPasswordRequest(reset_token="sent", new_password="the one after it"),
    ),
    ("account sign-ins --limit 7", members_pb2.ListSignInsRequest(page_size=7)),
    ("account export", members_pb2.ExportProfileRequest()),
    (
        "account delete --sentence 'delete my account'",
        members_pb2.DeleteMyAccountRequest(
            confirmation_sentence="delete my account", password="the current one"
        ),
    ),
    ("settings members invitations", members_pb2.ListInvitationsRequest(organization_id=ORG, page_size=500)),
    (
        "settings members uninvite invitation_1",
        members_pb2.RevokeInvitationRequest(invitation_id="invitation_1"),
    ),
    (
        "settings members role member_1 admin",
        members_pb2.SetMemberRoleRequest(
            member_id="member_1", role=roles_pb2.CUSTOMER_ROLE_ADMIN, etag="member-7"
        ),
    ),
    (
        "settings members remove member_1 --etag member-2",
        members_pb2.RemoveMemberRequest(member_id="member_1", etag="member-2"),
    ),
]


@pytest.mark.parametrize(("line", "expected"), REQUESTS, ids=[line.split(" -")[0] for line, _ in REQUESTS])
@pytest.mark.parametrize("json_flag", ["", " --json"], ids=["table", "json"])
def test_command_line_becomes_request(
    line: str, expected: Message, json_flag: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(line + json_flag)) == 0
    assert services.asked[-1][1] == expected
    shown = capsys.readouterr()
    assert not any(secret in shown.out + shown.err for secret in SECRETS.values())


def test_nobody_has_to_sign_in_who_cannot(services: Services) -> None:
    for line in ("account forgot ada@acme.example", "account reset"):
        assert main(shlex.split(line)) == 0
    assert services.identities == [None, None]


@pytest.mark.parametrize("line", ["account rename", "account forgot", "settings members role member_1 king"])
def test_wrong_command_line_asks_no_service(line: str, services: Services) -> None:
    assert main(shlex.split(line)) == 2
    assert services.asked == []


def test_a_member_of_nobodys_is_not_found_before_anything_is_changed(services: Services) -> None:
    assert main(["settings", "members", "remove", "member_2"]) == 1
    assert services.asked == [
        ("ListMembers", members_pb2.ListMembersRequest(organization_id=ORG, page_size=500))
    ]


def test_an_export_is_for_its_owner_alone(services: Services, tmp_path: Path) -> None:
    services.answers["ExportProfile"] = members_pb2.ExportProfileResponse(
        profile=members_pb2.Profile(member=MEMBER)
    )
    file = tmp_path / "mine.json"
    assert main(["account", "export", "--output", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["profile"]["member"]["first_name"] == "Ada"


def test_a_weak_password_is_refused_with_what_would_make_it_better(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["ChangePassword"] = KeptError(
        "WEAK_PASSWORD",
        "Too easy.",
        status="INVALID_ARGUMENT",
        metadata={"advice": "Add another word or two."},
    )
    assert main(["account", "password"]) == 1
    assert "next: Add another word or two. Choose several words" in capsys.readouterr().err
