"""What of an interaction is text: everything that was said, in order, however it was packed."""

import pytest

from kept.logging.v1 import interactions_pb2
from kept.logging.v1.interactions_pb2 import Part
from services.safety_review.detection.texts import texts_of


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
        ([Part(data="hé".encode("utf-16"), media_type="text/plain; charset=utf-16")], ["hé"]),
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
    ],
)
def test_texts_are_all_that_was_said(parts: list[Part], texts: list[str]) -> None:
    assert list(texts_of(_content(*parts))) == texts


def test_attributes_are_looked_at_after_what_was_said_with_their_names() -> None:
    content = _content(Part(text=r"\x", kind="tool_call"))
    content.attributes.update({"z": "last", "note": r'{"a": "bo\u006db"}'})
    assert list(texts_of(content)) == [
        r"\x",
        r'note: {"a": "bo\u006db"}',
        "z: last",
        "x",
        'note: {"a": "bomb"}',
    ]
