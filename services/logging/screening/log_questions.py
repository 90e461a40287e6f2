"""Log data counted for the rules of safety review: it asks about a window, and is told who reached a threshold and by which records; of
whoever stayed below it nothing leaves this service.

Recording knows nothing of it: what is stored anyway is counted, once a window is over. Safety review remembers how far that is, so a
process that dies is followed by another, and what was said twice counts once. When it was away for long, windows in which nothing
counts are passed over many at a time.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from kept.safety_review.v1 import log_rules_pb2, log_rules_pb2_grpc
from services.logging.store import log_counts
from services.logging.store.log_counts import Reached, Wanted
from shared.database import Database
from shared.ids import day_start, lowest_record_id, record_time
from shared.jobs import Job

_ORGANIZATIONS_AT_ONCE: Final = 200
_ANSWERED_AT_ONCE: Final = 100
_log = structlog.get_logger(__name__)


class LogQuestions:
    """Answers whatever safety review asks."""

    def __init__(self, database: Database, rules: log_rules_pb2_grpc.LogRuleServiceStub) -> None:
        self._database = database
        self._rules = rules
        self.job = Job("log_questions", timedelta(seconds=15), self.step)

    def step(self) -> bool:
        """Answers one question, if there is any. A job's step: True when there may be more. Raises what the calls raise; the question is
        asked again after a while."""
        taken = self._rules.TakeLogQuestion(log_rules_pb2.TakeLogQuestionRequest())
        if not taken.HasField("question"):
            return False
        question = taken.question
        wanted = _wanted(question)
        if not wanted.is_answerable:
            _log.error("log_question.unknown", rule=question.rule_id)
            return False  # by a newer version of safety review: a newer process of this service will answer
        if question.HasField("may_pass_until"):
            nothing_until = self._nothing_until(question, wanted)
            if nothing_until is not None:
                self._answer(question, [], done=True, nothing_until=nothing_until)
                return True
        over: list[log_rules_pb2.OverThreshold] = []
        for one in self._over(question, wanted):
            over.append(one)
            if len(over) == _ANSWERED_AT_ONCE:
                self._answer(question, over, done=False)
                over = []
        self._answer(question, over, done=True)
        return True

    def _nothing_until(self, question: log_rules_pb2.LogQuestion, wanted: Wanted) -> datetime | None:
        """The end of the last window, of those that may be passed over, before anything that counts was created; None where something was
        in the first. A day at a time, so that what is looked through is bounded where there is much of it."""
        begins, ends = getattr(question, "from").ToDatetime(UTC), question.until.ToDatetime(UTC)
        window, latest = ends - begins, question.may_pass_until.ToDatetime(UTC)
        day = begins.date()
        while day <= latest.date():
            after_day = min(latest, day_start(day + timedelta(days=1)))
            within = replace(wanted, high=lowest_record_id(after_day))
            with self._database.transaction() as tx:
                organization_ids = log_counts.organizations(tx, (day,))
                firsts = [
                    log_counts.first(tx, organization_ids[start : start + _ORGANIZATIONS_AT_ONCE], within)
                    for start in range(0, len(organization_ids), _ORGANIZATIONS_AT_ONCE)
                ]
            found = min(filter(None, firsts), default=None)
            if found is not None:
                passed = (record_time(found) - begins) // window
                return begins + passed * window if passed else None
            day += timedelta(days=1)
        return latest

    def _over(
        self, question: log_rules_pb2.LogQuestion, wanted: Wanted
    ) -> Iterator[log_rules_pb2.OverThreshold]:
        """Who reached the threshold, with the records that are still there."""
        days = {getattr(question, "from").ToDatetime(UTC).date(), question.until.ToDatetime(UTC).date()}
        with self._database.transaction() as tx:
            organization_ids = log_counts.organizations(tx, days)
        for start in range(0, len(organization_ids), _ORGANIZATIONS_AT_ONCE):
            some = organization_ids[start : start + _ORGANIZATIONS_AT_ONCE]
            after: tuple[str, str] | None = None
            while True:
                with self._database.transaction() as tx:
                    page = log_counts.reached(tx, some, wanted, after, _ANSWERED_AT_ONCE)
                    found = [_over_threshold(one, log_counts.counted(tx, one, wanted)) for one in page]
                yield from (one for one in found if one.records)
                if len(page) < _ANSWERED_AT_ONCE:
                    break
                after = page[-1][:2]

    def _answer(
        self,
        question: log_rules_pb2.LogQuestion,
        over: list[log_rules_pb2.OverThreshold],
        *,
        done: bool,
        nothing_until: datetime | None = None,
    ) -> None:
        request = log_rules_pb2.AnswerLogQuestionRequest(question=question, over=over, done=done)
        if nothing_until is not None:
            request.nothing_until.FromDatetime(nothing_until)
        self._rules.AnswerLogQuestion(request)


def _wanted(question: log_rules_pb2.LogQuestion) -> Wanted:
    return Wanted(
        lowest_record_id(getattr(question, "from").ToDatetime(UTC)),
        lowest_record_id(question.until.ToDatetime(UTC)),
        question.measure,
        question.group,
        question.threshold,
        tuple(question.finish_reasons),
        question.api_key_kind,
        tuple(question.countries),
    )


def _over_threshold(one: Reached, records: list[tuple[bytes, bool]]) -> log_rules_pb2.OverThreshold:
    return log_rules_pb2.OverThreshold(
        organization_id=one.organization_id,
        member=one.member,
        counted=one.counted,
        records=[
            log_rules_pb2.CountedRecord(record_id=record_id, has_content=has_content)
            for record_id, has_content in records
        ],
    )
