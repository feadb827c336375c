"""What the step `qat` accepts. For errors with their place in the file, see tests/pipelines/file/test_steps.py."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from components.spec.steps.qat import (
    ActivationQuantization,
    CustomQuantizer,
    Histogram,
    LastValue,
    MovingAverage,
    QatStep,
    WeightQuantization,
)


def step(**said):
    return QatStep.model_validate({"kind": "qat", "epochs": 3, **said})


def refused(**said):
    with pytest.raises(ValidationError) as caught:
        step(**said)
    return str(caught.value)


def test_step_trains_the_whole_model_with_moving_averages_by_default():
    plain = step()
    assert (plain.layers, plain.except_layers, plain.configs, plain.scheme) == ((), (), (), None)
    assert plain.activations == ActivationQuantization(symmetric=False, quantizer=MovingAverage(decay=0.95))
    assert plain.weights == WeightQuantization(bits=None, granularity=None, quantizer=None)
    assert (plain.delay_activations, plain.freeze_batch_norm) == (0, None)
    assert (plain.learning_rate, plain.batch_size, plain.seed) == (1e-4, 32, 0)


@pytest.mark.parametrize(
    ("short", "wanted"),
    [
        ("moving_average", MovingAverage()),
        ("last_value", LastValue()),
        ("histogram", Histogram(percentile=99.9, bins=2048)),
        ({"kind": "histogram", "percentile": 99, "bins": 64}, Histogram(percentile=99.0, bins=64)),
        ("levels:Clipped", CustomQuantizer(object="levels:Clipped")),
    ],
)
def test_quantizer_is_named_in_short_or_in_full(short, wanted):
    assert step(activations={"quantizer": short}).activations.quantizer == wanted


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"weights": {"bits": 2}}, "Input should be 4 or 8"),
        ({"weights": {"bits": 16}}, "Input should be 4 or 8"),
        ({"configs": [{"layers": ["a"], "weights": {"bits": 3}}]}, "Input should be 4 or 8"),
        ({"weights": {"granularity": "per_row"}}, "'per_channel' or 'per_tensor'"),
        ({"weights": {"quantizer": "histogram"}}, "object"),
        ({"weights": "none"}, "WeightQuantization"),
        ({"activations": {"bits": 8}}, "Extra inputs are not permitted"),
        ({"activations": {"quantizer": {"kind": "moving_average", "decay": 1}}}, "less than 1"),
        ({"activations": {"quantizer": {"kind": "histogram", "bins": 32}}}, "greater than or equal to 64"),
        ({"activations": {"quantizer": {"kind": "histogram", "percentile": 101}}}, "less than or equal to 100"),
        ({"activations": {"quantizer": "levels:"}}, "should match pattern"),
        ({"configs": [{"layers": ["a"]}]}, "has no settings for these layers: set weights, activations, or config"),
        ({"configs": [{"layers": [], "weights": "none"}]}, "at least 1 item"),
        ({"configs": [{"layers": ["a"], "weights": "none", "activations": "none"}]}, "in the step's `except` instead"),
        ({"configs": [{"layers": ["a"], "config": "a:B", "weights": "none"}]}, "a custom config defines everything"),
        ({"configs": [{"layers": ["a"], "config": "a.b"}]}, "should match pattern"),
        ({"layers": [""]}, "at least 1 character"),
        ({"scheme": "a:B", "activations": {"symmetric": True}}, "a custom scheme defines everything"),
        ({"scheme": "a:B", "configs": [{"layers": ["a"], "weights": "none"}]}, "a custom scheme defines everything"),
        ({"delay_activations": 3}, "delay_activations (3) is not below epochs (3)"),
        ({"delay_activations": -1}, "greater than or equal to 0"),
        ({"freeze_batch_norm": -1}, "greater than or equal to 0"),
        ({"except_layers": ["a"]}, "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(said, message):
    assert message in refused(**said)


def test_scheme_of_ones_own_may_choose_layers():
    assert step(scheme="a:B", layers=["x*"], **{"except": ["xy"]}).scheme == "a:B"


def test_layers_left_out_are_called_except_in_files_and_come_back():
    said = step(**{"except": ["head", "block_*"]})
    assert said.except_layers == ("head", "block_*")
    written = said.model_dump_json()
    assert '"except":["head","block_*"]' in written and "except_layers" not in written
    assert QatStep.model_validate_json(written) == said


@pytest.mark.parametrize(
    "said",
    [
        {"activations": {"quantizer": {"kind": "histogram", "percentile": 99}}, "weights": {"bits": 4}},
        {"configs": [{"layers": ["a"], "weights": "none"}, {"layers": ["b"], "config": "a:B"}]},
        {"learning_rate": [{"kind": "cosine", "epochs": 3, "start": 0.1, "end": 0.01}], "early_stopping": {}},
    ],
)
def test_step_comes_back_from_a_component_parameter(said):
    assert QatStep.model_validate_json(step(**said).model_dump_json()) == step(**said)


def test_references_are_all_objects_of_the_tasks_once_each():
    said = step(
        weights={"quantizer": "own:Weights"},
        activations={"quantizer": "own:Clip"},
        configs=[
            {"layers": ["a"], "config": "own:Config"},
            {"layers": ["b"], "weights": "none", "activations": {"quantizer": "own:Clip"}},
            {"layers": ["c"], "weights": {"quantizer": "own:Others"}, "activations": "none"},
        ],
    )
    assert said.references() == ("own:Config", "own:Weights", "own:Clip", "own:Others")
    assert step(scheme="own:Scheme").references() == ("own:Scheme",)
    assert step(activations={"quantizer": "histogram"}).references() == ()


def test_spec_needs_no_tensorflow():
    program = "import sys, components.spec.steps.qat; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
