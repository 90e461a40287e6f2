"""Screening: each record gets one verdict for each version of the rules, the first, and what is flagged is filed with it. INCOMPLETE
says that there is none yet: whoever asks again has the record looked at again.

A verdict, its flag, the hold and the case's message are one transaction: whoever gets an answer knows that all of it is durable, and
whoever got none asks again and gets the same. Texts are looked at outside of any transaction and are never stored or logged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Counter

from kept.safety_review.v1 import screening_pb2
from services.safety_review.flags import Finding, Flags, finding
from services.safety_review.matching import Matcher
from services.safety_review.matching import Verdict as Outcome
from services.safety_review.rules import Action, RuleSet
from services.safety_review.store import erased_records, erasures, verdicts
from services.safety_review.store.verdicts import RecordKey
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.ids import lowest_record_id

CLEAN: Final = screening_pb2.VERDICT_CLEAN
FLAGGED: Final = screening_pb2.VERDICT_FLAGGED
INCOMPLETE: Final = screening_pb2.VERDICT_INCOMPLETE

# No record is screened this long after its creation: ids are taken a day late, and what was left unscreened is opened within 72 hours.
REPEATABLE: Final = timedelta(days=7)
_PRUNED_AT_ONCE: Final = 5_000

_SCREENED: Final = Counter("kept_screened_total", "Records screened, by verdict.", ["verdict"])
_OBSERVED: Final = Counter(
    "kept_observed_total", "Records in which a rule that only observes matched.", ["rule"]
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    """A record to look at, as its texts in order."""

    key: RecordKey
    texts: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class _Seen:
    """What a look at a record gave."""

    verdict: "screening_pb2.Verdict.ValueType"
    finding: Finding | None = None
    observed: frozenset[str] = frozenset()


def version_of(rules: RuleSet) -> str:
    """The rules' version as verdicts and flags cite it: the file's own name for it and 16 hex digits of the file's SHA-256."""
    return f"{rules.version}-{rules.digest[:16]}"


class Screening:
    """Looks at records and remembers what it said.

    version: of the rules, as `version_of` gives it.
    """

    def __init__(self, database: Database, clock: Clock, matcher: Matcher, flags: Flags) -> None:
        self._database = database
        self._clock = clock
        self._matcher = matcher
        self._flags = flags
        self.version = version_of(matcher.rules)

    def screen(self, batch: Sequence[Submission]) -> list["screening_pb2.Verdict.ValueType"]:
        """A verdict for each, in their order; committed when this returns. Of a record that comes twice the first counts. For an
        erased organization, or an erased end user's records, nothing is stored: they are INCOMPLETE."""
        seen: dict[RecordKey, _Seen] = {}
        for submission in batch:
            if submission.key not in seen:
                seen[submission.key] = self._look(submission)
        said = self._commit(seen)
        return [said[submission.key] for submission in batch]

    def _commit(self, seen: dict[RecordKey, _Seen]) -> dict[RecordKey, "screening_pb2.Verdict.ValueType"]:
        with self._database.transaction() as tx:
            closed = erasures.stay_inside(tx, {key.organization_id for key in seen})
            erased = {key for key in seen if key.organization_id in closed} | erased_records.among(tx, seen)
            new = {key: one.verdict for key, one in seen.items() if key not in erased}
            added = verdicts.add(tx, new, self.version)
            # These were screened before, or by somebody else in the meantime: the first verdict counts.
            before = new.keys() - added
            said = new | (verdicts.find(tx, before, self.version) if before else {})
            findings = {key: found for key in added if (found := seen[key].finding) is not None}
            self._flags.file(tx, findings)
        for key in added:
            _SCREENED.labels(short_name(screening_pb2.Verdict, seen[key].verdict).lower()).inc()
            for rule_id in seen[key].observed:
                _OBSERVED.labels(rule_id).inc()
        if findings:
            _log.info("records.flagged", records=len(findings))
        return said | dict.fromkeys(erased, INCOMPLETE)

    def _look(self, submission: Submission) -> _Seen:
        """Applies the rules. Any failure is INCOMPLETE, never CLEAN; what flags is FLAGGED even where not all could be applied."""
        try:
            screening = self._matcher.screen(submission.texts)
        except Exception as error:  # noqa: BLE001 - whatever a text does to the matcher, it must cost no other record its verdict
            _log.error("screening.failed", error=type(error).__name__)
            return _Seen(INCOMPLETE)
        found = finding(self._matcher.rules, screening.hits)
        observed = frozenset(
            hit.rule_id for hit in screening.hits if self._matcher.rule(hit.rule_id).action is Action.OBSERVE
        )
        if found is not None:
            return _Seen(FLAGGED, found, observed)
        if screening.verdict is Outcome.CLEAN:
            return _Seen(CLEAN, None, observed)
        _log.warning("screening.incomplete", reason=str(screening.incomplete))
        return _Seen(INCOMPLETE, None, observed)

    def prune(self) -> bool:
        """Removes verdicts on records that nobody can screen again and that were not flagged, and tombstones of such. True when there are
        more."""
        before = lowest_record_id(self._clock.now() - REPEATABLE)
        with self._database.transaction() as tx:
            pruned = [table.prune(tx, before, _PRUNED_AT_ONCE) for table in (verdicts, erased_records)]
        return _PRUNED_AT_ONCE in pruned
