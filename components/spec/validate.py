"""Expectations of examples in addition to their schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat, model_validator

from components.core.values import FrozenModel


class DataExpectations(FrozenModel):
    """Expectations that every split must meet before training starts.

    Attributes:
        label: Feature with the label. Every example must have it. Losses and metrics compare predictions with it,
            unless the task has `targets`. Without it, a model that is trained needs a task with `targets`. If all
            examples of the evaluation split have the same integer, 0.0, or 1.0 as the label, the run stops.
        num_classes: Number of classes: labels are integers from 0 to one less than this. By default, labels are not
            classes.
        max_overlap: Largest share of the evaluation split's examples that another split can also contain, compared by
            the content of the features that the task reads. A larger share stops the run.
    """

    label: str = ""
    num_classes: Annotated[int, Field(gt=1, lt=1 << 31)] | None = None
    max_overlap: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.01

    @model_validator(mode="after")
    def _check_classes(self) -> DataExpectations:
        if self.num_classes is not None and not self.label:
            raise ValueError("classes belong to a label: specify its feature in `label`, or remove the classes")
        return self


class ReadExpectations(DataExpectations):
    """Expectations with the features that the pipeline reads, because only those are checked against the schema.

    Attributes:
        task: The task with the feature spec, `package.module:NAME`. None if a preprocessing function can read any
            feature.
        whole_schema: Whether every feature must conform to the schema, because the user provides it.
        task_version: Version of the task's code, so that a changed feature spec is not served from the cache.
        others: Other features that are read, for slices and strata.
        evaluation: The evaluation split.
        apart: The feature by which examples are split: each of its values is in only one split, by design.
    """

    task: str | None = None
    task_version: str = ""
    whole_schema: bool = False
    others: tuple[str, ...] = ()
    evaluation: str
    apart: str | None = None
