"""Keys, terms and trust over a running stack, as people and gateways use them: by command, by certificate, and as nobody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from deploy.local.story.plot import Plot
from kept.client import ApiKeys
from kept.client.errors import KeptError
from kept.settings.v1 import api_keys_pb2, api_keys_pb2_grpc

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

WHO = ("--name", "Pia Prospect", "--email", "pia@prospect.example", "--company", "Prospect AG")


def kept(plot: Plot, *words: str) -> Any:
    """What the command answers with, as JSON."""
    done = plot.stage.kept(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(plot: Plot, *words: str) -> str:
    """Why the command was refused."""
    done = plot.stage.kept(*words, "--json")
    assert done.returncode == 1, done.stdout
    return str(json.loads(done.stderr)["error"]["reason"])


def admin(plot: Plot, which: str) -> str:
    """The name that an admin is signed in by."""
    plot.admin(which)
    return plot.customers[which].admin_email


def test_a_key_is_registered_by_command_and_resolved_by_certificate(plot: Plot) -> None:
    who, secret = admin(plot, "saas"), plot.ids.mint().hex()
    fingerprint = hashlib.sha256(secret.encode())
    words = (
        "settings",
        "keys",
        "register",
        "bot",
        "--kind",
        "trial",
        "--fingerprint",
        fingerprint.hexdigest(),
    )
    key = kept(plot, *words, "--as", who)["api_key"]
    assert key["terms"] == "TERMS_KIND_GENERAL"
    gateway = plot.stage.service("gateway/demo").stub(api_keys_pb2_grpc.ApiKeyServiceStub)
    wanted = api_keys_pb2.ResolveApiKeyRequest(fingerprint=fingerprint.digest())
    answer = gateway.ResolveApiKey(wanted)
    assert (answer.api_key_id, answer.revoked) == (key["api_key_id"], False)
    assert answer.organization_id == plot.customers["saas"].organization_id
    files = plot.stage.stack.identity("gateway/demo")
    address = plot.stage.stack.addresses("settings").services
    with ApiKeys(address, files.certificate, files.key, files.authority) as keys:
        holder = keys.holder(secret)
        assert holder is not None
        assert (holder.organization_id, holder.general_terms) == (answer.organization_id, True)
        assert keys.holder("sk-nobody") is None
    kept(plot, "settings", "keys", "revoke", key["api_key_id"], "--as", who)
    assert gateway.ResolveApiKey(wanted).revoked
    with pytest.raises(KeptError) as unknown:
        gateway.ResolveApiKey(api_keys_pb2.ResolveApiKeyRequest(fingerprint=b"x" * 32))
    assert unknown.value.reason == "NOT_FOUND"


def test_each_customer_is_told_what_applies_to_it(plot: Plot) -> None:
    said = {}
    for which in ("saas", "zdr", "private"):
        answer = kept(plot, "settings", "terms", "show", "--as", admin(plot, which))
        said[which] = {one["commitment_id"]: one["text"] for one in answer["sentences"]}
        assert any(one["kind"] == "CONTACT_KIND_PRIVACY" for one in answer["contacts"])
    assert "deleted automatically after 30 days" in said["saas"]["C08"]
    assert "Zero data retention is approved for you and counts from 20" in said["zdr"]["C14"]
    assert said["private"]["C29"].startswith("No data processing addendum is required")


def test_who_is_no_customer_asks_for_a_document_and_is_answered(
    plot: Plot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot.stage.staff("carla")
    file = tmp_path / "report.pdf"
    file.write_bytes(b"the report")
    version = plot.ids.mint().hex()
    words = ("--kind", "soc-2-type-ii", "--title", "SOC 2", "--version", version, "--file", str(file))
    document = kept(plot, "trust-center", "publish-document", *words, "--as", "carla")["document"]
    listed = kept(plot, "trust-center", "documents")["documents"]
    assert document["document_id"] in [one["document_id"] for one in listed]
    asked = kept(plot, "trust-center", "request", document["document_id"], *WHO)
    monkeypatch.setenv("KEPT_CLAIM", asked["claim"])
    assert kept(plot, "trust-center", "status")["request"]["state"] == "TRUST_REQUEST_STATE_REQUESTED"
    request_id = asked["request"]["trust_request_id"]
    decision = ("--approve", "--link", "https://files.example/r", "-r", "as you asked", "--as", "carla")
    kept(plot, "trust-center", "decide", request_id, *decision)
    assert kept(plot, "trust-center", "status")["request"]["link"] == "https://files.example/r"
    monkeypatch.setenv("KEPT_CLAIM", "x" * 43)
    assert refused(plot, "trust-center", "status") == "NOT_FOUND"
    needless = kept(plot, "trust-center", "request-addendum", *WHO, "--deployment", "third-party-cloud")
    assert needless["required"] is False


def test_admins_are_told_of_sub_processors_and_object(plot: Plot, tmp_path: Path) -> None:
    plot.stage.staff("carla")
    who = admin(plot, "saas")
    version = ""
    for location in ("Ireland", "Japan"):
        file = tmp_path / f"{location}.toml"
        entry = {"name": "Alpha", "purpose": "hosting", "location": location, "data": "sealed records"}
        lines = [f'{name} = "{value}"' for name, value in entry.items()]
        file.write_text("\n".join(["[[subprocessors]]", *lines]))
        published = kept(plot, "trust-center", "publish-subprocessors", str(file), "--as", "carla")
        version = published["list"]["version"]

    def told() -> bool:
        entries = kept(plot, "audit", "list", "--as", who, "--limit", "1000")["entries"]
        kinds = [one["entry"]["kind"] if "entry" in one else one["kind"] for one in entries]
        return "subprocessors.announced" in kinds

    plot.poll("the announcement in the customer's audit log", told)
    kept(plot, "trust-center", "object", version, "-r", "not in that country", "--as", who)
    [objection] = kept(plot, "trust-center", "objections", version, "--as", "carla")["objections"]
    assert objection["reason"] == "not in that country"
    listed = kept(plot, "trust-center", "subprocessors")
    assert listed["current"]["subprocessors"][0]["location"] == "Ireland"
    kept(plot, "trust-center", "withdraw-subprocessors", version, "--as", "carla")
    upcoming = kept(plot, "trust-center", "subprocessors")["upcoming"]
    assert version not in [one["version"] for one in upcoming]
