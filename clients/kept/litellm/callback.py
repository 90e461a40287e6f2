"""The callback that LiteLLM calls before and after each call of a model: success or failure, in an event loop or not, streamed or not.

It never raises into the gateway and never makes it wait: an interaction is made and handed to a BackgroundRecorder. What it cannot
record it counts and warns of, at most once a second and without content.

The organization decides under whose policy a record is kept. It comes from the gateway's configuration or from metadata that the
gateway itself sets; metadata that the gateway's own clients can send must not choose it.
"""

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from litellm.integrations.custom_logger import CustomLogger

from kept.client import lifetimes
from kept.client.background import BackgroundRecorder
from kept.client.clock import system_now
from kept.client.record_ids import derived
from kept.client.reports import warn
from kept.litellm import messages
from kept.litellm.open_calls import OpenCalls
from kept.logging.v1 import interactions_pb2

_KINDS: Final = {
    "production": interactions_pb2.API_KEY_KIND_PRODUCTION,
    "trial": interactions_pb2.API_KEY_KIND_TRIAL,
}
_KEY_ID: Final = re.compile("apikey_[0-9a-z]{26}")
_COUNTRY: Final = re.compile("[A-Z]{2}")
_MOST_TOKENS: Final = 2**31 - 1
_LONGEST: Final = timedelta(hours=24)
# Bounds of the contract (interactions.proto), in characters.
_NAME, _END_USER, _FINISH_REASON, _ATTRIBUTE = 200, 128, 64, 1000
# Attempts that LiteLLM has told of; of some it tells again a moment later.
_MOST_TOLD: Final = 1000
# Calls that are remembered while they are open, and the bytes that they take.
_MOST_OPEN: Final = 10_000
_MOST_OPEN_BYTES: Final = 64 * 1024 * 1024
# What is remembered of one: log data, and what went into the model. LiteLLM's settings of the call say whether the latter is redacted.
_LOG_DATA: Final = (
    *("litellm_call_id", "start_time", "call_type", "model", "custom_llm_provider", "user"),
    *("litellm_params", "standard_callback_dynamic_params"),
)
_CONTENT: Final = ("messages", "input", *messages.BESIDE)
_EMBEDDINGS: Final = frozenset(("embedding", "aembedding"))
_OF_PROXY: Final = "user_api_key"
_JSON_TYPES: Final = (str, int, float, dict, list, type(None))
# What a LiteLLM proxy says of the key that a call came with: set by who administers the proxy.
_KEY_METADATA: Final = ("user_api_key_metadata", "user_api_key_auth_metadata", "user_api_key_team_metadata")

# Metadata of a call in, the organization's id out; None where it has none.
Resolver = Callable[[Mapping[str, Any]], str | None]


class _Outcome(StrEnum):
    """How a call ended; part of what its record's id is made from."""

    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"


class KeptLogger(CustomLogger):  # type: ignore[misc] # litellm's types are not read
    """Records every call that LiteLLM makes.

    recorder: where to. organization: the id that all calls are recorded for, or a function of a call's metadata. application: for calls
    whose metadata name none. The metadata "application", "api_key_kind" ("production" or "trial"), "api_key_id" ("apikey_…") and
    "country" (two letters of ISO 3166-1) are taken from the metadata of the proxy's key, which its administrator sets; "application"
    else from the call's own. Without a proxy the call's metadata are the gateway's, and all are taken from there. What is no id and no
    country is left out.

    Of some calls LiteLLM never says how they ended: a stream that its reader let go of, a task that was cancelled. end_within: how long it
    may take to say; then, or when 10,000 newer ones or 64 MiB of them are open, or when the process ends, what went in is recorded, with
    the finish reason "partial"; of a call that LiteLLM is to redact log data only.

    unattributed: calls that were not recorded because nothing said whose they are. failed: calls that could not be made into a record.
    partial: calls of which no end was told. What became of the rest the recorder counts.
    """

    def __init__(
        self,
        recorder: BackgroundRecorder,
        organization: str | Resolver,
        *,
        application: str = "",
        end_within: timedelta = timedelta(minutes=10),
        now: Callable[[], datetime] = system_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.recorder = recorder
        self.unattributed = 0
        self.failed = 0
        self.partial = 0
        self._organization = organization
        self._application = application
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at = float("-inf")
        self._end_within = end_within.total_seconds()
        self._open = OpenCalls(_MOST_OPEN, _MOST_OPEN_BYTES, self._end_within, clock)
        self._looking: threading.Timer | None = None
        self._told: OrderedDict[bytes, datetime] = OrderedDict()
        lifetimes.follow(self)

    @classmethod
    def connect(
        cls,
        address: str,
        certificate: Path | str,
        key: Path | str,
        authority: Path | str,
        organization: str | Resolver,
        *,
        application: str = "",
    ) -> Self:
        """With a recorder of its own. address: logging's mTLS port, "host:port"; the files are PEM, as for BackgroundRecorder."""
        recorder = BackgroundRecorder(address, Path(certificate), Path(key), Path(authority))
        return cls(recorder, organization, application=application)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """By KEPT_LOGGING_ADDRESS, KEPT_GATEWAY_CERTIFICATE, KEPT_GATEWAY_KEY, KEPT_AUTHORITY, and KEPT_ORGANIZATION (an id) or
        KEPT_ORGANIZATION_METADATA; KEPT_APPLICATION may be left out. Raises ValueError that names what is missing.

        KEPT_ORGANIZATION_METADATA is the name of a field. Behind LiteLLM's proxy it is one of the metadata of the call's key or its
        team, or one that begins with user_api_key and that the proxy always sets; without a proxy one of the call's metadata.
        """
        names = ("KEPT_LOGGING_ADDRESS", "KEPT_GATEWAY_CERTIFICATE", "KEPT_GATEWAY_KEY", "KEPT_AUTHORITY")
        missing = [name for name in names if not environment.get(name)]
        fixed, field = environment.get("KEPT_ORGANIZATION"), environment.get("KEPT_ORGANIZATION_METADATA")
        if bool(fixed) == bool(field):
            missing.append("one of KEPT_ORGANIZATION and KEPT_ORGANIZATION_METADATA")
        if missing:
            raise ValueError(f"recording needs in the environment: {', '.join(missing)}")
        address, certificate, key, authority = (environment[name] for name in names)
        return cls.connect(
            address,
            certificate,
            key,
            authority,
            fixed or _field(str(field)),
            application=environment.get("KEPT_APPLICATION", ""),
        )

    def after_fork(self) -> None:
        """What the parent waits for is the parent's."""
        self._lock = threading.Lock()
        self._open.forget()
        self._looking = None
        self._told = OrderedDict()

    def at_exit(self) -> None:
        """Records what went in of the calls that are still open. The recorder, which is older, ends after this."""
        self._give_up(all_of_them=True)

    # LiteLLM calls these by the names of their parameters.

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        """A call goes out, of whatever kind."""
        if not isinstance(kwargs, Mapping):
            return
        try:
            self._open.begin(_attempt(kwargs), _remembered(kwargs))
        except Exception as error:  # noqa: BLE001 - as in _take
            self._complain(failed=1, what=type(error).__name__)
        self._give_up()
        self._look_again()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call without an event loop; a stream once it is whole."""
        self._ended(kwargs, response_obj, start_time, end_time, _Outcome.SUCCESS)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call that failed: what went in is recorded, and that nothing came out."""
        self._ended(kwargs, None, start_time, end_time, _Outcome.FAILURE)

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call of an event loop; a stream once it is whole."""
        self._ended(kwargs, response_obj, start_time, end_time, _Outcome.SUCCESS)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call that failed."""
        self._ended(kwargs, None, start_time, end_time, _Outcome.FAILURE)

    def _ended(self, kwargs: Any, response: Any, start: Any, end: Any, outcome: "_Outcome") -> None:
        self._open.end(_attempt(kwargs))
        self._take(kwargs, response, start, end, outcome)
        self._give_up()

    def _give_up(self, *, all_of_them: bool = False) -> None:
        for call in self._open.given_up(all_of_them=all_of_them):
            with self._lock:
                self.partial += 1
            if self._is_redacted(call):
                call = _log_data(call)
            self._take(call, None, call.get("start_time"), None, _Outcome.PARTIAL)

    def _is_redacted(self, call: Mapping[str, Any]) -> bool:
        """Whether LiteLLM is to hide what went in. It does so only when it tells how a call ended."""
        try:
            from litellm.litellm_core_utils.redact_messages import should_redact_message_logging

            return self.message_logging is not True or bool(should_redact_message_logging(dict(call)))
        except Exception:  # noqa: BLE001 - whoever cannot be asked may have said yes
            return True

    def _look_again(self) -> None:
        """Once no call begins or ends any more, nobody else gives up those that are open."""
        with self._lock:
            if self._looking is not None:
                return
            self._looking = threading.Timer(self._end_within, self._look)
            self._looking.daemon = True
            try:
                self._looking.start()
            except RuntimeError:  # no thread to be had: the next call tries again
                self._looking = None

    def _look(self) -> None:
        self._give_up()
        with self._lock:
            self._looking = None
        if len(self._open):
            self._look_again()

    def _take(self, kwargs: Any, response: Any, start: Any, end: Any, outcome: "_Outcome") -> None:
        try:
            metadata = _metadata(kwargs)
            organization = self._organization
            organization_id = organization if isinstance(organization, str) else organization(metadata)
            if not organization_id:
                self._complain(unattributed=1)
                return
            made = self._interaction(kwargs, metadata, response, outcome)
            made.organization_id = organization_id
            self._set_times(made, kwargs, start, end, outcome)
            self.recorder.record(made)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever is wrong with a record, the gateway's call is not
            self._complain(failed=1, what=type(error).__name__)

    def _interaction(
        self, kwargs: Mapping[str, Any], metadata: Mapping[str, Any], response: Any, outcome: "_Outcome"
    ) -> interactions_pb2.Interaction:
        summary = kwargs.get("standard_logging_object") or {}
        made = interactions_pb2.Interaction(
            application=_line(_application(metadata) or self._application, _NAME),
            model=_line(str(kwargs.get("model") or ""), _NAME),
            end_user=_pseudonym(kwargs, summary),
            api_key_kind=_KINDS.get(
                str(_of_the_gateway(metadata, "api_key_kind")), interactions_pb2.API_KEY_KIND_UNSPECIFIED
            ),
            api_key_id=_matching(_KEY_ID, _of_the_gateway(metadata, "api_key_id")),
            country=_matching(_COUNTRY, _of_the_gateway(metadata, "country")),
        )
        call_type = str(kwargs.get("call_type") or "")
        prompt = kwargs.get("messages")
        messages.add_request(
            made.content,
            kwargs.get("input") if prompt is None else prompt,
            [place for place in (kwargs, kwargs.get("optional_params")) if isinstance(place, Mapping)],
        )
        if outcome is not _Outcome.SUCCESS:
            made.finish_reason = "error" if outcome is _Outcome.FAILURE else "partial"
        else:
            answer = _dumped(response)
            choices = answer.get("choices") if isinstance(answer, Mapping) else None
            if isinstance(choices, list):
                made.finish_reason = _line(messages.add_choices(made.content, choices), _FINISH_REASON)
            elif isinstance(answer, Mapping) and isinstance(answer.get("output"), list):
                made.finish_reason = _line(str(answer.get("status") or ""), _FINISH_REASON)
                messages.add_output(made.content, answer["output"])
            elif isinstance(raw := getattr(answer, "content", None), bytes):
                headers = getattr(getattr(answer, "response", None), "headers", {})
                messages.add_bytes(made.content, raw, str(headers.get("content-type", "")))
            elif answer is not None and call_type not in _EMBEDDINGS:
                messages.add_response(made.content, answer, call_type)
            usage = answer.get("usage") if isinstance(answer, Mapping) else None
            usage = usage if isinstance(usage, Mapping) else {}
            made.prompt_tokens = _tokens(summary.get("prompt_tokens"), usage.get("prompt_tokens"))
            made.generation_tokens = _tokens(summary.get("completion_tokens"), usage.get("completion_tokens"))
        # The text of an error is left out: providers repeat keys in theirs.
        error = (summary.get("error_information") or {}) if outcome is _Outcome.FAILURE else {}
        for name, value in (
            ("litellm.call_id", kwargs.get("litellm_call_id")),
            ("litellm.call_type", call_type),
            ("litellm.provider", kwargs.get("custom_llm_provider")),
            ("error.type", error.get("error_class")),
            ("error.code", error.get("error_code")),
        ):
            if value:
                made.content.attributes[name] = _line(str(value), _ATTRIBUTE)
        return made

    def _set_times(
        self,
        made: interactions_pb2.Interaction,
        kwargs: Mapping[str, Any],
        start: Any,
        end: Any,
        outcome: "_Outcome",
    ) -> None:
        """Latency, and an id that is the same when LiteLLM tells of the same attempt twice."""
        now = self._now()
        # LiteLLM's datetimes are of the machine's zone and say nothing of it; a zone may change its clocks within a call.
        started = start.astimezone(UTC) if isinstance(start, datetime) else now
        if isinstance(start, datetime) and isinstance(end, datetime):
            made.latency.FromTimedelta(min(max(end.astimezone(UTC) - started, timedelta(0)), _LONGEST))
        # Of a text completion LiteLLM may tell twice, as of what was asked for and as of the chat that it made of it, which began a moment
        # later; when the attempt began it says of both.
        begun = kwargs.get("start_time")
        attempt = begun.astimezone(UTC) if isinstance(begun, datetime) else started
        made.record_id = self._id_of(
            attempt,
            now,
            made.organization_id,
            str(kwargs.get("litellm_call_id") or ""),
            attempt.isoformat(),
            outcome,
        )

    def _id_of(self, attempt: datetime, now: datetime, *names: str) -> bytes:
        """An id of a time to come is refused, and a clock may be set back within a call: so its time is no later than when the attempt was
        first told of, whatever the clock says when it is told of again."""
        known_by = derived(attempt, *names)
        with self._lock:
            created = self._told.setdefault(known_by, min(attempt, now))
            if len(self._told) > _MOST_TOLD:
                self._told.popitem(last=False)
        return derived(created, *names)

    def _complain(self, *, unattributed: int = 0, failed: int = 0, what: str = "") -> None:
        with self._lock:
            self.unattributed += unattributed
            self.failed += failed
            now = self._clock()
            if now - self._said_at < 1.0:
                return
            self._said_at = now
        warn(
            "kept: calls NOT recorded so far: %d that nothing says whose they are, %d that could not be made into a record%s",
            self.unattributed,
            self.failed,
            f" (last: {what})" if what else "",
        )


def _attempt(kwargs: Any) -> tuple[str, str]:
    """What one attempt of one call is known by, before it and after."""
    if not isinstance(kwargs, Mapping):
        return "", ""
    return str(kwargs.get("litellm_call_id")), str(kwargs.get("start_time"))


def _remembered(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is read of a call once it is given up. LiteLLM puts the stream of the answer among what it holds of a call; whoever held all of
    that would hold the stream's connection open."""
    return _only(kwargs, (*_LOG_DATA, *_CONTENT), ("user", *messages.BESIDE))


def _log_data(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """A call without what went into the model."""
    return _only(call, _LOG_DATA, ("user",))


def _only(call: Mapping[str, Any], names: Sequence[str], optional: Sequence[str]) -> Mapping[str, Any]:
    """A copy with these fields; optional: those of its optional_params."""
    found = {name: call[name] for name in names if name in call}
    if isinstance(parameters := call.get("litellm_params"), Mapping):
        found["litellm_params"] = dict(parameters)
    if isinstance(parameters := call.get("optional_params"), Mapping):
        found["optional_params"] = {name: parameters[name] for name in optional if name in parameters}
    return found


def _field(name: str) -> Resolver:
    def resolve(metadata: Mapping[str, Any]) -> str | None:
        found = metadata.get(name) if name.startswith(_OF_PROXY) else _of_the_gateway(metadata, name)
        return found if isinstance(found, str) else None

    return resolve


def _metadata(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the call. LiteLLM has two places for them, "metadata" and "litellm_metadata": its proxy writes what it knows of the key into one,
    by the kind of call, and a client may have filled the other. What begins with "user_api_key" is therefore the proxy's alone."""
    parameters = kwargs.get("litellm_params") or {}
    places = [parameters.get(name) for name in ("metadata", "litellm_metadata")]
    told = [place for place in places if isinstance(place, Mapping)]
    found = {name: value for place in told for name, value in place.items() if not name.startswith(_OF_PROXY)}
    of_key = [place for place in told if any(name.startswith(_OF_PROXY) for name in place)]
    if of_key:
        found["user_api_key"] = None  # there is a proxy, whatever is believed of the rest
        found.update(_believed(of_key))
    return found


def _believed(places: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The proxy's fields. Its own place has the object that it made of the key, which no client can send; without one, where there are
    two places only what both say is believed."""
    made = [place for place in places if not isinstance(place.get("user_api_key_auth"), _JSON_TYPES)]
    first, *others = made[:1] or places
    return {
        name: value
        for name, value in first.items()
        if name.startswith(_OF_PROXY) and all(name in other and other[name] == value for other in others)
    }


def _of_the_gateway(metadata: Mapping[str, Any], name: str) -> Any:
    """A field that the gateway's clients cannot set."""
    if "user_api_key" not in metadata:
        return metadata.get(name)  # no proxy: whoever makes the call is the gateway
    for place in _KEY_METADATA:
        of_key = metadata.get(place)
        if isinstance(of_key, Mapping) and of_key.get(name) is not None:
            return of_key[name]
    return None


def _matching(form: re.Pattern[str], value: Any) -> str:
    """What the contract takes, or nothing: a word in a proxy's metadata must not cost the record."""
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _application(metadata: Mapping[str, Any]) -> str:
    return str(_of_the_gateway(metadata, "application") or metadata.get("application") or "")


def _pseudonym(kwargs: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The end user as the caller named it; one that the contract has no room for by its SHA-256, so that it stays one and the same."""
    optional = kwargs.get("optional_params") or {}
    user = str(kwargs.get("user") or optional.get("user") or summary.get("end_user") or "")
    if user == _line(user, _END_USER):
        return user
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _line(text: str, most: int) -> str:
    """One line of so many characters, as the contract wants names: anything else would cost the whole record."""
    valid = text.encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() or one == " " else " " for one in valid)[:most]


def _tokens(*counts: Any) -> int:
    for count in counts:
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return min(count, _MOST_TOKENS)
    return 0


def _dumped(response: Any) -> Any:
    dump = getattr(response, "model_dump", None)
    return dump() if callable(dump) else response
