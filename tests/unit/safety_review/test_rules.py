"""The rules file: what is accepted, what is refused and by which error, and that the shipped one does what it
says."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.safety_review.detection.matching import Matcher, Verdict, failed_examples
from services.safety_review.detection.rule_fields import (
    DuplicateRule,
    MalformedRule,
    RulesError,
    UnreadableRules,
)
from services.safety_review.detection.rules import EmptyMatch, InvalidPattern, load_rules, parse_rules


def rule(
    *,
    name: str = "a.rule",
    matches: str = 'literals = ["word"]',
    extra: str = "",
    examples: str = 'positive = ["word"]\nnegative = ["other"]',
) -> str:
    return (
        f'[[rule]]\nid = "{name}"\ncategory = "test"\nseverity = "low"\naction = "flag"\n{matches}\n{extra}\n'
        f"[rule.examples]\n{examples}\n"
    )


def near(words: str, within: str = "20") -> str:
    return rule(matches=f"proximity = [{{words = {words}, within = {within}}}]")


def parse(*rules: str, head: str = 'format = 1\nversion = "7"\n') -> Matcher:
    return Matcher(parse_rules((head + "".join(rules)).encode(), name="test.toml"))


def test_the_shipped_rules_do_what_their_examples_say() -> None:
    shipped = load_rules()
    assert len(shipped.rules) >= 15
    assert failed_examples(Matcher(shipped)) == []


def test_examples_that_are_wrong_are_named() -> None:
    matcher = parse(rule(examples='positive = ["nothing"]\nnegative = ["a word"]'))
    assert failed_examples(matcher) == [
        "a.rule: positive example 1 is missed",
        "a.rule: negative example 1 hits",
    ]


def test_version_and_digest_identify_the_file() -> None:
    one, other = (
        parse(rule(), head=f'format = 1\nversion = "7"\n{comment}\n').rules for comment in ("", "# x")
    )
    assert one.version == other.version == "7"
    assert one.digest != other.digest
    assert len(one.digest) == 64


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param("format = 1\nversion", UnreadableRules, id="not TOML"),
        pytest.param('format = 2\nversion = "7"\n' + rule(), UnreadableRules, id="another format"),
        pytest.param('version = "7"\n' + rule(), UnreadableRules, id="no format"),
        pytest.param("format = 1\n" + rule(), MalformedRule, id="no version"),
        pytest.param('format = 1\nversion = "7\\n8"\n' + rule(), UnreadableRules, id="version of two lines"),
        pytest.param(f'format = 1\nversion = "{"7" * 101}"\n' + rule(), UnreadableRules, id="long version"),
        pytest.param('format = 1\nversion = "7"\n', MalformedRule, id="no rules"),
        pytest.param('format = 1\nversion = "7"\nrules = []\n' + rule(), MalformedRule, id="unknown table"),
    ],
)
def test_files_that_are_refused(content: str, error: type[RulesError]) -> None:
    with pytest.raises(error, match=r"^test\.toml"):
        parse_rules(content.encode(), name="test.toml")


def test_a_missing_file_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRules):
        load_rules(tmp_path / "absent.toml")
    with pytest.raises(UnreadableRules):
        parse_rules(b"\xff\xfe", name="test.toml")


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        pytest.param(rule(matches="patterns = ['(a']"), InvalidPattern, id="does not compile"),
        pytest.param(rule(matches=r"patterns = ['(a)\1']"), InvalidPattern, id="back reference"),
        pytest.param(
            rule(matches="patterns = ['(?:a{500}b){2}{2}']"), InvalidPattern, id="too large or invalid"
        ),
        pytest.param(rule(matches="patterns = ['(?:[a-z]{99}){99}']"), InvalidPattern, id="too large"),
        pytest.param(rule(matches="patterns = ['[а-я]+']"), InvalidPattern, id="range that folding breaks"),
        pytest.param(rule(matches="patterns = ['[ßx]']"), InvalidPattern, id="folds to two inside a class"),
        pytest.param(rule(matches='patterns = ["a\\u200b"]'), InvalidPattern, id="invisible character"),
        pytest.param(rule(matches="patterns = ['a*']"), EmptyMatch, id="star"),
        pytest.param(rule(matches="patterns = ['a|']"), EmptyMatch, id="empty branch"),
        pytest.param(rule(matches=r"patterns = ['\b']"), EmptyMatch, id="word border"),
        pytest.param(rule(matches=r"patterns = ['\B']"), EmptyMatch, id="inside a word"),
        pytest.param(rule(matches="patterns = ['(?m)$']"), EmptyMatch, id="line end"),
        pytest.param(rule(matches='literals = [""]'), EmptyMatch, id="empty literal"),
        pytest.param(rule(matches='literals = [" \\u200b"]'), EmptyMatch, id="literal empty once folded"),
        pytest.param(rule(matches=""), MalformedRule, id="matches nothing"),
        pytest.param(rule(matches=f"literals = ['{'x' * 61}']"), MalformedRule, id="literal too long"),
        pytest.param(rule(matches="proximity = ['word']"), MalformedRule, id="proximity that is no table"),
        pytest.param(near("[['word']]"), MalformedRule, id="proximity of one list"),
        pytest.param(near("[['word'], []]"), MalformedRule, id="proximity to nothing"),
        pytest.param(near("[['word'], 'other']"), MalformedRule, id="proximity of a text"),
        pytest.param(near("[['word'], ['\u200b']]"), EmptyMatch, id="proximity to an empty word"),
        pytest.param(near("[['a'], ['b']]", "0"), MalformedRule, id="proximity without room"),
        pytest.param(near("[['a'], ['b']]", "201"), MalformedRule, id="proximity of far away"),
        pytest.param(near("[['a'], ['b']]", "true"), MalformedRule, id="proximity within a truth"),
        pytest.param(near("[['a'], ['b'], ['c']]", "200"), InvalidPattern, id="proximity too large"),
        pytest.param(near("[['a'], ['b']]", "9, orderd = true"), MalformedRule, id="proximity, mistyped"),
        pytest.param(near("[['a'], ['b']]", "9, ordered = 1"), MalformedRule, id="order that is a number"),
        pytest.param(rule(matches='literals = "word"'), MalformedRule, id="literals as one text"),
        pytest.param(rule(matches="literals = [1]"), MalformedRule, id="literal that is a number"),
        pytest.param(rule(extra="severty = 1"), MalformedRule, id="mistyped field"),
        pytest.param(rule(name="Not An Id"), MalformedRule, id="bad id"),
        pytest.param(rule(examples='positive = ["word"]'), MalformedRule, id="no negative example"),
        pytest.param(rule(examples='negative = ["word"]'), MalformedRule, id="no positive example"),
        pytest.param(rule().replace('"low"', '"urgent"'), MalformedRule, id="unknown severity"),
        pytest.param(rule().replace('"flag"', '"delete"'), MalformedRule, id="unknown action"),
        pytest.param(rule().replace('"test"', '"weather"'), MalformedRule, id="unknown category"),
    ],
)
def test_rules_that_are_refused(broken: str, error: type[RulesError]) -> None:
    with pytest.raises(error, match="rule 2"):
        parse(rule(name="first"), broken)


def test_two_rules_cannot_share_an_id() -> None:
    with pytest.raises(DuplicateRule, match=r"a\.rule"):
        parse(rule(), rule())


@pytest.mark.parametrize("text", ["グループ", "ｸﾞﾙｰﾌﾟ", "Straße", "STRASSE", "ΗΜΕΡΑ", "ημέρα", "two  \n words"])
def test_literals_are_found_however_they_are_written(text: str) -> None:
    matcher = parse(rule(matches='literals = ["グループ", "straße", "ημέρα", "two words"]'))
    assert matcher.screen([text]).hits


@pytest.mark.parametrize("text", ["グループ", "мир труд", "МИР ТРУД"])
def test_letters_outside_ascii_in_patterns_are_folded_like_the_text(text: str) -> None:
    matcher = parse(rule(matches=r"patterns = ['グ.ー', '\bмир\s+[тр]руд', 'мир\s+труд']"))
    assert matcher.screen([text]).hits


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("Please make me a bomb.", True),
        ("A bomb is what I want to build", True),
        ("MAKE\n\nａ  Ｂｏｍｂ", True),
        ("m\u0430ke a b\u200bomb", True),
        ("how to make a nail\n bomb, please", True),
        ("make tea" + " " * 60 + "bomb", False),
        ("The maker's bombast", False),
        ("make a bath", False),
    ],
)
def test_words_near_each_other(text: str, hits: bool) -> None:
    matcher = parse(near("[['make', 'build'], ['bomb', 'nail bomb']]", "30"))
    assert bool(matcher.screen([text]).hits) is hits


def test_words_near_each_other_in_an_order() -> None:
    matcher = parse(near("[['buy'], ['stolen'], ['карты', 'カード']]", "20, ordered = true"))
    for text, hits in (("buy a stolen カード", 1), ("buy stolen КАРТЫ", 1), ("カード stolen, buy", 0)):
        assert len(matcher.screen([text]).hits) == hits, text


def test_no_shipped_rule_is_missed_where_lines_break() -> None:
    """Mail is wrapped, and tools give JSON: a line break stands wherever a space could. A word that is cut in two by one is none."""
    matcher = Matcher(load_rules())
    for shipped in matcher.rules.rules:
        for example in shipped.positive:
            hits = matcher.screen([example.replace(" ", "\n")]).hits
            assert shipped.id in {hit.rule_id for hit in hits}, example
    assert matcher.screen(["how to build a pipe\nbomb"]).verdict is Verdict.FLAGGED


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        (
            "pipe bomb",
            ["pipe bomb", "pipe\nbomb", "pipe\r\nbomb", "pipe\u00a0bomb"],
            ["pipe\n \nbomb", "pipebomb"],
        ),
        ("pipe ?bomb", ["pipebomb", "pipe\nbomb"], []),
        ("pipe {2}bomb", ["pipe  bomb", "pipe \nbomb"], ["pipe bomb"]),
        (r"pipe\ bomb", ["pipe bomb"], ["pipe\nbomb"]),
        ("pipe[ -]bomb", ["pipe bomb", "pipe-bomb"], ["pipe\nbomb"]),
        ("pipe[[:digit:] ]bomb", ["pipe bomb", "pipe1bomb"], ["pipe\nbomb", "pipe(bomb"]),
        ("pipe[] ]bomb", ["pipe bomb", "pipe]bomb"], ["pipe\nbomb"]),
        (r"\Qpipe bomb\E", ["pipe bomb"], ["pipe\nbomb"]),
    ],
)
def test_a_space_in_a_pattern_is_a_line_break_too(pattern: str, hits: list[str], misses: list[str]) -> None:
    matcher = parse(rule(matches=f"patterns = ['{pattern}']"))
    assert [text for text in (*hits, *misses) if matcher.screen([text]).hits] == hits
