"""A float TFLite file as a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import ModelError, SpecError
from components.spec.baseline import PretrainedBaseline
from components.upstream.tflite.schema import load_schema

if TYPE_CHECKING:
    from components.model.tflite_runtime import TFLiteModel


def refuse_quantized(path: Path) -> None:
    """Refuse a TFLite file that is not float: its ranges are fixed, and rounding can't be undone.

    Raises:
        ModelError: A tensor is quantized or float16, or the file is damaged.
    """
    half = load_schema().TensorType.FLOAT16
    try:
        # Reads every table and vector of the file.
        load_schema().ModelT.InitFromObj(_model(path))
        tensors = list(_tensors(path))
        scaled = sum(1 for one in tensors if one.Quantization() is not None and one.Quantization().ScaleLength())
        halves = sum(1 for one in tensors if one.Type() == half)
    except Exception as error:
        # The generated readers and NumPy raise many types if an offset points outside the file.
        raise ModelError(
            "the TFLite file is truncated or damaged",
            where=str(path),
            bound="a flatbuffer whose offsets stay inside the file",
            measured=f"{path.stat().st_size:,} bytes; {type(error).__name__}",
            remedy="copy or convert it again, and compare its sha256",
        ) from error
    if scaled or halves:
        raise ModelError(
            "the TFLite file is already quantized",
            where=str(path),
            bound="a file whose weights and activations are float32",
            measured=f"{scaled} quantized tensors, and {halves} tensors of float16",
            remedy="specify the float file, or the model that it was converted from: without `optimizations`, the "
            "converter writes a float file",
        )


def load_tflite(baseline: PretrainedBaseline) -> TFLiteModel:
    """Load a float TFLite file, and check that it can be converted and evaluated.

    Raises:
        ModelError: The runtime rejects the file or crashes, or the file has a string input, a fixed batch, or open
            dimensions.
        SpecError: The pipeline file gives shapes, which a TFLite file already has.
    """
    from components.baseline.tflite_probe import refuse_crashing
    from components.model.tflite_runtime import TFLiteModel

    if baseline.input_shapes:
        raise SpecError(
            "the shapes of a TFLite file are fixed when it is converted",
            where="baseline.input_shapes",
            bound="no shapes for a TFLite file",
            measured=", ".join(baseline.input_shapes),
            remedy="remove `input_shapes`, and convert the file from the model with these shapes",
        )
    path = Path(baseline.path)
    graph = _model(path).Subgraphs(0)
    for tensor in map(graph.Tensors, graph.InputsAsNumpy().tolist()):
        _check_input(tensor, baseline.path)
    refuse_crashing(path)
    return TFLiteModel(path.read_bytes())


def _check_input(tensor: Any, where: str) -> None:
    name = (tensor.Name() or b"").decode(errors="replace")
    if tensor.Type() == load_schema().TensorType.STRING:
        raise ModelError(
            "the model takes strings, not decoded inputs",
            where=f"{where}, input {name}",
            bound="numeric inputs, as the task's decode returns them",
            measured="string",
            remedy="convert a model that starts after parsing, and leave decoding to the task",
        )
    open_shape = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else None
    fixed_shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    shape = [int(size) for size in (fixed_shape if open_shape is None else open_shape)]
    if not shape or shape[0] not in (1, -1) or min(shape[1:], default=1) < 1:
        raise ModelError(
            f"the input {name!r} has no fixed size per example",
            where=where,
            bound="an open batch or a batch of 1, every other dimension fixed",
            measured=f"shape {shape}",
            remedy="convert the model again for one example of a fixed size",
        )


def _model(path: Path) -> Any:
    return load_schema().Model.GetRootAs(path.read_bytes(), 0)


def _tensors(path: Path) -> Iterator[Any]:
    model = _model(path)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        yield from map(graph.Tensors, range(graph.TensorsLength()))
