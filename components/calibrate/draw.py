"""Draws and audits a sample in two Beam pipelines, independently of TFX. Results are a file and an AuditReport."""

from __future__ import annotations

import logging
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from components.calibrate.audit import MOST_REPEATED, audit_sample, finite_range
from components.calibrate.sampling import Sample, SampleExamples
from components.calibrate.survey import read_survey, survey_splits
from components.core.errors import DataError
from components.data.examples import ExampleDecoder
from components.facts.audit import AuditReport
from components.spec.calibrate import CalibrationSpec

_LOG = logging.getLogger(__name__)


def draw_and_audit(
    make_pipeline: Callable[[], Any],
    spec: CalibrationSpec,
    *,
    split_files: Sequence[str],
    evaluation_files: Sequence[str],
    task: str,
    transform_graph: str | None,
    label: str,
    output: Path,
    max_overlap: float = MOST_REPEATED,
) -> AuditReport:
    """Draw a sample, write its records to `output`, and audit it.

    Args:
        make_pipeline: Creates a Beam pipeline; called twice.
        spec: The sample to draw.
        split_files, evaluation_files: Gzipped TFRecord files of the split to sample and of the evaluation split.
        task, transform_graph: As for `components.data.examples.ExampleDecoder`.
        label: Feature with the label.
        output: The gzipped TFRecord file to write.
        max_overlap: As for `components.calibrate.audit.audit_sample`.

    Raises:
        DataError: The split is empty, an example lacks a feature, or there are too many strata.
    """
    # Next to the result, because with any Beam runner, workers can access the pipeline root.
    with _working_folder(output.parent) as folder:
        with make_pipeline() as pipeline:
            _ = (
                pipeline
                | "files" >> beam.Create([str(file) for file in split_files])
                | "read" >> beam.io.ReadAllFromTFRecord()
                | "draw" >> SampleExamples(spec)
                | "write" >> beam.Map(_write, records=str(output), facts=str(folder / "sample"))
            )
        sample: Sample = pickle.loads((folder / "sample").read_bytes())
        if sample.refused is not None:
            raise sample.refused
        _LOG.info("%d of %d examples drawn with seed %d", len(sample.examples), sample.available, spec.seed)
        if not sample.examples:
            raise DataError(
                f"the split {spec.split!r} has no examples to calibrate on",
                where="calibrate.split",
                remedy="choose another split, or provide data",
            )
        inputs, features = ExampleDecoder(task, transform_graph).decode(sample.examples)
        labels = features.get(label, np.empty(0))
        with make_pipeline() as pipeline:
            survey_splits(
                pipeline,
                split_files=split_files,
                evaluation_files=evaluation_files,
                sample=sample.examples,
                ranges={name: finite_range(values) for name, values in inputs.items()},
                task=task,
                transform_graph=transform_graph,
                label=label,
                output=folder,
            )
        known = {int(one) for one in np.unique(labels)} if np.issubdtype(labels.dtype, np.integer) else None
        audit = audit_sample(
            sample,
            spec,
            inputs,
            known,
            read_survey(folder),
            transformed=transform_graph is not None,
            max_overlap=max_overlap,
        )
    for finding in audit.findings:
        level = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}[finding.severity]
        _LOG.log(level, "%s: %s", finding.where or finding.check, finding.message)
    return audit


@contextmanager
def _working_folder(parent: Path) -> Iterator[Path]:
    folder = parent / f".working-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(sample: Sample, records: str, facts: str) -> None:
    import tensorflow as tf

    if sample.refused is None:
        partial = f"{records}.partial"
        Path(records).parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(partial, "GZIP") as writer:
            for example in sample.examples:
                writer.write(example)
        Path(partial).replace(records)
    Path(facts).write_bytes(pickle.dumps(sample))
