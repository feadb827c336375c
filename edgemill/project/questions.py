"""Decisions that only the user can make: an error that names an option or, in a terminal, a question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import typer

from components.core.errors import SpecError, one_of
from components.data.ready_made import Objective
from edgemill.project.found import Options
from edgemill.project.lists import names_in
from edgemill.project.unclear import Question, UnclearError

Result = TypeVar("Result")


def answered(work: Callable[[Options], Result], options: Options) -> tuple[Result, Options]:
    """Do some work, and ask in a terminal about anything unclear.

    Returns:
        The result, and the options with the answers.

    Raises:
        UnclearError: Something is not clear, and there is no terminal to ask in.
    """
    while True:
        try:
            return work(options), options
        except UnclearError as error:
            if not can_ask():
                raise
            options = _asked(error, options)


def can_ask() -> bool:
    """Whether a user can read a question and answer it."""
    # A stream that was closed before the start is None.
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _asked(error: UnclearError, options: Options) -> Options:
    """Ask until the answer is valid."""
    found = f" (found: {error.measured})" if error.measured is not None else ""
    typer.echo(f"{error.what[0].upper()}{error.what[1:]}{found}.")
    if error.bound is not None:
        typer.echo(f"Expected: {error.bound}.")
    while True:
        answer: str = typer.prompt(error.question, default=error.default or None)
        try:
            return options.model_copy(update={error.option: parsed(error.option, answer)})
        except SpecError as wrong:
            typer.echo(str(wrong))


def parsed(option: Question, text: str) -> Any:
    """The value of an option.

    Raises:
        SpecError: The text isn't a valid value.
    """
    match option:
        case "columns" | "classes":
            return names_in(text)
        case "input_shape":
            return shape_of(text)
        case "sample_rate":
            if not text.isdecimal() or not int(text):
                raise SpecError("this is not a number", where="--sample-rate", measured=text, remedy="enter a number")
            return int(text)
        case "objective":
            if text not in get_args(Objective):
                raise SpecError(
                    "there is no such objective",
                    where="--objective",
                    bound=one_of(get_args(Objective)),
                    measured=text,
                    remedy="choose one of them",
                )
            return text
        case "label":
            return text


def shape_of(text: str) -> tuple[int, ...]:
    """A shape from numbers separated by commas. Raises a SpecError if the text is not a shape."""
    sizes = [size.strip() for size in text.split(",")]
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise SpecError(
            "this is not a shape", where="--input-shape", bound="numbers with commas, such as 96,96,3", measured=text,
            remedy="correct it",
        )  # fmt: skip
    return tuple(map(int, sizes))
