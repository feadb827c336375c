"""`edgemill validate`: checks a pipeline file, and shows how its recipes treat each layer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from components.core.errors import counted
from components.facts.training import LayerPlan
from edgemill.contract import print_json
from pipelines.checks.examples.made import empty_classes, untested
from pipelines.checks.operator_check import warning_of
from pipelines.checks.preflight import preflight
from pipelines.file.load import LoadedPipeline
from pipelines.file.user_folders import findable, make_importable


def print_validated(file: Path, *, deep: bool, skip_impossible: bool, as_json: bool = False) -> None:
    """Check a pipeline file, and print the findings.

    Args:
        file: The pipeline file.
        deep: Whether to import the task, build its model, and decode examples.
        skip_impossible: Whether to list recipes that cannot work on the model instead of refusing the file.
        as_json: Whether to print JSON.

    Raises:
        PipelineFileError: The file has errors.
    """
    with findable(file):
        loaded = preflight(file, skip_impossible=skip_impossible)
    empty = empty_classes(loaded.spec.examples)
    previews: Mapping[str, Sequence[LayerPlan]] = {}
    if deep:
        make_importable(file)
        # TensorFlow writes long logs about hardware that this machine doesn't have.
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        warnings.simplefilter("ignore")
        from edgemill.progress import WorkProgress
        from edgemill.terminal import print_previews, terminal
        from pipelines.checks.dry_run import dry_run

        with WorkProgress(terminal(), "starting the check") as watch:
            loaded, previews = dry_run(loaded, watch)
        if not as_json:
            print_previews(previews)
    if as_json:
        print_json({**_content(file, loaded, previews), "empty_classes": empty})
        return
    for one in loaded.skipped:
        for reason in one.reasons:
            typer.echo(f"recipe {one.name} is skipped: {reason}")
    for device, operators in loaded.lacking.items():
        typer.echo(f"warning: {warning_of(device, operators)}")
    if empty:
        typer.echo(f"warning: {untested(empty)}")
    recipes, devices = counted(len(loaded.spec.recipes), "recipe"), counted(len(loaded.devices), "device")
    skipped = f", {len(loaded.skipped)} skipped" if loaded.skipped else ""
    typer.echo(f"{file}: valid ({recipes} for {devices}{skipped})")


def _content(file: Path, loaded: LoadedPipeline, previews: Mapping[str, Sequence[LayerPlan]]) -> dict[str, object]:
    return {
        "file": str(file),
        "pipeline": loaded.spec.name,
        "recipes": [recipe.name for recipe in loaded.spec.recipes],
        "devices": [device.name for device in loaded.devices],
        "skipped": loaded.skipped,
        "lacking_operators": loaded.lacking,
        "layers": previews,
    }
