"""The main program of a child process that loads a model and tries it on examples."""

from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from components.baseline.source import recognize
from components.core.child import end_with_parent
from components.core.errors import EdgemillError, ModelError, some_of
from components.core.values import Watch
from components.spec.baseline import PretrainedBaseline
from components.spec.devices.device import DeviceProfile
from edgemill.project.found import Data, Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.output_names import losses_of
from edgemill.project.plan import Plan, plan
from edgemill.project.scales import Scale
from edgemill.project.standardized import LEAST_STEPS, STANDARDIZED, without_standardization
from pipelines.checks.operator_check import lacking_operators, warning_of

if TYPE_CHECKING:
    from pipelines.checks.output_check import Built

JOB_FILE, PLAN_FILE, ERROR_FILE = "job.json", "plan.json", "error.pickle"


STAGES = 4


class Job(BaseModel):
    """The job of the child.

    Attributes:
        model: Path of the model.
        trust_code: Whether to load a model that contains Python code.
        data: The data.
        options: The user's options.
        devices: The devices, whose operators are compared with the model's.
    """

    model: str
    trust_code: bool
    data: Data
    options: Options
    devices: tuple[DeviceProfile, ...] = ()


def main(folder: Path) -> None:
    """Read `JOB_FILE`, and write `PLAN_FILE`, or `ERROR_FILE` with an EdgemillError.

    Prints a JSON list for each stage: the number of finished stages, the number of all stages, and the current
    activity.
    """
    end_with_parent()
    warnings.simplefilter("ignore")
    # Output of libraries and the model must not look like a stage.
    stages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def watch(done: int, total: int, what: str) -> None:
        print(json.dumps([done, total, what]), file=stages, flush=True)

    try:
        found = _planned(Job.model_validate_json((folder / JOB_FILE).read_text()), folder, watch)
    except EdgemillError as error:
        (folder / ERROR_FILE).write_bytes(pickle.dumps(error))
        return
    (folder / PLAN_FILE).write_text(found.model_dump_json())


def _planned(job: Job, folder: Path, watch: Watch) -> Plan:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    watch(0, STAGES, "importing TensorFlow")
    from pipelines.checks.model_check import check_pretrained

    baseline = PretrainedBaseline(kind="pretrained", path=job.model, trust_code=job.trust_code)
    watch(1, STAGES, "loading the model")
    built = check_pretrained(baseline, None)
    inputs = _inputs(baseline, built.model)
    if len(inputs) == 1 and job.options.input_shape:
        shapes = {next(iter(inputs)): job.options.input_shape}
        baseline = baseline.model_copy(update={"input_shapes": shapes})
        built = check_pretrained(baseline, None)
    sizes = {output: _numbers(job.model, output, tuple(shape)) for output, shape in built.shapes.items()}
    output, outputs = next(iter(sizes.items()))
    losses = losses_of(Path(job.model), tuple(sizes))
    model = Model(inputs=inputs, outputs=outputs, output=output, sizes=sizes if len(sizes) > 1 else {}, losses=losses)

    def run(values: dict[str, Any]) -> dict[str, Any]:
        watch(3, STAGES, "trying the model on the examples")
        return built.run(values if len(values) > 1 else next(iter(values.values())))

    watch(2, STAGES, "reading examples")
    found = plan(job.data, model, job.options, run)
    found = _standardized(found, built.model, folder).model_copy(update={"input_shapes": baseline.input_shapes})
    lacking = lacking_operators(_kinds(built), job.devices)
    return found.model_copy(update={"warnings": (*found.warnings, *map(warning_of, lacking, lacking.values()))})


def _numbers(model: str, output: str, shape: tuple[int | None, ...]) -> int:
    """How many numbers an output returns for an example."""
    sizes = [size for size in shape[1:] if size != 1]
    if len(sizes) > 1 or None in sizes:
        raise ModelError(
            "only models that return one number, or one for each class, get a ready-made task",
            where=f"{model}, output {output}",
            bound="a shape such as [batch, classes]",
            measured=str(shape),
            remedy="write a pipeline file and a task; pipelines/segmentation/ is an example",
        )
    return next((size for size in sizes if size is not None), 1)


def _standardized(found: Plan, keras: Any, folder: Path) -> Plan:
    """The same plan, but if int8 would lose columns, the layer that standardizes them moves from the model to the task.

    Without such a layer, the plan gets a warning.
    """
    if not found.coarse:
        return found
    lost = [_lost(name, columns) for name, columns in found.coarse.items()]
    name, moved = next(iter(found.coarse)), None
    if keras is not None and found.range == "raw" and len(lost) == 1:
        moved = without_standardization(keras, name, folder / STANDARDIZED)
    if moved is None:
        remedy = "train the model on standardized columns, and let `task.py` standardize them"
        return found.model_copy(update={"warnings": tuple(f"{each}; {remedy}" for each in lost)})
    scale = Scale("standardized", moved.scale, moved.offset)
    planned = found.inputs[name].model_copy(update={"ranges": (scale,)})
    fact = f"{lost[0]}; so `{STANDARDIZED}` is the model without {moved.layer}, and `task.py` computes that layer"
    return found.model_copy(
        update={
            "inputs": {**found.inputs, name: planned},
            "range": "standardized",
            "standardized": True,
            "facts": (*found.facts, fact),
        }
    )


def _lost(name: str, columns: dict[str, float]) -> str:
    """Describe the columns that int8 loses at an input."""
    steps = ", ".join(f"{column}: {each:.2g}" for column, each in columns.items())
    return (
        f"int8 has one scale for all columns of the input {name}, and the standard deviation of {some_of(columns)} is "
        f"less than {LEAST_STEPS:g} steps of it ({steps})"
    )


def _kinds(built: Built) -> frozenset[str]:
    """The operators of the model's float file; empty if they are unknown."""
    from components.model.tflite_file import inspect_model
    from pipelines.checks.converted.model import ConvertedModel

    if built.model is not None:
        graph = ConvertedModel(built.model).graph
        return frozenset() if graph is None else frozenset(graph.kinds)
    content = built.float_file or built.converted()
    return frozenset() if content is None else frozenset(use.name for use in inspect_model(content).operators)


def _inputs(baseline: PretrainedBaseline, keras: Any) -> dict[str, ModelInput]:
    """The inputs of a model, by name."""
    if keras is not None:
        from components.model.keras_model import input_specs

        specs = input_specs(keras)
    elif recognize(Path(baseline.path), baseline.signature).format == "tflite":
        import tensorflow as tf

        details = tf.lite.Interpreter(model_path=baseline.path).get_input_details()
        return {
            each["name"]: ModelInput(
                shape=tuple(None if size < 0 else int(size) for size in each["shape_signature"][1:]),
                dtype=each["dtype"].__name__,
            )
            for each in details
        }
    else:
        from components.model.saved_model import load_serving

        specs = load_serving(Path(baseline.path), "serving_default")[1].structured_input_signature[1]
    return {
        name: ModelInput(shape=tuple(spec.shape.as_list()[1:]), dtype=spec.dtype.name) for name, spec in specs.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
