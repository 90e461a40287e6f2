"""Which fields of an interaction are screened: the table in docs/screening.md is what this finds out by trying."""

from functools import cache
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor

from kept.logging.v1 import interactions_pb2
from services.safety_review.detection.matching import Matcher, Verdict
from services.safety_review.detection.rules import load_rules
from services.safety_review.detection.texts import texts_of

ROOT = Path(__file__).parents[3]
CANARY = "zebracanary"
CONTENT = interactions_pb2.InteractionContent
PLACES = {
    "prompt[].parts[].text": {"prompt": [{"parts": [{"text": CANARY}]}]},
    "prompt[].parts[].data, text or JSON": {
        "prompt": [{"parts": [{"data": CANARY.encode(), "media_type": "text/plain; charset=utf-16"}]}]
    },
    "prompt[].parts[].data, no media type": {"prompt": [{"parts": [{"data": CANARY.encode()}]}]},
    "prompt[].parts[].data, other media type, that is UTF-8": {
        "prompt": [{"parts": [{"data": CANARY.encode(), "media_type": "image/png"}]}]
    },
    "prompt[].parts[].data, other media type, that is not": {
        "prompt": [{"parts": [{"data": b"\x89" + CANARY.encode(), "media_type": "image/png"}]}]
    },
    "prompt[].parts[].media_type": {"prompt": [{"parts": [{"text": "x", "media_type": CANARY}]}]},
    "prompt[].parts[].kind": {"prompt": [{"parts": [{"text": "x", "kind": CANARY}]}]},
    "generations[].parts[]": {"generations": [{"parts": [{"text": CANARY}]}]},
    "attributes, name": {"attributes": {CANARY: "x"}},
    "attributes, value": {"attributes": {"x": CANARY}},
}


def _screened(content: interactions_pb2.InteractionContent) -> bool:
    return _matcher().screen(texts_of(content).parts).verdict is Verdict.FLAGGED


@cache
def _matcher() -> Matcher:
    return Matcher(load_rules())


def table() -> str:
    """The table as the docs show it."""
    rows = ["| field of an interaction | screened |", "|---|---|"]
    for place, given in PLACES.items():
        if "utf-16" in str(given):
            given["prompt"][0]["parts"][0]["data"] = CANARY.encode("utf-16")  # type: ignore[index]
        rows.append(f"| content.{place} | {'yes' if _screened(CONTENT(**given)) else 'no'} |")  # type: ignore[arg-type]
    others = [
        field.name for field in interactions_pb2.Interaction.DESCRIPTOR.fields if field.name != "content"
    ]
    return "\n".join((*rows, *(f"| {name} | no: log data |" for name in others)))


def test_the_docs_say_which_fields_are_screened() -> None:
    assert table() in (ROOT / "docs" / "screening.md").read_text(encoding="utf-8")


def test_no_field_of_content_is_forgotten() -> None:
    """A field that somebody adds to the contract has to be in the table."""
    named = {place.split("[")[0].split(",")[0] for place in PLACES}
    assert named == {field.name for field in CONTENT.DESCRIPTOR.fields}
    texts = {
        field.name
        for field in interactions_pb2.Part.DESCRIPTOR.fields
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    }
    assert all(any(f".{text}" in place for place in PLACES) for text in texts)
