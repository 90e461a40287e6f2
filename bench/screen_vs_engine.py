"""Screening through the service, over mTLS and with durable verdicts, against the bare pattern engine over the same bytes, in turns."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import grpc

from bench.empty_log import empty_log
from bench.figures import Figure, in_turns, median_ratio
from bench.safety_review import RULES, reviewing, rules_text
from bench.screen_vs_re import size, texts
from deploy.local.authority import Authority
from kept.logging.v1 import interactions_pb2
from kept.safety_review.v1 import screening_pb2
from services.safety_review.detection.rules import parse_rules
from shared.channels import MAX_MESSAGE_BYTES, client_credentials
from shared.clock import SystemClock
from shared.config import Tls
from shared.ids import new_id, new_record_id
from shared.linear_patterns import LinearPattern, PatternSet
from tests.support.server import TRUST_DOMAIN

# What logging sends at once, at most.
_BATCH_BYTES: Final = 4 * 1024 * 1024
# As deployed (deploy/base): two, each asked by one of logging's.
_PROCESSES: Final = 2
_METHOD: Final = "/kept.safety_review.v1.ScreeningService/Screen"


def measure(small: bool) -> Iterator[Figure]:
    """`screen_vs_engine`."""
    interactions = texts(128 if small else 700)
    rules = parse_rules(rules_text().encode(), name="bench")
    expressions = [one for rule in rules.rules for one in rule.expressions]
    engine = PatternSet(expressions, case_sensitive=False)
    patterns = [LinearPattern(one, case_sensitive=False) for one in expressions]

    def matched() -> None:
        """Which patterns match which text, and where first: what an engine says."""
        for one in data:
            for index in engine.candidates(one):
                list(patterns[index].spans(one, limit=1))

    data = [text.encode("utf-8") for parts in interactions for text in parts]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-bench-")))
        authority = Authority(home / "authority", trust_domain=TRUST_DOMAIN, environment="local")
        peers = {"access_control": stack.enter_context(empty_log(authority)), "retention": "127.0.0.1:1"}
        running = stack.enter_context(reviewing(home / "service", authority, peers, _PROCESSES))
        identity = authority.issue("logging", serves=False)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
        channels = [
            stack.enter_context(grpc.secure_channel(one.address, client_credentials(tls), options=options))
            for one in running
        ]
        sent = _Sent(channels, interactions)
        screened, bare = in_turns(sent, matched, 3 if small else 7, between=sent.prepare)
    yield Figure(
        "screen_vs_engine",
        median_ratio(bare, screened),
        "ratio",
        True,
        f"MB/s screened by {_PROCESSES} processes of the service over mTLS, one durable verdict a record ÷ the engine on the same bytes "
        f"in one thread; {RULES} rules, "
        f"{len(interactions)} records of {size(interactions) // len(interactions)} bytes a turn",
    )


class _Sent:
    """The interactions as new records at each call, all with a verdict when it returns. Messages are made before, by `prepare`."""

    def __init__(self, channels: list[grpc.Channel], interactions: list[tuple[str, str]]) -> None:
        self._screens: list[Any] = [
            channel.stream_stream(_METHOD, lambda message: message, screening_pb2.ScreenResponse.FromString)
            for channel in channels
        ]
        self._interactions = interactions
        self._organization_id = new_id("org")
        self._batches: list[bytes] = []
        self.prepare()

    def prepare(self) -> None:
        """New records for the next call: making them is logging's."""
        self._batches, batch, held = [], screening_pb2.ScreenRequest(), 0
        for prompt, generation in self._interactions:
            added = batch.interactions.add(
                record_id=new_record_id(SystemClock().now()), organization_id=self._organization_id
            )
            for messages, text in ((added.content.prompt, prompt), (added.content.generations, generation)):
                messages.add(role=interactions_pb2.MESSAGE_ROLE_USER).parts.add(text=text)
            held += added.ByteSize()
            if held > _BATCH_BYTES or len(batch.interactions) == 500:
                self._batches.append(batch.SerializeToString())
                batch, held = screening_pb2.ScreenRequest(), 0
        if batch.interactions:
            self._batches.append(batch.SerializeToString())

    def __call__(self) -> None:
        with ThreadPoolExecutor(len(self._screens)) as streams:
            screened = sum(streams.map(self._stream, range(len(self._screens))))
        if screened != len(self._interactions):
            raise RuntimeError("not everything was screened")

    def _stream(self, number: int) -> int:
        answers = self._screens[number](iter(self._batches[number :: len(self._screens)]), timeout=120)
        return sum(
            record.verdict == screening_pb2.VERDICT_CLEAN for answer in answers for record in answer.records
        )
