"""`edgemill run`: runs a pipeline, shows progress, prints a table of results, and returns an exit status."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.text import Text

from components.core.errors import SpecError, counted
from components.object_store.bucket import check_address
from edgemill.commands import share_name
from edgemill.exit_codes import ExitCode, Interruption, interruptible
from edgemill.progress import RunProgress
from edgemill.remembered_checks import check_once
from edgemill.run_log import LogFormat, OutputOptions, log_path, logged_to
from edgemill.status_file import StatusFile, ending
from edgemill.terminal import terminal
from pipelines.checks.beam_job_service import check_job_service
from pipelines.checks.examples.made import empty_classes, untested
from pipelines.checks.preflight import path_error, preflight
from pipelines.file.environment import Environment, RunnerName, environment
from pipelines.file.impossible import without_skipped
from pipelines.file.load import LoadedPipeline, PipelineFileError
from pipelines.file.redaction import has_secret, secrets_of
from pipelines.file.user_folders import make_importable
from pipelines.graph.sources import source_digests
from pipelines.history.durations import usual_seconds
from pipelines.report.render import SUMMARY_NAME, write_report
from pipelines.report.summary import RunSummary
from pipelines.report.terminal import render_table
from pipelines.runs.lock import running
from pipelines.runs.metadata import NodeRecord
from pipelines.storage.access import check_writable, examples_errors
from pipelines.storage.metadata_connection import open_store

_WITHOUT_CONVERSION = ("champion__", "predict__champion__", "measure_champion__", "challenge__", "gate__", "push__")


def place_of(
    file: Path | None,
    runner: str | None,
    root: Path | None,
    metadata_url: str | None,
    beam_args: tuple[str, ...],
    pipeline_root: str | None = None,
) -> Environment:
    """Where to run. The command line overrides the environment file, which overrides the defaults.

    Raises:
        SpecError: There is no such runner, the environment file is wrong, or an argument contains a secret.
    """
    for argument in beam_args:
        if has_secret(argument):
            raise SpecError(
                "this contains a secret, and Beam's arguments are logged",
                where=f"--beam-arg={argument.partition('=')[0]}",
                remedy="omit it, and set an environment variable that the runner reads, such as AWS_SECRET_ACCESS_KEY",
            )
    if pipeline_root is not None:
        check_address(pipeline_root, "--pipeline-root")
    if file is not None:
        share_name()
        from kubeflow.environment import read_environment

        found = read_environment(file)
        runner, metadata_url = runner or found.runner, metadata_url or found.metadata
        pipeline_root = pipeline_root or found.pipeline_root
        root = root or (Path(found.root) if found.root is not None else None)
        beam_args = (*found.beam_args, *beam_args)
    if runner not in {None, *get_args(RunnerName)}:
        raise SpecError("there is no such runner", where="--runner", bound="local or beam", measured=runner,
                        remedy="choose one of the two")  # fmt: skip
    return environment(root, metadata_url, "beam" if runner == "beam" else "local", beam_args, pipeline_root)


def run_and_report(
    file: Path,
    find_place: Callable[[], Environment],
    output_options: OutputOptions,
    status_file: StatusFile,
    *,
    rehash: bool = False,
    skip_impossible: bool = False,
) -> ExitCode:
    """Check a pipeline, run it, and write its report. Raises an EdgemillError for any error before the first node.

    `find_place` returns where to run (`place_of`). Its errors are reported like all others. With `rehash`, all example
    files are read, and checks that passed before are repeated. With `skip_impossible`, recipes that cannot work on the
    model are skipped, even if the file doesn't request it.
    """
    status_file.begin()
    with interruptible() as interruption, ending(status_file):
        place = find_place()
        status_file.secrets = secrets_of(place.metadata_url)
        make_importable(file)
        loaded = preflight(file, skip_impossible=skip_impossible)
        _check_root(place.root)
        check_job_service(place.beam_args)
        _check_stores(loaded, place)
        open_store(place.metadata_url)
        console = terminal()
        recipes, devices = counted(len(loaded.spec.recipes), "recipe"), counted(len(loaded.devices), "device")
        console.print(f"{loaded.spec.name}: {recipes} for {devices}")
        if empty := empty_classes(loaded.spec.examples):
            console.print(Text(f"warning: {untested(empty)}"), soft_wrap=True)
        with running(place.root / loaded.spec.name):
            code = _run(loaded, place, console, output_options.log_format, status_file, interruption, rehash=rehash)
        status_file.end(code)
    return code


def _run(
    loaded: LoadedPipeline,
    place: Environment,
    console: Console,
    log_format: LogFormat,
    status_file: StatusFile,
    interruption: Interruption,
    *,
    rehash: bool,
) -> ExitCode:
    from components.convert.child.worker import warm_up
    from pipelines.graph.steps import shown_id
    from pipelines.runs.run import new_run_id, read_plan, run_pipeline
    from pipelines.runs.summary import summarize

    run_id = new_run_id()
    folder = place.runs(loaded.spec.name) / run_id
    log = log_path(folder, log_format)
    status_file.runs(loaded.spec.name, run_id, log)
    usual = usual_seconds(place.root, loaded.spec.name)
    progress = RunProgress(console, usual, "starting TensorFlow")
    with logged_to(folder, log_format, run_id, status_file.secrets), progress:
        digests = source_digests(loaded.spec, place, rehash=rehash, watch=progress.watch)
        passed = check_once(loaded, place.passed_checks(loaded.spec.name), digests, again=rehash, watch=progress.watch)
        loaded = without_skipped(loaded, passed.skipped)
        for line in passed.lines:
            console.print(line, soft_wrap=True, highlight=False)
        for one in loaded.skipped:
            console.print(Text(f"recipe {one.name} is skipped: {'; '.join(one.reasons)}"), soft_wrap=True)
        console.print(f"run {run_id}, log in {_shown(log)}", soft_wrap=True)
        progress.update("building the pipeline")
        planned = False
        recipes: dict[str, tuple[str, ...]] = {}

        def watch(record: NodeRecord) -> None:
            nonlocal planned
            if not planned:
                # The plan is written before the first node.
                planned = True
                plan = read_plan(place, loaded.spec.name, run_id)
                progress.planned(plan.nodes)
                recipes.update(plan.recipes)
            if record.state == "running":
                # Conversions fork from a server that imports TensorFlow. Start it with the first node that executes.
                # Champions, gates, and pushes can execute without a change in the pipeline, and no conversion follows.
                if not record.node.startswith(_WITHOUT_CONVERSION):
                    warm_up()
                progress.started(record.node, shown_id(record.node, recipes))
            else:
                progress.ended(record.node, record.ended - record.began)
                took = "" if record.state == "cached" else f"{record.ended - record.began:8.1f} s"
                console.print(f"  {shown_id(record.node, recipes):<28} {record.state:<9}{took}")

        epochs = _Epochs(progress)
        logging.getLogger("components").addHandler(epochs)
        try:
            plan = run_pipeline(loaded, place, run_id, watch, digests, passed.files_digest(loaded.file.parent))
        finally:
            logging.getLogger("components").removeHandler(epochs)
            interruption.raise_if_it_came()
        progress.update("writing the report")
        summary = summarize(open_store(place.metadata_url), plan)
        report = write_report(summary, folder)
        status_file.summarized(summary, report, report.with_name(SUMMARY_NAME))
    console.print(render_table(summary))
    console.print(f"report: {_shown(report)}", soft_wrap=True)
    return exit_code(summary)


class _Epochs(logging.Handler):
    """Shows each finished epoch of a training. Everything else is in the log."""

    def __init__(self, progress: RunProgress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        message = record.getMessage()
        if "epoch " in message:
            self._progress.update(message)


def exit_code(summary: RunSummary) -> ExitCode:
    """The exit status of a finished run."""
    if summary.verdict == "failed":
        return ExitCode.NODE_FAILED
    pushed = {release.device for release in summary.releases if release.pushed}
    missing = {device.name for device in summary.devices} - pushed
    refused = {decision.device for decision in summary.decisions if decision.verdict != "pass"}
    staged = {release.device for release in summary.releases if release.staged}
    if missing - refused - staged:
        return ExitCode.NODE_FAILED
    if staged:
        return ExitCode.PUSH_STAGED
    return ExitCode.GATE_REFUSED if missing else ExitCode.OK


def _check_root(root: Path) -> None:
    """Raise a SpecError if the root cannot be written, or if TFX can't handle its path."""
    if error := path_error("--root", root):
        raise error
    try:
        root.mkdir(parents=True, exist_ok=True)
        writable = os.access(root, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise SpecError("this folder cannot be written", where=f"--root {root}", remedy="choose another --root")


def _check_stores(loaded: LoadedPipeline, place: Environment) -> None:
    """Raise the errors of a pipeline root or of examples in an object store."""
    if place.pipeline_root is not None:
        check_writable(place.pipeline_root)
    errors = list(examples_errors(loaded.spec.examples))
    if errors:
        raise PipelineFileError(loaded.file, errors)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
