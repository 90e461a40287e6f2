"""A throwaway PKCS#11 token of SoftHSM 2 for tests; and, where SoftHSM is not installed, a loud word about what was not tested.

pytest loads this by `-p tests.support.softhsm` (pyproject.toml), so that every run says at its head and at its end whether the PKCS#11 key
store was tested. SoftHSM comes from the system (`apt-get install softhsm2`), not from a wheel; KEPT_SOFTHSM2 names its library elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest

_VARIABLE = "KEPT_SOFTHSM2"
_CONFIGURATION = "SOFTHSM2_CONF"
_USUAL_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
NOT_TESTED = (
    "NOT TESTED: the PKCS#11 key store. SoftHSM 2 is not installed here: `apt-get install softhsm2`, "
    f"or name its libsofthsm2.so in {_VARIABLE}."
)


def library() -> Path | None:
    """SoftHSM's PKCS#11 library, if it and its tool are installed."""
    if shutil.which("softhsm2-util") is None:
        return None
    named = os.environ.get(_VARIABLE)
    return next(
        (Path(place) for place in ([named] if named else _USUAL_PLACES) if Path(place).exists()), None
    )


def environment() -> tuple[tuple[str, str], ...]:
    """What another process must have in its environment to find the token."""
    return tuple((name, os.environ[name]) for name in (_CONFIGURATION,) if name in os.environ)


@dataclass(frozen=True)
class SoftToken:
    """A token of SoftHSM. configuration: what SOFTHSM2_CONF must name in every process that uses it."""

    module: Path
    label: str
    pin: str
    pin_file: Path
    configuration: Path

    def clear(self) -> None:
        """Destroys every object in it."""
        token = pkcs11.lib(str(self.module)).get_token(token_label=self.label)
        try:
            session = token.open(rw=True, user_pin=self.pin)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        for stored in list(session.get_objects()):
            stored.destroy()
        session.close()


@pytest.fixture(scope="session")
def softhsm() -> Iterator[SoftToken]:
    """SoftHSM with one token, in a directory of its own; the library reads its configuration once a process."""
    module = library()
    if module is None:
        pytest.skip(NOT_TESTED)
    home = Path(tempfile.mkdtemp(prefix="kept-test-softhsm-"))
    try:
        (home / "tokens").mkdir()
        configuration = home / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {home / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ[_CONFIGURATION] = str(configuration)
        label, pin = "kept-test", secrets.token_hex(8)
        subprocess.run(
            ["softhsm2-util", "--module", str(module), "--init-token", "--free", "--label", label,
             "--pin", pin, "--so-pin", secrets.token_hex(8)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        pin_file = home / "pin"
        pin_file.write_text(pin + "\n")
        pin_file.chmod(0o600)
        yield SoftToken(module, label, pin, pin_file, configuration)
        pkcs11.unload(str(module))
    finally:
        os.environ.pop(_CONFIGURATION, None)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def soft_token(softhsm: SoftToken) -> Iterator[SoftToken]:
    """An empty token; what the test leaves in it is destroyed."""
    softhsm.clear()
    yield softhsm
    softhsm.clear()


def pytest_report_header() -> str:
    found = library()
    return NOT_TESTED if found is None else f"softhsm: {found}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if library() is None:
        terminalreporter.section("key stores", red=True)
        terminalreporter.write_line(NOT_TESTED, red=True)
