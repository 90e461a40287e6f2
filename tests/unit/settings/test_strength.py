"""Passwords that are too easy to guess are refused, with advice that quotes nothing of them."""

import pytest

from services.settings.accounts.strength import require_strong
from shared.errors import KeptError
from shared.redaction import Secret

ABOUT = ("Ada", "Lovelace", "ada@acme.example", "Aurora Analytics")


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "qwertyuiop1234",
        "aaaaaaaaaaaaaaa",
        "abcdefghijklmno",
        "p@ssw0rdp@ssw0rd",
        "a" * 256,
        "password" * 32,
        "adalovelace12",
        "ada@acme.example",
        "aurora analytics",
        "Lovelace Ada",
    ],
)
def test_what_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(KeptError) as refused:
        require_strong(Secret(password), ABOUT)
    assert refused.value.name == "WEAK_PASSWORD"
    said = refused.value.text + str(refused.value.metadata)
    assert password not in said
    assert "Ada" not in said


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "a long enough passphrase",
        "kVn3-9bQz_TtqL0w",
        "\u0434\u043b\u0438\u043d\u043d\u044b\u0439 \u043f\u0430\u0440\u043e\u043b\u044c",
        "zwei Hühner im Regen",
        "x7" + "q" * 10 + "Lr#93kd" * 30,
    ],
)
def test_what_is_not_passes_whatever_its_characters(password: str) -> None:
    require_strong(Secret(password), ABOUT)


def test_what_others_know_of_the_person_makes_it_weaker() -> None:
    password = Secret("borealisbank77")
    require_strong(password, ())
    with pytest.raises(KeptError):
        require_strong(password, ("Borealis Bank", "borealisbank"))
