"""Who is signed in: identities side by side, each in a file of its own that only its owner may read.

Sign-in is OpenID's token endpoint (RFC 6749 §4.3 and §6): a password once, a refresh token from then on, access tokens for one
audience each, kept until shortly before they end. A service that refuses a token makes the client ask for a fresh one, once:
clocks differ, and the file's idea of "not expired yet" is only this machine's.

An issuer may give a new refresh token each time and take the old one no more (RFC 9700 §4.14.2). Several commands run side by side, so one
refreshes at a time, with the token that the file has by then.
"""

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlencode

from kept.client import private_files
from kept.client.clock import system_now
from kept.client.errors import KeptError, not_reachable
from kept.client.profile import Profile

_TIMEOUT_SECONDS: Final = 15
_LARGEST_ANSWER: Final = 64 * 1024
# As long as a token is kept, whatever the issuer says of it.
_LONGEST_SECONDS: Final = 366 * 86_400
# A token that ends within this time is not begun to be used.
_MARGIN: Final = timedelta(seconds=30)
_NAME: Final = re.compile(r"[0-9A-Za-z_@+-][0-9A-Za-z_.@+-]{0,127}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A form with a password goes where the profile says and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def opener(issuer: str, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """What asks an issuer. No proxy for what may be loopback in clear: proxies come from the environment."""
    direct = [urllib.request.ProxyHandler({})] if issuer.startswith("http:") else []
    return urllib.request.build_opener(*handlers, *direct)


def _answer(issuer: str, form: Mapping[str, str]) -> dict[str, Any]:
    """What the issuer's token endpoint answers. Raises KeptError; neither the form nor a token is ever in it."""
    try:
        data = urlencode(form).encode("ascii")
    except ValueError:
        raise KeptError("UNREADABLE", "What was given to sign in with is no UTF-8.") from None
    request = urllib.request.Request(  # noqa: S310 - the profile admits https, and http on loopback
        f"{issuer.rstrip('/')}/token",
        data=data,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
    )
    try:
        with opener(issuer, _NoRedirects()).open(request, timeout=_TIMEOUT_SECONDS) as reply:
            content = json.loads(reply.read(_LARGEST_ANSWER))
    except urllib.error.HTTPError as refused:
        raise _refused(refused) from None
    except (OSError, HTTPException):
        raise not_reachable("issuer", f"The issuer {issuer} cannot be reached.") from None
    except ValueError:
        raise KeptError("SIGN_IN_REFUSED", f"The issuer {issuer} answered with no JSON.") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) for key, kind in (("access_token", str), ("expires_in", int))
    ):
        raise KeptError("SIGN_IN_REFUSED", f"The issuer {issuer} answered without a token.")
    return content


def _refused(reply: urllib.error.HTTPError) -> KeptError:
    """RFC 6749 §5.2: `error` and `error_description`."""
    try:
        content = json.loads(reply.read(_LARGEST_ANSWER))
        words = str(content.get("error_description") or content.get("error") or "")[:300]
    except (ValueError, AttributeError, OSError):
        words = ""
    if reply.code >= 500:
        return not_reachable("issuer", words or f"The issuer answers with HTTP status {reply.code}.")
    return KeptError("SIGN_IN_REFUSED", words or f"The issuer answers with HTTP status {reply.code}.")


class Session:
    """One identity. Files and tokens are read when they are first needed.

    kind: "workforce" or "customer". name: what the identity is called here. username: what it signed in with.
    """

    def __init__(
        self, profile: Profile, name: str, content: dict[str, Any], now: Callable[[], datetime]
    ) -> None:
        self._profile = profile
        self._now = now
        self.name = name
        self._use(content)

    def _use(self, content: dict[str, Any]) -> None:
        self._content = content
        self.kind = str(content["kind"])
        self.username = str(content["username"])

    def __repr__(self) -> str:
        return f"Session({self.name!r}, kind={self.kind!r})"

    def access_token(self, audience: str, *, fresh: bool = False) -> str:
        """A token for one audience, such as "kept:settings"; `fresh` asks for a new one whatever is kept. Raises KeptError:
        NOT_SIGNED_IN when the session has ended, NOT_REACHABLE when the issuer does not answer."""
        if not fresh and (kept := self._kept(audience)) is not None:
            return kept
        with private_files.alone_in(self._profile.sessions):
            self._use(_read(self._profile, self.name))
            if not fresh and (kept := self._kept(audience)) is not None:
                return kept  # another command was quicker
            answer = self._refreshed(audience)
            self._take(audience, answer)
        return str(answer["access_token"])

    def _kept(self, audience: str) -> str | None:
        kept = self._content["tokens"].get(audience)
        if kept is None or datetime.fromisoformat(kept["until"]) - _MARGIN <= self._now():
            return None
        return str(kept["token"])

    def _refreshed(self, audience: str) -> dict[str, Any]:
        """The issuer's answer to the refresh token of the file; to another one, if another is there once it has refused: whoever put it
        there knows of no locks. Raises KeptError as `access_token` does."""
        refused: set[str] = set()
        while (token := str(self._content["refresh_token"])) not in refused:
            form = {"grant_type": "refresh_token", "refresh_token": token, "audience": audience}
            try:
                return _answer(self._profile.issuers[self.kind], form)
            except KeptError as error:
                if error.reason != "SIGN_IN_REFUSED":
                    raise
            refused.add(token)
            self._use(_read(self._profile, self.name))
        again = f"kept login --as {self.name}" if self.kind == "workforce" else "kept login --customer EMAIL"
        raise KeptError("NOT_SIGNED_IN", f"The session of {self.name} has ended: sign in again ({again}).")

    def claims(self) -> dict[str, Any]:
        """What the newest kept token says of its holder: sub, name, email, org… Not verified: for display, and for naming one's
        own organization; services decide by the token itself."""
        tokens = self._content["tokens"].values()
        newest = max(tokens, key=lambda kept: kept["until"], default=None)
        if newest is None:
            return {}
        try:
            body = newest["token"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (IndexError, ValueError):
            return {}
        return claims if isinstance(claims, dict) else {}

    def _take(self, audience: str, answer: Mapping[str, Any]) -> None:
        until = self._now() + timedelta(seconds=min(max(0, answer["expires_in"]), _LONGEST_SECONDS))
        self._content["tokens"][audience] = {
            "token": answer["access_token"],
            "until": until.astimezone(UTC).isoformat(),
        }
        if isinstance(answer.get("refresh_token"), str):
            self._content["refresh_token"] = answer["refresh_token"]
        private_files.write(self._profile.sessions / f"{self.name}.json", json.dumps(self._content) + "\n")


class Sessions:
    """The identities that are signed in to one installation."""

    def __init__(self, profile: Profile, now: Callable[[], datetime] = system_now) -> None:
        self._profile = profile
        self._now = now

    def sign_in(self, kind: str, username: str, password: str, name: str, audience: str) -> Session:
        """Signs in, keeps the identity under `name`, and makes it the default. Raises KeptError: SIGN_IN_REFUSED, NOT_REACHABLE."""
        _check_name(name)
        answer = _answer(
            self._profile.issuers[kind],
            {"grant_type": "password", "username": username, "password": password, "audience": audience},
        )
        if not isinstance(answer.get("refresh_token"), str):
            raise KeptError("SIGN_IN_REFUSED", "The issuer gave no refresh token.")
        content = {"kind": kind, "username": username, "refresh_token": answer["refresh_token"], "tokens": {}}
        session = Session(self._profile, name, content, self._now)
        with private_files.alone_in(self._profile.sessions):
            session._take(audience, answer)
        private_files.write(self._profile.sessions / "current", name + "\n")
        return session

    def find(self, name: str | None = None) -> Session:
        """The identity of this name; without one, the default. Raises KeptError (NOT_SIGNED_IN)."""
        chosen = name if name is not None else self.current()
        if chosen is None:
            raise KeptError("NOT_SIGNED_IN", "Nobody is signed in.")
        _check_name(chosen)
        return Session(self._profile, chosen, _read(self._profile, chosen), self._now)

    def names(self) -> list[str]:
        """Every identity, sorted."""
        return sorted(file.stem for file in self._profile.sessions.glob("*.json"))

    def current(self) -> str | None:
        """The default identity: the last that signed in."""
        try:
            return (self._profile.sessions / "current").read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def sign_out(self, name: str) -> None:
        """Forgets an identity's tokens. Raises KeptError (NOT_SIGNED_IN) if there is none of this name."""
        session = self.find(name)
        with private_files.alone_in(self._profile.sessions):
            (self._profile.sessions / f"{session.name}.json").unlink(missing_ok=True)
        if self.current() == session.name:
            (self._profile.sessions / "current").unlink(missing_ok=True)


def _read(profile: Profile, name: str) -> dict[str, Any]:
    """The file of an identity. Raises KeptError (NOT_SIGNED_IN) where there is none, or none that can be used."""
    try:
        content = json.loads((profile.sessions / f"{name}.json").read_text(encoding="utf-8"))
        tokens = content["tokens"]
        if (
            not {"kind", "username", "refresh_token"} <= content.keys()
            or content["kind"] not in profile.issuers
        ):
            raise ValueError
        for kept in tokens.values():
            if not isinstance(kept["token"], str) or datetime.fromisoformat(kept["until"]).tzinfo is None:
                raise ValueError
    except FileNotFoundError:
        raise KeptError("NOT_SIGNED_IN", f"{name} is not signed in.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KeptError("NOT_SIGNED_IN", f"The session file of {name} cannot be read.") from None
    return dict(content)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise KeptError(
            "SIGN_IN_REFUSED", "An identity's name is 1 to 128 letters, digits and the characters _ . @ + -"
        )
