"""After an outage windows in which nothing counts are passed over many at a time: what is found is what is found window by window. Both
services are the real ones; between them somebody listens, and takes the leave to pass windows over out of the questions of one rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kept.safety_review.v1 import log_rules_pb2
from shared.database import Database, migrate
from tests.support.postgres import FreshDatabase
from tests.unit.logging.peers import ORG, OTHER
from tests.unit.logging.world import World
from tests.unit.safety_review.conftest import MIGRATIONS
from tests.unit.safety_review.test_log_rules import LOG_RULE, TEXT_RULE
from tests.unit.safety_review.world import World as Review

WINDOW = timedelta(hours=1)
DAY = timedelta(days=1)
PASSING, STEADY = "abuse.passing", "abuse.steady"
# What one rule was asked: from when on, whether for the last time.
Asked = tuple[datetime, bool]
Found = tuple[datetime, bool, str, str, int, tuple[bytes, ...]]


class Between:
    """Both services, and what went between them. asked: how often, by rule. found: who was named, by rule."""

    def __init__(self, world: World, review: Review) -> None:
        self.world, self.review = world, review
        review.clock.advance(world.clock.now() - review.clock.now())
        self.asked: dict[str, list[Asked]] = {}
        self.found: dict[str, set[Found]] = {}
        self.forget()
        rules = review.peer("logging").log_rules

        def take(request: Any, _: Any) -> log_rules_pb2.TakeLogQuestionResponse:
            taken = rules.TakeLogQuestion(request)
            if taken.HasField("question"):
                question = taken.question
                self.asked[question.rule_id].append((begins(question), question.last))
                if question.rule_id == STEADY:
                    question.ClearField("may_pass_until")
            return taken

        def answer(request: log_rules_pb2.AnswerLogQuestionRequest, _: Any) -> Any:
            self.found[request.question.rule_id] |= {
                (
                    begins(request.question),
                    request.question.last,
                    one.organization_id,
                    one.member,
                    one.counted,
                    tuple(record.record_id for record in one.records),
                )
                for one in request.over
            }
            return rules.AnswerLogQuestion(request)

        vars(world.peers).update(TakeLogQuestion=take, AnswerLogQuestion=answer)
        world.start()  # its channels go there

    def forget(self) -> None:
        self.asked = {PASSING: [], STEADY: []}
        self.found = {PASSING: set(), STEADY: set()}

    def travel(self, span: timedelta) -> None:
        self.world.travel(span)
        self.world.jobs["partitions"].step()
        self.review.clock.advance(span)

    def catch_up(self) -> None:
        while self.world.jobs["log_questions"].step():
            pass


def begins(question: log_rules_pb2.LogQuestion) -> datetime:
    return getattr(question, "from").ToDatetime(UTC)  # type: ignore[no-any-return]


@pytest.fixture
def between(world: World, fresh_database: FreshDatabase, tmp_path: Path) -> Any:
    url = fresh_database("safety_review")
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.close()
    file = tmp_path / "rules.toml"
    of_both = LOG_RULE.replace("= 20", "= 2").replace("= 30", "= 60").replace('api_key_kind = "trial"', "")
    file.write_text(TEXT_RULE + "".join(of_both.replace("abuse.refusals", one) for one in (PASSING, STEADY)))
    review = Review(url, rules_file=file)
    made = Between(world, review)
    made.travel(WINDOW)
    made.catch_up()
    yield made
    review.close()


# Minutes before the end of a span of twenty hours, who, and whether it counts.
RECORDS = st.lists(
    st.tuples(st.integers(1, 20 * 60 - 1), st.sampled_from(("u1", "u2")), st.booleans(), st.booleans()),
    max_size=12,
)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=RECORDS)
def test_what_is_found_is_what_is_found_window_by_window(
    between: Between, records: list[tuple[int, str, bool, bool]]
) -> None:
    between.travel(20 * 60 * timedelta(minutes=1))
    made = []
    for minutes, user, counts, other in records:
        # Two at once: alone nobody reaches the threshold.
        for _ in range(2):
            one = between.world.interaction(OTHER if other else ORG, age=timedelta(minutes=minutes))
            one.end_user, one.finish_reason = user, "refusal" if counts else "stop"
            made.append(one)
    if made:
        between.world.record(*made)
    between.travel(WINDOW)
    between.catch_up()  # the first look
    between.travel(DAY + WINDOW)
    between.catch_up()  # and the last
    assert between.found[PASSING] == between.found[STEADY]
    if any(counts for _, _, counts, _ in records):
        assert between.found[PASSING], "somebody is found, or the comparison says nothing"
    assert len(set(between.asked[STEADY])) == len(between.asked[STEADY])
    assert set(between.asked[PASSING]) <= set(between.asked[STEADY])
    # One question for each window in which something counts, and one for each gap beside them, at either look.
    windows = {minutes for minutes, _, counts, _ in records if counts}
    assert len(between.asked[PASSING]) <= 2 * (2 * len(windows) + 2)
    between.forget()


def test_days_in_which_nothing_counted_are_one_question_a_look(between: Between) -> None:
    between.travel(2 * DAY)
    between.catch_up()
    looked = {last: len([one for one in between.asked[PASSING] if one[1] is last]) for last in (False, True)}
    assert looked == {False: 1, True: 1}
    assert len(between.asked[STEADY]) > 60
