"""What shows nothing, and that whoever looks for something looks past it: screening, masking, and who compares names."""

import pytest

from services.safety_review.detection.folding import fold
from shared.lookalikes import looks
from shared.masking import mask
from shared.unseen import DEFAULT_IGNORABLE, shows_nothing

# The ends of each row of DerivedCoreProperties.txt, Default_Ignorable_Code_Point, and what lies just outside.
INSIDE = (
    "00AD 034F 061C 115F 1160 17B4 17B5 180B 180D 180E 180F 200B 200F 202A 202E 2060 2064 2065 2066 206F 3164 FE00 FE0F FEFF FFA0 FFF0 "
    "FFF8 1BCA0 1BCA3 1D173 1D17A E0000 E0001 E0002 E001F E0020 E007F E0080 E00FF E0100 E01EF E01F0 E0FFF"
)
OUTSIDE = "00AC 00AE 115E 1161 17B3 17B6 180A 1810 2010 2029 202F 205F 2070 3163 3165 FDFF FE10 FFA1 FFEF FFFC DFFFF E1000"


def test_the_set_is_that_of_unicode() -> None:
    assert {chr(int(point, 16)) for point in INSIDE.split()} < DEFAULT_IGNORABLE
    assert not {chr(int(point, 16)) for point in OUTSIDE.split()} & DEFAULT_IGNORABLE
    assert len(DEFAULT_IGNORABLE) == 4174


@pytest.mark.parametrize("look", [fold, mask, looks])
def test_nothing_that_shows_nothing_is_seen(look: object) -> None:
    assert callable(look)
    text = {fold: "zebracanary", mask: "card 4111 1111 1111 1111, thanks", looks: "Emma"}[look]
    hidden = [char for char in sorted(DEFAULT_IGNORABLE) if look(text[:-9] + char + text[-9:]) != look(text)]
    assert hidden == []


@pytest.mark.parametrize(
    ("plain", "marker"),
    [
        ("4111 1111 1111 1111", "[CARD]"),
        ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
        ("192.168.1.17", "[IP]"),
        ("+49 30 1234567", "[PHONE]"),
        ("ada@example.org", "[EMAIL]"),
    ],
)
def test_nothing_shows_through_between_what_shows_nothing(plain: str, marker: str) -> None:
    for char in (*map(chr, (int(point, 16) for point in INSIDE.split())), "\x00", "\x7f", "\x9f", "\ud83d"):
        assert mask(f"see {char.join(plain)}, and") == f"see {marker}, and", hex(ord(char))


@pytest.mark.parametrize(
    "char", [*"\t\n\v\f\r \x1c\x85\xa0\u2028\u2029\u3000", "\u2800", "a", "\u0301", "\ufffd"]
)
def test_what_shows(char: str) -> None:
    assert not shows_nothing(char)
