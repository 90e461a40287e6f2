"""Sign-ins: log data with a term, hashes that keep up with configuration, sessions that end, and owners whom nobody locks out."""

from datetime import timedelta
from unittest.mock import patch

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import event, select

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import ACCOUNT, SOURCE_KNOWN_FOR
from services.settings.config import PasswordHashing
from services.settings.store.tables import known_sources, members, sign_ins
from shared.errors import KeptError
from tests.support.postgres import FreshDatabase
from tests.unit.settings.test_sign_in_pace import HERE, delay, fail, sign_in
from tests.unit.settings.world import PASSWORD, World, refused

ANOTHER = "quite another passphrase"
SECOND = timedelta(seconds=1)
_SUCCEEDED, _FAILED = contract.SIGN_IN_OUTCOME_SUCCEEDED, contract.SIGN_IN_OUTCOME_FAILED


def own(world: World, member: contract.Member, **wanted: object) -> contract.ListSignInsResponse:
    return world.customer(member).members.ListSignIns(contract.ListSignInsRequest(**wanted))  # type: ignore[arg-type]


def rows(world: World) -> list[tuple[object, ...]]:
    with world.database.transaction() as tx:
        found = tx.execute(
            select(sign_ins.c.organization_id, sign_ins.c.member_id, sign_ins.c.outcome).order_by(
                sign_ins.c.number
            )
        )
        return [tuple(row) for row in found]


def test_sign_ins_are_log_data_an_organization_a_person_by_id_a_date(world: World) -> None:
    admin = world.admin()
    sign_in(world, admin.email)
    fail(world, admin.email)
    fail(world, "nobody@acme.test")
    assert rows(world) == [
        (admin.organization_id, admin.member_id, _SUCCEEDED),
        (admin.organization_id, admin.member_id, _FAILED),
        (None, None, _FAILED),
    ]
    with world.database.transaction() as tx:
        everything = str(tx.execute(select(sign_ins)).all()) + str(tx.execute(select(known_sources)).all())
    assert HERE not in everything
    assert "acme" not in everything
    assert [kind for kind in world.kinds(admin.organization_id) if "sign" in kind] == []


def test_a_failed_sign_in_does_the_same_work_whoever_is_tried(world: World) -> None:
    admin = world.admin()
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    fail(world, admin.email, "192.0.2.1")
    known, statements[:] = list(statements), []
    fail(world, "nobody@acme.test", "192.0.2.2")
    event.remove(world.database.engine, "before_cursor_execute", note)
    assert known == statements
    assert "INSERT INTO sign_ins" in known[-1]


def test_they_go_when_their_term_is_over(world: World) -> None:
    admin = world.admin()
    sign_in(world, admin.email)
    world.clock.advance(timedelta(days=30))
    fail(world, admin.email)
    world.run_jobs()
    assert len(rows(world)) == 2
    world.clock.advance(timedelta(microseconds=1))
    world.run_jobs()
    assert [outcome for *_, outcome in rows(world)] == [_FAILED]
    assert own(world, admin).kept_days == 30


def test_a_person_sees_the_own_ones_page_by_page_newest_first(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    for _ in range(3):
        sign_in(world, admin.email)
        world.clock.advance(SECOND)
    fail(world, admin.email)
    sign_in(world, other.email)
    first = own(world, admin, page_size=3)
    rest = own(world, admin, page_size=3, page_token=first.next_page_token)
    found = [*first.sign_ins, *rest.sign_ins]
    assert [each.outcome for each in found] == [_FAILED, _SUCCEEDED, _SUCCEEDED, _SUCCEEDED]
    assert [each.at.ToDatetime() for each in found] == sorted(
        (each.at.ToDatetime() for each in found), reverse=True
    )
    assert rest.next_page_token == ""


def test_a_hash_of_other_parameters_is_made_anew_by_whoever_has_the_password(
    fresh_database: FreshDatabase, migrated: str
) -> None:
    url = fresh_database("settings", template=migrated)
    before = World(url)
    admin = before.admin()
    after = World(url, password_hashing=PasswordHashing(passes=2, memory_kib=16, lanes=1))

    def stored() -> str:
        with after.database.transaction() as tx:
            return str(tx.scalars(select(members.c.password_hash)).one())

    old = stored()
    fail(after, admin.email)
    assert stored() == old, "a wrong password renews nothing"
    sign_in(after, admin.email)
    new = stored()
    assert "m=16,t=2,p=1" in new
    sign_in(after, admin.email)
    assert stored() == new, "once is enough"
    before.database.close()
    after.database.close()


def test_a_session_ends_with_the_password_or_the_account(world: World) -> None:
    admin = world.admin()
    issuer = world.peer("issuer").members
    answer = issuer.AuthenticateMember(
        contract.AuthenticateMemberRequest(email=admin.email, password=PASSWORD)
    )
    renew = contract.RenewSignInRequest(member_id=admin.member_id, signed_in_at=answer.signed_in_at)
    assert issuer.RenewSignIn(renew).member == admin
    world.clock.advance(SECOND)
    world.customer(admin).members.ChangePassword(
        contract.ChangePasswordRequest(current_password=PASSWORD, new_password="quite another passphrase")
    )
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        issuer.RenewSignIn(renew)
    later = Timestamp()
    later.FromDatetime(world.clock.now())
    renew.signed_in_at.CopyFrom(later)
    assert issuer.RenewSignIn(renew).member.member_id == admin.member_id
    renew.signed_in_at.seconds = 2**62
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        issuer.RenewSignIn(renew)
    renew.signed_in_at.CopyFrom(later)
    renew.member_id = "member_" + "0" * 26
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        issuer.RenewSignIn(renew)


def session(world: World, email: str, password: str = PASSWORD) -> contract.RenewSignInRequest:
    """Begins one; what its issuer asks before it goes on."""
    request = contract.AuthenticateMemberRequest(email=email, password=password)
    answer = world.peer("issuer").members.AuthenticateMember(request)
    return contract.RenewSignInRequest(member_id=answer.member.member_id, signed_in_at=answer.signed_in_at)


def test_a_session_and_a_password_have_an_order_whichever_clock_is_ahead(world: World) -> None:
    admin, issuer = world.admin(), world.peer("issuer").members
    world.clock.step(5 * SECOND)  # another replica's is
    before = session(world, admin.email)
    world.clock.step(-5 * SECOND)
    session(world, admin.email)  # the newest sign-in is not the latest
    world.customer(admin).members.ChangePassword(
        contract.ChangePasswordRequest(current_password=PASSWORD, new_password=ANOTHER)
    )
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        issuer.RenewSignIn(before)
    after = session(world, admin.email, ANOTHER)
    assert issuer.RenewSignIn(after).member == admin, "the owner's own goes on"


def test_whoever_guesses_again_and_again_does_not_lock_the_owner_out(world: World) -> None:
    """The attacker comes each time the wait is over, from a new address, and is always first; the owner is in from where she was before."""
    admin = world.admin()
    sign_in(world, admin.email)
    for number in range(40):
        fail(world, admin.email, f"198.51.100.{number}")
        world.clock.advance(ACCOUNT.longest)
    fail(world, admin.email, "198.51.100.99")
    assert delay(world, admin.email, PASSWORD, "203.0.113.1") == ACCOUNT.longest
    assert sign_in(world, admin.email) == admin, "from where she was signed in before, at once"


def test_guesses_from_a_known_network_are_slowed_down_too(world: World) -> None:
    admin = world.admin()
    sign_in(world, admin.email)
    for _ in range(ACCOUNT.free + 1):
        fail(world, admin.email)
    assert delay(world, admin.email, PASSWORD) == SECOND
    assert sign_in(world, admin.email, source="203.0.113.1") == admin, "elsewhere nothing was tried"


def test_a_network_is_known_for_one_account_and_not_for_ever(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    sign_in(world, admin.email)
    for member in (admin, other):
        for number in range(12):
            fail(world, member.email, f"198.51.100.{number}")
            world.clock.advance(ACCOUNT.longest)
        fail(world, member.email, "198.51.100.99")
    assert sign_in(world, admin.email) == admin
    assert delay(world, other.email, PASSWORD) == ACCOUNT.longest
    world.clock.advance(SOURCE_KNOWN_FOR + SECOND)
    world.run_jobs()
    with world.database.transaction() as tx:
        assert tx.execute(select(known_sources)).all() == []
    for number in range(12):
        fail(world, admin.email, f"198.51.100.{number}")
        world.clock.advance(ACCOUNT.longest)
    fail(world, admin.email, "198.51.100.99")
    assert delay(world, admin.email, PASSWORD) == ACCOUNT.longest


def test_who_was_removed_or_changed_while_the_password_was_looked_at_is_not_signed_in(world: World) -> None:
    admin = world.admin()
    matches = Passwords.matches

    def meanwhile(passwords: Passwords, *arguments: object) -> bool:
        with world.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE members SET password_hash = password_hash || 'x'")
        return matches(passwords, *arguments)  # type: ignore[arg-type]

    with patch.object(Passwords, "matches", meanwhile), refused(reasons_pb2.REASON_SIGN_IN_FAILED) as caught:
        sign_in(world, admin.email)
    assert isinstance(caught[0], KeptError)
    assert rows(world) == []
