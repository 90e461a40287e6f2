"""Content lies in no file of a running stack as it was sent: not in databases, their WAL, logs or anything else. And the search would
find it: stored unsealed on purpose, it is found."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import psycopg
import pytest
import zstandard

from deploy.local.layout import SERVICES
from deploy.local.stack import Stack
from deploy.local.story.plot import Plot
from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2, read_pb2, read_pb2_grpc
from services.logging import dictionaries

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]


_FRAME: Final = b"\x28\xb5\x2f\xfd"
# PostgreSQL cuts what is longer into pieces.
_LONGEST_FRAME: Final = 8192


def _forms(marker: str) -> list[bytes]:
    """A marker as programs write text: as it is, UTF-16, hex, base64 at each of its three alignments."""
    raw = marker.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)]
    return [raw, marker.encode("utf-16-le"), raw.hex().encode(), raw.hex().upper().encode(), *encoded]


def _unpacked(data: bytes) -> Iterator[bytes]:
    """What of it is compressed as content is before it is sealed (zstd, RFC 8878): compressed only, it would lie there for anybody."""
    unpacking = zstandard.ZstdDecompressor(dict_data=dictionaries.load())  # what was packed without one, too
    at = data.find(_FRAME)
    while at >= 0:
        with suppress(zstandard.ZstdError):
            yield unpacking.decompressobj().decompress(data[at : at + _LONGEST_FRAME])
        at = data.find(_FRAME, at + 1)


def _found(stack: Stack, marker: str) -> list[Path]:
    """The files that hold a marker."""
    forms = _forms(marker)

    def holding() -> Iterator[Path]:
        for path in stack.files():
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # removed since it was listed: databases do that
                continue
            if any(form in seen for seen in (data, *_unpacked(data)) for form in forms):
                yield path

    return list(holding())


def _interaction(plot: Plot, customer: str, marker: str, padding: int = 0) -> interactions_pb2.Interaction:
    """Says the marker in every place that content has."""
    made = interactions_pb2.Interaction(
        record_id=plot.ids.mint(),
        organization_id=plot.customers[customer].organization_id,
        application="canary",
        model="m-1",
    )
    message = made.content.prompt.add(role=interactions_pb2.MESSAGE_ROLE_USER)
    message.parts.add(text=marker + secrets.token_hex(padding))
    message.parts.add(data=b'{"to": "%s"}' % marker.encode(), media_type="application/json", kind=marker)
    made.content.generations.add().parts.add(text=f"You said {marker}.", media_type=marker)
    made.content.attributes[marker] = marker
    return made


def _screened(stack: Stack, record_id: bytes) -> bool:
    with closing(psycopg.connect(stack.database_url("logging").replace("+psycopg", ""))) as connection:
        asked = (
            "SELECT FROM unscreened WHERE record_id = %b::uuid "
            "UNION ALL SELECT FROM unscreened_batches WHERE position(%b IN record_ids) > 0"
        )
        return connection.execute(asked, [UUID(bytes=record_id), record_id]).fetchone() is None


def test_content_lies_nowhere_as_it_was_sent(plot: Plot) -> None:
    marker, stack = secrets.token_hex(20), plot.stage.stack
    short, long, dropped, faulty, oversized = (
        _interaction(plot, "saas", marker),
        _interaction(plot, "saas", marker, 8000),  # more than PostgreSQL keeps in a row
        _interaction(plot, "zdr", marker),
        _interaction(plot, "saas", marker),
        _interaction(plot, "saas", marker),
    )
    faulty.finish_reason = "two\nlines"
    oversized.content.attributes["large"] = marker * 200
    receipts = plot.record([short, long, dropped, faulty, oversized])
    assert [receipt.outcome for receipt in receipts] == [
        ingest_pb2.OUTCOME_STORED,
        ingest_pb2.OUTCOME_STORED,
        ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT,
        ingest_pb2.OUTCOME_REFUSED,
        ingest_pb2.OUTCOME_REFUSED,
    ]
    # Every process that ever sees it has seen it: screening, and a person who reads all of it.
    for stored in (short, long):
        plot.poll("screening", partial(_screened, stack, stored.record_id))
        assert marker in _read(plot, stored)
    assert _found(stack, marker) == []

    # The same, unsealed: in the WAL as soon as it is committed, and in the table's own file once that is written anew.
    database = stack.layout.database
    with closing(
        psycopg.connect(stack.database_url("logging").replace("+psycopg", ""), autocommit=True)
    ) as connection:
        connection.execute("CREATE TABLE unsealed AS SELECT %s::text AS content", [f"You said {marker}."])
        try:
            assert any(path.parent.name == "pg_wal" for path in _found(stack, marker))
            connection.execute("VACUUM FULL unsealed")
            row = connection.execute("SELECT pg_relation_filepath('unsealed')").fetchone()
            assert row is not None
            assert database / row[0] in _found(stack, marker)
        finally:
            connection.execute("DROP TABLE unsealed")


def test_the_search_looks_at_every_kind_of_file_and_knows_every_form(plot: Plot) -> None:
    marker, stack = secrets.token_hex(20), plot.stage.stack
    beside = stack.layout.directory / "beside"
    written = [b"x" * 5000 + form + b"y" for form in _forms(marker)]
    written += [base64.b64encode(b"x" * shift + b"said: " + marker.encode() + b"!") for shift in range(3)]
    for dictionary in (None, dictionaries.load()):
        packing = zstandard.ZstdCompressor(level=3, dict_data=dictionary)
        frame = packing.compress(f"{marker} said {marker}".encode())
        written.append(b"x" * 5000 + frame + b"y" * 20_000)
    try:
        for data in written:
            beside.write_bytes(data)
            assert _found(stack, marker) == [beside]
    finally:
        beside.unlink()
    files = set(stack.files())
    assert {stack.layout.log(name) for name in ("postgres", *SERVICES)} <= files
    assert any(path.parent.name == "pg_wal" for path in files)


def _read(plot: Plot, record: interactions_pb2.Interaction) -> str:
    """What an engineer is shown of a record, by the command that people use."""
    scope = grants_pb2.DataScope(
        organization_id=record.organization_id,
        detail=grants_pb2.DETAIL_FULL,
        record_ids=[record.record_id],
        budget=10,
    )
    request = plot.asking("answers are cut off in the middle", timedelta(minutes=30), data=scope)
    request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
    request.ticket = "SUP-1042"
    grant = plot.grant("emma", "elias", request)
    shown = read_pb2.ReadInteractionsRequest(
        grant_id=grant.grant_id, organization_id=record.organization_id, detail=grants_pb2.DETAIL_FULL
    )
    emma = plot.stage.staff("emma").stub(read_pb2_grpc.ReadServiceStub)
    return "".join(str(answer.record) for answer in emma.ReadInteractions(shown))
