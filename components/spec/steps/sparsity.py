"""Sparse weights: the target of pruning, the layers with sparse kernels, and the verification of the file.

Two TFLite kernels compute directly with sparse weights. Both are for fully connected layers: in float32, with blocks of
4 weights along the input axis, and in int8, with blocks of 16. A DENSIFY operator unpacks all other sparse weights when
the model is loaded, which makes the file smaller but not faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from components.core.errors import SpecError
from components.core.values import FrozenModel
from components.spec.scheme import SCHEMES, Scheme

Structure = Literal["unstructured", "2:4", "block_1x4", "block_1x16"]
SparsityVerdict = Literal["proven", "stored_only", "lost"]

# Length of a structure's blocks along the input axis.
BLOCKS: dict[Structure, int] = {"block_1x4": 4, "block_1x16": 16}

_FULLY_CONNECTED = frozenset({"Dense"})
_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "Bidirectional", "RNN", "ConvLSTM2D", "LSTMCell", "GRUCell"})


class SparsityTarget(FrozenModel):
    """The zeros that pruning created in the weights of a model.

    Attributes:
        structure: Where the zeros are. Blocks are along the input axis.
        sparsity: Smallest fraction of zeros in any pruned weight tensor.
        kernels: Shapes of the pruned weight tensors, both as in the model and of single gates. Empty if all are pruned.
        sparsities: Fraction of zeros in each of `kernels`, in the same order. Empty if it is `sparsity` in all.
    """

    structure: Structure
    sparsity: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    kernels: tuple[tuple[int, ...], ...] = ()
    sparsities: tuple[FiniteFloat, ...] = ()


class TensorSparsity(FrozenModel):
    """The zeros of one weight tensor in the file.

    Attributes:
        tensor: Its name in the file.
        operator: Operator that uses it.
        shape: As in the file.
        sparsity: Fraction of zeros in the file.
        wanted: Fraction of zeros after pruning.
        encoding: `dense`, `sparse` (single values), or the block, such as `1x4`.
        densify: Whether a DENSIFY operator unpacks it.
        verdict: `proven` to execute sparse, `stored_only`, or `lost`.
        reason: Reason for the verdict; empty if proven.
    """

    tensor: str
    operator: str
    shape: tuple[int, ...]
    sparsity: float
    wanted: float
    encoding: str
    densify: bool
    verdict: SparsityVerdict
    reason: str = ""


class SparsityVerification(FrozenModel):
    """The verification of one file's sparsity.

    Attributes:
        target: The zeros that pruning created.
        verdict: `proven` if at least one weight tensor executes sparse, none lost its zeros, outputs are correct, and
            the file is faster than its dense twin. `stored_only` if the zeros are in the file and at best make it
            smaller. `lost` if at least one weight tensor lost its zeros.
        reasons: Why the verdict is not better; empty if everything is proven.
        tensors: The pruned weight tensors.
        difference: Largest difference of an output from that of the same file and of the dense file, both without
            delegates, as a fraction of the largest output; None if the file was not encoded.
        tolerance: Largest difference that is allowed.
        time_ratio: Time of the encoded file divided by the time of the same weights converted densely, on this machine;
            None if the time could not be compared.
        sparse_bytes: Size of the encoded file; None if it was not encoded.
        dense_bytes: Size of the dense file.
        delivered: Which of the two files is the candidate.
        transient: Whether another run may be able to compare the time.
    """

    target: SparsityTarget
    verdict: SparsityVerdict
    reasons: tuple[str, ...] = ()
    tensors: tuple[TensorSparsity, ...] = ()
    difference: float | None = None
    tolerance: float | None = None
    time_ratio: float | None = None
    sparse_bytes: int | None = None
    dense_bytes: int
    delivered: Literal["sparse", "dense"]
    transient: bool = False


class LayerKernel(FrozenModel):
    """Whether a sparse kernel will execute the sparse weights of one layer, known before pruning.

    Attributes:
        layer: Name of the layer.
        kind: Its class.
        sparse: Whether there is a sparse kernel.
        note: Why there is none, and the benefit of pruning without one.
    """

    layer: str
    kind: str
    sparse: bool
    note: str = ""


def encodes(scheme: Scheme, structure: Structure) -> bool:
    """Whether a file of this scheme is sparse-encoded, which requires a kernel for its numeric format and blocks."""
    needed = scheme.sparse_block
    return needed is not None and BLOCKS.get(structure, 0) % needed == 0 and structure in BLOCKS


def sparsity_refusal(scheme: Scheme, target: SparsityTarget, where: str | None = None) -> SpecError | None:
    """The error if a scheme can't be combined with a sparsity; None if it can."""
    if scheme.miscomputes_sparse_blocks and target.structure in BLOCKS:
        return SpecError(
            "dynamic range quantization of block-sparse weights silently computes wrong values under XNNPACK",
            where=where,
            bound=" or ".join(_sparse_kinds()),
            measured=f"{scheme.kind} with {target.structure}",
            remedy="use one of these schemes, or prune without blocks: the file compresses but is never sparse-encoded",
        )
    return None


def _sparse_kinds() -> Iterator[str]:
    for kind, scheme in SCHEMES.items():
        if block := scheme.sparse_block:
            yield f"{kind} (blocks of {' or '.join(str(one) for one in BLOCKS.values() if one % block == 0)})"


def sparse_kernels(
    layers: Iterable[tuple[str, str, tuple[int, ...]]], scheme: Scheme, structure: Structure
) -> tuple[LayerKernel, ...]:
    """Whether a sparse kernel will execute each layer's sparse weights, and why not.

    Args:
        layers: Name, class, and shape of the weight tensor of each layer to prune, in Keras' order of axes: [inputs,
            units] for a Dense layer.
        scheme: Scheme of the recipe.
        structure: Structure of the pruning.
    """
    return tuple(_layer_kernel(name, kind, shape, scheme, structure) for name, kind, shape in layers)


def _layer_kernel(name: str, kind: str, shape: tuple[int, ...], scheme: Scheme, structure: Structure) -> LayerKernel:
    note = _no_kernel(kind, shape, scheme, structure)
    return LayerKernel(layer=name, kind=kind, sparse=not note, note=note)


def _no_kernel(kind: str, shape: tuple[int, ...], scheme: Scheme, structure: Structure) -> str:
    gain = "smaller when compressed, not faster"
    if kind in _RECURRENT:
        return f"weights of recurrent layers are never sparse-encoded: {gain}"
    if kind not in _FULLY_CONNECTED:
        if encodes(scheme, structure) and kind == "Conv2D" and math.prod(shape[:2]) == 1:
            return "a 1x1 convolution is stored sparse and unpacked when it is loaded: the file is smaller, not faster"
        return f"there is no sparse kernel for {kind}: {gain}"
    needed = scheme.sparse_block
    if needed is None:
        return f"there is no sparse kernel for {scheme.kind}: {gain}"
    if not encodes(scheme, structure):
        return f"the sparse kernel of {scheme.kind} takes blocks of 1x{needed}, not {structure}: {gain}"
    if shape and shape[0] % needed:
        # Measured error, with and without delegates: 13% (float32) and 46% (int8) of the largest output.
        return (
            f"{shape[0]} inputs are not a multiple of {needed}: the sparse kernel would compute wrong values, so the "
            "whole file is delivered dense"
        )
    return ""
