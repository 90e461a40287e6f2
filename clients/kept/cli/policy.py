"""`kept policy`: an operator's own policies, tested before access control decides by them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.exits import Exit
from kept.cli.invocation import Invocation, group, verb
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.policies import PolicySet, Table

_Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The folder with *.cedar, schema.cedarschema and cases/*.toml. The current one without it.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    policy = group(app, "policy", "Test the policies that access control decides by.")
    verb(policy, "test")(check)


def check(
    call: Invocation,
    folder: _Folder = Path(),
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Also take out each condition of each policy in turn: at least one case must notice.",
        ),
    ] = False,
    seal: Annotated[
        bool,
        typer.Option(
            "--seal",
            help="If everything holds, write policies.sha256. Access control takes no folder without it.",
        ),
    ] = False,
) -> None:
    """Test a folder of policies, offline.

    They fit their schema, and every case in the table holds: who may do what, to what, by which policy, and what is told to whom it is
    denied. Start from a copy of services/access_control/authorization/policies; docs/policies.md says how to go on.

    Exit code 4 when they do not; 2 when the folder cannot be read as policies and cases. Nothing is asked of any service.
    """
    policies, table = _read(folder)
    failures = list(table.failures(policies))
    unnoticed = list(_unnoticed(policies, table)) if thorough and not failures else []
    holds = not failures and not unnoticed
    if holds and seal:
        _seal(folder, policies)
    document: dict[str, Any] = {
        "holds": holds,
        "policy_set": policies.sha256,
        "policies": len(policies.names),
        "cases": len(table.cases),
        "sealed": holds and seal,
        "failures": [
            {"place": failure.case.place, "case": failure.case.sentence, "came": failure.came}
            for failure in failures
        ],
        "unnoticed": unnoticed,
    }
    if call.as_json:
        call.show_document(document)
    else:
        _tell(document, thorough)
    if not holds:
        raise typer.Exit(Exit.NOT_VERIFIED)


def _read(folder: Path) -> "tuple[PolicySet, Table]":
    from kept.policies import PolicyError, read_table

    problems: list[str] = []
    policies, table = None, None
    try:
        policies = _policies(folder)
    except PolicyError as error:
        problems += error.problems
    try:
        table = read_table(folder / "cases")
    except PolicyError as error:
        problems += error.problems
    if policies is None or table is None:
        raise KeptError(
            "UNREADABLE",
            f"{folder} does not hold policies and cases that can be used.",
            fields=[(folder.name or str(folder), problem) for problem in problems],
        )
    return policies, table


def _policies(folder: Path) -> "PolicySet":
    from kept.policies import PolicyError, PolicyFolder

    found = PolicyFolder(folder)
    schema = found.schema()
    if schema is None:
        raise PolicyError(
            ["schema.cedarschema is not there: take the one of the version that is to use this"]
        )
    return found.load(schema)


def _unnoticed(policies: "PolicySet", table: "Table") -> list[str]:
    """The conditions that could be missing and no case would fail. A set that does not fit the schema any more is noticed as well."""
    from kept.policies import needed_by

    return [missing for missing, case in needed_by(policies, table) if not case]


def _seal(folder: Path, policies: "PolicySet") -> None:
    from kept.policies import PolicyFolder

    try:
        PolicyFolder(folder).write_seal(policies)
    except OSError as error:
        raise KeptError("UNREADABLE", f"{folder} cannot be written to: {error.strerror}.") from None


def _tell(document: dict[str, Any], thorough: bool) -> None:
    from kept.cli.output import plain

    for failure in document["failures"]:
        typer.echo(plain(f"{failure['place']}: {failure['case']}"))
        typer.echo(plain(f"    {failure['came']}"))
    for missing in document["unnoticed"]:
        typer.echo(plain(f"no case notices when this is missing: {missing}"))
    cases = f"{document['cases']} cases, {document['policies']} policies"
    if not document["holds"]:
        wrong = len(document["failures"]) or len(document["unnoticed"])
        what = "do not hold" if document["failures"] else "conditions are tested by none"
        typer.echo(f"{cases}: {wrong} {what}")
        return
    typer.echo(f"{cases}: all hold{', each condition is needed by one' if thorough else ''}")
    typer.echo(f"  policy set {document['policy_set']}{' (sealed)' if document['sealed'] else ''}")
