"""What an admin takes along by the command line, on services that run: an end user's records, and everything of the organization."""

from __future__ import annotations

import json
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from kept.logging.v1 import ingest_pb2
from tests.integration.test_members import Kept, kept

__all__ = ["kept"]

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

WHO, OTHER, TEXT = "eu-9e01", "eu-9e02", "what I asked in confidence"
BOSS, SECOND = ("--as", "boss", "--json"), ("--as", "second", "--json")


@pytest.fixture
def second(plot: Plot, kept: Kept) -> Iterator[str]:
    """A second admin of the customer, gone again at the end; the member's id."""
    saas, password = plot.customers["saas"], secrets.token_urlsafe(16)
    kept.done("login", "--customer", saas.admin_email, "--as", "boss", password=saas.admin_password)
    email = f"{secrets.token_hex(4)}@second.example"
    invited = kept.done("settings", "members", "invite", email, "--role", "admin", *BOSS)
    token = json.loads(invited)["invitation_token"]
    register = ("settings", "members", "register", "--first-name", "Sam", "--last-name", "Second", "--json")
    member: dict[str, str] = json.loads(kept.done(*register, invitation=token, password=password))["member"]
    kept.done("login", "--customer", email, "--as", "second", password=password)
    yield member["member_id"]
    if any(one["member_id"] == member["member_id"] for one in members(kept)):
        kept.done("settings", "members", "remove", member["member_id"], *BOSS)


def members(kept: Kept) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(kept.done("settings", "members", "list", *BOSS))["members"]
    return listed


def recorded(plot: Plot) -> None:
    organization_id = plot.customers["saas"].organization_id
    made = [
        plot.gateway.interaction(organization_id, Sample(0, TEXT, "noted", end_user=end_user))
        for end_user in (WHO, OTHER, WHO)
    ]
    assert {one.outcome for one in plot.record(made)} == {ingest_pb2.OUTCOME_STORED}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def texts(record: Any) -> list[str]:
    return [part["text"] for message in record["content"]["prompt"] for part in message["parts"]]


def test_admins_serve_an_end_users_request_themselves(
    plot: Plot, kept: Kept, second: str, tmp_path: Path
) -> None:
    recorded(plot)
    for name in ("olga", "emma"):
        plot.stage.staff(name)
    for which, role in (("saas", "member"), ("zdr", "admin")):
        who = plot.customers[which]
        plot.stage.customer(getattr(who, f"{role}_email"), getattr(who, f"{role}_password"))
    plain, stranger = plot.customers["saas"].member_email, plot.customers["zdr"].admin_email

    def subjects(*words: str) -> Any:
        return json.loads(kept.done("settings", "subjects", *words, *BOSS))

    found, copied = (
        subjects("create", kind, "--end-user", WHO)["request"]["subject_request_id"]
        for kind in ("find", "export")
    )
    grant = subjects("ask", copied)["grant"]
    name = grant["grant_id"]
    assert (grant["purpose"], grant["missing_customer_approval"]) == ("PURPOSE_CUSTOMER_EXPORT", True)
    # Nobody approves the own request, and the vendor decides nothing where there is another admin.
    assert kept.refused("access", "approve", name, *BOSS) == "SECOND_PERSON_REQUIRED"
    assert kept.refused("access", "approve", name, "--as", "olga", "--json") == "CUSTOMER_DECIDES"
    assert kept.refused("access", "approve", name, "--as", "emma", "--json") == "NOT_FOUND"
    records = ("settings", "subjects", "records", copied, "--grant", name)
    assert kept.refused(*records, *BOSS) == "GRANT_NOT_ACTIVE"
    kept.done("access", "approve", name, *SECOND)

    file = tmp_path / "end-user.jsonl"
    assert json.loads(kept.done(*records, "--output", str(file), *BOSS))["records"] == 2
    read = lines(file.read_text())
    assert [(record["end_user"], *texts(record)) for record in read] == [(WHO, TEXT)] * 2
    # To find it, log data do; the grant gives more, and it is not taken.
    seen = lines(
        kept.done("settings", "subjects", "records", found, "--grant", name, "--as", "boss", "--json")
    )
    assert [record["end_user"] for record in seen] == [WHO] * 2
    assert not any(record.get("content") for record in seen)

    reading = ("logs", "read", "--grant", name, "--json")
    organization = ("--organization", plot.customers["saas"].organization_id, "--detail", "full")
    assert kept.refused(*reading, *organization, "--as", stranger) == "WRONG_ORGANIZATION"
    assert kept.refused(*reading, *organization, "--as", plain) == "ADMIN_REQUIRED"
    assert kept.refused(*reading, *organization, "--as", "second") == "GRANT_REQUIRED"
    assert kept.refused(*reading, *organization, "--as", "emma") == "GRANT_REQUIRED"
    flagged = ("logs", "list", "--grant", name, "--flagged", *BOSS)
    assert kept.refused(*flagged) == "INVALID_ARGUMENT"
    # Who approved it is no admin any more: the grant ends with that.
    kept.done("settings", "members", "remove", second, *BOSS)
    plot.poll(
        "the grant's end",
        lambda: (
            json.loads(kept.done("access", "show", name, *BOSS))["grant"]["state"] == "GRANT_STATE_REVOKED"
        ),
    )
    assert kept.refused(*records, *BOSS) == "GRANT_REVOKED"
    assert kept.refused("access", "list", *SECOND) in ("NOT_AUTHORIZED", "NOT_SIGNED_IN", "UNAUTHENTICATED")
    # The only admin has one of the vendor's people approve.
    alone = json.loads(kept.done("access", "request", "--reason", "our archive", "--detail", "full", *BOSS))
    name = alone["grant"]["grant_id"]
    kept.done("access", "approve", name, "--as", "olga", "--json")
    assert (
        json.loads(
            kept.done(
                "settings", "subjects", "records", copied, "--grant", name, "--output", str(file), *BOSS
            )
        )["records"]
        == 2
    )
    for one in (found, copied):
        subjects("complete", one)


def test_an_organization_takes_everything_along(plot: Plot, kept: Kept, second: str, tmp_path: Path) -> None:
    recorded(plot)
    asked = kept.done(
        "access", "request", "--reason", "our own archive", "--detail", "full", "--budget", "10000", *BOSS
    )
    grant = json.loads(asked)["grant"]["grant_id"]
    kept.done("access", "approve", grant, *SECOND)
    file = tmp_path / "saas.tar"
    made = json.loads(kept.done("export", "create", "--output", str(file), "--grant", grant, *BOSS))

    said = json.loads(kept.done("export", "verify", str(file), "--json"))
    organization_id = plot.customers["saas"].organization_id
    assert (said["verified"], said["organization_id"], said["parts"]) == (
        True,
        organization_id,
        made["parts"],
    )
    with tarfile.open(file) as archive:
        parts = {name: archive.extractfile(name).read().decode() for name in archive.getnames()}  # type: ignore[union-attr]
    folders = {name.split("/")[0].removesuffix(".json") for name in parts}
    assert {
        "organization",
        "organization-changes",
        "data-controls",
        "data-controls-history",
        "members",
        "api-keys",
        "zero-data-retention",
        "terms",
        "subject-requests",
        "grants",
        "certificates",
        "usage",
        "records",
        "access-log",
        "consent-history",
        "holds",
        "manifest",
        "signature",
    } <= folders
    assert json.loads(parts["organization.json"])["organization"]["organization_id"] == organization_id
    mails = {member["email"] for member in lines(parts["members/000001.jsonl"])}
    assert plot.customers["saas"].admin_email in mails
    records = lines(parts["records/000001.jsonl"])
    assert TEXT in [text for record in records for text in texts(record)]
    manifest = json.loads(parts["manifest.json"])
    assert manifest["grant"]["grant_id"] == grant
    assert manifest["left_out"] == {}
    # The log that goes along says who read these records for it.
    entries = [
        entry["entry"] for page in lines(parts["access-log/000001.jsonl"]) for entry in page["entries"]
    ]
    opened = [one for one in entries if one["kind"] == "records.opened" and grant in one["subjects"]]
    assert {one["actor"] for one in opened} == {said["exported_by"]} == {manifest["exported_by"]}
    assert sum(int(one["facts"]["records"]) for one in opened) == len(records)
    # And the log says that it was taken along.
    sealed = [
        entry
        for entry in json.loads(kept.done("audit", "list", "--limit", "1000", *BOSS))["entries"]
        if entry["kind"] == "export.sealed"
    ]
    assert sealed[-1]["facts"]["manifest_sha256"] == made["manifest_sha256"]

    content = file.read_bytes()
    place = content.index(TEXT.encode())
    file.write_bytes(content[:place] + b"W" + content[place + 1 :])
    assert kept._run(("export", "verify", str(file)), {})[0] == 4


def test_an_export_that_breaks_off_leaves_nothing(
    plot: Plot, kept: Kept, second: str, tmp_path: Path
) -> None:
    recorded(plot)
    asked = kept.done("access", "request", "--reason", "too few", "--detail", "full", "--budget", "2", *BOSS)
    grant = json.loads(asked)["grant"]["grant_id"]
    kept.done("access", "approve", grant, *SECOND)
    file = tmp_path / "saas.tar"
    create = ("export", "create", "--output", str(file), *BOSS)
    assert kept.refused(*create, "--grant", grant) == "BUDGET_EXHAUSTED"
    assert list(tmp_path.iterdir()) == []
    assert kept.refused(*create, "--organization", plot.customers["zdr"].organization_id) == "NOT_FOUND"
    # Nothing of what was logged is needed: without a grant the rest is an archive of its own.
    for which in ("zdr", "private"):
        customer = plot.customers[which]
        kept.done(
            "login", "--customer", customer.admin_email, "--as", which, password=customer.admin_password
        )
        kept.done("export", "create", "--output", str(file), "--as", which, "--json")
        said = json.loads(kept.done("export", "verify", str(file), "--json"))
        assert (said["verified"], said["organization_id"]) == (True, customer.organization_id)
        with tarfile.open(file) as archive:
            manifest = archive.extractfile("manifest.json")
            assert manifest is not None
            assert set(json.loads(manifest.read())["left_out"]) == {"records"}
        file.unlink()
    assert list(tmp_path.iterdir()) == []
