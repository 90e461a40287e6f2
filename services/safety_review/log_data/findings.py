"""What logging's answers become: who reached a rule's threshold in a window is one finding, for each version of the rules one, and its
records join a case like flagged ones. Records with content are held; of others there is nothing to hold, and the case says so.

Of whoever stayed below a threshold nothing comes here, and of whom a rule only observes nothing is stored.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import Counter

from services.safety_review import notices
from services.safety_review.detection.in_force import Rules, version_of
from services.safety_review.detection.rule_fields import Action
from services.safety_review.log_data.questions import Question, moved, questions
from services.safety_review.log_data.rules import Group, LogRule
from services.safety_review.reviewing.flags import RANKS, Finding, Flags
from services.safety_review.store import Tx, erased_records, erasures
from services.safety_review.store import log_rules as store
from services.safety_review.store.log_rules import LogFinding
from services.safety_review.store.verdicts import RecordKey
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import invalid
from shared.ids import derived_id, lowest_record_id
from shared.outbox import Outbox

_FOUND: Final = Counter(
    "kept_log_rule_findings_total", "Who reached the threshold of a rule over log data.", ["rule", "action"]
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Over:
    """Who reached a threshold. member: pseudonym, application, gateway, key or country, empty for the organization. records: the first of
    those that were counted, and whether they have content."""

    organization_id: str
    member: str
    counted: int
    records: Mapping[bytes, bool]


class LogFindings:
    """Files answers."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, rules: Rules, flags: Flags) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._rules = rules
        self._flags = flags

    def answer(
        self,
        rule_id: str,
        version: str,
        begins: datetime,
        over: Sequence[Over],
        *,
        is_last: bool,
        done: bool,
        nothing_until: datetime | None = None,
    ) -> None:
        """Files what was found in a window; done: there is no more of it; nothing_until: nor is there anything in the windows that follow,
        up to there. An answer that comes when the rules, or the window, are past changes nothing. Raises INVALID_ARGUMENT for one that is
        none to the question: too little, records of another time, windows that are not due."""
        rules = self._rules.matcher.rules
        rule = next((one for one in rules.log_rules if one.id == rule_id), None)
        with self._database.transaction() as tx:
            closed = erasures.stay_inside(tx, {one.organization_id for one in over})
            progress = store.lock(tx, rule_id)
            if progress is None:
                return
            if rule is None or version != version_of(rules):
                store.put(tx, rule_id)  # others are in force: it is asked anew
                return
            asked = [one for one in questions(rule, version, progress) if one.is_last == is_last]
            if not asked or asked[0].begins != begins:
                return
            question = asked[0]
            _require_answers(question, over)
            until = question.ends
            if nothing_until is not None:
                _require_passed(question, nothing_until, self._clock.now(), nobody=done and not over)
                until = nothing_until
            if rule.action is Action.FLAG:
                for one in over:
                    if one.organization_id not in closed:
                        self._file(tx, question, one)
            if done:
                store.put(tx, rule_id, **moved(question, until))
        if rule.action is Action.OBSERVE:
            _FOUND.labels(rule_id, rule.action.value).inc(len(over))

    def _file(self, tx: Tx, question: Question, one: Over) -> None:
        rule = question.rule
        finding_id = _finding_id(question, one)
        if store.is_known(tx, finding_id):
            return
        keys = {RecordKey(one.organization_id, record_id): has for record_id, has in one.records.items()}
        gone = erased_records.among(tx, keys.keys())
        found = {key: _finding(rule, finding_id, has) for key, has in keys.items() if key not in gone}
        end_users = dict.fromkeys(found, one.member) if rule.group is Group.END_USER else {}
        filed = self._flags.file_counted(tx, found, question.rules_version, end_users) if found else None
        if filed is None:
            return
        case, records = filed
        now = self._clock.now()
        store.add(
            tx,
            LogFinding(
                finding_id,
                rule.id,
                question.rules_version,
                one.organization_id,
                question.begins,
                question.ends,
                one.counted,
                rule.threshold,
                case.case_id,
                now,
            ),
        )
        self._outbox.audit(
            tx,
            audit.entry(
                "log_data.found",
                actor=notices.SERVICE,
                at=now,
                subjects=[case.case_id, one.organization_id],
                facts={
                    "rule": rule.id,
                    "rules_version": question.rules_version,
                    "counted": one.counted,
                    "threshold": rule.threshold,
                    "window_from": question.begins.isoformat(),
                    "records": records,
                    "without_content": sum(not each.has_content for each in found.values()),
                },
            ),
        )
        _FOUND.labels(rule.id, rule.action.value).inc()
        _log.info("log_data.found", rule=rule.id)


def _finding(rule: LogRule, finding_id: str, has_content: bool) -> Finding:
    return Finding(
        (),
        rule.category.value,
        RANKS[rule.severity],
        log_rule=rule.id,
        finding_id=finding_id,
        has_content=has_content,
    )


def _finding_id(question: Question, one: Over) -> str:
    parts = (
        question.rule.id,
        question.rules_version,
        question.begins.isoformat(),
        one.organization_id,
        one.member,
    )
    return derived_id("finding", hashlib.sha256("\0".join(parts).encode()).digest())


def _require_passed(question: Question, until: datetime, now: datetime, *, nobody: bool) -> None:
    if not nobody:
        raise invalid("nothing_until", "is not for an answer that names somebody, or that goes on")
    if not question.begins < until <= question.may_pass_until(now) or until != question.rule.window_of(until):
        raise invalid("nothing_until", "is not the end of a window that is due")


def _require_answers(question: Question, over: Collection[Over]) -> None:
    low, high = lowest_record_id(question.begins), lowest_record_id(question.ends)
    for one in over:
        if one.counted < question.rule.threshold:
            raise invalid("over.counted", "is less than was asked for")
        if not all(low <= record_id < high for record_id in one.records):
            raise invalid("over.records", "were not created in the window that was asked for")
        if (question.rule.group is Group.ORGANIZATION) != (not one.member):
            raise invalid("over.member", "must name whom the rule counts for, and nobody for an organization")
