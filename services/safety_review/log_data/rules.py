"""`[[log_rule]]` tables of a rules file: how much of what, within which time, is too much. They apply to every organization, for log data
are all they look at.

    id, category, severity, action      as of any rule
    counts          records | prompt_tokens | generation_tokens | end_users, api_keys, countries (each once) | in_a_row (the longest run
                    of records with one of `finish_reasons` and none of another between)
    of              organization | end_user | application | gateway | api_key | country: for whom it is counted, within an organization
    window_minutes  2 to 60, a divisor of 60: windows lie side by side from the full hour on
    at_least        so much is too much: 2 or more, and 1 where `countries` are named
    finish_reasons  only records with one of these, be it of one of several choices; all if left out
    api_key_kind    only records of keys of this kind, production or trial; all if left out
    countries       of country only: these, by ISO 3166-1 alpha-2; all if left out
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from services.safety_review.detection.rule_fields import (
    Action,
    Category,
    MalformedRule,
    Severity,
    choice,
    number,
    refuse_unknown,
    rule_id_of,
    texts,
)

_FIELDS: Final = {
    "id",
    "category",
    "severity",
    "action",
    "counts",
    "of",
    "window_minutes",
    "at_least",
    "finish_reasons",
    "api_key_kind",
    "countries",
}
_HOUR: Final = 60
_MOST: Final = 2**53
_MOST_REASONS: Final = 20
_MOST_COUNTRIES: Final = 250
_COUNTRY: Final = re.compile("[A-Z]{2}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Measure(StrEnum):
    """What is counted; named as kept.safety_review.v1.LogMeasure is."""

    RECORDS = "records"
    PROMPT_TOKENS = "prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"
    END_USERS = "end_users"
    IN_A_ROW = "in_a_row"
    API_KEYS = "api_keys"
    COUNTRIES = "countries"


class Group(StrEnum):
    """For whom; named as kept.safety_review.v1.LogGroup is."""

    ORGANIZATION = "organization"
    END_USER = "end_user"
    APPLICATION = "application"
    GATEWAY = "gateway"
    API_KEY = "api_key"
    COUNTRY = "country"


class KeyKind(StrEnum):
    """Whose key; named as kept.logging.v1.ApiKeyKind is."""

    PRODUCTION = "production"
    TRIAL = "trial"


# Of each of which there is only one where it is counted for.
_OF_ITSELF: Final = {
    Measure.END_USERS: Group.END_USER,
    Measure.API_KEYS: Group.API_KEY,
    Measure.COUNTRIES: Group.COUNTRY,
}


@dataclass(frozen=True)
class LogRule:
    """One rule. finish_reasons, key_kind, countries: empty and None for all."""

    id: str
    category: Category
    severity: Severity
    action: Action
    measure: Measure
    group: Group
    window: timedelta
    threshold: int
    finish_reasons: tuple[str, ...]
    key_kind: KeyKind | None
    countries: tuple[str, ...]

    def window_of(self, at: datetime) -> datetime:
        """Where the window begins in which an instant lies."""
        return at - (at - _EPOCH) % self.window


def parse_log_rule(entry: object, where: str) -> LogRule:
    """Check one table; `where` is what errors call it. Raises MalformedRule."""
    if not isinstance(entry, dict):
        raise MalformedRule(where, "is not a table")
    refuse_unknown(entry, _FIELDS, where)
    rule_id, where = rule_id_of(entry, where)
    minutes = number(entry, "window_minutes", where, 2, _HOUR)
    if _HOUR % minutes:
        raise MalformedRule(where, "'window_minutes' must divide an hour")
    countries = _countries(entry, where)
    rule = LogRule(
        id=rule_id,
        category=choice(Category, entry, "category", where),
        severity=choice(Severity, entry, "severity", where),
        action=choice(Action, entry, "action", where),
        measure=choice(Measure, entry, "counts", where),
        group=choice(Group, entry, "of", where),
        window=timedelta(minutes=minutes),
        threshold=number(entry, "at_least", where, 1 if countries else 2, _MOST),
        finish_reasons=texts(entry, "finish_reasons", where),
        key_kind=choice(KeyKind, entry, "api_key_kind", where) if "api_key_kind" in entry else None,
        countries=countries,
    )
    if len(rule.finish_reasons) > _MOST_REASONS:
        raise MalformedRule(where, f"has more than {_MOST_REASONS} finish reasons")
    if rule.measure is Measure.IN_A_ROW and not rule.finish_reasons:
        raise MalformedRule(where, "counts in a row, and names no finish reasons")
    if _OF_ITSELF.get(rule.measure) is rule.group:
        raise MalformedRule(where, f"each '{rule.group}' has one '{rule.group}', and no more to count")
    if rule.countries and rule.group is not Group.COUNTRY:
        raise MalformedRule(where, "names countries, and does not count for each country")
    return rule


def _countries(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    named = texts(entry, "countries", where)
    if len(named) > _MOST_COUNTRIES:
        raise MalformedRule(where, f"has more than {_MOST_COUNTRIES} countries")
    if not all(_COUNTRY.fullmatch(one) for one in named):
        raise MalformedRule(where, "'countries' must be two capital letters each (ISO 3166-1 alpha-2)")
    return named
