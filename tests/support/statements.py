"""Statements are compiled once in a process of tests, and not once for each test's database, which took a sixth of the processor time of
those tests that have one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, util
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from shared import database

# More than all services have.
_STATEMENTS = 20_000


def compile_once() -> None:
    """From here on, for every `Database`. What a statement is compiled to depends on its dialect, and each engine has one of its own: all
    of a session are of the same server, and count as one."""
    compiled = util.LRUCache[Any, Any](_STATEMENTS)
    create_engine = database.create_engine  # type: ignore[attr-defined]

    def create(*arguments: Any, **options: Any) -> Engine:
        engine = create_engine(*arguments, **options)
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    database.create_engine = create  # type: ignore[attr-defined]
    PGDialect_psycopg.__eq__ = lambda one, other: type(one) is type(other)  # type: ignore[method-assign]
    PGDialect_psycopg.__hash__ = lambda one: hash(type(one))  # type: ignore[method-assign, assignment]
