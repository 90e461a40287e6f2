"""`kept doctor`: what is wrong, and what to do about it."""

from dataclasses import asdict

import typer

from kept.cli.exits import Exit
from kept.cli.invocation import Invocation, verb


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    verb(app, "doctor")(doctor)


def doctor(call: Invocation) -> None:
    """Look for faults, and say what to do about each.

    Looks at profile, certificates, clocks, services, sign-in and pinned keys.

    A profile is a TOML file: version = 1, [addresses] with the people port of each service, [tls] authority, [issuers] workforce and
    customer; docs/cli.md shows one. The exit code is 3 when something is wrong.
    """
    from kept.client.diagnosis import examine

    findings = list(examine(call.profile, call.public_channel, lambda: call.session))
    if call.as_json:
        call.show_document({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            typer.echo(f"{finding.state:<5} {finding.what:<30} {finding.words}")
            if finding.next_step:
                typer.echo(f"{'':<5} {'':<30} -> {finding.next_step}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(Exit.NOT_REACHABLE)
