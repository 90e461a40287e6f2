"""Flagging: records join a case, are held, and the case's records are made known, in the transaction that stores their verdicts."""

import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from services.safety_review import notices
from services.safety_review.config import ScorerSettings
from services.safety_review.detection.matching import Hit
from services.safety_review.detection.rule_fields import Action, Severity
from services.safety_review.detection.rules import RuleSet
from services.safety_review.reviewing.behaviour import Window, end_user_hash, notice
from services.safety_review.reviewing.cases import MAX_FLAGS, Case, due
from services.safety_review.store import Tx, rates
from services.safety_review.store import cases as store
from services.safety_review.store.cases import Flag
from services.safety_review.store.verdicts import RecordKey
from shared import audit
from shared.clock import Clock
from shared.ids import new_id
from shared.outbox import Outbox

# 1 for low to 4 for critical.
RANKS = {severity: rank for rank, severity in enumerate(Severity, start=1)}
NOBODY: Final[Mapping[RecordKey, str]] = MappingProxyType({})
# The rule of a record that no rule matched, but a person reported.
REPORTED: Final = "reported"
# Places stored of one record. Each expression of each rule may have sixteen (matching.MAX_HITS_PER_EXPRESSION).
MAX_PLACES: Final = 100
# An audit fact holds a thousand characters.
_MOST_FACT = 900


@dataclass(frozen=True)
class Finding:
    """What flags a record. hits: those of rules that flag. category, severity: of the worst of what flags. detectors: external ones that
    flag, with no places. log_rule, finding_id: the rule over log data, and its finding. has_content: whether there is something to hold;
    of a record that never had content only log data are kept, and those no longer than they are anyway."""

    hits: tuple[Hit, ...]
    category: str
    severity: int
    detectors: tuple[str, ...] = ()
    log_rule: str = ""
    finding_id: str | None = None
    has_content: bool = True

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """The rules, and external detectors as "external.<name>", each once."""
        if self.log_rule:
            return (self.log_rule,)
        return tuple(
            sorted({hit.rule_id for hit in self.hits} | {f"external.{name}" for name in self.detectors})
        )


def finding(rules: RuleSet, hits: Sequence[Hit]) -> Finding | None:
    """What of the hits flags the record; None if nothing does. Of equally bad rules the first in the file is the worst."""
    if not hits:
        return None
    by_id = {rule.id: rule for rule in rules.rules}
    flagging = tuple(hit for hit in hits if by_id[hit.rule_id].action is Action.FLAG)
    if not flagging:
        return None
    matched = {hit.rule_id for hit in flagging}
    worst = max((rule for rule in rules.rules if rule.id in matched), key=lambda rule: RANKS[rule.severity])
    return Finding(flagging, worst.category.value, RANKS[worst.severity])


def with_external(found: Finding | None, flagging: Sequence[ScorerSettings]) -> Finding | None:
    """The finding with what external detectors add. Of equally bad ones the rules come first, then the order of the configuration."""
    for one in flagging:
        severity = RANKS[one.severity]
        if found is None:
            found = Finding((), one.category.value, severity)
        elif severity > found.severity:
            found = replace(found, category=one.category.value, severity=severity)
        found = replace(found, detectors=(*found.detectors, one.name))
    return found


class Flags:
    """Files findings.

    hold_for: after that the hold of a record ends by itself.
    """

    def __init__(self, clock: Clock, outbox: Outbox, hold_for: timedelta) -> None:
        self._clock = clock
        self._outbox = outbox
        self._hold_for = hold_for

    def file(
        self,
        tx: Tx,
        findings: dict[RecordKey, Finding],
        version: str,
        end_users: Mapping[RecordKey, str] = NOBODY,
    ) -> None:
        """Puts records into cases and places their holds. version: of the rules that found them. What an older version flagged stays in
        its case and under its hold, unless that case was dismissed. end_users: pseudonyms, as far as there are such."""
        groups: defaultdict[tuple[str, str], list[RecordKey]] = defaultdict(list)
        known = store.undismissed(tx, findings.keys()) if findings else set()
        for key in sorted(findings.keys() - known):
            groups[key.organization_id, findings[key].category].append(key)
        for (organization_id, category), keys in sorted(groups.items()):
            of_group = {key: findings[key] for key in keys}
            self._file_group(tx, organization_id, category, of_group, version, end_users)

    def file_counted(
        self, tx: Tx, findings: dict[RecordKey, Finding], version: str, end_users: Mapping[RecordKey, str]
    ) -> tuple[Case, int] | None:
        """Puts records of one organization that a rule over log data counted into its case; the case, and how many came into it. None
        where all of them are in cases already that were not dismissed."""
        known = store.undismissed(tx, findings.keys())
        new = {key: found for key, found in findings.items() if key not in known}
        if not new:
            return None
        key, found = next(iter(new.items()))
        # In the place of the rules' version: a text of the record may have been flagged by them, and dismissed.
        version = f"{version} {found.log_rule}"
        return self._file_group(tx, key.organization_id, found.category, new, version, end_users), len(new)

    def report(
        self,
        tx: Tx,
        person_id: str,
        organization_id: str,
        category: str,
        severity: int,
        record_ids: Collection[bytes],
        note: str,
    ) -> Case:
        """Puts records that a person saw into the organization's open case of that category, or a new one, and holds them."""
        now = self._clock.now()
        case = self._case(tx, organization_id, category, len(record_ids), now, person_id)
        case = replace(case, note=note, flag_count=case.flag_count + len(record_ids))
        case = due(case, now, severity)
        store.update_to(tx, case)
        # In the place of the rules' version: the same record can be reported again once a case was dismissed.
        version = f"people-{case.case_id}"
        for record_id in sorted(record_ids):
            key = RecordKey(organization_id, record_id)
            found = Finding((), category, severity)
            flag = replace(self._flag(key, found, case.case_id, now, version), rule_ids=(REPORTED,))
            store.add_flags(tx, [flag])
            self._hold(tx, flag)
        self._outbox.put(tx, notices.CASE, notices.open_case(case.case_id, organization_id, case.turn))
        return case

    def hold_again(self, tx: Tx, case: Case, now: datetime) -> None:
        """Holds the records of a locked case anew, whose holds were released; those that are gone by now are reported by retention."""
        for flag in self.held_again(tx, case, now):
            self._hold(tx, flag)

    def held_again(self, tx: Tx, case: Case, now: datetime) -> list[Flag]:
        """The flags of a locked case, those with something to hold, as they are once their records are held anew."""
        flags = [
            replace(
                flag,
                hold_request_id=hold_request_id(
                    RecordKey(flag.organization_id, flag.record_id), f"{flag.rules_version} {case.turn}"
                ),
                hold_ends_at=now + self._hold_for,
            )
            for flag in store.flags_of(tx, [case.case_id])[case.case_id]
            if flag.hold_request_id
        ]
        for flag in flags:
            store.hold_again(tx, flag)
        return flags

    def _hold(self, tx: Tx, flag: Flag) -> None:
        if not flag.hold_request_id:
            return
        self._outbox.put(
            tx,
            notices.HOLD,
            notices.place_hold(
                flag.hold_request_id, flag.organization_id, flag.record_id, flag.case_id, flag.hold_ends_at
            ),
        )

    def _noticed(self, tx: Tx, case: Case, flags: Sequence[Flag], now: datetime) -> Case:
        """The case as the rates of flags make it, these included."""
        end_users = {flag.end_user_hash for flag in flags if flag.end_user_hash}

        def counted(window: Window, since: datetime) -> int:
            of = (case.organization_id, case.category, since, window.flags)
            return rates.of_busiest(tx, *of, end_users) if window.one_end_user else rates.of_all(tx, *of)

        noticed, new = notice(case, counted, now)
        for rate in new:
            self._outbox.audit(
                tx,
                audit.entry(
                    "behaviour.noticed",
                    actor=notices.SERVICE,
                    at=now,
                    subjects=[case.case_id, case.organization_id],
                    facts={
                        "category": case.category,
                        "window_days": rate.window_seconds // 86_400,
                        "flags": rate.flags,
                        "one_end_user": rate.one_end_user,
                    },
                ),
            )
        return noticed

    def _file_group(
        self,
        tx: Tx,
        organization_id: str,
        category: str,
        findings: dict[RecordKey, Finding],
        version: str,
        end_users: Mapping[RecordKey, str],
    ) -> Case:
        now = self._clock.now()
        case = self._case(tx, organization_id, category, len(findings), now)
        case = replace(case, flag_count=case.flag_count + len(findings))
        case = due(case, now, max(found.severity for found in findings.values()))
        flags = [
            replace(
                self._flag(key, found, case.case_id, now, version),
                end_user_hash=end_user_hash(organization_id, end_users.get(key, "")),
            )
            for key, found in findings.items()
        ]
        store.add_flags(tx, flags)
        case = self._noticed(tx, case, flags, now)
        store.update_to(tx, case)
        for flag in flags:
            self._hold(tx, flag)
        self._outbox.put(tx, notices.CASE, notices.open_case(case.case_id, organization_id, case.turn))
        rules = Counter(rule_id for flag in flags for rule_id in flag.rule_ids)
        self._outbox.audit(
            tx,
            audit.entry(
                "records.flagged",
                actor=notices.SERVICE,
                at=now,
                subjects=[case.case_id, organization_id, *(flag.record_id for flag in flags)],
                facts={
                    "category": category,
                    "rules": _listed(rules),
                    "matches": sum(len(flag.places) for flag in flags),
                    "rules_version": version,
                },
            ),
        )
        return case

    def _case(
        self, tx: Tx, organization_id: str, category: str, room: int, now: datetime, opened_by: str = ""
    ) -> Case:
        """The case that takes so many more records, locked; opened if there is none."""
        while True:  # each turn another transaction got on: it opened a case, or closed the one we waited for
            case = store.lock_joinable(tx, organization_id, category)
            if case is not None:
                if case.flag_count + room <= MAX_FLAGS:
                    return case
                store.update_to(tx, replace(case, is_full=True))
            opened = Case(new_id("case"), organization_id, category, 1, now, opened_by=opened_by)
            if store.add(tx, opened):
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "case.opened",
                        actor=opened_by or notices.SERVICE,
                        at=now,
                        subjects=[opened.case_id, organization_id],
                        facts={"category": category},
                    ),
                )
                return opened

    def _flag(self, key: RecordKey, found: Finding, case_id: str, now: datetime, version: str) -> Flag:
        return Flag(
            organization_id=key.organization_id,
            record_id=key.record_id,
            rules_version=version,
            case_id=case_id,
            rule_ids=found.rule_ids,
            places=tuple((hit.rule_id, *hit.start, *hit.end) for hit in _first(found.hits)),
            flagged_at=now,
            hold_request_id=hold_request_id(key, version) if found.has_content else "",
            hold_ends_at=now + self._hold_for if found.has_content else now,
            finding_id=found.finding_id,
        )


def hold_request_id(key: RecordKey, version: str) -> str:
    """The id under which a flag's hold is placed and released. Clients choose record ids, so two organizations can have the same one;
    and a record that was dismissed can be flagged again by newer rules: both take part in it."""
    rest = hashlib.sha256(f"{key.organization_id} {version}".encode()).hexdigest()[:16]
    return f"flag-{uuid.UUID(bytes=key.record_id)}-{rest}"


def _first(hits: Sequence[Hit]) -> list[Hit]:
    """Of the hits of one record, in their order, so many as are stored: the first of each rule before the second of any."""
    earlier: Counter[str] = Counter()
    ranked = []
    for hit in hits:
        ranked.append((earlier[hit.rule_id], hit))
        earlier[hit.rule_id] += 1
    return sorted(hit for _, hit in sorted(ranked)[:MAX_PLACES])


def _listed(rules: Counter[str]) -> str:
    """Rule ids and how many records each flagged, as far as a fact has room."""
    listed = ""
    for rule_id, count in sorted(rules.items()):
        listed += f"{' ' if listed else ''}{rule_id}={count}"
        if len(listed) > _MOST_FACT:
            return listed[:_MOST_FACT] + " ..."
    return listed
