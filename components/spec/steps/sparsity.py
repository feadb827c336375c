"""Sparse weights: what is claimed of a pruned model, where kernels execute it, and what was proven of its file.

Of TFLite's kernels two compute with sparse weights as they are stored: fully connected, in float32 with blocks of 4 and
in int8 with blocks of 16 weights along the input axis. Everything else that is stored sparse is unpacked by an operator
DENSIFY when the model is loaded: a smaller file, and no speed.
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
    """What pruning says of the weights of a model.

    Attributes:
        structure: How the zeros lie; blocks are along the input axis.
        sparsity: Fraction of zeros in every pruned kernel, at least.
        kernels: Shapes of the pruned kernels, as the model has them and of single gates; empty: all were pruned.
        sparsities: Fraction of zeros in each of `kernels`, in their order; empty: `sparsity` in all.
    """

    structure: Structure
    sparsity: Annotated[FiniteFloat, Field(gt=0, lt=1)]
    kernels: tuple[tuple[int, ...], ...] = ()
    sparsities: tuple[FiniteFloat, ...] = ()


class TensorSparsity(FrozenModel):
    """What became of the zeros of one weight.

    Attributes:
        tensor: Its name in the file.
        operator: What computes with it.
        shape: As in the file.
        sparsity: Fraction of zeros that the file has.
        claimed: Fraction that pruning left.
        encoding: `dense`, `sparse` (value by value), or the blocks: `1x4`.
        densify: Whether an operator DENSIFY unpacks it.
        verdict: `proven` to execute sparse, `stored_only`, or `lost`.
        reason: Why, in words; empty if proven.
    """

    tensor: str
    operator: str
    shape: tuple[int, ...]
    sparsity: float
    claimed: float
    encoding: str
    densify: bool
    verdict: SparsityVerdict
    reason: str = ""


class SparsityVerification(FrozenModel):
    """What was proven of the sparsity of one file.

    Attributes:
        claim: What pruning said.
        verdict: `proven`: at least one weight executes sparse, none is lost, outputs are right, and the file is faster
            than its dense twin. `stored_only`: the zeros are there, and make a smaller file at best. `lost`: zeros
            of at least one weight are gone.
        reasons: Why it is not more, in words; empty if all of it is proven.
        tensors: The pruned weights.
        difference: Largest difference of an output from the same and from the dense file's without delegates, as a
            fraction of the largest output; None if the file was not encoded.
        tolerance: What was allowed.
        time_ratio: Time of the encoded file divided by that of the same weights converted densely, on this machine;
            None if it was not judged.
        sparse_bytes: Size of the encoded file; None if it was not encoded.
        dense_bytes: Size of the dense file.
        delivered: Which of the two is the candidate.
        transient: Whether another run may judge the time.
    """

    claim: SparsityTarget
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
    """Whether sparse weights of one layer will be executed as such, told before anything is pruned.

    Attributes:
        layer: Its name.
        kind: Its class.
        sparse: Whether there is a kernel.
        note: Why not, and what it gains all the same.
    """

    layer: str
    kind: str
    sparse: bool
    note: str = ""


def encodes(scheme: Scheme, structure: Structure) -> bool:
    """Whether a file of this scheme is sparse-encoded: where there is a kernel for its numbers and blocks."""
    needed = scheme.sparse_block
    return needed is not None and BLOCKS.get(structure, 0) % needed == 0 and structure in BLOCKS


def sparsity_refusal(scheme: Scheme, claim: SparsityTarget, where: str | None = None) -> SpecError | None:
    """Why a scheme must not be combined with a sparsity; None if it may.

    Args:
        scheme: What the file's numbers are to be.
        claim: How the model is pruned.
        where: The field that an error names.
    """
    if scheme.miscomputes_sparse_blocks and claim.structure in BLOCKS:
        return SpecError(
            "dynamic range quantization of block-sparse weights computes wrong values under XNNPACK, without any error",
            where=where,
            bound=" or ".join(_sparse_kinds()),
            measured=f"{scheme.kind} with {claim.structure}",
            remedy="take one of these schemes, or prune without blocks: that is never sparse-encoded, and compresses",
        )
    return None


def _sparse_kinds() -> Iterator[str]:
    for kind, scheme in SCHEMES.items():
        if block := scheme.sparse_block:
            yield f"{kind} (blocks of {' or '.join(str(one) for one in BLOCKS.values() if one % block == 0)})"


def sparse_kernels(
    layers: Iterable[tuple[str, str, tuple[int, ...]]], scheme: Scheme, structure: Structure
) -> tuple[LayerKernel, ...]:
    """Which layers' sparse weights will be executed as such, and why not.

    Args:
        layers: Name, class and shape of the kernel (Keras' order: a Dense layer's is [inputs, units]) of each layer
            that is to be pruned.
        scheme: The recipe's.
        structure: The pruning's.
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
            return "a 1x1 convolution is stored sparse and unpacked when it is loaded: a smaller file, not faster"
        return f"there is no sparse kernel for {kind}: {gain}"
    needed = scheme.sparse_block
    if needed is None:
        return f"there is no sparse kernel for {scheme.kind}: {gain}"
    if not encodes(scheme, structure):
        return f"the sparse kernel of {scheme.kind} takes blocks of 1x{needed}, not {structure}: {gain}"
    if shape and shape[0] % needed:
        # Measured: off by 13 % (float32) and 46 % (int8) of the largest output, with and without delegates.
        return (
            f"{shape[0]} inputs are no multiple of {needed}: the sparse kernel would compute wrong values, so the "
            "whole file is delivered dense"
        )
    return ""
