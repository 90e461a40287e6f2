"""Screening: each record gets one verdict for each version of the rules, the first, and what is flagged is filed with it. INCOMPLETE
says that there is none yet: whoever asks again has the record looked at again.

A verdict, its flag, the hold and the case's message are one transaction: whoever gets an answer knows that all of it is durable, and
whoever got none asks again and gets the same. Texts are looked at outside of any transaction and are never stored or logged.
"""

from collections import Counter as Counted
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Counter

from kept.safety_review.v1 import screening_pb2
from services.safety_review.detection.external import External, Scored
from services.safety_review.detection.in_force import Rules, version_of
from services.safety_review.detection.matching import IncompleteReason, Matcher
from services.safety_review.detection.matching import Verdict as Matched
from services.safety_review.detection.rule_fields import Action
from services.safety_review.reviewing.flags import Finding, Flags, finding, with_external
from services.safety_review.store import erased_records, erasures, not_screened, verdicts
from services.safety_review.store.not_screened import Missing
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

RULES: Final = "rules"
_RULES_INCOMPLETE: Final = Missing(RULES, "incomplete")

_SCREENED: Final = Counter("kept_screened_total", "Records screened, by verdict.", ["verdict"])
_OBSERVED: Final = Counter(
    "kept_observed_total", "Records in which a rule that only observes matched.", ["rule"]
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submission:
    """A record to look at, as its texts in order. end_user: the pseudonym, empty for none. is_whole: whether the texts are all there is."""

    key: RecordKey
    texts: tuple[str, ...] = field(repr=False)
    end_user: str = ""
    is_whole: bool = True


@dataclass(frozen=True)
class _Seen:
    """What a look at a record gave."""

    verdict: "screening_pb2.Verdict.ValueType"
    finding: Finding | None = None
    observed: frozenset[str] = frozenset()
    missing: tuple[Missing, ...] = ()


_NOTHING: Final = _Seen(CLEAN)


@dataclass(frozen=True)
class Answer:
    """The verdict on a record. not_screened_by: detectors that did not screen it in this call; the verdict may be an earlier one."""

    verdict: "screening_pb2.Verdict.ValueType"
    not_screened_by: tuple[str, ...] = ()


class Screening:
    """Looks at records and remembers what it said."""

    def __init__(
        self, database: Database, clock: Clock, rules: Rules, external: External, flags: Flags
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._external = external
        self._flags = flags

    def screen(self, batch: Sequence[Submission]) -> tuple[str, list[Answer]]:
        """The version of the rules, and a verdict for each, in their order; committed when this returns. Of a record that comes twice the
        first counts. For an erased organization, or an erased end user's records, nothing is stored: they are INCOMPLETE."""
        submissions: dict[RecordKey, Submission] = {}
        for submission in batch:
            submissions.setdefault(submission.key, submission)
        matcher = self._rules.matcher
        version = version_of(matcher.rules)
        scored = self._external.score([one.texts for one in submissions.values()])
        seen = {
            key: _combined(_look(matcher, one), scores)
            for (key, one), scores in zip(submissions.items(), scored, strict=True)
        }
        said = self._commit(seen, version, {key: one.end_user for key, one in submissions.items()})
        missing = {key: tuple(gap.detector for gap in one.missing) for key, one in seen.items()}
        return version, [Answer(said[one.key], missing[one.key]) for one in batch]

    def _commit(
        self, seen: dict[RecordKey, _Seen], version: str, end_users: Mapping[RecordKey, str]
    ) -> dict[RecordKey, "screening_pb2.Verdict.ValueType"]:
        with self._database.transaction() as tx:
            closed = erasures.stay_inside(tx, {key.organization_id for key in seen})
            erased = {key for key in seen if key.organization_id in closed} | erased_records.among(tx, seen)
            new = {key: one.verdict for key, one in seen.items() if key not in erased}
            added = verdicts.add(tx, new, version)
            # The others were screened before, or by somebody else in the meantime: the first verdict counts.
            said = new | (verdicts.find(tx, added.refused, version) if added.refused else {})
            mine = {key: seen[key] for key in new if key not in added.refused}
            telling = {key: one for key, one in mine.items() if one is not _NOTHING}
            not_screened.forget(tx, version, added.completed)
            not_screened.add(tx, version, {key: one.missing for key, one in telling.items() if one.missing})
            findings = {key: found for key, one in telling.items() if (found := one.finding) is not None}
            self._flags.file(tx, findings, version, end_users)
        for verdict, records in Counted(one.verdict for one in mine.values()).items():
            _SCREENED.labels(short_name(screening_pb2.Verdict, verdict).lower()).inc(records)
        for rule_id, records in Counted(rule for one in telling.values() for rule in one.observed).items():
            _OBSERVED.labels(rule_id).inc(records)
        if findings:
            _log.info("records.flagged", records=len(findings))
        return said | dict.fromkeys(erased, INCOMPLETE)

    def prune(self) -> bool:
        """Removes verdicts on records that nobody can screen again and that were not flagged, and tombstones of such. True when there are
        more."""
        before = lowest_record_id(self._clock.now() - REPEATABLE)
        with self._database.transaction() as tx:
            pruned = [
                table.prune(tx, before, _PRUNED_AT_ONCE) for table in (verdicts, erased_records, not_screened)
            ]
        return _PRUNED_AT_ONCE in pruned


def _look(matcher: Matcher, submission: Submission) -> _Seen:
    """Applies the rules. Any failure is INCOMPLETE, never CLEAN; what flags is FLAGGED even where not all could be applied."""
    try:
        screening = matcher.screen(submission.texts)
    except Exception as error:  # noqa: BLE001 - whatever a text does to the matcher, it must cost no other record its verdict
        _log.error("screening.failed", error=type(error).__name__)
        return _Seen(INCOMPLETE, missing=(_RULES_INCOMPLETE,))
    incomplete = screening.incomplete
    if incomplete is None and not submission.is_whole:
        incomplete = IncompleteReason.ESCAPED
    if incomplete is None and screening.verdict is Matched.CLEAN and not screening.hits:
        return _NOTHING
    found = finding(matcher.rules, screening.hits)
    observed = frozenset(
        hit.rule_id for hit in screening.hits if matcher.rule(hit.rule_id).action is Action.OBSERVE
    )
    missing: tuple[Missing, ...] = ()
    if incomplete is not None:
        missing = (_RULES_INCOMPLETE,)
        _log.warning("screening.incomplete", reason=str(incomplete))
    if found is not None:
        return _Seen(FLAGGED, found, observed, missing)
    return _Seen(CLEAN if not missing else INCOMPLETE, None, observed, missing)


def _combined(seen: _Seen, scored: Scored) -> _Seen:
    """With what external detectors say. What one of them did not screen is not clean."""
    if not scored.flagged and not scored.missing:
        return seen
    found = with_external(seen.finding, scored.flagged)
    missing = (*seen.missing, *scored.missing)
    verdict = FLAGGED if found is not None else INCOMPLETE if missing else CLEAN
    return _Seen(verdict, found, seen.observed, missing)
