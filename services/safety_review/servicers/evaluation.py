"""kept.safety_review.v1.EvaluationService."""

from collections.abc import Iterator
from itertools import chain

import grpc

from kept.safety_review.v1 import evaluation_pb2, evaluation_pb2_grpc
from services.safety_review.evaluation.evaluating import CategoryFigures, Evaluations, VersionFigures
from services.safety_review.evaluation.figures import Share
from services.safety_review.evaluation.sets import EvaluationSets
from services.safety_review.store.evaluation import EvaluationSet
from shared import pages
from shared.errors import invalid
from shared.pipeline import caller_of


class EvaluationServicer(evaluation_pb2_grpc.EvaluationServiceServicer):
    """Sets and figures."""

    def __init__(self, sets: EvaluationSets, evaluations: Evaluations) -> None:
        self._sets = sets
        self._evaluations = evaluations

    def BuildSet(
        self, request_iterator: Iterator[evaluation_pb2.BuildSetRequest], context: grpc.ServicerContext
    ) -> evaluation_pb2.BuildSetResponse:
        """See the contract."""
        first = next(iter(request_iterator), None)
        if first is None or not first.HasField("set"):
            raise invalid("set", "is not in the first message")
        made = self._sets.build(
            caller_of(context).person_id,
            first.set.request_id,
            first.set.term.ToTimedelta(),
            _grants(first, request_iterator),
        )
        return evaluation_pb2.BuildSetResponse(manifest=_manifest(made))

    def ListSets(
        self, request: evaluation_pb2.ListSetsRequest, context: grpc.ServicerContext
    ) -> evaluation_pb2.ListSetsResponse:
        """See the contract."""
        found, token = pages.page(
            "sets", request.page_size, request.page_token, self._sets.list_page, lambda one: one.number
        )
        return evaluation_pb2.ListSetsResponse(sets=map(_manifest, found), next_page_token=token)

    def EvaluateDetectors(
        self, request: evaluation_pb2.EvaluateDetectorsRequest, context: grpc.ServicerContext
    ) -> evaluation_pb2.EvaluateDetectorsResponse:
        """See the contract."""
        done = self._evaluations.evaluate(
            caller_of(context).person_id, request.set_id, request.candidate_rules, request.controls
        )
        answer = evaluation_pb2.EvaluateDetectorsResponse(
            manifest=_manifest(done.of), current=_version(done.current), controls=done.controls
        )
        if done.candidate is not None:
            answer.candidate.CopyFrom(_version(done.candidate))
        for one in done.comparisons:
            answer.comparisons.add(
                category=one.category,
                both=one.both,
                only_current=one.only_current,
                only_candidate=one.only_candidate,
                p_value=one.p_value,
            )
        return answer

    def DeleteSet(
        self, request: evaluation_pb2.DeleteSetRequest, context: grpc.ServicerContext
    ) -> evaluation_pb2.DeleteSetResponse:
        """See the contract."""
        ended = self._sets.delete(caller_of(context).person_id, request.set_id)
        return evaluation_pb2.DeleteSetResponse(manifest=_manifest(ended))


def _grants(
    first: evaluation_pb2.BuildSetRequest, rest: Iterator[evaluation_pb2.BuildSetRequest]
) -> Iterator[str]:
    for message in chain((first,), rest):
        if message is not first and message.HasField("set"):
            raise invalid("set", "is in another message than the first")
        if message.records:
            raise invalid("records", "are not handed in: name grants, and logging reads them")
        yield from message.grant_ids


def _manifest(one: EvaluationSet) -> evaluation_pb2.SetManifest:
    message = evaluation_pb2.SetManifest(
        set_id=one.set_id,
        built_by=one.built_by,
        needed_organizations=one.needed_organizations,
        sealed_sha256=one.sealed_sha256,
        removed=dict(one.removed),
        categories=[
            evaluation_pb2.SetCategory(category=name, items=items, withheld=not items)
            for name, items in sorted(one.categories.items())
        ],
    )
    message.built_at.FromDatetime(one.built_at)
    message.ends_at.FromDatetime(one.ends_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    return message


def _version(one: VersionFigures) -> evaluation_pb2.VersionFigures:
    return evaluation_pb2.VersionFigures(
        rules_version=one.rules_version, categories=map(_category, one.categories)
    )


def _category(one: CategoryFigures) -> evaluation_pb2.CategoryFigures:
    counts = one.counts
    return evaluation_pb2.CategoryFigures(
        category=one.category,
        true_positives=counts.true_positives,
        false_positives=counts.false_positives,
        false_negatives=counts.false_negatives,
        precision=_share(counts.precision),
        recall=_share(counts.recall),
        f1=_share(counts.f1),
        upheld=_share(one.upheld),
        decided=one.decided,
    )


def _share(share: Share) -> evaluation_pb2.Share:
    return evaluation_pb2.Share(value=share.value, low=share.low, high=share.high)
