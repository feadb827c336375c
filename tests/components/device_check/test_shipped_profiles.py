"""Each shipped profile refuses real files that violate one of its clauses, as the tools and the file itself show it.

`tests/components/gate/test_shipped_profiles.py` covers clauses that no small file violates, on facts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from components.convert.pins import with_pins
from components.device_check.tflm import measure_with_tflm
from components.device_check.vela import measure_with_vela
from components.facts.device import TflmFacts, VelaFacts
from components.facts.evaluation import CandidateReport
from components.model.tflite_file import inspect_model
from components.spec.devices.device_tools import TflmEvaluator
from components.upstream.tflite.objects import pack, schema, unpack
from tests.components.device_check.conftest import convert, weight
from tests.components.gate.test_shipped_profiles import PROFILES, SOUND, judged, on_tflm, other_scheme
from tests.components.gate.test_tools import vela

NPU = [name for name, profile in PROFILES.items() if profile.vela is not None]
MICRO = [name for name, profile in PROFILES.items() if profile.tflm is not None]
LAYERS = 68
CONV = schema.BuiltinOperator.CONV_2D


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = unpack(content)
    change(model)
    return pack(model)


def rename(code: int, custom: str | None = None) -> Callable[[Any], None]:
    """Give the reshape another code."""

    def change(model: Any) -> None:
        (one,) = (each for each in model.operatorCodes if each.builtinCode == schema.BuiltinOperator.RESHAPE)
        one.builtinCode, one.deprecatedBuiltinCode, one.customCode = code, min(code, 127), custom
        model.subgraphs[0].operators = [
            operator for operator in model.subgraphs[0].operators if _clear(operator, model.operatorCodes.index(one))
        ]

    return change


def _clear(operator: Any, index: int) -> bool:
    if operator.opcodeIndex == index:
        operator.builtinOptions, operator.builtinOptionsType = None, 0
    return True


def newer(limit: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        (one,) = (each for each in model.operatorCodes if each.builtinCode == CONV)
        one.version = limit + 1

    return change


def sparse(model: Any) -> None:
    graph = model.subgraphs[0]
    (conv,) = (each for each in graph.operators if model.operatorCodes[each.opcodeIndex].builtinCode == CONV)
    graph.tensors[conv.inputs[1]].sparsity = schema.SparsityParametersT()


def longer(size: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        note, buffer = schema.MetadataT(), schema.BufferT()
        buffer.data = np.zeros(size, np.uint8)
        model.buffers.append(buffer)
        note.name, note.buffer = "padding", len(model.buffers) - 1
        model.metadata = [*(model.metadata or ()), note]

    return change


def of(content: bytes) -> CandidateReport:
    """The sound candidate with the facts of a file."""
    outcome = SOUND.outcome.model_copy(update={"inspection": inspect_model(content)})
    return SOUND.model_copy(update={"outcome": outcome})


def fitted(name: str, content: bytes) -> bytes:
    """A file with what the profile pins."""
    profile = PROFILES[name]
    return with_pins(content, profile.pins) if profile.pins else content


def reasons(name: str, facts: CandidateReport, on_vela: Any = None, on_micro: Any = None) -> list[str]:
    found = judged(PROFILES[name], facts, on_vela or vela(), on_micro or on_tflm())
    return [check.quantity for check in found.candidates[0].reasons]


@pytest.mark.parametrize("name", PROFILES)
def test_each_static_clause_refuses_a_file_that_violates_it(name, files):
    profile, sound = PROFILES[name], fitted(name, files["int8"])
    assert reasons(name, of(sound)) == []
    violations = {"scheme": of(sound).model_copy(
        update={"recipe": SOUND.recipe.model_copy(update={"scheme": other_scheme(profile)})}
    )}  # fmt: skip
    if profile.max_file_bytes is not None:
        violations["file bytes"] = of(changed(sound, longer(profile.max_file_bytes)))
    if profile.pins:
        violations["quantization of input 0"] = of(files["int8"])
    elif profile.integer_only:
        violations["float tensors"] = of(files["float"])
    if not profile.sparse_weights:
        violations["sparse-encoded weights"] = of(changed(sound, sparse))
    if (limit := profile.operator_versions.get("CONV_2D")) is not None:
        violations["operator versions"] = of(changed(sound, newer(limit)))
        # The limit itself is met.
        assert reasons(name, of(changed(sound, newer(limit - 1)))) == []
    found = {quantity: reasons(name, facts) for quantity, facts in violations.items()}
    if profile.operators is not None:
        builtin, custom = rename(schema.BuiltinOperator.DELEGATE), rename(schema.BuiltinOperator.CUSTOM, "Mine")
        assert reasons(name, of(changed(sound, builtin))) == reasons(name, of(changed(sound, custom))) == ["operators"]
    assert found == {quantity: [quantity] for quantity in found}
    assert {"scheme", "file bytes"} <= set(found)


def test_edge_tpu_refuses_the_reciprocal_root_of_integers_which_its_compiler_does(examples):
    import tensorflow as tf

    content = convert(lambda x: tf.math.rsqrt(tf.abs(x) + 1.0), (8,), examples["vector"])
    assert ("RSQRT", 2) in {(use.name, use.version) for use in inspect_model(content).operators}
    assert reasons("edge_tpu", of(content)) == ["operators", "operator versions"]


@pytest.fixture(scope="module")
def wide() -> bytes:
    """A file whose input alone is larger than the memory of the devices."""
    import tensorflow as tf

    sample = np.random.default_rng(1).random((1, 1024, 1024, 1), np.float32)
    return convert(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), (1024, 1024, 1), sample)


@pytest.mark.parametrize("name", NPU)
def test_bounds_of_the_npu_refuse_files_by_what_vela_says(name, files, wide):
    profile = PROFILES[name]

    def under_vela(content: bytes) -> Any:
        operators = sum(use.count for use in inspect_model(content).operators)
        return measure_with_vela(content, operators, profile.vela)

    assert reasons(name, of(files["int8"]), under_vela(files["int8"])) == []
    assert reasons(name, SOUND, under_vela(files["float_lstm"])) == ["Vela"]
    fallen = under_vela(files["cumsum"])
    assert isinstance(fallen, VelaFacts) and fallen.cpu_operators
    assert reasons(name, SOUND, fallen) == ["operators on the CPU"]
    if name == "ethos_u55":
        assert reasons(name, SOUND, under_vela(wide)) == ["SRAM bytes"]


@pytest.fixture(scope="module")
def slow() -> bytes:
    """Many convolutions with the same weights."""
    import tensorflow as tf

    class Slow(tf.Module):
        kernel = weight(np.random.default_rng(2), 3, 3, 64, 64)

        def __call__(self, x):
            for _ in range(LAYERS):
                x = tf.nn.relu(tf.nn.conv2d(x, self.kernel / 8, 1, "SAME"))
            return x

    model = Slow()
    return convert(model, (60, 60, 64), np.random.default_rng(3).random((1, 60, 60, 64), np.float32))


@pytest.mark.parametrize("name", NPU)
def test_bound_of_cycles_refuses_a_slow_file(name, slow):
    found = measure_with_vela(slow, LAYERS, PROFILES[name].vela)
    assert isinstance(found, VelaFacts)
    assert reasons(name, SOUND, found) == ["NPU cycles"]


@pytest.mark.parametrize("name", MICRO)
def test_bounds_of_microcontrollers_refuse_files_by_what_tensorflow_lite_micro_says(name, files, examples, wide):
    evaluator = TflmEvaluator(examples=2)
    whole = {"slices": on_tflm().slices}
    sound = measure_with_tflm(fitted(name, files["int8"]), {"x": examples["image"][:2]}, evaluator)
    assert isinstance(sound, TflmFacts)
    assert reasons(name, of(fitted(name, files["int8"])), on_micro=sound.model_copy(update=whole)) == []
    refused = measure_with_tflm(files["dynamic"], {"x": examples["image"][:2]}, evaluator)
    assert reasons(name, of(fitted(name, files["int8"])), on_micro=refused) == ["TensorFlow Lite Micro"]
    large = measure_with_tflm(wide, {"x": np.zeros((1, 1024, 1024, 1), np.float32)}, evaluator)
    assert isinstance(large, TflmFacts)
    assert reasons(name, of(fitted(name, files["int8"])), on_micro=large.model_copy(update=whole)) == ["arena bytes"]
