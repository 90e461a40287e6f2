"""The reference of settings, docs/operations/configuration.md, is what the services take: `python -m deploy.check.documented` writes it."""

from collections.abc import Iterator, Sequence
from typing import Final

from deploy.check import findings
from deploy.check.findings import ROOT, Finding
from deploy.check.overlay import SERVICES, config_class
from shared.config import REFERENCE, ServiceConfig
from shared.config_reference import Setting, settings_of

_FILE: Final = ROOT / REFERENCE
_HEAD: Final = """# Configuration

Every setting of every service. `python -m deploy.check.documented` writes this page from the services' own classes, and `make deploy-check`
holds that it is up to date.

A service reads one TOML file (`--config FILE`), and lays over it the variables `KEPT_<SERVICE>_<SETTING>`: parts of a part are named with
two underscores, and values are TOML where they are more than a word, such as `KEPT_LOGGING_TLS__KEY=/run/key.pem`,
`KEPT_SETTINGS_TOKEN_KEY_FILES=["/run/new", "/run/old"]`. In the overlays these come from `installation/*.env`, without the prefix
([install](install.md)). `--print-config` shows what counts, secrets hidden.

What is unknown, missing or wrong stops the start with exit code 2: the setting's name, what is allowed, and the page that says more. So do
a file that is named and not there, a certificate of another service or trust domain, a door that cannot be opened, and a database whose
schema is older than the version. A database or peer that is away is no wrong setting: the service starts, and is not ready; access control,
which serves nobody before it has seen that keys and database belong together, ends with exit code 1 and is started again.
"""


def reference() -> str:
    """The page, in Markdown."""
    common = settings_of(ServiceConfig)
    parts = [_HEAD, *_section("Every service", common)]
    for service in SERVICES:
        own = [one for one in settings_of(config_class(service)) if one not in common]
        parts += _section(service.replace("_", " "), own)
    return "\n".join(parts) + "\n"


def documentation() -> str:
    """What operators are told of settings."""
    return _FILE.read_text() if _FILE.exists() else ""


def check(told: str | None = None) -> Iterator[Finding]:
    """Settings that operators are not told of, or otherwise. told: in the place of what they are."""
    if (documentation() if told is None else told) != reference():
        yield Finding(findings.relative(_FILE), "", "is not what `python -m deploy.check.documented` writes")


def _section(title: str, settings: Sequence[Setting]) -> list[str]:
    rows = [
        f"| `{one.name}` | {_cell(one.allowed)} | {_cell(_default(one))} | {_cell(one.meaning)} |"
        for one in settings
    ]
    return [
        f"## {title}",
        "",
        "| setting | allowed | without it | what it is |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def _default(setting: Setting) -> str:
    if setting.is_required:
        return "**to be set**" if "." not in setting.name else "to be set with the others"
    return f"`{setting.default}`" if setting.default else "as its parts say"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    _FILE.write_text(reference())
