"""`edgemill init` and `edgemill optimize`: write a pipeline for a model and its data."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer

from components.baseline.source import recognize
from components.core.child import last_lines
from components.core.errors import EdgemillError, ModelError
from edgemill.project.child import ERROR_FILE, JOB_FILE, PLAN_FILE, Job
from edgemill.project.data import recognize_data
from edgemill.project.files import PIPELINE, refuse_existing, write_project
from edgemill.project.found import Data, Options
from edgemill.project.plan import Plan
from pipelines.checks.preflight import preflight
from pipelines.file.load import read_devices, shipped_devices
from pipelines.file.user_folders import findable

_DEFAULT_DEVICE = "phone_cpu"
# What TensorFlow logs.
_CHATTER = re.compile(r"\d{4}-\d\d-\d\d .*?: [IW] |[IW]\d{4} |INFO:|WARNING:")


def init_project(
    model: Path, data: Path, output: Path, devices: Sequence[str], options: Options, *, trust_code: bool
) -> Path:
    """Look at a model and its data, and write a pipeline for them.

    Returns:
        The pipeline file.

    Raises:
        EdgemillError: The model or the data can't be used, or the folder holds one of the files already.
    """
    refuse_existing(output)
    try:
        recognize(model)
    except EdgemillError as error:
        raise error.placed("--model") from error
    chosen = list(devices) or [_ask_device()]
    profiles = read_devices(chosen, Path.cwd(), "--device")
    found = recognize_data(data, options)
    plan = _planned(model, found, options, trust_code=trust_code)
    shipped = shipped_devices()
    named = {name if name in shipped else os.path.relpath(name, output): device
             for name, device in zip(chosen, profiles, strict=True)}  # fmt: skip
    write_project(output, plan, model, data, named)
    file = output / PIPELINE
    with findable(file):
        preflight(file)
    for fact in plan.facts:
        typer.echo(fact)
    return file


def _ask_device() -> str:
    """Ask for a device on a terminal. Without one, take the default."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(f"device: {_DEFAULT_DEVICE} (name others with --device: {', '.join(shipped_devices())})")
        return _DEFAULT_DEVICE
    answer: str = typer.prompt(f"Which device ({', '.join(shipped_devices())})?", default=_DEFAULT_DEVICE)
    return answer


def _planned(model: Path, data: Data, options: Options, *, trust_code: bool) -> Plan:
    """Load the model in a child process, whose crash is an error of the model."""
    with tempfile.TemporaryDirectory(prefix="edgemill-init-") as name:
        folder = Path(name)
        job = Job(model=str(model), trust_code=trust_code, data=data, options=options)
        (folder / JOB_FILE).write_text(job.model_dump_json())
        search = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        child = subprocess.run(
            [sys.executable, "-m", "edgemill.project.child", name],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if (folder / ERROR_FILE).exists():
            error: EdgemillError = pickle.loads((folder / ERROR_FILE).read_bytes())
            raise error
        if child.returncode or not (folder / PLAN_FILE).exists():
            raise ModelError(
                f"the model cannot be loaded: {last_lines(child.stderr, _CHATTER, 2) or 'the process died'}",
                where=str(model),
                measured=f"exit code {child.returncode}",
                remedy="load the model with its own library, and save it again",
            )
        return Plan.model_validate_json((folder / PLAN_FILE).read_text())
