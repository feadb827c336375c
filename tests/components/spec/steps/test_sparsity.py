import pytest

from components.core.errors import SpecError
from components.spec.scheme import (
    DynamicWi8Afp32,
    Float16,
    Float32,
    StaticWi4Ai8,
    StaticWi8Ai8,
    StaticWi8Ai16,
)
from components.spec.steps.sparsity import SparsityTarget, encodes, sparse_kernels, sparsity_refusal
from pipelines.file.cross_field_checks import sparsity_errors

STRUCTURES = ("unstructured", "2:4", "block_1x4", "block_1x16")
SCHEMES = (Float32(), Float16(), DynamicWi8Afp32(), StaticWi8Ai8(), StaticWi8Ai16(), StaticWi4Ai8())


def target(structure):
    return SparsityTarget(structure=structure, sparsity=0.8)


def test_files_are_encoded_only_where_a_kernel_takes_their_blocks():
    assert {(s.kind, structure) for s in SCHEMES for structure in STRUCTURES if encodes(s, structure)} == {
        ("float32", "block_1x4"),
        ("float32", "block_1x16"),
        ("static_wi8_ai8", "block_1x16"),
    }


def test_dynamic_range_is_refused_with_blocks_and_nothing_else_is():
    refused = {
        (s.kind, structure) for s in SCHEMES for structure in STRUCTURES if sparsity_refusal(s, target(structure))
    }
    assert refused == {("dynamic_wi8_afp32", "block_1x4"), ("dynamic_wi8_afp32", "block_1x16")}


def test_contradiction_names_the_recipe_and_a_fix_when_dynamic_range_meets_blocks():
    targets = [
        ("recipes[0]", StaticWi8Ai8(), target("block_1x16")),
        ("recipes[1]", DynamicWi8Afp32(), target("block_1x4")),
        ("recipes[2]", DynamicWi8Afp32(), target("unstructured")),
    ]
    (error,) = sparsity_errors(targets)
    assert isinstance(error, SpecError)
    assert (error.where, error.measured) == ("recipes[1].scheme", "dynamic_wi8_afp32 with block_1x4")
    assert "static_wi8_ai8" in str(error)
    assert "Remedy: use one of these schemes, or prune without blocks" in str(error)


@pytest.mark.parametrize(
    ("kind", "shape", "scheme", "structure", "note"),
    [
        ("Dense", (256, 64), Float32(), "block_1x4", ""),
        ("Dense", (256, 64), Float32(), "block_1x16", ""),
        ("Dense", (256, 64), StaticWi8Ai8(), "block_1x16", ""),
        ("Dense", (256, 64), StaticWi8Ai8(), "block_1x4", "takes blocks of 1x16, not block_1x4"),
        ("Dense", (256, 64), Float32(), "unstructured", "takes blocks of 1x4, not unstructured"),
        ("Dense", (256, 64), Float32(), "2:4", "takes blocks of 1x4, not 2:4"),
        ("Dense", (256, 64), Float16(), "block_1x4", "no sparse kernel for float16"),
        ("Dense", (250, 64), Float32(), "block_1x4", "250 inputs are not a multiple of 4"),
        ("Dense", (248, 64), StaticWi8Ai8(), "block_1x16", "248 inputs are not a multiple of 16"),
        ("Dense", (248, 64), Float32(), "block_1x4", ""),
        ("Conv2D", (1, 1, 64, 64), Float32(), "block_1x4", "unpacked when it is loaded"),
        ("Conv2D", (3, 3, 64, 64), Float32(), "block_1x4", "no sparse kernel for Conv2D"),
        ("LSTM", (64, 256), Float32(), "block_1x4", "never sparse-encoded"),
    ],
)
def test_layers_without_a_sparse_kernel_are_reported_before_pruning(kind, shape, scheme, structure, note):
    (kernel,) = sparse_kernels([("layer", kind, shape)], scheme, structure)
    assert (kernel.layer, kernel.kind, kernel.sparse) == ("layer", kind, not note)
    assert note in kernel.note
    assert bool(kernel.note) == bool(note)
