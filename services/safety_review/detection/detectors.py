"""What looks at records, for the people who look after it: the rules in force and external detectors, what each left out, and a place to
try rules on a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from services.safety_review.detection.external import External
from services.safety_review.detection.in_force import Rules, draft, version_of
from services.safety_review.detection.matching import Matcher, Screening
from services.safety_review.detection.rules import RuleSet
from services.safety_review.detection.screening import RULES
from services.safety_review.store import not_screened
from shared import pages
from shared.database import Database
from shared.identity import Caller


@dataclass(frozen=True)
class Detector:
    """One of them. since: when rules came into force. reasons: records that it did not screen under the rules in force, by reason."""

    name: str
    version: str
    is_asked: bool
    since: datetime | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)


_LIST: Final = "detectors"


class Detectors:
    """All detectors."""

    def __init__(self, database: Database, rules: Rules, external: External) -> None:
        self._database = database
        self._rules = rules
        self._external = external

    @property
    def rules(self) -> RuleSet:
        """The rules by which this process screens."""
        return self._rules.matcher.rules

    def page(self, size: int, token: str) -> tuple[Sequence[Detector], str]:
        """A page of them: the rules, then the external ones as configured; and the next page's token. Raises INVALID_ARGUMENT for a token
        that this list did not give."""
        version = version_of(self.rules)
        with self._database.transaction() as tx:
            reasons = not_screened.counts(tx, version)
        in_force = self._rules.in_force()
        everything = [
            Detector(RULES, version, True, in_force.since if in_force else None, reasons.get(RULES, {})),
            *(
                Detector(
                    one.settings.name, one.version, one.is_asked, None, reasons.get(one.settings.name, {})
                )
                for one in self._external.scorers
            ),
        ]
        numbered = list(enumerate(everything, start=1))
        found, next_token = pages.page(
            _LIST, size, token, lambda after, most: numbered[after : after + most], lambda one: one[0]
        )
        return [detector for _, detector in found], next_token

    def test(self, text: str, content: bytes) -> tuple[Matcher, Screening]:
        """What the rules in force, or those of a draft, say on a text. Raises RULES_REFUSED."""
        matcher = draft(content) if content else self._rules.matcher
        return matcher, matcher.screen([text])

    def reload(self, caller: Caller, sha256: str) -> tuple[str, str]:
        """See Rules.reload."""
        return self._rules.reload(caller, sha256)
