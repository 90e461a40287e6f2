"""Makes a Debian base by debootstrap, for machines that reach Debian's packages and no registry of images.

What it holds is what its packages hold; the image takes only contents from it, never times, so that the base need not be reproducible
itself for the image to be.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from deploy.image.engine import Engine, EngineError

SUITE: Final = "bookworm"
# The interpreter and the authorities that webhooks and issuers are verified with; all else comes from wheels.
_PACKAGES: Final = ("python3", "ca-certificates")


def make_base(engine: Engine, tag: str) -> str:
    """An image of a minimal Debian with Python, called `tag`; gives its id. As root. Raises EngineError."""
    if shutil.which("debootstrap") is None:
        raise EngineError(
            "debootstrap is missing: apt-get install debootstrap, or give BASE= an image that you have"
        )
    with tempfile.TemporaryDirectory(prefix="kept-base-") as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EngineError("debootstrap failed:\n" + "\n".join(done.stdout.strip().splitlines()[-5:]))
        archive = Path(scratch) / "base.tar"
        subprocess.run(
            ["tar", "--sort=name", "--mtime=@0", "--numeric-owner", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*",
             "-C", str(root), "-cf", str(archive), "."],
            check=True,
        )  # fmt: skip
        return engine.run("import", str(archive), tag).strip()
