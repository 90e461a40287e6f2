"""Policies are replaced by an operator's folder and reloaded whole or not at all; the audit log has the set of each decision."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, grants_pb2
from kept.policies import PolicyFolder
from services.access_control.authorization.policy import SHIPPED, shipped_policies, shipped_schema
from services.access_control.store import policy_sets
from services.access_control.wiring import wire
from shared.config import ConfigError
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from shared.inprocess import InProcess
from shared.telemetry import ALERT
from tests.unit.access_control.world import ENGINEER, ORG, World, migrated_vault, refusal, world

__all__ = ["migrated_vault", "world"]

METHOD = "/kept.logging.v1.ReadService/ListInteractions"
NOBODY = """
@id("own.nobody") @advice("Logging is closed for maintenance; come back tomorrow.")
forbid (principal is Person, action == Action::"CallMethod", resource is Method);
"""


class Operated:
    """Access control that decides by an operator's folder."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        config = world.config.model_copy(update={"policies": folder})
        service = wire(config, world.clock, world.database, world._connect, world._verify)
        (self._job,) = (job for job in service.jobs if job.name == "policies")
        self._polls = service.jobs[:2]
        for job in self._polls:
            job.step()
        served = InProcess(service)
        self._authz = authz_pb2_grpc.AuthzServiceStub(served.channel(Caller(CallerKind.SERVICE, "logging")))

    def check(self) -> str:
        """What comes of a question: the policies that allowed it, or the reason."""
        request = authz_pb2.CheckRequest(token=self.world.token("eve"), method=METHOD)
        try:
            return ", ".join(self._authz.Check(request).policies)
        except KeptError as error:
            return error.name

    def authorize(self, grant_id: str) -> str:
        """What comes of a read of log data: nothing to say, or the reason."""
        request = authz_pb2.AuthorizeRequest(
            token=self.world.token("eve"),
            grant_id=grant_id,
            organization_id=ORG,
            detail=grants_pb2.DETAIL_METADATA,
        )
        for job in self._polls:
            job.step()
        try:
            self._authz.Authorize(request)
        except KeptError as error:
            return error.name
        return ""

    def denial(self) -> dict[str, str]:
        with pytest.raises(KeptError) as denied:
            self._authz.Check(authz_pb2.CheckRequest(token=self.world.token("eve"), method=METHOD))
        return denied.value.metadata

    def look(self) -> None:
        """Time passes, and the folder is looked at."""
        self.world.clock.advance(timedelta(seconds=5))
        self._job.step()


def seal(folder: Path) -> str:
    found = PolicyFolder(folder)
    policies = found.load(shipped_schema())
    found.write_seal(policies)
    return policies.sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    seal(made)
    return made


@pytest.fixture
def operated(world: World, folder: Path) -> Operated:
    world.person("eve", ENGINEER)
    return Operated(world, folder)


def facts(world: World, kind: str) -> list[dict[str, Any]]:
    return [entry["facts"] for entry in world.entries(kind)]


def test_the_first_set_is_written_down_once_however_often_the_service_starts(
    world: World, folder: Path
) -> None:
    Operated(world, folder)
    Operated(world, folder)
    (changed,) = facts(world, "policies.changed")
    assert changed["after"] == shipped_policies().sha256
    assert "people.standing" in changed["added"].split(",")


def test_a_new_set_decides_from_the_next_look_on(operated: Operated) -> None:
    before = shipped_policies().sha256
    assert operated.check() == "people.staff"
    (operated.folder / "own.cedar").write_text(NOBODY)
    after = seal(operated.folder)
    assert operated.check() == "people.staff"
    operated.look()
    assert operated.check() == "NOT_AUTHORIZED"
    assert operated.denial() == {
        "missing": "a policy that allows it",
        "policy": "own.nobody",
        "advice": "Logging is closed for maintenance; come back tomorrow.",
    }
    changed = facts(operated.world, "policies.changed")[-1]
    assert {name: changed[name] for name in ("before", "after", "added", "removed", "altered")} == {
        "before": before,
        "after": after,
        "added": "own.nobody",
        "removed": "",
        "altered": "",
    }
    # The set is in every decision, and its text is where its hash leads to.
    assert facts(operated.world, "method.allowed")[-1]["policy_set"] == before
    denied = facts(operated.world, "method.denied")[-1]
    assert (denied["policy_set"], denied["policies"]) == (after, "own.nobody")
    with operated.world.database.transaction() as tx:
        used = policy_sets.in_use(tx)
    assert used is not None
    assert (used.policy_set, "own.nobody" in used.policies) == (after, True)


def test_a_removed_and_an_altered_policy_are_named(operated: Operated) -> None:
    (operated.folder / "by_rule.cedar").unlink()
    text = (operated.folder / "break_glass.cedar").read_text()
    (operated.folder / "break_glass.cedar").write_text(text.replace("3600000", "1800000"))
    seal(operated.folder)
    operated.look()
    changed = facts(operated.world, "policies.changed")[-1]
    assert (changed["added"], changed["altered"]) == ("", "break_glass.short")
    assert set(changed["removed"].split(",")) == {
        "by_rule.log_data_for_a_ticket",
        "by_rule.not_without_the_customer",
    }


def test_a_grant_that_a_policy_approved_ends_with_the_policy(operated: Operated) -> None:
    small = {"detail": grants_pb2.DETAIL_METADATA, "duration": timedelta(minutes=15)}
    grant = operated.world.request("eve", **small)
    assert grant.state == grants_pb2.GRANT_STATE_APPROVED
    assert operated.authorize(grant.grant_id) == ""
    (operated.folder / "by_rule.cedar").unlink()
    seal(operated.folder)
    operated.look()
    assert operated.authorize(grant.grant_id) == "GRANT_REVOKED"


def test_a_rules_refusal_names_the_set_too(operated: Operated) -> None:
    assert refusal(lambda: operated.world.authorize("eve", "")) == "GRANT_REQUIRED"
    assert facts(operated.world, "access.denied")[-1]["policy_set"] == shipped_policies().sha256


def _lose_a_file(folder: Path) -> None:
    (folder / "people.cedar").unlink()


def _unsealed(folder: Path) -> None:
    (folder / "own.cedar").write_text(NOBODY)


def _broken(folder: Path) -> None:
    (folder / "people.cedar").write_text("permit (\n")


def _unfit(folder: Path) -> None:
    (folder / "own.cedar").write_text(NOBODY.replace("is Person", "is Persona"))


def _another_schema(folder: Path) -> None:
    (folder / "schema.cedarschema").write_text("entity Person;\n")


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


HARM = [_lose_a_file, _unsealed, _broken, _unfit, _another_schema, _gone]


@pytest.mark.parametrize("harm", HARM)
def test_what_is_not_whole_changes_nothing_and_is_told_once(operated: Operated, harm: Any) -> None:
    harm(operated.folder)
    operated.look()
    operated.look()
    assert operated.check() == "people.staff"
    assert len(facts(operated.world, "policies.changed")) == 1
    (refused,) = facts(operated.world, "policies.refused")
    assert refused["in_use"] == shipped_policies().sha256
    assert ALERT.labels("policies_refused")._value.get() == 1


def test_the_alert_ends_when_the_folder_is_whole_again(operated: Operated) -> None:
    _unsealed(operated.folder)
    operated.look()
    after = seal(operated.folder)
    operated.look()
    assert ALERT.labels("policies_refused")._value.get() == 0
    assert facts(operated.world, "policies.changed")[-1]["after"] == after


@pytest.mark.parametrize("harm", HARM)
def test_a_first_set_that_is_not_whole_starts_nothing(world: World, folder: Path, harm: Any) -> None:
    harm(folder)
    with pytest.raises(ConfigError, match="policies: "):
        Operated(world, folder)
    assert facts(world, "policies.changed")[0]["after"] == shipped_policies().sha256  # the world's own start


def test_a_change_that_cannot_be_written_down_is_none(operated: Operated) -> None:
    with operated.world.database.transaction() as tx:
        tx.execute(
            sqlalchemy.text(
                "ALTER TABLE audit_entries ADD CONSTRAINT full_disk CHECK (kind <> 'policies.changed') NOT VALID"
            )
        )
    (operated.folder / "own.cedar").write_text(NOBODY)
    seal(operated.folder)
    with pytest.raises(psycopg.errors.CheckViolation):
        operated.look()
    assert operated.check() == "people.staff"
    with operated.world.database.transaction() as tx:
        tx.execute(sqlalchemy.text("ALTER TABLE audit_entries DROP CONSTRAINT full_disk"))
    operated.look()
    assert operated.check() == "NOT_AUTHORIZED"
