"""Metrics of embeddings: the similarity to a target, and how well examples of the same class find each other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError
from components.metrics.accumulator import Arrays, KeptExamples, RatioOfSums
from components.metrics.ready_made.read import only

Array = npt.NDArray[Any]

# Rows of the matrix of similarities to compute at once, and the number of decimals that distinguish similarities.
_ROWS, _DECIMALS = 1024, 9


class CosineSimilarity(RatioOfSums):
    """The mean cosine of the angle between predicted and target embeddings. Vectors of zeros have a similarity of 0.

    Predictions and targets are [N, D], or [N, ..., D] for several embeddings per example, which count equally.
    """

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the sum of similarities and the number of embeddings of each example."""
        del features
        found, wanted = only(predictions, "output"), only(targets, "target")
        if found.shape != wanted.shape:
            raise SpecError(
                "this metric compares an embedding with another of the same length",
                where="evaluate.metrics",
                bound=f"targets {list(found.shape)}",
                measured=f"targets {list(wanted.shape)}",
                remedy="correct the targets, or use `recall_at_1`, which compares embeddings of the same class",
            )
        cosines = (unit_vectors(found) * unit_vectors(wanted)).sum(axis=-1).reshape(len(found), -1)
        return np.stack([cosines.sum(axis=1), np.full(len(found), cosines.shape[1], np.float64)], axis=1)


class Embedding(NamedTuple):
    """An example: its class, its embedding of length 1, and how often it counts."""

    kind: Any
    vector: Array
    weight: float = 1.0


class RecallAtK(KeptExamples):
    """The share of examples with another example of their class among the k nearest (Jegou, Douze & Schmid 2011).

    Each example is looked up among all others of the same slice, by cosine similarity. Similarities that differ by less
    than 1e-9 are equal: then the value is the mean over all orders. An example without another of its class does not
    count. Time grows with the square of the number of examples.

    An example counts by its weight when it is looked up. An example with the weight 0 is left out, and is not among the
    neighbors of others.

    Predictions are embeddings [N, D]; targets are class indexes [N].

    Args:
        k: How many neighbors to look at.
    """

    def __init__(self, k: int = 1) -> None:
        self._k = k

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> list[Any]:
        """Keep the class and the embedding of each example."""
        del features
        found, classes = only(predictions, "output"), only(targets, "target")
        if classes.size != len(found):
            raise SpecError(
                "this metric compares the class of each example",
                where="evaluate.metrics",
                bound=f"targets [{len(found)}]",
                measured=f"targets {list(classes.shape)}",
                remedy="give each example one class index, or use `cosine_similarity`, which compares embeddings",
            )
        vectors = unit_vectors(found.reshape(len(found), -1))
        pairs = zip(classes.reshape(-1).tolist(), vectors, strict=True)
        return [[Embedding(kind, vector)] for kind, vector in pairs]

    def result(self, accumulator: list[Embedding]) -> float:
        """Return the recall; NaN if no class has two examples."""
        counted = [each for each in accumulator if each.weight]
        if not counted:
            return float("nan")
        _, classes = np.unique([each.kind for each in counted], return_inverse=True)
        vectors = np.stack([each.vector for each in counted])
        return recall_at_k(vectors, classes, self._k, np.array([each.weight for each in counted]))


def unit_vectors(vectors: Array) -> Array:
    """Vectors [..., D] with the length 1, float64. Vectors of zeros stay unchanged."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=-1, keepdims=True))
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)


def recall_at_k(vectors: Array, classes: Array, k: int, weights: Array | None = None) -> float:
    """The recall of `RecallAtK`.

    Args:
        vectors: Embeddings of length 1, float64 [N, D].
        classes: int [N].
        k: How many neighbors to look at.
        weights: Weights of the examples as queries, [N]; None if all have the same weight.
    """
    sizes = np.bincount(classes)
    queries = np.flatnonzero(sizes[classes] > 1)
    k = min(k, len(classes) - 1)
    hits = [_hits(vectors, classes, queries[at : at + _ROWS], k) for at in range(0, len(queries), _ROWS)]
    counted = None if weights is None else weights[queries]
    return float(np.average(np.concatenate(hits), weights=counted)) if hits else float("nan")


def _hits(vectors: Array, classes: Array, queries: Array, k: int) -> Array:
    """For each query, the probability that its class is among the k nearest, over all orders of equal similarities."""
    similar = np.round(vectors[queries] @ vectors.T, _DECIMALS)
    similar[np.arange(len(queries)), queries] = -np.inf
    edge = np.partition(similar, -k, axis=1)[:, -k, None]
    same = classes[queries][:, None] == classes
    nearer, tied = similar > edge, similar == edge
    left = k - nearer.sum(axis=1)
    candidates = tied.sum(axis=1)
    others = candidates - (tied & same).sum(axis=1)
    # The probability that other classes fill all remaining places: the product of (others - i) / (candidates - i).
    missed = np.ones(len(queries))
    for place in range(int(left.max(initial=0))):
        share = np.clip(others - place, 0, None) / np.maximum(candidates - place, 1)
        missed *= np.where(place < left, share, 1)
    return np.where((nearer & same).any(axis=1), 1.0, 1 - missed)
