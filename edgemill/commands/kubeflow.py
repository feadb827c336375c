"""`edgemill compile`, `submit`, and `schedule`."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import typer

from components.core.errors import SpecError
from edgemill.contract import print_json
from edgemill.run_log import OutputOptions
from kubeflow.compile import Compiled, compile_file, write_compiled
from kubeflow.cron import parse_cron
from kubeflow.environment import EnvironmentFile, cluster_of, read_environment
from kubeflow.schedule import Schedule, check_name, crontab_line, write_units
from pipelines.checks.preflight import preflight
from pipelines.file.environment import DEFAULT_ROOT
from pipelines.file.user_folders import findable


def compile_to(
    file: Path, environment: Path, output: Path, *, skip_impossible: bool = False, as_json: bool = False
) -> None:
    """Compile a pipeline, and write the compiled file."""
    compiled = _compiled(file, environment, skip_impossible=skip_impossible)
    write_compiled(compiled, output)
    nodes = len(compiled.pipeline["root"]["dag"]["tasks"])
    if as_json:
        print_json({"file": str(output), "pipeline": compiled.name, "nodes": nodes})
        return
    typer.echo(f"{output}: {compiled.name}, {nodes} nodes, for Kubeflow Pipelines (schema 2.1)")


def submit_to_cluster(
    file: Path,
    environment: Path,
    cron: str | None,
    name: str | None,
    *,
    upload_only: bool,
    as_json: bool,
    skip_impossible: bool = False,
) -> None:
    """Compile, upload, and run or schedule."""
    due = parse_cron(cron) if cron is not None else None
    if due is not None and upload_only:
        raise SpecError("--upload-only schedules nothing", where="--cron", remedy="omit one of the two")
    cluster = cluster_of(read_environment(environment), environment)
    from kubeflow.submit import Cluster

    # Connect before compiling, so that wrong credentials are reported at once.
    connected = Cluster(cluster)
    compiled = _compiled(file, environment, skip_impossible=skip_impossible)
    submitted = connected.submit(compiled)
    if due is not None:
        submitted = connected.schedule(submitted, name or compiled.name, due)
    elif not upload_only:
        submitted = connected.run(submitted, name or compiled.name)
    if as_json:
        print_json(submitted)
        return
    typer.echo(f"version {submitted.version}{'' if submitted.new_version else ' (already uploaded)'}")
    typer.echo(submitted.link)


def write_schedule(
    file: Path,
    cron: str,
    output: Path,
    name: str | None,
    environment: Path | None,
    output_options: OutputOptions,
    *,
    as_json: bool = False,
) -> None:
    """Write the units, and print the crontab line and how to install either."""
    due = parse_cron(cron)
    with findable(file):
        loaded = preflight(file)
    called = name or loaded.spec.name
    check_name(called)
    place = read_environment(environment) if environment is not None else EnvironmentFile()
    root = Path(place.root) if place.root is not None else DEFAULT_ROOT.resolve()
    command = [sys.executable, "-m", "edgemill", "run", os.path.realpath(file)]
    command += ["--environment", os.path.realpath(environment)] if environment is not None else ["--root", str(root)]
    command += output_options.options()
    schedule = Schedule(name=called, command=tuple(command), folder=Path.cwd(), root=root)
    service, timer = write_units(schedule, due, output)
    if as_json:
        content = {"service": str(service), "timer": str(timer), "crontab": crontab_line(schedule, due)}
        print_json(content)
        return
    typer.echo(f"{service}\n{timer}\n")
    typer.echo("systemd: copy both files to /etc/systemd/system, then run")
    typer.echo(f"  systemctl daemon-reload && systemctl enable --now {timer.name}")
    typer.echo("or cron: add this line with `crontab -e`")
    typer.echo(f"  {crontab_line(schedule, due)}")


def _compiled(file: Path, environment: Path, *, skip_impossible: bool) -> Compiled:
    # TensorFlow writes long logs about hardware that this machine doesn't have.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with findable(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_file(file, environment, skip_impossible=skip_impossible)
