"""A strict ExampleValidator: it checks the pipeline file's expectations, and anomalies stop the run."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, OutputChannel
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.types.standard_component_specs import ANOMALIES_KEY, SCHEMA_KEY, STATISTICS_KEY, ExampleValidatorSpec

from components.core.files import write_atomically
from components.core.remembered_digests import content_digest
from components.data.examples import read_serialized, split_files
from components.data.task import TaskWithTargets, features_of, load_task
from components.facts.manifest import describe, write_manifest
from components.spec.validate import ReadExpectations
from components.upstream.tfx.example_validator import ExampleValidatorExecutor
from components.validate.expectations import refuse_anomalies, refuse_single_class, tighten
from components.validate.overlap import Overlap, find_overlaps, of_features, refuse_overlaps

VALIDATION_FILE = "validation.json"

_LOG = logging.getLogger(__name__)


class StrictExampleValidatorExecutor(ExampleValidatorExecutor):
    """Validates every split against the tightened schema, and refuses anomalies in features that the run reads."""

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """See the base class.

        Raises:
            DataError: A split has an anomaly in a feature that is read, or shares too many examples with the evaluation
                split, or all examples of that split have the same class.
        """
        self._expectations = ReadExpectations.model_validate_json(exec_properties["spec"])
        self._found: dict[str, Any] = {}
        super().Do(input_dict, output_dict, exec_properties)
        unread = refuse_anomalies(self._found, _read(self._expectations))
        for anomaly in unread:
            _LOG.warning("The run doesn't read this feature, so it continues: %s", anomaly)
        overlaps = self._overlaps(artifact_utils.get_single_instance(input_dict["examples"]))
        anomalies = artifact_utils.get_single_instance(output_dict[ANOMALIES_KEY])
        folder = Path(anomalies.uri)
        # Record which expectations were checked on which splits. At this point, the anomalies themselves are empty
        # except for unread features.
        record = {
            "expectations": self._expectations.model_dump(),
            "splits": sorted(self._found),
            "unread": unread,
            "overlaps": [each.model_dump() for each in overlaps],
        }
        write_atomically(folder / VALIDATION_FILE, json.dumps(record, indent=2).encode() + b"\n")
        # The digest of the statistics represents the examples, so that their bytes need not be read again.
        uris = {key: artifact_utils.get_single_uri(input_dict[key]) for key in (STATISTICS_KEY, SCHEMA_KEY)}
        parents, version = (
            {key: content_digest(Path(uri)) for key, uri in uris.items()},
            exec_properties["code_version"],
        )
        manifest = write_manifest(folder, VALIDATION_FILE, role="validation", parents=parents, code_version=version)
        describe(anomalies, manifest)

    def _overlaps(self, examples: Any) -> tuple[Overlap, ...]:
        evaluation = self._expectations.evaluation
        names = sorted(artifact_utils.decode_split_names(examples.split_names))
        stored = {name: partial(read_serialized, split_files(examples.uri, name)) for name in names}
        read = _declared(self._expectations)
        splits = of_features(stored, read) if read else {name: each() for name, each in stored.items()}
        overlaps = find_overlaps(splits.pop(evaluation), splits)
        text = "%d of %d evaluation examples (%.2f %%) also occur in the split %s"
        for each in overlaps:
            if each.shared:
                _LOG.warning(text, each.shared, each.examples, 100 * each.share, each.split)
        refuse_overlaps(overlaps, evaluation, self._expectations.max_overlap)
        return overlaps

    def validate_split(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
        """See the base class."""
        tighten(inputs[SCHEMA_KEY], self._expectations)
        anomalies = super().validate_split(inputs, outputs)
        split = next(iter(outputs.values())).rpartition("Split-")[2]
        self._found[split] = anomalies
        if split == self._expectations.evaluation and _has_classes(self._expectations):
            refuse_single_class(inputs[STATISTICS_KEY], self._expectations.label, split)
        return anomalies


def _has_classes(expectations: ReadExpectations) -> bool:
    """Whether metrics compare predictions with the label, which can be a class. The evaluation checks other targets."""
    if expectations.num_classes is not None or not expectations.label or expectations.task is None:
        return expectations.num_classes is not None
    return not isinstance(load_task(expectations.task), TaskWithTargets)


def _read(expectations: ReadExpectations) -> set[str] | None:
    """Return the features that must conform to the schema, or None for all."""
    if expectations.task is None or expectations.whole_schema:
        return None
    return _declared(expectations) | (set(expectations.others) - {expectations.apart})


def _declared(expectations: ReadExpectations) -> set[str]:
    """Return the features that the task reads, and the label if there is one; empty if they are unknown."""
    if expectations.task is None:
        return set()
    return {*features_of(load_task(expectations.task)), expectations.label} - {""}


class StrictExampleValidatorSpec(ExampleValidatorSpec):
    """ExampleValidator's inputs and outputs with additional parameters and an `examples` input."""

    PARAMETERS = {
        **ExampleValidatorSpec.PARAMETERS,
        "spec": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
    }
    INPUTS = {**ExampleValidatorSpec.INPUTS, "examples": ChannelParameter(type=standard_artifacts.Examples)}


class StrictExampleValidator(base_component.BaseComponent):
    """Stops the run if examples have anomalies."""

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(StrictExampleValidatorExecutor)

    def __init__(
        self,
        examples: BaseChannel,
        statistics: BaseChannel,
        schema: BaseChannel,
        spec: ReadExpectations,
        code_version: str,
    ) -> None:
        anomalies = OutputChannel(standard_artifacts.ExampleAnomalies, self, ANOMALIES_KEY)
        named = {STATISTICS_KEY: statistics, SCHEMA_KEY: schema, ANOMALIES_KEY: anomalies, "exclude_splits": "[]"}
        parameters = {"spec": spec.model_dump_json(), "code_version": code_version}
        super().__init__(StrictExampleValidatorSpec(examples=examples, **named, **parameters))
