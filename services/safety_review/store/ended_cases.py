"""Cases that nothing keeps any more: which they are, and what goes with them. The caller is inside the organization's fence, or closed it
(store.erasures)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, or_, select, text

from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing.cases import APPEAL_FOR, DISMISSED, UPHELD
from services.safety_review.store.tables import cases, erasures, flags, verdicts


@dataclass(frozen=True)
class EndedCase:
    """A case that is gone, as it was."""

    case_id: str
    organization_id: str
    state: "cases_pb2.CaseState.ValueType"


@dataclass(frozen=True)
class Ended:
    """What went. removed: rows by kind."""

    cases: Sequence[EndedCase]
    removed: dict[str, int]


# What reports count of cases goes on being counted, by day, and leads to none of them (store.reports).
_COUNT: Final = text("""
    WITH gone AS (
        SELECT case_id, category, state, opened_by, appealed_at, opened_at, closed_at
        FROM cases WHERE case_id = ANY(:case_ids)
    ), counted AS (
        SELECT flagged_at AS at, 'flagged' AS what, category, '' AS rules_version
        FROM flags JOIN gone USING (case_id)
        UNION ALL
        -- A record counts on a day once, whatever flagged it: when the last of that day's flags on it goes.
        SELECT DISTINCT ON (organization_id, record_id, (flagged_at AT TIME ZONE 'UTC')::date) flagged_at, 'record', '', ''
        FROM flags JOIN gone USING (case_id)
        WHERE NOT EXISTS (
            SELECT FROM flags AS other
            WHERE other.organization_id = flags.organization_id AND other.record_id = flags.record_id
            AND (other.flagged_at AT TIME ZONE 'UTC')::date = (flags.flagged_at AT TIME ZONE 'UTC')::date
            AND other.case_id <> ALL (:case_ids)
        )
        UNION ALL
        SELECT closed_at, CASE state WHEN 4 THEN 'upheld' ELSE 'dismissed' END, category, rules_version
        FROM flags JOIN gone USING (case_id)
        WHERE rules_version NOT LIKE 'people-%' AND finding_id IS NULL
        UNION ALL
        SELECT opened_at, 'opened', category, '' FROM gone
        UNION ALL
        SELECT opened_at, 'reported', category, '' FROM gone WHERE opened_by <> ''
        UNION ALL
        SELECT appealed_at, 'appealed', category, '' FROM gone WHERE appealed_at IS NOT NULL
    )
    INSERT INTO past_cases (day, what, category, rules_version, number)
    SELECT (at AT TIME ZONE 'UTC')::date, what, category, rules_version, count(*)
    FROM counted GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (day, what, category, rules_version) DO UPDATE SET number = past_cases.number + excluded.number
""")


def _is_over(now: datetime, *, is_erased: bool) -> ColumnElement[bool]:
    """Whether nothing keeps a case. Of an erased organization: it was dismissed, or the time of its last hold is over, whatever its state.
    Of another: it was closed as long ago as a customer may appeal, and staff open it again; and where the customer was told of it, the time
    of its last hold is over too."""
    is_held = exists().where(flags.c.case_id == cases.c.case_id, flags.c.hold_ends_at > now)
    if is_erased:
        return or_(cases.c.state == DISMISSED, ~is_held)
    was_told = or_(cases.c.state == UPHELD, cases.c.told_at.is_not(None))
    return and_(
        cases.c.state.in_([DISMISSED, UPHELD]),
        cases.c.closed_at <= now - APPEAL_FOR,
        or_(~was_told, ~is_held),
    )


def organizations(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Organizations with cases that nothing keeps any more."""
    is_erased = exists().where(erasures.c.organization_id == cases.c.organization_id)
    rows = tx.execute(
        select(cases.c.organization_id)
        .where(or_(_is_over(now, is_erased=False), is_erased & _is_over(now, is_erased=True)))
        .distinct()
        .limit(limit)
    )
    return [row.organization_id for row in rows]


def remove(
    tx: Connection, organization_id: str, now: datetime, *, is_erased: bool, most: int | None = None
) -> Ended:
    """Removes an organization's cases that nothing keeps any more, at most so many, with their flags, the verdicts on these, what rules
    over log data found and what people opened. They are counted for reports, but not those of an erased organization."""
    rows = tx.execute(
        select(cases.c.case_id, cases.c.organization_id, cases.c.state)
        .where(cases.c.organization_id == organization_id, _is_over(now, is_erased=is_erased))
        .order_by(cases.c.case_id)
        .limit(most)
        .with_for_update()
    )
    gone = [EndedCase(**row._mapping) for row in rows]
    case_ids = [one.case_id for one in gone]
    if gone and not is_erased:
        tx.execute(_COUNT, {"case_ids": case_ids})
    of_theirs = delete(verdicts).where(
        flags.c.case_id.in_(case_ids),
        flags.c.organization_id == verdicts.c.organization_id,
        flags.c.record_id == verdicts.c.record_id,
        flags.c.rules_version == verdicts.c.rules_version,
    )
    return Ended(
        gone,
        {
            "verdicts": tx.execute(of_theirs).rowcount,
            "flags": tx.execute(delete(flags).where(flags.c.case_id.in_(case_ids))).rowcount,
            "cases": tx.execute(delete(cases).where(cases.c.case_id.in_(case_ids))).rowcount,
        },
    )
