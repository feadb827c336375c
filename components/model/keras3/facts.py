"""Measurements from rebuilding a model of Keras 3 in tf-keras."""

from __future__ import annotations

from components.core.values import FrozenModel


class RebuiltFacts(FrozenModel):
    """How closely a rebuilt model follows the model of Keras 3.

    Attributes:
        keras_version: The version of Keras that wrote the file.
        variables: Number of weights that were carried over.
        examples: Kind of inputs (`random`, `positive`, or `real`) -> number of examples that both models ran on.
        largest_difference: Largest absolute difference of an output, as a fraction of the output's scale.
        output_scale: Largest absolute value of that output.
        tolerance: The maximum permitted `largest_difference`.
    """

    keras_version: str
    variables: int
    examples: dict[str, int]
    largest_difference: float
    output_scale: float
    tolerance: float

    @property
    def sentence(self) -> str:
        """The facts in words, for reports."""
        words = {"random": "random", "positive": "random positive", "real": "real"}
        examples = " and ".join(f"{number} {words.get(kind, kind)}" for kind, number in self.examples.items())
        return (
            f"The baseline was rebuilt from a model of Keras {self.keras_version}: outputs differ by at most "
            f"{self.largest_difference:.1e} of their scale on {examples} examples ({self.tolerance:g} is allowed)."
        )
