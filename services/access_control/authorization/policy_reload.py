"""Policies are reloaded whole or not at all.

An operator's folder (`policies` in the configuration) is looked at every few seconds. A new set that is whole and fits the schema is
written down and then decided by; one that is not changes nothing, is written down too, and raises an alert. What the service starts with
must be usable, or it does not start.
"""

from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from kept.policies import PolicyError, PolicyFolder, PolicySet
from kept.policies.conditions import parse
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.authorization.policy import Authorization, shipped_schema
from services.access_control.store import policy_sets as store
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.jobs import Job
from shared.telemetry import ALERT

_INTERVAL: Final = timedelta(seconds=5)
_ACTOR: Final = "service:access_control"
# Of a fact in the audit log.
_LONGEST: Final = 1000
_log = structlog.get_logger(__name__)


class PolicyReload:
    """Keeps the set in use the one that the operator wants. folder: None for the package's own, which never changes."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        authorization: Authorization,
        decisions: DecisionLog,
        folder: Path | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._authorization = authorization
        self._decisions = decisions
        self._folder = PolicyFolder(folder) if folder is not None else None
        self._refused: list[str] = []
        self.job = Job("policies", _INTERVAL, self.step)

    def start(self) -> None:
        """The first set. Raises ConfigError where it cannot be used."""
        try:
            self._use(self._load())
        except PolicyError as error:
            raise ConfigError("policies: " + "; ".join(error.problems), "docs/policies.md") from error

    def step(self) -> bool:
        """Looks whether there is another set, and uses it if it can be used. Raises what the database raises; then the old one stays."""
        try:
            policies = self._load()
        except PolicyError as error:
            self._refuse(error.problems)
            return False
        if policies.sha256 != self._authorization.policy_set:
            self._use(policies)
        self._refused = []
        ALERT.labels("policies_refused").set(0)
        return False

    def _load(self) -> PolicySet:
        if self._folder is None:
            return self._authorization.policies
        return self._folder.load_sealed(shipped_schema())

    def _use(self, policies: PolicySet) -> None:
        with self._database.transaction() as tx:
            # Of several processes the first to see a set writes it down.
            before = store.in_use(tx)
            if before is None or before.policy_set != policies.sha256:
                store.use(tx, store.UsedSet(policies.sha256, policies.text), self._clock.now())
                self._decisions.write(
                    tx,
                    "policies.changed",
                    _ACTOR,
                    facts={
                        "before": before.policy_set if before is not None else "",
                        "after": policies.sha256,
                        **_differences(before.policies if before is not None else "", policies.text),
                    },
                )
        self._authorization.use(policies)
        _log.info("policies.in_use", policy_set=policies.sha256, policies=len(policies.names))

    def _refuse(self, problems: list[str]) -> None:
        ALERT.labels("policies_refused").set(1)
        if problems == self._refused:
            return
        with self._database.transaction() as tx:
            self._decisions.write(
                tx,
                "policies.refused",
                _ACTOR,
                facts={"in_use": self._authorization.policy_set, "problem": problems[0][:_LONGEST]},
            )
        self._refused = problems
        _log.error("policies.refused", problems=problems, in_use=self._authorization.policy_set)


def _differences(before: str, after: str) -> dict[str, str]:
    """Ids of policies, by what happened to them."""
    old, new = _by_name(before), _by_name(after)
    changes = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "altered": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
    return {what: ",".join(names)[:_LONGEST] for what, names in changes.items()}


def _by_name(text: str) -> dict[str, object]:
    return {
        policy.get("annotations", {}).get("id", key): policy
        for key, policy in parse(text)["staticPolicies"].items()
    }
