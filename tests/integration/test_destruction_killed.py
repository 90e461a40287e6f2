"""The process is killed between any two steps of a destruction: every survivor stays readable, what was marked is refused, and the next
process carries the destruction to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy

from services.access_control.store import audit, custody, destructions
from shared.errors import KeptError
from shared.ids import new_id
from tests.support import dying, softhsm
from tests.unit.access_control.vault import Sealed, Vault, make_vault, migrated_vault

__all__ = ["make_vault", "migrated_vault"]

pytestmark = pytest.mark.integration


class Scene:
    """Two organizations with records on two days, the first day due; one of them closed; one record of each day held, by two holds."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.open, self.closed = new_id("org"), new_id("org")
        first_day = vault.clock.now().date()
        early = {name: vault.record(name) for name in (self.open, self.closed)}
        self.held, self.released = vault.record(self.open), vault.record(self.open)
        self.hold, self.ending_hold = new_id("hold"), new_id("hold")
        vault.custody.retain_records(self.hold, self.open, [self.held.to_retain])
        vault.custody.retain_records(self.ending_hold, self.open, [self.released.to_retain])
        vault.next_day()
        late = {name: vault.record(name) for name in (self.open, self.closed)}
        self.first_day, self.early, self.late = first_day, early, late
        vault.due, vault.closed = {first_day}, {self.closed}

    def order(self, method: str) -> tuple[dying.Order, list[tuple[str, Sealed]], list[tuple[str, Sealed]]]:
        """The order, what it dooms, and what survives it; both with their organizations."""
        survivors = [(self.open, self.late[self.open]), (self.open, self.held)]
        if method == "destroy_through":
            arguments: tuple[object, ...] = (new_id("run"), self.first_day)
            doomed = [(name, self.early[name]) for name in (self.open, self.closed)]
            survivors.append((self.closed, self.late[self.closed]))
            survivors.append((self.open, self.released))
        elif method == "destroy_organization":
            arguments = (new_id("erasure"), self.closed)
            doomed = [(self.closed, self.early[self.closed]), (self.closed, self.late[self.closed])]
            survivors += [(self.open, self.early[self.open]), (self.open, self.released)]
        else:
            # Its epoch goes first, so that the hold's key is the only one left.
            self.vault.custody.destroy_through(new_id("run"), self.first_day)
            arguments = (self.ending_hold,)
            doomed = [(self.open, self.released)]
        vault = self.vault
        order = dying.Order(
            vault.database.engine.url.render_as_string(hide_password=False), vault.keys_are_in, vault.clock.now(),
            frozenset(vault.due), frozenset(vault.closed), method, arguments, softhsm.environment(),
        )  # fmt: skip
        return order, doomed, survivors


@dataclass(frozen=True)
class Marks:
    """What the database says is marked."""

    epochs: set[str]
    holds: set[str]


def marks(vault: Vault) -> Marks:
    with vault.database.transaction() as tx:
        epochs = tx.execute(
            sqlalchemy.select(custody.epoch_keys.c.organization_id, custody.epoch_keys.c.day).where(
                custody.epoch_keys.c.marked_at.is_not(None)
            )
        )
        buried = tx.execute(
            sqlalchemy.select(custody.hold_keys.c.hold_id).where(custody.hold_keys.c.released_at.is_not(None))
        )
        return Marks({f"{row.organization_id} {row.day}" for row in epochs}, set(buried.scalars()))


def is_refused(vault: Vault, organization_id: str, record: Sealed) -> bool:
    try:
        return not vault.keys(organization_id, record)
    except KeptError as error:
        return error.name == "OUTSIDE_SCOPE"


def carry_on(vault: Vault) -> None:
    """What the service's job does."""
    for _ in range(20):
        vault.custody.advance()
        with vault.database.transaction() as tx:
            if not destructions.unfinished(tx):
                return
    raise AssertionError("the destruction does not end")


def logged(vault: Vault, kind: str) -> int:
    with vault.database.transaction() as tx:
        count = sqlalchemy.select(sqlalchemy.func.count()).where(audit.entries.c.kind == kind)
        return int(tx.execute(count).scalar_one())


def begun(vault: Vault, order: dying.Order) -> bool:
    destruction_id = str(order.arguments[0]).replace("hold_", "release_")
    with vault.database.transaction() as tx:
        return destructions.read_destruction(tx, destruction_id) is not None


def check_killed_at(vault: Vault, method: str, die_at: int) -> tuple[str, ...] | None:
    """One destruction that is killed at a point. Returns the points it passed, if it ended before that one."""
    scene = Scene(vault)
    order, doomed, survivors = scene.order(method)
    [old_root] = vault.key_store.root_ids()
    passed = dying.destroy(order, die_at)
    vault.restart()
    for organization_id, record in survivors:
        assert vault.keys(organization_id, record), die_at
    marked = marks(vault)
    for organization_id, record in doomed:
        day = scene.first_day if record is not scene.late.get(organization_id) else vault.clock.now().date()
        gone = f"{organization_id} {day}" in marked.epochs and (
            method != "release" or scene.ending_hold in marked.holds
        )
        assert gone == is_refused(vault, organization_id, record), die_at
    if begun(vault, order):
        carry_on(vault)
    row = getattr(vault.custody, method)(*order.arguments)
    assert row.state == "done", die_at
    for organization_id, record in doomed:
        assert is_refused(vault, organization_id, record), die_at
    for organization_id, record in survivors:
        assert vault.keys(organization_id, record), die_at
    status = vault.custody.status()
    assert row.root_id == old_root
    assert old_root not in vault.key_store.root_ids(), die_at
    assert (status.retired_roots, status.pending) == ([], []), die_at
    assert len(status.unused_root_ids) <= 1, (
        die_at
    )  # one that was made when the process died, and wraps nothing
    for root_id in status.unused_root_ids:
        vault.key_store.destroy(root_id)
    return passed


@pytest.mark.parametrize(
    ("method", "make_vault"),
    [
        ("destroy_through", "files"),
        ("destroy_organization", "files"),
        ("release", "files"),
        ("destroy_through", "pkcs11"),
    ],
    indirect=["make_vault"],
)
def test_killed_between_any_two_steps(make_vault: Callable[[], Vault], method: str) -> None:
    vault = make_vault()
    points = check_killed_at(vault, method, 10_000)
    assert points is not None
    # Every kind of point is among them: else the test has lost its way in.
    wanted = {
        "commit-before",
        "commit-after",
        "create-before",
        "destroy-after",
        "wrap-after",
        "switched",
        "safe",
        "done",
    }
    assert wanted <= set(points)
    # What follows the marks is the same for all methods; what goes before, for both key stores.
    marked = points.index("all-marked") + 1
    first = 1 if isinstance(vault.keys_are_in, Path) else marked
    last = len(points) if method == "destroy_through" else marked
    # Every other point with files; with a token, whose steps are the same after the marks and slower, a quarter of them: what is left
    # out dies in the process itself (tests/unit/access_control/test_custody.py).
    dies_at = range(first, last + 1, 2 if isinstance(vault.keys_are_in, Path) else 4)
    for die_at in dies_at:
        assert check_killed_at(vault, method, die_at) is None
    # Each is in the audit log once, however often it was begun again.
    assert logged(vault, "keys.destroyed") == (len(dies_at) + 1) * (2 if method == "release" else 1)
