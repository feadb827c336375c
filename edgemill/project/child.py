"""The main program of a child process that loads a model and tries it on examples."""

from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.baseline.source import recognize
from components.core.child import end_with_parent
from components.core.errors import EdgemillError, ModelError, some_of
from components.core.values import Watch
from components.spec.baseline import PretrainedBaseline
from edgemill.project.found import Data, Options
from edgemill.project.inputs import ModelInput
from edgemill.project.objective import Model
from edgemill.project.plan import Plan, plan

JOB_FILE, PLAN_FILE, ERROR_FILE = "job.json", "plan.json", "error.pickle"


STAGES = 4


class Job(BaseModel):
    """What the child does.

    Attributes:
        model: Path of the model.
        trust_code: Whether to load a model that holds Python code.
        data: The data.
        options: What the user says.
    """

    model: str
    trust_code: bool
    data: Data
    options: Options


def main(folder: Path) -> None:
    """Read `JOB_FILE`, and write `PLAN_FILE`, or `ERROR_FILE` with an EdgemillError.

    Prints a JSON list for each stage: how many of how many stages are done, and what is being done.
    """
    end_with_parent()
    warnings.simplefilter("ignore")
    # What libraries and the model print must not look like a stage.
    stages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def watch(done: int, total: int, what: str) -> None:
        print(json.dumps([done, total, what]), file=stages, flush=True)

    try:
        found = _planned(Job.model_validate_json((folder / JOB_FILE).read_text()), watch)
    except EdgemillError as error:
        (folder / ERROR_FILE).write_bytes(pickle.dumps(error))
        return
    (folder / PLAN_FILE).write_text(found.model_dump_json())


def _planned(job: Job, watch: Watch) -> Plan:
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
    if len(built.shapes) != 1:
        raise ModelError(
            "only models with one output get a ready-made task",
            where=job.model,
            bound="one output",
            measured=some_of(built.shapes),
            remedy="write a pipeline file and a task with `targets`: see docs/outputs.md; pipelines/detector/ is an "
            "example",
        )
    [(output, numbers)] = built.shapes.items()
    sizes = [size for size in tuple(numbers)[1:] if size != 1]
    if len(sizes) > 1 or None in sizes:
        raise ModelError(
            "only models that return one number, or one for each class, get a ready-made task",
            where=f"{job.model}, output {output}",
            bound="a shape such as [batch, classes]",
            measured=str(numbers),
            remedy="write a pipeline file and a task; pipelines/segmentation/ is an example",
        )
    model = Model(inputs=inputs, outputs=sizes[0] if sizes else 1, output=output)

    def run(values: dict[str, Any]) -> Any:
        watch(3, STAGES, "trying the model on the examples")
        [result] = built.run(values if len(values) > 1 else next(iter(values.values()))).values()
        return result

    watch(2, STAGES, "reading examples")
    found = plan(job.data, model, job.options, run)
    return found.model_copy(update={"input_shapes": baseline.input_shapes})


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
