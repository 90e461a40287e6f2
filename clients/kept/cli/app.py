"""The command tree. No rich here, no gRPC: `kept --help` reads this module and nothing more."""

import typer

from kept.cli import (
    access,
    account,
    api_keys,
    audit,
    cases,
    certificates,
    controls,
    detectors,
    doctor,
    export,
    governance,
    holds,
    keys,
    logs,
    members,
    organizations,
    people,
    policy,
    retention,
    safety,
    signing_in,
    subjects,
    terms,
    trust_center,
    usage,
)
from kept.cli.invocation import group

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback()
def kept() -> None:
    """Kept: promises about prompts, and the evidence that they are kept.

    Start with `kept doctor`, then `kept login --as NAME` (staff) or `kept login --customer EMAIL`, then `kept status`. Every command
    takes --as NAME (which signed-in identity), --json (for programs) and --profile FILE (which installation).

    \b
    Exit codes
      0  done
      1  a service refused it, or failed: stderr says why and what to do next
      2  the command line was not understood, or a file that it names (the profile too) cannot be used
      3  nobody answered, or not at the moment: the same command may work later
      4  a certificate, audit log or export did not verify; policies do not hold their cases
    """


signing_in.add_to(app)
doctor.add_to(app)
access.add_to(app)
logs.add_to(app)
usage.add_to(app)
export.add_to(app)
account.add_to(app)
settings = group(app, "settings", "Customers, and what they decide about their data.")
organizations.add_to(settings)
controls.add_to(settings)
governance.add_to(settings)
members.add_to(settings)
subjects.add_to(settings)
api_keys.add_to(settings)
terms.add_to(settings)
members.add_to(settings)
trust_center.add_to(app)
people.add_to(app)
holds.add_to(app)
cases.add_to(app)
safety.add_to(app)
detectors.add_to(app)
retention.add_to(app)
certificates.add_to(app)
keys.add_to(app)
audit.add_to(app)
policy.add_to(app)

# Built once: what `main` runs, and what completion asks.
command = typer.main.get_command(app)
