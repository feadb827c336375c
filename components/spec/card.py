"""Facts about a model that only people know, for its card."""

from __future__ import annotations

from components.core.values import FrozenModel


class CardSpec(FrozenModel):
    """The parts of a model card that can't be measured. All are Markdown, and optional.

    Attributes:
        description: What the model does, in a few sentences.
        owners: The people responsible for it, and how to reach them.
        license: Identifier of its license (`apache-2.0`), as in SPDX.
        intended_use: The purpose of the model, and its intended users.
        out_of_scope: Uses that it was not designed for.
        factors: Groups, instruments, and environments that its quality may depend on.
        training_data: Where the training data is from.
        evaluation_data: Where the evaluation data is from, and why it was chosen.
        ethical_considerations: Sensitive data, risks, and harms.
        caveats: What else to keep in mind.
    """

    description: str = ""
    owners: str = ""
    license: str = ""
    intended_use: str = ""
    out_of_scope: str = ""
    factors: str = ""
    training_data: str = ""
    evaluation_data: str = ""
    ethical_considerations: str = ""
    caveats: str = ""
