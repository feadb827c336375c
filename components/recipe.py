"""A recipe: what is tried on the baseline to make one candidate."""

from __future__ import annotations

from pydantic import Field

from components.quantize.qat_spec import QatStep
from components.quantize.recurrent.plan import Form
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
        recurrent: How GRU, SRU and SimpleRNN layers are written out: `streaming`, as a model of one time step with its
            state as inputs and outputs, or `sequence`, as one graph over all time steps. None writes them out as a
            sequence where the scheme has ranges, and leaves them to the converter elsewhere.
    """

    name: str = Field(pattern=NAME_PATTERN)
    steps: tuple[Step, ...] = ()
    scheme: Scheme
    recurrent: Form | None = None

    @property
    def trained(self) -> QatStep | None:
        """The step that trains under quantization, if there is one."""
        return next((step for step in self.steps if isinstance(step, QatStep)), None)

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be measured on a representative dataset before conversion."""
        return needs_ranges(self.scheme) and self.trained is None
