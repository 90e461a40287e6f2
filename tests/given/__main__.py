"""`python -m tests.given {postgres,citus} URL`: looks whether the database can serve, says what is missing, and runs logging's tests on it.

What is needed: PostgreSQL 15 or newer, and a role that may make schemas in the database (`GRANT CREATE ON DATABASE …`). For Citus:
version 11 or newer with its extension made in the database, at least one node that takes shards, and workers that let the coordinator in
as the same role. Each test has a schema of its own, removed after it; nothing else in the database is touched.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import psycopg

_ROOT: Final = Path(__file__).parents[2]
_OLDEST: Final = 15
_OLDEST_CITUS: Final = 11
_TESTS: Final = (
    "tests/unit/logging",
    "tests/unit/shared/test_outbox.py",
    "tests/unit/shared/test_replica.py",
)
# Named here, because nothing else collects it: no test of it could pass on the server that all tests have.
_OF_CITUS: Final = "tests/given/distributed.py"


def main() -> int:
    """The exit code: 2 when the database cannot serve, else pytest's."""
    parser = argparse.ArgumentParser(prog="python -m tests.given", description=__doc__)
    parser.add_argument("kind", choices=["postgres", "citus"])
    parser.add_argument("url", nargs="?", default="", help="postgresql://user:password@host:port/database")
    options = parser.parse_args()
    lacking = missing(options.kind, options.url)
    if lacking:
        sys.stderr.write(f"test-{options.kind}: {lacking}\n")
        return 2
    environment = os.environ | {"KEPT_TEST_DATABASE": options.url}
    tests = list(_TESTS)
    if options.kind == "citus":
        environment["KEPT_TEST_CITUS"] = "1"
        # The outbox and replicas are shared/'s: their tables are not logging's, and are not distributed.
        tests = [_TESTS[0], _OF_CITUS]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests], env=environment, cwd=_ROOT, check=False
    ).returncode


def missing(kind: str, url: str) -> str:
    """Why the database cannot serve, in a sentence; empty when it can."""
    if not url:
        return (
            f"no database is given: make test-{kind} DATABASE=postgresql://user:password@host:port/database"
        )
    try:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            return _missing_in(connection, kind)
    except psycopg.OperationalError as error:
        return f"the database cannot be reached: {error}"
    except psycopg.ProgrammingError:  # its text would repeat the URL, password and all
        return "DATABASE is no URL of a PostgreSQL database: postgresql://user:password@host:port/database"


def _missing_in(connection: psycopg.Connection, kind: str) -> str:
    version = connection.info.server_version // 10_000
    if version < _OLDEST:
        return f"the server is PostgreSQL {version}; {_OLDEST} is the oldest that serves"
    if not _one(connection, "SELECT has_database_privilege(current_database(), 'CREATE')"):
        return "the role may not make schemas: GRANT CREATE ON DATABASE … TO it"
    citus = _one(connection, "SELECT min(extversion) FROM pg_extension WHERE extname = 'citus'")
    if kind == "postgres":
        return "the database has Citus: use test-citus" if citus else ""
    if not citus:
        return "the database has no Citus: CREATE EXTENSION citus (on every node), then citus_add_node for each worker"
    if int(str(citus).split(".", maxsplit=1)[0].split("-", maxsplit=1)[0]) < _OLDEST_CITUS:
        return f"Citus is {citus}; {_OLDEST_CITUS} is the oldest that serves"
    if not _one(connection, "SELECT groupid = 0 FROM pg_dist_local_group"):
        return "this is not the coordinator: tables are distributed, and partitions made, from there"
    if not _one(connection, "SELECT count(*) FROM pg_dist_node WHERE isactive AND shouldhaveshards"):
        return "no node takes shards: citus_add_node for each worker, or citus_set_node_property for the coordinator"
    return ""


def _one(connection: psycopg.Connection, asked: str) -> object:
    row = connection.execute(asked.encode()).fetchone()
    return None if row is None else row[0]


if __name__ == "__main__":
    sys.exit(main())
