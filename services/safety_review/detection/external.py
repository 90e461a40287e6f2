"""External detectors: classifiers behind kept.scorer.v1.ScorerService, plugged in by configuration.

What does not come back as exactly one number from 0 to 1 for a text is not a score: the record is "not screened by" that detector, with a
reason, and never clean. A detector that fails again and again is not asked for a while, so that it costs the others no time; what it was
not asked about counts as not screened too. Texts go out under a number of the call's own: a detector learns neither whose they are nor
which record.
"""

import math
import threading
from collections import Counter as Counted
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Counter

from kept.scorer.v1 import scorer_pb2, scorer_pb2_grpc
from services.safety_review.config import ScorerSettings
from services.safety_review.store.not_screened import Missing
from shared.clock import Clock
from shared.errors import KeptError, Reason

# So many failed calls in a row, and a detector is left alone for so long; then one call tries it again.
_FAILURES: Final = 5
_REST_SECONDS: Final = 30.0
_LONGEST_VERSION: Final = 100
# Of one call, as it goes over the wire: well below what a message may have.
_MOST_BYTES: Final = 4_000_000

LATE, UNREACHABLE, NOT_ASKED = "late", "unreachable", "not_asked"
NOT_A_NUMBER, TWICE, MISSING = "not_a_number", "twice", "missing"
TOO_LARGE = "too_large"

_NOT_SCREENED: Final = Counter(
    "kept_not_screened_total", "Records that a detector did not screen, by reason.", ["detector", "reason"]
)
_UNASKED: Final = Counter(
    "kept_scores_unasked_for_total", "Scores for texts that nobody asked about.", ["detector"]
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Scored:
    """What the external detectors say on one record. flagged: those whose score is high enough, in the order of the configuration."""

    flagged: tuple[ScorerSettings, ...] = ()
    missing: tuple[Missing, ...] = ()


class Scorer:
    """One external detector."""

    def __init__(
        self, settings: ScorerSettings, stub: scorer_pb2_grpc.ScorerServiceStub, clock: Clock
    ) -> None:
        self.settings = settings
        self.version = ""
        self._stub = stub
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rests_until = -math.inf

    @property
    def is_asked(self) -> bool:
        """Whether it is asked now."""
        return self._clock.boottime() >= self._rests_until

    def scores(self, texts: Sequence[Sequence[str]]) -> list[float | str]:
        """The score of each, or why there is none."""
        with self._lock:
            if not self.is_asked:
                return [NOT_ASKED] * len(texts)
            if self._failures >= _FAILURES:  # one call tries; the others wait for what comes of it
                self._rests_until = self._clock.boottime() + _REST_SECONDS
        until = self._clock.boottime() + self.settings.deadline_seconds
        scored: list[float | str] = []
        for request in _requests(texts):
            scored += self._asked(request, until) if request.texts else [TOO_LARGE]
        return scored

    def _asked(self, request: scorer_pb2.ScoreRequest, until: float) -> list[float | str]:
        """The scores of one call, which has to be over by an instant of boottime."""
        asked = len(request.texts)
        left = until - self._clock.boottime()
        if left <= 0:
            return [LATE] * asked
        try:
            response = self._stub.Score(request, timeout=left)
        except KeptError as error:
            reason = LATE if error.reason == Reason.REASON_DEADLINE_EXCEEDED else UNREACHABLE
            self._note(failed=True)
            return [reason] * asked
        self._note(failed=False)
        self.version = response.version[:_LONGEST_VERSION]
        return self._read(response, asked)

    def _read(self, response: scorer_pb2.ScoreResponse, asked: int) -> list[float | str]:
        times = Counted(score.number for score in response.scores)
        unasked = sum(count for number, count in times.items() if not 1 <= number <= asked)
        if unasked:
            _UNASKED.labels(self.settings.name).inc(unasked)
            _log.warning("scorer.unasked_for", detector=self.settings.name, scores=unasked)
        given = {score.number: score.score for score in response.scores}
        read: list[float | str] = []
        for number in range(1, asked + 1):
            if times[number] != 1:
                read.append(TWICE if times[number] else MISSING)
            else:
                score = given[number]
                read.append(score if 0 <= score <= 1 else NOT_A_NUMBER)  # a comparison with NaN is false
        return read

    def _note(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            resting = self._failures >= _FAILURES
            self._rests_until = self._clock.boottime() + _REST_SECONDS if resting else -math.inf
        if failed:
            _log.warning("scorer.failed", detector=self.settings.name, resting=resting)


def _requests(texts: Sequence[Sequence[str]]) -> Iterator[scorer_pb2.ScoreRequest]:
    """The texts in calls that a message has room for, in order, numbered from 1 in each; an empty one in place of a text that is too large
    for any. Who sends such texts must not be able to make a detector look as if it failed, and have it left alone for everybody."""
    request, size = scorer_pb2.ScoreRequest(), 0
    for parts in texts:
        one = scorer_pb2.ScoredText(parts=parts)
        more = one.ByteSize()
        if request.texts and size + more > _MOST_BYTES:
            yield request
            request, size = scorer_pb2.ScoreRequest(), 0
        if more > _MOST_BYTES:
            yield scorer_pb2.ScoreRequest()
            continue
        one.number = len(request.texts) + 1
        request.texts.append(one)
        size += more
    if request.texts:
        yield request


class External:
    """All of them."""

    def __init__(
        self,
        settings: Sequence[ScorerSettings],
        stub_of: Callable[[str], scorer_pb2_grpc.ScorerServiceStub],
        clock: Clock,
    ) -> None:
        self.scorers = tuple(Scorer(one, stub_of(one.name), clock) for one in settings)

    def score(self, texts: Sequence[Sequence[str]]) -> list[Scored]:
        """What they say on each interaction; all are asked at once."""
        if not self.scorers or not texts:
            return [Scored()] * len(texts)
        with ThreadPoolExecutor(len(self.scorers)) as asking:
            answers = list(asking.map(lambda scorer: scorer.scores(texts), self.scorers))
        return [self._combined([answer[index] for answer in answers]) for index in range(len(texts))]

    def _combined(self, said: Sequence[float | str]) -> Scored:
        flagged, missing = [], []
        for scorer, score in zip(self.scorers, said, strict=True):
            if isinstance(score, str):
                missing.append(Missing(scorer.settings.name, score))
                _NOT_SCREENED.labels(scorer.settings.name, score).inc()
            elif score >= scorer.settings.flag_at:
                flagged.append(scorer.settings)
        return Scored(tuple(flagged), tuple(missing))
