"""Writing an export: parts as they come, then the manifest that names each with its SHA-256, then what signs the manifest."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

from kept.archive import tar
from kept.evidence.verdicts import EvidenceError

FORMAT: Final = "kept-export/1"
SIGNATURE_FORMAT: Final = "kept-export-signature/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "signature.json"
# A list is written in pieces of about this many bytes, so that no more of it than one is in memory.
PIECE_BYTES: Final = 4 * 1024 * 1024
# Of one document or one line, as a reader takes it. A manifest has some 150 bytes a part, and a part is some 4 MiB: this is enough for a
# terabyte.
MOST_BYTES: Final = 64 * 1024 * 1024


class Writer:
    """An archive that is being written. Without `finish` it verifies as nothing."""

    def __init__(self, out: BinaryIO, written_at: int) -> None:
        """written_at: seconds since 1970."""
        self._out = out
        self._written_at = written_at
        self._parts: list[dict[str, Any]] = []

    @property
    def count(self) -> int:
        """How many parts there are so far."""
        return len(self._parts)

    def add(self, name: str, content: bytes) -> None:
        """A part, whole."""
        tar.write_file(self._out, name, content, self._written_at)
        digest = hashlib.sha256(content).hexdigest()
        self._parts.append({"name": name, "bytes": len(content), "sha256": digest})

    def add_document(self, name: str, document: Any) -> None:
        """One JSON document, "<name>.json"."""
        self.add(f"{name}.json", (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())

    def add_lines(self, name: str, documents: Iterable[Any], piece_bytes: int = PIECE_BYTES) -> int:
        """A list, "<name>/000001.jsonl" and on, a JSON document a line; one empty piece where there is none. Returns how many."""
        count = 0
        lines: list[bytes] = []
        pieces = size = 0

        def write_piece() -> None:
            nonlocal pieces, size
            pieces += 1
            self.add(f"{name}/{pieces:06}.jsonl", b"".join(lines))
            lines.clear()
            size = 0

        for document in documents:
            line = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if lines and size + len(line) > piece_bytes:
                write_piece()
            lines.append(line)
            size += len(line)
            count += 1
        if lines or not pieces:
            write_piece()
        return count

    def finish(self, said: Mapping[str, Any], sign: Callable[[bytes], Mapping[str, Any]]) -> bytes:
        """Writes the manifest, has it signed, writes what signs it, ends. said: what the manifest says besides its parts. sign: from the
        manifest's SHA-256, 32 bytes, to the audit log's entry of it with proof and head. Returns the digest."""
        document = {"format": FORMAT, **said, "parts": self._parts}
        manifest = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
        digest = hashlib.sha256(manifest).digest()
        tar.write_file(self._out, MANIFEST, manifest, self._written_at)
        signature = json.dumps({"format": SIGNATURE_FORMAT, **sign(digest)}, indent=1) + "\n"
        tar.write_file(self._out, SIGNATURE, signature.encode(), self._written_at)
        tar.write_end(self._out)
        return digest


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that come in pieces, without their ends. Raises EvidenceError for one that is longer than MOST_BYTES."""
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        first, *more = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > MOST_BYTES:
            raise EvidenceError("There is a line in it that is longer than any that an export writes.")
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun, size = more[-1:], len(more[-1])
    if size:
        yield b"".join(begun)
