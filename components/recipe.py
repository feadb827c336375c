"""A recipe: what is tried on the baseline to make one candidate."""

from __future__ import annotations

from pydantic import Field

from components.quantize.scheme import Scheme
from components.values import Value

# Names become node ids, folder names and Kubeflow task names: the narrowest of the three alphabets.
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,47}$"


class Recipe(Value):
    """One way from the baseline to one candidate.

    Attributes:
        name: Unique in the pipeline; the candidate's name everywhere.
        scheme: The numeric format of the candidate.
    """

    name: str = Field(pattern=NAME_PATTERN)
    scheme: Scheme
