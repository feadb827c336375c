"""The bundle for microcontrollers: compiled with g++, compared with the model, and run by TensorFlow Lite Micro."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.core.files import sha256_of_bytes
from components.device_check.tflm import measure_with_tflm
from components.facts.device import GoldenTensor, TflmFacts
from components.model.tflite_file import inspect_model
from components.push.microcontroller import bundle_of, resolver_method
from components.spec.devices.device_tools import TflmEvaluator
from tests.components.device_check.conftest import convert
from tests.components.push.firmware import firmware, methods

OPERATORS = ["CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"]


@pytest.fixture(scope="module")
def model() -> bytes:
    import tensorflow as tf

    random = np.random.default_rng(4)
    kernel = tf.Variable(random.normal(size=(3, 3, 1, 8), scale=0.3).astype(np.float32))
    weights = tf.Variable(random.normal(size=(288, 4), scale=0.3).astype(np.float32))

    class Image(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.weights = kernel, weights

        def __call__(self, x: object) -> object:
            hidden = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "VALID"))
            return tf.nn.softmax(tf.matmul(tf.reshape(hidden, [-1, 288]), self.weights))

    sample = random.normal(size=(24, 8, 8, 1)).astype(np.float32)
    return bytes(convert(Image(), (8, 8, 1), sample))


@pytest.fixture(scope="module")
def facts(model: bytes) -> TflmFacts:
    examples = np.random.default_rng(3).normal(size=(2, 8, 8, 1)).astype(np.float32)
    found = measure_with_tflm(model, {"x": examples}, TflmEvaluator())
    assert isinstance(found, TflmFacts)
    return TflmFacts.model_validate_json(found.model_dump_json())


def operators_of(model: bytes) -> list[str]:
    return [use.name for use in inspect_model(model).operators]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_bundle_compiles_and_holds_the_model_its_operators_and_the_example(
    model: bytes, facts: TflmFacts, tmp_path: Path
) -> None:
    built = firmware(bundle_of(model, operators_of(model), facts), tmp_path)
    assert built.added == ["AddConv2D", "AddFullyConnected", "AddReshape", "AddSoftmax"]
    assert (built.operators, built.arena_bytes, built.sha256) == (4, facts.arena_bytes, sha256_of_bytes(model))
    (given,), (returned,) = facts.golden_inputs, facts.golden_outputs
    assert built.content == model + given.values().tobytes() + returned.values().tobytes()


def test_resolver_lists_exactly_the_operators_of_the_file(model: bytes, facts: TflmFacts) -> None:
    assert sorted(operators_of(model)) == OPERATORS
    resolver = bundle_of(model, operators_of(model), facts)["microcontroller/resolver.h"].decode()
    assert re.findall(r"resolver\.(\w+)\(\)", resolver) == [resolver_method(name) for name in OPERATORS]


def test_golden_outputs_are_reproduced_by_tensorflow_lite_micro(model: bytes, facts: TflmFacts) -> None:
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=facts.arena_bytes)
    for index, tensor in enumerate(facts.golden_inputs):
        interpreter.set_input(tensor.values(), index)
    interpreter.invoke()
    (expected,) = facts.golden_outputs
    assert expected.values().dtype == np.int8 and len(set(expected.values().reshape(-1).tolist())) > 1
    np.testing.assert_array_equal(interpreter.get_output(0), expected.values())


def test_every_file_names_the_model_and_is_the_same_again(model: bytes, facts: TflmFacts) -> None:
    bundle = bundle_of(model, operators_of(model), facts)
    assert sorted(bundle) == [f"microcontroller/{name}" for name in ("golden.h", "model.cc", "model.h", "resolver.h")]
    assert all(sha256_of_bytes(model).encode() in content for content in bundle.values())
    assert bundle == bundle_of(model, operators_of(model)[::-1], facts)


def test_operators_of_the_firmware_itself_give_no_bundle(facts: TflmFacts) -> None:
    assert bundle_of(b"model", ["ADD", "CUSTOM:Mine"], facts) == {}


def test_methods_are_those_of_the_resolver() -> None:
    found = methods()
    assert len(found) > 90
    assert {operator: resolver_method(operator) for operator in found} == found


def test_custom_operators_of_tensorflow_lite_micro_have_methods(facts: TflmFacts) -> None:
    bundle = bundle_of(b"model", ["CONV_2D", "CUSTOM:TFLite_Detection_PostProcess", "CUSTOM:ethos-u"], facts)
    resolver = bundle["microcontroller/resolver.h"].decode()
    assert re.findall(r"resolver\.(\w+)\(\)", resolver) == ["AddConv2D", "AddDetectionPostprocess", "AddEthosU"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_extreme_values_survive_in_c(tmp_path: Path) -> None:
    arrays = [np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38]], np.float32)]
    for kind in (np.int8, np.uint8, np.int16, np.int32, np.int64):
        arrays.append(np.array([[np.iinfo(kind).min, 0, np.iinfo(kind).max]], kind))
    arrays.append(np.array([[True, False]]))
    tensors = tuple(GoldenTensor.of("*/ x", one) for one in arrays)
    found = TflmFacts(arena_bytes=16, persistent_bytes=0, non_persistent_bytes=0, examples=1, outputs=(),
                      golden_inputs=tensors, golden_outputs=tensors)  # fmt: skip
    (tmp_path / "golden.h").write_bytes(bundle_of(b"model", ["ADD"], found)["microcontroller/golden.h"])
    names = [f"edgemill::kGolden{what}{index}" for what in ("Input", "Output") for index in range(len(arrays))]
    writes = "".join(f"std::fwrite({name}, 1, sizeof {name}, stdout);" for name in names)
    (tmp_path / "main.cc").write_text(f'#include <cstdio>\n#include "golden.h"\nint main() {{ {writes} }}')
    built = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "main.cc", "-o", "program"]
    subprocess.run(built, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, check=True)
    assert done.stdout == 2 * b"".join(one.tobytes() for one in arrays)


def test_types_that_c_has_no_name_for_leave_the_example_out(facts: TflmFacts) -> None:
    half = GoldenTensor.of("x", np.zeros((1, 2), np.float16))
    assert "microcontroller/golden.h" in bundle_of(b"model", ["ADD"], facts)
    found = bundle_of(b"model", ["ADD"], facts.model_copy(update={"golden_inputs": (half,)}))
    assert sorted(found) == [f"microcontroller/{name}" for name in ("model.cc", "model.h", "resolver.h")]


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "bool"])
def test_tensor_survives_its_description(dtype: str) -> None:
    values = np.array([[0, 1, 1, 0]]).astype(dtype)
    found = GoldenTensor.of("x", values)
    assert found.values().dtype == values.dtype
    np.testing.assert_array_equal(found.values(), values)
    assert json.loads(found.model_dump_json())["shape"] == [1, 4]
