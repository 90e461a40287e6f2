"""A person's own account: seen, changed, taken along, ended; by whoever has the password, and by nobody else."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import select

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import account_pb2, data_controls_pb2, organizations_pb2, trust_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts.sign_in_pace import ACCOUNT
from services.settings.store import members as store
from services.settings.store import traces
from services.settings.store.tables import members, sign_ins
from services.settings.store.trust_tables import trust_requests
from shared.errors import KeptError
from tests.unit.settings.test_admins_still import ACTS
from tests.unit.settings.test_roles import listed, set_role
from tests.unit.settings.test_sign_in_pace import fail, sign_in
from tests.unit.settings.world import PASSWORD, World, refused

ANOTHER = "quite another passphrase"
SECOND = timedelta(seconds=1)


def profile(world: World, member: contract.Member) -> contract.Profile:
    return world.customer(member).members.GetProfile(contract.GetProfileRequest()).profile


def change(world: World, member: contract.Member, current: str, new: str) -> None:
    world.customer(member).members.ChangePassword(
        contract.ChangePasswordRequest(current_password=current, new_password=new)
    )


def delete(world: World, member: contract.Member, sentence: str = "delete my account") -> None:
    world.customer(member).members.DeleteMyAccount(
        contract.DeleteMyAccountRequest(confirmation_sentence=sentence, password=PASSWORD)
    )


def rename(world: World, member: contract.Member, first: str, last: str, etag: str = "") -> contract.Profile:
    request = contract.UpdateProfileRequest(etag=etag or member.etag, first_name=first, last_name=last)
    return world.customer(member).members.UpdateProfile(request).profile


def test_a_profile_says_who_one_is_and_when_one_was_here(world: World) -> None:
    admin = world.admin()
    shown = profile(world, admin)
    assert shown.member == admin
    assert shown.organization_name == "Acme Ltd"
    assert shown.password_changed_at == admin.registered_at
    assert not shown.HasField("last_signed_in_at")
    world.clock.advance(SECOND)
    sign_in(world, admin.email)
    fail(world, admin.email)
    fail(world, admin.email)
    shown = profile(world, admin)
    assert shown.last_signed_in_at.seconds == admin.registered_at.seconds + 1
    assert shown.failed_sign_ins == 2
    sign_in(world, admin.email)
    assert profile(world, admin).failed_sign_ins == 0


def test_a_new_name_is_told_and_an_old_etag_changes_nothing(world: World) -> None:
    admin = world.admin()
    renamed = rename(world, admin, "Ada", "Lovelace").member
    assert (renamed.last_name, renamed.etag) == ("Lovelace", "member-2")
    assert rename(world, renamed, "Ada", "Lovelace").member == renamed, "the same again changes nothing"
    with refused(reasons_pb2.REASON_CONFLICT) as caught:
        rename(world, renamed, "Eve", "Else", etag=admin.etag)
    assert caught[0].metadata == {"etag": "member-2"}
    assert world.kinds(admin.organization_id)[2:] == ["member.updated"]
    assert world.peers.members[-1].display_name == "Ada Lovelace"
    assert "Lovelace" not in str(world.peers.entries)


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "\x00", " ", "\u200b \u3164\ufe0f"])
def test_a_name_that_is_none_is_refused_by_the_name_of_the_field(world: World, name: str) -> None:
    token = world.organization().invitation_token
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        world.register(token, last=name)
    assert {field for field, _ in caught[0].fields} == {"last_name"}
    admin = world.register(token, last="\u0646\u200c\u0645")  # a joiner between letters is spelling
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        rename(world, admin, name, "Admin")
    assert {field for field, _ in caught[0].fields} == {"first_name"}


def test_of_a_rename_and_an_admins_change_at_once_one_is_told_of_the_other(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    outcome = world.during(
        f"UPDATE members SET revision = 2, role = 2 WHERE member_id = '{member.member_id}'",
        lambda: rename(world, member, "Maxine", "Member"),
    )
    assert isinstance(outcome, KeptError)
    assert (outcome.name, outcome.metadata) == ("CONFLICT", {"etag": "member-2"})


def test_a_password_is_changed_by_who_has_it(world: World) -> None:
    admin = world.admin()
    world.clock.advance(SECOND)
    change(world, admin, PASSWORD, ANOTHER)
    assert sign_in(world, admin.email, ANOTHER).member_id == admin.member_id
    fail_with_old = contract.AuthenticateMemberRequest(email=admin.email, password=PASSWORD)
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        world.peer("issuer").members.AuthenticateMember(fail_with_old)
    assert profile(world, admin).password_changed_at.seconds == admin.registered_at.seconds + 1
    assert world.kinds(admin.organization_id)[2:] == ["password.changed"]
    told = str(world.peers.entries)
    assert ANOTHER not in told
    assert PASSWORD not in told


def test_what_is_no_better_changes_nothing(world: World) -> None:
    admin = world.admin()
    for new, reason in (
        ("password1234", reasons_pb2.REASON_WEAK_PASSWORD),
        ("adaadminacme", reasons_pb2.REASON_WEAK_PASSWORD),
        (PASSWORD, reasons_pb2.REASON_INVALID_ARGUMENT),
        ("short", reasons_pb2.REASON_INVALID_ARGUMENT),
        ("x" * 257, reasons_pb2.REASON_INVALID_ARGUMENT),
    ):
        with refused(reason):
            change(world, admin, PASSWORD, new)
    assert sign_in(world, admin.email) == admin


def test_a_stolen_session_guesses_the_password_no_faster_than_anybody(world: World) -> None:
    admin = world.admin()
    for _ in range(ACCOUNT.free + 1):
        with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
            change(world, admin, "a guess", ANOTHER)
    acts: list[Callable[[], None]] = [
        lambda: change(world, admin, PASSWORD, ANOTHER),
        lambda: delete(world, admin),
    ]
    for act in acts:
        with refused(reasons_pb2.REASON_SIGN_IN_FAILED) as caught:
            act()
        assert caught[0].retry_after == SECOND
    assert profile(world, admin).failed_sign_ins == ACCOUNT.free + 1


def test_an_export_holds_everything_and_no_secret(world: World) -> None:
    admin = world.admin()
    colleague = world.colleague(admin)
    sign_in(world, admin.email)
    fail(world, admin.email)
    sign_in(world, colleague.email)
    stubs = world.customer(admin)
    invited = stubs.members.InviteMember(
        contract.InviteMemberRequest(
            organization_id=admin.organization_id, email="new@acme.test", role=roles_pb2.CUSTOMER_ROLE_MEMBER
        )
    )
    etag = stubs.controls.GetDataControls(
        data_controls_pb2.GetDataControlsRequest(organization_id=admin.organization_id)
    ).controls.etag
    stubs.controls.UpdateDataControls(
        data_controls_pb2.UpdateDataControlsRequest(
            organization_id=admin.organization_id, etag=etag, training_allowed=False
        )
    )
    deletion = stubs.account.RequestAccountDeletion(
        account_pb2.RequestAccountDeletionRequest(organization_id=admin.organization_id)
    ).deletion
    world.public().members.RequestPasswordReset(contract.RequestPasswordResetRequest(email=admin.email))
    world.run_jobs()

    exported = stubs.members.ExportProfile(contract.ExportProfileRequest())
    assert exported.profile == profile(world, admin)
    assert [each.outcome for each in exported.sign_ins] == [
        contract.SIGN_IN_OUTCOME_FAILED,
        contract.SIGN_IN_OUTCOME_SUCCEEDED,
    ]
    assert [(each.email, each.role) for each in exported.invitations] == [
        ("new@acme.test", roles_pb2.CUSTOMER_ROLE_MEMBER)
    ]
    assert len(exported.password_resets) == 1
    assert len(exported.known_networks) == 1
    assert {(each.kind, each.subject) for each in exported.acts} == {
        ("data_controls.updated", admin.organization_id),
        ("account_deletion.requested", deletion.account_deletion_id),
    }
    text = str(exported)
    assert "argon2" not in text
    assert invited.invitation_token not in text
    assert "Max" not in text, "nothing of colleagues"
    assert world.kinds(admin.organization_id)[-1] == "profile.exported"
    assert world.peers.entries[-1].actor == admin.member_id


@pytest.mark.parametrize("method", ACTS)
def test_an_export_names_each_cell_that_holds_the_persons_id(world: World, method: str) -> None:
    """After each change that an admin can make, whatever column the id went into."""
    ada = world.admin()
    admin = set_role(world, ada, world.colleague(ada), roles_pb2.CUSTOMER_ROLE_ADMIN)
    ACTS[method](world, ada)(admin)
    with world.database.engine.connect() as connection:
        columns = connection.exec_driver_sql(
            "SELECT table_name, column_name, data_type = 'ARRAY' FROM information_schema.columns "
            "WHERE table_schema = 'public' AND (data_type = 'text' OR udt_name = '_text')"
        ).all()
        cells = {
            f"{table}.{column}": connection.exec_driver_sql(
                f"SELECT count(*) FROM {table} WHERE %s = {f'ANY({column})' if is_array else column}",
                (admin.member_id,),
            ).scalar_one()
            for table, column, is_array in columns
        }
    assert cells.pop("members.member_id") == 1
    exported = world.customer(admin).members.ExportProfile(contract.ExportProfileRequest())
    assert len(exported.invitations) == cells.pop("invitations.invited_by")
    assert len(exported.acts) == sum(cells.values()), {name for name, count in cells.items() if count}


def test_an_export_covers_every_table_that_names_a_person(world: World) -> None:
    """A new column that holds a member's id, or an address, is either exported or said here to be something else."""
    with world.database.engine.connect() as connection:
        columns = {
            f"{table}.{column}"
            for table, column in connection.exec_driver_sql(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
                "AND (column_name LIKE 'member%%' OR column_name LIKE '%%_by' OR column_name LIKE 'email%%' "
                "OR column_name LIKE '%%_sha256')"
            )
        }
    exported = {
        "members.member_id",
        "members.email",
        "members.email_key",
        "password_resets.member_id",
        "email_changes.member_id",
        "email_changes.email",
        "sign_ins.member_id",
        "known_sources.account_sha256",
        "known_sources.source_sha256",
        "invitations.invited_by",
        "invitations.email",
        "data_controls_changes.changed_by",
        "zero_data_retention_requests.requested_by",
        "account_deletions.requested_by",
        "account_deletions.cancelled_by",
        "account_deletions.confirmed_by",
        "subject_requests.requested_by",
        "terms_acceptances.accepted_by",
        "api_keys.registered_by",
        "api_keys.revoked_by",
        "subprocessor_objections.objected_by",
        "trust_requests.email",
        "trust_requests.requested_by",
    }
    of_somebody_else = {
        "account_deletions.claim_sha256",
        "assisted_opt_outs.decided_by",  # the vendor's staff
        "assisted_opt_outs.requested_by",  # the vendor's staff
        "notification_addresses.email",  # the organization's own list; who leaves goes from it
        "notification_addresses.email_key",
        "zero_data_retention_requests.end_approved_by",  # the vendor's staff
        "invitations.email_key",
        "invitations.token_sha256",
        "organizations.content_sha256",
        "organization_changes.entered_by",  # an operator
        "public_requests.subject_sha256",  # forgotten after an hour
        "subprocessor_lists.content_sha256",
        "subprocessor_lists.published_by",  # the vendor's staff
        "trust_documents.published_by",  # the vendor's staff
        "trust_requests.claim_sha256",
        "trust_requests.content_sha256",  # goes with name and address
        "trust_requests.decided_by",  # the vendor's staff
        "password_reset_requests.email_key",  # for seconds, whoever's address it is
        "sign_in_failures.subject_sha256",  # forgotten after a day
        "usage_agreements.entered_by",  # an operator
        "zero_data_retention_decisions.decided_by",  # the vendor's staff
    }
    assert columns == exported | of_somebody_else


def test_who_leaves_takes_the_contact_data_along_and_the_organization_stays(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    sign_in(world, member.email)
    for wrong in ("delete my organization", "Delete my account", "delete my", "delete my account now"):
        with refused(reasons_pb2.REASON_CONFIRMATION_MISMATCH):
            delete(world, member, wrong)
    assert len(listed(world, admin)) == 2, "nothing changed"
    delete(world, member, " delete  my account")
    assert listed(world, admin) == [admin]
    with refused(reasons_pb2.REASON_UNAUTHENTICATED):
        profile(world, member)
    assert world.kinds(admin.organization_id)[-1] == "member.left"
    assert (world.peers.members[-1].display_name, world.peers.members[-1].revision) == ("", 2)
    with world.database.transaction() as tx:
        left = str(tx.execute(select(members)).all())
        assert len(tx.execute(select(sign_ins)).all()) == 1, "log data stays for its term, without a name"
    assert "Max" not in left
    again = world.colleague(admin)
    assert again.member_id != member.member_id, "the address is free again"


def test_the_last_admin_leaves_once_somebody_else_is_one(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    with refused(reasons_pb2.REASON_LAST_ADMIN):
        delete(world, admin)
    set_role(world, admin, member, roles_pb2.CUSTOMER_ROLE_ADMIN)
    delete(world, admin)
    assert [each.member_id for each in listed(world, member)] == [member.member_id]


def test_a_profile_is_ones_own(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    assert profile(world, admin).member == admin
    assert profile(world, other).member == other
    with refused(reasons_pb2.REASON_UNAUTHENTICATED):
        world.public().members.GetProfile(contract.GetProfileRequest())
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        world.staff().members.ExportProfile(contract.ExportProfileRequest())
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin, other.organization_id).members.GetProfile(contract.GetProfileRequest())


def ask_for_addendum(world: World, by: contract.Member, number: int, name: str, email: str) -> str:
    request = trust_pb2.RequestDataProcessingAddendumRequest(
        request_id=f"request-of-an-addendum-{number}",
        requester=trust_pb2.Requester(name=name, email=email, company="Acme Ltd"),
        deployment=organizations_pb2.DEPLOYMENT_SAAS,
    )
    return world.customer(by).trust.RequestDataProcessingAddendum(request).request.trust_request_id


def test_who_leaves_takes_name_and_address_out_of_what_was_asked_for(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    private = "max.private@elsewhere.test"
    mine = ask_for_addendum(world, member, 1, "Max Member", member.email.upper())
    privately = ask_for_addendum(world, member, 2, "Max Private", private)
    for_me = ask_for_addendum(world, admin, 3, "Max Member", member.email)
    theirs = ask_for_addendum(world, admin, 4, "Ada Admin", admin.email.upper())
    exported = world.customer(member).members.ExportProfile(contract.ExportProfileRequest())
    assert {(each.kind, each.subject) for each in exported.acts} == {
        ("document.requested", asked) for asked in (mine, privately, for_me)
    }
    assert [(each.trust_request_id, each.name, each.email) for each in exported.document_requests] == [
        (for_me, "Max Member", member.email),
        (privately, "Max Private", private),
        (mine, "Max Member", member.email.upper()),
    ]
    assert {each.company for each in exported.document_requests} == {"Acme Ltd"}
    delete(world, member)
    with world.database.transaction() as tx:
        rows = {row.trust_request_id: row for row in tx.execute(select(trust_requests))}
    gone = [rows.pop(asked) for asked in (mine, privately, for_me)]
    assert {(row.name, row.email, row.content_sha256) for row in gone} == {("", "", b"")}, (
        "nor a digest by which they are guessed"
    )
    assert "Max" not in str(gone)
    assert [(row.name, row.email) for row in rows.values()] == [("Ada Admin", admin.email.upper())]
    assert list(rows) == [theirs]
    assert rows[theirs].content_sha256


def test_another_address_is_followed_in_what_was_asked_for_under_the_one_before(world: World) -> None:
    admin = world.admin()
    ask_for_addendum(world, admin, 1, "Ada Admin", admin.email.upper())
    ask_for_addendum(world, admin, 2, "Ada Private", "ada@elsewhere.test")
    with world.database.transaction() as tx:
        found = store.find(tx, admin.member_id)
        assert found is not None
        traces.follow(tx, found, "ada@lovelace.test")
        emails = set(tx.scalars(select(trust_requests.c.email)))
    assert emails == {"ada@lovelace.test", "ada@elsewhere.test"}


def test_the_digest_of_who_left_before_goes_with_the_migration(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    mine, theirs = (
        ask_for_addendum(world, by, number, "A Name", by.email) for number, by in enumerate((member, admin))
    )
    migration = import_module("services.settings.migrations.versions.0020_document_requesters")
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trust_requests DROP COLUMN requested_by")
        connection.exec_driver_sql(
            f"UPDATE trust_requests SET name = '', email = '' WHERE trust_request_id = '{mine}'"
        )
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()
        left = {row.trust_request_id: row for row in connection.execute(select(trust_requests))}
    assert left[mine].content_sha256 == b""
    assert left[theirs].content_sha256
    assert {row.requested_by for row in left.values()} == {None}
