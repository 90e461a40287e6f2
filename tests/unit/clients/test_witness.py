"""The witness: a log that only grows passes, and every forged one makes it cry, with both heads and what it remembered unchanged."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kept.access_control.v1 import audit_pb2
from kept.cli import main, witness
from kept.client import signing_keys
from kept.client.errors import KeptError
from kept.client.signing_keys import SigningKey, key_id_of
from kept.evidence.merkle import EMPTY_ROOT
from tests.unit.clients.conftest import Services

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """MTH, RFC 9162 §2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + root_of(leaves[:k]) + root_of(leaves[k:])).digest()


def proof_of(first: int, leaves: Sequence[bytes], known: bool = True) -> list[bytes]:
    """SUBPROOF, §2.1.4.1."""
    if first in (0, len(leaves)):
        return [] if known else [root_of(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if first <= k:
        return [*proof_of(first, leaves[:k], known), root_of(leaves[k:])]
    return [*proof_of(first - k, leaves[k:], False), root_of(leaves[:k])]


@dataclass
class FakeLog:
    """A log that shows whatever it is told to."""

    services: Services
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def pinned(self) -> SigningKey:
        raw = self.key.public_key().public_bytes_raw()
        return SigningKey("audit_log", key_id_of(raw), raw, NOW)

    def show(
        self,
        leaves: Sequence[bytes],
        *,
        at: datetime = NOW,
        since: int | None = None,
        root: bytes | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        """The head of these leaves, signed at an instant; and the proof that it continues the head of `since` leaves."""
        root_hash = root_of(leaves) if root is None else root
        fields: dict[str, Any] = {
            "tree_size": len(leaves),
            "root_hash": root_hash.hex(),
            "timestamp_ms": int(at.timestamp() * 1000),
            "key_id": self.pinned.key_id,
        }
        signature = (key or self.key).sign(b"kept/tree-head/v1\0" + rfc8785.dumps(fields))
        head = audit_pb2.TreeHead(**(fields | {"root_hash": root_hash}), signature=signature)
        self.services.answers["GetTreeHead"] = audit_pb2.GetTreeHeadResponse(head=head)
        self.services.answers["GetConsistencyProof"] = audit_pb2.GetConsistencyProofResponse(
            proof=[] if since is None else proof_of(since, leaves)
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The witness's clock: its last item is now."""
    times = [NOW]
    monkeypatch.setattr(witness, "_now", lambda: times[-1])
    return times


@pytest.fixture
def log(services: Services, profile_file: Path, clock: list[datetime]) -> FakeLog:
    made = FakeLog(services)
    signing_keys.save(profile_file.parent / "signing-keys.json", [made.pinned])
    return made


def leaves(count: int, of: str = "entry") -> list[bytes]:
    return [f"{of} {number}".encode() for number in range(count)]


def remembered(profile_file: Path) -> Any:
    return json.loads((profile_file.parent / "witness.json").read_text())["head"]["tree_size"]


def test_a_log_that_grows_passes(log: FakeLog, profile_file: Path) -> None:
    before = 0
    for size in (0, 0, 1, 2, 3, 7, 8, 8, 64, 100):
        log.show(leaves(size), since=before)
        assert main(["audit", "witness"]) == 0
        assert remembered(profile_file) == str(size)
        before = size


def test_clocks_may_differ_a_little(log: FakeLog, profile_file: Path) -> None:
    log.show(leaves(3), at=NOW + timedelta(seconds=5))
    assert main(["audit", "witness"]) == 0
    assert remembered(profile_file) == "3"


@pytest.mark.parametrize("content", ["{}", "[]", "5", '{"head": 5}', '{"head": {}}'])
def test_a_memory_that_is_none_says_so(
    log: FakeLog, profile_file: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The profile's own, and one of the command for heads."""
    log.show(leaves(3))
    for command, name in (("witness", "witness.json"), ("head", "tree-head.json")):
        (profile_file.parent / name).write_text(content)
        assert main(["audit", command]) == 2
        assert f"{name} does not have the head" in capsys.readouterr().err
        assert (profile_file.parent / name).read_text() == content


def test_it_keeps_its_memory_where_it_is_told_to(log: FakeLog, profile_file: Path, tmp_path: Path) -> None:
    log.show(leaves(3))
    assert main(["audit", "witness", "--memory", str(tmp_path / "seen.json")]) == 0
    assert json.loads((tmp_path / "seen.json").read_text())["head"]["tree_size"] == "3"
    assert not (profile_file.parent / "witness.json").exists()


OTHER_KEY = Ed25519PrivateKey.generate()
FORGED: dict[str, tuple[Callable[[FakeLog], None], str]] = {
    "smaller": (lambda log: log.show(leaves(6)), "had 7 entries and now shows 6"),
    "empty": (lambda log: log.show([]), "had 7 entries and now shows 0"),
    "another of the same size": (lambda log: log.show(leaves(7, "other")), "two faces"),
    "rewritten and larger": (
        lambda log: log.show([*leaves(3), *leaves(6, "other")], since=7),
        "does not continue",
    ),
    "its last entry changed": (
        lambda log: log.show([*leaves(6), b"other", b"more"], since=7),
        "does not continue",
    ),
    "larger without proof": (lambda log: log.show(leaves(9)), "does not continue"),
    "a root that is none": (lambda log: log.show(leaves(9), since=7, root=bytes(32)), "does not continue"),
    "another key": (lambda log: log.show(leaves(9), since=7, key=OTHER_KEY), "signature"),
    "old": (lambda log: log.show(leaves(7), at=NOW - timedelta(minutes=1)), "an old one is shown"),
    "stale": (
        lambda log: log.show(leaves(9), since=7, at=NOW + timedelta(seconds=1)),
        "signed 61 minutes ago",
    ),
    "dated ahead": (
        lambda log: log.show(leaves(9), since=7, at=NOW + timedelta(days=3650)),
        "dated 315360000 seconds ahead of this machine's clock",
    ),
    "dated a little ahead": (
        lambda log: log.show(leaves(9), since=7, at=NOW + timedelta(seconds=6)),
        "dated 6 seconds ahead of this machine's clock",
    ),
}


@pytest.mark.parametrize("forged", list(FORGED))
def test_a_forged_log_makes_it_cry(
    log: FakeLog, profile_file: Path, clock: list[datetime], forged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log.show(leaves(7))
    assert main(["audit", "witness"]) == 0
    before = (profile_file.parent / "witness.json").read_bytes()
    forge, problem = FORGED[forged]
    forge(log)
    if forged == "stale":
        clock.append(NOW + timedelta(seconds=3661 + 1))
    capsys.readouterr()
    assert main(["audit", "witness"]) == 4
    said = capsys.readouterr().err
    assert problem in said
    seen, shown = (json.loads(line.partition(":")[2]) for line in said.splitlines() if line.startswith("  s"))
    assert (seen["tree_size"], seen["root_hash"]) != (
        shown["tree_size"],
        shown["root_hash"],
    ) or forged == "old"
    assert seen["tree_size"] == "7"
    assert (profile_file.parent / "witness.json").read_bytes() == before


def test_a_proof_that_is_refused_is_no_proof(log: FakeLog) -> None:
    log.show(leaves(7))
    assert main(["audit", "witness"]) == 0
    log.show(leaves(9), since=7)
    log.services.answers["GetConsistencyProof"] = KeptError(
        "INVALID_ARGUMENT", "No.", status="INVALID_ARGUMENT"
    )
    assert main(["audit", "witness"]) == 4


def test_a_log_that_does_not_answer_is_no_forged_one(log: FakeLog, profile_file: Path) -> None:
    log.show(leaves(7))
    assert main(["audit", "witness"]) == 0
    down = KeptError("UNREACHABLE", "Nobody answers.", status="UNAVAILABLE")
    log.services.answers["GetTreeHead"] = down
    assert main(["audit", "witness"]) == 3
    log.show(leaves(9), since=7)
    log.services.answers["GetConsistencyProof"] = down
    assert main(["audit", "witness"]) == 3
    assert remembered(profile_file) == "7"


def test_a_memory_that_cannot_be_read_is_not_begun_anew(log: FakeLog, profile_file: Path) -> None:
    log.show(leaves(7))
    (profile_file.parent / "witness.json").write_text("{")
    assert main(["audit", "witness"]) == 2
    (profile_file.parent / "witness.json").write_text('{"head": {"tree_size": "many"}}')
    assert main(["audit", "witness"]) == 4
    (profile_file.parent / "tree-head.json").write_text('{"tree_size": "many"}')
    assert main(["audit", "head"]) == 4


def test_a_memory_that_cannot_be_written_is_told(
    log: FakeLog, profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.show(leaves(7))
    assert main(["audit", "witness", "--memory", str(profile_file / "below.json")]) == 2
    assert f"{profile_file} cannot be used" in capsys.readouterr().err


def test_it_looks_again_and_again_until_something_is_wrong(
    log: FakeLog, profile_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns: list[Callable[[], None]] = [
        lambda: log.show(leaves(5), since=3),
        lambda: log.services.answers.update(
            GetTreeHead=KeptError("UNREACHABLE", "Nobody answers.", status="UNAVAILABLE")
        ),
        lambda: log.show(leaves(8), since=5),
        lambda: log.show(leaves(2)),
    ]
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        turns[len(waited) - 1]()

    monkeypatch.setattr(witness, "_pause", pause)
    log.show(leaves(3))
    assert main(["audit", "witness", "--every", "30"]) == 4
    assert waited == [30.0] * 4
    assert remembered(profile_file) == "8"
    said = capsys.readouterr().err
    assert "nobody answered" in said
    assert "had 8 entries and now shows 2" in said
