"""In which order decisions are made: who asks, then whether, then a line in the audit log, committed, and only then an answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kept.access_control.v1 import authz_pb2, grants_pb2
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.authorization.policy import Authorization
from services.access_control.custody import Custody
from services.access_control.people.tokens import Tokens
from services.access_control.store import grants, opened_records
from shared.database import Database
from tests.unit.access_control.grants.test_opening import granted, reading, sealed
from tests.unit.access_control.grants.test_opening import opening as asking
from tests.unit.access_control.world import World, migrated_vault, refusal, world

__all__ = ["migrated_vault", "reading", "world"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in its order, from now on."""
    done: list[str] = []

    def note(owner: Any, name: str, word: str | Callable[..., str]) -> None:
        original = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(word if isinstance(word, str) else word(**kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    begin = Database.transaction

    @contextmanager
    def transaction(self: Database) -> Iterator[Any]:
        done.append("begin")
        with begin(self) as tx:
            yield tx
        done.append("commit")

    monkeypatch.setattr(Database, "transaction", transaction)
    note(Tokens, "verify", "token")
    note(grants, "load", lambda lock=False: "lock grant" if lock else "grant")
    note(Authorization, "require", "policies")
    note(Custody, "record_keys", "keys")
    note(opened_records, "counting", "count")
    note(DecisionLog, "write", "audit entry")
    return done


def test_authorize(reading: World, request: pytest.FixtureRequest) -> None:
    grant_id = granted(reading)
    steps: list[str] = request.getfixturevalue("steps")
    reading.authorize("eve", grant_id)
    assert steps == ["token", "begin", "grant", "policies", "audit entry", "commit"]


def test_open_records(reading: World, request: pytest.FixtureRequest) -> None:
    """Revocation and budget are decided in the transaction of the audit entry, under the grant's lock; keys leave after its commit."""
    grant_id, record = granted(reading), sealed(reading)
    steps: list[str] = request.getfixturevalue("steps")
    reading.authz.OpenRecords(
        asking(record, token=reading.token("eve"), grant_id=grant_id, detail=grants_pb2.DETAIL_MASKED)
    )
    assert steps == ["token", "begin", "lock grant", "policies", "count", "keys", "audit entry", "commit"]


def test_a_refusal_is_written_down_in_a_transaction_of_its_own(
    reading: World, request: pytest.FixtureRequest
) -> None:
    steps: list[str] = request.getfixturevalue("steps")
    bad = authz_pb2.AuthorizeRequest(
        token=reading.token("eve", "kept:settings"),
        organization_id="org_" + "a" * 26,
        detail=grants_pb2.DETAIL_METADATA,
    )
    assert refusal(lambda: reading.authz.Authorize(bad)) == "UNAUTHENTICATED"
    # Nothing is looked at before the token is known to be good.
    assert steps == ["token", "begin", "audit entry", "commit"]


def test_check(reading: World, request: pytest.FixtureRequest) -> None:
    steps: list[str] = request.getfixturevalue("steps")
    method = "/kept.logging.v1.ReadService/ListInteractions"
    reading.authz.Check(authz_pb2.CheckRequest(token=reading.token("eve"), method=method))
    assert steps == ["token", "begin", "policies", "audit entry", "commit"]
