"""A TFLite file as a function of numpy arrays, the same for evaluation, benchmarks and checks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, ModelError
from components.model.streaming import drive, state_pairs, zero_state

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]

# Larger batches gain nothing more per example, and the activations of a whole evaluation batch need not fit in memory.
_MAX_BATCH = 64
_PROBES = 3
# Float kernels may add in another order for another batch size; relative to the largest output.
_FLOAT_TOLERANCE = 1e-4


def quantize(values: Array, scale: float, zero_point: int, dtype: npt.DTypeLike) -> Array:
    """Real values to integers, `q = clip(rint(x / scale) + zero_point)` (Jacob et al. 2018, arXiv:1712.05877, eq. 1).

    Args:
        values: float [...]. What the integers cannot hold saturates, as it does on a device; it never wraps around.
        scale: Real value of one step.
        zero_point: Integer that stands for 0.0.
        dtype: int8, uint8 or int16.

    Raises:
        DataError: There is a NaN, which no integer stands for.
    """
    bounds = np.iinfo(np.dtype(dtype))
    steps = np.rint(np.asarray(values) / np.float32(scale))
    if np.isnan(steps).any():
        raise DataError(
            "a NaN cannot be quantized",
            measured=f"{int(np.isnan(steps).sum())} NaN among {steps.size} values",
            remedy="remove or repair these examples, or replace NaN in the task's decode",
        )
    return np.clip(steps + zero_point, bounds.min, bounds.max).astype(dtype)


def dequantize(values: Array, scale: float, zero_point: int) -> Array:
    """Integers to float32, `x = (q - zero_point) * scale`."""
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


class TFLiteModel:
    """A TFLite file on this machine's TFLite runtime with its default delegate (XNNPACK).

    Examples are run in batches where that yields what single examples yield: this is tried once, when the model
    is loaded, bit for bit on quantized inputs. A model that keeps state between invocations is run one example (one
    whole sequence) at a time, from a reset state.

    A model of one time step (`components.model.streaming`) is run through whole sequences: `predict` takes and returns
    what the model of the whole sequence would.

    Attributes:
        each_step: Whether what is returned of a streaming model is its output after each time step, or after the last.

    Args:
        content: The file. It must be whole: the runtime verifies nothing, and damaged bytes can crash the process.
        num_threads: Threads of the runtime.

    Raises:
        ModelError: The runtime rejects the file.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        self._content, self._threads = content, num_threads
        self._loaded: dict[str, Array] = {}
        self._start()
        self.stateful = _keeps_state(content)
        self.each_step = self.streaming and _returns_each_step(content)
        self.batched = not (self.stateful or _has_fixed_shapes(content)) and self._batches_soundly()

    def _start(self) -> None:
        import tensorflow as tf

        try:
            self._interpreter = tf.lite.Interpreter(model_content=self._content, num_threads=self._threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _rejected(error) from error
        self._inputs = _by_name(self._interpreter, "inputs")
        self._outputs = _by_name(self._interpreter, "outputs")
        self._pairs = state_pairs(self._inputs, self._outputs)
        self._batch = 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, without states."""
        return tuple(name for name in self._inputs if name not in self._pairs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, without states."""
        return tuple(name for name in self._outputs if name not in self._pairs.values())

    @property
    def tensor_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of all inputs and outputs in the order of the file, with states."""
        return tuple(self._inputs), tuple(self._outputs)

    @property
    def streaming(self) -> bool:
        """Whether it is a model of one time step."""
        return bool(self._pairs)

    def zero_states(self, batch: int) -> dict[str, Array]:
        """State input -> what it is before a sequence, [batch, ...], as its tensor holds it."""
        return {
            taken: zero_state(batch, detail["shape"][1:], detail["dtype"], detail["quantization"][1])
            for (taken, detail), _ in self.state_details()
        }

    def state_details(self) -> list[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]]:
        """Name and the runtime's details of each state, as input and as output."""
        return [((a, self._inputs[a]), (b, self._outputs[b])) for a, b in self._pairs.items()]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run N examples.

        Args:
            inputs: Input name -> array [N, ...] in real values; "" is the only input of a model with one.

        Returns:
            Output name -> array [N, ...]; float32 real values where the output is quantized.

        Raises:
            DataError: An input is missing, superfluous, of the wrong shape or type, or NaN where integers are asked.
            ModelError: The runtime fails.
        """
        return {
            name: self._to_real(self._outputs[name], values)
            for name, values in self.predict_tensors(self.to_tensors(inputs)).items()
        }

    def to_tensors(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs of `predict` as the model's tensors hold them, in the order of the file.

        Raises:
            DataError: As `predict`.
        """
        named = self._match(inputs)
        return {name: self.to_raw(name, named[name]) for name in self.input_names}

    def predict_tensors(self, raw: Mapping[str, Array]) -> dict[str, Array]:
        """Run N examples, what `to_tensors` returned; outputs as their tensors hold them, in the order of the file.

        Raises:
            ModelError: The runtime fails.
        """
        total = len(next(iter(raw.values())))
        step = _MAX_BATCH if self.batched else 1
        run = self._invoke_sequence if self.streaming else self._invoke
        parts = [
            run({name: values[start : start + step] for name, values in raw.items()}) for start in range(0, total, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def output_index(self, name: str) -> int:
        """Of the output's tensor in the file's main subgraph."""
        return int(self._outputs[name]["index"])

    def output_scale(self, name: str) -> float | None:
        """Real value of one step of a quantized output; None if it is not quantized."""
        return float(self._outputs[name]["quantization"][0]) or None

    def trace(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """State input -> what the state is after each time step [N, time, ...], in real values, streaming."""
        raw = self.to_tensors(inputs)
        step = _MAX_BATCH if self.batched else 1
        parts = [
            self._drive({name: values[start : start + step] for name, values in raw.items()})
            for start in range(0, len(next(iter(raw.values()))), step)
        ]
        return {
            taken: self._to_real(
                self._outputs[given],
                np.concatenate([np.stack([now[given] for now in part], axis=1) for part in parts]),
            )
            for taken, given in self._pairs.items()
        }

    def invoke_once(self) -> None:
        """Run whatever the input tensors hold, once, at batch 1, from a reset state: what a benchmark times.

        Of a streaming model, the whole sequence of `load_example`.
        """
        if self.streaming and self._loaded:
            self._drive(self._loaded)
        else:
            self._run()

    def _run(self) -> None:
        if self.stateful:
            self._interpreter.reset_all_variables()
        self._interpreter.invoke()

    def load_example(self, inputs: Mapping[str, Array]) -> None:
        """Put one example, arrays [1, ...] as for `predict`, into the input tensors, for `invoke_once`."""
        raw = self.to_tensors(inputs)
        self._resize(1)
        if self.streaming:
            self._loaded = raw
            return
        for name, values in raw.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], values)

    def _drive(self, raw: Mapping[str, Array]) -> list[Mapping[str, Array]]:
        """What a streaming model returns after each time step, from a state of zeros."""
        return drive(self._invoke, raw, self.zero_states(len(next(iter(raw.values())))), self._pairs)

    def _invoke_sequence(self, raw: Mapping[str, Array]) -> dict[str, Array]:
        returned = self._drive(raw)
        if self.each_step:
            return {name: np.stack([now[name] for now in returned], axis=1) for name in self.output_names}
        return {name: returned[-1][name] for name in self.output_names}

    def _match(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        names = set(self.input_names)
        if set(inputs) == {""} and len(names) == 1:
            return {next(iter(names)): inputs[""]}
        missing, superfluous = names - set(inputs), set(inputs) - names
        if missing or superfluous:
            raise DataError(
                f"the model's input {min(missing)!r} is missing"
                if missing
                else f"the model has no input {min(superfluous)!r}",
                where="model inputs",
                bound=", ".join(sorted(names)),
                measured=", ".join(sorted(inputs)) or "nothing",
                remedy="make the task's decode() return exactly the model's inputs, by name",
            )
        return dict(inputs)

    def to_raw(self, name: str, values: Array) -> Array:
        """What an input tensor holds for real values [N, ...]; of a streaming model [N, time, ...]."""
        detail = self._inputs[name]
        values = np.asarray(values)
        if tuple(values.shape[2 if self.streaming else 1 :]) != tuple(detail["shape_signature"][1:]):
            raise DataError(
                f"the input {name!r} has the wrong shape",
                where="model inputs",
                bound=f"[batch, {'time, ' if self.streaming else ''}"
                f"{', '.join(map(str, detail['shape_signature'][1:]))}]",
                measured=list(values.shape),
                remedy="make the task's decode() return the shape that the model was built for",
            )
        dtype, (scale, zero_point) = detail["dtype"], detail["quantization"]
        if scale:
            return quantize(values, scale, zero_point, dtype)
        if not np.can_cast(values.dtype, dtype, "same_kind"):
            raise DataError(
                f"the input {name!r} has the wrong type",
                where="model inputs",
                bound=np.dtype(dtype).name,
                measured=values.dtype.name,
                remedy="make the task's decode() return the type that the model was built for",
            )
        return values.astype(dtype, copy=False)

    @staticmethod
    def _to_real(detail: Mapping[str, Any], values: Array) -> Array:
        scale, zero_point = detail["quantization"]
        return dequantize(values, scale, zero_point) if scale else values

    def _resize(self, batch: int) -> None:
        if batch == self._batch:
            return
        for detail in self._inputs.values():
            self._interpreter.resize_tensor_input(detail["index"], [batch, *detail["shape"][1:]])
        self._interpreter.allocate_tensors()
        self._batch = batch

    def _invoke(self, raw: Mapping[str, Array]) -> dict[str, Array]:
        try:
            self._resize(len(next(iter(raw.values()))))
            for name, values in raw.items():
                self._interpreter.set_tensor(self._inputs[name]["index"], values)
            self._run()
        except (ValueError, RuntimeError) as error:
            raise _rejected(error) from error
        return {name: self._interpreter.get_tensor(detail["index"]) for name, detail in self._outputs.items()}

    def _batches_soundly(self) -> bool:
        """Whether a batch yields what its examples yield alone; a Reshape to a constant [1, n], for one, does not."""
        random = np.random.default_rng(0)
        probe = {name: _random_values(detail, random) for name, detail in self._inputs.items()}
        alone = [self._invoke({name: values[i : i + 1] for name, values in probe.items()}) for i in range(_PROBES)]
        try:
            together = self._invoke(probe)
        except ModelError:
            together = None
        if together is None or not all(
            _same(np.concatenate([one[name] for one in alone]), together[name]) for name in self._outputs
        ):
            logger.info("This model cannot be run in batches: its examples are run one by one.")
            # After a failed resize an interpreter may be in any state: another resize can kill the process.
            self._start()
            return False
        return True


def _random_values(detail: Mapping[str, Any], random: np.random.Generator) -> Array:
    shape, dtype = [_PROBES, *detail["shape"][1:]], np.dtype(detail["dtype"])
    if detail["quantization"][0]:
        bounds = np.iinfo(dtype)
        return random.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    # Token numbers and flags: 0 is the one value that is in every vocabulary.
    return np.zeros(shape, dtype)


def _same(alone: Array, together: Array) -> bool:
    if alone.shape != together.shape:
        return False
    if together.dtype.kind == "f":
        scale = float(np.abs(alone).max(initial=0.0)) or 1.0
        return bool(np.allclose(alone, together, rtol=0, atol=_FLOAT_TOLERANCE * scale))
    return np.array_equal(alone, together)


def _by_name(interpreter: Any, border: str) -> dict[str, dict[str, Any]]:
    """Details of the inputs or outputs by the names of the file's signature, or else of its tensors."""
    details = interpreter.get_input_details() if border == "inputs" else interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        named = runner.get_input_details() if border == "inputs" else runner.get_output_details()
        names = {detail["index"]: name for name, detail in named.items()}
        if set(names) == {detail["index"] for detail in details}:
            return {names[detail["index"]]: detail for detail in details}
    return {_plain(detail["name"]): detail for detail in details}


def _plain(name: str) -> str:
    """`serving_default_image:0` is the input `image`; outputs may differ in nothing but the number after the colon."""
    plain = name.removeprefix("serving_default_")
    return plain.removesuffix(":0")


def _keeps_state(content: bytes) -> bool:
    """Whether tensors keep their values between invocations.

    Raises:
        ModelError: It has resource variables that it assigns to, which the runtime cannot reset.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    main = model.Subgraphs(0)
    if any(
        codes[main.Operators(i).OpcodeIndex()] == schema.BuiltinOperator.ASSIGN_VARIABLE
        for i in range(main.OperatorsLength())
    ):
        raise ModelError(
            "the model assigns to resource variables, which cannot be reset between examples",
            where="TFLite file",
            remedy="export a model whose state is an input and an output, or a fused LSTM",
        )
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    return any(graph.Tensors(i).IsVariable() for graph in graphs for i in range(graph.TensorsLength()))


_EACH_STEP = "edgemill_each_step"


def with_each_step(content: bytes) -> bytes:
    """Mark a streaming file as one whose outputs count after each time step, and not only after the last."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    mark, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(b"1" * 16, np.uint8)
    mark.name, mark.buffer = _EACH_STEP, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), mark]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _returns_each_step(content: bytes) -> bool:
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    return any(model.Metadata(i).Name() == _EACH_STEP.encode() for i in range(model.MetadataLength()))


def _has_fixed_shapes(content: bytes) -> bool:
    """Whether an operator holds its output's shape, batch included: XNNPACK writes past it when the batch grows."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]
    return schema.BuiltinOperator.TRANSPOSE_CONV in codes


def _rejected(error: Exception) -> ModelError:
    return ModelError(
        f"the TFLite runtime rejects the file: {str(error).strip()}",
        where="TFLite file",
        remedy="try another scheme, or replace the operator it names; a file that is damaged must be converted again",
    )
