"""A recipe: the steps and the scheme that turn the baseline into one candidate."""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Annotated, get_args

from pydantic import Field, field_validator

from components.core.values import FrozenModel
from components.spec.scheme import Form, Scheme
from components.spec.steps.cluster import ClusterStep
from components.spec.steps.fine_tuning import WeightInvariants
from components.spec.steps.prune import PruneStep
from components.spec.steps.qat import QatStep
from components.spec.steps.sparsity import SparsityTarget

# Names become node ids, folder names, and Kubeflow task names, so they use the most restrictive of the three alphabets.
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,47}$"


# The kinds of steps, in the order of recipes. Each step keeps the results of earlier steps, and would destroy the
# results of later ones.
AnyStep = PruneStep | ClusterStep | QatStep
Step = Annotated[AnyStep, Field(discriminator="kind")]
STEP_KINDS: tuple[str, ...] = tuple(get_args(step.model_fields["kind"].annotation)[0] for step in get_args(AnyStep))


class Recipe(FrozenModel):
    """One way to turn the baseline into one candidate.

    Attributes:
        name: Name of the candidate, unique in the pipeline.
        steps: Training before conversion. The order is prune, cluster, qat, and each kind can occur once. Each step
            keeps the results of the steps before it. By default, the baseline is converted unchanged.
        scheme: Numeric format of the candidate.
        recurrent: How GRU, SRU, and SimpleRNN layers are lowered to integers. `streaming` creates a model of one time
            step whose states are inputs and outputs. `sequence` creates one graph of all time steps. By default, static
            schemes use `sequence`, and other schemes leave these layers to the converter.
    """

    name: str = Field(pattern=NAME_PATTERN)
    steps: tuple[Step, ...] = ()
    scheme: Scheme
    recurrent: Form | None = None

    @property
    def trained(self) -> QatStep | None:
        """The step `qat`, if there is one."""
        return next((step for step in self.steps if isinstance(step, QatStep)), None)

    @property
    def pruned(self) -> PruneStep | None:
        """The step `prune`, if there is one."""
        return next((step for step in self.steps if isinstance(step, PruneStep)), None)

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be measured on a representative dataset before conversion."""
        return self.scheme.is_static and self.trained is None

    @property
    def sparsity_target(self) -> SparsityTarget | None:
        """The zeros that the steps will create, as far as the recipe defines them; None if they create none."""
        step = self.pruned
        if step is None or not step.highest:
            return None
        return SparsityTarget(structure=step.structure, sparsity=step.highest)

    def invariants_of(self, step: Step) -> WeightInvariants:
        """The results of earlier steps that a step of the recipe must keep."""
        earlier = self.steps[: self.steps.index(step)]
        return functools.reduce(WeightInvariants.merged, (one.establishes() for one in earlier), WeightInvariants())

    @field_validator("steps")
    @classmethod
    def _steps_keep_what_came_before(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        kinds: list[str] = [step.kind for step in steps]
        for kind in STEP_KINDS:
            if kinds.count(kind) > 1:
                raise ValueError(f"the step {kind!r} occurs more than once: remove one")
        for earlier, later in pairwise(kinds):
            if STEP_KINDS.index(earlier) > STEP_KINDS.index(later):
                raise ValueError(
                    f"the step {later!r} cannot follow {earlier!r}, whose result it would destroy: the order is "
                    f"{', '.join(STEP_KINDS)}"
                )
        return steps
