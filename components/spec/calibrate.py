"""What a calibration sample is asked to be."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from components.core.values import Count, FrozenModel, Seed


class CalibrationSpec(FrozenModel):
    """A seeded sample of one split.

    Attributes:
        split: The split to sample from; never the evaluation split.
        samples: Number of examples; a split with fewer gives all it has, and the audit says so.
        stratify_by: Feature whose values are the strata; None samples uniformly.
        stratify: `proportional` keeps the strata's shares, `balanced` gives each the same number.
        seed: The same seed gives the same sample, whatever the sharding, the runner or the worker count.
    """

    split: str = "train"
    samples: Count = 500
    stratify_by: str | None = None
    stratify: Literal["proportional", "balanced"] = "proportional"
    seed: Seed = 0

    @model_validator(mode="after")
    def _balanced_needs_a_feature(self) -> CalibrationSpec:
        if self.stratify == "balanced" and self.stratify_by is None:
            raise ValueError("`stratify: balanced` needs `stratify_by`: name the feature whose values to balance")
        return self
