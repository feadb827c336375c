"""The command `edgemill`. Commands import heavy modules themselves, so that help and validation are quick."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from components.core.supervisor import supervised
from edgemill import options, project_commands, run_commands, upkeep_commands
from edgemill.commands import share_name
from edgemill.commands.schema import Described, print_schema
from edgemill.contract import Commands, contracted, keeping, print_json
from edgemill.registry_commands import app as registry_app

app = typer.Typer(
    name="edgemill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    cls=Commands,
    invoke_without_command=True,
    rich_markup_mode=None,  # A default in brackets, `[build/edgemill]`, would be markup.
)


@app.callback()
def every_command(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the versions of Edgemill and its libraries, and exit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the versions as JSON.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn a trained TensorFlow model into the smallest model that is still accurate enough, for every device."""
    if show_version:
        from edgemill.commands.doctor import print_versions

        with keeping(as_json=as_json, quiet=quiet):
            print_versions(as_json=as_json)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
    for option in (name for name, given in (("--json", as_json), ("--quiet", quiet)) if given):
        context.fail(f"Put {option} after the command: edgemill {context.invoked_subcommand} {option}")


@app.command()
@contracted
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run status as JSON at the end, and nothing else.")
    ] = False,
) -> int:
    """Run a pipeline: train, optimize, evaluate, gate, and push."""
    from edgemill.commands.run import place_of, run_and_report
    from edgemill.run_log import OutputOptions, log_format_of
    from edgemill.status_file import StatusFile

    output_options = OutputOptions(summary_json, log_format_of(log_format))
    found = partial(place_of, environment, runner, root, metadata, tuple(beam_arg or ()), pipeline_root)
    status = StatusFile(summary_json, file)
    try:
        return run_and_report(file, found, output_options, status, rehash=rehash, skip_impossible=skip_impossible)
    finally:
        if as_json:
            print_json(status.content, secrets=status.secrets)


@app.command()
@contracted
def validate(
    file: options.PipelineFile,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import the task, build its model, and decode examples.")
    ] = False,
    skip_impossible: options.SkipImpossible = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a pipeline file without running it.

    Without --deep, neither TensorFlow nor the task is imported. With --deep, also show what
    recipes that train do to each layer, and report all recipes that cannot work on the model.
    """
    from edgemill.commands.validate import print_validated

    print_validated(file, deep=deep, skip_impossible=skip_impossible, as_json=as_json)


@app.command()
@contracted
def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import TensorFlow, TFX, and the device tools, one process each.")
    ] = False,
    root: options.Root = None,
    metadata: options.Metadata = None,
    environment: Annotated[
        Path | None, typer.Option("--environment", "-e", help="Environment file. Command-line options override it.")
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Check the machine, libraries, device tools, and stores.

    Exits with status 1 if something keeps pipelines from running, and says how to fix it.
    """
    from edgemill.commands.doctor import examine_and_print

    return examine_and_print(root, metadata, environment, deep=deep, as_json=as_json, quiet=quiet)


@app.command()
@contracted
def schema(
    file: Annotated[
        Described,
        typer.Argument(
            metavar="FILE", help="The file: pipeline, device, environment, or card (the facts of a model card)."
        ),
    ] = Described.PIPELINE,
) -> None:
    """Print the JSON schema of a file, for editors and programs."""
    print_schema(file)


@app.command()
@contracted
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="A TFLite file.")],
    as_json: options.AsJson = False,
) -> None:
    """Show operators, dtypes, bytes, and weights of a TFLite file."""
    from components.core.errors import EdgemillError
    from components.model.tflite_file import inspect_model
    from edgemill.commands.inspect import print_inspection, read_model

    content = read_model(model)
    try:
        inspection = inspect_model(content)
    except EdgemillError as error:
        raise error.placed(str(model)) from error
    if as_json:
        print_json(inspection)
    else:
        print_inspection(model, inspection)


app.command()(contracted(project_commands.init))
app.command()(contracted(project_commands.optimize))
app.command()(contracted(run_commands.runs))
app.command()(contracted(run_commands.compare))
app.command()(contracted(run_commands.explain))
app.command("open")(contracted(run_commands.open_report))
app.command()(contracted(run_commands.serve))
app.command()(contracted(run_commands.report))
app.command()(contracted(run_commands.lineage))
app.command()(contracted(run_commands.verify))
app.command()(contracted(run_commands.push))
app.command()(contracted(run_commands.clean))
app.command()(contracted(run_commands.rollback))


for command in (
    upkeep_commands.verify,
    upkeep_commands.gc,
    upkeep_commands.repair,
    upkeep_commands.mirror,
    upkeep_commands.audit,
):
    registry_app.command()(contracted(command))
app.add_typer(registry_app, name="registry")


@app.command("compile")
@contracted
def compile_for_kubeflow(
    file: options.PipelineFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="The compiled file (.yaml).")],
    environment: options.EnvironmentFile = options.DEFAULT_ENVIRONMENT,
    skip_impossible: options.SkipImpossible = False,
    as_json: options.AsJson = False,
) -> None:
    """Compile a pipeline for Kubeflow Pipelines. Needs no cluster."""
    share_name()
    from edgemill.commands.kubeflow import compile_to

    compile_to(file, environment, output, skip_impossible=skip_impossible, as_json=as_json)


@app.command()
@contracted
def submit(
    file: options.PipelineFile,
    environment: options.EnvironmentFile = options.DEFAULT_ENVIRONMENT,
    cron: options.CronLine = None,
    name: Annotated[str | None, typer.Option(help="Name of the run or the schedule [the pipeline's].")] = None,
    upload_only: Annotated[bool, typer.Option("--upload-only", help="Upload only: no run, no schedule.")] = False,
    skip_impossible: options.SkipImpossible = False,
    as_json: options.AsJson = False,
) -> None:
    """Compile a pipeline, upload it to a cluster, and run it.

    The upload is a new version of the pipeline. With --cron, the cluster runs it repeatedly. The bearer token comes
    only from EDGEMILL_KUBEFLOW_TOKEN.
    """
    share_name()
    from edgemill.commands.kubeflow import submit_to_cluster

    skip = skip_impossible
    submit_to_cluster(file, environment, cron, name, upload_only=upload_only, as_json=as_json, skip_impossible=skip)


@app.command()
@contracted
def schedule(
    file: options.PipelineFile,
    cron: Annotated[str, typer.Option(help="Five fields, as in crontab, in local time.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the systemd units.")] = Path(),
    name: Annotated[str | None, typer.Option(help="Name of the schedule [the pipeline's].")] = None,
    environment: Annotated[Path | None, typer.Option("--environment", "-e", help="Environment file.")] = None,
    summary_json: options.SummaryJson = None,
    log_format: options.LogFormatName = "text",
    as_json: options.AsJson = False,
) -> None:
    """Write a systemd timer that runs a pipeline on this machine.

    Also prints the equivalent line for crontab.
    """
    share_name()
    from edgemill.commands.kubeflow import write_schedule
    from edgemill.run_log import OutputOptions, log_format_of

    output_options = OutputOptions(summary_json, log_format_of(log_format))
    write_schedule(file, cron, output, name, environment, output_options, as_json=as_json)


def main() -> NoReturn:
    """Run the command `edgemill` in a child process, so that native code can't fake its success."""
    supervised(app)
