import gzip
import json

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen.executor import Executor as StatisticsGen
from tfx.types.standard_artifacts import Examples, ExampleStatistics

from components.calibrate.component import CalibrationAudit, CalibrationSampler
from components.core.errors import DataError
from components.data.examples import read_serialized, split_files
from components.facts.audit import AuditReport
from tests.artifacts import read_manifest
from tests.small_pipeline import TASK, frame, serialize


def examples_of(count, seed):
    generator = np.random.default_rng(seed)
    return [{"image": generator.random(16).astype(np.float32), "label": index % 3} for index in range(count)]


@pytest.fixture
def execute(tmp_path, monkeypatch):
    module = f"task_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)

    def execute(train, evaluation, **spec):
        examples, sample = Examples(), Examples()
        examples.uri, sample.uri = str(tmp_path / "examples"), str(tmp_path / "sample")
        examples.split_names, examples.span, examples.version = '["train", "eval"]', 4, 2
        examples.set_string_custom_property("file_format", "tfrecords_gzip")
        examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        for split, features in (("train", train), ("eval", evaluation)):
            folder = tmp_path / "examples" / f"Split-{split}"
            folder.mkdir(parents=True, exist_ok=True)
            for shard in range(2):
                content = b"".join(frame(serialize(one)) for one in features[shard::2])
                (folder / f"data-{shard}.gz").write_bytes(gzip.compress(content))
        parameters = {
            "spec": json.dumps({"split": "train", "samples": 120, "seed": 9, **spec}),
            "task": f"{module}:TASK",
            "label": "label",
            "eval_split": "eval",
            "max_overlap": "0.01",
            "task_version": "t",
            "code_version": "c",
        }
        CalibrationSampler.EXECUTOR_SPEC.executor_class().Do({"examples": [examples]}, {"sample": [sample]}, parameters)
        return sample, tmp_path / "sample"

    return execute


def audit(sample):
    CalibrationAudit.EXECUTOR_SPEC.executor_class().Do({"sample": [sample]}, {}, {"code_version": "c"})


def test_component_writes_sample_audit_and_manifest_when_data_are_sound(execute):
    train = examples_of(300, 1)
    sample, folder = execute(train, examples_of(60, 2), stratify_by="label")
    written = list(read_serialized(split_files(str(folder), "calibration")))
    assert len(set(written)) == 120
    assert set(written) <= {serialize(one) for one in train}
    audit(sample)
    report = AuditReport.model_validate_json((folder / "audit.json").read_bytes())
    assert (report.taken, report.available, report.findings) == (120, 300, ())
    assert [(fact.value, fact.available, fact.taken) for fact in report.strata] == [(v, 100, 40) for v in "012"]
    assert report.ranges[0].split == (
        float(min(one["image"].min() for one in train)),
        float(max(one["image"].max() for one in train)),
    )
    assert sum(report.ranges[0].histogram) == 120 * 16 and sum(report.ranges[0].split_histogram) == 300 * 16
    manifest = read_manifest(folder)
    assert (manifest.role, manifest.content, manifest.code_version) == ("calibration", "Split-calibration", "c")
    properties = sample.mlmd_artifact.custom_properties
    numbers = {name: properties[name].int_value for name in ("taken", "available", "seed", "findings")}
    assert numbers == {"taken": 120, "available": 300, "seed": 9, "findings": 0}
    assert (sample.span, sample.version) == (4, 2)


def test_component_writes_the_same_bytes_when_run_again(execute, tmp_path):
    train, evaluation = examples_of(300, 1), examples_of(60, 2)
    _, folder = execute(train, evaluation)
    first = read_manifest(folder).sha256
    # Another order in the files is another split of the same examples into shards.
    _, folder = execute(train[::-1], evaluation)
    assert read_manifest(folder).sha256 == first


def test_component_output_is_read_by_statistics_gen(execute, tmp_path):
    sample, _ = execute(examples_of(300, 1), examples_of(60, 2))
    statistics = ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    StatisticsGen().Do(
        {"examples": [sample]}, {"statistics": [statistics]}, {"stats_options_json": None, "exclude_splits": "[]"}
    )
    content = (tmp_path / "statistics" / "Split-calibration" / "FeatureStats.pb").read_bytes()
    found = statistics_pb2.DatasetFeatureStatisticsList.FromString(content).datasets[0]
    assert found.num_examples == 120
    assert {feature.path.step[0] for feature in found.features} == {"image", "label"}


def test_audit_stops_the_run_and_stays_when_images_hold_nan(execute):
    train = examples_of(300, 1)
    for one in train[::10]:
        one["image"][5] = np.nan
    sample, folder = execute(train, examples_of(60, 2))
    with pytest.raises(DataError, match="values in the sample and 30 in its split are NaN or infinite"):
        audit(sample)
    report = AuditReport.model_validate_json((folder / "audit.json").read_bytes())
    assert [finding.severity for finding in report.findings if finding.check == "non_finite"] == ["error"]


def test_audit_stops_the_run_when_evaluation_examples_are_in_the_sample(execute):
    train = examples_of(300, 1)
    sample, _ = execute(train, train)
    with pytest.raises(DataError, match=r"120 of the sampled examples \(100.0%\) also occur in the evaluation split"):
        audit(sample)


def test_component_reports_figures_when_fewer_examples_exist_and_one_is_shared(execute):
    train = examples_of(110, 1)
    sample, folder = execute(train, [train[4], train[4], *examples_of(60, 2)], samples=500)
    audit(sample)
    report = AuditReport.model_validate_json((folder / "audit.json").read_bytes())
    assert [(finding.severity, finding.check) for finding in report.findings] == [
        ("warning", "size"),
        ("warning", "leak"),
    ]
    assert "1 of the sampled examples (0.9%)" in report.findings[1].message


def test_component_names_the_feature_when_it_is_missing(execute):
    with pytest.raises(DataError, match=r"lacks the feature 'site' that the sample is.*Remedy: specify a"):
        execute(examples_of(300, 1), examples_of(60, 2), stratify_by="site")


@pytest.mark.parametrize("samples", [1, 301])
def test_component_names_the_features_when_an_example_cannot_be_decoded(execute, samples):
    train = [*examples_of(300, 1), {"image": np.zeros(9, np.float32), "label": 1}]
    with pytest.raises(DataError, match=r"(?s)does not have the features that the task.*Remedy: correct the data"):
        execute(train, examples_of(60, 2), samples=samples)


def test_workers_hand_over_beside_the_artifact_and_nothing_of_it_stays(execute, tmp_path, monkeypatch):
    executor = CalibrationSampler.EXECUTOR_SPEC.executor_class
    make, seen = executor._make_beam_pipeline, []

    def watched(self):
        seen.append([path.name[:9] for path in (tmp_path / "sample").glob("Split-calibration/*")])
        return make(self)

    monkeypatch.setattr(executor, "_make_beam_pipeline", watched)
    _, folder = execute(examples_of(300, 1), examples_of(60, 2))
    assert [sorted(names) for names in seen] == [[".working-"], [".working-", "data_tfre"]]
    assert sorted(path.name for path in folder.rglob("*")) == [
        "Split-calibration",
        "audit.json",
        "data_tfrecord-00000-of-00001.gz",
        "manifest.json",
    ]
