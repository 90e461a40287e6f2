"""The first two operators: once, two different people, and from then on by the rules."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.audit.log import AuditLog
from services.access_control.key_stores.configured import open_key_store
from services.access_control.people import bootstrap as command
from services.access_control.people.bootstrap import First, bootstrap
from services.access_control.people.person import Person
from services.access_control.people.standing import AGREEMENTS_NEEDED
from services.access_control.store import directory
from tests.unit.access_control.grants.test_granting import in_parallel
from tests.unit.access_control.vault import MIGRATIONS
from tests.unit.access_control.workforce import Workforce, workforce
from tests.unit.access_control.world import (
    DAY,
    MINUTE,
    OPERATOR,
    WORKFORCE,
    World,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "workforce", "world"]

ROLE_ASSIGNMENT = roles_pb2.POWER_ROLE_ASSIGNMENT
ADA = First("Ada", "ada@vendor.test", "ada")
BOB = First("Bob", "bob@vendor.test", "bob")


def run(world: World, *firsts: First, recover: bool = False) -> list[Person]:
    log = AuditLog(world.database, world.clock, open_key_store(world.config.key_store))
    decisions = DecisionLog(world.database, log, world.clock)
    first, second = firsts
    two = (first, second)
    return bootstrap(world.database, world.clock, decisions, WORKFORCE, two, bytes(32), recover=recover)


def test_the_first_two_govern_together(world: World) -> None:
    ada, bob = run(world, ADA, BOB)
    made = world.entries("operator.bootstrapped")
    assert [(e["actor"], e["subjects"][0]) for e in made] == [
        (bob.person_id, ada.person_id),
        (ada.person_id, bob.person_id),
    ]
    create = directory_pb2.CreatePersonRequest(display_name="Eve", email="eve@vendor.test", subject="eve")
    assert refusal(lambda: world.directory("ada").CreatePerson(create)) == "POWER_REQUIRED"
    grant = world.request("ada", power=roles_pb2.POWER_ROLE_ASSIGNMENT)
    assert refusal(lambda: world.approve("ada", grant)) == "SECOND_PERSON_REQUIRED"
    world.approve("bob", grant)
    eve = world.directory("ada").CreatePerson(create).person
    agreement = directory_pb2.RecordAgreementRequest(
        person_id=eve.person_id, kinds=AGREEMENTS_NEEDED, document_sha256=bytes(32)
    )
    agreement.signed_at.FromDatetime(world.clock.now())
    agreement.expires_at.FromDatetime(world.clock.now() + timedelta(days=401))
    assert refusal(lambda: world.directory("ada").RecordAgreement(agreement)) == "INVALID_ARGUMENT"
    agreement.expires_at.FromDatetime(world.clock.now() + timedelta(days=400))
    assert world.directory("ada").RecordAgreement(agreement).agreement_id.startswith("agreement_")
    assert world.directory("eve").GetMe(directory_pb2.GetMeRequest()).person.person_id == eve.person_id


@pytest.mark.parametrize(
    "second",
    [ADA, First("Ada Two", "ADA@vendor.test", "ada2"), First("Ada Two", "ada2@vendor.test", "Ada")],
)
def test_it_takes_two_different_people(world: World, second: First) -> None:
    assert refusal(lambda: run(world, ADA, second)) == "ALREADY_EXISTS"
    run(world, ADA, BOB)  # nothing was left of the failed one


def test_it_happens_once(world: World) -> None:
    outcomes = in_parallel(*[lambda: run(world, ADA, BOB)] * 3)
    assert sorted(outcomes) == ["", "WRONG_STATE", "WRONG_STATE"]
    people = world.entries("operator.bootstrapped")
    assert len(people) == 2


def test_it_refuses_where_anybody_exists(world: World) -> None:
    world.person("eve")
    assert refusal(lambda: run(world, ADA, BOB)) == "WRONG_STATE"


def test_recovery_is_for_who_has_fewer_than_two_operators(world: World) -> None:
    run(world, ADA, BOB)
    assert refusal(lambda: run(world, ADA, BOB, recover=True)) == "WRONG_STATE"
    world.advance(120 * DAY - MINUTE)
    assert refusal(lambda: run(world, ADA, BOB, recover=True)) == "WRONG_STATE"
    world.advance(MINUTE)  # nobody confirmed them
    assert refusal(lambda: world.request("ada", power=ROLE_ASSIGNMENT)) == "NOT_AUTHORIZED"
    assert refusal(lambda: run(world, ADA, BOB)) == "WRONG_STATE"  # not without saying so
    people = run(world, ADA, First("Cleo", "cleo@vendor.test", "cleo"), recover=True)
    recovered = world.entries("operator.recovered")
    assert [entry["subjects"][0] for entry in recovered] == [person.person_id for person in people]
    assert [entry["facts"]["operators_in_force_before"] for entry in recovered] == ["0", "0"]
    grant = world.request("ada", power=ROLE_ASSIGNMENT)
    world.approve("cleo", grant)
    listed = world.directory("ada").ListPeople(directory_pb2.ListPeopleRequest()).people
    assert [person.display_name for person in listed] == ["Ada", "Bob", "Cleo"]
    assert refusal(lambda: world.request("bob", power=ROLE_ASSIGNMENT)) == "NOT_AUTHORIZED"


def test_recovery_revives_no_grant(world: World) -> None:
    run(world, ADA, BOB)
    world.advance(120 * DAY - MINUTE)
    grant = world.request("ada", power=ROLE_ASSIGNMENT)
    world.approve("bob", grant)
    world.advance(MINUTE)
    run(world, ADA, BOB, recover=True)
    create = directory_pb2.CreatePersonRequest(display_name="Eve", email="eve@vendor.test", subject="eve")
    assert refusal(lambda: world.directory("ada").CreatePerson(create)) == "POWER_REQUIRED"


def test_who_comes_from_a_provider_that_is_not_listed_is_no_operator_in_force(workforce: Workforce) -> None:
    world = workforce.world
    provider_id = workforce.provider()
    workforce.create("ada", "vera", provider_id=provider_id)
    workforce.sign("ada", workforce.ids["vera"])
    workforce.give("vera", OPERATOR)
    with world.database.transaction() as tx:
        for name in ("bob", "cleo"):
            directory.disable(tx, workforce.ids[name], world.clock.now())
    assert refusal(lambda: run(world, ADA, BOB, recover=True)) == "WRONG_STATE", "Ada and Vera are left"
    world.publish("Globex")
    power = world.request("ada", power=ROLE_ASSIGNMENT)
    assert refusal(lambda: world.approve("vera", power)) == "NOT_FOUND"
    vera = First("Vera", "vera@vendor.test", "vera")
    assert refusal(lambda: run(world, ADA, vera, recover=True)) == "WRONG_STATE", "she would not count"
    run(world, ADA, First("Zoe", "zoe@vendor.test", "zoe"), recover=True)
    assert {e["facts"]["operators_in_force_before"] for e in world.entries("operator.recovered")} == {"1"}
    world.approve("zoe", power)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (First("Ada", "ada@vendor.test", "ada"), "ALREADY_EXISTS"),
        (
            First("Eve", "other@vendor.test", "eve"),
            "ALREADY_EXISTS",
        ),  # somebody's identity, another's address
        (First("Eve", "eve@vendor.test", "eve2"), "ALREADY_EXISTS"),
        (First("\u0415ve", "new@vendor.test", "new"), "CONFUSABLE"),
        (First("\u3164", "new@vendor.test", "new"), "INVALID_ARGUMENT"),
        (First("Dan", "dan@vendor.test", "dan"), "WRONG_STATE"),  # disabled
    ],
)
def test_recovery_takes_two_people_who_can_count(world: World, second: First, reason: str) -> None:
    world.person("ada", roles_pb2.STAFF_ROLE_OPERATOR)
    world.person("eve")
    disabled = world.person("dan")
    with world.database.transaction() as tx:
        directory.disable(tx, disabled, world.clock.now())
    assert refusal(lambda: run(world, ADA, second, recover=True)) == reason
    assert world.entries("operator.recovered") == []
    run(world, ADA, BOB, recover=True)


def test_the_command(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads(world.config.model_dump_json())
    config["database_url"] = world.config.database_url.get_secret_value()
    lines = [
        f"{k} = {json.dumps(v)}"
        for k, v in config.items()
        if v is not None and not isinstance(v, dict | list)
    ]
    lines.append('issuers = [{kind = "workforce", issuer = "w", jwks_url = "http://127.0.0.1:1/w"}]')
    lines.append('[tls]\ncertificate = "c"\nkey = "k"\nauthority = "a"')
    file = tmp_path / "access_control.toml"
    file.write_text("\n".join(lines))
    two = ["--person", "Ada <ada@vendor.test>", "--subject", "ada", "--person", "Bob <bob@vendor.test>"]
    assert command.main(["--config", str(file), *two], MIGRATIONS) == 2
    assert "exactly two people" in capsys.readouterr().err
    unseen = [each.replace("Bob", "\u200b\u3164") for each in two]
    assert command.main(["--config", str(file), *unseen, "--subject", "bob"], MIGRATIONS) == 2
    assert "shows nothing" in capsys.readouterr().err
    two += ["--subject", "bob"]
    assert command.main(["--config", str(file), *two], MIGRATIONS) == 0
    assert capsys.readouterr().out.count("person_") == 2
    assert command.main(["--config", str(file), *two], MIGRATIONS) == 1
    assert "[WRONG_STATE]" in capsys.readouterr().err
