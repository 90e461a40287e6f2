"""Recording: what becomes of each record, and what is in the database afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import protovalidate
import pytest
import structlog
from buf.validate import validate_pb2
from sqlalchemy import func, select, text

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2
from kept.settings.v1 import organizations_pb2
from services.logging.recording.ingest import MAX_BYTES
from services.logging.records import fault_of_attributes
from services.logging.store import stripes
from services.logging.store.tables import data_keys, interactions, stored_counts, unscreened
from shared.errors import KeptError, Reason
from shared.ids import new_record_id
from tests.unit.logging.peers import GATEWAY, NOON, ORG, OTHER, PRIVATE, ZDR
from tests.unit.logging.world import World, at

RECORD = "/kept.logging.v1.IngestService/RecordInteractions"

STORED = ingest_pb2.OUTCOME_STORED
WITHOUT = ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT
DUPLICATE = ingest_pb2.OUTCOME_DUPLICATE
REFUSED = ingest_pb2.OUTCOME_REFUSED


def outcomes(receipts: list[ingest_pb2.Receipt]) -> list[str]:
    """Each receipt as its outcome, or the reason of a refusal."""
    return [
        reasons_pb2.Reason.Name(one.reason).removeprefix("REASON_")
        if one.outcome == REFUSED
        else ingest_pb2.Outcome.Name(one.outcome).removeprefix("OUTCOME_")
        for one in receipts
    ]


def count(world: World, table: str) -> int:
    with world.database.transaction() as tx:
        return int(tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def whole_database(world: World) -> str:
    """Every row of every table as text."""
    with world.database.transaction() as tx:
        tables = tx.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        ).scalars()
        return "\n".join(
            str(row) for name in tables.all() for row in tx.execute(text(f"SELECT t::text FROM {name} t"))
        )


def test_each_record_is_judged_by_itself_and_each_is_stored_once(world: World) -> None:
    good = [world.interaction(text="one"), world.interaction(text="a\0b"), world.interaction(OTHER)]
    zdr = world.interaction(ZDR, "zebracanary")
    private = world.interaction(PRIVATE, "zebracanary")
    no_id = world.interaction()
    no_id.record_id = b"\0" * 16
    short_id = world.interaction()
    short_id.record_id = b"x"
    bad_field = world.interaction()
    bad_field.application = "two\nlines"
    stranger = world.interaction("org_" + "q" * 26)
    malformed = world.interaction("org'; --")
    future = world.interaction(age=timedelta(seconds=-7))
    late = world.interaction(age=timedelta(hours=25))
    batch = [*good, zdr, private, no_id, short_id, bad_field, stranger, malformed, future, late, good[0]]
    receipts = world.record(*batch)
    assert outcomes(receipts) == [
        "STORED",
        "STORED",
        "STORED",
        "STORED_WITHOUT_CONTENT",
        "DEPLOYMENT_SENDS_NO_CONTENT",
        "INVALID_RECORD_ID",
        "INVALID_RECORD_ID",
        "INVALID_ARGUMENT",
        "UNKNOWN_ORGANIZATION",
        "INVALID_ARGUMENT",
        "RECORD_FROM_FUTURE",
        "RECORD_TOO_LATE",
        "DUPLICATE",
    ]
    assert receipts[0].due_at.ToDatetime(tzinfo=NOON.tzinfo) == at("2026-04-08T22:00:00")
    assert not any(one.retryable for one in receipts)
    assert outcomes(world.record(*batch))[:5] == [
        "DUPLICATE",
        "DUPLICATE",
        "DUPLICATE",
        "DUPLICATE",
        "DEPLOYMENT_SENDS_NO_CONTENT",
    ]
    assert count(world, "interactions") == 4
    with world.database.transaction() as tx:
        counted = tx.execute(
            select(
                stored_counts.c.organization_id, stored_counts.c.records, stored_counts.c.records_with_content
            )
        ).all()
    assert {one[0]: tuple(one[1:]) for one in counted} == {ORG: (2, 2), ZDR: (1, 0), OTHER: (1, 1)}


def test_what_cannot_be_parsed_is_refused_and_costs_no_other_record(world: World) -> None:
    good, text, wire = (world.interaction(text=one) for one in ("before", "torn", "after"))
    batch = ingest_pb2.RecordInteractionsRequest(interactions=[good, text, wire, world.interaction()])
    data = batch.SerializeToString()
    # A character of two bytes whose second is missing; and a field of the last interaction that ends behind it.
    data = data.replace(b"torn", b"to\xc3n") + b"\x0a\x02\x0a\x7f"
    channel = world._channel(GATEWAY)
    answers = channel.stream_stream(
        RECORD, lambda sent: sent, ingest_pb2.RecordInteractionsResponse.FromString
    )(iter([data]))
    [answer] = answers
    assert outcomes(answer.receipts) == [
        "STORED",
        "INVALID_ARGUMENT",
        "STORED",
        "STORED",
        "INVALID_RECORD_ID",
    ]
    assert [one.record_id for one in answer.receipts[:2]] == [good.record_id, text.record_id]
    assert not any(one.retryable for one in answer.receipts)
    assert count(world, "interactions") == 3


def test_zero_data_retention_leaves_no_content_and_no_key(world: World) -> None:
    marker = "zebracanary"
    spoiled = world.interaction(ZDR, marker)
    spoiled.model = "x\0y"  # on the unhappy path as well
    with structlog.testing.capture_logs() as logs:
        assert outcomes(world.record(world.interaction(ZDR, marker), spoiled)) == [
            "STORED_WITHOUT_CONTENT",
            "INVALID_ARGUMENT",
        ]
    assert marker not in whole_database(world) + str(logs)
    with world.database.transaction() as tx:
        row = tx.execute(select(interactions.c.content, interactions.c.data_key_id)).one()
        assert tuple(row) == (None, None)
        assert tx.execute(select(func.count()).select_from(data_keys)).scalar_one() == 0
        assert tx.execute(select(func.count()).select_from(unscreened)).scalar_one() == 0
    assert "GetEpochKey" not in world.peers.calls


@pytest.mark.parametrize("kind", interactions_pb2.ApiKeyKind.values())
def test_no_kind_of_key_stores_content_against_the_organizations_policy(
    world: World, kind: interactions_pb2.ApiKeyKind.ValueType
) -> None:
    """A trial key's data are under the general terms; zero data retention, closure and deployment are asked of its organization."""
    marker = "zebracanary"
    closed, private, zdr, own = (
        world.interaction(OTHER, marker),
        world.interaction(PRIVATE, marker),
        world.interaction(ZDR, marker),
        world.interaction(),
    )
    world.peers.set_organization(OTHER, closed=True, at=world.clock.now() - timedelta(days=2))
    world.refresh()
    batch = [closed, private, zdr, own]
    for one in batch:
        one.api_key_kind = kind
    assert outcomes(world.record(*batch)) == [
        "CLOSED",
        "DEPLOYMENT_SENDS_NO_CONTENT",
        "STORED_WITHOUT_CONTENT",
        "STORED",
    ]
    stored = whole_database(world)
    assert marker not in stored
    assert marker.encode().hex() not in stored
    with world.database.transaction() as tx:
        rows = tx.execute(
            select(interactions.c.organization_id, interactions.c.content.is_(None).label("empty"))
        ).all()
    assert {row.organization_id: row.empty for row in rows} == {ZDR: True, ORG: False}


def test_forbidden_content_is_dropped_before_anything_else_looks_at_the_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def look(interaction: interactions_pb2.Interaction) -> None:
        seen.append((interaction.organization_id, interaction.HasField("content")))

    monkeypatch.setattr("services.logging.recording.ingest.fault_of", look)
    attributes: list[list[str]] = []

    def look_at(said: Mapping[str, str]) -> None:
        attributes.append(list(said))

    monkeypatch.setattr("services.logging.recording.ingest.fault_of_attributes", look_at)
    batch = [world.interaction(one) for one in (ORG, ZDR, PRIVATE)]
    for one in batch:
        one.content.attributes["kept"] = "to be looked at"
        one.application = "not\u00a0plain"  # what is, the contract's rules are not asked about
    world.record(*batch)
    assert (seen, attributes) == ([(ORG, False), (ZDR, False)], [["kept"]])


def test_a_private_deployment_leaves_no_trace_at_all(world: World) -> None:
    before = whole_database(world)
    with structlog.testing.capture_logs() as logs:
        batch = [world.interaction(PRIVATE), world.interaction(PRIVATE, age=timedelta(days=3))]
        assert outcomes(world.record(*batch, batch[0])) == ["DEPLOYMENT_SENDS_NO_CONTENT"] * 3
    assert whole_database(world) == before
    assert PRIVATE not in str(logs)
    assert "GetEpochKey" not in world.peers.calls


def test_what_is_stored_holds_no_plaintext(world: World) -> None:
    assert outcomes(world.record(world.interaction(text="zebracanary" * 20))) == ["STORED"]
    stored = whole_database(world)
    assert "zebracanary" not in stored
    assert b"zebracanary".hex() not in stored


def test_a_policy_counts_from_its_instant_with_tolerance_on_both_sides(world: World) -> None:
    effective = world.clock.now() + timedelta(seconds=10)
    world.peers.set_organization(ORG, zero_data_retention=True, at=effective)
    world.refresh()
    before = world.interaction()
    assert outcomes(world.record(before)) == ["STORED"]
    world.travel(timedelta(seconds=6))  # four seconds before the instant: a clock may be wrong by five
    assert outcomes(world.record(world.interaction())) == ["STORED_WITHOUT_CONTENT"]
    # The first stays: sent again under the new policy it is a duplicate.
    assert outcomes(world.record(before)) == ["DUPLICATE"]
    world.peers.set_organization(ORG, at=effective + timedelta(seconds=60))
    world.travel(timedelta(seconds=66))  # ZDR ended two seconds ago
    assert outcomes(world.record(world.interaction())) == ["STORED_WITHOUT_CONTENT"]
    world.travel(timedelta(seconds=10))
    assert outcomes(world.record(world.interaction())) == ["STORED"]


def test_without_a_lease_nothing_is_taken(world: World) -> None:
    for down in ("ListPolicyChanges", "ListRuleChanges"):
        world.peers.down = {down}
        world.clock.advance(timedelta(seconds=2))
        for name in ("replica:policies", "replica:rules"):
            with suppress(KeptError):
                world.jobs[name].step()
        with pytest.raises(KeptError) as refused:
            world.record(world.interaction())
        assert refused.value.reason == Reason.REASON_LEASE_LAPSED
        assert refused.value.retry_after is not None
        world.peers.down.clear()
        world.refresh()
    assert count(world, "interactions") == 0
    assert outcomes(world.record(world.interaction())) == ["STORED"]


def test_the_lease_is_checked_after_the_batch_has_arrived(world: World) -> None:
    def batches() -> object:
        yield ingest_pb2.RecordInteractionsRequest(interactions=[world.interaction()])
        world.clock.advance(timedelta(seconds=3))  # the second batch takes its time
        yield ingest_pb2.RecordInteractionsRequest(interactions=[world.interaction()])

    answers = world.ingest.RecordInteractions(batches())
    assert outcomes(list(next(answers).receipts)) == ["STORED"]
    with pytest.raises(KeptError) as refused:
        next(answers)
    assert refused.value.reason == Reason.REASON_LEASE_LAPSED


def test_a_gateway_must_be_registered(world: World) -> None:
    world.peers.set_gateway("edge", everywhere=False, at=world.clock.now() + timedelta(seconds=5))
    world.refresh()
    # Revoked within the tolerance: refused record by record; after the instant: refused at the door.
    assert outcomes(world.record(world.interaction())) == ["GATEWAY_NOT_REGISTERED"]
    world.travel(timedelta(seconds=5))
    with pytest.raises(KeptError) as refused:
        world.record(world.interaction())
    assert refused.value.reason == Reason.REASON_GATEWAY_NOT_REGISTERED


def test_a_late_record_that_is_there_is_a_duplicate(world: World) -> None:
    known, unknown = world.interaction(), world.interaction()
    world.record(known)
    world.travel(timedelta(hours=30))
    assert outcomes(world.record(known, unknown)) == ["DUPLICATE", "RECORD_TOO_LATE"]


def test_closed_organizations_and_days_stay_closed(world: World) -> None:
    with world.database.transaction() as tx:
        stripes.close_organization(tx, ORG, NOON)
    assert outcomes(world.record(world.interaction(), world.interaction(OTHER), world.interaction(ZDR))) == [
        "CLOSED",
        "STORED",
        "STORED_WITHOUT_CONTENT",
    ]
    with world.database.transaction() as tx:
        stripes.close_day(tx, NOON.date(), NOON)
    assert outcomes(world.record(world.interaction(OTHER))) == ["CLOSED"]
    assert count(world, "interactions") == 2
    with world.database.transaction() as tx:
        assert tx.execute(select(data_keys.c.organization_id)).scalars().all() == [OTHER]


def test_without_epoch_keys_content_waits_at_the_gateway(world: World) -> None:
    world.record(world.interaction())  # this organization's key is known
    world.peers.down = {"GetEpochKey"}
    new = world.interaction(OTHER)
    receipts = world.record(world.interaction(), new, world.interaction(OTHER), world.interaction(ZDR))
    assert outcomes(receipts) == ["STORED", "PEER_UNAVAILABLE", "PEER_UNAVAILABLE", "STORED_WITHOUT_CONTENT"]
    assert [one.retryable for one in receipts] == [False, True, True, False]
    assert world.peers.calls.count("GetEpochKey") == 2  # one outage is asked about once
    world.peers.down.clear()
    world.travel(timedelta(seconds=1))
    assert outcomes(world.record(new)) == ["STORED"]
    world.peers.destroyed.add((ORG, NOON.date() - timedelta(days=1)))
    assert outcomes(world.record(world.interaction(age=timedelta(hours=13)))) == ["CLOSED"]


def test_tomorrows_keys_are_fetched_ahead(world: World) -> None:
    world.record(world.interaction())
    world.jobs["epoch_keys"].step()
    world.peers.down = {"GetEpochKey"}
    world.travel(timedelta(hours=13))
    world.peers.calls.clear()
    assert outcomes(world.record(world.interaction(age=timedelta(0)))) == ["STORED"]
    assert "GetEpochKey" not in world.peers.calls


def test_a_data_key_whose_transaction_failed_is_written_with_the_next(world: World) -> None:
    record = world.interaction()

    def crash(moment: str) -> None:
        if moment == "before":
            raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "lost")

    world.record()  # nothing to do is no transaction
    world.jobs["partitions"].step()
    world.database._on_commit = crash
    with pytest.raises(KeptError):
        world.record(record)
    world.database._on_commit = None
    assert outcomes(world.record(record)) == ["STORED"]
    with world.database.transaction() as tx:
        missing = select(interactions.c.record_id).where(
            interactions.c.data_key_id.not_in(select(data_keys.c.data_key_id))
        )
        assert tx.execute(missing).all() == []


def test_what_was_committed_is_a_duplicate_when_the_answer_was_lost(world: World) -> None:
    record = world.interaction()

    def crash(moment: str) -> None:
        if moment == "after":
            raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "lost")

    world.jobs["partitions"].step()
    world.record(world.interaction())  # what a process asks the database but once was asked
    world.database._on_commit = crash
    with pytest.raises(KeptError):
        world.record(record)
    world.database._on_commit = None
    world.start()  # the process died, too
    assert outcomes(world.record(record)) == ["DUPLICATE"]
    assert count(world, "interactions") == 2


def test_limits(world: World) -> None:
    assert world.record() == []
    with pytest.raises(KeptError) as many:
        world.record(*[interactions_pb2.Interaction()] * 5001)
    assert many.value.reason == Reason.REASON_INVALID_ARGUMENT
    with pytest.raises(KeptError) as large:
        world.record(world.interaction(text="x" * (6 * 1024 * 1024)))
    assert (large.value.reason, large.value.metadata["limit"]) == (Reason.REASON_TOO_LARGE, str(MAX_BYTES))
    nothing = world.ingest.RecordInteraction(ingest_pb2.RecordInteractionRequest())
    assert outcomes([nothing.receipt]) == ["INVALID_RECORD_ID"]
    one = world.ingest.RecordInteraction(
        ingest_pb2.RecordInteractionRequest(interaction=world.interaction(text="x" * (3 * 1024 * 1024)))
    )
    assert outcomes([one.receipt]) == ["STORED"]


def test_an_organization_whose_deployment_changes_is_refused_throughout(world: World) -> None:
    private = organizations_pb2.DEPLOYMENT_PRIVATE
    world.peers.set_organization(ORG, deployment=private, at=NOON - timedelta(seconds=1))
    world.refresh()
    assert outcomes(world.record(world.interaction(age=timedelta(hours=1)))) == [
        "DEPLOYMENT_SENDS_NO_CONTENT"
    ]


def test_partitions_on_both_sides_of_midnight(world: World) -> None:
    world.travel(timedelta(hours=12))
    ahead = interactions_pb2.Interaction()
    ahead.CopyFrom(world.interaction())
    ahead.record_id = new_record_id(world.clock.now() + timedelta(seconds=4))
    assert outcomes(world.record(world.interaction(), ahead)) == ["STORED", "STORED"]
    with world.database.transaction() as tx:
        days = tx.execute(select(stored_counts.c.day).order_by(stored_counts.c.day)).scalars().all()
    assert days == [NOON.date(), NOON.date() + timedelta(days=1)]


def with_attributes(
    world: World, attributes: dict[str, str], organization_id: str = ORG
) -> interactions_pb2.Interaction:
    made = world.interaction(organization_id)
    made.content.attributes.update(attributes)
    return made


def test_attributes_beyond_a_stated_size_are_refused_by_name_and_cost_no_other_record(world: World) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({str(number): "" for number in range(64)}, "STORED"),
        ({str(number): "" for number in range(65)}, "INVALID_ARGUMENT"),
        ({str(number): "" for number in range(1000)}, "INVALID_ARGUMENT"),
        ({"n" * 200: "v" * 4096}, "STORED"),
        ({"n" * 201: ""}, "INVALID_ARGUMENT"),
        ({"": "nameless"}, "INVALID_ARGUMENT"),
        ({"\u00e4" * 101: ""}, "INVALID_ARGUMENT"),  # bytes count, not characters
        ({"n": "v" * 4097}, "INVALID_ARGUMENT"),
        ({"n": "\u00e4" * 2049}, "INVALID_ARGUMENT"),
        (dict.fromkeys("abcd", "v" * 4095), "STORED"),  # 16 KiB to the byte
        ({"e": "", **dict.fromkeys("abcd", "v" * 4095)}, "TOO_LARGE"),
        ({str(number): "v" * 4000 for number in range(64)}, "TOO_LARGE"),
        ({"nul\0": "a\0b\u202e"}, "STORED"),
    ]
    receipts = world.record(*[with_attributes(world, attributes) for attributes, _ in cases])
    assert outcomes(receipts) == [expected for _, expected in cases]
    assert count(world, "interactions") == sum(expected == "STORED" for _, expected in cases)
    assert not any(one.retryable for one in receipts)
    # What is looked at here by hand says the same as the contract; only the bound on all together is not in it.
    for attributes, expected in cases:
        broken = protovalidate.collect_violations(interactions_pb2.InteractionContent(attributes=attributes))
        assert bool(broken) == (fault_of_attributes(attributes) == Reason.REASON_INVALID_ARGUMENT), expected


def test_attributes_are_dropped_with_content_and_never_written(world: World) -> None:
    marker = "zebracanary"
    dropped = with_attributes(world, {marker: marker}, ZDR)
    beyond = with_attributes(world, {marker: marker * 1000}, ZDR)  # dropped before anything looks at it
    sealed = with_attributes(world, {marker: marker})
    refused = with_attributes(world, {marker: marker * 1000})
    with structlog.testing.capture_logs() as logs:
        assert outcomes(world.record(dropped, beyond, sealed, refused)) == [
            "STORED_WITHOUT_CONTENT",
            "STORED_WITHOUT_CONTENT",
            "STORED",
            "INVALID_ARGUMENT",
        ]
    assert marker not in whole_database(world) + str(logs)
    assert marker.encode().hex() not in whole_database(world)


def test_the_kind_of_key_is_stored_with_every_record_and_production_is_what_is_not_said(world: World) -> None:
    kinds = (
        (ORG, interactions_pb2.API_KEY_KIND_TRIAL, 2),
        (ORG, interactions_pb2.API_KEY_KIND_PRODUCTION, 1),
        (ORG, interactions_pb2.API_KEY_KIND_UNSPECIFIED, 1),
        (
            ZDR,
            interactions_pb2.API_KEY_KIND_TRIAL,
            2,
        ),  # log data is kept for them too; content is not, whosever key it is
    )
    made = [world.interaction(organization_id) for organization_id, _, _ in kinds]
    for one, (_, kind, _) in zip(made, kinds, strict=True):
        one.api_key_kind = kind
    unknown = world.interaction()
    unknown.api_key_kind = 7  # type: ignore[assignment]
    # Twice, so that both ways of writing carry it: the second batch meets the first.
    first = outcomes(world.record(*made[:2], unknown))
    assert first == ["STORED", "STORED", "INVALID_ARGUMENT"]
    assert outcomes(world.record(*made)) == ["DUPLICATE", "DUPLICATE", "STORED", "STORED_WITHOUT_CONTENT"]
    with world.database.transaction() as tx:
        stored = {
            row.record_id.bytes: row.api_key_kind
            for row in tx.execute(select(interactions.c.record_id, interactions.c.api_key_kind))
        }
    assert stored == {one.record_id: number for one, (_, _, number) in zip(made, kinds, strict=True)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_key_id", "sk-live-not-an-id"),
        ("api_key_id", "apikey_" + "A" * 26),
        ("country", "de"),
        ("country", "DEU"),
        ("country", "203.0.113.7"),
    ],
)
def test_neither_a_key_itself_nor_an_address_is_taken(world: World, field: str, value: str) -> None:
    wrong, right = world.interaction(), world.interaction()
    setattr(wrong, field, value)
    right.api_key_id, right.country = "apikey_" + "a" * 26, "DE"
    receipts = world.record(wrong, right)
    assert outcomes(receipts) == ["INVALID_ARGUMENT", "STORED"]
    assert value not in str(receipts)


def test_of_content_the_contract_has_rules_for_attributes_alone() -> None:
    """Ingest looks at content no further where there are no attributes: a rule on anything else in it would not be kept."""
    seen, waiting = set(), [interactions_pb2.InteractionContent.DESCRIPTOR]
    ruled = set()
    while waiting:
        message = waiting.pop()
        seen.add(message.full_name)
        options = [message.GetOptions().HasExtension(validate_pb2.message)]
        options += [one.GetOptions().HasExtension(validate_pb2.oneof) for one in message.oneofs]
        ruled |= {message.name} if any(options) else set()
        for one in message.fields:
            if one.GetOptions().HasExtension(validate_pb2.field):
                ruled.add(one.full_name.rsplit(".", 2)[-2] + "." + one.name)
            if one.message_type is not None and one.message_type.full_name not in seen:
                waiting.append(one.message_type)
    assert len(seen) >= 4
    assert ruled == {"InteractionContent.attributes"}
