"""The command `edgemill`. Commands import heavy modules themselves, so that help and validation are quick."""

from __future__ import annotations

import json
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.core.supervisor import supervised
from edgemill import options
from edgemill.commands import share_name
from edgemill.exit_codes import exit_on_error

app = typer.Typer(
    name="edgemill",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # a default in brackets, `[build/edgemill]`, would be markup
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgemill {version('edgemill')}")
        raise typer.Exit


@app.callback()
def every_command(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn a trained TensorFlow model into the smallest, fastest, still trustworthy model on every device."""


@app.command()
def run(
    file: options.PipelineFile,
    runner: Annotated[str | None, typer.Option(help="TFX runner: local or beam [local].")] = None,
    root: options.Root = None,
    pipeline_root: Annotated[
        str | None,
        typer.Option(help="Address of artifacts: s3://... or gs://... [inside the root]."),
    ] = None,
    metadata: options.Metadata = None,
    beam_arg: Annotated[
        list[str] | None, typer.Option(help="Argument of every Beam pipeline. Can be repeated.")
    ] = None,
    environment: Annotated[
        Path | None, typer.Option("--environment", "-e", help="Environment file. Command-line options override it.")
    ] = None,
    summary_json: options.SummaryJson = None,
    log_format: options.LogFormatName = "text",
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read all example files and repeat checks that passed before.")
    ] = False,
    skip_impossible: options.SkipImpossible = False,
) -> None:
    """Run a pipeline: train, optimize, evaluate, gate, and push."""
    from edgemill.commands.run import place_of, run_and_report
    from edgemill.run_log import OutputOptions, log_format_of

    with exit_on_error():
        output_options = OutputOptions(summary_json, log_format_of(log_format))
        found = partial(place_of, environment, runner, root, metadata, tuple(beam_arg or ()), pipeline_root)
        code = run_and_report(file, found, output_options, rehash=rehash, skip_impossible=skip_impossible)
    raise SystemExit(code)


@app.command()
def validate(
    file: options.PipelineFile,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import the task, build its model, and decode examples.")
    ] = False,
    skip_impossible: options.SkipImpossible = False,
) -> None:
    """Check a pipeline file without running it.

    Without --deep, neither TensorFlow nor the task is imported. With --deep, also show what
    recipes that train do to each layer, and report all recipes that cannot work on the model.
    """
    from edgemill.commands.validate import print_validated

    with exit_on_error():
        print_validated(file, deep=deep, skip_impossible=skip_impossible)


@app.command()
def schema() -> None:
    """Print the JSON schema of the pipeline file, for editors."""
    from pipelines.file.schema import schema_of
    from pipelines.file.spec import PipelineSpec

    with exit_on_error():
        typer.echo(json.dumps(schema_of(PipelineSpec), indent=2))


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="A TFLite file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show operators, dtypes, bytes, and weights of a TFLite file."""
    from components.core.errors import EdgemillError
    from components.model.tflite_file import inspect_model
    from edgemill.commands.inspect import print_inspection, read_model

    with exit_on_error():
        content = read_model(model)
        try:
            inspection = inspect_model(content)
        except EdgemillError as error:
            raise error.placed(str(model)) from error
        if as_json:
            typer.echo(inspection.model_dump_json(indent=2))
        else:
            print_inspection(model, inspection)


@app.command()
def lineage(
    target: Annotated[
        str, typer.Argument(metavar="RELEASE|MODEL", help="A release's folder or address, or a .tflite file.")
    ],
    root: options.Root = None,
    metadata: options.Metadata = None,
    short: Annotated[bool, typer.Option("--short", help="Print one line for each artifact.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a tree.")] = False,
) -> None:
    """Show where the bytes of a model came from.

    Traces them back to the recipe, the calibration sample, the training run, and the examples, and compares each
    artifact with what was written.
    """
    from edgemill.commands.lineage import print_lineage

    with exit_on_error():
        print_lineage(target, root, metadata, as_json=as_json, short=short)


@app.command()
def verify(
    target: Annotated[
        str, typer.Argument(metavar="RUN|RELEASE", help="A run id, `latest`, or a release's folder or address.")
    ],
    root: options.Root = None,
    metadata: options.Metadata = None,
) -> None:
    """Compare a run or a release with the record.

    Compares the artifacts of a run and the releases that it pushed, or a release and all that it was made from, with
    each manifest and ML Metadata. Exits with status 1 if one has changed.
    """
    from edgemill.commands.lineage import verify as verify_target

    with exit_on_error():
        verify_target(target, root, metadata)


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or `latest`.")] = "latest",
    root: options.Root = None,
    metadata: options.Metadata = None,
) -> None:
    """Rewrite the report of a run from ML Metadata and artifacts."""
    from edgemill.commands.lineage import report_again

    with exit_on_error():
        report_again(run_id, root, metadata)


@app.command()
def clean(
    keep_runs: Annotated[
        int | None, typer.Option(min=1, help="Keep this many of the newest runs of each pipeline.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Keep runs that began less than this many days ago.")
    ] = None,
    pipeline: Annotated[str | None, typer.Option(help="Clean only this pipeline [all in the root].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    root: options.Root = None,
    metadata: options.Metadata = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Remove old runs and their artifacts.

    Never removes what a kept run or a release in a registry was made from.
    """
    from edgemill.commands.clean import clean_root

    with exit_on_error():
        clean_root(root, metadata, keep_runs, older_than, pipeline, dry_run=dry_run, as_json=as_json)


@app.command()
def rollback(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="The folder or address of an earlier release.")],
    channel: Annotated[str, typer.Option(help="The pointer that devices follow.")] = "stable",
    files_only: Annotated[
        bool,
        typer.Option("--files-only", help="Don't ask the metadata store whether a run pushed the release."),
    ] = False,
    root: options.Root = None,
    metadata: options.Metadata = None,
) -> None:
    """Point a channel of a registry at an earlier release.

    The release must be one that a run pushed, unchanged. The next run that pushes points the channel at the choice of
    its gate.
    """
    from edgemill.commands.rollback import roll_back

    with exit_on_error():
        roll_back(release, channel, root, metadata, files_only=files_only)


@app.command("compile")
def compile_for_kubeflow(
    file: options.PipelineFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="The compiled file (.yaml).")],
    environment: options.EnvironmentFile = options.DEFAULT_ENVIRONMENT,
    skip_impossible: options.SkipImpossible = False,
) -> None:
    """Compile a pipeline for Kubeflow Pipelines. Needs no cluster."""
    with exit_on_error():
        share_name()
        from edgemill.commands.kubeflow import compile_to

        compile_to(file, environment, output, skip_impossible=skip_impossible)


@app.command()
def submit(
    file: options.PipelineFile,
    environment: options.EnvironmentFile = options.DEFAULT_ENVIRONMENT,
    cron: options.CronLine = None,
    name: Annotated[str | None, typer.Option(help="Name of the run or the schedule [the pipeline's].")] = None,
    upload_only: Annotated[bool, typer.Option("--upload-only", help="Upload only: no run, no schedule.")] = False,
    skip_impossible: options.SkipImpossible = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compile a pipeline, upload it to a cluster, and run it.

    The upload is a new version of the pipeline. With --cron, the cluster runs it repeatedly. The bearer token comes
    only from EDGEMILL_KUBEFLOW_TOKEN.
    """
    with exit_on_error():
        share_name()
        from edgemill.commands.kubeflow import submit_to_cluster

        skip = skip_impossible
        submit_to_cluster(file, environment, cron, name, upload_only=upload_only, as_json=as_json, skip_impossible=skip)


@app.command()
def schedule(
    file: options.PipelineFile,
    cron: Annotated[str, typer.Option(help="Five fields, as in crontab, in local time.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the systemd units.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the schedule [the pipeline's].")] = None,
    environment: Annotated[Path | None, typer.Option("--environment", "-e", help="Environment file.")] = None,
    summary_json: options.SummaryJson = None,
    log_format: options.LogFormatName = "text",
) -> None:
    """Write a systemd timer that runs a pipeline on this machine.

    Also prints the equivalent line for crontab.
    """
    with exit_on_error():
        share_name()
        from edgemill.commands.kubeflow import write_schedule
        from edgemill.run_log import OutputOptions, log_format_of

        write_schedule(file, cron, output, name, environment, OutputOptions(summary_json, log_format_of(log_format)))


def main() -> NoReturn:
    """Run the command `edgemill` in a child process, whose end native code cannot fake."""
    supervised(app)
