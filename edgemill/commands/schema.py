"""`edgemill schema`: prints the JSON schema of a file that people or runs write."""

from __future__ import annotations

from enum import Enum

from typing_extensions import assert_never

from edgemill.contract import print_json


class Described(str, Enum):
    """The files that have a schema."""

    PIPELINE = "pipeline"
    DEVICE = "device"
    ENVIRONMENT = "environment"
    CARD = "card"


def print_schema(file: Described) -> None:
    """Print the JSON schema of a file."""
    from pipelines.file.schema import schema_of, schema_of_written

    match file:
        case Described.PIPELINE:
            from pipelines.file.spec import PipelineSpec

            print_json(schema_of(PipelineSpec))
        case Described.DEVICE:
            from components.spec.devices.device import DeviceProfile

            print_json(schema_of(DeviceProfile))
        case Described.ENVIRONMENT:
            from kubeflow.environment import EnvironmentFile

            print_json(schema_of(EnvironmentFile))
        case Described.CARD:
            from components.card.facts import CardFacts

            print_json(schema_of_written(CardFacts))
        case _:
            assert_never(file)
