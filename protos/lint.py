"""Checks the contracts with buf: its STANDARD rules, and that nothing that has landed is broken.

    .venv/bin/python protos/lint.py
    AGAINST=v1.2.0 .venv/bin/python protos/lint.py      compares with that commit, tag or branch

What has landed is, in this order: AGAINST; `origin/main` where it is not the commit that is checked out; the newest release that it
descends from (a tag such as v1.2.0); the commit that protos/landed names, which whoever lands a change of the contracts writes there
afterwards. How old a commit is says nothing: a draft may be days old.
Where there is nothing to compare with, or buf cannot be had, that is said in so many words and is no failure.

Exit codes: 0 nothing found, 1 something found or the check itself failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from protos.generate import GENERATED, IMAGE, PROTOS, contracts, image_options, protoc

ROOT = PROTOS.parent
BUF = ROOT / ".venv" / "bin" / "buf"
CONFIGURATION = PROTOS / "buf.yaml"
LANDED = PROTOS / "landed"


class LintError(Exception):
    """The check could not be made; the text says why."""


def say(text: str) -> None:
    sys.stdout.write(f"contracts: {text}\n")
    sys.stdout.flush()


def git(*arguments: str) -> bytes | None:
    """What git prints, or None where it fails: no repository, no such commit, no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def commit(name: str) -> str | None:
    printed = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return printed.decode().strip() if printed else None


def landed() -> tuple[str, str] | None:
    """The commit to compare with and what to call it, or None where nothing has landed yet."""
    named = os.environ.get("AGAINST", "")
    if named:
        found = commit(named)
        if found is None:
            raise LintError(f"git knows no commit called {named} (from AGAINST)")
        return found, named
    head = commit("HEAD")
    if head is None:
        return None
    upstream = commit("origin/main")
    if upstream is not None and upstream != head:
        return upstream, "origin/main"
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v*", head)
    name = tag.decode().strip() if tag else LANDED.read_text(encoding="ascii").strip()
    found = commit(name)
    return None if found is None else (found, name)


def buf(*arguments: str) -> bool:
    """Runs buf on the image, its findings' paths made relative to the repository. True when it found none."""
    done = subprocess.run(
        [str(BUF), *arguments, "--config", str(CONFIGURATION), "--path", "kept"],
        cwd=GENERATED,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    sys.stdout.write(re.sub(r"^(?=kept/)", "protos/", done.stdout, flags=re.MULTILINE))
    sys.stdout.flush()
    sys.stderr.write(done.stderr)
    return done.returncode == 0


def standard() -> bool:
    good = buf("lint", IMAGE)
    if good:
        say(f"{len(contracts())} files follow buf's STANDARD rules, each part commented")
    return good


def unpack(archive: bytes, folder: Path) -> None:
    """The plain files of a tar archive that git made."""
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        for member in files:
            content = files.extractfile(member)
            if content is not None:
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def breaking() -> bool:
    """Compares with what has landed; that commit's contracts are compiled as today's are."""
    base = landed()
    if base is None:
        say("nothing has landed yet to compare with, so breaking changes were NOT looked for")
        return True
    reference, name = base
    archive = git("archive", "--format=tar", reference, "protos/kept")
    if archive is None:
        say(f"{name} has no contracts, so breaking changes were NOT looked for")
        return True
    with tempfile.TemporaryDirectory(prefix="kept-landed-") as folder:
        scratch = Path(folder)
        unpack(archive, scratch)
        source, image = scratch / "protos", scratch / "landed.binpb"
        if not protoc(source, contracts(source), scratch, image_options(image)):
            raise LintError(f"the contracts of {name} do not compile any more")
        good = buf("breaking", IMAGE, "--against", str(image))
    if good:
        say(f"nothing breaks what has landed ({name})")
    return good


def main() -> int:
    try:
        # Separate from the other packages: nothing but this check needs buf, and not every platform has it.
        subprocess.run(
            [sys.executable, str(ROOT / "deploy" / "setup_environment.py"), "--buf"], stdin=subprocess.DEVNULL
        )
        if not BUF.exists():
            say("buf cannot be had here (package buf-bin), so the contracts were NOT linted")
            return 0
        results = [standard(), breaking()]
    except LintError as error:
        say(str(error))
        return 1
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
