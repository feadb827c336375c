"""The commands that write a pipeline for a model and its data. `edgemill.main` registers them."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgemill import options
from edgemill.contract import print_json

if TYPE_CHECKING:
    from edgemill.commands.init import Written
    from edgemill.project.found import Options

_Data = Annotated[
    Path,
    typer.Option(
        help="A folder of class folders with images or WAV files, a CSV or Parquet table, a .npz file, a folder of "
        ".npy files, or a function that yields examples (package.module:function)."
    ),
]
_Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write to [named like the model].")]
_Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="A device profile. Can be repeated [asked for, or phone_cpu].",
        autocompletion=options.complete_device,
    ),
]
_Label = Annotated[
    str | None,
    typer.Option(help="Column or array of the label, or several columns of 0 and 1 [label, class, target, or y]."),
]
_Columns = Annotated[
    str | None, typer.Option(help="Columns or arrays of the inputs, separated by commas, in their order [all others].")
]
_Classes = Annotated[
    str | None,
    typer.Option(help="Classes in the order of the model's outputs, separated by commas [sorted by name]."),
]
_Scale = Annotated[
    str | None,
    typer.Option(help="Range of the input: 0..1, -1..1, 0..255, raw, or standardized [the most accurate one]."),
]
_SampleRate = Annotated[int | None, typer.Option(min=1, help="Samples per second of audio [the rate of the files].")]
_InputShape = Annotated[str | None, typer.Option(help="Shape of one example, such as 96,96,3 [the model's].")]
_MaxUnreadable = Annotated[
    float, typer.Option(min=0, max=0.99, help="Largest share of images or WAV files that can be damaged.")
]
_Objective = Annotated[
    str | None,
    typer.Option(
        help="What the model returns: classes, two_classes, labels, or values [from its output and the labels]."
    ),
]
_MaxLoss = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="How much worse than the float model a candidate can be [0.02 of the accuracy; for values, 5 % of their "
        "standard deviation].",
    ),
]
_TrustCode = Annotated[bool, typer.Option("--trust-code", help="Load a Keras model that contains Python code.")]


def init(
    model: Annotated[Path, typer.Option(help="A Keras file, a SavedModel, or a float TFLite file.")],
    data: _Data,
    output: _Output = None,
    device: _Devices = None,
    label: _Label = None,
    columns: _Columns = None,
    classes: _Classes = None,
    scale: _Scale = None,
    sample_rate: _SampleRate = None,
    input_shape: _InputShape = None,
    max_unreadable: _MaxUnreadable = 0.0,
    objective: _Objective = None,
    max_loss: _MaxLoss = None,
    trust_code: _TrustCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a pipeline for a model and its data.

    The files are pipeline.yaml, task.py, and README.md. Looks at the model and the data, and tries the model on some
    examples. Doesn't overwrite any file.
    """
    found = _options(label, columns, classes, scale, sample_rate, input_shape, max_unreadable, objective, max_loss)
    written = _written(model, data, output, device, found, trust_code=trust_code, model_field="--model")
    if as_json:
        print_json(written)
    else:
        typer.echo(f"wrote {written.file.parent}; next: edgemill run {shlex.quote(str(written.file))}")


def optimize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A Keras file, a SavedModel, or a float TFLite file.")],
    data: _Data,
    output: _Output = None,
    device: _Devices = None,
    label: _Label = None,
    columns: _Columns = None,
    classes: _Classes = None,
    scale: _Scale = None,
    sample_rate: _SampleRate = None,
    input_shape: _InputShape = None,
    max_unreadable: _MaxUnreadable = 0.0,
    objective: _Objective = None,
    max_loss: _MaxLoss = None,
    trust_code: _TrustCode = False,
    root: options.Root = None,
    summary_json: options.SummaryJson = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run status as JSON at the end, and nothing else.")
    ] = False,
) -> int:
    """Write a pipeline for a model and its data, and run it.

    Does the same as `init` followed by `run`.
    """
    from edgemill.commands.run import place_of, run_and_report
    from edgemill.project.files import PIPELINE
    from edgemill.run_log import OutputOptions, log_format_of
    from edgemill.status_file import StatusFile, ending

    file = (output or Path(model.stem)) / PIPELINE
    status = StatusFile(summary_json, file)
    status.begin()
    try:
        with ending(status):
            found = _options(
                label, columns, classes, scale, sample_rate, input_shape, max_unreadable, objective, max_loss
            )
            _written(model, data, output, device, found, trust_code=trust_code, model_field="MODEL")
        place = partial(place_of, None, None, root, None, ())
        return run_and_report(file, place, OutputOptions(summary_json, log_format_of("text")), status)
    finally:
        if as_json:
            print_json(status.content, secrets=status.secrets)


def _written(
    model: Path,
    data: Path,
    output: Path | None,
    device: list[str] | None,
    found: Options,
    *,
    trust_code: bool,
    model_field: str,
) -> Written:
    """Write the project, and print the findings."""
    from edgemill.commands.init import init_project

    folder = output or Path(model.stem)
    written = init_project(model, data, folder, device or (), found, trust_code=trust_code, model_field=model_field)
    for fact in written.facts:
        typer.echo(fact)
    for warning in written.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return written


def _options(
    label: str | None,
    columns: str | None,
    classes: str | None,
    scale: str | None,
    sample_rate: int | None,
    input_shape: str | None,
    max_unreadable: float,
    objective: str | None,
    max_loss: float | None,
) -> Options:
    """The options of the command line about the data and the model.

    Raises:
        SpecError: An option has an invalid value.
    """
    from edgemill.project.found import Options
    from edgemill.project.questions import parsed

    return Options(
        label=label,
        columns=parsed("columns", columns) if columns else (),
        classes=parsed("classes", classes) if classes else (),
        scale=scale,
        sample_rate=sample_rate,
        input_shape=parsed("input_shape", input_shape) if input_shape else (),
        max_unreadable=max_unreadable,
        objective=parsed("objective", objective) if objective else None,
        max_loss=max_loss,
    )
