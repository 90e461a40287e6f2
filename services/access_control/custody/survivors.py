"""Whether the survivors of a destruction are safe: the commit that put them under a new root must be where the operator said, before the
old root goes. Until then the destruction waits, and this says what for."""

from typing import Literal

from services.access_control.store import Connection, custody
from services.access_control.store import survivors as store

SurvivorsMustBeOn = Literal["nowhere", "standby", "archive"]


def waits_for(tx: Connection, root: custody.RootRow, must_be_on: SurvivorsMustBeOn) -> str:
    """What the end of a root that was replaced waits for, in a sentence; empty when nothing is in its way."""
    if must_be_on == "nowhere":
        return ""
    if root.retired_lsn is None:
        return "The position of the commit that replaced it is not written down yet."
    if must_be_on == "standby":
        return _standby(store.standbys(tx, root.root_id), root.retired_lsn)
    return _archive(store.archive(tx, root.root_id))


def hasten(tx: Connection, root: custody.RootRow, must_be_on: SurvivorsMustBeOn) -> None:
    """Has the WAL file that the commit is in closed, where only that is missing and the role may: else it is archived when it is full."""
    if must_be_on == "archive" and root.retired_lsn is not None:
        archive = store.archive(tx, root.root_id)
        if archive.is_on and archive.is_current and store.may_close_segment(tx):
            store.close_segment(tx)


def _standby(standbys: store.Standbys, wanted: str) -> str:
    if standbys.have_it:
        return ""
    if not standbys.visible:
        return "The database role cannot see standbys: grant it pg_read_all_stats."
    if not standbys.streaming:
        return "No standby streams from this database."
    return f"The newest standby has flushed {standbys.flushed or 'nothing'}, the survivors' commit ends before {wanted}."


def _archive(archive: store.Archive) -> str:
    if not archive.is_on:
        return "The database does not archive its WAL: set archive_mode and archive_command."
    if archive.has_it:
        return ""
    last = archive.last or "nothing"
    if archive.is_failing:
        return (
            f"Archiving fails: {archive.needed} is needed, {last} was archived last. See the database's log."
        )
    if archive.is_current:
        return (
            f"{archive.needed} is needed and still being written: it is archived when it is full or by archive_timeout, at once if the "
            "database role may call pg_switch_wal()."
        )
    return f"{archive.needed} is needed, {last} was archived last."
