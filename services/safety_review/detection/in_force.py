"""The rules in force: read at the start, changed by a person or a deployment, the same in every process of the service.

A file is tried before it is put into force: read, checked and run on its own examples. What is in force stands in the database, so that
each change is one entry in the audit log, by the file's hash, and the other processes follow. A process that does not have that file yet
goes on with the rules that it has, and says so by the alert `rules_behind`.
"""

from pathlib import Path
from typing import Final

import structlog

from services.safety_review import notices
from services.safety_review.detection.matching import Matcher, failed_examples
from services.safety_review.detection.rule_fields import RulesError
from services.safety_review.detection.rules import DEFAULT_RULES, RuleSet, load_rules, parse_rules
from services.safety_review.store import Tx
from services.safety_review.store import rules_in_force as store
from services.safety_review.store.rules_in_force import InForce
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller
from shared.outbox import Outbox
from shared.telemetry import ALERT

_MOST_FACT: Final = 200
_log = structlog.get_logger(__name__)


def version_of(rules: RuleSet) -> str:
    """The rules' version as verdicts and flags cite it: the file's own name for it and 16 hex digits of the file's SHA-256."""
    return f"{rules.version}-{rules.digest[:16]}"


def tried(file: Path) -> Matcher:
    """The file's rules, compiled and tried on their own examples. The shipped ones are tried with the project. Raises RulesError."""
    matcher = Matcher(load_rules(file))
    if file != DEFAULT_RULES:
        _require_examples(matcher, str(file))
    return matcher


def draft(content: bytes, *, keeps_examples: bool = True) -> Matcher:
    """A draft of a rules file, compiled. keeps_examples: tried on its own examples too, as what goes into force must be. Raises
    RULES_REFUSED."""
    try:
        matcher = Matcher(parse_rules(content, name="draft"))
        if keeps_examples:
            _require_examples(matcher, "draft")
    except RulesError as error:
        raise refused(error) from None
    return matcher


def refused(error: RulesError) -> KeptError:
    """What is said of a file that cannot be used: where, and what to change."""
    return KeptError(
        Reason.REASON_RULES_REFUSED,
        "The rules file cannot be used; the rules before stay in force.",
        metadata={"where": error.where, "problem": error.reason},
    )


def _require_examples(matcher: Matcher, where: str) -> None:
    failures = failed_examples(matcher)
    if failures:
        raise RulesError(where, "the rules contradict their examples: " + "; ".join(failures))


class Rules:
    """What this process screens by."""

    def __init__(
        self, database: Database, clock: Clock, outbox: Outbox, file: Path, matcher: Matcher
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._file = file
        self._matcher = matcher
        self._announced = False

    @property
    def matcher(self) -> Matcher:
        """The rules, compiled. Whoever screens takes them once for a whole batch."""
        return self._matcher

    def in_force(self) -> InForce | None:
        """What is in force for all processes."""
        with self._database.transaction() as tx:
            return store.find(tx)

    def reload(self, caller: Caller, sha256: str) -> tuple[str, str]:
        """Puts the configured file into force if it has this hash; the versions before and after. Raises RULES_REFUSED, RULES_CHANGED."""
        before = version_of(self._matcher.rules)
        try:
            matcher = tried(self._file)
        except RulesError as error:
            self._audit_refusal(caller, sha256, error)
            raise refused(error) from None
        if matcher.rules.digest != sha256:
            raise KeptError(
                Reason.REASON_RULES_CHANGED,
                "The configured rules file is another one than was meant.",
                metadata={"sha256": matcher.rules.digest},
            )
        with self._database.transaction() as tx:
            self._put(tx, matcher, caller.actor, "reloaded")
        self._announced, self._matcher = True, matcher
        ALERT.labels("rules_behind").set(0)
        return before, version_of(matcher.rules)

    def follow(self) -> bool:
        """A job's step: at the first makes known what this process was started with; then takes over what others have put into force."""
        if not self._announced:
            with self._database.transaction() as tx:
                self._put(tx, self._matcher, notices.SERVICE, "started")
            self._announced = True
            return False
        current = self.in_force()
        if current is None or current.digest == self._matcher.rules.digest:
            ALERT.labels("rules_behind").set(0)
            return False
        try:
            matcher = tried(self._file)
        except RulesError:
            matcher = self._matcher
        if matcher.rules.digest == current.digest:
            self._matcher = matcher
            _log.info("rules.followed", version=current.version)
        ALERT.labels("rules_behind").set(matcher.rules.digest != current.digest)
        return False

    def _put(self, tx: Tx, matcher: Matcher, actor: str, cause: str) -> None:
        store.lock(tx)
        before = store.find(tx)
        if before is not None and before.digest == matcher.rules.digest:
            return
        now = self._clock.now()
        new = InForce(version_of(matcher.rules), matcher.rules.digest, now)
        store.put(tx, new)
        facts: dict[str, str | int] = {
            "version": new.version,
            "sha256": new.digest,
            "rules": len(matcher.rules.rules),
            "cause": cause,
        }
        if before is not None:
            facts |= {"previous_version": before.version, "previous_sha256": before.digest}
        self._outbox.audit(tx, audit.entry("rules.reloaded", actor=actor, at=now, facts=facts))

    def _audit_refusal(self, caller: Caller, sha256: str, error: RulesError) -> None:
        with self._database.transaction() as tx:
            self._outbox.audit(
                tx,
                audit.entry(
                    "rules.refused",
                    actor=caller.actor,
                    at=self._clock.now(),
                    facts={
                        "refused": "RULES_REFUSED",
                        "sha256": sha256,
                        "where": error.where[-_MOST_FACT:],
                        "problem": error.reason[:_MOST_FACT],
                    },
                ),
            )
