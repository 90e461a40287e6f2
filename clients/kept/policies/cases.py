"""The table of cases beside the policies: who does what to what, and whether that is allowed, by which policies. Made to be read by
somebody who reads no code; a case is one line in a TOML file (https://toml.io):

    { who = "an engineer", does = "ReadRecords", to = "her grant", is = "allowed", by = "records.read" }

`who`, `to` and `when` (what is special about the moment, optional) are names; what they stand for is said once, in any of the files:

    [who."an engineer"]            type = "Person", id, and the attributes of the schema
    [who."a disabled engineer"]    like = "an engineer" takes over what is not said anew
    [what."her grant"]             requester = { who = "an engineer" } names somebody else of the cast
    [when."she wants more"]        attributes of the request's context, over those of [usually.ReadRecords]

Times are "now", "now + 1 hour", "now - 1 second"; spans are "72 hours": both in milliseconds, as the policies have them.
`by` names the policies that decide, with a comma between them: for what is denied, those that forbid it; without `by`, nothing permits it.
`told` is what the person is told to be missing.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cedarpy

from kept.policies.sets import Entity, PolicyError, PolicySet, request

# 2026-03-01 12:00 UTC: the moment at which all cases take place.
NOW: Final = 1_772_366_400_000
_UNITS: Final = {"millisecond": 1, "second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_SPAN: Final = re.compile(r"(\d+) (millisecond|second|minute|hour|day)s?")
_INSTANT: Final = re.compile(r"now(?: ([+-]) (.+))?")
_TABLES: Final = frozenset({"who", "what", "when", "usually", "cases"})
_COLUMNS: Final = frozenset({"who", "does", "to", "when", "is", "by", "told"})


@dataclass(frozen=True)
class Case:
    """One line. place: file and number. by: ids, sorted. told: None where the table does not say."""

    place: str
    who: str
    does: str
    to: str
    when: str
    allowed: bool
    by: tuple[str, ...]
    told: str | None

    @property
    def sentence(self) -> str:
        """The case in a sentence."""
        when = f", when {self.when}" if self.when else ""
        outcome = "allowed" if self.allowed else "denied"
        by = f" by {', '.join(self.by)}" if self.by else "" if self.allowed else ", nothing permits it"
        return f"{self.who}: {self.does} on {self.to}{when}: {outcome}{by}"


@dataclass(frozen=True)
class Failure:
    """A case that does not hold. came: what happened instead."""

    case: Case
    came: str


@dataclass(frozen=True)
class _Asked:
    case: Case
    principal: Entity
    resource: Entity
    context: dict[str, Any]

    @cached_property
    def request(self) -> dict[str, Any]:
        return request(self.principal, self.case.does, self.resource, self.context)

    @cached_property
    def entities(self) -> cedarpy.Entities:
        return cedarpy.Entities.from_json_str(json.dumps([self.principal, self.resource]))


class Table:
    """Cases, with all that they speak of."""

    def __init__(self, asked: list[_Asked]) -> None:
        self._asked = asked

    @property
    def cases(self) -> list[Case]:
        """The cases, in their order."""
        return [asked.case for asked in self._asked]

    def failures(self, policies: PolicySet, *, decisions_only: bool = False) -> Iterator[Failure]:
        """The cases that do not hold under these policies, in their order. decisions_only: neither what people are told is looked at, nor
        whether the cases fit the schema, which is quicker for a table that holds under another set."""
        for asked in self._asked:
            came = _outcome(policies, asked, decisions_only)
            if came is not None:
                yield Failure(asked.case, came)


def _outcome(policies: PolicySet, asked: _Asked, decisions_only: bool) -> str | None:
    case = asked.case
    question = (asked.principal, case.does, asked.resource, asked.context)
    if decisions_only:
        verdict = policies.decide_on(asked.request, asked.entities)
    else:
        verdict = policies.decide(*question, checked=True)
    if verdict.errors:
        return f"could not be evaluated: {', '.join(verdict.errors)}: {verdict.problem[-300:]}"
    if (verdict.allowed, verdict.policies) != (case.allowed, case.by):
        by = f" by {', '.join(verdict.policies)}" if verdict.policies else "; nothing permits it"
        return f"was {'allowed' if verdict.allowed else 'denied'}{by}"
    if not decisions_only and case.told is not None:
        told = policies.explain(*question).missing
        if told != case.told:
            return f'was told "{told}"'
    return None


def read_table(folder: Path) -> Table:
    """The table in a folder's files *.toml. Raises PolicyError with all that is wrong."""
    reader = _Reader()
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise PolicyError([f"{folder} holds no file *.toml with cases"])
    for file in files:
        try:
            reader.take(file.name, tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            reader.problems.append(f"{file.name} cannot be read as TOML: {error}")
    return reader.table()


class _Reader:
    """Puts the files together."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._cast: dict[str, dict[str, dict[str, Any]]] = {"who": {}, "what": {}, "when": {}, "usually": {}}
        self._lines: list[tuple[str, dict[str, Any]]] = []

    def take(self, name: str, document: dict[str, Any]) -> None:
        for table in document.keys() - _TABLES:
            self.problems.append(f"{name}: {table} is none of {', '.join(sorted(_TABLES))}")
        for kind, cast in self._cast.items():
            said = document.get(kind, {})
            if not isinstance(said, dict) or not _are_tables(said.values()):
                self.problems.append(f"{name}: {kind} has to hold a table for each name")
                continue
            for called, attributes in said.items():
                if called in cast:
                    self.problems.append(f'{name}: {kind} "{called}" is said twice')
                cast[called] = attributes
        lines = document.get("cases", [])
        if not isinstance(lines, list) or not _are_tables(lines):
            self.problems.append(f"{name}: cases has to be a list of tables")
            return
        for number, line in enumerate(lines, 1):
            self._lines.append((f"{name}, case {number}", line))

    def table(self) -> Table:
        asked = []
        for place, line in self._lines:
            try:
                asked.append(self._asked(place, line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self.problems.append(f"{place}: {error.args[0] if error.args else type(error).__name__}")
        sentences = [one.case.sentence for one in asked]
        for one in asked:
            if sentences.count(one.case.sentence) > 1:
                self.problems.append(f"{one.case.place}: said twice: {one.case.sentence}")
        if self.problems:
            raise PolicyError(self.problems)
        return Table(asked)

    def _asked(self, place: str, line: dict[str, Any]) -> _Asked:
        unknown, absent = line.keys() - _COLUMNS, {"who", "does", "to", "is"} - line.keys()
        if unknown or absent:
            raise ValueError(f"unknown: {sorted(unknown)}, missing: {sorted(absent)}")
        if not all(isinstance(value, str) for value in line.values()):
            raise ValueError("all that a case says is text")
        if line["is"] not in ("allowed", "denied"):
            raise ValueError('is = "allowed" or "denied"')
        by = tuple(sorted(name.strip() for name in line.get("by", "").split(",") if name.strip()))
        if line["is"] == "allowed" and not by:
            raise ValueError("what is allowed is allowed by a policy: by = …")
        case = Case(
            place,
            line["who"],
            line["does"],
            line["to"],
            line.get("when", ""),
            line["is"] == "allowed",
            by,
            line.get("told"),
        )
        context = dict(self._cast["usually"].get(case.does, {}))
        if case.when:
            context |= self._attributes("when", case.when)
        asked = _Asked(
            case,
            self._entity("who", case.who),
            self._entity("what", case.to),
            {name: _value(value, self._uid) for name, value in context.items()},
        )
        try:
            _ = asked.entities
            json.dumps(asked.context)
        except (ValueError, TypeError) as error:  # TOML has values that policies do not: dates, fractions
            raise ValueError(f"what it speaks of is nothing that Cedar can read: {error}") from None
        return asked

    def _attributes(self, kind: str, called: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        """With what is taken over."""
        if called in seen:
            raise ValueError(f'{kind} "{called}" is like itself')
        if called not in self._cast[kind]:
            raise ValueError(f'{kind} "{called}" is not said to be anything')
        own = dict(self._cast[kind][called])
        like = own.pop("like", None)
        return own if like is None else self._attributes(kind, like, (*seen, called)) | own

    def _uid(self, kind: str, called: str) -> dict[str, str]:
        attributes = self._attributes(kind, called)
        if "type" not in attributes:
            raise ValueError(f'{kind} "{called}" has no type')
        return {"type": attributes["type"], "id": attributes.get("id", called)}

    def _entity(self, kind: str, called: str) -> Entity:
        attributes = {
            name: _value(value, self._uid)
            for name, value in self._attributes(kind, called).items()
            if name not in ("type", "id")
        }
        return {"uid": self._uid(kind, called), "attrs": attributes, "parents": []}


def _are_tables(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _value(value: Any, uid: Any) -> Any:
    if isinstance(value, Mapping):
        ((kind, called),) = value.items()
        return {"__entity": uid(kind, called)}
    if isinstance(value, str):
        if span := _SPAN.fullmatch(value):
            return int(span[1]) * _UNITS[span[2]]
        if instant := _INSTANT.fullmatch(value):
            return NOW + _offset(instant[1], instant[2])
    return value


def _offset(sign: str | None, text: str | None) -> int:
    if sign is None or text is None:
        return 0
    span = _SPAN.fullmatch(text)
    if span is None:
        raise ValueError(f'"now {sign} {text}" is no instant')
    return (1 if sign == "+" else -1) * int(span[1]) * _UNITS[span[2]]
