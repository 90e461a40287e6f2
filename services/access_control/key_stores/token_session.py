"""A session on a PKCS#11 token (OASIS PKCS #11 v3.0 §5.6): logged in once a process, opened anew after the token was away.

The bindings initialize a library as one that a single thread uses (`C_Initialize(NULL)`, §5.4), and SoftHSM really crashes when two do. So
all work on a library goes one after the other, whatever the number of threads. That is bearable because a read of any number of records
and each batch of a new root take one operation of the token (see pkcs11.py).

A token counts wrong PINs and locks itself, often after three. So a PIN that was refused is never tried again by this process, and the last
try that a token says it has left is not spent here at all: a service that is restarted again and again must not lock the HSM.
"""

import stat
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import pkcs11
import structlog
from pydantic import SecretStr

from services.access_control.key_stores import KeyStoreError

_log = structlog.get_logger(__name__)
T = TypeVar("T")

# What says that a session is gone, not that the request was bad: HSM clients answer so after a fail-over.
_GONE: Final = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.UserNotLoggedIn,
    pkcs11.DeviceRemoved,
    pkcs11.TokenNotPresent,
)
_PIN_REFUSED: Final = (
    pkcs11.PinIncorrect,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.PinExpired,
    pkcs11.PinLocked,
    pkcs11.UserPinNotInitialized,
)
# One a library: it is loaded, and initialized, once a process.
_LIBRARY_LOCKS: Final[defaultdict[Path, threading.RLock]] = defaultdict(threading.RLock)


class TokenSession:
    """A session on the token called `label` of the PKCS#11 library `module`. The PIN is read from `pin_file` at each log-in and kept by
    nobody."""

    def __init__(self, module: Path, label: str, pin_file: Path) -> None:
        self._module = module
        self._label = label
        self._pin_file = pin_file
        self._lock = _LIBRARY_LOCKS[module]
        self._session: pkcs11.Session | None = None
        self._pin_was_refused = False

    def run(self, work: Callable[[pkcs11.Session], T]) -> T:
        """`work` with the session; nobody else uses the library meanwhile. It is called again, once, when the session turns out to be
        gone, and must bear that. Raises KeyStoreError when the token cannot be used, and for every other error of it."""
        with self._lock:
            try:
                try:
                    return work(self._opened())
                except _GONE:
                    self.close()
                    return work(self._opened())
            except pkcs11.PKCS11Error as error:
                _log.warning("token.failed", token=self._label, error=type(error).__name__)
                raise KeyStoreError(f"the token {self._label} refused ({type(error).__name__})") from error

    def close(self) -> None:
        """Ends the session, and with the last one of the process the log-in."""
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                with suppress(pkcs11.PKCS11Error):
                    session.close()

    def _opened(self) -> pkcs11.Session:
        if self._session is None:
            try:
                library = pkcs11.lib(str(self._module))
            except (RuntimeError, OSError) as error:
                raise KeyStoreError(f"the PKCS#11 library {self._module} cannot be loaded") from error
            tokens = [token for token in library.get_tokens() if token.label == self._label]
            if len(tokens) != 1:
                found = "no token" if not tokens else f"{len(tokens)} tokens"
                raise KeyStoreError(f"{self._module} has {found} called {self._label}; there must be one")
            self._session = self._log_in(tokens[0])
        return self._session

    def _log_in(self, token: pkcs11.Token) -> pkcs11.Session:
        if self._pin_was_refused:
            raise KeyStoreError(
                f"the token {self._label} refused the PIN, which is not tried again; restart with the right one"
            )
        if token.flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
            raise KeyStoreError(
                f"the token {self._label} has locked its PIN; its security officer unlocks it"
            )
        if token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
            raise KeyStoreError(
                f"the token {self._label} has one try of its PIN left, which is not spent here; log in with its own tool first"
            )
        pin = read_pin(self._pin_file)
        try:
            return token.open(rw=True, user_pin=pin.get_secret_value())
        except pkcs11.UserAlreadyLoggedIn:  # another key store of this process uses the token too
            return token.open(rw=True)
        except _PIN_REFUSED as error:
            self._pin_was_refused = True
            raise KeyStoreError(
                f"the token {self._label} refused the PIN ({type(error).__name__})"
            ) from error


def read_pin(path: Path) -> SecretStr:
    """The PIN in a file, without the line's end. Raises KeyStoreError for a file that everybody may read."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            raise KeyStoreError(
                f"the PIN file {path} can be read by everybody; take others' rights away (chmod o-rwx)"
            )
        pin = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyStoreError(f"the PIN file {path} cannot be read ({type(error).__name__})") from error
    if not pin:
        raise KeyStoreError(f"the PIN file {path} is empty")
    return SecretStr(pin)
