"""Streams of one customer, or person, take a share of a port's places: they stop nobody else's."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import grpc
import pytest

from shared.call_threads import StreamPool
from shared.identity import Caller, CallerKind
from shared.pipeline import Pipeline

METHOD = "/kept.settings.v1.DataControlsService/WatchDataControls"
PUMA, OWL = (
    Caller(CallerKind.CUSTOMER, organization_id="org_" + letter * 26, member_id="member_" + letter * 26)
    for letter in "po"
)
LOGGING = Caller(CallerKind.SERVICE, name="logging")


class Refused(Exception):
    pass


def opened(pool: StreamPool, caller: Caller) -> Any:
    """A stream of a caller that was asked once. Raises Refused."""
    handler = grpc.unary_stream_rpc_method_handler(lambda request, context: iter([1, 2]))
    authority = mock.Mock()
    authority.authorize_person.return_value = caller
    pipeline = Pipeline(lambda _: caller, authority, pool)
    with (
        mock.patch("shared.pipeline.require_kind"),
        mock.patch("shared.pipeline.is_public", return_value=False),
    ):
        wrapped = pipeline.intercept_service(lambda _: handler, SimpleNamespace(method=METHOD))  # type: ignore[arg-type]
        assert wrapped is not None
        assert wrapped.stream_stream is not None
        assert wrapped.request_deserializer is not None
        context = mock.Mock()
        context.abort_with_status.side_effect = Refused
        stream = wrapped.stream_stream(iter([wrapped.request_deserializer(b"")]), context)
        assert next(stream) == 1
    return stream


def test_one_customer_has_a_share_and_leaves_the_rest_to_others() -> None:
    pool = StreamPool(8, shares=4)
    mine = [opened(pool, PUMA), opened(pool, PUMA)]
    with pytest.raises(Refused):
        opened(pool, PUMA)
    others = [opened(pool, OWL), opened(pool, OWL)]
    assert list(mine.pop()) == [2]  # whose end frees it
    mine.append(opened(pool, PUMA))
    with pytest.raises(Refused):
        opened(pool, OWL)
    assert len(mine) == len(others) == 2


def test_services_share_nothing_with_people_and_among_them_any_may_have_all() -> None:
    pool = StreamPool(3)
    streams = [opened(pool, LOGGING) for _ in range(3)]
    with pytest.raises(Refused):
        opened(pool, LOGGING)
    assert len(streams) == 3
