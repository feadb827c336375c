"""Where zeros lie, against masks made weight by weight in plain Python."""

import itertools
from typing import Any

import numpy as np
import pytest

from components.prune.masks import mask_of

SHAPES = {"dense": ((32, 6), 0), "convolution": ((3, 2, 16, 5), 2), "transposed": ((2, 2, 3, 32), 3)}


def values(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def in_blocks(kernel: Any, axis: int, length: int, zeros: int) -> Any:
    """The mask that zeroes so many blocks along an axis with the least sum of magnitudes."""
    sums = {}
    for place in itertools.product(*map(range, kernel.shape)):
        block = tuple(index // length if number == axis else index for number, index in enumerate(place))
        sums[block] = sums.get(block, 0.0) + abs(float(kernel[place]))
    least = sorted(sums, key=lambda block: sums[block])[:zeros]
    mask = np.ones(kernel.shape, bool)
    for place in itertools.product(*map(range, kernel.shape)):
        mask[place] = tuple(i // length if n == axis else i for n, i in enumerate(place)) not in least
    return mask


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("structure", "length"), [("block_1x4", 4), ("block_1x16", 16), ("unstructured", 1)])
def test_least_blocks_along_the_input_axis_are_zero(name: str, structure: Any, length: int) -> None:
    shape, axis = SHAPES[name]
    kernel = values(shape)
    zeros = round(0.6 * kernel.size / length)
    assert np.array_equal(mask_of(kernel, 0.6, structure, axis), in_blocks(kernel, axis, length, zeros))


@pytest.mark.parametrize("name", SHAPES)
def test_two_of_four_along_the_input_axis_are_zero(name: str) -> None:
    shape, axis = SHAPES[name]
    kernel = values(shape)
    mask = np.moveaxis(mask_of(kernel, 0.5, "2:4", axis), axis, -1)
    moved = np.abs(np.moveaxis(kernel, axis, -1))
    for place in itertools.product(*map(range, moved.shape[:-1])):
        for start in range(0, moved.shape[-1], 4):
            group, kept = moved[place][start : start + 4], mask[place][start : start + 4]
            assert kept.sum() == 2
            assert min(group[kept]) > max(group[~kept])


def test_two_of_four_is_the_toolkits() -> None:
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_utils

    kernel = values((32, 6))
    rearranged = pruning_utils.weights_rearrange(tf.constant(kernel))
    mask = pruning_utils.generate_m_by_n_mask(rearranged, (2, 4))
    theirs = pruning_utils.m_by_n_sparsity_mask_prepare(mask, tf.constant(kernel).shape)
    assert np.array_equal(mask_of(kernel, 0.5, "2:4", 0), np.asarray(theirs).astype(bool))


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.0, 0), (0.004, 1), (0.5, 96), (0.999, 191)])
def test_zeros_are_rounded_to_whole_weights_and_never_all(sparsity: float, zeros: int) -> None:
    assert (~mask_of(values((32, 6)), sparsity)).sum() == zeros


def test_what_is_zero_is_chosen_again() -> None:
    kernel = values((64, 8))
    for structure in ("unstructured", "block_1x4", "2:4"):
        pruned = kernel * mask_of(kernel, 0.7, structure, 0)
        grown = np.where(pruned != 0, pruned + np.sign(pruned), 0)
        assert np.array_equal(mask_of(grown, 0.7, structure, 0), pruned != 0)
