"""What the documents name is there: pages and their headings, files, commands with their options, make's targets, modules, and, in what
operators read when something is wrong, metrics, alerts, labels, reasons, settings and events of the logs."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import typer
import yaml

from deploy.check.measured import exported
from deploy.check.overlay import SERVICES, Overlay
from kept.cli.app import app

ROOT: Final = Path(__file__).parents[2]
OPERATORS: Final = ("docs/operations/", "docs/runbooks/")
_TOPS: Final = ("bench", "clients", "deploy", "docs", "protos", "services", "shared", "tests")
_FENCE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_SERIES: Final = ("_bucket", "_sum", "_count")


@cache
def versioned() -> tuple[Path, ...]:
    """Every file that is kept in the repository, or is about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file())


def pages() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in versioned() if path.suffix == ".md"]


def for_operators() -> list[str]:
    return [page for page in pages() if page.startswith(OPERATORS)]


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text()


@cache
def code() -> str:
    """All that is not a document, and the texts of no other language: what names can come from."""
    kinds = {".py", ".proto", ".toml", ".yaml", ".env", ".cedar", ".txt", ".json"}
    generated = ("deploy/check/schemas/kubernetes-", "tests/unit/test_documentation.py")
    files = [
        path for path in versioned() if path.suffix in kinds or path.name in ("Makefile", "Containerfile")
    ]
    return "\n".join(
        path.read_text() for path in files if not str(path.relative_to(ROOT)).startswith(generated)
    )


def spans(page: str) -> list[str]:
    return _SPAN.findall(_FENCE.sub("", text(page)))


def lines_of_code(page: str) -> list[str]:
    """What is set off as code: spans, and lines in blocks."""
    fenced = "\n".join(_FENCE.findall(text(page)))
    indented = [line for line in text(page).splitlines() if line.startswith("    ")]
    return [*spans(page), *(line.strip() for line in (*fenced.splitlines(), *indented))]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", bare.strip().lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    for page in pages():
        for link in _LINK.findall(_FENCE.sub("", text(page))):
            if link.startswith(("https://", "http://", "mailto:")):
                continue
            name, _, anchor = link.partition("#")
            target = (ROOT / page).parent / name if name else ROOT / page
            assert target.exists(), f"{page} links to {link}, which is not there"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", target.read_text()), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page} links to {link}; there is no such heading"


def test_files_that_are_named_are_there() -> None:
    for page in pages():
        for span in spans(page):
            for word in [] if span.startswith("kubectl ") else span.split():  # whose objects look like paths
                path = word.strip(",;:()'\"").partition("::")[0]
                if path.partition("/")[0] not in _TOPS or "/" not in path or re.search(r"[A-Z<…$]{2,}", path):
                    continue
                is_there = any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists()
                assert is_there, f"{page} names {path}, which is not there"


def test_pages_that_the_code_names_are_there() -> None:
    ours = ("clients", "deploy", "services", "shared")
    files = [
        path
        for path in versioned()
        if path.relative_to(ROOT).parts[0] in ours and path.suffix not in (".md", ".zdict")
    ]
    named = {page for path in files for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())}
    assert "docs/operations/configuration.md" in named
    assert not {page for page in named if not (ROOT / page).is_file()}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))


def test_make_has_the_targets() -> None:
    for page in pages():
        for line in lines_of_code(page):
            for words in re.findall(
                r"(?:^|&& |; )make ((?:[a-z-]+(?: (?=[a-z]))?)+)", line.partition("#")[0]
            ):
                for target in words.split():
                    assert target in targets(), f"{page}: make has no {target}"


def test_modules_that_are_run_are_there() -> None:
    for page in pages():
        for line in lines_of_code(page):
            for module in re.findall(r"\bpython3? -m ([a-z_.]+)", line):
                if module.split(".")[0] in (*_TOPS, "kept"):
                    assert importlib.util.find_spec(module), f"{page}: there is no {module}"


# What begins as commands do and is none.
_NO_COMMANDS: Final = frozenset(["kept otlp event v1"])


def commands(page: str) -> Iterator[list[str]]:
    """The words of each `kept …`, up to what is no more of it; of several in a line, each."""
    for line in lines_of_code(page):
        for found in re.finditer(r"(?:^|\s|\$ )kept ((?:[a-z-]+|--help)\b.*)", line):
            said = re.split(r"(?:\s#|, or | and |[,;|]|\s→)", found[1])[0]
            try:
                words = shlex.split(said)
            except ValueError:  # a quotation that goes on in the next line
                words = said.split()
            if found[0] not in _NO_COMMANDS and (found.start() == 0 or line.startswith("$ ")):
                yield words


@cache
def whole() -> Any:
    """The command with all below it."""
    return typer.main.get_command(app)


def resolve(words: list[str]) -> str:
    """What is wrong with a command; empty when nothing is."""
    command = whole()
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0).rstrip(".:")
        if name not in command.commands:
            return f"{command.name} has no command {name!r}" if re.fullmatch("[a-z-]+", name) else ""
        command = command.commands[name]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {
        "--help",
        "-h",
    }
    unknown = [word for word in rest if re.match(r"--[a-z]", word) and word.partition("=")[0] not in known]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else ""


def test_commands_and_their_options_are_there() -> None:
    for page in pages():
        wrong = {" ".join(words): problem for words in commands(page) if (problem := resolve(words))}
        assert not wrong, f"{page}: {wrong}"


def test_a_command_that_is_not_there_is_found() -> None:
    assert resolve(["holds", "lift"]) == "holds has no command 'lift'"
    assert "--soon" in resolve(["holds", "list", "--soon"])
    assert resolve(["holds", "list"]) == ""


@cache
def alerts() -> set[str]:
    (rules,) = yaml.safe_load_all(text("deploy/components/monitoring/alerts.yaml"))
    found: list[dict[str, Any]] = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    return {rule["alert"] for rule in found}


def test_what_is_scaled_to_none_is_scaled_up_again_where_an_autoscaler_would_not() -> None:
    """An HorizontalPodAutoscaler is off at zero replicas, and manifests that have one have no number of their own."""
    scalers = Overlay.rendered("production").of_kind("HorizontalPodAutoscaler")
    least = {one.value["spec"]["scaleTargetRef"]["name"]: one.value["spec"]["minReplicas"] for one in scalers}
    missing: list[str] = []
    for page in for_operators():
        stopped = set(re.findall(r"scale deployment (\S+) --replicas=0", text(page)))
        concerned = least if "SERVICE" in stopped else stopped & set(least)
        wanted = [f"scale deployment {name} --replicas={least[name]}" for name in sorted(concerned)]
        missing += [f"{page}: {command}" for command in wanted if command not in text(page)]
    assert not missing


def test_metrics_and_alerts_are_there() -> None:
    for page in for_operators():
        names = {re.sub(f"(?:{'|'.join(_SERIES)})$", "", name) for name in exported()} | exported()
        for metric in re.findall(r"(?<![.\w])kept_[a-z_]+\b", text(page)):
            assert metric in names, f"{page}: nobody exports {metric}"
        for alert in re.findall(r"\bKept[A-Z]\w+", text(page)):
            assert alert in alerts(), f"{page}: there is no alert {alert}"


def test_each_alert_is_told_of_once() -> None:
    told = re.findall(r"\bKept[A-Z]\w+", text("docs/operations/paging.md"))
    assert sorted(told) == sorted(alerts())


def test_what_is_written_as_a_name_is_a_name_in_the_code() -> None:
    """Settings, events of the log, labels, reasons, fields of manifests."""
    for page in for_operators():
        for span in spans(page):
            for name in re.findall(
                r"(?<![\w./-])(?:[a-z]+(?:_[a-z]+)+|[A-Z]+(?:_[A-Z]+)+|kept\.dev/[a-z-]+|[a-z_]+\.[a-z_]+)(?![\w./(*-])",
                span,
            ):
                if name.rpartition(".")[2] in _SUFFIXES or name.lower() in _OF_OTHERS:
                    continue
                assert _is_known(name), f"{page}: nothing is called {name}"


# Endings of files and hosts, and names that are other programs' or examples.
_SUFFIXES: Final = (
    "md",
    "py",
    "toml",
    "env",
    "yaml",
    "json",
    "pem",
    "crt",
    "txt",
    "example",
    "svc",
    "local",
    "tar",
    "conf",
    "io",
    "key",
)
_OF_OTHERS: Final = frozenset(["max_connections", "recovery_target_time"])


def _is_known(name: str) -> bool:
    """Whether code has the name, in capitals or not where it is one; of a dotted one, each part."""
    if "/" in name:
        return name in code()
    variable = re.match(f"KEPT_(?:{'|'.join(map(str.upper, SERVICES))})_", name)
    plain = name.removeprefix(variable[0]) if variable else name
    return all(part in words() or part.lower() in words() for part in plain.split("."))


@cache
def words() -> frozenset[str]:
    """Every word of the code."""
    return frozenset(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", code()))


def test_a_name_that_nothing_has_is_found() -> None:
    assert _is_known("drain_seconds")
    assert not _is_known("drain_" + "minutes")
