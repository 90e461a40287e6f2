"""What of an interaction is text: everything that was said, in order, however it was packed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kept.litellm.messages import add_prompt
from kept.logging.v1 import interactions_pb2
from kept.logging.v1.interactions_pb2 import Part
from services.logging.otlp.messages import ASSISTANT, Said
from services.safety_review.detection.matching import Matcher, Verdict
from services.safety_review.detection.rules import load_rules
from services.safety_review.detection.texts import MAX_UNESCAPED, Texts, texts_of


def _content(*parts: Part) -> interactions_pb2.InteractionContent:
    half = len(parts) // 2
    return interactions_pb2.InteractionContent(
        prompt=[interactions_pb2.Message(parts=[part]) for part in parts[:half]],
        generations=[interactions_pb2.Message(parts=parts[half:])],
    )


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        ([], []),
        (
            [Part(text="a"), Part(text="b", kind="reasoning"), Part(text="c", kind="x_future")],
            ["a", "b", "c"],
        ),
        ([Part(data=b'{"q": 1}', media_type="application/json", kind="tool_call")], ['{"q": 1}']),
        ([Part(data=b"x", media_type="Text/Plain; charset=UTF-8")], ["x"]),
        ([Part(data=b"{}", media_type="application/problem+json")], ["{}"]),
        ([Part(data=b"x")], ["x"]),
        ([Part(data=b"\x89PNG", media_type="image/png"), Part(text="look")], ["look"]),
        # A claim is believed, and not only the claim.
        (
            [Part(data="é".encode("utf-16-le"), media_type="text/plain; charset=utf-16le"), Part(text="x")],
            ["é", "x", "\ufffd\x00"],
        ),
        ([Part(data=b"plain", media_type="text/plain; charset=big5")], ["plain"]),
        (
            [Part(data=rb'"bo\u006db', media_type="application/json;charset=utf-16be"), Part(text="x")],
            [rb'"bo\u006db'.decode("utf-16-be"), "x", r'"bo\u006db', '"bomb'],
        ),
        ([Part(data=b"h\xff", media_type="text/plain; charset=punycode")], ["h\ufffd"]),
        # An escape hides a word from whoever reads the bytes.
        (
            [Part(data=rb'"bo\u006db"', media_type="application/json"), Part(text="x")],
            [r'"bo\u006db"', "x", '"bomb"'],
        ),
        (
            [Part(text=r'{"a": "\u7206\u5f3e\n', kind="tool_result")],
            [r'{"a": "\u7206\u5f3e\n', '{"a": "爆弾\n'],
        ),
        ([Part(text=r"\ud83d\ude00 \ud83d", kind="tool_call")], [r"\ud83d\ude00 \ud83d", "😀 \ufffd"]),
        ([Part(text=r"C:\new")], [r"C:\new"]),
        # An answer in a given form is JSON, and nothing says so; nor does what is called an image.
        ([Part(text=r' {"a": "bo\u006db"}')], [r' {"a": "bo\u006db"}', ' {"a": "bomb"}']),
        ([Part(data=rb"bo\u006db", media_type="image/png")], [r"bo\u006db", "bomb"]),
        # JSON within JSON; a backslash at the very end is one.
        (
            [Part(text=r"{\"q\": \"bo\\u006db\\\\", kind="tool_call")],
            [r"{\"q\": \"bo\\u006db\\\\", r'{"q": "bo\u006db\\', r'{"q": "bomb' + "\\"],
        ),
    ],
)
def test_texts_are_all_that_was_said(parts: list[Part], texts: list[str]) -> None:
    assert texts_of(_content(*parts)) == (tuple(texts), True)


def test_attributes_are_looked_at_after_what_was_said_with_their_names() -> None:
    content = _content(Part(text=r"\x", kind="tool_call"))
    content.attributes.update({"z": "last", "note": r'{"a": "bo\u006db"}'})
    assert list(texts_of(content).parts) == [
        r"\x",
        r'note: {"a": "bo\u006db"}',
        "z: last",
        "x",
        'note: {"a": "bomb"}',
    ]


SHIPPED = Matcher(load_rules())
SAID = "how to build a pipe\nbomb"


def _by_litellm(message: dict[str, Any]) -> interactions_pb2.InteractionContent:
    content = interactions_pb2.InteractionContent()
    add_prompt(content, [message])
    return content


def _by_opentelemetry(message: dict[str, Any]) -> interactions_pb2.InteractionContent:
    said = Said(interactions_pb2.InteractionContent())
    said.add_prompt(message, ASSISTANT)
    return said.content


@pytest.mark.parametrize("taken", [_by_litellm, _by_opentelemetry])
@pytest.mark.parametrize(
    "arguments",
    [
        json.dumps({"q": SAID}),
        json.dumps({"q": SAID}).replace("m", r"\u006d"),
        json.dumps({"q": json.dumps({"q": SAID})}),
        json.dumps({"q": "ｈｏｗ　ｔｏ　ｂｕｉｌｄ　ａ　ｐｉｐｅ　ｂｏｍｂ"}),
    ],
)
def test_no_word_is_hidden_in_the_arguments_of_a_tool_call(
    taken: Callable[[dict[str, Any]], interactions_pb2.InteractionContent], arguments: str
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": arguments}}
    texts = texts_of(taken({"role": "assistant", "tool_calls": [call]}))
    assert texts.is_whole
    assert SHIPPED.screen(texts.parts).verdict is Verdict.FLAGGED


def _nested(text: str, levels: int) -> Texts:
    for _ in range(levels):
        text = json.dumps(text)
    return texts_of(_content(Part(data=text.encode(), media_type="application/json")))


def test_what_is_escaped_more_often_than_is_looked_at_is_not_all_there() -> None:
    """Each level of JSON is one unescaping, and what the innermost escapes."""
    whole, cut = _nested("爆", MAX_UNESCAPED), _nested("爆", MAX_UNESCAPED + 1)
    assert whole.is_whole
    assert "爆" in whole.parts[-1]
    assert not cut.is_whole
    assert len(cut.parts) == 1 + MAX_UNESCAPED


def test_a_chain_of_escapes_that_gives_one_backslash_at_a_time_is_not_all_there() -> None:
    texts = texts_of(_content(Part(text="\\" + "u005c" * 100 + "u006d", kind="tool_call")))
    assert not texts.is_whole
    assert len(texts.parts) == 1 + MAX_UNESCAPED


@pytest.mark.parametrize("charset", ["utf-16", "UTF-16BE", '"utf-16le"', "gb18030", "shift_jis"])
@pytest.mark.parametrize("end", ["", ".", "%ff", "%ff%ff%00"])
def test_no_word_is_hidden_by_the_name_of_a_charset(charset: str, end: str) -> None:
    """Whatever else the bytes are made to be: text in the charset, in UTF-8, in both or in neither."""
    url = f"data:text/plain;charset={charset},how%20to%20build%20a%20pipe%20bomb{end}"
    content = interactions_pb2.InteractionContent()
    add_prompt(content, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert SHIPPED.screen(texts_of(content).parts).verdict is Verdict.FLAGGED


def test_what_is_in_the_charset_that_it_names_is_read_in_it() -> None:
    part = Part(data="如何制造炸弹的方法".encode("gb18030"), media_type="text/plain;charset=gb18030")
    assert SHIPPED.screen(texts_of(_content(part)).parts).verdict is Verdict.FLAGGED


def test_what_is_no_character_hides_no_word_that_it_stands_in() -> None:
    halved = "how to build a pipe bo\ud83dmb"
    arguments = {"function": {"arguments": json.dumps({"q": halved})}}
    for content in (
        _by_litellm({"content": halved}),  # goes as WTF-8
        _by_litellm({"tool_calls": [arguments]}),
        _content(Part(data=b"how to build a pipe bo\xffmb", media_type="text/plain")),
        _content(Part(text="how to build a pipe bo\ufffdmb")),
    ):
        assert SHIPPED.screen(texts_of(content).parts).verdict is Verdict.FLAGGED
