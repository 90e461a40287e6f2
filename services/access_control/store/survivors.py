"""Where the commit that put the survivors under a new root has arrived: at a standby, in the WAL archive. What PostgreSQL says, unjudged.

A root that was replaced has in `retired_lsn` a WAL position that lies behind that commit, written down after it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class Standbys:
    """visible: whether the role may see them. streaming: how many stream. flushed: the newest position that one has flushed, or "".
    have_it: whether one has flushed past the commit."""

    visible: bool
    streaming: int
    flushed: str
    have_it: bool


@dataclass(frozen=True)
class Archive:
    """is_on: archive_mode. needed: the WAL file in which the commit ends; is_current: it is still being written. last: the newest file
    archived, or "". is_failing: the last try failed. has_it: whether the archive reaches past the commit."""

    is_on: bool
    needed: str
    is_current: bool
    last: str
    is_failing: bool
    has_it: bool


def standbys(tx: Connection, root_id: str) -> Standbys:
    """Streaming receivers of this database's WAL: standbys, pg_receivewal; a base backup's own connection is none."""
    row = tx.execute(
        text(
            "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), count(pid), coalesce(max(flush_lsn)::text, ''), "
            "coalesce(bool_or(flush_lsn >= CAST(retired_lsn AS pg_lsn)), false) FROM custody_roots LEFT JOIN pg_stat_replication "
            "ON state = 'streaming' AND application_name <> 'pg_basebackup' WHERE root_id = :root_id"
        ),
        {"root_id": root_id},
    ).one()
    return Standbys(*row)


def archive(tx: Connection, root_id: str) -> Archive:
    """The WAL archive. Files are compared by their place in the WAL, not by timeline: after a fail-over this server's history goes on in a
    new timeline and holds the commit all the same."""
    row = tx.execute(
        text(
            "SELECT current_setting('archive_mode') <> 'off', needed, needed = pg_walfile_name(pg_current_wal_lsn()), "
            "coalesce(last_archived_wal, ''), coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL), "
            # Backup labels and timeline histories are archived too and are no place in the WAL.
            "coalesce(last_archived_wal ~ '^[0-9A-F]{24}$' AND substr(last_archived_wal, 9) >= substr(needed, 9), false) "
            "FROM pg_stat_archiver, (SELECT pg_walfile_name(CAST(retired_lsn AS pg_lsn)) AS needed FROM custody_roots "
            "WHERE root_id = :root_id) AS wanted"
        ),
        {"root_id": root_id},
    ).one()
    return Archive(*row)


def may_close_segment(tx: Connection) -> bool:
    """Whether the role may have PostgreSQL close the WAL file that is being written, so that it is archived."""
    return bool(
        tx.execute(
            text("SELECT has_function_privilege(current_user, 'pg_switch_wal()', 'EXECUTE')")
        ).scalar_one()
    )


def close_segment(tx: Connection) -> None:
    """Has PostgreSQL close the WAL file that is being written."""
    tx.execute(text("SELECT pg_switch_wal()"))
