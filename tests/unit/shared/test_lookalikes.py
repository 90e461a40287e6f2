"""Names that look alike, by Unicode's own table (UTS #39, section 4)."""

import pytest

from shared.lookalikes import looks, skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Emma Engineer", "Emma Engineer"),
        ("Emma Engineer", "EMMA  engineer "),
        ("Emma Engineer", "\u0415mma Engineer"),  # CYRILLIC CAPITAL LETTER IE
        ("Chen", "\u0421h\u0435n"),  # Cyrillic throughout where it can be
        ("Olga Operator", "\u039flga Operator"),  # GREEK CAPITAL LETTER OMICRON
        ("Emma", "Ernrna"),  # two letters for one
        ("Emma", "\uff25\uff4d\uff4d\uff41"),  # full width
        ("Emma", "\U0001d404mma"),  # mathematical bold
        ("Emma", "E\u200bm\u200dma"),  # what is not seen
        ("Emma", "\u202eEmma"),
        ("Emma", "Emma\ufe0f"),
        ("Jos\u00e9", "Jose\u0301"),  # composed or not
        ("lena@vendor.example", "Iena@vendor.example"),
        ("lena@vendor.example", "1ena@vendor.example"),
        ("olga@vendor.example", "OLGA@vendor.example"),
        ("omar@vendor.example", "ornar@vendor.example"),
        ("bo0@vendor.example", "boo@vendor.example"),
        ("li01", "lIOl"),
    ],
)
def test_what_looks_the_same(one: str, other: str) -> None:
    assert looks(one) & looks(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Emma Engineer", "Elias Engineer"),
        ("Olga Operator", "Omar Operator"),
        ("Jos\u00e9", "Jose"),
        ("Mia", "Mla"),
        ("Li Wei", "Li Wei (Z\u00fcrich)"),
        ("Алла", "Алло"),
        ("王伟", "王玮"),
    ],
)
def test_what_does_not(one: str, other: str) -> None:
    assert not looks(one) & looks(other)


def test_a_skeleton_is_its_own() -> None:
    for text in ("Emma Engineer", "\u0415mma", "m", "rn", "\U0001d404", "lI1|0O", "w", "vv", "\u04d5"):
        assert skeleton(skeleton(text)) == skeleton(text)
