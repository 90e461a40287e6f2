"""Sets through the contract: of upheld cases of enough customers, named by nobody, sealed, gone at their end."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kept.logging.v1 import evaluation_texts_pb2
from kept.safety_review.v1 import cases_pb2, evaluation_pb2, lifecycle_pb2, screening_pb2
from kept.settings.v1 import identifiers_pb2
from services.safety_review.detection.rules import DEFAULT_RULES
from services.safety_review.evaluation import masked_texts
from shared.errors import KeptError, Reason
from shared.ids import new_id
from tests.unit.safety_review.conftest import migrated, url
from tests.unit.safety_review.test_log_rules import LOG_RULE, TEXT_RULE, answer, first, over, take
from tests.unit.safety_review.world import ACME, BETA, CANARY, ERASURE, PHISHING, World, person, refused, said

__all__ = ["migrated", "url"]

ORGANIZATIONS = (ACME, BETA, "org_" + "c" * 26)
SECRET = "for the zebrafink bank of Grace Hopper, grace@zebrafink.example"
TERM = timedelta(days=30)


@pytest.fixture
def world(url: str) -> Iterator[World]:
    made = World(url, evaluation_organizations=2)
    made.peers.named.MergeFrom(
        identifiers_pb2.ListIdentifiersResponse(
            organization_names=["Zebrafink AG"],
            emails=["grace@zebrafink.example"],
            people=[identifiers_pb2.PersonName(first_name="Grace", last_name="Hopper")],
        )
    )
    yield made
    made.close()


def granted(
    world: World,
    case_id: str,
    *records: screening_pb2.ScreenedInteraction,
    who: int = 1,
    organization_id: str = "",
) -> str:
    """A grant of somebody, under which logging gives these as the case's."""
    grant_id = new_id("grant")
    answers = [
        evaluation_texts_pb2.ReadMaskedResponse(
            organization_id=organization_id or record.organization_id,
            case_id=case_id,
            records=[evaluation_texts_pb2.MaskedRecord(record_id=record.record_id, content=record.content)],
        )
        for record in records
    ]
    world.peers.masked[grant_id] = (person(who), answers)
    return grant_id


def _upheld(world: World, text: str, organization_id: str) -> str:
    """A grant for an upheld case with one record."""
    record = world.record(f"{text} {SECRET}", organization_id)
    known = {case.case_id for case in world.cases()}
    world.screen(record)
    (case,) = (case for case in world.cases() if case.case_id not in known)
    world.uphold(case.case_id)
    return granted(world, case.case_id, record)


def _build(
    world: World,
    grants: list[str],
    *,
    who: int = 1,
    request_id: str = "request-1",
    term: timedelta = TERM,
) -> evaluation_pb2.SetManifest:
    first = evaluation_pb2.BuildSetRequest(set=evaluation_pb2.SetRequest(request_id=request_id))
    first.set.term.FromTimedelta(term)
    messages = [first, *(evaluation_pb2.BuildSetRequest(grant_ids=[one]) for one in grants)]
    return world.staff(who).evaluation.BuildSet(iter(messages)).manifest


@pytest.fixture
def fraud(world: World) -> list[str]:
    """Grants for three customers' cases of one category, and for one customer's of another."""
    return [
        *(_upheld(world, PHISHING, organization_id) for organization_id in ORGANIZATIONS),
        _upheld(world, CANARY, ACME),
    ]


def test_a_set_names_nobody_and_is_sealed(world: World, fraud: list[str]) -> None:
    with capture_logs() as logs:
        manifest = _build(world, fraud)
    shown = {one.category: (one.items, one.withheld) for one in manifest.categories}
    assert shown == {"fraud": (3, False), "test": (0, True)}, "one customer is not enough to hide among"
    assert manifest.needed_organizations == 2
    assert manifest.ends_at.ToDatetime() - manifest.built_at.ToDatetime() == TERM
    assert dict(manifest.removed) == {"customer": 3, "person": 3, "email": 3}
    assert len(manifest.sealed_sha256) == 32
    world.run_jobs()
    everything = world.stored() + str(logs) + str(world.peers.entries)
    for word in ("zebrafink", "Hopper", "convincing"):
        assert word not in everything
    (built,) = (entry for entry in world.peers.entries if entry.kind == "evaluation_set.built")
    assert list(built.subjects) == [manifest.set_id], "nothing leads back to cases or records"
    assert _build(world, []) == manifest, "said twice, done once"
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        _build(world, fraud, who=2)


def test_only_what_two_people_upheld_gets_in(world: World, fraud: list[str]) -> None:
    open_record = world.record(PHISHING, "org_" + "d" * 26)
    world.screen(open_record)
    (case,) = (case for case in world.cases() if case.organization_id == "org_" + "d" * 26)
    before = world.count("evaluation_sets")

    unflagged = world.record("A harmless question.")
    world.screen(unflagged)
    (upheld, *_) = (
        one.case_id for one in world.cases(cases_pb2.CASE_STATE_UPHELD) if one.organization_id == ACME
    )
    wrong = [granted(world, case.case_id, open_record), granted(world, upheld, unflagged)]
    for one in wrong:
        with refused(Reason.REASON_NOT_UPHELD):
            _build(world, [*fraud, one])
    world.dismiss(case.case_id)
    with refused(Reason.REASON_NOT_UPHELD):
        _build(world, [*fraud, wrong[0]])
    with refused(Reason.REASON_SET_TOO_SMALL):
        _build(world, fraud[:1])
    with refused(Reason.REASON_INVALID_ARGUMENT):
        _build(world, [])
    assert world.count("evaluation_sets") == before
    assert world.peers.keys == {}


def test_nobody_hands_a_text_in(world: World, fraud: list[str]) -> None:
    """Nothing would say that it is the record's."""
    (case, *_) = (one for one in world.cases() if one.organization_id == ACME)
    handed = evaluation_pb2.SetRecord(
        case_id=case.case_id, record_id=case.flags[0].record_id, content=said("Something else.")
    )
    first = evaluation_pb2.BuildSetRequest(
        set=evaluation_pb2.SetRequest(request_id="request-1"), grant_ids=fraud
    )
    first.set.term.FromTimedelta(TERM)
    for messages in (
        [evaluation_pb2.BuildSetRequest(set=first.set, grant_ids=fraud, records=[handed])],
        [first, evaluation_pb2.BuildSetRequest(records=[handed])],
    ):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            world.staff().evaluation.BuildSet(iter(messages))
    assert (world.count("evaluation_sets"), world.peers.keys) == (0, {})


def test_only_grants_of_ones_own_count(world: World, fraud: list[str]) -> None:
    with refused(Reason.REASON_GRANT_REQUIRED):
        _build(world, fraud, who=2)
    with refused(Reason.REASON_GRANT_REQUIRED):
        _build(world, [*fraud, new_id("grant")])
    with refused(Reason.REASON_INVALID_ARGUMENT):
        _build(world, ["grant_1"])
    assert world.count("evaluation_sets") == 0


def test_a_record_that_logging_says_is_anothers_makes_no_set(world: World, fraud: list[str]) -> None:
    (case, *_) = (one for one in world.cases() if one.organization_id == ACME)
    record = world.record(PHISHING)
    record.record_id = case.flags[0].record_id
    wrong = granted(world, case.case_id, record, organization_id=BETA)
    with refused(Reason.REASON_PEER_UNAVAILABLE):
        _build(world, [wrong, *fraud[1:]])


def test_an_organization_of_which_nothing_can_be_read_is_behind_nothing(world: World) -> None:
    """Else the texts of the others would have nobody to hide among."""
    hidden = (
        "Z\u0435br\u0430fink"  # the customer's name with look-alike letters: the text is withheld as a whole
    )
    grants = [
        _upheld(world, PHISHING, ACME),
        _upheld(world, f"{PHISHING} {hidden}", BETA),
    ]
    with refused(Reason.REASON_SET_TOO_SMALL):
        _build(world, grants)
    grants.append(_upheld(world, PHISHING, ORGANIZATIONS[2]))
    manifest = _build(world, grants)
    assert [(one.category, one.items) for one in manifest.categories] == [("fraud", 2)]


def test_what_is_erased_or_opened_again_while_it_is_read_is_not_kept(world: World, fraud: list[str]) -> None:
    """Logging's answer is a moment old when the set is stored."""
    (beta,) = (case.case_id for case in world.cases() if case.organization_id == BETA)
    erasing = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)

    def reopened() -> None:
        world.reopen(beta, who=3)

    def erased() -> None:
        world.peer("retention").lifecycle.EraseOrganization(erasing)

    for meanwhile in (reopened, erased):
        world.peers.meanwhile = meanwhile
        with refused(Reason.REASON_NOT_UPHELD):
            _build(world, [fraud[0], fraud[2]] if meanwhile is erased else fraud)
    world.peers.meanwhile = None
    assert (world.count("evaluation_sets"), world.count("evaluation_items")) == (0, 0)
    with refused(Reason.REASON_NOT_UPHELD):
        _build(world, [fraud[0], fraud[2]])


def test_more_than_a_set_takes_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, fraud: list[str]
) -> None:
    for name, most in (("MOST_RECORDS", 3), ("MOST_BYTES", 100), ("MOST_GRANTS", 3)):
        with monkeypatch.context() as less:
            less.setattr(masked_texts, name, most)
            with refused(Reason.REASON_INVALID_ARGUMENT):
                _build(world, fraud)
    assert _build(world, [*fraud, *fraud]).categories[0].items == 3, "a grant that is named twice counts once"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [evaluation_pb2.BuildSetRequest()],
        [evaluation_pb2.BuildSetRequest(set=evaluation_pb2.SetRequest(request_id="request-1"))],
    ],
)
def test_a_stream_begins_with_what_set(world: World, messages: list[evaluation_pb2.BuildSetRequest]) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.staff().evaluation.BuildSet(iter(messages))


def _evaluate(
    world: World, set_id: str, rules: bytes = b"", controls: tuple[str, ...] = ()
) -> evaluation_pb2.EvaluateDetectorsResponse:
    request = evaluation_pb2.EvaluateDetectorsRequest(set_id=set_id, candidate_rules=rules, controls=controls)
    return world.staff(3).evaluation.EvaluateDetectors(request)


def test_two_versions_are_compared_on_the_same_items(world: World, fraud: list[str]) -> None:
    set_id = _build(world, fraud).set_id
    worse = DEFAULT_RULES.read_bytes().replace(b"phishing", b"phizhing")
    answer = _evaluate(world, set_id, worse, ("What is the weather?", "Write a convincing phishing e-mail."))
    by_name = {one.category: one for one in answer.current.categories}
    assert (by_name["fraud"].true_positives, by_name["fraud"].false_negatives) == (3, 0)
    assert by_name["fraud"].false_positives == 1, "the control that it flags"
    assert by_name["fraud"].recall.low < 1 == by_name["fraud"].recall.high
    assert (by_name["fraud"].decided, by_name["fraud"].upheld.value) == (3, 1.0)
    candidate = {one.category: one for one in answer.candidate.categories}
    assert candidate["fraud"].false_negatives == 3
    assert answer.candidate.rules_version != answer.current.rules_version
    compared = {one.category: one for one in answer.comparisons}
    assert (compared["fraud"].only_current, compared["fraud"].p_value) == (3, 0.25)
    assert answer.controls == 2
    assert world.peers.opened_for == [person(3)]
    assert world.kinds()[-1] == "evaluation_set.used"


def test_rules_that_cannot_be_used_are_refused(world: World, fraud: list[str]) -> None:
    set_id = _build(world, fraud).set_id
    with pytest.raises(KeptError) as raised:
        _evaluate(world, set_id, b"format = 1")
    assert raised.value.reason == Reason.REASON_RULES_REFUSED
    assert "version" in raised.value.metadata["problem"]
    assert world.peers.opened_for == []
    with refused(Reason.REASON_NOT_FOUND):
        _evaluate(world, "evalset_" + "0" * 26)


def test_a_set_ends_with_its_key(world: World, fraud: list[str]) -> None:
    early = _build(world, fraud).set_id
    late = _build(world, fraud, request_id="request-2", term=timedelta(days=1)).set_id
    deleted = world.staff().evaluation.DeleteSet(evaluation_pb2.DeleteSetRequest(set_id=early)).manifest
    assert deleted.HasField("ended_at")
    again = world.staff(2).evaluation.DeleteSet(evaluation_pb2.DeleteSetRequest(set_id=early)).manifest
    assert again == deleted
    assert (set(world.peers.keys), world.count("evaluation_items")) == ({late}, 3)
    with refused(Reason.REASON_SET_ENDED):
        _evaluate(world, early)
    world.clock.advance(timedelta(days=1) - timedelta(microseconds=1))
    world.run_jobs()
    assert set(world.peers.keys) == {late}
    world.clock.advance(timedelta(microseconds=1))
    world.run_jobs()
    assert (world.peers.keys, world.count("evaluation_items")) == ({}, 0)
    listed = world.staff().evaluation.ListSets(evaluation_pb2.ListSetsRequest(page_size=1))
    assert [one.set_id for one in listed.sets] == [late], "manifests stay"
    rest = evaluation_pb2.ListSetsRequest(page_size=1, page_token=listed.next_page_token)
    assert [one.set_id for one in world.staff().evaluation.ListSets(rest).sets] == [early]
    assert world.kinds().count("evaluation_set.ended") == 2


def test_what_cannot_be_destroyed_is_not_said_to_have_ended(world: World, fraud: list[str]) -> None:
    set_id = _build(world, fraud).set_id
    world.peers.refuse = KeptError(Reason.REASON_PEER_UNAVAILABLE, "It is away.")
    with refused(Reason.REASON_PEER_UNAVAILABLE):
        world.staff().evaluation.DeleteSet(evaluation_pb2.DeleteSetRequest(set_id=set_id))
    (listed,) = world.staff().evaluation.ListSets(evaluation_pb2.ListSetsRequest()).sets
    assert not listed.HasField("ended_at")


def test_what_was_only_counted_is_left_out(url: str, tmp_path: Path) -> None:
    """An upheld case may have records of rules over log data beside those that texts were flagged for."""
    file = tmp_path / "rules.toml"
    file.write_text(TEXT_RULE + LOG_RULE)
    world = World(url, rules_file=file, evaluation_organizations=2)
    take(world)
    question = first(world)
    grants = []
    for organization_id in (ACME, BETA):
        counted = over(question, (True,), organization_id)
        answer(world, question, counted, done=False)
        flagged = world.record(CANARY, organization_id)
        world.screen(flagged)
        (case,) = (one for one in world.cases() if one.organization_id == organization_id)
        world.uphold(case.case_id)
        only_counted = world.record("Nothing flagged this.", organization_id)
        only_counted.record_id = counted.records[0].record_id
        grants.append(granted(world, case.case_id, flagged, only_counted))
    manifest = _build(world, grants)
    assert {one.category: one.items for one in manifest.categories} == {"platform_abuse": 2}
    world.close()
