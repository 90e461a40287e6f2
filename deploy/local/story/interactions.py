"""The story's input: JSON Lines with `prompt` and `generation`. A line that cannot be used is named, and the rest goes on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kept.logging.v1 import interactions_pb2

# What logging takes of one record is 6 MiB; a line of a sample that is near it is no sample.
_LONGEST: Final = 4 * 1024 * 1024
_TEXTS: Final = ("application", "model", "end_user")


@dataclass(frozen=True)
class Sample:
    """One line of the input. number: where it stands in the file."""

    number: int
    prompt: str
    generation: str
    application: str = ""
    model: str = ""
    end_user: str = ""

    def content(self, before: str = "") -> interactions_pb2.InteractionContent:
        """Prompt and generation as a record's content; `before` is put in front of the prompt."""
        return interactions_pb2.InteractionContent(
            prompt=[
                interactions_pb2.Message(
                    role=interactions_pb2.MESSAGE_ROLE_USER,
                    parts=[interactions_pb2.Part(text=before + self.prompt)],
                )
            ],
            generations=[
                interactions_pb2.Message(
                    role=interactions_pb2.MESSAGE_ROLE_ASSISTANT,
                    parts=[interactions_pb2.Part(text=self.generation)],
                )
            ],
        )


def read(path: Path) -> tuple[list[Sample], list[str]]:
    """The usable lines, and a sentence for each that is not. Raises OSError when the file cannot be read."""
    samples: list[Sample] = []
    faults: list[str] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            samples.append(_sample(number, line))
        except ValueError as error:
            faults.append(f"{path.name}, line {number}: {error}; it is left out.")
    return samples, faults


def _sample(number: int, line: bytes) -> Sample:
    if len(line) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} bytes")
    try:
        content: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    for name in ("prompt", "generation"):
        if not isinstance(content.get(name), str):
            raise ValueError(f"`{name}` is missing or no text")
    texts = {name: content[name] for name in _TEXTS if isinstance(content.get(name), str)}
    for name, text in (("prompt", content["prompt"]), ("generation", content["generation"]), *texts.items()):
        if not _encodable(text):
            raise ValueError(f"`{name}` holds half a character (a lone surrogate)")
    limits = {"application": 200, "model": 200, "end_user": 128}
    return Sample(
        number,
        content["prompt"],
        content["generation"],
        **{name: "".join(c for c in text if c.isprintable())[: limits[name]] for name, text in texts.items()},
    )


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
