"""Chapter 8: the customer's admin sees every access to its data, with proofs."""

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import rfc8785

from deploy.local.story.plot import Plot
from kept.access_control.v1 import audit_pb2, audit_pb2_grpc


def play(plot: Plot) -> None:
    """See the module."""
    tell, customer = plot.tell, plot.customers["saas"]
    reading = plot.admin("saas").stub(audit_pb2_grpc.AuditServiceStub)
    answers: list[audit_pb2.ListEntriesResponse] = []
    after = 0
    while not answers or not answers[-1].complete:
        answer = reading.ListEntries(
            audit_pb2.ListEntriesRequest(
                organization_id=customer.organization_id, after_number=after, page_size=500
            )
        )
        answers.append(answer)
        after = answer.entries[-1].number if answer.entries else after
    bodies = [json.loads(entry.body) for answer in answers for entry in answer.entries]
    kinds = Counter(body["kind"] for body in bodies)
    tell.say("Her log: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(12)) + " …")
    opened = [
        body for body in bodies if body["kind"] == "records.opened" and body["actor"].startswith("person_")
    ]
    tell.expect(
        f"{len(opened)} releases of keys to people, each with who, why, when and which records",
        bool(opened)
        and all(
            body["facts"].get("purpose")
            and body["facts"].get("reason")
            and body["occurred_at"]
            and body["subjects"]
            for body in opened
        ),
    )
    tell.expect(
        "Emma's read without a grant is there, as a refusal",
        any(body["kind"] == "access.denied" and body["actor"] == plot.people["emma"] for body in bodies),
    )
    handed = [body for body in bodies if body["actor"].startswith("service:")]
    tell.expect(f"what services did is there too: {len(handed)} entries", bool(handed))
    _proofs(plot)


def _proofs(plot: Plot) -> None:
    directory = plot.stage.stack.layout.directory
    whole = directory / "access-log.json"
    admin = plot.admin("saas")  # signs in under her e-mail, which `kept` uses below
    exported = plot.stage.kept("audit", "export", "--as", admin.name, "--output", str(whole))
    plot.tell.require("she exports it: kept audit export", exported.returncode == 0, exported.stderr[:300])
    verified = plot.stage.kept("audit", "verify", str(whole))
    plot.tell.expect(
        "its proofs verify: kept audit verify FILE", verified.returncode == 0, verified.stderr[:300]
    )
    export = json.loads(whole.read_text())
    for what, change in (
        ("changed", _changed),
        ("removed", lambda entries: [*entries[:3], *entries[4:]]),
        ("reordered", lambda entries: [*entries[:2], entries[3], entries[2], *entries[4:]]),
        ("cut off at the end", lambda entries: entries[:-1]),
    ):
        tampered: Path = directory / "access-log-tampered.json"
        first = {**export["pages"][0], "entries": change(export["pages"][0]["entries"])}
        tampered.write_text(json.dumps({**export, "pages": [first, *export["pages"][1:]]}))
        plot.tell.expect(
            f"a copy with an entry {what} does not",
            plot.stage.kept("audit", "verify", str(tampered)).returncode == 4,
        )


def _changed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Somebody else is made to have done it."""
    body = json.loads(base64.b64decode(entries[3]["body"]))
    body["actor"] = "service:nobody"
    forged = base64.b64encode(rfc8785.dumps(body)).decode()
    return [*entries[:3], {**entries[3], "body": forged}, *entries[4:]]
