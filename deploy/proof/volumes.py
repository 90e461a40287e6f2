"""A pod's volumes as the kubelet lays them out: whose files are, with which modes, and behind the symbolic links by which it replaces them
all at once (pkg/volume/util: AtomicWriter, SetVolumeOwnership)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CURRENT: Final = "..data"
_READABLE_BY_GROUP: Final = 0o440
_SHARED_DIRECTORY: Final = 0o2775


def write(volume: Path, files: Mapping[str, bytes], mode: int, group: int) -> None:
    """A Secret's or ConfigMap's files, all at once: new ones, or others in the place of what was there."""
    volume.mkdir(mode=0o755, exist_ok=True)
    content = volume / f"..{secrets.token_hex(8)}"
    content.mkdir(mode=0o755)
    for name, data in files.items():
        file = content / name
        file.write_bytes(data)
        _give(file, mode | _READABLE_BY_GROUP, group)
    for directory in (volume, content):
        _give(directory, _SHARED_DIRECTORY, group)
    new = volume / f"{_CURRENT}_tmp"
    new.symlink_to(content.name)
    new.rename(volume / _CURRENT)
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"{_CURRENT}/{name}")


def claim(volume: Path, group: int) -> None:
    """An empty file system that is the pod's group's."""
    if not volume.exists():
        volume.mkdir()
        _give(volume, _SHARED_DIRECTORY, group)


def _give(path: Path, mode: int, group: int) -> None:
    os.chown(path, 0, group)
    path.chmod(mode)
