"""A linear model over hashed pieces of text: logistic regression (AdaGrad, Duchi et al. 2011) on words, pairs of words and four letters in
a row (feature hashing, Weinberger et al. 2009).

Small, quick, the same on every machine, and easily deceived: it knows words, not meaning. It holds weights only, no text, though rare words
of the training data could be guessed at from them; so train it on what may be kept.
"""

import math
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FEATURES: Final = 1 << 18
_LETTERS: Final = 4
_EPOCHS: Final = 30
_RATE: Final = 0.5
_DECAY: Final = 1e-5
# A longer text is not scored: a beginning says nothing about the rest.
MOST_CHARACTERS: Final = 200_000

Vector = NDArray[np.int64]


def pieces(text: str) -> Vector:
    """The numbers of the pieces that occur in a text, each once, ascending."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    found = {f"w {word}" for word in words} | {f"p {a} {b}" for a, b in pairwise(words)}
    spaced = f" {' '.join(words)} "
    found |= {f"l {spaced[start : start + _LETTERS]}" for start in range(max(0, len(spaced) - _LETTERS + 1))}
    hashed = {zlib.crc32(piece.encode("utf-8", "surrogatepass")) % _FEATURES for piece in found}
    return np.array(sorted(hashed), np.int64)


@dataclass(frozen=True)
class Model:
    """Trained weights. version: what detectors are listed with: a checksum of the weights."""

    weights: NDArray[np.float32]
    bias: float

    @property
    def version(self) -> str:
        """Names these weights."""
        return f"linear-{zlib.crc32(self.weights.tobytes() + np.float64(self.bias).tobytes()):08x}"

    def score(self, text: str) -> float:
        """How likely a text is a violation by what the model was trained on: above 0 and below 1."""
        return _probability(self.weights, self.bias, pieces(text))

    def save(self, file: Path) -> None:
        """Writes an .npz file."""
        with file.open("wb") as out:
            np.savez_compressed(out, weights=self.weights, bias=np.float64(self.bias))

    @staticmethod
    def load(file: Path) -> "Model":
        """Reads what `save` wrote; no code in it is run. Raises ValueError for another file."""
        with np.load(file, allow_pickle=False) as stored:
            weights, bias = stored["weights"], float(stored["bias"])
        if weights.shape != (_FEATURES,) or not np.isfinite(weights).all() or not math.isfinite(bias):
            raise ValueError(f"{file}: is not a model of this kind")
        return Model(weights.astype(np.float32), bias)


def train(texts: Sequence[str], violates: Sequence[bool], *, seed: int = 1) -> Model:
    """Fits a model. Each kind counts as much as the other, however many there are of it. The same data give the same model."""
    if len(set(violates)) < 2:
        raise ValueError("training takes texts of both kinds")
    vectors = [pieces(text) for text in texts]
    counts = {kind: list(violates).count(kind) for kind in (True, False)}
    order = np.random.default_rng(seed)
    weights, squares = np.zeros(_FEATURES), np.full(_FEATURES, 1e-8)
    bias, bias_squares = 0.0, 1e-8
    for _ in range(_EPOCHS):
        for index in order.permutation(len(vectors)).tolist():
            vector, wanted = vectors[index], violates[index]
            error = (_probability(weights, bias, vector) - wanted) * len(texts) / (2 * counts[wanted])
            scaled = error / math.sqrt(len(vector) or 1)
            squares[vector] += scaled * scaled
            weights[vector] -= _RATE * (scaled + _DECAY * weights[vector]) / np.sqrt(squares[vector])
            bias_squares += error * error
            bias -= _RATE * error / math.sqrt(bias_squares)
    return Model(weights.astype(np.float32), bias)


def _probability(weights: NDArray[np.floating], bias: float, vector: Vector) -> float:
    reached = bias + float(weights[vector].sum()) / math.sqrt(len(vector) or 1)
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, reached))))


@dataclass(frozen=True)
class Quality:
    """How a model does on texts that it was not trained on. ranks: how often a violation scores higher than another text (the area under
    the ROC curve)."""

    violations: int
    others: int
    precision: float
    recall: float
    ranks: float


def cross_validated(
    texts: Sequence[str], violates: Sequence[bool], *, flag_at: float = 0.5, folds: int = 5
) -> Quality:
    """Trains on all but a fold and scores that fold, for each fold in turn. Raises ValueError where a kind is too rare for that."""
    scores = np.zeros(len(texts))
    for fold in range(folds):
        learned = [index for index in range(len(texts)) if index % folds != fold]
        model = train([texts[index] for index in learned], [violates[index] for index in learned])
        for index in range(fold, len(texts), folds):
            scores[index] = model.score(texts[index])
    truth = np.array(violates)
    flagged = scores >= flag_at
    caught = int((flagged & truth).sum())
    above = (scores[truth][:, None] > scores[~truth][None, :]).mean()
    return Quality(
        violations=int(truth.sum()),
        others=int((~truth).sum()),
        precision=caught / max(1, int(flagged.sum())),
        recall=caught / max(1, int(truth.sum())),
        ranks=float(above),
    )
