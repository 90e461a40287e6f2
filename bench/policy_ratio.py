"""A poll of settings' policies that finds nothing new, against an empty call: one caller, in turns."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import grpc

from bench.access_control import process
from bench.empty_server import CALLER
from bench.figures import Figure, in_turns
from bench.settings_service import add_policies, settings_running
from deploy.local.authority import Authority, Identity
from deploy.local.ports import free_ports
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from shared.channels import client_credentials
from shared.config import Tls
from shared.ids import new_id
from tests.support.server import TRUST_DOMAIN

_ORGANIZATIONS: Final = 100_000


def measure(small: bool) -> Iterator[Figure]:
    """`policy_ratio` and `policy_poll_us`."""
    calls = 300 if small else 3000
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-bench-")))
        authority = Authority(home / "authority", trust_domain=TRUST_DOMAIN, environment="local")
        settings = stack.enter_context(settings_running(home / "settings", authority))
        add_policies(settings.database_url, [new_id("org") for _ in range(_ORGANIZATIONS)])
        [port] = free_ports(1)
        beside = stack.enter_context(
            process("bench.empty_server", str(home / "authority"), str(port), log=home / "empty.log")
        )
        assert beside.stdout is not None
        if beside.stdout.readline() != b"serving\n":
            raise RuntimeError((home / "empty.log").read_text()[-2000:])
        bare = stack.enter_context(_channel(f"127.0.0.1:{port}", authority.issue(CALLER, serves=False)))
        logging = stack.enter_context(
            _channel(settings.addresses[0], authority.issue("logging", serves=True))
        )
        empty = partial(
            detectors_pb2_grpc.DetectorServiceStub(bare).ListRules,
            detectors_pb2.ListRulesRequest(),
            timeout=30,
        )
        poll = partial(
            policies_pb2_grpc.PolicyServiceStub(logging).ListPolicyChanges,
            policies_pb2.ListPolicyChangesRequest(since_version=_ORGANIZATIONS),
            timeout=30,
        )
        answer = poll()
        if answer.changes or not answer.lease.complete or answer.lease.version != _ORGANIZATIONS:
            raise RuntimeError("the poll was to find nothing new, and to give a lease")
        in_turns(poll, empty, calls // 10)  # warm: connections, plans, caches
        polled, plain = in_turns(poll, empty, calls)
    yield Figure(
        "policy_ratio",
        statistics.median(polled) / statistics.median(plain),
        "ratio",
        False,
        f"median ListPolicyChanges with nothing new, of a feed of {_ORGANIZATIONS} policies, ÷ median empty RPC; {calls} of each in turns, "
        "one caller, mTLS, two processes on the same builder",
    )
    yield Figure(
        "policy_poll_us", statistics.median(polled) * 1e6, "microseconds", False, "the median poll of it"
    )


def _channel(address: str, identity: Identity) -> grpc.Channel:
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    return grpc.secure_channel(address, client_credentials(tls))
