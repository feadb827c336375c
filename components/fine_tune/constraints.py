"""Preserve zeros and shared values during training by projection after each batch. Imports TensorFlow.

The weight tensors that are zero, or equal, at given positions form a linear subspace. After each optimizer step, the
weights move to the nearest point in it. For zeros, the projection is a mask. For shared values, it is the mean of each
group: with plain gradient descent, this equals training the shared value with the mean gradient of its weights (Han et
al. 2016, arXiv:1510.00149, section 3.3, uses the sum). The constraints are fully determined by the weights, so an
interrupted training resumes from its checkpoint as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.spec.steps.fine_tuning import WeightInvariants


class Constraint:
    """Preserves invariants of some weight tensors."""

    def __init__(self, variables: Sequence[Any], invariants: WeightInvariants) -> None:
        self._variables, self._invariants = tuple(variables), invariants
        self._project: Any = None

    def __call__(self, done: int, steps_per_epoch: int) -> None:  # noqa: ARG002
        """Project the variables. `fine_tune` calls this after each batch, and once before the first one."""
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
    """Whether a weight tensor, an array of any shape, has shared values to preserve."""
    return (
        invariants.num_clusters is not None
        and invariants.num_clusters < values.size
        and _distinct(values) <= invariants.num_clusters
    )


def _distinct(values: Any) -> int:
    return len(np.unique(values))


def _groups(values: Any, zeros: bool) -> tuple[Any, Any, int]:
    """Group of each weight; factor of each group, float64 (0 for preserved zeros, else 1); number of groups."""
    centroids, group = np.unique(values, return_inverse=True)
    moves = np.where(zeros & (centroids == 0), 0.0, 1.0)
    return tf.constant(group.reshape(-1), tf.int32), tf.constant(moves, tf.float64), len(centroids)


def _shared(variable: Any, group: Any, moves: Any, count: int) -> Any:
    # In float64, because the float32 mean of many equal values would drift with each batch.
    means = tf.math.unsorted_segment_mean(tf.cast(tf.reshape(variable, [-1]), tf.float64), group, count) * moves
    return tf.reshape(tf.gather(tf.cast(means, variable.dtype), group), variable.shape)
