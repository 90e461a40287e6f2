"""What all rules have in common: the words in which they say what they are, how a file's fields are read, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from shared.linear_patterns import LinearPattern

_ID = LinearPattern(r"\A[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\z")


class Category(StrEnum):
    """Parts of the usage policy."""

    FRAUD = "fraud"
    WEAPONS = "weapons"
    VIOLENCE = "violence"
    MALWARE = "malware"
    INTRUSION = "intrusion"
    ILLEGAL_GOODS = "illegal_goods"
    SURVEILLANCE = "surveillance"
    CHILD_SAFETY = "child_safety"
    SELF_HARM = "self_harm"
    HATE = "hate"
    PLATFORM_ABUSE = "platform_abuse"
    TEST = "test"


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Action(StrEnum):
    FLAG = "flag"
    OBSERVE = "observe"


class RulesError(Exception):
    """The rules file cannot be used. `where` is the file, or file and rule; `reason` says what to change."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class UnreadableRules(RulesError):
    """The file is missing, is not UTF-8 TOML, or has another format number."""


class MalformedRule(RulesError):
    """A field is missing, unknown or of the wrong kind."""


class DuplicateRule(RulesError):
    """Two rules share an id."""


def refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    """Raises MalformedRule for a field that there is not."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise MalformedRule(where, f"unknown field {unknown[0]!r}")


def rule_id_of(table: Mapping[str, object], where: str) -> tuple[str, str]:
    """A rule's id, and how errors call the rule from there on. Raises MalformedRule."""
    rule_id = text(table, "id", where)
    where = f"{where} ({rule_id})"
    if not list(_ID.spans(rule_id.encode())):
        raise MalformedRule(where, "an id is lower-case words with dots between")
    return rule_id, where


def number(table: Mapping[str, object], field: str, where: str, least: int, most: int) -> int:
    """A field that has to be a whole number from `least` to `most`. Raises MalformedRule."""
    value = table.get(field)
    if type(value) is not int or not least <= value <= most:
        raise MalformedRule(where, f"{field!r} must be a number from {least} to {most}")
    return value


def text(table: Mapping[str, object], field: str, where: str) -> str:
    """A field that has to be a text. Raises MalformedRule."""
    value = table.get(field)
    if not isinstance(value, str) or not value.strip():
        raise MalformedRule(where, f"{field!r} must be a text")
    return value


def texts(table: Mapping[str, object], field: str, where: str) -> tuple[str, ...]:
    """A field that is a list of texts, empty where it is left out. Raises MalformedRule."""
    value = table.get(field, [])
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(one, str) for one in value)
    ):
        raise MalformedRule(where, f"{field!r} must be a list of texts")
    return tuple(str(one) for one in value)


_Kind = TypeVar("_Kind", bound=StrEnum)


def choice(kind: type[_Kind], table: Mapping[str, object], field: str, where: str) -> _Kind:
    """A field that is one of the kind's values. Raises MalformedRule."""
    value = table.get(field)
    try:
        return kind(str(value))
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise MalformedRule(where, f"{field!r} must be one of {allowed}") from None
