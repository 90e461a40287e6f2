"""The file of sentences leaves nobody without an answer, contradicts nobody, and names nothing that there is not."""

import itertools
import re
from pathlib import Path

import pytest
import typer.main

from kept.cli.app import app
from services.settings.trust import terms_text
from services.settings.trust.terms_text import FACTS, Facts, TermsText, load

TEXT = load()
EVERYBODY: list[Facts] = [
    dict(zip(FACTS, values, strict=True)) for values in itertools.product(*FACTS.values())
]
# The register of commitments ends here.
LAST = 40


def test_each_commitment_is_said_to_customers_or_a_reason_is_given() -> None:
    said = [one.commitment_id for one in TEXT.commitments]
    assert said == sorted(said)
    assert sorted([*said, *TEXT.not_said]) == [f"C{number:02}" for number in range(1, LAST + 1)]
    assert all(TEXT.not_said.values())


def test_each_customer_is_told_one_sentence_on_each_commitment_and_each_sentence_is_told_somebody() -> None:
    told: set[tuple[str, str]] = set()
    for facts in EVERYBODY:
        told |= {(one.commitment_id, one.sentence(facts)) for one in TEXT.commitments}
    there = {(one.commitment_id, sentence.text) for one in TEXT.commitments for sentence in one.sentences}
    assert told == there
    assert len(there) == sum(len(one.sentences) for one in TEXT.commitments)


def test_what_is_said_is_true_of_whom_it_is_said_to() -> None:
    """Sentences that would be a lie to the wrong organization, by the words that make them one."""
    lies = (
        (r"^Logged prompts and generations are deleted", lambda facts: facts["zero_data_retention"]),
        (r"prompts and generations are logged\.", lambda facts: facts["zero_data_retention"]),
        (r"enterprise commitments cover it", lambda facts: facts["tier"] == "trial"),
        (r"is a trial", lambda facts: facts["tier"] == "paying"),
        (r"is allowed now", lambda facts: not facts["training_allowed"]),
        (r"generations is off", lambda facts: facts["training_allowed"]),
        (
            r"can ask for zero data retention",
            lambda facts: facts["tier"] == "trial" or facts["zero_data_retention"],
        ),
        (r"\{training_days\}", lambda facts: not facts["training_term"]),
        (r"\{contracts\}", lambda facts: not facts["contracts"]),
        (r"\{zero_data_retention_since\}", lambda facts: not facts["zero_data_retention"]),
        (r"[Nn]o data processing addendum is required", lambda facts: facts["deployment"] == "saas"),
        (r"screened for misuse|recorded on the platform", lambda facts: facts["deployment"] != "saas"),
        (r"standing access to your records", lambda facts: facts["deployment"] != "saas"),
        # Without the customer's approval a rule may approve, and who is on call may read before anybody does.
        (r"approved by somebody else\.", lambda facts: not facts["customer_approval"]),
        (
            r"somebody else, and an admin of yours, approved, and written",
            lambda facts: not facts["customer_approval"],
        ),
        (r"who is on call may also read at once", lambda facts: facts["customer_approval"]),
    )
    for facts in EVERYBODY:
        for one in TEXT.commitments:
            sentence = one.sentence(facts)
            for words, is_a_lie in lies:
                assert not (re.search(words, sentence) and is_a_lie(facts)), (one.commitment_id, facts)
    everything = " ".join(sentence.text for one in TEXT.commitments for sentence in one.sentences)
    assert all(re.search(words.lstrip("^"), everything) for words, _ in lies), "each lie could be told"


def test_commands_that_customers_are_sent_to_are_there() -> None:
    everything = " ".join(sentence.text for one in TEXT.commitments for sentence in one.sentences)
    named = set(
        re.findall(
            r"\bkept ((?:settings|audit|certificates|trust-center)(?: [a-z][a-z-]*)+)(?: --([a-z-]+))?",
            everything,
        )
    )
    assert len(named) > 5
    for words, option in named:
        found = typer.main.get_command(app)
        for word in words.split():
            assert word in getattr(found, "commands", {}), f"kept {words}"
            found = found.commands[word]  # type: ignore[attr-defined]
        if option:
            assert f"--{option}" in [name for parameter in found.params for name in parameter.opts]


def _written(tmp_path: Path, old: str, new: str) -> Path:
    text = Path(terms_text.__file__).with_name("terms.toml").read_text()
    assert old in text
    path = tmp_path / "terms.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "C02"', 'id = "C01"', "twice"),
        ('id = "C02"', 'id = "D2"', "an id like C01"),
        ('tier = "trial" }, text', 'tier = "free" }, text', "no organization has tier = free"),
        (
            "{ when = { training_allowed = true }",
            '{ when = { training_allowed = "yes" }',
            "training_allowed = yes",
        ),
        ("{ when = { contracts = true }", "{ when = { contract = true }", "no organization has contract"),
        ("({usage_policy})", "({password})", "nothing fills in password"),
        ('name = "business-use"', 'name = "usage-policy"', "twice"),
        ('name = "business-use"', 'name = "Business use"', "can be sent"),
        (
            '    { text = "For questions',
            '    { when = { tier = "paying" }, text = "For questions',
            "for everybody",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_not_read(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(_written(tmp_path, old, new))


def test_the_files_own_content_is_read(tmp_path: Path) -> None:
    changed: TermsText = load(_written(tmp_path, 'version = "2026-01"', 'version = "2027-02"'))
    assert changed.version == "2027-02"
    assert changed.commitments == TEXT.commitments
