"""How to draw the calibration sample."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from components.core.values import Count, FrozenModel, Seed


class CalibrationSpec(FrozenModel):
    """The representative dataset: a seeded sample of one split.

    Attributes:
        split: Split to sample from. It must not be the evaluation split.
        samples: Number of examples. If the split has fewer, all of them are used, and the audit reports this.
        stratify_by: Feature whose values are the strata. By default, the sample is uniform.
        stratify: `proportional` keeps the shares of the strata. `balanced` gives each stratum the same number of
            examples.
        seed: The same seed gives the same sample, regardless of shards, runner, and number of workers.
    """

    split: str = "train"
    samples: Count = 500
    stratify_by: str | None = None
    stratify: Literal["proportional", "balanced"] = "proportional"
    seed: Seed = 0

    @model_validator(mode="after")
    def _balanced_needs_a_feature(self) -> CalibrationSpec:
        if self.stratify == "balanced" and self.stratify_by is None:
            raise ValueError("`stratify: balanced` needs `stratify_by`: specify the feature whose values to balance")
        return self
