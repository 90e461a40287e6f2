"""Safety review as it runs: a process of its own, over mTLS, on an embedded PostgreSQL with durable commits; and 500 rules for it."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.access_control import process, wait_until
from deploy.local import health
from deploy.local.authority import Authority
from deploy.local.configuration import Section, toml
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from services.safety_review.detection.rules import DEFAULT_RULES
from shared.config import Tls
from tests.support.server import TRUST_DOMAIN

RULES: Final = 500
_NOBODY: Final = "127.0.0.1:1"
_ROOT: Final = Path(__file__).parents[1]
_PROSE: Final = "".join(page.read_text(encoding="utf-8") for page in sorted((_ROOT / "docs").glob("*.md")))
_RULE: Final = """
[[rule]]
id = "bench.n{number}"
category = "test"
severity = "low"
action = "observe"
{looks_for}
[rule.examples]
positive = ["{positive}"]
negative = ["nothing of it"]
"""


def rules_text(count: int = RULES) -> str:
    """A rules file: the shipped rules, and made-up ones of every kind that there is up to `count`. Their words are this project's own, so
    that some of them occur in what is screened, as those of rules do; together they hardly do."""
    rng = random.Random(count)
    words = sorted(
        {word.lower() for word in _PROSE.split() if word.isascii() and word.isalpha() and len(word) > 6}
    )
    shipped = DEFAULT_RULES.read_text(encoding="utf-8")
    made = [shipped]
    for number in range(count - shipped.count("[[rule]]")):
        a, b, c, d = (rng.choice(words) for _ in range(4))
        kind = number % 5
        if kind < 2:
            looks_for, positive = f"literals = ['{a} {b} {c}', '{d}{b}']", f"{a} {b} {c}"
        elif kind == 2:
            looks_for = f"proximity = [{{words = [['{a}', '{b}'], ['{c}x', '{d}x']], within = 40}}]"
            positive = f"{a} and {c}x"
        elif kind == 3:
            looks_for, positive = rf"patterns = ['\b(?:{a}|{b})\w*\s(?:the|a|my) {c}\b']", f"{a} the {c}"
        else:
            looks_for = rf"patterns = ['\b(?:{a}|{b})\b.{{0,60}}\b{c} {d}']"
            positive = f"{a} and then {c} {d}"
        made.append(_RULE.format(number=number, looks_for=looks_for, positive=positive))
    return "".join(made)


@dataclass(frozen=True)
class Reviewing:
    """Where a process of safety review is. address: for services."""

    address: str
    pid: int


@contextmanager
def reviewing(
    home: Path, authority: Authority, peers: dict[str, str], processes: int = 1
) -> Iterator[list[Reviewing]]:
    """The service with 500 rules, in so many processes, on a PostgreSQL of its own, stopped at the end. home: an empty folder. peers:
    access control, which is asked for the service's own entries, and retention; what is clean needs nothing else."""
    with ExitStack() as stack:
        (port,) = free_ports(1)
        home.mkdir(exist_ok=True)
        postgres = Postgres(home / "data", port=port, password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        rules = home / "rules.toml"
        rules.write_text(rules_text(), encoding="utf-8")
        identity = authority.issue("safety_review", serves=True)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        tables = {
            "tls": {name: str(path) for name, path in tls.model_dump().items()},
            "peers": {"settings": _NOBODY, "logging": _NOBODY} | peers,
        }
        started = []
        for number in range(processes):
            address, people_address, health_address, metrics = (f"127.0.0.1:{port}" for port in free_ports(4))
            settings: Section = {
                "environment": "local",
                "trust_domain": TRUST_DOMAIN,
                "services_address": address,
                "people_address": people_address,
                "health_address": health_address,
                "metrics_address": metrics,
                "database_url": postgres.ensure_database("safety_review", "bench"),
                "migrate_at_start": True,
                "audience": "kept:safety_review",
                "rules_file": str(rules),
                "log_level": "error",
            }
            config, log = home / f"safety_review-{number}.toml", home / f"service-{number}.log"
            config.write_text(toml(settings, tables, {}))
            running = stack.enter_context(process("services.safety_review", "--config", str(config), log=log))
            wait_until(lambda at=health_address: health.serves(at), log)  # type: ignore[misc]
            started.append(Reviewing(address, running.pid))
        yield started
