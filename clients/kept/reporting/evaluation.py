"""How good detectors are, as a page: a table and a plot for each figure."""

from collections.abc import Iterator, Sequence
from datetime import UTC

from kept.reporting import charts, pages
from kept.safety_review.v1 import evaluation_pb2

_FIGURES = (
    ("precision", "Precision: of what was flagged, how much rightly"),
    ("recall", "Recall: of what should be flagged, how much was"),
    ("f1", "F1: the harmonic mean of both"),
)


def share_words(share: evaluation_pb2.Share) -> str:
    """As "0.912 (0.880 to 0.937)"."""
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})"


def evaluation_page(answer: evaluation_pb2.EvaluateDetectorsResponse) -> str:
    """The page as HTML."""
    manifest = answer.manifest
    built = manifest.built_at.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d")
    items = sum(category.items for category in manifest.categories)
    return pages.page(
        f"Detectors on set {manifest.set_id}",
        _parts(answer, built, items),
        "Intervals: 95 %, Wilson score; F1's by its Jaccard index. Items are texts of upheld cases without names. Recall over what "
        "detectors found themselves is better than it really is.",
    )


def _parts(answer: evaluation_pb2.EvaluateDetectorsResponse, built: str, items: int) -> Iterator[str]:
    versions = [answer.current, *([answer.candidate] if answer.HasField("candidate") else [])]
    names = [version.rules_version for version in versions]
    withheld = ", ".join(one.category for one in answer.manifest.categories if one.withheld)
    yield pages.sentence(f"Built on {built} of {items:,} items; {answer.controls:,} control texts.")
    if withheld:
        yield pages.sentence(f"Withheld, for too few customers are behind them: {withheld}.")
    for field, title in _FIGURES:
        yield pages.heading(title)
        yield charts.intervals(title.partition(":")[0], list(_points(versions, field)), names)
    for version in versions:
        yield pages.heading(f"Rules {version.rules_version}")
        yield pages.table(
            ["category", "found", "false alarms", "missed", "precision", "recall", "F1", "upheld by people"],
            (
                [
                    one.category,
                    one.true_positives,
                    one.false_positives,
                    one.false_negatives,
                    share_words(one.precision),
                    share_words(one.recall),
                    share_words(one.f1),
                    f"{share_words(one.upheld)} of {one.decided:,}",
                ]
                for one in version.categories
            ),
            "Nothing was evaluated.",
        )
    if answer.comparisons:
        yield pages.heading("Both versions on the same items")
        yield pages.table(
            ["category", "found by both", "only now", "only by the candidate", "p (exact McNemar)"],
            (
                [one.category, one.both, one.only_current, one.only_candidate, one.p_value]
                for one in answer.comparisons
            ),
            "",
        )


def _points(versions: Sequence[evaluation_pb2.VersionFigures], field: str) -> Iterator[charts.Point]:
    for place in range(len(versions[0].categories)):
        for group, version in enumerate(versions):
            one = version.categories[place]
            share = getattr(one, field)
            yield charts.Point(one.category, share.value, share.low, share.high, group)
