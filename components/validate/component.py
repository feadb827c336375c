"""TFX's ExampleValidator, made strict: it knows the pipeline file's expectations, and anomalies stop the run."""

import json
from pathlib import Path
from typing import Any

from tfx.components.example_validator import executor as tfx_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ExecutionParameter
from tfx.types.standard_component_specs import ANOMALIES_KEY, SCHEMA_KEY, STATISTICS_KEY, ExampleValidatorSpec

from components.files import sha256_of, write_atomically
from components.manifest import describe, write_manifest
from components.validate.expectations import refuse_anomalies, tighten
from components.validate.spec import DataExpectations

VALIDATION_FILE = "validation.json"


class StrictExampleValidatorExecutor(tfx_executor.Executor):
    """Validates every split against the tightened schema, then refuses what has anomalies."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See the base class.

        Raises:
            DataError: Some split has an anomaly.
        """
        self._expectations = DataExpectations.model_validate_json(exec_properties["spec"])
        self._found: dict[str, Any] = {}
        super().Do(input_dict, output_dict, exec_properties)
        refuse_anomalies(self._found)
        anomalies = artifact_utils.get_single_instance(output_dict[ANOMALIES_KEY])
        folder = Path(anomalies.uri)
        # What was held against the data, and where: the anomalies themselves are empty, or we were not here.
        held = {"expectations": self._expectations.model_dump(), "splits": sorted(self._found)}
        write_atomically(folder / VALIDATION_FILE, json.dumps(held, indent=2).encode() + b"\n")
        parents = {key: sha256_of(Path(artifact_utils.get_single_uri(each))) for key, each in input_dict.items()}
        describe(
            anomalies,
            write_manifest(
                folder,
                VALIDATION_FILE,
                role="validation",
                parents=parents,
                code_version=exec_properties["code_version"],
            ),
        )

    def _Validate(self, inputs: Any, outputs: Any) -> Any:
        tighten(inputs[SCHEMA_KEY], self._expectations)
        anomalies = super()._Validate(inputs, outputs)
        split = next(iter(outputs.values())).rpartition("Split-")[2]
        self._found[split] = anomalies
        return anomalies


class StrictExampleValidatorSpec(ExampleValidatorSpec):
    """TFX's inputs and outputs, our parameters."""

    PARAMETERS = {
        **ExampleValidatorSpec.PARAMETERS,
        "spec": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
    }


class StrictExampleValidator(base_component.BaseComponent):
    """Examples with anomalies go no further."""

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(StrictExampleValidatorExecutor)

    def __init__(self, statistics: BaseChannel, schema: BaseChannel, spec: DataExpectations, code_version: str) -> None:
        anomalies = standard_artifacts.ExampleAnomalies
        super().__init__(
            StrictExampleValidatorSpec(
                **{
                    STATISTICS_KEY: statistics,
                    SCHEMA_KEY: schema,
                    "exclude_splits": "[]",
                    "spec": spec.model_dump_json(),
                    "code_version": code_version,
                    ANOMALIES_KEY: OutputChannel(anomalies, self, ANOMALIES_KEY),
                }
            )
        )
