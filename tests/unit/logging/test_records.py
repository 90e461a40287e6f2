"""What is looked at by hand says of no record what the contract's own rules do not say."""

from __future__ import annotations

from typing import Any

import protovalidate
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from kept.logging.v1 import interactions_pb2
from services.logging.records import is_plain, row_of
from shared.ids import new_record_id
from tests.unit.logging.peers import NOON, ORG

_LENGTHS = (0, 1, 63, 64, 65, 127, 128, 129, 199, 200, 201)
_LINES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.builds(
    str.__mul__, st.sampled_from("aä \n\x85\u2028\u200b\U0001f600"), st.sampled_from(_LENGTHS)
)
_INTEGERS = st.integers(-(2**31), 2**31 - 1) | st.sampled_from((-1, 0, 1, 1000))
_DAY = 86_400
_LATENCIES = st.builds(
    Duration,
    seconds=st.sampled_from((-1, 0, 1, _DAY - 1, _DAY, _DAY + 1, 2**63 - 1)),
    nanos=st.sampled_from((-1, 0, 1, 999_999_999, 2**31 - 1)),
)
_NAMES = st.sampled_from(
    ("", "apikey_" + "a" * 26, "apikey_" + "A" * 26, "apikey_", "apikey_" + "a" * 26 + "\n")
)
_COUNTRIES = st.sampled_from(("", "DE", "de", "DEU", "D", "D\n", "ÄÖ", "DE\n"))


_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "application": _LINES,
    "model": _LINES,
    "end_user": _LINES,
    "finish_reason": _LINES,
    "prompt_tokens": _INTEGERS,
    "generation_tokens": _INTEGERS,
    "latency": _LATENCIES,
    "api_key_kind": st.integers(-1, 4) | st.just(2**31 - 1),
    "api_key_id": _NAMES,
    "country": _COUNTRIES,
}


@pytest.mark.parametrize("name", _FIELDS)
@given(st.data())
def test_what_is_plain_at_a_glance_is_within_the_contract(name: str, data: st.DataObject) -> None:
    said: dict[str, Any] = {name: data.draw(_FIELDS[name])}
    made = interactions_pb2.Interaction(record_id=new_record_id(NOON), organization_id=ORG, **said)
    if is_plain(row_of(made, received_at=NOON, gateway="edge")):
        assert not protovalidate.collect_violations(made)


def test_what_most_gateways_send_is_plain() -> None:
    made = interactions_pb2.Interaction(
        record_id=new_record_id(NOON),
        organization_id=ORG,
        application="Kundendienst (Köln)",
        model="org/model-1:free",
        end_user="u-1",
        finish_reason="stop",
        prompt_tokens=12,
        generation_tokens=2**31 - 1,
        latency=Duration(seconds=1, nanos=5),
        api_key_kind=interactions_pb2.API_KEY_KIND_TRIAL,
        api_key_id="apikey_" + "a" * 26,
        country="DE",
    )
    assert is_plain(row_of(made, received_at=NOON, gateway="edge"))
