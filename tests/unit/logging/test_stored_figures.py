"""What operators see of what is stored."""

from datetime import UTC, datetime, time

from prometheus_client import REGISTRY

from tests.unit.logging.world import World


def figures() -> dict[str, float | None]:
    names = (
        "kept_oldest_unheld_record_timestamp_seconds",
        "kept_held_records",
        "kept_screening_backlog_records",
        "kept_screening_oldest_waiting_timestamp_seconds",
    )
    return {name: REGISTRY.get_sample_value(name) for name in names}


def test_the_oldest_record_and_what_waits_for_screening_are_seen(world: World) -> None:
    world.jobs["stored_figures"].step()
    assert set(figures().values()) == {0}
    world.record(world.interaction(), world.interaction())
    received_at = world.clock.now().timestamp()
    world.jobs["stored_figures"].step()
    day = datetime.combine(world.clock.now().date(), time(), UTC).timestamp()
    assert figures() == {
        "kept_oldest_unheld_record_timestamp_seconds": day,
        "kept_held_records": 0,
        "kept_screening_backlog_records": 2,
        "kept_screening_oldest_waiting_timestamp_seconds": received_at,
    }
    world.jobs["screening"].step()
    world.jobs["stored_figures"].step()
    assert figures()["kept_screening_backlog_records"] == 0
    assert figures()["kept_screening_oldest_waiting_timestamp_seconds"] == 0
