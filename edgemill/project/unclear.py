"""The error for a decision that only the user can make."""

from __future__ import annotations

import functools
from typing import Any, Literal

from components.core.errors import DataError

Question = Literal["label", "columns", "classes", "sample_rate", "input_shape", "objective"]


class UnclearError(DataError):
    """The user must decide something: by answering a question in a terminal, or with an option.

    Args:
        what: What isn't clear.
        option: The field of `Options` that decides it.
        question: What to ask.
        default: The answer to suggest; empty if there is none.
        names: The columns or arrays of which one is the answer, if it is known.
        rest: As for the base class. By default, `where` is the option.
    """

    def __init__(
        self,
        what: str,
        *,
        option: Question,
        question: str,
        default: str = "",
        names: tuple[str, ...] = (),
        **rest: Any,
    ) -> None:
        self.option, self.question, self.default, self.names = option, question, default, names
        super().__init__(what, **{"where": flag_of(option), **rest})

    def __reduce__(self) -> tuple[object, ...]:
        rest = functools.partial(type(self), where=self.where, bound=self.bound, measured=self.measured)
        named = functools.partial(rest, option=self.option, question=self.question, default=self.default,
                                  names=self.names)  # fmt: skip
        return functools.partial(named, remedy=self.remedy), (self.what,)


def flag_of(option: str) -> str:
    """The name of an option on the command line."""
    return f"--{option.replace('_', '-')}"
