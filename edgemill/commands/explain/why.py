"""`edgemill explain`: why a candidate of a run differs from its float model. Reads the results of the run."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from components.core.errors import MetadataError, SpecError, damaged, one_of
from components.facts.artifact_paths import EXPLANATION_FILE
from components.facts.explanation import Explanation
from edgemill.contract import print_json
from edgemill.terminal import terminal
from pipelines.file.environment import environment
from pipelines.file.spec import FLOAT_REFERENCE
from pipelines.report.why import as_yaml, in_decibels, result_of
from pipelines.runs.metadata import find_run, run_records
from pipelines.runs.run import read_plan
from pipelines.runs.verification import stored_file
from pipelines.storage.metadata_connection import open_existing_store

_NODE, _CONVERTER = "explain__", "convert__"


def explain_candidate(run: str, recipe: str, root: Path | None, metadata_url: str | None, *, as_json: bool) -> None:
    """Print the explanation of a candidate.

    Raises:
        MetadataError: There is no such run, or it has no explanation of this recipe.
        SpecError: The run has no such recipe, or the recipe doesn't quantize anything.
        TamperedError: The explanation has changed since it was written.
    """
    place = environment(root, metadata_url)
    store = open_existing_store(place.metadata_url)
    pipeline, run_id = find_run(store, run)
    records = run_records(store, pipeline, run_id)
    found = {
        node.removeprefix(_NODE): record.outputs["explanation"]
        for node, record in records.items()
        if node.startswith(_NODE) and "explanation" in record.outputs
    }
    if recipe not in found:
        plan = read_plan(place, pipeline, run_id)
        names, planned = plan.recipes, any(node.startswith(_NODE) for node in plan.nodes)
        known = _recipes(records, names, found)
        raise _missing(recipe, run_id, sorted(found), sorted(known), planned=planned)
    content = stored_file(found[recipe], EXPLANATION_FILE)
    if content is None:
        raise MetadataError(
            "the explanation was removed",
            where=found[recipe].uri,
            remedy="run the pipeline again, which explains its candidates again",
        )
    try:
        explanation = Explanation.model_validate_json(content)
    except ValueError as error:
        raise damaged(f"{found[recipe].uri}/{EXPLANATION_FILE}", error) from error
    if as_json:
        print_json(explanation)
    else:
        _print(explanation)


def _recipes(nodes: Collection[str], names: Mapping[str, Sequence[str]], explained: Collection[str]) -> set[str]:
    """The recipes of a run, without the conversion that sizes are compared with if no recipe asks for it."""
    named = {name for node in nodes for name in names.get(node, ())}
    # Earlier versions named nodes after recipes.
    named |= {node.removeprefix(_CONVERTER) for node in nodes if node.startswith(_CONVERTER) and node not in names}
    return (named - {FLOAT_REFERENCE.name}) | {*explained}


def _missing(
    recipe: str, run_id: str, explained: list[str], known: list[str], *, planned: bool
) -> SpecError | MetadataError:
    if recipe in known:
        if not planned:
            return MetadataError(
                "this run planned no explanations: an earlier version of Edgemill ran it, or all its recipes are float",
                where=run_id,
                remedy="run the pipeline again with this version, which explains every quantized candidate",
            )
        if not explained:
            return MetadataError(
                "this run explained no candidate, because it failed or ended early",
                where=run_id,
                remedy="specify a run that evaluated the candidate, or run the pipeline again",
            )
        return SpecError(
            "this candidate has no explanation: it is float, or its node did not run",
            where=recipe,
            bound=one_of(explained),
            measured=recipe,
            remedy=f"specify one that the run explains, such as `edgemill explain {run_id} {explained[0]}`",
        )
    near = difflib.get_close_matches(recipe, known, n=1, cutoff=0.4)
    return SpecError(
        "the run has no such recipe",
        where=f"run {run_id}",
        bound=one_of(known) if known else "a recipe of a run that reached its conversions",
        measured=recipe,
        remedy=f"did you mean {near[0]}?" if near else "specify a recipe of the run's pipeline file",
    )


def _print(found: Explanation) -> None:
    console = terminal()
    head = f"{found.recipe} ({found.scheme}): {result_of(found)}"
    console.print(Text(head), soft_wrap=True)
    for fault in found.faults:
        console.print(Text(f"{fault.layer} ({fault.operator}): {fault.evidence}", style="yellow"), soft_wrap=True)
        console.print(Text(f"  Remedy: {fault.remedy.words}"), soft_wrap=True)
        if fault.remedy.recipe is not None:
            console.print(Text(f"  {as_yaml(fault.remedy.recipe)}"), soft_wrap=True)
    if not found.layers:
        return
    table = Table(title=f"signal to noise on {found.examples} examples ({found.source})", title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("operator")
    for heading in ("own", "weights", "activations", "with all earlier ones"):
        table.add_column(heading, justify="right")
    faulty = {fault.tensor for fault in found.faults}
    for one in found.layers:
        cells = (in_decibels(error) for error in (one.own, one.weights, one.activations, one.total))
        table.add_row(Text(one.layer), one.operator, *cells, style="yellow" if one.tensor in faulty else None)
    console.print(table)
