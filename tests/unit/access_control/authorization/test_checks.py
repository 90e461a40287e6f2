"""Check: what is known of somebody makes it quick and never wrong. An answer counts where its entry was written, and it is written only
where the directory still says what it was decided on."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import rfc8785
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from kept.options.v1 import roles_pb2
from services.access_control.audit import decision_log
from services.access_control.audit.log import canonical
from services.access_control.authorization.authority import Authority
from services.access_control.people.person import Member, RoleAssignment
from services.access_control.people.standing import Provider, ReviewTerms
from services.access_control.store import Connection, bases, directory, identities, metadata, standing
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from shared.ids import new_id
from tests.unit.access_control.world import ENGINEER, OPERATOR, ORG, WORKFORCE, World, migrated_vault, world

__all__ = ["migrated_vault", "world"]

STAFF = "/kept.retention.v1.RunService/ListRuns"
ANY_STAFF = "/kept.logging.v1.ReadService/ListInteractions"
MEMBER = "/kept.settings.v1.DataControlsService/GetDataControls"
ADMINS = "/kept.settings.v1.MemberService/InviteMember"
POWER = "/kept.settings.v1.OrganizationService/ListOrganizations"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each time that the directory is asked rather than what is known."""
    seen: list[str] = []
    decide = Authority._decide

    def counted(self: Authority, tx: Connection, caller: Caller, method: str, question: Any) -> Any:
        seen.append(method)
        return decide(self, tx, caller, method, question)

    monkeypatch.setattr(Authority, "_decide", counted)
    return seen


def check(world: World, subject: str, method: str, organization_id: str = "") -> authz_pb2.CheckResponse:
    """As the service whose method it is asks."""
    service = method.split(".")[1]
    channel = world.served.channel(Caller(CallerKind.SERVICE, service))
    kind = "customer" if organization_id else "staff"
    token = f"{kind}|{subject}|{organization_id}|kept:{service}"
    return authz_pb2_grpc.AuthzServiceStub(channel).Check(authz_pb2.CheckRequest(token=token, method=method))


def outcome(world: World, subject: str, method: str, organization_id: str = "") -> str:
    """ "" where it is allowed, or the reason."""
    try:
        check(world, subject, method, organization_id)
    except KeptError as error:
        return error.name
    return ""


def test_each_answer_has_an_entry_of_its_own_with_one_look_at_the_directory(
    world: World, looks: list[str]
) -> None:
    person_id = world.person("olga", OPERATOR)
    answers = [check(world, "olga", STAFF) for _ in range(4)]
    written = world.entries("method.allowed")
    assert [entry["entry_id"] for entry in written] == [answer.audit_entry_id for answer in answers]
    assert {entry["actor"] for entry in written} == {person_id}
    # What is known is written down as what was just read is: not one word differs.
    assert len({tuple(sorted(entry["facts"].items())) for entry in written}) == 1
    assert looks == [STAFF]
    assert {answer.person_id for answer in answers} == {person_id}
    assert {tuple(answer.roles) for answer in answers} == {(OPERATOR,)}


def test_members_are_known_by_organization(world: World, looks: list[str]) -> None:
    member_id = world.member()
    first, second = check(world, member_id, MEMBER, ORG), check(world, member_id, MEMBER, ORG)
    assert looks == [MEMBER]
    assert [entry["entry_id"] for entry in world.entries("method.allowed")] == [
        first.audit_entry_id,
        second.audit_entry_id,
    ]
    assert {entry["organization_id"] for entry in world.entries("method.allowed")} == {ORG}
    assert second.customer_role == roles_pb2.CUSTOMER_ROLE_ADMIN
    # The same person under a token that vouches for another organization.
    assert outcome(world, member_id, MEMBER, "org_" + "c" * 26) == "NOT_AUTHORIZED"


# --- what changes is seen at once --------------------------------------------------------------------------------------


def _role_of(world: World, tx: Connection, person_id: str) -> RoleAssignment:
    found = directory.person(tx, person_id)
    assert found is not None
    return found.roles[0]


def role_ends(world: World, tx: Connection, person_id: str) -> None:
    role = _role_of(world, tx, person_id)
    directory.end_assignment(tx, role.role_assignment_id, "person_x", world.clock.now())


def disabled(world: World, tx: Connection, person_id: str) -> None:
    directory.disable(tx, person_id, world.clock.now())


def identity_ends(world: World, tx: Connection, person_id: str) -> None:
    tx.execute(
        sqlalchemy.update(identities.identities)
        .where(identities.identities.c.person_id == person_id)
        .values(ended_at=world.clock.now(), ended_by="person_x")
    )


def agreements_gone(world: World, tx: Connection, person_id: str) -> None:
    tx.execute(
        sqlalchemy.delete(metadata.tables["agreements"]).where(
            metadata.tables["agreements"].c.person_id == person_id
        )
    )


def role_lapsed(world: World, tx: Connection, person_id: str) -> None:
    roles = directory.role_assignments
    tx.execute(
        sqlalchemy.update(roles).where(roles.c.person_id == person_id).values(lapses_at=world.clock.now())
    )


CHANGES: dict[str, Callable[[World, Connection, str], None]] = {
    "the role ends": role_ends,
    "the role lapses": role_lapsed,
    "the person is disabled": disabled,
    "the identity ends": identity_ends,
    "no agreement is left": agreements_gone,
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_ended_is_refused_from_the_commit_on(world: World, change: str) -> None:
    person_id = world.person("olga", OPERATOR)
    assert [outcome(world, "olga", STAFF) for _ in range(2)] == ["", ""]
    with world.database.transaction() as tx:
        CHANGES[change](world, tx, person_id)
        # Not yet: it is not committed, and may never be. A decision does not wait for it.
        assert outcome(world, "olga", STAFF) == ""
    assert outcome(world, "olga", STAFF) == "NOT_AUTHORIZED"
    assert len(world.entries("method.allowed")) == 3
    assert world.entries("method.denied")[0]["facts"]["refused"] == "NOT_AUTHORIZED"


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_ends_between_the_decision_and_its_entry_voids_the_decision(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    person_id = world.person("olga", OPERATOR)
    assert outcome(world, "olga", STAFF) == ""

    def meanwhile(tx: Connection, decided: Any) -> set[str]:
        with world.database.transaction() as other:
            CHANGES[change](world, other, person_id)
        return bases.add_where_unchanged(tx, decided)

    monkeypatch.setattr(decision_log, "add_where_unchanged", meanwhile)
    assert outcome(world, "olga", STAFF) == "NOT_AUTHORIZED"
    assert len(world.entries("method.allowed")) == 1


def test_time_ends_what_is_known(world: World) -> None:
    world.person("olga", OPERATOR, days=3)
    assert outcome(world, "olga", STAFF) == ""
    world.advance(timedelta(days=3) - timedelta(seconds=1))
    assert outcome(world, "olga", STAFF) == ""
    world.advance(timedelta(seconds=1))
    assert outcome(world, "olga", STAFF) == "NOT_AUTHORIZED"


def test_what_somebody_gets_counts_at_once(world: World) -> None:
    person_id = world.person("eve", ENGINEER)
    assert outcome(world, "eve", ANY_STAFF) == ""  # now she is known, without the role
    assert outcome(world, "eve", STAFF) == "NOT_AUTHORIZED"
    with world.database.transaction() as tx:
        now = world.clock.now()
        directory.add_assignment(
            tx, RoleAssignment(new_id("role"), person_id, OPERATOR, "person_x", now, "person_y")
        )
    assert outcome(world, "eve", STAFF) == ""


def test_a_members_change_counts_at_once(world: World) -> None:
    member_id = world.member()
    assert outcome(world, member_id, ADMINS, ORG) == ""
    for revision, role, reason in (
        (2, roles_pb2.CUSTOMER_ROLE_MEMBER, "ADMIN_REQUIRED"),
        (3, roles_pb2.CUSTOMER_ROLE_ADMIN, ""),
        (4, roles_pb2.CUSTOMER_ROLE_UNSPECIFIED, "NOT_AUTHORIZED"),
    ):
        with world.database.transaction() as tx:
            directory.sync_member(tx, Member(member_id, ORG, role, "Grace Hopper", revision))
        assert outcome(world, member_id, ADMINS, ORG) == reason


def test_a_power_is_looked_up_each_time(world: World, looks: list[str]) -> None:
    world.person("olga", OPERATOR)
    assert [outcome(world, "olga", POWER) for _ in range(2)] == ["POWER_REQUIRED"] * 2
    assert looks == [POWER, POWER]


# --- failing closed -----------------------------------------------------------------------------------------------------


def test_without_the_log_there_is_no_answer(world: World) -> None:
    world.person("olga", OPERATOR)
    assert outcome(world, "olga", STAFF) == ""
    with world.database.transaction() as tx:
        tx.execute(sqlalchemy.text("ALTER TABLE audit_entries RENAME TO elsewhere"))
    assert outcome(world, "olga", STAFF) == "INTERNAL"
    with world.database.transaction() as tx:
        tx.execute(sqlalchemy.text("ALTER TABLE elsewhere RENAME TO audit_entries"))
    assert outcome(world, "olga", STAFF) == ""  # with a new connection: statements are prepared on each


def test_a_lost_server_is_reported_as_such_and_found_again(world: World) -> None:
    world.person("olga", OPERATOR)
    assert [outcome(world, "olga", STAFF) for _ in range(2)] == ["", ""]
    with world.database.transaction() as tx:
        tx.execute(
            sqlalchemy.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    refused = outcome(world, "olga", STAFF)
    assert refused == "DATABASE_UNAVAILABLE"
    assert outcome(world, "olga", STAFF) in ("", "DATABASE_UNAVAILABLE")  # a pooled one may be dead too
    world.database.close()
    assert outcome(world, "olga", STAFF) == ""


def test_many_callers_at_once_each_have_an_entry(world: World) -> None:
    for index in range(4):
        world.person(f"op{index}", OPERATOR)
    answers: list[str] = []

    def run(subject: str) -> None:
        answers.extend(check(world, subject, STAFF).audit_entry_id for _ in range(25))

    threads = [threading.Thread(target=run, args=(f"op{index % 4}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(set(answers)) == 200
    assert {entry["entry_id"] for entry in world.entries("method.allowed")} == set(answers)


# --- the fingerprint covers what people are made of -----------------------------------------------------------------------


def test_every_table_that_says_who_somebody_is_is_in_the_fingerprint(world: World) -> None:
    person_id, member_id = world.person("olga", OPERATOR), world.member()
    now = world.clock.now()
    provider = Provider(new_id("provider"), "Acme", "person_x", now, ReviewTerms().confirmed("person_x", now))
    with world.database.transaction() as tx:
        standing.add_provider(tx, provider)
        person = directory.people.c.person_id == person_id
        tx.execute(sqlalchemy.update(directory.people).where(person).values(provider_id=provider.provider_id))
    scans = "SELECT relname, seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables"

    def reads(look: Callable[[Any], object]) -> set[str]:
        """Which tables are looked into."""
        with world.database.transaction() as tx:
            before = {row[0]: row[1] for row in tx.execute(sqlalchemy.text(scans))}
            assert look(tx) is not None
            after = {row[0]: row[1] for row in tx.execute(sqlalchemy.text(scans))}
        return {table for table, count in after.items() if count > before.get(table, 0)}

    of_people = reads(lambda tx: directory.person_of_identity(tx, WORKFORCE, "olga"))
    of_members = reads(lambda tx: directory.member(tx, member_id))
    assert {"people", "identities", "role_assignments", "agreements", "providers"} <= of_people
    assert "members" in of_members
    for whose, read in (("people", of_people), ("members", of_members), ("both", of_people | of_members)):
        assert {
            name for name in read if f" {name} " not in bases._STANDING[whose].replace("\n", " ")
        } == set()


# --- exact bytes ----------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=10)


@given(st.dictionaries(NAME, TEXT | st.lists(TEXT, max_size=3) | st.dictionaries(NAME, TEXT, max_size=4)))
def test_the_fast_encoder_writes_canonical_json(value: dict[str, Any]) -> None:
    assert canonical(value) == rfc8785.dumps(value)
