"""E-mail domains that are not what they look like (UTS #39; RFC 3492, RFC 5890)."""

import pytest

from shared.errors import KeptError
from shared.mail_addresses import alike, require_honest, shown


def a_label(text: str) -> str:
    return "xn--" + text.encode("punycode").decode()


@pytest.mark.parametrize(
    "label",
    [
        "\u0430cme",  # CYRILLIC SMALL LETTER A among Latin ones
        "\u0430\u0440\u0440\u04cf\u0435",  # Cyrillic throughout, read as "apple"
        "\u0441\u0430\u0441\u0430",  # the same, as "caca"
        "g\u03bf\u03bfgle",  # GREEK SMALL LETTER OMICRON
        "\uff41cme",  # full width, which no A-label may hold
        "acme\u200b",  # what is not seen
    ],
)
@pytest.mark.parametrize("place", ["{}.example", "mail.{}.example", "acme.{}", "{}.EXAMPLE"])
def test_a_domain_that_hides_another_script_is_refused_by_name(label: str, place: str) -> None:
    address = "ada@" + place.format(a_label(label).upper() if "EX" in place else a_label(label))
    with pytest.raises(KeptError) as refused:
        require_honest(address, "email")
    assert refused.value.name == "DECEPTIVE_ADDRESS"
    assert refused.value.metadata == {"field": "email"}
    assert "ada" not in refused.value.text


@pytest.mark.parametrize(
    "address",
    [
        "ada@xn--a-.example",  # plain letters need no A-label
        "ada@xn--.example",
        "ada@xn--99999999999.example",  # no Punycode
        "ada@xn--\u0430.example",
    ],
)
def test_what_cannot_be_shown_is_refused_too(address: str) -> None:
    with pytest.raises(KeptError, match="not what it looks like"):
        require_honest(address, "email")


@pytest.mark.parametrize(
    "domain",
    [
        "acme.example",
        "sub.acme-1.example",
        a_label("m\u00fcnchen") + ".example",
        a_label("\u043f\u043e\u0447\u0442\u0430")
        + ".example",  # "mail" in Russian, which no Latin word looks like
        a_label("\u4e2d\u56fd") + ".example",
        a_label("\u65e5\u672c\u8a9eabc") + ".example",  # Japanese beside Latin, as is usual
        a_label("\u0627\u0644\u0633\u0639\u0648\u062f\u064a\u0629") + ".example",
    ],
)
def test_honest_domains_in_any_script_pass(domain: str) -> None:
    require_honest(f"ada@{domain}", "email")
    assert shown(domain).encode("idna").decode() == domain or domain.isascii()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lena@acme.example", "1ena@acme.example"),
        ("omar@acme.example", "ornar@acme.example"),
        ("new@acrne.example", "ada@acme.example"),  # the domain alone
        ("new@acme.examp1e", "ada@acme.example"),
        ("new@" + a_label("\u0430cme") + ".example", "ada@acme.example"),
    ],
)
def test_addresses_that_look_alike(one: str, other: str) -> None:
    assert alike(one, other)
    assert alike(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@acme.example", "ADA@Acme.example"),  # one and the same
        ("ada@acme.example", "ida@acme.example"),
        ("ada@acme.example", "ada@globex.example"),
    ],
)
def test_addresses_that_do_not(one: str, other: str) -> None:
    assert not alike(one, other)
