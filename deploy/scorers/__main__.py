"""`python -m deploy.scorers train DATA MODEL` fits a model and says how good it is; `… serve MODEL` answers safety review with it.

DATA: JSON lines with `text` and `violation` (true or false). Nothing of it is kept but weights.
"""

import argparse
import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from deploy.scorers.linear import MOST_CHARACTERS, Model, cross_validated, train
from kept.scorer.v1 import scorer_pb2, scorer_pb2_grpc
from shared.channels import MAX_MESSAGE_BYTES
from shared.config import Tls
from shared.server import protect_memory, server_credentials


class LinearScorer(scorer_pb2_grpc.ScorerServiceServicer):
    """The contract, answered by a model. Keeps and logs nothing."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def Score(self, request: scorer_pb2.ScoreRequest, context: Any) -> scorer_pb2.ScoreResponse:
        """See the contract."""
        response = scorer_pb2.ScoreResponse(version=self._model.version)
        for one in request.texts:
            text = "\n".join(one.parts)
            if len(text) <= MOST_CHARACTERS:  # what is left out counts as not screened by this detector
                response.scores.add(number=one.number, score=self._model.score(text))
        return response


class _ForSafetyReview(LinearScorer):
    """The same for safety review alone: a classifier tells whoever may ask it how to say things so that it does not notice."""

    def __init__(self, model: Model, trust_domain: str) -> None:
        super().__init__(model)
        self._caller = [f"spiffe://{trust_domain}/safety_review".encode()]

    def Score(self, request: scorer_pb2.ScoreRequest, context: Any) -> scorer_pb2.ScoreResponse:
        """See the contract."""
        if list(context.auth_context().get("peer_spiffe_id", ())) != self._caller:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Only safety review asks here.")
        return super().Score(request, context)


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.scorers", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="fit a model, and say how good it is")
    training.add_argument("data", type=Path)
    training.add_argument("model", type=Path)
    serving = verbs.add_parser("serve", help="answer safety review, by mTLS")
    serving.add_argument("model", type=Path)
    serving.add_argument("--address", default="127.0.0.1:7071", help="host:port")
    serving.add_argument("--trust-domain", required=True, help="of the installation whose safety review asks")
    for name in ("certificate", "key", "authority"):
        serving.add_argument(f"--{name}", type=Path, required=True, help="a PEM file")
    told = parser.parse_args(arguments)
    return _train(told.data, told.model) if told.verb == "train" else _serve(told)


def _train(data: Path, file: Path) -> int:
    examples = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines() if line.strip()]
    texts, violates = [str(one["text"]) for one in examples], [bool(one["violation"]) for one in examples]
    quality = cross_validated(texts, violates)
    print(
        f"{quality.violations} violations, {quality.others} others; on texts it was not trained on (5 folds), flagged at 0.5:"
    )
    print(f"precision {quality.precision:.2f}, recall {quality.recall:.2f}, ranks {quality.ranks:.2f}")
    train(texts, violates).save(file)
    return 0


def _serve(told: argparse.Namespace) -> int:
    protect_memory()
    model = Model.load(told.model)
    tls = Tls(certificate=told.certificate, key=told.key, authority=told.authority)
    server = grpc.server(
        ThreadPoolExecutor(4), options=(("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),)
    )
    scorer_pb2_grpc.add_ScorerServiceServicer_to_server(_ForSafetyReview(model, told.trust_domain), server)
    port = server.add_secure_port(told.address, server_credentials(tls, client_certificates=True))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    print(f"{model.version} answers on port {port}", flush=True)
    ended.wait()
    server.stop(5).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
