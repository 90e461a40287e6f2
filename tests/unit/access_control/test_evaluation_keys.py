"""Keys of evaluation sets: written down when opened, of no use after the set's end, destroyed as holds' keys are."""

from datetime import timedelta

from kept.access_control.v1 import evaluation_keys_pb2 as keys_pb2
from kept.access_control.v1 import evaluation_keys_pb2_grpc
from services.access_control.key_stores.configured import open_key_store
from shared.identity import Caller, CallerKind
from tests.unit.access_control.world import World, migrated_vault, refusal, world

__all__ = ["migrated_vault", "world"]

SET = "evalset_" + "a" * 26
PERSON = "person_" + "p" * 26


def _stub(world: World) -> evaluation_keys_pb2_grpc.EvaluationKeyServiceStub:
    return evaluation_keys_pb2_grpc.EvaluationKeyServiceStub(
        world.served.channel(Caller(CallerKind.SERVICE, "safety_review"))
    )


def _make(world: World, days: float, set_id: str = SET) -> bytes:
    request = keys_pb2.MakeEvaluationKeyRequest(set_id=set_id, person_id=PERSON)
    request.ends_at.FromDatetime(world.clock.now() + timedelta(days=days))
    return bytes(_stub(world).MakeEvaluationKey(request).key)


def _open(world: World, set_id: str = SET) -> bytes:
    request = keys_pb2.OpenEvaluationKeyRequest(set_id=set_id, person_id=PERSON)
    return bytes(_stub(world).OpenEvaluationKey(request).key)


def _destroy(world: World, set_id: str = SET) -> None:
    _stub(world).DestroyEvaluationKey(keys_pb2.DestroyEvaluationKeyRequest(set_id=set_id))


def test_a_key_opens_until_its_end_and_each_time_is_written_down(world: World) -> None:
    key = _make(world, 10)
    assert len(key) == 32
    assert _make(world, 10) == key
    assert refusal(lambda: _make(world, 11)) == "WRONG_STATE"
    assert _open(world) == key
    world.advance(timedelta(days=10) - timedelta(microseconds=1))
    assert _open(world) == key
    world.advance(timedelta(microseconds=1))
    assert refusal(lambda: _open(world)) == "SET_ENDED"
    before = open_key_store(world.config.key_store).root_ids()
    (job,) = (job for job in world.service.jobs if job.name == "evaluation_keys")
    assert job.step() is False
    assert not set(open_key_store(world.config.key_store).root_ids()) & set(before)
    opened = world.entries("evaluation_key.opened")
    assert [entry["actor"] for entry in opened] == [PERSON, PERSON]
    assert refusal(lambda: _open(world, "evalset_" + "b" * 26)) == "NOT_FOUND"
    assert refusal(lambda: _make(world, 367, "evalset_" + "b" * 26)) == "INVALID_ARGUMENT"
    assert refusal(lambda: _make(world, 0, "evalset_" + "b" * 26)) == "INVALID_ARGUMENT"


def test_what_is_destroyed_stays_so_and_another_set_lives_on_under_the_new_root(world: World) -> None:
    other = "evalset_" + "b" * 26
    _make(world, 10)
    kept = _make(world, 10, other)
    roots = open_key_store(world.config.key_store)
    before = roots.root_ids()
    _destroy(world)
    _destroy(world)
    assert refusal(lambda: _open(world)) == "SET_ENDED"
    assert refusal(lambda: _make(world, 10)) == "WRONG_STATE"
    assert _open(world, other) == kept
    assert not set(roots.root_ids()) & set(before), "no backup opens it: the root that it hung on is gone"
    unknown = "evalset_" + "c" * 26
    _destroy(world, unknown)
    assert refusal(lambda: _make(world, 10, unknown)) == "WRONG_STATE"
