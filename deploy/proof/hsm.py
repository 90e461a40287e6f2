"""SoftHSM in the place of an HSM: the client library as its maker's image would hold it, a token, and the Secret with its PIN.

A real one is a machine that the library reaches over the network; this one is files, which are mounted where the library looks for them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LIBRARIES: Final = "/usr/lib/*/softhsm/libsofthsm2.so"
_CONFIGURATION: Final = "/etc/softhsm/softhsm2.conf"
_TOKENS: Final = "/var/lib/softhsm/tokens"


class SoftHsm:
    """One token. image: what an image volume would show. secret: what people put into the Secret. mounts: the machine's place in pods."""

    def __init__(self, home: Path, library: Path, label: str, group: int) -> None:
        self.image = home / "image"
        (self.image / "lib").mkdir(parents=True)
        shutil.copy(library, self.image / "lib" / "libpkcs11.so")
        pin = secrets.token_hex(8)
        self.secret: Mapping[str, bytes] = {"pin": pin.encode()}
        tokens, here, there = home / "tokens", home / "here.conf", home / "there.conf"
        tokens.mkdir()
        for file, place in ((here, str(tokens)), (there, _TOKENS)):
            file.write_text(
                f"directories.tokendir = {place}\nobjectstore.backend = file\nlog.level = ERROR\n"
            )
        subprocess.run(
            ["softhsm2-util", "--module", str(library), "--init-token", "--free", "--label", label,
             "--pin", pin, "--so-pin", secrets.token_hex(8)],
            check=True, capture_output=True, timeout=60, env=os.environ | {"SOFTHSM2_CONF": str(here)},
        )  # fmt: skip
        for path in (tokens, *tokens.rglob("*")):
            os.chown(path, group, group)
        self.mounts = {str(there): f"{_CONFIGURATION}:ro", str(tokens): _TOKENS}


def library() -> Path | None:
    """SoftHSM's library, where it and its tool are installed."""
    if shutil.which("softhsm2-util") is None:
        return None
    return next(iter(sorted(Path("/").glob(_LIBRARIES.removeprefix("/")))), None)
