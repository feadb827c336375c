"""TFX's orchestration and ExampleGens in this process. Importing this module doesn't import TFX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def serialize_examples_in_one_order() -> None:
    """Make TFX's ExampleGens write equal examples as equal bytes.

    Protobuf 6 serializes the features of an example in an order that differs between processes, but samples are drawn
    by bytes. Protobuf 4 has a fixed order, so nothing is changed.
    """
    import google.protobuf
    from tfx.components.example_gen import write_split

    if int(google.protobuf.__version__.partition(".")[0]) > 4:
        from components.upstream.serialization import SerializeInOneOrder

        # Workers import this class under its own name.
        write_split.MaybeSerialize = SerializeInOneOrder


@contextmanager
def surrounded_executors(surround: Callable[[Any], Any]) -> Iterator[None]:
    """Within this context, make TFX's launcher run Python and Beam executors through wrapped operators.

    Args:
        surround: A function of one of TFX's executor operators that returns the operator to use instead.
    """
    from tfx.orchestration.portable import launcher
    from tfx.proto.orchestration import executable_spec_pb2

    operators = launcher.DEFAULT_EXECUTOR_OPERATORS
    kinds = (executable_spec_pb2.PythonClassExecutableSpec, executable_spec_pb2.BeamExecutableSpec)
    before = {kind: operators[kind] for kind in kinds}

    def around(operator: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **arguments: surround(operator(**arguments))

    operators.update({kind: around(operator) for kind, operator in before.items()})
    try:
        yield
    finally:
        operators.update(before)


def set_run_id(pipeline: Any, run_id: str) -> None:
    """Give a compiled pipeline this run ID instead of the runner's timestamp."""
    from tfx.orchestration.portable import runtime_parameter_utils

    runtime_parameter_utils.substitute_runtime_parameter(pipeline, {"pipeline-run-id": run_id})
