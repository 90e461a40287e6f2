"""Masking: what is found in the forms people write, what is left alone, and that nothing of a value shows
through."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared import masking
from shared.linear_patterns import LinearPattern
from shared.masking import KINDS, NOT_FOUND, WITHHELD, iban_holds, luhn_holds, mask, mask_parts

ROOT = Path(__file__).parents[3]
FOUND = [
    # e-mail
    ("write to anna.berg+news@example.com, please", "write to [EMAIL], please"),
    ("<o'brien@mail.example.co.uk>", "<[EMAIL]>"),
    ("müller@bücher.example", "[EMAIL]"),
    ("иван@пример.example", "[EMAIL]"),
    ("用户@例子.中国", "[EMAIL]"),
    ("an taro@mail.日本.jp, info@nic.みんな und wang@abc.公司", "an [EMAIL], [EMAIL] und [EMAIL]"),
    ("taro@パソコンpc.jp ada@한국abc.kr som@ไทย2.th", "[EMAIL] [EMAIL] [EMAIL]"),
    ("ada@example.com입니다. ada@example.org으로", "[EMAIL]입니다. [EMAIL]으로"),
    ("ada@example.com和bob.smith@example.org", "[EMAIL]和[EMAIL]"),
    ("발신 ada@example.com와bob.smith@clinic.example", "발신 [EMAIL]와[EMAIL]"),
    ("b@例子。ada@example.org", "[EMAIL]"),
    ("ada@example.com或者访问www.example.org的页面", "[EMAIL]或者访问www.example.org的页面"),
    ("连接git@example.com然后编辑README.md文件", "连接[EMAIL]然后编辑README.md文件"),
    ("请写信到ada@example.org。然后 ada@example。org, ada@例え｡jp", "请写信到[EMAIL]。然后 [EMAIL], [EMAIL]"),
    ("連絡先はtaro@example.jpです。", "連絡先は[EMAIL]です。"),
    ("ａｎｎａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "[EMAIL]"),
    ("an\u200bna@exam\u00adple.com", "[EMAIL]"),
    ('"anna berg"@example.com', "[EMAIL]"),
    ('{"mail":"anna@example.com"}', '{"mail":"[EMAIL]"}'),
    ("a@example.com,b@example.org", "[EMAIL],[EMAIL]"),
    ("ada@example\u3002org", "[EMAIL]"),
    ("x" * 300 + "@example.com", "[EMAIL]"),
    # cards
    ("card 4111 1111 1111 1111, exp 04/27", "card [CARD], exp 04/27"),
    ("4111-1111-1111-1111", "[CARD]"),
    ("3782 822463 10005", "[CARD]"),
    ("5555555555554444", "[CARD]"),
    ("４２４２　４２４２　４２４２　４２４２", "[CARD]"),
    ("٤٢٤٢ ٤٢٤٢ ٤٢٤٢ ٤٢٤٢", "[CARD]"),
    ("4111\u200b1111\u200b1111\u200b1111", "[CARD]"),
    ("4111 1111 1111 1111 5555 5555 5555 4444", "[CARD] [CARD]"),
    ("カード4111111111111111です", "カード[CARD]です"),
    (
        "id\u200b4111111111111111, Ada\x004111111111111111\x00",
        "id\u200b[CARD], Ada\x00[CARD]\x00",
    ),
    ("4111 1111 1111 1111\u0336\u0336", "[CARD]"),
    ("\u0336".join("card 4111 1111 1111 1111, "), "\u0336".join("card ") + "\u0336[CARD],\u0336 "),
    (
        "rene\u0301@exempl\u0065\u0301 and rene\u0301@mail.exemple\u0301.",
        "rene\u0301@exempl\u0065\u0301 and [EMAIL].",
    ),
    # IBANs
    ("IBAN: DE89 3704 0044 0532 0130 00.", "IBAN: [IBAN]."),
    ("gb82west12345698765432", "[IBAN]"),
    ("GB82 WEST 1234 5698 7654 32 and more", "[IBAN] and more"),
    ("FR14-2004-1010-0505-0001-3M02-606", "[IBAN]"),
    ("NO93 8601 1117 947", "[IBAN]"),
    ("ＤＥ８９ ３７０４ ００４４ ０５３２ ０１３０ ００", "[IBAN]"),
    # addresses
    ("from 192.0.2.17:8443 to 198.51.100.4.", "from [IP]:8443 to [IP]."),
    ("203.0.113.0/24", "[IP]"),
    ("2001:db8::1, [2001:db8:0:1::42]:443", "[IP], [[IP]]:443"),
    ("::ffff:192.0.2.1", "[IP]"),
    ("fe80::1%eth0", "[IP]"),
    ("from mx ([IPv6:2001:db8:85a3::8a2e:370:7334])", "from mx ([IPv6:[IP]])"),
    ("inet6 addr:2001:db8::1 Scope:Global, ip:192.0.2.1", "inet6 addr:[IP] Scope:Global, ip:[IP]"),
    ("地址:2001:db8::1/64 ip:::ffff:192.0.2.1 node:fe80::1%eth0", "地址:[IP] ip:[IP] node:[IP]"),
    # telephone numbers
    ("+49 30 1234567", "[PHONE]"),
    ("+49 (0) 30 – 123 45 67", "[PHONE]"),
    ("0049 30 1234567", "[PHONE]"),
    ("(030) 123 45 67", "[PHONE]"),
    ("0151/23456789", "[PHONE]"),
    ("01 23 45 67 89", "[PHONE]"),
    ("+33 6 12 34 56 78", "[PHONE]"),
    ("020 7946 0958 or 07700 900123", "[PHONE] or [PHONE]"),
    ("(212) 555-0100", "[PHONE]"),
    ("+1 (212) 555-0100", "[PHONE]"),
    ("1-800-555-0199", "[PHONE]"),
    ("212.555.0100", "[PHONE]"),
    ("03-1234-5678", "[PHONE]"),
    ("０９０－１２３４－５６７８", "[PHONE]"),
    ("(11) 91234-5678", "[PHONE]"),
    ("98765 43210", "[PHONE]"),
    ("138 1234 5678, 13812345678", "[PHONE], [PHONE]"),
    ("612 34 56 78", "[PHONE]"),
    ("601-234-567", "[PHONE]"),
    ("Tel.: 601 234 567", "Tel.: [PHONE]"),
    ("my phone number is 5551234567", "my phone number is [PHONE]"),
    ("電話:5551234", "電話:[PHONE]"),
    ("फ़ोन नंबर 55512345", "फ़ोन नंबर [PHONE]"),
    ("هاتف ٥٥٥١٢٣٤٥", "هاتف [PHONE]"),
    ("+966 55 123 4567", "[PHONE]"),
    ("+49 12-12-1999", "[PHONE]"),
    ("+48 00-00-1900, +44/2012-12-12", "[PHONE], [PHONE]"),
    ("+31-12-2012-345", "[PHONE]"),
    ("call +49 30 1234567 01.02.2024", "call [PHONE] 01.02.2024"),
    ("on 2025-03-01 from 030 1234567", "on 2025-03-01 from [PHONE]"),
    ("Tel: **601 234 567**", "Tel: **[PHONE]**"),
    ("Tel:\n601 234 567", "Tel:\n[PHONE]"),
    # emphasis, and names in programs: what has a form of its own has it there too
    (
        "my card is _4111 1111 1111 1111_, call _+49 30 1234567_ from _192.168.1.17_",
        "my card is _[CARD]_, call _[PHONE]_ from _[IP]_",
    ),
    ("_DE89 3704 0044 0532 0130 00_ __2001:db8::1__", "_[IBAN]_ __[IP]__"),
    ("_212-555-0100_, Tel. _601 234 567_", "_[PHONE]_, Tel. _[PHONE]_"),
    ("order_4111111111111111 iban_DE89370400440532013000_1", "order_[CARD] iban_[IBAN]_1"),
    ("4111_1111_1111_1111 DE89_3704_0044_0532_0130_00", "[CARD] [IBAN]"),
    # JSON, and JSON within it
    (
        r'{"card":"Ada\n4111111111111111","tel":"Tel:\n030 1234567","ip":"\n192.168.1.17","iban":"x\nDE89370400440532013000"}',
        r'{"card":"Ada\n[CARD]","tel":"Tel:\n[PHONE]","ip":"\n[IP]","iban":"x\n[IBAN]"}',
    ),
    (
        r'{"arguments": "{\"card\": \"Ada\\n4111111111111111\", \"mail\": \"ada\\u0040example.org\"}"}',
        r'{"arguments": "{\"card\": \"Ada\\n[CARD]\", \"mail\": \"[EMAIL]\"}"}',
    ),
    (r"ada\u0040example\u002Eorg", "[EMAIL]"),
    (r"\u0034\u0031\u0031\u0031 1111 1111 1111", "[CARD]"),
    (r"4111\u200b1111\u00a01111\udb40\udd001111", "[CARD]"),
    (r"x \ud835\udfd2111 1111 1111 1111", "x [CARD]"),
    (r"0151\/23456789, Tel:\t601 234 567", "[PHONE], Tel:\\t[PHONE]"),
    (r"\b4111111111111111\f192.0.2.1\r030 1234567", r"\b[CARD]\f[IP]\r[PHONE]"),
    # It may as well be no JSON, and the b Bob's.
    (r"C:\Users\bob@example.org\4111111111111111", r"C:\Users[EMAIL]\[CARD]"),
    (r'"\nada@example.org", "\u003cada@example.org\u003e"', r'"[EMAIL]", "\u003c[EMAIL]\u003e"'),
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_what_is_found(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(f"\n{text}\n") == f"\n{masked}\n"


LEFT_ALONE = [
    "In 2024 we sold 1,250,000 units, in 2025 1.310.500,75 EUR.",
    "1 250 000 EUR, 12 500 000 zł, 601 234 567 zł",
    "up +1 250 000 against the plan, -3.5 %, +12%",
    "2023-2025, 01.02.2024, 1. 2. 2024, 12/31/2024, 2024-12-31T10:15:30Z, 10:30:00",
    "from 01.02.2024 - 03.04.2024",
    "order 20240115123456, parcel 1700000000000, page 12 of 345",
    "card number 4111 1111 1111 1112 has a wrong check digit",
    "AT62 1904 3002 3457 3201 is none",
    "version 1.2.3, 1.2.3.4.5, 256.1.1.1, react@18.2.0, a @ b, @anna, user@localhost",
    "std::vector, a::b, 12:30:45, add::face, time:12:30:45, v2:std::vector2, at 10:12:30:45",
    "ssh MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
    "ISBN 978-3-16-148410-0, DIN 4108-3, A320-200, 0x7f, 3.14159265358979",
    "the year (2024) 150 000 visitors",
    "Anna Berg, Lindenstraße 5, 10969 Berlin",
    "x = 0123456 * 2",
    "_01.02.2024_ order_20240115123456 img_20240115_123457 v_1_2_3 sha_1234abcd_5678 utf_8 x_12_34",
    r"C:\new\table\report\u12 \d{3}-\d{4} \frac{1}{2} \u00e9t\u00e9 \\\\ \\",
    r'{"at":"2024-12-31T10:15:30Z","n":"\n1.250.000\n","on":"01\/02\/2024"}',
    "\\",
    "",
]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_is_left_alone(text: str) -> None:
    assert mask(text) == text


def test_the_published_list_says_what_is_found_and_what_is_not() -> None:
    assert [kind.marker for kind in KINDS] == ["[EMAIL]", "[PHONE]", "[CARD]", "[IBAN]", "[IP]"]
    assert all(kind.finds.endswith(".") for kind in KINDS)
    assert "Names" in NOT_FOUND
    docs = (ROOT / "docs" / "grants.md").read_text(encoding="utf-8")
    assert "\n".join(f"| `{kind.marker}` | {kind.finds} |" for kind in KINDS) in docs
    assert NOT_FOUND in docs


@pytest.mark.parametrize(
    ("digits", "holds"),
    [("4111111111111111", True), ("4111111111111112", False), ("79927398713", True), ("18", True)],
)
def test_luhn(digits: str, holds: bool) -> None:
    assert luhn_holds(digits) is holds


@pytest.mark.parametrize(
    ("iban", "holds"), [("de89370400440532013000", True), ("de98370400440532013000", False)]
)
def test_iban_check_digits(iban: str, holds: bool) -> None:
    assert iban_holds(iban) is holds


# --- properties
# ------------------------------------------------------------------------------------------------------

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@st.composite
def emails(draw: st.DrawFn) -> str:
    local = draw(st.text(LETTERS + "0123456789_", min_size=1, max_size=40))
    labels = draw(st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=1, max_size=3))
    return f"{local}@{'.'.join(labels)}.example"


@st.composite
def cards(draw: st.DrawFn) -> str:
    body = draw(st.sampled_from("23456")) + draw(st.text("0123456789", min_size=14, max_size=14))
    number = next(body + check for check in "0123456789" if luhn_holds(body + check))
    gap = draw(st.sampled_from(["", " ", "-", "\u00a0", "\u3000", "\u200b", "–"]))
    number = gap.join(number[at : at + 4] for at in range(0, 16, 4))
    return number.translate({48 + n: 0xFF10 + n for n in range(10)}) if draw(st.booleans()) else number


@st.composite
def ibans(draw: st.DrawFn) -> str:
    account = draw(st.text("0123456789", min_size=18, max_size=18))
    number = next(f"DE{n:02}{account}" for n in range(2, 99) if iban_holds(f"de{n:02}{account}"))
    gap = draw(st.sampled_from(["", " ", "-", "\u00a0"]))
    return gap.join(number[at : at + 4] for at in range(0, 22, 4))


@st.composite
def phones(draw: st.DrawFn) -> str:
    country = draw(st.sampled_from(["+49", "+33", "+44", "+48", "+81", "+91", "+351"]))
    groups = draw(st.lists(st.text("0123456789", min_size=2, max_size=4), min_size=3, max_size=3))
    return (
        country + draw(st.sampled_from([" ", "-", "/", ""])) + draw(st.sampled_from([" ", "-"])).join(groups)
    )


def addresses() -> st.SearchStrategy[str]:
    return st.ip_addresses().map(str).filter(lambda address: any(char.isdigit() for char in address))


VALUES = {"[EMAIL]": emails(), "[CARD]": cards(), "[IBAN]": ibans(), "[PHONE]": phones(), "[IP]": addresses()}


@pytest.mark.parametrize("marker", VALUES)
@given(data=st.data())
def test_every_value_becomes_the_same_marker_so_nothing_of_it_shows(marker: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[marker])
    if marker == "[PHONE]":
        assume("0" not in value[1:2])
    assert mask(value) == marker
    assert mask(f"see: {value}, thanks") == f"see: {marker}, thanks"
    assert mask(f"請看{value}。謝謝") == f"請看{marker}。謝謝"


@pytest.mark.parametrize("marker", VALUES)
@given(data=st.data(), levels=st.integers(1, 4), border=st.sampled_from('\n\r\t"_'), is_ascii=st.booleans())
def test_a_value_in_json_is_found_and_all_else_stays(
    marker: str, data: st.DataObject, levels: int, border: str, is_ascii: bool
) -> None:
    value = data.draw(VALUES[marker])
    if marker == "[PHONE]":
        assume("0" not in value[1:2])
    if marker == "[EMAIL]":
        value = f" {value}"  # a letter before it may be its own
        marker = f" {marker}"
    text, shown = (f"{{see{border}{one}{border}é}}" for one in (value, marker))
    for _ in range(levels):
        text, shown = (json.dumps(one, ensure_ascii=is_ascii) for one in (text, shown))
    assert mask(text) == shown


pieces = st.one_of(
    st.text(max_size=8),
    st.text("0123456789 +-().:/@[]", max_size=24),
    st.text("0159afDE:. -@\u200b０٣", max_size=24),
    st.text('019_\\\\nubt"/@.+ ', max_size=24),
    *VALUES.values(),
    st.sampled_from([*(kind.marker for kind in KINDS), "Tel. ", "01.02.2024", " "]),
)


@given(st.lists(pieces, max_size=8).map("".join))
def test_masking_what_is_masked_changes_nothing(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@given(st.text(max_size=80))
def test_text_without_digits_and_at_signs_is_unchanged(text: str) -> None:
    assume(not any(char.isnumeric() or char in "@＠﹫:" for char in text))
    assert mask(text) == text


@given(st.lists(st.one_of(st.text(max_size=10), emails(), addresses()), max_size=6).map(" ".join))
def test_no_address_survives(text: str) -> None:
    for word in mask(text).split():
        try:
            ipaddress.IPv4Address(word)
        except ValueError:
            continue
        pytest.fail("an IPv4 address was left")


def test_a_text_that_never_settles_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_mask_once", lambda text: text + "x")
    assert mask("anna@example.com") == WITHHELD


HOSTILE = [
    *(
        "." * 50,
        "a" * 50,
        "1.2.3.4.",
        " " * 50,
        "1 ",
        "4111 ",
        "4111 1111 1111 1112 ",
        "a@a",
        "@",
        "a@b.c ",
        ":",
    ),
    *(
        "\\",
        "\\n1",
        "\\u0034",
        "\\u003",
        "\\ud835",
        "_1",
        "1_",
        "4111_",
        "4111\u0336",
        "1\u0336\u0336",
        "4111_1111_1111_1112_",
    ),
    *("1:", "de89", "de89 ", "+49 30 ", "01/02/2024 ", "(030) ", "Tel. 1", "a.", "\u200b1", "é@é."),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_linearly_counted_in_matches_and_characters(
    monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    """Doubling the text at most doubles scans, matches and checks; no clock involved. RE2 itself is
    linear."""
    work = 0
    spans = LinearPattern.spans
    luhn = masking.luhn_holds

    def counted(self: LinearPattern, data: bytes, limit: int | None = None) -> Iterator[tuple[int, int]]:
        nonlocal work
        work += len(data)
        for start, end in spans(self, data, limit):
            work += 1 + end - start
            yield start, end

    def counted_luhn(digits: str) -> bool:
        nonlocal work
        work += len(digits)
        return luhn(digits)

    monkeypatch.setattr(LinearPattern, "spans", counted)
    monkeypatch.setattr(masking, "luhn_holds", counted_luhn)
    seen = []
    for times in (500, 1_000, 2_000):
        work = 0
        mask(piece * times)
        seen.append(work)
    assert seen[1] <= 2.1 * seen[0] + 1_000
    assert seen[2] <= 2.1 * seen[1] + 1_000


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        (["ada@example.org"], ["[EMAIL]"]),
        (["write to ada", "@example.org"], ["write to [EMAIL]", ""]),
        (
            ["write to ada@exam", "", "ple.org or pay with 4111 1111", " 1111 1111."],
            ["write to [EMAIL]", "", " or pay with [CARD]", "."],
        ),
        (
            ["4", "1", "1", "1", "1111", "1111", "1111", " and more"],
            ["[CARD]", "", "", "", "", "", "", " and more"],
        ),
        # Each by itself is found as ever, also where together they are something else.
        (["4111 1111 1111 1111", "5"], ["[CARD]", "5"]),
        (["see ", "ada@example.org", " and ", "10.0.0.1"], ["see ", "[EMAIL]", " and ", "[IP]"]),
        (["tel 030 1234567", "4111 1111 1111 1111"], ["tel [PHONE]", ""]),
        (["tel +49 30 12 ", "2001:db8::8a2e:370:7334", "1 host"], ["tel [PHONE]", "", "1 host"]),
        (
            ["My IBAN is DE89 3704 0044 0532 0130 00", "2 items please"],
            ["My IBAN is [IBAN]", " items please"],
        ),
        (["T", "el.: 601 234 567"], ["T", "el.: [PHONE]"]),  # what it is says the text before
        (["nothing", " of", " note"], ["nothing", " of", " note"]),
    ],
)
def test_what_is_split_is_found(texts: list[str], expected: list[str]) -> None:
    assert mask_parts(texts) == expected


# What ends, or begins, as something that a text beside it could go on with.
BESIDE = [
    "",
    "+49 30 12 ",
    "202 555 ",
    "4111 ",
    "DE89 ",
    "10.",
    "2001:db8::",
    "ada@",
    "1",
    " 23",
    "@x.org",
    ".",
    "and ",
]


@given(st.sampled_from([text for text, _ in FOUND]), st.sampled_from(BESIDE), st.sampled_from(BESIDE))
def test_what_is_hidden_alone_is_hidden_whatever_stands_beside_it(
    text: str, before: str, behind: str
) -> None:
    alone = mask(text)
    shown = mask_parts([before, text, behind])[1]
    for place in range(len(text) - 5):
        piece = text[place : place + 6]
        assert piece in alone or piece not in shown, (before, text, behind, shown)


@given(st.sampled_from([text for text, _ in FOUND]), st.lists(st.integers(0, 60), max_size=4))
def test_a_split_shows_no_more_than_the_whole(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [text[begin:end] for begin, end in pairwise(places)]
    masked = mask_parts(parts)
    assert len(masked) == len(parts)
    left = "".join(masked)
    for kind in KINDS:
        left = left.replace(kind.marker, "\0")
    # Whatever stands in the split form stands in the whole one too: pieces of it, in order.
    whole, at = mask(text), 0
    for piece in filter(None, left.split("\0")):
        at = whole.find(piece, at)
        assert at >= 0, (text, parts, masked)
        at += len(piece)
