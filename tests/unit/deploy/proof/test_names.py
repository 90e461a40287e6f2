"""The names of a cluster, answered as its DNS answers them."""

import struct

import pytest

from deploy.proof.network import answer

_KNOWN = {"settings.kept.svc.cluster.local": ["10.77.1.1", "10.77.1.2"]}


def _question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def _read(message: bytes) -> tuple[int, list[str]]:
    """The code of an answer, and its addresses."""
    _, flags, _, count, _, _ = struct.unpack_from("!6H", message)
    records = [message[len(message) - 16 * (count - number) :][:16] for number in range(count)]
    return flags & 0xF, [".".join(str(byte) for byte in record[12:]) for record in records]


def test_a_headless_service_is_all_its_ready_pods() -> None:
    found = answer(_question("Settings.kept.svc.cluster.local"), _KNOWN.get)
    assert _read(found) == (0, ["10.77.1.1", "10.77.1.2"])


def test_a_name_that_nobody_bears_does_not_exist() -> None:
    assert _read(answer(_question("logging.kept.svc.cluster.local"), _KNOWN.get)) == (3, [])


def test_a_name_without_records_of_a_kind_exists() -> None:
    aaaa = 28
    assert _read(answer(_question("settings.kept.svc.cluster.local", aaaa), _KNOWN.get)) == (0, [])


@pytest.mark.parametrize("length", range(18))
def test_what_is_no_question_is_not_answered(length: int) -> None:
    with pytest.raises((struct.error, IndexError)):
        answer(_question("settings.kept")[:length], _KNOWN.get)
