"""The rules file: what counts as a sign that an interaction breaks the usage policy.

A rules file is TOML: `format = 1`, a `version` that changes with every edit (one short line; a flag cites it), and
`[[rule]]` tables:

    id          dotted lower-case name, unique in the file
    category    part of the usage policy it guards (`Category`)
    severity    low | medium | high | critical: what reviewers look at first
    action      flag (keep the record, open a case) | observe (count it, keep nothing)
    literals    words found anywhere, also inside others; every spelling that folding knows (`folding`)
    proximity   words near each other: `words` (two or three lists, of each of which one must occur), `within` (at most so many
                characters between them, line ends included), `ordered` (in this order; any order without it). Whole words, as far as
                they begin and end with an ASCII letter or digit
    patterns    RE2 expressions over the folded text; write letters small; `\\b` is an ASCII word border. A space outside of a class
                stands for a line break too; an escaped one does not. A dot does with `(?s)` in front
    languages   BCP 47 tags of the wording, for readers; every rule runs over every text
    examples    positive (must hit) and negative (must not); at least one of each

`[[log_rule]]` tables are rules over log data: see `log_data/rules.py`.

All of it is checked before any of it is used. Errors name file, rule and reason; they quote the rules, which
are the operator's own text, and never anything that was screened.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from services.safety_review.detection.folding import fold, fold_literal
from services.safety_review.detection.rule_fields import (
    Action,
    Category,
    DuplicateRule,
    MalformedRule,
    RulesError,
    Severity,
    UnreadableRules,
    choice,
    refuse_unknown,
    rule_id_of,
    text,
    texts,
)
from services.safety_review.log_data.rules import LogRule, parse_log_rule
from shared.linear_patterns import LinearPattern, PatternError

DEFAULT_RULES = Path(__file__).parents[1] / "rules" / "default.toml"
FORMAT = 1
# Instructions of one expression's program; the time per byte of text is bounded by it. `.{0,60}` takes some
# 300.
MAX_PATTERN_SIZE = 10_000
# Characters of one literal. It has to be found over the border of two parts, around which only so much is read again.
MAX_LITERAL = 60
# Characters of the version: flags, records and audit entries cite it with the file's SHA-256 behind.
MAX_VERSION_LENGTH = 100
# Characters between two words that are near each other.
MAX_WITHIN = 200
_BORDER = r"\b"


class InvalidPattern(RulesError):
    """An expression is not RE2, is too large, or holds letters that folding takes apart."""


class EmptyMatch(RulesError):
    """A literal or pattern matches the empty string: it would hit every text."""


@dataclass(frozen=True)
class Rule:
    """One rule. `expressions` are RE2 expressions over folded text: those of the literals, then of proximity, then the patterns."""

    id: str
    category: Category
    severity: Severity
    action: Action
    expressions: tuple[str, ...]
    languages: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class RuleSet:
    """A checked rules file. `digest` is the SHA-256 of its bytes in hex: two files of one version differ by
    it."""

    version: str
    digest: str
    rules: tuple[Rule, ...]
    log_rules: tuple[LogRule, ...] = ()


def load_rules(path: Path = DEFAULT_RULES) -> RuleSet:
    """Read and check a rules file. Raises a RulesError for the first thing wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableRules(str(path), error.strerror or "cannot be read") from None
    return parse_rules(content, name=str(path))


def parse_rules(content: bytes, *, name: str) -> RuleSet:
    """Check the bytes of a rules file; `name` is what errors call it."""
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableRules(name, f"not a TOML file in UTF-8 ({error})") from None
    refuse_unknown(table, {"format", "version", "rule", "log_rule"}, name)
    if table.get("format") != FORMAT:
        raise UnreadableRules(name, f"format must be {FORMAT}")
    version = text(table, "version", name)
    if not version.isprintable() or len(version) > MAX_VERSION_LENGTH:
        raise UnreadableRules(name, f"version must be one line of at most {MAX_VERSION_LENGTH} characters")
    entries = table.get("rule")
    if not isinstance(entries, list) or not entries:
        raise MalformedRule(name, "holds no [[rule]]")
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(entries, start=1):
        rule = _rule(entry, f"{name}, rule {number}")
        if rule.id in rules:
            raise DuplicateRule(f"{name}, rule {number}", f"the id {rule.id!r} is taken")
        rules[rule.id] = rule
    return RuleSet(
        version,
        hashlib.sha256(content).hexdigest(),
        tuple(rules.values()),
        _log_rules(table, set(rules), name),
    )


def _log_rules(table: dict[str, object], taken: set[str], name: str) -> tuple[LogRule, ...]:
    entries = table.get("log_rule", [])
    if not isinstance(entries, list):
        raise MalformedRule(name, "'log_rule' must be a list of tables")
    rules = []
    for number, entry in enumerate(entries, start=1):
        where = f"{name}, log rule {number}"
        rule = parse_log_rule(entry, where)
        if rule.id in taken:
            raise DuplicateRule(where, f"the id {rule.id!r} is taken")
        taken.add(rule.id)
        rules.append(rule)
    return tuple(rules)


_FIELDS = {
    "id",
    "category",
    "severity",
    "action",
    "literals",
    "proximity",
    "patterns",
    "languages",
    "examples",
}


def _rule(entry: object, where: str) -> Rule:
    if not isinstance(entry, dict):
        raise MalformedRule(where, "is not a table")
    refuse_unknown(entry, _FIELDS, where)
    rule_id, where = rule_id_of(entry, where)
    examples = entry.get("examples")
    if not isinstance(examples, dict):
        raise MalformedRule(where, "has no [rule.examples]")
    refuse_unknown(examples, {"positive", "negative"}, where)
    positive, negative = texts(examples, "positive", where), texts(examples, "negative", where)
    if not positive or not negative:
        raise MalformedRule(where, "needs a positive and a negative example")
    literals, patterns = texts(entry, "literals", where), texts(entry, "patterns", where)
    proximity = entry.get("proximity", [])
    if not isinstance(proximity, list):
        raise MalformedRule(where, "'proximity' must be a list of tables")
    if not literals and not patterns and not proximity:
        raise MalformedRule(where, "has no literals, no proximity and no patterns")
    return Rule(
        id=rule_id,
        category=choice(Category, entry, "category", where),
        severity=choice(Severity, entry, "severity", where),
        action=choice(Action, entry, "action", where),
        expressions=(
            *(_checked(_spelled(literal, where), where) for literal in literals),
            *(_near(table, where) for table in proximity),
            *(_pattern(pattern, where) for pattern in patterns),
        ),
        languages=texts(entry, "languages", where),
        positive=positive,
        negative=negative,
    )


def _spelled(literal: str, where: str, border: str = "") -> str:
    """An expression for the word in all its folded forms; a space in it stands for any white space. border: put where the word begins
    or ends with an ASCII letter or digit."""
    if len(literal) > MAX_LITERAL:
        raise MalformedRule(where, f"a literal is longer than {MAX_LITERAL} characters")
    forms = [form.split() for form in fold_literal(literal)]
    if not all(forms):
        raise EmptyMatch(where, f"the literal {literal!r} is empty once folded")
    expressions = []
    for words in forms:
        before, after = (
            border if end.isascii() and end.isalnum() else "" for end in (words[0][0], words[-1][-1])
        )
        expressions.append(before + r"\s+".join(_quote(word) for word in words) + after)
    return f"(?:{'|'.join(expressions)})"


def _near(table: object, where: str) -> str:
    """An expression for words that are near each other."""
    if not isinstance(table, dict):
        raise MalformedRule(where, "an entry of 'proximity' is not a table")
    refuse_unknown(table, {"words", "within", "ordered"}, where)
    lists = table.get("words")
    if not isinstance(lists, list) or not 2 <= len(lists) <= 3:
        raise MalformedRule(where, "'words' of a proximity are two or three lists of words")
    within, ordered = table.get("within"), table.get("ordered", False)
    if type(within) is not int or not 1 <= within <= MAX_WITHIN:
        raise MalformedRule(where, f"'within' must be a number from 1 to {MAX_WITHIN}")
    if type(ordered) is not bool:
        raise MalformedRule(where, "'ordered' must be true or false")
    groups = []
    for number in range(len(lists)):
        words = texts({"words": lists[number]}, "words", where)
        if not words:
            raise MalformedRule(where, "a list of 'words' is empty")
        groups.append(f"(?:{'|'.join(_spelled(word, where, border=_BORDER) for word in words)})")
    gap = f"(?s:.{{0,{within}}}?)"
    orders = [groups] if ordered else permutations(groups)
    return _checked("|".join(gap.join(order) for order in orders), where)


def _quote(word: str) -> str:
    return "".join(char if char.isalnum() or ord(char) > 127 else f"\\{char}" for char in word)


# Folded text has no other white space; two breaks are what CR LF folds to. Of so few RE2 still makes one row of letters that the pattern
# needs, which it does not of `\s+`: that screens a sixth slower.
_GAP = r"(?:[ \n]|\n\n)"
# In patterns with one of these it is not told here whether a space is within a class, or quoted: theirs stay spaces.
_UNTOLD = (r"\Q", "[:", "[]", "[^]")


def _pattern(pattern: str, where: str) -> str:
    """The expression with its letters outside ASCII folded as the text will be, and line breaks where it has spaces.

    What folds to several characters (a voiced kana to its letter and the mark) is grouped. Inside a class
    that cannot be done; and a range between such letters is refused, because folding replaces some of them by
    Latin letters and would turn the range of the Cyrillic alphabet into one that starts at the Latin a.
    """
    folded: list[str] = []
    escaped = in_class = False
    has_gaps = not any(sign in pattern for sign in _UNTOLD)
    for index, char in enumerate(pattern):
        if char.isascii():
            is_gap = has_gaps and char == " " and not (escaped or in_class)
            folded.append(_GAP if is_gap else char)
            if not escaped and char in "[]":
                in_class = char == "["
            escaped = char == "\\" and not escaped
            continue
        escaped = False
        form = fold(char)
        if not form or (in_class and len(form) != 1):
            raise InvalidPattern(where, f"{char!r} folds to {form!r}, which cannot stand here")
        if in_class and "-" in pattern[max(0, index - 1) : index + 2]:
            raise InvalidPattern(where, f"{char!r} stands beside a hyphen: list the letters of a range")
        folded.append(form if len(form) == 1 else f"(?:{form})")
    return _checked("".join(folded), where)


# Where an expression can match without using up a character, it does so in one of these: at the ends, at a
# word border, inside a word, at a line end.
_PROBES = (b"", b"a b", b"ab", b"1\n2", b"\n", b"-")


def _checked(expression: str, where: str) -> str:
    try:
        compiled = LinearPattern(expression, case_sensitive=False)
    except PatternError as error:
        raise InvalidPattern(where, f"{expression!r} does not compile: {error}") from None
    if compiled.size > MAX_PATTERN_SIZE:
        too_large = f"{compiled.size} instructions, {MAX_PATTERN_SIZE} allowed"
        raise InvalidPattern(where, f"{expression!r} is too large: {too_large}")
    for probe in _PROBES:
        if any(start == end for start, end in compiled.spans(probe)):
            raise EmptyMatch(where, f"{expression!r} matches the empty string")
    return expression
