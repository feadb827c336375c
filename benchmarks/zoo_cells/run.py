"""Runs the recipes on one model with the functions that the pipeline's nodes call, without TFX."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.zoo_cells.judge import (
    Arrays,
    Cell,
    PlainFile,
    Verdict,
    error_of,
    judge_file,
    judge_refusal,
    same_as_loop,
)
from benchmarks.zoo_cells.plain import loop, plain_import, plain_script
from benchmarks.zoo_cells.recipes import RECIPES
from benchmarks.zoo_cells.task import LABEL, write_examples
from benchmarks.zoo_models import ZooModel
from components.baseline.pretrained import import_model
from components.baseline.source import recognize
from components.cluster.training import train_clustered
from components.convert.job import MODEL_FILE, ConversionRequest, run
from components.core.errors import EdgemillError
from components.data.examples import ExampleDecoder
from components.data.task import load_task
from components.facts.artifact_paths import CALIBRATION_SPLIT, OUTCOME_FILE, SERVING_FOLDER
from components.facts.conversion import Converted, outcome_of
from components.facts.training import TrainingReport
from components.fine_tune.step import StepInputs
from components.model.reference.float_model import load_float, tflite_path
from components.model.saved_model import load_serving
from components.model.tflite_runtime import TFLiteModel
from components.prune.training import train_pruned
from components.quantize.training import train_quantized
from components.spec.baseline import PretrainedBaseline
from components.spec.recipe import Recipe
from components.spec.steps.fine_tuning import WeightInvariants
from pipelines.checks.model_check import checked_model
from pipelines.checks.recipe_check import check_recipes
from pipelines.file.spec import PipelineSpec

Report = Callable[[Cell], None]
_TASK = """from benchmarks.zoo_cells.task import ZooTask

TASK = ZooTask({inputs!r}, {targets!r}, {loss!r})
"""


class ZooRun:
    """One model in a folder.

    Args:
        entry: The model.
        recipes: Names of the recipes to run.
        folder: An empty folder.
        report: Takes each cell as soon as it is judged.
        enter: Takes the recipe, the current stage, and why the recipe is refused, for the parent process.
    """

    def __init__(
        self,
        entry: ZooModel,
        recipes: Sequence[str],
        folder: Path,
        report: Report,
        enter: Callable[[str, str, str], None],
    ) -> None:
        self._entry, self._recipes, self._folder = entry, recipes, folder
        self._report, self._enter = report, enter
        self._artifact = folder / "baseline"
        self._serving = self._artifact / SERVING_FOLDER
        # Both runs of a model share a process, which imports each module once.
        self._module = f"{type(self).__name__.lower()}_task_{entry.name}"

    def run(self) -> None:
        """Judge each recipe."""
        self._enter("", "building and saving the model", "")
        section = self._entry.save(self._folder)
        baseline = PretrainedBaseline.model_validate(section)
        self._enter("", "importing the model", "")
        try:
            import_model(baseline, self._artifact)
        except EdgemillError as error:
            self._enter("", "importing the model by a plain script", "")
            verdict, reason = judge_refusal(f"the model: {error}", lambda: plain_import(Path(baseline.path)))
            for name in self._recipes:
                self._report(Cell(self._entry.name, name, verdict, " ".join(reason.split())))
            return
        self._write_examples()
        trains = recognize(Path(baseline.path), baseline.signature).trains
        recipes = [Recipe.model_validate({"name": name, **RECIPES[name]}) for name in self._recipes]
        for recipe in recipes:
            if recipe.steps and not trains:
                self._report(Cell(self._entry.name, recipe.name, "none", "the file has no layers"))
        recipes = [recipe for recipe in recipes if trains or not recipe.steps]
        refused = self._check(section, recipes)
        for recipe in recipes:
            began = time.perf_counter()
            cell = self._judge(recipe, refused.get(recipe.name, []))
            self._report(Cell(**{**cell.as_json(), "seconds": round(time.perf_counter() - began, 1)}))

    def _write_examples(self) -> None:
        inputs = self._random_inputs()
        self.float_model = load_float(self._serving)
        self._inputs, self._wanted = inputs, self.float_model.run(inputs)
        random = np.random.default_rng(3)
        # The model learns its own outputs with some noise.
        targets = {
            name: values + random.normal(0, 0.01, values.shape).astype(values.dtype)
            if values.dtype.kind == "f"
            else values
            for name, values in self._wanted.items()
        }
        self._write_task(inputs, targets, len(next(iter(inputs.values()))), "mse")

    def _write_task(self, inputs: Arrays, targets: Arrays, calibration: int, loss: str) -> None:
        """Write examples for training, the first of them for calibration, and the task that reads them."""
        write_examples(self._folder / "train.gz", inputs, targets)
        few = [{name: values[:calibration] for name, values in named.items()} for named in (inputs, targets)]
        write_examples(self._folder / f"calibration/Split-{CALIBRATION_SPLIT}/data.gz", *few)
        features = {
            kind: {name: (list(values.shape[1:]), values.dtype.name) for name, values in named.items()}
            for kind, named in (("inputs", inputs), ("targets", targets))
        }
        (self._folder / f"{self._module}.py").write_text(_TASK.format(**features, loss=loss))
        sys.path.insert(0, str(self._folder))

    def _random_inputs(self) -> dict[str, npt.NDArray[Any]]:
        """Input -> random array [N, ...] of the model's type."""
        if (path := tflite_path(self._serving)) is not None:
            runner = tf.lite.Interpreter(str(path)).get_signature_runner()
            kinds = {name: (one["shape"][1:], one["dtype"]) for name, one in runner.get_input_details().items()}
        else:
            _held, signature = load_serving(self._serving)
            specs = signature.structured_input_signature[1]
            kinds = {name: (spec.shape[1:], spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
        random = np.random.default_rng(5)
        found = {}
        for name, (sizes, kind) in sorted(kinds.items()):
            shape, high = (self._entry.examples, *map(int, sizes)), self._entry.high
            if np.dtype(kind).kind == "f":
                values = random.normal(0.2, 1.0, shape) if high is None else random.uniform(0, high, shape)
            else:
                values = random.integers(0, int(high or 2), shape)
            found[name] = values.astype(kind)
        return found

    def _check(self, section: Mapping[str, Any], recipes: Sequence[Recipe]) -> dict[str, list[EdgemillError]]:
        """The findings of `edgemill validate --deep`: recipe -> why it can't work."""
        self._enter("", "checking the recipes", "")
        spec = PipelineSpec.model_validate(
            {
                "name": "zoo",
                "task": f"{self._module}:TASK",
                "examples": {
                    "kind": "tfrecord", "path": str(self._folder), "label": LABEL,
                    "splits": {"kind": "declared", "patterns": {"train": "train*", "eval": "eval*"}},
                },
                "baseline": section,
                "calibrate": {"split": "train", "samples": self._entry.examples},
                "recipes": [recipe.model_dump(mode="json", by_alias=True) for recipe in recipes],
                "evaluate": {"metrics": [{"name": "error", "class_name": "MeanSquaredError"}]},
                "devices": ["phone_cpu"],
                "gate": {"metrics": [{"name": "error", "at_most": 1.0}]},
                "push": {"kind": "local", "root": str(self._folder / "registry")},
            }
        )  # fmt: skip
        task = load_task(spec.task)
        few = {name: values[:4] for name, values in self._inputs.items()}
        return check_recipes(tuple(recipes), task, checked_model(spec, task, few)).refused

    def _judge(self, recipe: Recipe, refused: Sequence[EdgemillError]) -> Cell:
        name = recipe.name

        def cell(verdict: Verdict, reason: str, error: float | None = None, size: int = 0) -> Cell:
            return Cell(self._entry.name, name, verdict, " ".join(reason.split()), error, size)

        said = "; ".join(dict.fromkeys(map(str, refused)))
        plain = None if recipe.steps or tflite_path(self._serving) else lambda: self._plain(name, said)
        if refused:
            return cell(*judge_refusal(said, plain))
        try:
            artifact, report = self._artifact, None
            if recipe.steps:
                self._enter(name, "training", "")
                artifact, report = self._trained(recipe)
            self._enter(name, "converting", "")
            content = self._converted(recipe, artifact, report)
            self._enter(name, "comparing", "")
            wanted = self._wanted if report is None else load_float(artifact / SERVING_FOLDER).run(self._inputs)
            model = TFLiteModel(content)
            found = model.predict(self._inputs)
            looped, scales = loop(content, self._inputs)
        except _FailedError as error:
            return cell("defect", str(error))
        except Exception as error:
            return cell("defect", f"{type(error).__name__}: {error}")
        error = error_of(wanted, found)
        if name == "qat":  # The rule: never more than half a point below plain int8.
            plain = lambda: self._plain("int8", said)  # noqa: E731
        verdict, reason = judge_file(name, error, same_as_loop(found, looped, scales), plain)
        return cell(verdict, reason, error, len(content))

    def _plain(self, recipe: str, refusal: str) -> PlainFile:
        self._enter(recipe, "a plain script", refusal)
        return plain_script(self._serving, recipe, self._inputs, self._wanted)

    def _trained(self, recipe: Recipe) -> tuple[Path, TrainingReport]:
        folder = self._folder / recipe.name
        inputs = StepInputs(
            source=self._artifact,
            folder=folder,
            name=recipe.name,
            task=f"{self._module}:TASK",
            label=LABEL,
            decoder=ExampleDecoder(f"{self._module}:TASK", None),
            files=[str(self._folder / "train.gz")],
        )
        (step,) = recipe.steps
        match step.kind:
            case "prune":
                report = train_pruned(inputs, step)
            case "cluster":
                report = train_clustered(inputs, step, WeightInvariants())
            case "qat":
                report = train_quantized(inputs, step, recipe.scheme, recurrent=recipe.recurrent)
        return folder, report

    def _converted(self, recipe: Recipe, artifact: Path, report: TrainingReport | None) -> bytes:
        request = ConversionRequest(
            name=recipe.name,
            scheme=recipe.scheme,
            recurrent=recipe.recurrent,
            saved_model=str(artifact / SERVING_FOLDER),
            calibration=str(self._folder / "calibration") if recipe.needs_calibration else None,
            task=f"{self._module}:TASK",
            export=report.export if report is not None else "plain",
            trained=report.ranges if report is not None else (),
            sparse=report.sparsity_target if report is not None else None,
        )
        folder = self._folder / f"{recipe.name}_file"
        folder.mkdir()
        run(request, folder)
        outcome = outcome_of((folder / OUTCOME_FILE).read_bytes())
        if not isinstance(outcome, Converted):
            raise _FailedError(f"the conversion fails after the checks: {outcome.cause}: {outcome.message}")
        return (folder / MODEL_FILE).read_bytes()


class _FailedError(Exception):
    """Report a failed conversion, with Edgemill's message."""
