"""When a data subject's request has to be answered, and when somebody is reminded of it. Pure functions.

GDPR Art. 12(3): within one month of receipt; by two further months where necessary, which the data subject is told within the first. A
month is a calendar month: it ends on the day of the same number, or on the last day of a shorter month (Regulation 1182/71, Art. 3(2)(c)).
The regulation lets the period run to the end of that day; here it ends at the hour of receipt, which is never later.
"""

import calendar
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

_MONTHS: Final = 1
_MONTHS_EXTENDED: Final = 3


def add_months(instant: datetime, months: int) -> datetime:
    """The same hour of the same day so many months later; of the last day, where that month is shorter."""
    year, month = divmod(instant.year * 12 + instant.month - 1 + months, 12)
    day = min(instant.day, calendar.monthrange(year, month + 1)[1])
    return instant.replace(year=year, month=month + 1, day=day)


def due_at(received_at: datetime, promised: timedelta | None, *, is_extended: bool = False) -> datetime:
    """The deadline. promised: a shorter time than the month that the law gives; an extension counts from the month."""
    if is_extended:
        return add_months(received_at, _MONTHS_EXTENDED)
    by_law = add_months(received_at, _MONTHS)
    return by_law if promised is None else min(by_law, received_at + promised)


def next_reminder(due: datetime, before: Sequence[timedelta], after: datetime) -> datetime | None:
    """The first reminder after an instant: so long before the deadline, and at the deadline. None when all are past."""
    instants = sorted({due - each for each in before} | {due})
    return next((instant for instant in instants if instant > after), None)
