"""The sentences that customers are told: one versioned file, `terms.toml`, read once and found to be whole."""

import re
import string
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.errors import KeptError, Reason

_FILE: Final = Path(__file__).with_name("terms.toml")
# Facts of an organization that a sentence may depend on, with the values that there are.
FACTS: Final[Mapping[str, tuple[str | bool, ...]]] = {
    "tier": ("paying", "trial"),
    "deployment": ("saas", "third-party-cloud", "private"),
    "zero_data_retention": (False, True),
    "erased_before": (False, True),
    "training_allowed": (False, True),
    "usage_agreed": (False, True),
    "training_term": (False, True),
    "contracts": (False, True),
    "customer_approval": (False, True),
}
_ELSEWHERE: Final = "elsewhere"
# What is filled in.
NAMES: Final = frozenset(
    {
        "support",
        "privacy",
        "trust_center",
        "terms_of_use",
        "privacy_policy",
        "usage_policy",
        "training_days",
        "contracts",
        "zero_data_retention_since",
    }
)
Facts = Mapping[str, str | bool]


@dataclass(frozen=True)
class Sentence:
    """One sentence, and of whom it is true: every fact named in `when` has that value."""

    text: str
    when: Mapping[str, str | bool]

    def is_true_of(self, facts: Facts) -> bool:
        """Whether it is said to an organization of which these facts are true."""
        return all(
            facts[name] != "saas" if value == _ELSEWHERE else facts[name] == value
            for name, value in self.when.items()
        )


@dataclass(frozen=True)
class Commitment:
    """One commitment. promise: as anybody may read it. beyond: more than the published text says."""

    commitment_id: str
    group: str
    promise: str
    beyond: bool
    sentences: Sequence[Sentence]

    def sentence(self, facts: Facts) -> str:
        """What it means for an organization of which these facts are true; {names} are not filled in."""
        return next(one.text for one in self.sentences if one.is_true_of(facts))


@dataclass(frozen=True)
class Duty:
    """What a customer takes on itself: the name by which it is accepted, and the sentence."""

    name: str
    text: str


@dataclass(frozen=True)
class TermsText:
    """The file of one version. not_said: commitments that are not said to customers, with the reason."""

    version: str
    commitments: Sequence[Commitment]
    duties: Sequence[Duty]
    not_said: Mapping[str, str]

    def require_accepted(self, version: str, names: Collection[str]) -> None:
        """Raises TERMS_NOT_ACCEPTED unless this version was accepted, every duty by name and no other."""
        if version != self.version or set(names) != {duty.name for duty in self.duties}:
            raise KeptError(
                Reason.REASON_TERMS_NOT_ACCEPTED,
                "All duties of the current version have to be accepted by name.",
                metadata={"version": self.version},
            )


def load(path: Path = _FILE) -> TermsText:
    """The version in force. Raises ValueError for a file that could leave somebody without an answer, or that says what it cannot know."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    made = TermsText(
        version=content["version"],
        commitments=tuple(_commitment(entry) for entry in content["commitments"]),
        duties=tuple(Duty(entry["name"], entry["text"]) for entry in content["duties"]),
        not_said=content.get("not_said", {}),
    )
    ids = [one.commitment_id for one in made.commitments] + list(made.not_said)
    names = [duty.name for duty in made.duties]
    if len(set(ids)) != len(ids) or len(set(names)) != len(names) or not names:
        raise ValueError("a commitment or duty of the terms stands there twice, or there is no duty")
    if not all(re.fullmatch("[a-z0-9-]{1,64}", name) for name in names) or not re.fullmatch(
        "[0-9A-Za-z_.-]{1,32}", made.version
    ):
        raise ValueError("the terms need a version, and names of duties that can be sent")
    return made


def _commitment(entry: Mapping[str, Any]) -> Commitment:
    made = Commitment(
        commitment_id=entry["id"],
        group=entry["group"],
        promise=entry["promise"],
        beyond=entry.get("beyond", False),
        sentences=tuple(Sentence(one["text"], one.get("when", {})) for one in entry["sentences"]),
    )
    if not re.fullmatch("C[0-9]{2}", made.commitment_id) or not made.sentences or made.sentences[-1].when:
        raise ValueError(f"{made.commitment_id}: needs an id like C01, and a last sentence for everybody")
    for sentence in made.sentences:
        for name, value in sentence.when.items():
            known = FACTS.get(name, ())
            if value not in known and not (name == "deployment" and value == _ELSEWHERE):
                raise ValueError(f"{made.commitment_id}: no organization has {name} = {value}")
        used = {name for _, name, _, _ in string.Formatter().parse(sentence.text) if name is not None}
        if not used <= NAMES:
            raise ValueError(f"{made.commitment_id}: nothing fills in {', '.join(sorted(used - NAMES))}")
    return made
