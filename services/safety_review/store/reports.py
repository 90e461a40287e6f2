"""Counts for reports, over all organizations: none of them is named."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text


class Day(NamedTuple):
    """A UTC day: records created then that are clean or incomplete, and records flagged then."""

    day: date
    clean: int
    flagged: int
    incomplete: int


class Category(NamedTuple):
    """A category: what was flagged and opened, and how cases were decided."""

    category: str
    flags: int
    cases: int
    upheld: int
    dismissed: int


class Version(NamedTuple):
    """What a version of the rules flagged in a category, by how people decided."""

    rules_version: str
    category: str
    upheld: int
    dismissed: int


class Totals(NamedTuple):
    """Of all decisions and cases. median_seconds, p90_seconds: from opening, or opening again, to the decision; None of none."""

    decided: int
    late: int
    overturned: int
    median_seconds: float | None
    p90_seconds: float | None
    appeals: int
    opened_by_people: int
    waiting: int
    reviewers: int
    most_cases_a_day: int


# Verdicts and cases that are still there, and those that were counted when they went.
_DAYS: Final = text("""
    WITH days AS (
        SELECT generate_series(CAST(:first AS date), CAST(:last AS date), INTERVAL '1 day')::date AS day
    ), screened AS (
        SELECT day, verdict, records FROM screened_days WHERE day BETWEEN :first AND :last
        UNION ALL
        SELECT record_day(record_id), verdict, count(*)
        FROM verdicts
        WHERE verdict <> 2 AND record_id >= :lowest AND record_id < :beyond
        GROUP BY 1, 2
    ), flagged AS (
        SELECT (flagged_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT (organization_id, record_id)) AS records
        FROM flags
        WHERE flagged_at >= :since AND flagged_at < :until
        GROUP BY 1
    )
    SELECT days.day,
        coalesce((SELECT sum(records) FROM screened WHERE screened.day = days.day AND verdict = 1), 0)::bigint AS clean,
        coalesce((SELECT records FROM flagged WHERE flagged.day = days.day), 0)
            + coalesce((SELECT sum(number) FROM past_cases WHERE past_cases.day = days.day AND what = 'record'), 0)::bigint
            AS flagged,
        coalesce((SELECT sum(records) FROM screened WHERE screened.day = days.day AND verdict = 3), 0)::bigint AS incomplete
    FROM days
    ORDER BY days.day
""")
_CATEGORIES: Final = text("""
    WITH counted AS (
        SELECT cases.category, count(*) AS flags, 0 AS cases, 0 AS upheld, 0 AS dismissed
        FROM flags JOIN cases USING (case_id)
        WHERE flagged_at >= :since AND flagged_at < :until
        GROUP BY 1
        UNION ALL
        SELECT category, 0, count(*), 0, 0 FROM cases WHERE opened_at >= :since AND opened_at < :until GROUP BY 1
        UNION ALL
        SELECT category, number * (what = 'flagged')::integer, number * (what = 'opened')::integer, 0, 0
        FROM past_cases
        WHERE what IN ('flagged', 'opened') AND day BETWEEN :first AND :last
        UNION ALL
        SELECT category, 0, 0, count(*) FILTER (WHERE state = 4), count(*) FILTER (WHERE state = 5)
        FROM decisions WHERE decided_at >= :since AND decided_at < :until
        GROUP BY 1
    )
    SELECT category, sum(flags)::bigint AS flags, sum(cases)::bigint AS cases, sum(upheld)::bigint AS upheld,
        sum(dismissed)::bigint AS dismissed
    FROM counted GROUP BY 1 ORDER BY 2 DESC, 1
""")
_VERSIONS: Final = text("""
    WITH counted AS (
        SELECT flags.rules_version, cases.category,
            count(*) FILTER (WHERE cases.state = 4) AS upheld, count(*) FILTER (WHERE cases.state = 5) AS dismissed
        FROM flags JOIN cases USING (case_id)
        WHERE cases.closed_at >= :since AND cases.closed_at < :until AND flags.rules_version NOT LIKE 'people-%'
            AND flags.finding_id IS NULL
        GROUP BY 1, 2
        UNION ALL
        SELECT rules_version, category, number * (what = 'upheld')::integer, number * (what = 'dismissed')::integer
        FROM past_cases
        WHERE what IN ('upheld', 'dismissed') AND day BETWEEN :first AND :last
    )
    SELECT rules_version, category, sum(upheld)::bigint AS upheld, sum(dismissed)::bigint AS dismissed
    FROM counted GROUP BY 1, 2 ORDER BY 1, 2
""")
_TOTALS: Final = text("""
    SELECT decided.*,
        (SELECT count(*) FROM cases WHERE appealed_at >= :since AND appealed_at < :until)
            + (SELECT coalesce(sum(number), 0) FROM past_cases WHERE what = 'appealed' AND day BETWEEN :first AND :last)::bigint
            AS appeals,
        (SELECT count(*) FROM cases WHERE opened_at >= :since AND opened_at < :until AND opened_by <> '')
            + (SELECT coalesce(sum(number), 0) FROM past_cases WHERE what = 'reported' AND day BETWEEN :first AND :last)::bigint
            AS opened_by_people,
        (SELECT count(*) FROM cases WHERE state <= 3 AND coalesce(begun_at, opened_at) < :until)
            + (SELECT count(*) FROM decisions WHERE begun_at < :until AND decided_at >= :until) AS waiting,
        (SELECT count(DISTINCT person_id) FROM claims WHERE claimed_at >= :since AND claimed_at < :until) AS reviewers,
        (SELECT coalesce(max(taken), 0) FROM (
            SELECT count(*) AS taken FROM claims
            WHERE claimed_at >= :since AND claimed_at < :until
            GROUP BY person_id, (claimed_at AT TIME ZONE 'UTC')::date
        ) AS days) AS most_cases_a_day
    FROM (
        SELECT count(*) AS decided,
            count(*) FILTER (WHERE decided_at > due_at) AS late,
            count(*) FILTER (WHERE overturns) AS overturned,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - begun_at)) AS median_seconds,
            percentile_disc(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - begun_at)) AS p90_seconds
        FROM decisions WHERE decided_at >= :since AND decided_at < :until
    ) AS decided
""")


def days(tx: Connection, since: datetime, until: datetime, lowest: bytes, beyond: bytes) -> list[Day]:
    """Every day that begins in the time; lowest, beyond: record ids of its ends."""
    return [Day(*row) for row in _rows(tx, _DAYS, since, until, lowest=lowest, beyond=beyond)]


def categories(tx: Connection, since: datetime, until: datetime) -> list[Category]:
    """By category, most flags first."""
    return [Category(*row) for row in _rows(tx, _CATEGORIES, since, until)]


def versions(tx: Connection, since: datetime, until: datetime) -> list[Version]:
    """By version of the rules and category, of cases that were closed in the time."""
    return [Version(*row) for row in _rows(tx, _VERSIONS, since, until)]


def totals(tx: Connection, since: datetime, until: datetime) -> Totals:
    """All together."""
    (row,) = _rows(tx, _TOTALS, since, until)
    return Totals(*row)


def _rows(tx: Connection, query: Any, since: datetime, until: datetime, **more: bytes) -> Iterator[Any]:
    last = date.fromordinal(until.date().toordinal() - (1 if until.time() == until.time().min else 0))
    given = {"first": since.date(), "last": last, "since": since, "until": until}
    return iter(tx.execute(query, given | more))
