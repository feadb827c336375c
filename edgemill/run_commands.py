"""The commands about past runs. `edgemill.main` registers them."""

from __future__ import annotations

from typing import Annotated

import typer

from edgemill import options


def runs(
    pipeline: Annotated[str | None, typer.Option(help="List only this pipeline [all in the root].")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="List this many of the newest runs [all].")] = None,
    root: options.Root = None,
    as_json: options.AsJson = False,
) -> None:
    """List the runs of a root, the newest first."""
    from edgemill.commands.runs import list_runs

    list_runs(root, pipeline, last, as_json=as_json)


def compare(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="A run id, or `latest`.", autocompletion=options.complete_run)
    ],
    after: Annotated[
        str, typer.Argument(metavar="AFTER", help="A run id, or `latest`.", autocompletion=options.complete_run)
    ],
    root: options.Root = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare the candidates and the releases of two runs."""
    from edgemill.commands.runs import compare_runs

    compare_runs(root, before, after, as_json=as_json)


def explain(
    run_id: options.RunName,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A quantized recipe of the run.")],
    root: options.Root = None,
    metadata: options.Metadata = None,
    as_json: options.AsJson = False,
) -> None:
    """Explain why a candidate of a run differs from its float model.

    Prints the error of each layer, the first bad layer with its cause, and a recipe that fixes it. The run has computed
    all of it.
    """
    from edgemill.commands.explain.why import explain_candidate

    explain_candidate(run_id, recipe, root, metadata, as_json=as_json)


def open_report(run_id: options.RunName = "latest", root: options.Root = None, as_json: options.AsJson = False) -> None:
    """Open the report of a run in the browser, and print its path."""
    from edgemill.commands.runs import open_in_browser

    open_in_browser(root, run_id, as_json=as_json)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on. By default, only this machine can connect.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free port.")] = 8765,
    root: options.Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as one line of JSON.")] = False,
) -> None:
    """Show the runs of a root in the browser.

    The pages only read: they list runs, and show trends of metrics and sizes, Pareto fronts, each run's report, and
    the channels of registries.
    """
    from edgemill.serve.server import serve as serve_pages

    serve_pages(root, host, port, as_json=as_json)


def lineage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RELEASE|MODEL|DIGEST",
            help="A release's folder or address, a .tflite file, such as one from a device, or its SHA-256.",
        ),
    ],
    root: options.Root = None,
    metadata: options.Metadata = None,
    short: Annotated[bool, typer.Option("--short", help="Print one line for each artifact.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the lineage of a model.

    Traces it back to the recipe, the calibration sample, the training run, and the examples, and compares each
    artifact with its record.
    """
    from edgemill.commands.lineage import print_lineage

    print_lineage(target, root, metadata, as_json=as_json, short=short)


def verify(
    target: Annotated[
        str, typer.Argument(metavar="RUN|RELEASE", help="A run id, `latest`, or a release's folder or address.")
    ],
    root: options.Root = None,
    metadata: options.Metadata = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare a run or a release with the record.

    Compares the artifacts of a run and the releases that it pushed, or a release and everything that it was made from,
    with each manifest and ML Metadata. Exits with status 1 if one has changed.
    """
    from edgemill.commands.lineage import verify as verify_target

    verify_target(target, root, metadata, as_json=as_json)


def report(
    run_id: options.RunName = "latest",
    root: options.Root = None,
    metadata: options.Metadata = None,
    as_json: options.AsJson = False,
) -> None:
    """Rewrite the report of a run from ML Metadata and artifacts."""
    from edgemill.commands.lineage import report_again

    report_again(run_id, root, metadata, as_json=as_json)


def push(
    run_id: options.RunName = "latest",
    root: options.Root = None,
    metadata: options.Metadata = None,
    force: Annotated[
        bool, typer.Option("--force", help="Push even if a later run has pushed another release.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Finish the pushes of a run whose registry was unreachable.

    Verifies the staged releases, and pushes them in the same way as the run. Repeating it changes nothing. Exits with
    status 4 if a registry is still unreachable.
    """
    from edgemill.commands.push import push_run

    return push_run(run_id, root, metadata, force=force, as_json=as_json)


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
    as_json: options.AsJson = False,
) -> None:
    """Remove old runs and their artifacts.

    Never removes artifacts that a kept run or a release in a registry was made from.
    """
    from edgemill.commands.clean import clean_root

    clean_root(root, metadata, keep_runs, older_than, pipeline, dry_run=dry_run, as_json=as_json)


def rollback(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="The folder or address of an earlier release.")],
    channel: Annotated[str, typer.Option(help="The pointer that devices follow.")] = "stable",
    files_only: Annotated[
        bool,
        typer.Option("--files-only", help="Don't ask the metadata store whether a run pushed the release."),
    ] = False,
    root: options.Root = None,
    metadata: options.Metadata = None,
    as_json: options.AsJson = False,
) -> None:
    """Point a channel of a registry to an earlier release.

    The release must be one that a run pushed, unchanged. The next run that pushes points the channel to the choice of
    its gate.
    """
    from edgemill.commands.rollback import roll_back

    roll_back(release, channel, root, metadata, files_only=files_only, as_json=as_json)
