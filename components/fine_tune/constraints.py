"""Keeping zeros and shared values while a model trains, by projection after each batch. Imports TensorFlow.

The kernels that are zero in given places, or equal in given places, are a linear subspace; after each step of the
optimizer the weights go to the nearest point of it. For zeros that is a mask. For shared values it is each group's
mean: with plain gradient descent the same as training the shared value by the mean of its weights' gradients (Han et
al. 2016, arXiv:1510.00149, section 3.3, takes their sum). All that must be kept is in the weights themselves, so a
training that was killed goes on from its checkpoint as if it had not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.spec.steps.fine_tuning import WeightInvariants


class Constraint:
    """What some variables keep.

    Args:
        variables: Kernels of a model.
        invariants: What of them.
    """

    def __init__(self, variables: Sequence[Any], invariants: WeightInvariants) -> None:
        self._variables, self._invariants = tuple(variables), invariants
        self._project: Any = None

    def __call__(self, done: int, steps_per_epoch: int) -> None:  # noqa: ARG002
        """After a batch, or before the first one of this process: an `after_batch` of `fine_tune`.

        Args:
            done: Batches that were trained on.
            steps_per_epoch: Batches in an epoch.
        """
        if self._project is None:
            self._project = self._reading_what_is_there()
        self._project()

    def _reading_what_is_there(self) -> Any:
        groups = [
            _groups(variable.numpy(), self._invariants.zeros) if shares(variable.numpy(), self._invariants) else None
            for variable in self._variables
        ]
        masks = [
            tf.constant(variable.numpy() != 0, variable.dtype) if self._invariants.zeros else None
            for variable in self._variables
        ]

        @tf.function(autograph=False)
        def project() -> None:
            for variable, group, mask in zip(self._variables, groups, masks, strict=True):
                if group is not None:
                    variable.assign(_shared(variable, *group))
                elif mask is not None:
                    variable.assign(variable * mask)

        return project


def shares(values: Any, invariants: WeightInvariants) -> bool:
    """Whether the weights of a kernel share values that must be kept: an array of any shape."""
    return (
        invariants.num_clusters is not None
        and invariants.num_clusters < values.size
        and _distinct(values) <= invariants.num_clusters
    )


def _distinct(values: Any) -> int:
    return len(np.unique(values))


def _groups(values: Any, zeros: bool) -> tuple[Any, Any, int]:
    """Group of each weight, float64 [groups] that is 0 for the zeros if they stay and 1 otherwise, and their number."""
    centroids, group = np.unique(values, return_inverse=True)
    moves = np.where(zeros & (centroids == 0), 0.0, 1.0)
    return tf.constant(group.reshape(-1), tf.int32), tf.constant(moves, tf.float64), len(centroids)


def _shared(variable: Any, group: Any, moves: Any, count: int) -> Any:
    # In float64: the mean of many equal float32 would drift a little with each batch.
    means = tf.math.unsorted_segment_mean(tf.cast(tf.reshape(variable, [-1]), tf.float64), group, count) * moves
    return tf.reshape(tf.gather(tf.cast(means, variable.dtype), group), variable.shape)
