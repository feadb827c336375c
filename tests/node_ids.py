"""IDs of nodes that have a digest."""

from pathlib import Path

from pipelines.file.load import load_pipeline
from pipelines.graph.steps import candidate_id


def node_of(kind: str, recipe: str, file: Path) -> str:
    """ID of the node `convert` or `predict` of a recipe in a pipeline file."""
    (found,) = (one for one in load_pipeline(file).spec.recipes if one.name == recipe)
    return candidate_id(kind, found)
