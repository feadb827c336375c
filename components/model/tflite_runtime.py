"""A TFLite file as a function of NumPy arrays, shared by evaluation, benchmarks, and checks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from components.core.errors import DataError, ModelError
from components.model.batch_probe import PROBES, random_values, same_outputs
from components.model.streaming import drive, state_pairs, zero_state
from components.model.tflite_flags import by_name, has_fixed_shapes, keeps_state, most_examples, returns_each_step
from components.ranges.affine import Array, dequantize, quantize

logger = logging.getLogger(__name__)


class TFLiteModel:
    """A TFLite file on this machine's TFLite runtime with its default delegate (XNNPACK).

    Examples run in batches if a batch returns the same as single examples. This is checked once, when the model is
    loaded. If outputs are integers, they must be equal bit for bit. A model that keeps state between invocations runs
    one example (one complete sequence) at a time, from a reset state.

    A streaming model (`components.model.streaming`) runs over complete sequences, like a model of the complete
    sequence.

    Attributes:
        each_step: Whether a streaming model returns its output after each time step, or only after the last.

    Args:
        content: The file. It must be complete: the runtime verifies nothing, and damaged bytes can crash the process.
        num_threads: Threads of the runtime.

    Raises:
        ModelError: The runtime rejects the file.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        self._content, self._threads = content, num_threads
        self._loaded: dict[str, Array] = {}
        self._start()
        self.stateful = keeps_state(content)
        self.each_step = self.streaming and returns_each_step(content)
        self._step = most_examples(content)
        self.batched = not (self.stateful or has_fixed_shapes(content)) and self._batches_soundly()

    def _start(self) -> None:
        import tensorflow as tf

        try:
            self._interpreter = tf.lite.Interpreter(model_content=self._content, num_threads=self._threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _rejected(error) from error
        self._inputs = by_name(self._interpreter, "inputs")
        self._outputs = by_name(self._interpreter, "outputs")
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
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Output -> shape for one example, batch included, without states."""
        return {name: tuple(map(int, self._outputs[name]["shape"])) for name in self.output_names}

    @property
    def tensor_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of all inputs and outputs, including states, in the order of the file."""
        return tuple(self._inputs), tuple(self._outputs)

    @property
    def streaming(self) -> bool:
        """Whether the model processes one time step per call."""
        return bool(self._pairs)

    def zero_states(self, batch: int) -> dict[str, Array]:
        """State input -> its raw tensor values before a sequence, [batch, ...]."""
        return {
            taken: zero_state(batch, detail["shape"][1:], detail["dtype"], detail["quantization"][1])
            for (taken, detail), _ in self.state_details()
        }

    def state_details(self) -> list[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]]:
        """Name and runtime details of each state, as input and as output."""
        return [((a, self._inputs[a]), (b, self._outputs[b])) for a, b in self._pairs.items()]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run N examples.

        Args:
            inputs: Input name -> array [N, ...] in real values. "" names the only input of a model.

        Returns:
            Output name -> array [N, ...]; float32 real values if the output is quantized.

        Raises:
            DataError: An input is missing, unexpected, or of the wrong shape or type, or a quantized input has a NaN.
            ModelError: The runtime fails.
        """
        return self.to_real(self.predict_tensors(self.to_tensors(inputs)))

    def to_real(self, raw: Mapping[str, Array]) -> dict[str, Array]:
        """The real values of raw output tensors, by output."""
        return {name: self._to_real(self._outputs[name], values) for name, values in raw.items()}

    def to_tensors(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs of `predict` as raw tensor values, in the order of the file.

        Raises:
            DataError: See `predict`.
        """
        named = self._match(inputs)
        return {name: self.to_raw(name, named[name]) for name in self.input_names}

    def predict_tensors(self, raw: Mapping[str, Array]) -> dict[str, Array]:
        """Run N examples that `to_tensors` returned, and return raw output tensors in the order of the file.

        Raises:
            ModelError: The runtime fails.
        """
        run = self._invoke_sequence if self.streaming else self._invoke
        parts = [run(part) for part in self._batches(raw)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.output_names}

    def _batches(self, raw: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        count = len(next(iter(raw.values())))
        # Batches have one size, because a change takes time.
        step = math.ceil(count / math.ceil(count / self._step)) if self.batched and count else 1
        for start in range(0, count, step):
            yield {name: values[start : start + step] for name, values in raw.items()}

    def output_index(self, name: str) -> int:
        """The index of the output's tensor in the file's main subgraph."""
        return int(self._outputs[name]["index"])

    def output_scale(self, name: str) -> float | None:
        """The scale of a quantized output; None if it is not quantized."""
        return float(self._outputs[name]["quantization"][0]) or None

    def output_type(self, name: str) -> np.dtype[Any]:
        """The type of an output's raw tensor."""
        return np.dtype(self._outputs[name]["dtype"])

    def quantization(self, kind: str, name: str) -> tuple[float, int]:
        """Scale and zero point of an `input` or `output`; the scale is 0 if it is not quantized."""
        scale, zero_point = (self._inputs if kind == "input" else self._outputs)[name]["quantization"]
        return float(scale), int(zero_point)

    def trace(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """State input of a streaming model -> the state after each time step [N, time, ...], in real values."""
        parts = [self._drive(part) for part in self._batches(self.to_tensors(inputs))]
        states = {
            given: np.concatenate([np.stack([now[given] for now in part], axis=1) for part in parts])
            for given in self._pairs.values()
        }
        return {taken: self._to_real(self._outputs[given], states[given]) for taken, given in self._pairs.items()}

    def invoke_once(self) -> None:
        """Run the current input tensors once, at batch 1, from a reset state. Benchmarks time this call.

        A streaming model runs the complete sequence of `load_example`.
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
        """Load one example, arrays [1, ...] as for `predict`, into the input tensors for `invoke_once`."""
        raw = self.to_tensors(inputs)
        self._resize(1)
        if self.streaming:
            self._loaded = raw
            return
        for name, values in raw.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], values)

    def _drive(self, raw: Mapping[str, Array]) -> list[Mapping[str, Array]]:
        """The outputs of a streaming model after each time step, starting from zero states."""
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
        """The raw tensor values for real input values [N, ...], or [N, time, ...] for a streaming model."""
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
        """Whether a batch returns the same as single examples; a Reshape to a constant [1, n] prevents it."""
        random = np.random.default_rng(0)
        probe = {
            name: random_values(detail, [PROBES, *detail["shape"][1:]], random) for name, detail in self._inputs.items()
        }
        alone = [self._invoke({name: values[i : i + 1] for name, values in probe.items()}) for i in range(PROBES)]
        try:
            together = self._invoke(probe)
        except ModelError:
            together = None
        if together is None or not all(
            same_outputs(np.concatenate([one[name] for one in alone]), together[name]) for name in self._outputs
        ):
            logger.info("This model does not support batches, so its examples run one by one.")
            # After a failed resize, another resize of the same interpreter can kill the process.
            self._start()
            return False
        return True


def _rejected(error: Exception) -> ModelError:
    return ModelError(
        f"the TFLite runtime rejects the file: {str(error).strip()}",
        where="TFLite file",
        remedy="try another scheme, or replace the operator in the message; convert a damaged file again",
    )
