"""Whether what was read about somebody is still so: a fingerprint of every row of the directory that says who a person or member is, and
entries of the audit log that are inserted only where it has not changed.

The fingerprint is made of the transactions that wrote the rows (`xmin`): whatever changes one, or adds or ends one, changes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Final, LiteralString, cast

from services.access_control.store import Connection
from services.access_control.store.audit import NewEntry
from services.access_control.store.driver import checked
from shared.driver import driver_of

_PERSON: Final[LiteralString] = """p.xmin,
        coalesce((SELECT string_agg(r.xmin::text, ',' ORDER BY r.role_assignment_id) FROM role_assignments r
         WHERE r.person_id = p.person_id AND r.ended_at IS NULL), '-'),
        coalesce((SELECT string_agg(a.xmin::text, ',' ORDER BY a.agreement_id) FROM agreements a
         WHERE a.person_id = p.person_id), '-'),
        coalesce((SELECT concat_ws('/', v.xmin, (SELECT string_agg(a.xmin::text, ',' ORDER BY a.agreement_id)
            FROM agreements a WHERE a.provider_id = v.provider_id))
         FROM providers v WHERE v.provider_id = p.provider_id), '-'),
        coalesce((SELECT string_agg(f.xmin::text, ',' ORDER BY f.organization_id) FROM affiliations f
         WHERE f.person_id = p.person_id), '-')"""
# So many people are asked about in one statement. Their number is fixed, and they are no array, so that the server plans it once.
_TOGETHER: Final = 4
_PEOPLE: Final[LiteralString] = (
    "SELECT s.person_id, p.person_id, p.standing FROM (VALUES (1)) AS one LEFT JOIN "  # noqa: S608 - all of it is written here
    "(SELECT person_id FROM identities WHERE issuer = %s AND subject = %s AND confirmed_by <> '' AND ended_at IS NULL) AS s ON true "
    "LEFT JOIN (SELECT p.person_id, concat_ws('|', "
    + _PERSON
    + ") AS standing FROM people p WHERE p.person_id IN (%s, %s, %s, %s)) AS p ON true"
)
_OF_PERSON: Final[LiteralString] = (
    "(SELECT concat_ws('|', i.xmin, "  # noqa: S608 - likewise
    + _PERSON
    + ") FROM identities i JOIN people p ON p.person_id = i.person_id WHERE i.issuer = {issuer} AND i.subject = {subject})"
)
_OF_MEMBER: Final[LiteralString] = "(SELECT m.xmin::text FROM members m WHERE m.member_id = {member})"
# By whom a statement is about: what is in it is made ready for each run of it, asked for or not.
_STANDING: Final[Mapping[str, LiteralString]] = {
    "people": "coalesce(" + _OF_PERSON + ", '')",
    "members": "coalesce(" + _OF_MEMBER + ", '')",
    "both": "coalesce(" + _OF_PERSON + ", " + _OF_MEMBER + ", '')",
}
_READ: Final = "SELECT " + _STANDING["both"].format(issuer="%s", subject="%s", member="%s")
_COLUMNS: Final = (
    "text",
    "text",
    "text",
    "bytea",
    "bytea",
    "bytea",
    "timestamptz",
    "text",
    "text",
    "text",
    "text",
)
_INSERT: Final = """INSERT INTO audit_entries (entry_id, organization_id, kind, body, salt, commitment, appended_at)
SELECT e.entry_id, e.organization_id, e.kind, e.body, e.salt, e.commitment, e.appended_at FROM (VALUES {rows})
AS e(entry_id, organization_id, kind, body, salt, commitment, appended_at, issuer, subject, member, standing)
WHERE e.standing = {standing} RETURNING entry_id"""


@dataclass(frozen=True)
class Basis:
    """On what a decision rests. issuer, subject: of a person of the workforce; member_id: of a customer's member; the others None.
    standing: the fingerprint of what was known of them."""

    issuer: str | None
    subject: str | None
    member_id: str | None
    standing: str


def basis(tx: Connection, issuer: str | None, subject: str | None, member_id: str | None) -> Basis:
    """The fingerprint as it is now; read it before what it stands for."""
    row = driver_of(tx).execute(_READ, (issuer, subject, member_id)).fetchone()
    assert row is not None
    return Basis(issuer, subject, member_id, row[0])


def standings(
    tx: Connection, issuer: str, subject: str, person_ids: Collection[str]
) -> tuple[str | None, dict[str, str]]:
    """Whose confirmed identity this is, and fingerprints of people of the workforce as they are now, by id; unknown ids are left out."""
    whose, found, wanted = None, dict[str, str](), sorted(person_ids)
    for start in range(0, len(wanted) or 1, _TOGETHER):
        some = wanted[start : start + _TOGETHER]
        some += ["" for _ in range(_TOGETHER - len(some))]  # is nobody
        rows = driver_of(tx).execute(_PEOPLE, (issuer, subject, *some)).fetchall()
        whose = rows[0][0]
        found |= {person_id: standing for _, person_id, standing in rows if person_id is not None}
    return whose, found


def add_where_unchanged(tx: Connection, rows: Sequence[tuple[NewEntry, Basis]]) -> set[str]:
    """Inserts each entry whose basis is unchanged as this statement sees the directory. Returns the ids of these.

    Speaks to libpq itself: this is in the way of every call of every service, and a driver's cursor costs more than all the rest of it.
    """
    libpq = driver_of(tx).pgconn
    members = sum(basis.member_id is not None for _, basis in rows)
    whose = "people" if not members else "members" if members == len(rows) else "both"
    name = f"decisions_{whose}_{len(rows)}".encode()
    prepared: set[bytes] = tx.info.setdefault(
        "kept.prepared", set()
    )  # lives as long as the connection to the server
    if name not in prepared:
        checked(libpq, libpq.prepare(name, _statement(whose, len(rows))))
        prepared.add(name)
    values = [
        value if value is None or isinstance(value, bytes) else value.encode()
        for entry, basis in rows
        for value in (
            entry.entry_id,
            entry.organization_id,
            entry.kind,
            entry.body,
            entry.salt,
            entry.commitment,
            entry.appended_at.isoformat(),
            basis.issuer,
            basis.subject,
            basis.member_id,
            basis.standing,
        )
    ]
    formats = [int(column == "bytea") for column in _COLUMNS] * len(rows)
    # Its types leave out that a value may be absent, which is NULL.
    result = checked(libpq, libpq.exec_prepared(name, cast("list[bytes]", values), formats))
    return {(result.get_value(row, 0) or b"").decode() for row in range(result.ntuples)}


@lru_cache(maxsize=256)
def _statement(whose: str, rows: int) -> bytes:
    # A statement for each number of rows: a list of values is quick to send and to plan, arrays are not.
    number = count(1)
    values = ", ".join(
        "(" + ", ".join(f"${next(number)}::{column}" for column in _COLUMNS) + ")" for _ in range(rows)
    )
    standing = _STANDING[whose].format(issuer="e.issuer", subject="e.subject", member="e.member")
    return _INSERT.format(rows=values, standing=standing).encode()
