"""What names a customer is gone from a text, however it is written; what is left is still a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety_review.evaluation.scrubbing import Identifiers, Scrubber
from shared.masking import WITHHELD

IDENTIFIERS = Identifiers(
    organizations=("Zebrafink Holding GmbH", "Ono & Co", "Krüger Łódź AG"),
    emails=("grace.hopper@mail.zebrafink.example", "hotline@ono.example"),
    people=(("Grace", "Hopper"), ("Li", "Wu")),
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Write to grace.hopper@mail.zebrafink.example.", "Write to [EMAIL]."),
        ("We at Zebrafink Holding GmbH sell birds.", "We at [CUSTOMER] sell birds."),
        ("ZEBRAFINK  holding\ngmbh", "[CUSTOMER]"),
        ("the ZebrafinkBot and zebrafink_db", "the [CUSTOMER]Bot and [CUSTOMER]_db"),
        ("https://shop.zebrafink.example/x", "https://shop.[CUSTOMER].example/x"),
        ("Grace Hopper, or Hopper, or grace.hopper", "[PERSON], or [PERSON], or [PERSON]"),
        ("ｚｅｂｒａｆｉｎｋ", "[CUSTOMER]"),
        ("ask Krüger Łódź, or Krüger, or Kruger", "ask [CUSTOMER], or [CUSTOMER], or [CUSTOMER]"),
        # Spelled so that it would not be found: nothing of it is kept.
        ("the Zebraf\u200bink plan", WITHHELD),
        ("the Z\u0435brafink plan", WITHHELD),
        # So is what JSON's escapes hide; its unescaped form is a text of its own.
        (r'{"by":"\nGrace","of":"x"}', WITHHELD),
        (r'{"by":"\\u0047race","of":"x"}', WITHHELD),
        (r'{"by":"Grace\n","of":"\"Zebrafink\""}', r'{"by":"[PERSON]\n","of":"\"[CUSTOMER]\""}'),
        ("call +49 30 1234567", "call [PHONE]"),
        # Other words stay, though a short name is in them.
        (
            "a monochrome graceful hopperlike thing of Wuhan",
            "a monochrome graceful hopperlike thing of Wuhan",
        ),
    ],
)
def test_what_names_a_customer_goes(text: str, clean: str) -> None:
    assert Scrubber(IDENTIFIERS).scrub(text) == clean


WITHOUT_CASE = Identifiers(
    organizations=("Initech AG", "Straßenbau Weiß GmbH", "İzmir Işık AŞ"),
    people=(("Can", "Yıldız"), ("İpek", "Groß")),
)


@pytest.mark.parametrize(
    ("words", "marker"),
    [
        ("Yıldız YILDIZ yildiz İpek ipek IPEK Groß GROSS gross GROẞ", "[PERSON]"),
        ("Initech INITECH ınitech İNİTECH", "[CUSTOMER]"),
        ("Straßenbau STRASSENBAU strassenbau Weiß WEISS İzmir izmir IZMIR Işık IŞIK ışık işik", "[CUSTOMER]"),
    ],
)
def test_a_name_goes_in_whatever_case_it_is_written(words: str, marker: str) -> None:
    """Cases are not pairs: i, ı and İ are one letter to a pattern without regard to case, and ß two to another rule."""
    scrubber = Scrubber(WITHOUT_CASE)
    for word in words.split():
        assert scrubber.scrub(f"ask {word}, please") == f"ask {marker}, please"


@given(
    st.text("iıİIsßſẞσςΣkKǅǆŉ \u0307", min_size=1, max_size=9),
    st.text("iıİIsßſẞσςΣkKǅǆŉ \u0307", max_size=30),
)
def test_no_name_stops_a_text_from_being_cleaned(name: str, text: str) -> None:
    scrubber = Scrubber(Identifiers(organizations=(name,), people=((name, "Wu"),)))
    for case in (text, f"{text} {name.upper()} {name.lower()} {name.title()}"):
        clean = scrubber.scrub(case)
        assert scrubber.scrub(clean) == clean


@pytest.mark.parametrize(
    "name",
    ["a\u200b\u200b", "\u0430\u200b\u200b", "\u2800\u2800a", "a\u0301\u0302\u0303", "a\u3164\u3164\u3164"],
)
def test_a_name_of_which_little_is_seen_is_none(name: str) -> None:
    """It would be every "a" of every text."""
    scrubber = Scrubber(Identifiers(organizations=(name,), people=((name, "Wu"),)))
    assert scrubber.scrub("How do I find a bird?") == "How do I find a bird?"


@pytest.mark.parametrize("name", ["t\u04bb\u0435", "th\u200be", "thé"])
def test_a_name_that_looks_like_a_common_word_costs_the_word_and_not_the_text(name: str) -> None:
    scrubber = Scrubber(Identifiers(people=((name, "Wu"),)))
    assert scrubber.scrub("Where is the bird?") == "Where is [PERSON] bird?"


def test_what_was_removed_is_counted_and_nothing_is_removed_twice() -> None:
    scrubber = Scrubber(IDENTIFIERS)
    once = scrubber.scrub("Grace Hopper of Zebrafink: +49 30 1234567, [PHONE]")
    assert scrubber.scrub(once) == once
    assert dict(scrubber.removed) == {"person": 1, "customer": 1, "phone": 1}


def test_without_identifiers_personal_data_goes_all_the_same() -> None:
    assert Scrubber(Identifiers()).scrub("mail a@b.example now") == "mail [EMAIL] now"
