"""Signed tokens: good for one purpose, until an instant, under a key; nothing else opens."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.settings.accounts.tokens import HANDLE_BYTES, Purpose, Tokens, keys_of, new_handle
from shared.config import ConfigError
from shared.redaction import Secret, SecretBytes
from tests.support.clocks import ManualClock

NOW = ManualClock().now()
SOON = NOW + timedelta(hours=1)
OLD, NEW = SecretBytes(b"o" * 32), SecretBytes(b"n" * 32)
HANDLE = bytes(range(HANDLE_BYTES))


def test_a_token_opens_until_its_end_and_fits_the_contract() -> None:
    token = Tokens([NEW]).issue(Purpose.INVITATION, HANDLE, SOON)
    opened = Tokens([NEW]).open(Purpose.INVITATION, token, SOON - timedelta(microseconds=1))
    assert opened is not None
    assert (opened.handle, opened.expires_at) == (HANDLE, SOON)
    assert Tokens([NEW]).open(Purpose.INVITATION, token, SOON) is None
    assert len(token.reveal()) == 76
    assert "handle" not in repr(opened)


def test_it_is_good_for_nothing_else_and_under_no_other_key() -> None:
    token = Tokens([NEW]).issue(Purpose.INVITATION, HANDLE, SOON)
    assert Tokens([NEW]).open(Purpose.PASSWORD_RESET, token, NOW) is None
    assert Tokens([OLD]).open(Purpose.INVITATION, token, NOW) is None


def test_a_key_is_replaced_without_a_token_lost() -> None:
    token = Tokens([OLD]).issue(Purpose.INVITATION, HANDLE, SOON)
    both = Tokens([NEW, OLD])
    assert both.open(Purpose.INVITATION, token, NOW) is not None
    assert Tokens([NEW]).open(Purpose.INVITATION, both.issue(Purpose.INVITATION, HANDLE, SOON), NOW)


@given(st.integers(0, 56), st.integers(1, 255))
def test_no_altered_byte_goes_unnoticed(place: int, change: int) -> None:
    tokens = Tokens([NEW])
    raw = bytearray(base64.urlsafe_b64decode(tokens.issue(Purpose.INVITATION, HANDLE, SOON).reveal()))
    raw[place] ^= change
    altered = Secret(base64.urlsafe_b64encode(bytes(raw)).decode())
    assert tokens.open(Purpose.INVITATION, altered, NOW) is None


@given(st.text())
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    assert Tokens([NEW]).open(Purpose.INVITATION, Secret(text), NOW) is None


def test_keys_are_read_in_order_and_short_ones_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(base64.b64encode(NEW.reveal()).decode() + "\n")
    second.write_text(base64.b64encode(OLD.reveal()).decode())
    assert [key.reveal() for key in keys_of([first, second], "x")] == [NEW.reveal(), OLD.reveal()]
    second.write_text(base64.b64encode(b"o" * 31).decode())
    with pytest.raises(ConfigError, match="holds 31 bytes"):
        keys_of([first, second], "x")
    for content in ("no base64!", "\u00e9"):
        second.write_text(content)
        with pytest.raises(ConfigError, match="cannot be read"):
            keys_of([second], "x")
    assert len(keys_of([], "kept.local")) == 1


def test_handles_are_random() -> None:
    assert len({new_handle() for _ in range(100)}) == 100
