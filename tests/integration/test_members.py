"""A person's whole way through an account by the command line, on services that run: invited, registered, changed, taken along, gone."""

import json
import secrets

import pytest

from deploy.local.story.plot import Plot
from tests.support.command import Kept, kept

__all__ = ["kept"]

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


def test_a_persons_way_through_an_account(plot: Plot, kept: Kept) -> None:
    zdr = plot.customers["zdr"]
    email, first, second = "nora@zdr.example", secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    kept.done("login", "--customer", zdr.admin_email, "--as", "boss", password=zdr.admin_password)
    invite = ("settings", "members", "invite", "--as", "boss", "--json")
    homograph = "nora@xn--" + "\u0437dr".encode("punycode").decode() + ".example"
    assert kept.refused(*invite, homograph) == "DECEPTIVE_ADDRESS"
    token = json.loads(kept.done(*invite, email))["invitation_token"]
    register = ("settings", "members", "register", "--first-name", "Nora", "--last-name", "New", "--json")
    assert kept.refused(*register, invitation=token, password="password1234") == "WEAK_PASSWORD"
    member = json.loads(kept.done(*register, invitation=token, password=first))["member"]
    assert kept.refused(*register, invitation=token, password=first) == "INVITATION_INVALID"

    nora = ("--as", "nora", "--json")
    kept.done("login", "--customer", email, "--as", "nora", password=first)
    renamed = json.loads(kept.done("account", "rename", "--last-name", "Known", *nora))["profile"]
    assert renamed["member"]["last_name"] == "Known"
    stale = ("account", "rename", "--last-name", "Else", "--etag", member["etag"], *nora)
    assert kept.refused(*stale) == "CONFLICT"
    exported = json.loads(kept.done("account", "export", *nora))
    assert exported["profile"]["member"]["email"] == email
    assert [each["outcome"] for each in exported["sign_ins"]] == ["SIGN_IN_OUTCOME_SUCCEEDED"]

    kept.done("account", "password", *nora, password=first, new_password=second)
    # Whatever token she still has: none for another service can be had with the session that began with the old password.
    assert kept.refused("usage", "show", *nora) in ("NOT_SIGNED_IN", "SIGN_IN_REFUSED")
    kept.done("login", "--customer", email, "--as", "nora", password=second)

    role = ("settings", "members", "role", member["member_id"], "member", "--as", "boss", "--json")
    kept.done(*role)
    assert kept.refused("account", "delete", "--sentence", "delete it", *nora, password=second) == (
        "CONFIRMATION_MISMATCH"
    )
    kept.done("account", "delete", "--sentence", "delete my account", *nora, password=second)
    assert kept.refused("account", "show", *nora) in ("UNAUTHENTICATED", "NOT_SIGNED_IN")
    left = json.loads(kept.done("settings", "members", "list", "--as", "boss", "--json"))["members"]
    assert email not in [each["email"] for each in left]
    last = ("account", "delete", "--sentence", "delete my account", "--as", "boss", "--json")
    assert kept.refused(*last, password=zdr.admin_password) == "LAST_ADMIN"
