"""Compiles the contracts: every `.proto` below this folder into typed Python under build/generated.

    .venv/bin/python protos/generate.py            does nothing when nothing changed
    .venv/bin/python protos/generate.py --force

Writes `kept/<service>/v1/*_pb2.py` (messages), `*_pb2_grpc.py` (stubs and servicers) and their `.pyi` types,
the same for `buf/validate/validate.proto`, which the contracts import, and `kept.binpb`: all of it as one
FileDescriptorSet with comments, for the linter and for programs that read the contracts.

`buf/validate/validate.proto` is on no disk: protovalidate's wheel carries it as a descriptor, and protoc
takes an import from a descriptor set as well as from a file.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
GENERATED = PROTOS.parent / "build" / "generated"
IMAGE = "kept.binpb"
STAMP = ".stamp"
VALIDATE = "buf/validate/validate.proto"


def contracts(folder: Path = PROTOS) -> list[str]:
    """The contract files, as paths relative to their folder, in a fixed order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.proto"))


def stamp(names: list[str]) -> str:
    """A digest of all that the output depends on: contracts, this program, the compilers' versions."""
    state = hashlib.sha256(Path(__file__).read_bytes())
    for package in ("grpcio-tools", "mypy-protobuf", "protovalidate", "protobuf"):
        state.update(f"{package}=={metadata.version(package)}\0".encode())
    for name in names:
        content = (PROTOS / name).read_bytes()
        state.update(f"{name}\0{len(content)}\0".encode() + content)
    return state.hexdigest()


def validation_descriptors() -> bytes:
    """`buf/validate/validate.proto` as a serialized FileDescriptorSet, with what it imports."""
    from google.protobuf import (
        descriptor_pb2,
        duration_pb2,
        field_mask_pb2,
        timestamp_pb2,
    )
    from protovalidate._gen.buf.validate import validate_pb

    # The module is generated for another runtime (protobuf-py); the bytes are any FileDescriptorProto's.
    serialized = validate_pb._DESC.proto.to_binary()
    files = descriptor_pb2.FileDescriptorSet()
    for known in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        known.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.add().ParseFromString(serialized)
    if files.file[-1].name != VALIDATE:
        raise RuntimeError(f"protovalidate's wheel holds {files.file[-1].name}, not {VALIDATE}")
    return files.SerializeToString()


def protoc(source: Path, names: list[str], scratch: Path, outputs: list[str]) -> bool:
    """Runs protoc once for all files of a folder; complaints go to standard error. True when it compiled."""
    import grpc_tools

    descriptors = scratch / "validate.binpb"
    descriptors.write_bytes(validation_descriptors())
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={source}",
        f"--proto_path={well_known}",
    ]
    command += [f"--descriptor_set_in={descriptors}", *outputs, *names]
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode == 0


def image_options(image: Path) -> list[str]:
    """Makes protoc write one FileDescriptorSet with imports and comments."""
    return [f"--descriptor_set_out={image}", "--include_imports", "--include_source_info"]


def code_options(output: Path) -> list[str]:
    """Makes protoc write messages, stubs and their types."""
    plugins = Path(sys.executable).parent
    return [
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
    ]


def put_in_place(fresh: Path) -> None:
    """Moves what changed to build/generated, file by file, and removes what no contract makes any more.

    Each file is replaced in one step, so that a program that starts meanwhile never reads half a module.
    """
    GENERATED.mkdir(parents=True, exist_ok=True)
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for relative in sorted(wanted):
        target = GENERATED / relative
        if not target.exists() or not filecmp.cmp(fresh / relative, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh / relative, target)
    for path in sorted(GENERATED.rglob("*"), reverse=True):
        if "__pycache__" in path.parts or path.name == STAMP:
            continue
        if path.is_file() and path.relative_to(GENERATED) not in wanted:
            path.unlink()
            for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
                cached.unlink()
        elif path.is_dir() and not any(child.name != "__pycache__" for child in path.iterdir()):
            with contextlib.suppress(OSError):
                (path / "__pycache__").rmdir()
                path.rmdir()


@contextlib.contextmanager
def announced(count: int) -> Iterator[None]:
    started = time.monotonic()
    sys.stderr.write(f"protos: compiling {count} contract files\n")
    yield
    sys.stderr.write(f"protos: done in {time.monotonic() - started:.1f} s\n")


def main() -> int:
    arguments = argparse.ArgumentParser(description="Compiles protos/ into build/generated.")
    arguments.add_argument("--force", action="store_true", help="compile even if nothing changed")
    force = arguments.parse_args().force
    names = contracts()
    if not names:
        sys.stderr.write("protos: there is no contract yet\n")
        return 0
    current = stamp(names)
    remembered = GENERATED / STAMP
    if not force and remembered.exists() and remembered.read_text() == current:
        return 0
    GENERATED.parent.mkdir(exist_ok=True)
    with (
        announced(len(names)),
        tempfile.TemporaryDirectory(prefix=".generating-", dir=GENERATED.parent) as scratch,
    ):
        output = Path(scratch) / "out"
        output.mkdir()
        options = [*code_options(output), *image_options(output / IMAGE)]
        if not protoc(PROTOS, [*names, VALIDATE], Path(scratch), options):
            return 1
        put_in_place(output)
        remembered.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
