"""What examples are expected to be, beyond what their schema says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from components.core.values import FrozenModel


class DataExpectations(FrozenModel):
    """What every split must meet before anything is trained.

    Attributes:
        label: Feature that holds the label. Every example must have it.
        num_classes: Number of classes: labels are integers from 0 to one less. By default, labels are not classes.
        max_overlap: Largest share of the evaluation split's examples that another split can contain too, compared by
            content. A larger share ends the run.
    """

    label: str
    num_classes: Annotated[int, Field(gt=1, lt=1 << 31)] | None = None
    max_overlap: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.01


class ReadExpectations(DataExpectations):
    """The same, with what tells which features the pipeline reads: only those are held to the schema.

    Attributes:
        task: The task whose feature spec is read, `package.module:NAME`; None where a preprocessing function reads
            what it likes, or the schema is given, so that every feature is held.
        task_version: Version of the task's code, which keeps a changed feature spec out of the cache.
        others: Further features that are read: slices and strata.
        evaluation: The evaluation split.
        apart: The feature whose values lie in one split each: values that no other split has are its purpose.
    """

    task: str | None = None
    task_version: str = ""
    others: tuple[str, ...] = ()
    evaluation: str
    apart: str | None = None
