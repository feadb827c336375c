"""`edgemill init` and `edgemill optimize`: write a pipeline for a model and its data."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import typer

from components.baseline.source import recognize
from components.core.child import last_lines
from components.core.errors import EdgemillError, ModelError, SpecError, counted
from components.core.files import described
from components.core.values import FrozenModel
from components.spec.devices.device import DeviceProfile
from edgemill.progress import WorkProgress
from edgemill.project.child import ERROR_FILE, JOB_FILE, PLAN_FILE, Job
from edgemill.project.data import recognize_data
from edgemill.project.files import PIPELINE, README, TASK, refuse_existing, write_project
from edgemill.project.found import Data, Options
from edgemill.project.objective import METRICS
from edgemill.project.output_names import with_outputs_of
from edgemill.project.paths import beside
from edgemill.project.plan import Plan
from edgemill.project.questions import answered, can_ask
from edgemill.project.standardized import STANDARDIZED
from edgemill.project.unclear import UnclearError
from edgemill.terminal import terminal
from pipelines.checks.preflight import preflight
from pipelines.file.load import read_devices, shipped_devices
from pipelines.file.user_folders import findable

_DEFAULT_DEVICE = "phone_cpu"
# The beginning of TensorFlow's log lines.
_CHATTER = re.compile(r"\d{4}-\d\d-\d\d .*?: [IW] |[IW]\d{4} |INFO:|WARNING:")


class Written(FrozenModel):
    """The result of `edgemill init`.

    Attributes:
        file: The pipeline file.
        files: All files.
        devices: Entries of `devices` in the pipeline file.
        kind: Kind of the examples.
        classes: Names of the classes, in the order of the model's outputs; empty without names.
        objective: The objective of the model.
        input_range: Name of the range of the input.
        facts: The findings, in sentences.
        warnings: Recommended changes, in sentences.
    """

    file: Path
    files: tuple[Path, ...]
    devices: tuple[str, ...]
    kind: str
    classes: tuple[str, ...]
    objective: str
    input_range: str
    facts: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class CommandLineError(SpecError):
    """Several errors in the model or the data."""

    def __init__(self, errors: Sequence[EdgemillError]) -> None:
        self.errors = tuple(errors)
        super().__init__(
            f"{counted(len(errors), 'error')} in the command line", remedy="; ".join(e.remedy for e in errors)
        )

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  - {error}" for error in self.errors)])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errors,)


def init_project(
    model: Path,
    data: Path,
    output: Path,
    devices: Sequence[str],
    options: Options,
    *,
    trust_code: bool,
    model_field: str = "--model",
) -> Written:
    """Look at a model and its data, and write a pipeline for them.

    Args:
        model: The model.
        data: The data.
        output: The folder to write to.
        devices: Names or files of device profiles; if there are none, the user is prompted in a terminal.
        options: The user's information about the data and the model.
        trust_code: Whether to load a model that contains Python code.
        model_field: The name of the model in errors.

    Raises:
        EdgemillError: The model or the data can't be used, or the folder already contains one of the files.
    """
    refuse_existing(output)
    errors: list[EdgemillError] = []

    @cache
    def recognized(options: Options) -> Data:
        return with_outputs_of(model, options, lambda given: recognize_data(data, given))

    try:
        _check_model(model, model_field)
    except EdgemillError as error:
        errors.append(error)
    # A wrong path is reported before the user answers a question.
    chosen = list(devices)
    profiles: list[DeviceProfile] = []
    for name in chosen:
        try:
            profiles += read_devices([name], Path.cwd(), "--device")
        except EdgemillError as error:
            errors.append(error)
    try:
        recognized(options)
    except EdgemillError as error:
        # If the question can be asked, it isn't an error.
        if not (isinstance(error, UnclearError) and can_ask()):
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else CommandLineError(errors)
    if not chosen:
        chosen, profiles = _ask_device()

    with tempfile.TemporaryDirectory(prefix="edgemill-init-") as name:
        tried = Path(name)

        def planned(options: Options) -> Plan:
            job = Job(model=str(model), trust_code=trust_code, data=recognized(options), options=options,
                      devices=tuple(profiles))  # fmt: skip
            return _planned(job, tried)

        plan, options = answered(planned, options)
        if options.max_loss is None and can_ask():
            plan = plan.model_copy(update={"max_loss": _ask_max_loss(plan)})
        shipped = shipped_devices()
        named = {name if name in shipped else os.path.relpath(name, output): device
                 for name, device in zip(chosen, profiles, strict=True)}  # fmt: skip
        copies = (tried / STANDARDIZED,) if plan.standardized else ()
        write_project(output, plan, model, data, named, copies)
    file = output / PIPELINE
    with findable(file):
        preflight(file)
    return Written(
        file=file,
        files=tuple(output / name for name in (PIPELINE, TASK, README, *(copy.name for copy in copies))),
        devices=tuple(named),
        kind=plan.data.kind,
        classes=tuple(plan.examples.get("classes", ())),
        objective=plan.objective,
        input_range=plan.range,
        facts=plan.facts,
        warnings=plan.warnings,
    )


def _check_model(model: Path, field: str) -> None:
    if described(model) == "nothing":
        raise ModelError(
            "there is no such file or folder",
            where=field,
            bound="a SavedModel folder (with saved_model.pb), a .keras or .h5 file, or a float .tflite file",
            measured=f"{model}, nothing",
            remedy=beside(model, (".keras", ".h5", ".tflite")),
        )
    try:
        recognize(model)
    except EdgemillError as error:
        remedy = error.remedy.replace("baseline.path", field)
        raise type(error)(
            error.what, where=error.placed(field).where, bound=error.bound, measured=error.measured, remedy=remedy
        ) from error


def _ask_device() -> tuple[list[str], list[DeviceProfile]]:
    """Ask for devices in a terminal until they exist. Without a terminal, use the default."""
    known = ", ".join(shipped_devices())
    answer = _DEFAULT_DEVICE
    if not can_ask():
        typer.echo(f"device: {_DEFAULT_DEVICE} (choose others with --device: {known})")
    while True:
        if can_ask():
            answer = typer.prompt(f"Which devices, separated by commas ({known}, or files)?", default=_DEFAULT_DEVICE)
        names = [name.strip() for name in answer.split(",")]
        try:
            return names, [each for name in names for each in read_devices([name], Path.cwd(), "--device")]
        except EdgemillError as error:
            if not can_ask():
                raise
            typer.echo(str(error))


def _ask_max_loss(plan: Plan) -> float:
    metric = METRICS[plan.objective].replace("_", " ")
    words = f"rise of the {metric}" if plan.objective == "values" else f"drop of the {metric} (0.01 is one point)"
    while True:
        answer: float = typer.prompt(f"Largest acceptable {words}?", default=plan.max_loss, type=float)
        if 0 <= answer < math.inf and (answer <= 1 or plan.objective == "values"):
            return answer
        typer.echo("Enter a number of at least 0." if plan.objective == "values" else "Enter a number from 0 to 1.")


def _planned(job: Job, folder: Path) -> Plan:
    """Load the model in a child process, so that a crash becomes an error. The child writes to the folder."""
    for name in (PLAN_FILE, ERROR_FILE):
        (folder / name).unlink(missing_ok=True)
    (folder / JOB_FILE).write_text(job.model_dump_json())
    search = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    command = [sys.executable, "-m", "edgemill.project.child", str(folder)]
    said = folder / "stderr.txt"
    with (
        said.open("wb") as log,
        subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": search}, stdout=subprocess.PIPE, stderr=log, text=True
        ) as child,
        WorkProgress(terminal(), "starting to try the model") as watch,
    ):
        for line in child.stdout or ():
            watch(*json.loads(line))
    if (folder / ERROR_FILE).exists():
        error: EdgemillError = pickle.loads((folder / ERROR_FILE).read_bytes())
        raise error
    if child.returncode or not (folder / PLAN_FILE).exists():
        raise ModelError(
            f"the model cannot be tried on the examples: "
            f"{last_lines(said.read_text(errors='replace'), _CHATTER, 2) or 'the process died'}",
            where=job.model,
            measured=f"exit code {child.returncode}",
            remedy="check that the model loads and runs with its own library, and save it again",
        )
    return Plan.model_validate_json((folder / PLAN_FILE).read_text())
