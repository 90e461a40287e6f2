"""One run of one command: whose it is, where it goes, how its answer is shown, how it fails.

Every command takes --as, --json and --profile; `verb` adds them, so that a command function says only what is its own.
"""

import inspect
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from kept.cli.arguments import check_text
from kept.cli.exits import Exit, exit_of
from kept.client.errors import KeptError
from kept.client.profile import Profile, load, locate

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message
    from rich.console import RenderableType

    from kept.client.connection import Connection
    from kept.client.session import Session, Sessions

_Command = TypeVar("_Command", bound=Callable[..., None])
# What a message looks like to people; made only when people look.
View = Callable[[], "RenderableType | Iterable[RenderableType]"]

_As = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Act as this signed-in identity, not the last one."),
]
_Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
_ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        envvar="KEPT_PROFILE",
        show_envvar=True,
        help="The installation to talk to. ~/.config/kept/profile.toml without it.",
    ),
]


def open_connection(profile: Profile, session: "Session | None") -> "Connection":
    """Channels to the services, as this identity."""
    from kept.client.connection import Connection

    return Connection(profile, session)


class Invocation:
    """What a command function works with."""

    def __init__(self, identity: str | None, as_json: bool, profile_file: Path | None) -> None:
        self.identity = identity
        self.as_json = as_json
        self._profile_file = profile_file
        self._connections: dict[bool, Connection] = {}
        self._request_id: str | None = None

    @cached_property
    def profile(self) -> Profile:
        """The installation. Raises KeptError (PROFILE)."""
        return load(locate(self._profile_file))

    @cached_property
    def sessions(self) -> "Sessions":
        """The identities signed in to it."""
        from kept.client.session import Sessions

        return Sessions(self.profile)

    @cached_property
    def session(self) -> "Session":
        """The identity that acts. Raises KeptError (NOT_SIGNED_IN)."""
        return self.sessions.find(self.identity)

    def channel(self, service: str) -> "grpc.Channel":
        """To a service, with the identity's token."""
        return self._connection(public=False).channel(service)

    def public_channel(self, service: str) -> "grpc.Channel":
        """To a service, as nobody: for methods that are public."""
        return self._connection(public=True).channel(service)

    def _connection(self, *, public: bool) -> "Connection":
        if public not in self._connections:
            self._connections[public] = open_connection(self.profile, None if public else self.session)
        return self._connections[public]

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._connections.values():
            connection.close()

    def request_id(self, given: str) -> str:
        """The id that makes a change idempotent: as given, or a new one."""
        self._request_id = given or secrets.token_hex(16)
        return self._request_id

    def own_organization(self, given: str) -> str:
        """As given, or the organization of the customer who acts. A usage error when there is neither."""
        own = given or str(self.session.claims().get("org", ""))
        if not own:
            raise typer.BadParameter("name the organization with --organization ORG.")
        return own

    def show(self, message: "Message", view: View, *, omit: Iterable[str] = ()) -> None:
        """The answer: JSON for programs, the view for people. `omit`: top-level fields that JSON leaves out."""
        if not self.as_json:
            self.tell(view)
            return
        from kept.client.documents import to_document

        hidden = set(omit)
        self.show_document({k: v for k, v in to_document(message).items() if k not in hidden})

    def show_document(self, document: dict[str, Any], *, one_line: bool = False) -> None:
        """JSON on stdout."""
        from kept.cli.output import to_json

        sys.stdout.write(to_json(document, one_line=one_line) + "\n")
        sys.stdout.flush()

    def tell(self, view: View) -> None:
        """Tables and text on stdout."""
        from kept.cli.output import console

        out = console()
        shown = view()
        for part in shown if isinstance(shown, list | tuple) else (shown,):
            out.print(part)

    def note(self, text: str) -> None:
        """A word to a person beside the answer, on stderr; programs do not get it."""
        if not self.as_json:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def fail(self, error: KeptError) -> Exit:
        """Says on stderr what failed, why, and what to do next."""
        if self.as_json:
            from kept.cli.output import to_json

            sys.stderr.write(to_json({"error": error_document(error)}, one_line=True) + "\n")
        else:
            sys.stderr.write("\n".join(error_lines(error, self._request_id)) + "\n")
        return exit_of(error)


def error_document(error: KeptError) -> dict[str, Any]:
    """A failure for programs."""
    return {
        "reason": error.reason,
        "text": error.text,
        "status": error.status,
        "service": error.service,
        "fields": [{"field": field, "what": what} for field, what in error.fields],
        "metadata": error.metadata,
        "next_step": error.next_step(),
        "retry_after_seconds": None if error.retry_after is None else error.retry_after.total_seconds(),
        "correlation_id": error.correlation_id,
    }


def error_lines(error: KeptError, request_id: str | None = None) -> list[str]:
    """A failure for people: what, where, reason, what to do next, correlation id."""
    from kept.cli.output import plain

    lines = [f"kept: {error.text}"]
    lines += [f"  {field}: {what}" for field, what in error.fields]
    lines.append(f"  reason: {error.reason}")
    if step := error.next_step():
        lines.append(f"  next: {step}")
    if request_id is not None and error.unreachable:
        lines.append(f"  request id: {request_id}")
    if error.correlation_id:
        lines.append(f"  correlation id: {error.correlation_id}")
    return [plain(line) for line in lines]


def verb(group: typer.Typer, name: str) -> Callable[[_Command], _Command]:
    """Makes a function a command of a group. Its first parameter is the Invocation, the others are its own arguments and options,
    and its docstring is the help."""

    def decorate(function: _Command) -> _Command:
        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]
        every = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, default, annotation in (
                ("identity", None, _As),
                ("as_json", False, _Json),
                ("profile_file", None, _ProfileFile),
            )
        ]

        def run(identity: str | None, as_json: bool, profile_file: Path | None, **arguments: Any) -> None:
            invocation = Invocation(identity, as_json, profile_file)
            try:
                for argument, given in arguments.items():
                    for each in given if isinstance(given, list) else (given,):
                        if isinstance(each, str):
                            check_text(each, argument)
                function(invocation, **arguments)
            except KeptError as error:
                raise typer.Exit(invocation.fail(error)) from None
            except BrokenPipeError:
                # Who read the answer has seen enough; Python would complain again when it flushes at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(Exit.REFUSED) from None
            except OSError as error:  # of a file that no command looks after, such as one beside the profile
                if error.filename is None:
                    raise
                unusable = KeptError("UNREADABLE", f"{error.filename} cannot be used: {error.strerror}.")
                raise typer.Exit(invocation.fail(unusable)) from None
            finally:
                invocation.close()

        run.__signature__ = inspect.Signature([*own, *every])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *every)}
        run.__name__ = function.__name__
        run.__doc__ = function.__doc__
        group.command(name, no_args_is_help=False)(run)
        return function

    return decorate


def group(parent: typer.Typer, name: str, help_: str) -> typer.Typer:
    """A group of commands below another."""
    made = typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)
    parent.add_typer(made, name=name)
    return made
