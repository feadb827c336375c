"""Reads the attributes of users' metric functions from their source: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from components.core.errors import EdgemillError, SpecError
from components.core.version import find_source
from components.metrics.bound_checks import bound_errors, untestable
from components.spec.metric import MetricSpec
from pipelines.file.load import LoadedPipeline

_ATTRIBUTES = ("less_is_better", "range")


def with_attributes(loaded: LoadedPipeline, known: Sequence[EdgemillError]) -> tuple[LoadedPipeline, list[SpecError]]:
    """Fill in the direction and the range of metrics that declare them in their code and not in the file.

    A class declares them in its body, and a function as `function.less_is_better = True` in its module.

    Returns:
        The pipeline; and an error for each attribute that isn't a literal of the right type and for each bound that
        doesn't fit its metric or can't be tested, unless it is known.
    """
    metrics, errors = [], []
    for index, metric in enumerate(loaded.spec.evaluate.metrics):
        filled, wrong = _filled(metric, f"evaluate.metrics[{index}].function")
        metrics.append(filled)
        errors += wrong
    if tuple(metrics) != loaded.spec.evaluate.metrics:
        evaluate = loaded.spec.evaluate.model_copy(update={"metrics": tuple(metrics)})
        loaded = loaded.model_copy(update={"spec": loaded.spec.model_copy(update={"evaluate": evaluate})})
        said = set(map(str, known))
        errors += [
            error for error in bound_errors(loaded.spec.gate, loaded.spec.evaluate.metrics) if str(error) not in said
        ]
    errors += untestable(loaded.spec.gate, [metric for metric in metrics if metric.references])
    return loaded, errors


def _filled(metric: MetricSpec, where: str) -> tuple[MetricSpec, list[SpecError]]:
    errors = []
    for reference in metric.references:
        for attribute, value in _declared(reference):
            if getattr(metric, attribute) is not None:
                continue
            try:
                given = {**metric.model_dump(), attribute: ast.literal_eval(value)}
                metric = MetricSpec.model_validate(given)
            except (ValidationError, ValueError, TypeError):
                errors.append(
                    SpecError(
                        f"the attribute {attribute!r} of {reference} is not one that a metric can have",
                        where=where,
                        bound="True or False" if attribute == "less_is_better" else "two numbers or None, as a literal",
                        measured=ast.unparse(value)[:80],
                        remedy=f"correct it in the code, or declare `{attribute}` in the pipeline file",
                    )
                )
    return metric, errors


def _declared(reference: str) -> Iterator[tuple[str, ast.expr]]:
    """The attributes of a class or function in its module, and the expressions that are assigned to them."""
    module, _, name = reference.partition(":")
    source = find_source(module)
    try:
        body = ast.parse(source.read_bytes()).body if source else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # The check of references reports it.
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for target, value in _assignments(node.body):
                if isinstance(target, ast.Name) and target.id in _ATTRIBUTES:
                    yield target.id, value
    for target, value in _assignments(body):
        match target:
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if owner == name and attribute in _ATTRIBUTES:
                yield attribute, value


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[ast.expr, ast.expr]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                yield target, value
