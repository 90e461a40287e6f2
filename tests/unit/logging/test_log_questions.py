"""Counting log data for safety review: what is counted, for whom, and that nobody is named who stayed below."""

from datetime import timedelta
from typing import Any

import pytest

from kept.logging.v1 import interactions_pb2
from kept.safety_review.v1 import log_rules_pb2
from shared.errors import KeptError
from tests.unit.logging.peers import NOON, ORG, OTHER, ZDR
from tests.unit.logging.world import World

RECORDS = log_rules_pb2.LOG_MEASURE_RECORDS
IN_A_ROW = log_rules_pb2.LOG_MEASURE_IN_A_ROW
KEYS = ("apikey_" + "a" * 26, "apikey_" + "b" * 26)
API_KEY = log_rules_pb2.LOG_GROUP_API_KEY
COUNTRY = log_rules_pb2.LOG_GROUP_COUNTRY
END_USER = log_rules_pb2.LOG_GROUP_END_USER
ORGANIZATION = log_rules_pb2.LOG_GROUP_ORGANIZATION
TRIAL = interactions_pb2.API_KEY_KIND_TRIAL
HOUR = timedelta(hours=1)
REASONS = {
    "s": "stop",
    "f": "content_filter",
    "b": "stop,content_filter",
    "o": "content_filter_off,no_content_filter",
}


def store(world: World, organization_id: str = ORG, reasons: str = "s", **told: Any) -> list[bytes]:
    """One record a letter of reasons, in the order of their creation from a minute before now on: "s" for stop, "f" for content_filter,
    "b" for both, of two choices, "o" for others whose names hold it."""
    made = []
    for place, letter in enumerate(reasons):
        one = world.interaction(organization_id, age=timedelta(seconds=60) - timedelta(milliseconds=place))
        one.finish_reason = REASONS[letter]
        for name, value in told.items():
            setattr(one, name, value)
        made.append(one)
    assert {one.reason for one in world.record(*made)} == {0}
    return [one.record_id for one in made]


def ask(world: World, **told: Any) -> list[log_rules_pb2.OverThreshold]:
    """Who reached the threshold in the hour before noon."""
    question = log_rules_pb2.LogQuestion(
        **{
            "rule_id": "a.rule",
            "rules_version": "7",
            "measure": RECORDS,
            "group": END_USER,
            "threshold": 3,
            **told,
        }
    )
    getattr(question, "from").FromDatetime(NOON - HOUR)
    question.until.FromDatetime(NOON)
    world.peers.question = log_rules_pb2.TakeLogQuestionResponse(question=question)
    world.peers.answers.clear()
    while world.jobs["log_questions"].step():
        pass
    assert [one.done for one in world.peers.answers][-1:] == [True]
    assert all(one.question == question for one in world.peers.answers)
    return [over for answer in world.peers.answers for over in answer.over]


def told(over: list[log_rules_pb2.OverThreshold]) -> list[tuple[str, str, int]]:
    return [(one.organization_id, one.member, one.counted) for one in over]


def test_who_reaches_the_threshold_is_named_with_the_first_records_and_nobody_else(world: World) -> None:
    ids = store(world, reasons="sss")
    store(world, reasons="ss", end_user="u2")
    store(world, reasons="sss", end_user="")
    bare = store(world, ZDR, "ssss", end_user="u3")
    (one, without) = ask(world)
    assert told([one, without]) == [(ORG, "u1", 3), (ZDR, "u3", 4)]
    assert [(record.record_id, record.has_content) for record in one.records] == [
        (each, True) for each in ids
    ]
    assert [(record.record_id, record.has_content) for record in without.records] == [
        (each, False) for each in bare
    ]
    assert "OpenRecords" not in world.peers.calls, "content has no part in it"


def test_only_what_was_created_in_the_window_counts(world: World) -> None:
    store(world, reasons="ss")
    world.record(world.interaction(age=timedelta(0)), world.interaction(age=HOUR + timedelta(seconds=1)))
    assert ask(world) == []
    world.record(world.interaction(age=HOUR), world.interaction(age=timedelta(milliseconds=1)))
    assert told(ask(world)) == [(ORG, "u1", 4)]


@pytest.mark.parametrize(
    ("wanted", "counted"),
    [
        ({"group": ORGANIZATION}, [("", 6)]),
        ({"group": log_rules_pb2.LOG_GROUP_APPLICATION}, [("assistant", 6)]),
        ({"group": log_rules_pb2.LOG_GROUP_GATEWAY}, [("edge", 6)]),
        ({"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_PROMPT_TOKENS}, [("", 18)]),
        ({"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_GENERATION_TOKENS}, []),
        (
            {"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_END_USERS, "threshold": 2},
            [("", 2)],
        ),
        ({"api_key_kind": TRIAL}, [("u2", 3)]),
        ({"api_key_kind": interactions_pb2.API_KEY_KIND_PRODUCTION}, [("u1", 3)]),
        ({"finish_reasons": ["content_filter"], "threshold": 2}, [("u1", 2), ("u2", 2)]),
    ],
)
def test_what_is_counted_for_whom(
    world: World, wanted: dict[str, Any], counted: list[tuple[str, int]]
) -> None:
    store(world, reasons="fsf")
    store(world, reasons="ffs", end_user="u2", api_key_kind=TRIAL)
    assert told(ask(world, **wanted)) == [(ORG, *one) for one in counted]


@pytest.mark.parametrize(
    ("wanted", "counted"),
    [
        ({"group": API_KEY}, [(KEYS[0], 3), (KEYS[1], 4)]),
        ({"group": COUNTRY}, [("DE", 3), ("KP", 4)]),
        ({"group": COUNTRY, "countries": ["KP", "FR"], "threshold": 1}, [("FR", 1), ("KP", 4)]),
        ({"group": API_KEY, "measure": log_rules_pb2.LOG_MEASURE_COUNTRIES, "threshold": 2}, [(KEYS[1], 3)]),
        ({"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_COUNTRIES}, [("", 3)]),
        ({"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_API_KEYS, "threshold": 2}, [("", 2)]),
        ({"group": ORGANIZATION, "measure": log_rules_pb2.LOG_MEASURE_API_KEYS}, []),
        ({"group": API_KEY, "measure": IN_A_ROW, "finish_reasons": ["content_filter"]}, [(KEYS[0], 3)]),
    ],
)
def test_keys_and_countries_count_where_they_are_named(
    world: World, wanted: dict[str, Any], counted: list[tuple[str, int]]
) -> None:
    store(world, reasons="ffff", end_user="nobody's key, from nowhere")
    store(world, reasons="fff", api_key_id=KEYS[0], country="KP")
    store(world, reasons="s", api_key_id=KEYS[1], country="FR")
    store(world, reasons="sf", api_key_id=KEYS[1], country="DE")
    store(world, reasons="f", api_key_id=KEYS[1], country="KP")
    store(world, reasons="s", country="DE")
    assert told(ask(world, **wanted)) == [(ORG, *one) for one in counted]


@pytest.mark.parametrize(
    ("reasons", "longest"),
    [("fff", 3), ("fsfsf", 0), ("ffsfffff", 5), ("sfffs", 3), ("sss", 0), ("ffffsfff", 4)],
)
def test_a_row_ends_with_another_reason(world: World, reasons: str, longest: int) -> None:
    store(world, reasons=reasons)
    store(world, OTHER, "ff")
    found = told(ask(world, measure=IN_A_ROW, finish_reasons=["content_filter"]))
    assert found == ([(ORG, "u1", longest)] if longest else [])


def test_a_call_of_several_choices_counts_where_one_of_them_ended_so(world: World) -> None:
    store(world, reasons="bfosb")
    store(world, OTHER, "fbbsf")
    filtered: dict[str, Any] = {"finish_reasons": ["content_filter", "refusal"]}
    assert told(ask(world, **filtered)) == [(ORG, "u1", 3), (OTHER, "u1", 4)]
    assert [len(one.records) for one in ask(world, **filtered)] == [3, 4]
    assert told(ask(world, measure=IN_A_ROW, **filtered)) == [(OTHER, "u1", 3)]
    assert told(ask(world, finish_reasons=["stop,content_filter"], threshold=2)) == [
        (ORG, "u1", 2),
        (OTHER, "u1", 2),
    ]


def test_many_come_in_parts_each_once(world: World) -> None:
    records = []
    for number in range(250):
        one = world.interaction(age=timedelta(minutes=5))
        one.end_user = f"u{number:03}"
        records.append(one)
    world.record(*records)
    found = ask(world, threshold=1)
    assert [one.member for one in found] == [f"u{number:03}" for number in range(250)]
    assert [len(one.over) for one in world.peers.answers] == [100, 100, 50]


def test_no_more_records_are_named_than_somebody_looks_at(world: World) -> None:
    ids = store(world, reasons="s" * 130)
    (one,) = ask(world)
    assert one.counted == 130
    assert [record.record_id for record in one.records] == ids[:100]


@pytest.mark.parametrize("down", ["TakeLogQuestion", "AnswerLogQuestion"])
def test_what_could_not_be_said_is_asked_again(world: World, down: str) -> None:
    store(world, reasons="sss")
    ask(world)
    world.peers.question.question.CopyFrom(world.peers.answers[0].question)
    world.peers.answers.clear()
    world.peers.down.add(down)
    with pytest.raises(KeptError):
        world.jobs["log_questions"].step()
    world.peers.down.clear()
    assert world.jobs["log_questions"].step()
    assert [told(list(one.over)) for one in world.peers.answers] == [[(ORG, "u1", 3)]]


def test_a_question_of_a_newer_version_stays_open(world: World) -> None:
    world.peers.question.question.measure = 99  # type: ignore[assignment]
    assert not world.jobs["log_questions"].step()
    assert world.peers.answers == []
