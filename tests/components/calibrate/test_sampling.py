import gzip
import pickle
import random
from collections import Counter

import apache_beam as beam
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.calibrate.sampling import SampleExamples
from components.spec.calibrate import CalibrationSpec
from tests.small_pipeline import frame, serialize

LABELS = [0] * 600 + [1] * 300 + [2] * 90 + [3] * 10
RECORDS = [serialize({"image": b"%d" % index, "label": label}) for index, label in enumerate(LABELS)]


@pytest.fixture
def draw(tmp_path):
    def draw(spec, records=tuple(RECORDS), shards=1, arguments=()):
        folder = tmp_path / "shards"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for shard in range(shards):
            content = b"".join(frame(record) for record in records[shard::shards])
            (folder / f"data-{shard}.gz").write_bytes(gzip.compress(content))
        options = PipelineOptions([*arguments])
        with beam.Pipeline(options=options) as pipeline:
            examples = pipeline | beam.io.ReadFromTFRecord(str(folder / "*.gz"))
            pickled = examples | SampleExamples(spec) | beam.Map(pickle.dumps)
            _ = pickled | beam.io.WriteToTFRecord(str(tmp_path / "sample"), shard_name_template="")
        return pickle.loads(next(tf.data.TFRecordDataset(str(tmp_path / "sample")).as_numpy_iterator()))

    return draw


SPECS = [
    CalibrationSpec(samples=100, seed=1),
    CalibrationSpec(samples=100, seed=1, stratify_by="label"),
    CalibrationSpec(samples=100, seed=1, stratify_by="label", stratify="balanced"),
]


@pytest.mark.parametrize("spec", SPECS, ids=["uniform", "proportional", "balanced"])
def test_sample_is_the_same_when_sharded_and_shuffled(draw, spec):
    one = draw(spec)
    seven = draw(spec, random.Random(2).sample(RECORDS, len(RECORDS)), shards=7)
    assert one == seven
    assert len(one.examples) == 100 == len(set(one.examples))
    assert set(one.examples) <= set(RECORDS)
    assert one.available == 1000


# That of several processes is compared in tests/servers/beam_processes.py.
def test_sample_is_the_same_when_two_workers_exchange_encoded_data(draw):
    spec = SPECS[1]
    arguments = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    assert draw(spec, shards=3, arguments=arguments) == draw(spec)


def test_samples_differ_when_seeds_differ(draw):
    first, second = (set(draw(CalibrationSpec(samples=100, seed=seed)).examples) for seed in (1, 2))
    # Of 100 each out of 1000, ten are shared on average, with a standard deviation of 2.8.
    assert len(first & second) < 25


@pytest.mark.parametrize(
    ("stratify", "expected"),
    [("proportional", {"0": 60, "1": 30, "2": 9, "3": 1}), ("balanced", {"0": 30, "1": 30, "2": 30, "3": 10})],
)
def test_sample_has_the_shares_when_stratified(draw, stratify, expected):
    sample = draw(CalibrationSpec(samples=100, seed=4, stratify_by="label", stratify=stratify), shards=3)
    label_of = dict(zip(RECORDS, LABELS, strict=True))
    assert Counter(str(label_of[example]) for example in sample.examples) == expected
    assert {fact.value: fact.taken for fact in sample.strata} == expected
    assert {fact.value: fact.available for fact in sample.strata} == {"0": 600, "1": 300, "2": 90, "3": 10}


def test_sample_is_stratified_in_order_of_value_when_feature_is_text_or_float(draw):
    records = [serialize({"kind": b"ab"[i % 2 : i % 2 + 1], "size": [0.5, 10.25][i % 2], "n": i}) for i in range(40)]
    by_text = draw(CalibrationSpec(samples=10, stratify_by="kind"), records)
    by_size = draw(CalibrationSpec(samples=10, stratify_by="size"), records)
    assert [(fact.value, fact.taken) for fact in by_text.strata] == [("a", 5), ("b", 5)]
    assert [(fact.value, fact.taken) for fact in by_size.strata] == [("0.5", 5), ("10.25", 5)]


def test_sample_is_everything_when_fewer_than_asked(draw):
    sample = draw(CalibrationSpec(samples=5000), [*RECORDS, RECORDS[0]])
    assert Counter(sample.examples) == Counter([*RECORDS, RECORDS[0]])
    assert sample.available == 1001


def test_sample_is_empty_when_split_is(draw):
    sample = draw(CalibrationSpec(samples=5), [])
    assert (sample.examples, sample.available, sample.refused) == ((), 0, None)


def test_sample_is_refused_when_an_example_lacks_the_feature(draw):
    sample = draw(CalibrationSpec(samples=10, stratify_by="label"), [*RECORDS, serialize({"image": b"x"})], shards=3)
    assert sample.examples == ()
    assert "lacks the feature 'label'" in str(sample.refused)
    assert "Remedy: specify a feature that every example has" in str(sample.refused)
