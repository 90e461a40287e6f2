"""Rules over log data: which windows are asked for, and what is found in one: one finding, in one case, held where there is content."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import cases_pb2, lifecycle_pb2, log_rules_pb2
from services.safety_review.detection.rule_fields import DuplicateRule, MalformedRule
from services.safety_review.detection.rules import load_rules, parse_rules
from shared.errors import Reason
from shared.ids import new_record_id
from tests.unit.safety_review.world import ACME, BETA, CANARY, ERASURE, World, refused

TEXT_RULE = """
format = 1
version = "7"
[[rule]]
id = "test.canary"
category = "platform_abuse"
severity = "low"
action = "flag"
literals = ["zebracanary"]
[rule.examples]
positive = ["zebracanary"]
negative = ["canary"]
"""
LOG_RULE = """
[[log_rule]]
id = "abuse.refusals"
category = "platform_abuse"
severity = "medium"
action = "flag"
counts = "in_a_row"
of = "end_user"
window_minutes = 30
at_least = 20
finish_reasons = ["content_filter", "refusal"]
api_key_kind = "trial"
"""
GRACE = timedelta(minutes=2)
WINDOW = timedelta(minutes=30)
DAY = timedelta(days=1)


@pytest.fixture
def made(url: str, tmp_path: Path) -> Iterator[World]:
    file = tmp_path / "rules.toml"
    file.write_text(TEXT_RULE + LOG_RULE)
    world = World(url, rules_file=file)
    assert not take(world).HasField("question"), "its first window is the one that it came into"
    yield world
    world.close()


def take(world: World) -> log_rules_pb2.TakeLogQuestionResponse:
    return world.peer("logging").log_rules.TakeLogQuestion(log_rules_pb2.TakeLogQuestionRequest())


def asked(world: World) -> log_rules_pb2.LogQuestion:
    """The next question, once the clock is there."""
    taken = take(world)
    assert taken.HasField("question")
    return taken.question


def first(world: World) -> log_rules_pb2.LogQuestion:
    world.clock.advance(WINDOW + GRACE)
    return asked(world)


def begins(question: log_rules_pb2.LogQuestion) -> datetime:
    return getattr(question, "from").ToDatetime(UTC)  # type: ignore[no-any-return]


def over(
    question: log_rules_pb2.LogQuestion,
    content: Sequence[bool] = (True, True),
    organization_id: str = ACME,
    member: str = "u1",
    counted: int = 30,
) -> log_rules_pb2.OverThreshold:
    """Somebody over the threshold, a record each of content: whether it has any."""
    at = begins(question) + timedelta(minutes=1)
    return log_rules_pb2.OverThreshold(
        organization_id=organization_id,
        member=member,
        counted=counted,
        records=[
            log_rules_pb2.CountedRecord(record_id=new_record_id(at), has_content=has) for has in content
        ],
    )


def answer(
    world: World, question: log_rules_pb2.LogQuestion, *who: log_rules_pb2.OverThreshold, done: bool = True
) -> None:
    request = log_rules_pb2.AnswerLogQuestionRequest(question=question, over=who, done=done)
    world.peer("logging").log_rules.AnswerLogQuestion(request)


def listed(world: World) -> log_rules_pb2.LogRule:
    (one,) = world.staff().log_rules.ListLogRules(log_rules_pb2.ListLogRulesRequest()).rules
    return one


def holds(world: World) -> list[tuple[str, bytes]]:
    world.run_jobs()
    return [
        (type(one).__name__, one.record_ids[0] if isinstance(one, holds_pb2.PlaceHoldRequest) else b"")
        for one in world.peers.holds
    ]


# --- what is asked


def test_a_window_is_asked_for_when_it_is_over_and_says_what_to_count(made: World) -> None:
    made.clock.advance(WINDOW - (made.clock.now() - datetime(1970, 1, 1, tzinfo=UTC)) % WINDOW)
    end = made.clock.now()
    made.clock.advance(GRACE - timedelta(seconds=1))
    assert not take(made).HasField("question")
    made.clock.advance(timedelta(seconds=1))
    question = asked(made)
    assert (begins(question), question.until.ToDatetime(UTC)) == (end - WINDOW, end)
    assert (question.rule_id, question.threshold, question.last) == ("abuse.refusals", 20, False)
    assert question.measure == log_rules_pb2.LOG_MEASURE_IN_A_ROW
    assert question.group == log_rules_pb2.LOG_GROUP_END_USER
    assert list(question.finish_reasons) == ["content_filter", "refusal"]
    assert question.api_key_kind == 2
    assert not take(made).HasField("question"), "nobody else works on it"
    made.clock.advance(GRACE)
    assert asked(made) == question, "who took it died"


def test_every_window_comes_once_in_order_and_once_more_a_day_later(made: World) -> None:
    begun = begins(first(made))
    made.clock.advance(DAY + 3 * WINDOW)
    seen: list[tuple[datetime, bool]] = []
    while (taken := take(made)).HasField("question"):
        seen.append((begins(taken.question), taken.question.last))
        answer(made, taken.question)
    first_looks = [at for at, last in seen if not last]
    last_looks = [at for at, last in seen if last]
    assert first_looks == [begun + number * WINDOW for number in range(len(first_looks))]
    assert last_looks == [begun + number * WINDOW for number in range(len(last_looks))]
    assert (len(first_looks), len(last_looks)) == (52, 4)
    assert listed(made).looked_until.ToDatetime(UTC) == begun + 52 * WINDOW


def test_another_version_goes_on_where_the_one_before_was(made: World, url: str, tmp_path: Path) -> None:
    question = first(made)
    (tmp_path / "rules.toml").write_text(TEXT_RULE + LOG_RULE.replace("= 20", "= 25"))
    newer = World(url, rules_file=tmp_path / "rules.toml")
    newer.clock.advance(made.clock.now() - newer.clock.now() + GRACE)
    answer(newer, question, over(question))
    assert newer.cases() == [], "what the rules before asked for is asked for anew"
    again = asked(newer)
    assert (begins(again), again.threshold) == (begins(question), 25)
    assert again.rules_version != question.rules_version
    assert not take(made).HasField("question"), "a process without the rules in force asks nothing"
    newer.close()


def test_a_rule_that_is_gone_and_comes_back_begins_then(made: World, url: str, tmp_path: Path) -> None:
    first(made)
    other = LOG_RULE.replace("abuse.refusals", "abuse.other")
    for text in (other, LOG_RULE):
        (tmp_path / "rules.toml").write_text(TEXT_RULE + text)
        world = World(url, rules_file=tmp_path / "rules.toml")
        world.clock.advance(made.clock.now() - world.clock.now() + 10 * DAY)
        assert not take(world).HasField("question")
        world.close()


# --- what is found


def test_what_is_found_is_one_finding_in_one_case_and_held(made: World) -> None:
    question = first(made)
    found = over(question)
    answer(made, question, found, done=False)
    answer(made, question, found, over(question, member="u2"))
    answer(made, question, found)  # the answer was lost: said again, and past
    (case,) = made.cases()
    assert (case.category, case.organization_id, len(case.flags)) == ("platform_abuse", ACME, 4)
    assert {tuple(flag.rule_ids) for flag in case.flags} == {("abuse.refusals",)}
    assert not any(flag.without_content for flag in case.flags)
    assert [(one.counted, one.threshold, one.records) for one in case.log_findings] == [
        (30, 20, 2),
        (30, 20, 2),
    ]
    assert begins(case.log_findings[0]) == begins(question)  # type: ignore[arg-type]
    assert len(holds(made)) == 4
    assert listed(made).findings == 2
    assert [entry.kind for entry in made.peers.entries].count("log_data.found") == 2
    entry = next(one for one in made.peers.entries if one.kind == "log_data.found")
    assert (entry.organization_id, list(entry.subjects)) == ("", [case.case_id, ACME])
    assert "u1" not in made.stored(), "pseudonyms are not kept"


def test_the_last_look_finds_what_came_late_and_nothing_twice(made: World) -> None:
    question = first(made)
    early = over(question)
    answer(made, question, early)
    made.clock.advance(DAY)
    while not (again := asked(made)).last:
        answer(made, again)
    assert begins(again) == begins(question)
    answer(made, again, over(again, counted=40), over(again, member="late"))
    (case,) = made.cases()
    assert sorted(one.counted for one in case.log_findings) == [30, 30], "one for each window and version"
    assert len(case.flags) == 4


def test_without_content_nothing_is_held_and_the_case_says_so(made: World) -> None:
    question = first(made)
    answer(made, question, over(question, (False, False)), over(question, (False, True), BETA))
    bare, mixed = sorted(made.cases(), key=lambda case: case.organization_id)
    assert (bare.records_without_content, mixed.records_without_content) == (2, 1)
    assert [flag.without_content for flag in bare.flags] == [True, True]
    (held,) = holds(made)
    assert held == ("PlaceHoldRequest", next(one.record_id for one in mixed.flags if not one.without_content))
    made.dismiss(bare.case_id)
    assert len(holds(made)) == 1, "nothing is released that was not held"
    made.reopen(bare.case_id, who=3)
    assert len(holds(made)) == 1


def test_a_record_in_a_case_already_is_not_put_into_another(made: World) -> None:
    question = first(made)
    found = over(question, (True, True))
    record = made.record(CANARY)
    record.record_id = found.records[0].record_id
    assert made.screen(record) == ["FLAGGED"]
    answer(made, question, found)
    (case,) = made.cases()
    assert sorted(tuple(flag.rule_ids) for flag in case.flags) == [("abuse.refusals",), ("test.canary",)]


def test_a_record_whose_text_was_dismissed_under_these_rules_is_counted_all_the_same(made: World) -> None:
    question = first(made)
    found = over(question, (True,))
    record = made.record(CANARY)
    record.record_id = found.records[0].record_id
    made.screen(record)
    made.dismiss(made.cases()[0].case_id)
    answer(made, question, found)
    (case,) = made.cases(cases_pb2.CASE_STATE_OPEN)
    assert [flag.record_id for flag in case.flags] == [record.record_id]


def test_what_was_counted_is_no_rate_of_flags(made: World) -> None:
    question = first(made)
    answer(made, question, over(question, [True] * 60))
    (case,) = made.cases()
    assert list(case.rates) == []


def test_a_rule_that_observes_keeps_nothing_and_is_asked_once(url: str, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(TEXT_RULE + LOG_RULE.replace('"flag"', '"observe"'))
    world = World(url, rules_file=tmp_path / "rules.toml")
    take(world)
    question = first(world)
    answer(world, question, over(question))
    assert world.cases() == []
    assert (world.count("log_findings"), listed(world).findings) == (0, 0)
    world.clock.advance(DAY + WINDOW)
    while (taken := take(world)).HasField("question"):
        assert not taken.question.last
        answer(world, taken.question)
    world.close()


def test_killed_at_its_commit_a_window_is_filed_once(made: World, url: str, tmp_path: Path) -> None:
    """Before the commit nothing of it is there, after it all is; either way it is said again."""
    question = first(made)
    found = over(question)
    for moment in ("before", "after"):

        def die(when: str, moment: str = moment) -> None:
            if when == moment:
                raise RuntimeError("killed")

        dying = World(url, rules_file=tmp_path / "rules.toml", on_commit=die)
        with pytest.raises(Exception, match=r"."):
            answer(dying, question, found)
        dying.close()
        assert made.count("log_findings") == (moment == "after")
    answer(made, question, found)
    (case,) = made.cases()
    assert (len(case.flags), len(case.log_findings), len(holds(made))) == (2, 1, 2)


# --- the end of it


def test_an_erased_organization_gets_no_finding(made: World) -> None:
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)
    made.peer("retention").lifecycle.EraseOrganization(request)
    question = first(made)
    answer(made, question, over(question), over(question, organization_id=BETA))
    assert [case.organization_id for case in made.cases()] == [BETA]


def test_an_erased_end_users_finding_goes_with_the_records(made: World) -> None:
    question = first(made)
    mine, other = over(question), over(question, member="u2")
    answer(made, question, mine, other, done=False)
    request = lifecycle_pb2.EraseRecordsRequest(
        organization_id=ACME, erasure_id=ERASURE, record_ids=[one.record_id for one in mine.records]
    )
    made.peer("retention").lifecycle.EraseRecords(request)
    answer(made, question, mine)
    (case,) = made.cases()
    assert [flag.record_id for flag in case.flags] == sorted(one.record_id for one in other.records)
    assert [one.records for one in case.log_findings] == [2]
    assert made.count("log_findings") == 1


# --- what is refused


def _later(one: log_rules_pb2.OverThreshold) -> None:
    one.records[0].record_id = new_record_id(datetime(2031, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: setattr(one, "counted", 19),
        _later,
        lambda one: setattr(one, "member", ""),
        lambda one: one.ClearField("records"),
        lambda one: setattr(one, "organization_id", "acme"),
    ],
)
def test_an_answer_to_no_question_is_refused_and_nothing_changed(made: World, spoil: Any) -> None:
    question = first(made)
    spoiled = over(question)
    spoil(spoiled)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        answer(made, question, over(question, member="u2"), spoiled)
    assert made.cases() == []
    made.clock.advance(GRACE)
    assert asked(made) == question


def test_only_logging_asks_and_answers_and_only_safety_staff_lists(made: World) -> None:
    for caller in (made.peer("retention"), made.staff()):
        with refused(Reason.REASON_CALLER_NOT_ALLOWED):
            caller.log_rules.TakeLogQuestion(log_rules_pb2.TakeLogQuestionRequest())
    with refused(Reason.REASON_NOT_AUTHORIZED):
        made.nobody().log_rules.ListLogRules(log_rules_pb2.ListLogRulesRequest())


@pytest.mark.parametrize(
    ("was", "becomes", "error"),
    [
        ('"abuse.refusals"', '"test.canary"', DuplicateRule),
        ('"abuse.refusals"', '"Abuse"', MalformedRule),
        ("= 30", "= 7", MalformedRule),
        ("= 30", "= 120", MalformedRule),
        ("= 30", "= true", MalformedRule),
        ("= 20", "= 1", MalformedRule),
        ("= 20", '= "20"', MalformedRule),
        ('"in_a_row"', '"places"', MalformedRule),
        ('"in_a_row"', '"end_users"', MalformedRule),
        ('"end_user"', '"person"', MalformedRule),
        ('["content_filter", "refusal"]', "[]", MalformedRule),
        ('"trial"', '"stolen"', MalformedRule),
        ("counts", "weighs", MalformedRule),
        ('api_key_kind = "trial"', 'countries = ["KP"]', MalformedRule),  # of no country
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_by_name(
    was: str, becomes: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="log rule 1"):
        parse_rules((TEXT_RULE + LOG_RULE.replace(was, becomes)).encode(), name="rules.toml")


OF_COUNTRY = LOG_RULE.replace('"end_user"', '"country"').replace('"in_a_row"', '"records"')


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("= 20", '= 20\ncountries = ["Korea"]'),
        ("= 20", '= 20\ncountries = ["kp"]'),
        ("= 20", '= 20\ncountries = "KP"'),
        ("= 20", f"= 20\ncountries = {['KP'] * 251}"),
        ("= 20", "= 1"),
        ('"records"', '"countries"'),
    ],
)
def test_a_rule_of_countries_that_cannot_be_used_is_refused(was: str, becomes: str) -> None:
    with pytest.raises(MalformedRule, match="log rule 1"):
        parse_rules((TEXT_RULE + OF_COUNTRY.replace(was, becomes)).encode(), name="rules.toml")


def test_what_a_rule_counts_of_keys_and_countries_is_asked_of_logging(
    made: World, url: str, tmp_path: Path
) -> None:
    first(made)
    named = OF_COUNTRY.replace("= 20", '= 1\ncountries = ["KP", "CU"]')
    of_key = LOG_RULE.replace("abuse.refusals", "abuse.keys")
    of_key = of_key.replace('"end_user"', '"api_key"').replace('"in_a_row"', '"countries"')
    (tmp_path / "rules.toml").write_text(TEXT_RULE + named + of_key)
    newer = World(url, rules_file=tmp_path / "rules.toml")
    newer.clock.advance(made.clock.now() - newer.clock.now())
    assert not take(newer).HasField("question")
    newer.clock.advance(WINDOW + GRACE)
    asked_for = {one.rule_id: one for one in (asked(newer), asked(newer))}
    places, keys = asked_for["abuse.refusals"], asked_for["abuse.keys"]
    assert (list(places.countries), places.threshold) == (["KP", "CU"], 1)
    assert (places.measure, places.group) == (
        log_rules_pb2.LOG_MEASURE_RECORDS,
        log_rules_pb2.LOG_GROUP_COUNTRY,
    )
    assert (keys.measure, keys.group) == (
        log_rules_pb2.LOG_MEASURE_COUNTRIES,
        log_rules_pb2.LOG_GROUP_API_KEY,
    )
    shown = newer.staff().log_rules.ListLogRules(log_rules_pb2.ListLogRulesRequest()).rules
    assert [(list(one.countries), list(one.finish_reasons), one.api_key_kind) for one in shown] == [
        (["KP", "CU"], ["content_filter", "refusal"], 2),
        ([], ["content_filter", "refusal"], 2),
    ]
    answer(newer, places, over(places, member="KP", counted=1))
    (case,) = newer.cases()
    assert [one.counted for one in case.log_findings] == [1]
    assert len(case.flags) == 2
    newer.close()


def test_the_shipped_file_has_some() -> None:
    assert len({rule.id for rule in load_rules().log_rules}) >= 3


# --- windows in which there was nothing


def passed(world: World, question: log_rules_pb2.LogQuestion, until: datetime, **more: Any) -> None:
    request = log_rules_pb2.AnswerLogQuestionRequest(question=question, **{"done": True, **more})
    request.nothing_until.FromDatetime(until)
    world.peer("logging").log_rules.AnswerLogQuestion(request)


def test_windows_that_are_due_are_passed_over_together_and_those_after_are_asked(made: World) -> None:
    begun = begins(first(made))
    made.clock.advance(5 * WINDOW)
    question = asked(made)
    latest = question.may_pass_until.ToDatetime(UTC)
    assert latest == begun + 6 * WINDOW
    passed(made, question, begun + 4 * WINDOW)
    again = asked(made)
    assert begins(again) == begun + 4 * WINDOW
    passed(made, again, latest)
    assert not take(made).HasField("question")
    assert listed(made).looked_until.ToDatetime(UTC) == latest
    passed(made, question, begun + 3 * WINDOW)  # said again, and past
    assert listed(made).looked_until.ToDatetime(UTC) == latest


def test_no_more_than_a_week_is_passed_over(made: World) -> None:
    begun = begins(first(made))
    made.clock.advance(30 * DAY)
    assert asked(made).may_pass_until.ToDatetime(UTC) == begun + 7 * DAY


def test_one_window_that_is_due_is_not_passed_over(made: World) -> None:
    assert not first(made).HasField("may_pass_until")


def test_what_was_passed_over_is_looked_at_for_the_last_time_all_the_same(made: World) -> None:
    question = first(made)
    made.clock.advance(DAY)
    question = asked(made)
    passed(made, question, question.may_pass_until.ToDatetime(UTC))
    late = asked(made)
    assert (late.last, begins(late)) == (True, begins(question))
    answer(made, late, over(late))
    assert len(made.cases()) == 1


@pytest.mark.parametrize("windows", [0, -1, 0.5, 7, 400])
def test_only_the_end_of_a_window_that_is_due_is_taken(made: World, windows: float) -> None:
    first(made)
    made.clock.advance(5 * WINDOW)
    question = asked(made)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        passed(made, question, begins(question) + windows * WINDOW)
    assert listed(made).looked_until.ToDatetime(UTC) == begins(question)


def test_who_is_named_was_not_nothing(made: World) -> None:
    first(made)
    made.clock.advance(5 * WINDOW)
    question = asked(made)
    for more in ({"over": [over(question)]}, {"done": False}):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            passed(made, question, begins(question) + 2 * WINDOW, **more)
    assert made.cases() == []
