"""Whatever the published commitments say that a customer can do or see is done here by the command, on services that run. What each
sentence says is in ABILITIES in our words; a test keeps them and the tests together."""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.local.story.interactions import Sample
from deploy.local.story.plot import Plot
from kept.logging.v1 import ingest_pb2
from tests.support.command import Kept, kept

__all__ = ["kept"]
pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

# What is said, and the test that does it.
ABILITIES: Final[Mapping[str, str]] = {
    "choose between the vendor's platform, a cloud of somebody else, and a deployment of one's own": "test_deployments",
    "take another deployment where data are sensitive, and then need no addendum": "test_deployments",
    "turn training off, in the settings, whenever one likes": "test_training_is_turned_off_and_on",
    "look up there what is chosen, and change it": "test_training_is_turned_off_and_on",
    "ask one's admin, or support, where the settings are not one's own": "test_who_is_no_admin_is_told_whom_to_ask",
    "ask for certificates and reports on security": "test_documents_are_asked_for_by_anybody",
    "ask for the data processing addendum, as a customer or before": "test_documents_are_asked_for_by_anybody",
    "look up who the sub-processors are": "test_sub_processors_are_looked_up",
    "ask for zero data retention, with a copy to the sales representative": "test_zero_data_retention_is_asked_for",
    "ask for the account to be deleted, and do it oneself": "test_an_account_is_deleted",
    "write to the vendor about privacy, and to support": "test_somebody_can_be_asked",
    "see what applies to oneself": "test_somebody_can_be_asked",
}


class Acme:
    """A customer that came by the command, and its admin. `admin` and `staff` end a command's words."""

    def __init__(self, kept: Kept, plot: Plot, name: str, *, deployment: str = "saas") -> None:
        self._kept = kept
        self.email, self.password = f"ada@{name}.example", secrets.token_urlsafe(16)
        plot.stage.staff("olga")
        created = self.said(
            "settings", "organizations", "create", "--name", name.title(), "--admin-email", self.email,
            "--deployment", deployment, "--training", "on", "--sales-representative", "sales@vendor.example",
            "--as", "olga",
        )  # fmt: skip
        self.organization_id = created["organization"]["organization_id"]
        register = ("settings", "members", "register", "--first-name", "Ada", "--last-name", "Acme", "--json")
        kept.done(*register, invitation=created["invitation_token"], password=self.password)
        kept.done("login", "--customer", self.email, "--as", name, password=self.password)
        self.admin = ("--as", name)
        # From then on every process knows the customer; ids of records tell milliseconds.
        plot.stage.wait_until(datetime.fromisoformat(created["effective_at"]) + timedelta(milliseconds=50))

    def said(self, *words: str) -> Any:
        """What a command answers."""
        return json.loads(self._kept.done(*words, "--json"))

    def asked(self, *words: str) -> Any:
        """What it answers the admin."""
        return self.said(*words, *self.admin)


def test_each_ability_has_its_test() -> None:
    assert set(ABILITIES.values()) == {
        name for name in globals() if name.startswith("test_") and name != "test_each_ability_has_its_test"
    }


def test_deployments(kept: Kept, plot: Plot) -> None:
    for deployment in ("third-party-cloud", "private"):
        there = Acme(kept, plot, f"can-{deployment}", deployment=deployment)
        shown = there.asked("settings", "organizations", "show")["organization"]
        assert shown["deployment"] == "DEPLOYMENT_" + deployment.upper().replace("-", "_")
        answer = there.asked(
            "trust-center", "request-addendum", "--name", "Ada Acme", "--email", there.email,
            "--company", "Acme", "--deployment", deployment,
        )  # fmt: skip
        assert not answer.get("claim"), "none is required: nothing is stored"
        record = plot.gateway.interaction(there.organization_id, Sample(0, "hello", "hi"))
        [receipt] = plot.record([record])
        assert receipt.outcome == ingest_pb2.OUTCOME_REFUSED
        kept.refused("settings", "zdr", "request", "--accept-all", *there.admin, "--json")


def test_training_is_turned_off_and_on(kept: Kept, plot: Plot) -> None:
    acme = Acme(kept, plot, "can-train")
    assert acme.asked("settings", "controls", "show")["controls"]["training_allowed"]
    for wanted in ("off", "on"):
        acme.asked("settings", "controls", "set", "--training", wanted)
        shown = acme.asked("settings", "controls", "show")["controls"]
        assert shown.get("training_allowed", False) == (wanted == "on")
    intervals = acme.asked("settings", "controls", "consent")["intervals"]
    assert [one.get("training_allowed", False) for one in intervals] == [True, False, True]


def test_who_is_no_admin_is_told_whom_to_ask(kept: Kept, plot: Plot) -> None:
    customer = plot.customers["saas"]
    login = ("login", "--customer", customer.member_email, "--as", "plain")
    kept.done(*login, password=customer.member_password)
    assert (
        kept.refused("settings", "controls", "set", "--training", "off", "--as", "plain", "--json")
        == "ADMIN_REQUIRED"
    )


def test_documents_are_asked_for_by_anybody(kept: Kept, plot: Plot) -> None:
    acme = Acme(kept, plot, "can-ask")
    plot.stage.staff("carla")
    who = ("--name", "Paul Prospect", "--email", "paul@prospect.example", "--company", "Prospect")
    for kind in ("iso-27001", "iso-42001", "soc-2-type-ii"):
        published = acme.said(
            "trust-center", "publish-document", "--kind", kind, "--title", kind, "--version", secrets.token_hex(4),
            "--sha256", secrets.token_hex(32), "--as", "carla",
        )["document"]  # fmt: skip
        asked = acme.asked("trust-center", "request", published["document_id"], *who)
        assert asked["claim"]
    for words in (("request-addendum", *who), ("request-addendum", *who, *acme.admin)):
        assert json.loads(kept.done("trust-center", *words, "--json"))["claim"]


def test_sub_processors_are_looked_up(kept: Kept, plot: Plot, tmp_path: Path) -> None:
    plot.stage.staff("carla")
    listed = tmp_path / "list.toml"
    listed.write_text(
        '[[subprocessors]]\nname = "Nimbus"\npurpose = "Runs servers."\nlocation = "Ireland"\ndata = "Everything, sealed."\n'
    )
    kept.done("trust-center", "publish-subprocessors", str(listed), "--as", "carla", "--json")
    shown = json.loads(kept.done("trust-center", "subprocessors", "--json"))
    # In force at once where it is the first, announced 30 days ahead where there was one before.
    lists = [shown["current"], *shown["upcoming"]]
    assert "Nimbus" in [one["name"] for each in lists for one in each["subprocessors"]]


def test_zero_data_retention_is_asked_for(kept: Kept, plot: Plot) -> None:
    """And what was logged before is erased, proven, and nothing is logged from then on."""
    acme = Acme(kept, plot, "can-zdr")
    [before] = plot.record([plot.gateway.interaction(acme.organization_id, Sample(0, "before", "yes"))])
    assert before.outcome == ingest_pb2.OUTCOME_STORED
    request = acme.asked("settings", "zdr", "request", "--accept-all", "--erase-before")["request"]
    assert request["copied_to"] == "sales@vendor.example"
    name = request["zero_data_retention_request_id"]
    decide = ("settings", "zdr", "decide", name, "--approve", "--reason", "fine")
    states = []
    for decider in ("carla", "chen"):
        plot.stage.staff(decider)
        [waiting] = acme.said("settings", "zdr", "list", "--as", decider)["requests"]
        assert waiting["erase_logged_before"]
        states.append(acme.said(*decide, "--as", decider)["request"]["state"])
    assert states == ["ZERO_DATA_RETENTION_STATE_REQUESTED", "ZERO_DATA_RETENTION_STATE_APPROVED"]
    [certificate] = plot.poll(
        "the certificate that what was logged before is erased",
        lambda: acme.asked("certificates", "list")["certificates"],
        patience=60.0,
    )
    [shown] = acme.asked("settings", "zdr", "list")["requests"]
    assert certificate["act_id"] == shown["erasure_id"]
    [after] = plot.record([plot.gateway.interaction(acme.organization_id, Sample(0, "after", "no"))])
    assert after.outcome == ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT


def test_an_account_is_deleted(kept: Kept, plot: Plot) -> None:
    acme = Acme(kept, plot, "can-leave")
    begun = acme.asked("settings", "account", "delete")["deletion"]
    name = begun["account_deletion_id"]
    wrong = ("settings", "account", "confirm", name, "--sentence", "yes", *acme.admin, "--json")
    assert kept.refused(*wrong) == "CONFIRMATION_MISMATCH"
    confirmed = acme.asked(
        "settings", "account", "confirm", name, "--sentence", begun["confirmation_sentence"]
    )
    assert confirmed["claim"]
    status = acme.asked("settings", "account", "status")["deletion"]["state"]
    assert status in ("ACCOUNT_DELETION_STATE_CONFIRMED", "ACCOUNT_DELETION_STATE_ERASING")


def test_somebody_can_be_asked(kept: Kept, plot: Plot) -> None:
    acme = Acme(kept, plot, "can-write")
    contacts = json.loads(kept.done("trust-center", "contacts", "--json"))["contacts"]
    assert len({one["kind"] for one in contacts if "@" in one["address"]}) >= 2
    terms = json.dumps(acme.asked("settings", "terms", "show"))
    assert "C01" in terms
    assert "C14" in terms
