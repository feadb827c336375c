"""A recipe: what is tried on the baseline to make one candidate."""

from __future__ import annotations

from pydantic import Field

from components.quantize.qat_spec import QatStep
from components.quantize.scheme import Scheme, needs_ranges
from components.values import Value

# Names become node ids, folder names and Kubeflow task names: the narrowest of the three alphabets.
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,47}$"


# What is done to the model before it is converted, in order.
Step = QatStep


class Recipe(Value):
    """One way from the baseline to one candidate.

    Attributes:
        name: Unique in the pipeline; the candidate's name everywhere.
        steps: What is trained first; none converts the baseline as it is.
        scheme: The numeric format of the candidate.
    """

    name: str = Field(pattern=NAME_PATTERN)
    steps: tuple[Step, ...] = ()
    scheme: Scheme

    @property
    def trained(self) -> QatStep | None:
        """The step that trains under quantization, if there is one."""
        return next((step for step in self.steps if isinstance(step, QatStep)), None)

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be measured on a representative dataset before conversion."""
        return needs_ranges(self.scheme) and self.trained is None
