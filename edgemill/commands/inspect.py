"""`edgemill inspect`: prints an Inspection as tables."""

from __future__ import annotations

import errno
from pathlib import Path

from rich.table import Table
from rich.text import Text

from components.core.errors import ModelError, some_of
from components.facts.conversion import Inspection, TensorFact
from edgemill.terminal import terminal


def read_model(path: Path) -> bytes:
    """The content of a model file. Raises a ModelError if it cannot be read."""
    try:
        # Reading a pipe waits for its writer, and reading some devices never ends.
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path), remedy="check the path") from error


def print_inspection(path: Path, inspection: Inspection) -> None:
    """Print the content of a TFLite file."""
    console = terminal()
    floats = inspection.float_tensors
    sizes = f": {inspection.file_bytes:,} bytes, {inspection.weight_bytes:,} of them weights"
    console.print(Text.assemble((path.name, "bold"), sizes))
    console.print("integers only" if inspection.integer_only else f"{len(floats)} float tensors: {some_of(floats)}")
    if inspection.stateful:
        console.print("keeps state between invocations: reset the interpreter's variables before each sequence")
    for title, tensors in (("inputs", inspection.inputs), ("outputs", inspection.outputs)):
        console.print(f"{title}: " + ", ".join(map(_border, tensors)))
    console.print("dtypes: " + ", ".join(f"{count} {dtype}" for dtype, count in inspection.dtype_counts.items()))
    operators = Table("operator", "version", "count", title="operators", title_justify="left")
    for use in inspection.operators:
        operators.add_row(use.name, str(use.version), str(use.count))
    console.print(operators)
    for cell in inspection.cells:
        table = Table("tensor", "dtype", "shape", title=f"{cell.operator} {cell.name}", title_justify="left")
        for tensor in cell.tensors:
            table.add_row(tensor.role, tensor.dtype, str(list(tensor.shape)))
        console.print(table)
    weights = Table(title="weights")
    for heading in ("weight", "shape", "dtype", "bytes", "scales", "zeros", "distinct values"):
        weights.add_column(heading, overflow="fold")
    for weight in inspection.weights:
        weights.add_row(
            weight.name,
            str(list(weight.shape)),
            weight.dtype + (" (sparse)" if weight.sparse_encoded else ""),
            f"{weight.bytes:,}",
            str(weight.scales),
            "" if weight.sparsity is None else f"{weight.sparsity:.2f}",
            "" if weight.unique_values is None else str(weight.unique_values),
        )
    console.print(weights)


def _border(fact: TensorFact) -> str:
    named = f"{fact.signature} ({fact.name})" if fact.signature else fact.name
    scaled = "" if fact.scale is None else f", scale {fact.scale:.6g}, zero point {fact.zero_point}"
    return f"{named} {list(fact.shape)} {fact.dtype}{scaled}"
