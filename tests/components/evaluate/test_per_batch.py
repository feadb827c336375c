import numpy as np
from tensorflow_model_analysis import FEATURES_KEY
from tensorflow_model_analysis.proto import config_pb2

from components.evaluate.means import MEANS_KEY
from components.evaluate.outputs.units import TERMS_KEY, UNIT_KEY
from components.evaluate.parts import BUCKET_KEY
from components.evaluate.per_batch import AddUp
from components.evaluate.slicing import Slicer


def test_slices_are_those_that_examples_have_one_by_one():
    features = {
        "label": np.array([1, 0, 1, 2]),
        "site": np.array([[b"a"], [b"b"], [b"a"], [b"b"]], dtype=object),
        "words": np.array([[b"x", b"y"], [b"x", b"x"], [b"z", b"y"], [b"x", b"y"]], dtype=object),
        "other": np.array([np.nan] * 4),
    }
    slicing = [
        config_pb2.SlicingSpec(),
        config_pb2.SlicingSpec(feature_keys=["label"]),
        config_pb2.SlicingSpec(feature_keys=["site", "label"]),
        config_pb2.SlicingSpec(feature_keys=["words"]),
    ]
    slicer = Slicer(slicing)
    found = slicer.rows(features, 4)
    assert {key: rows.tolist() for key, rows in found} == {
        (): [0, 1, 2, 3],
        (("label", 0),): [1],
        (("label", 1),): [0, 2],
        (("label", 2),): [3],
        (("label", 0), ("site", "b")): [1],
        (("label", 1), ("site", "a")): [0, 2],
        (("label", 2), ("site", "b")): [3],
        (("words", "x"),): [0, 1, 3],
        (("words", "y"),): [0, 2, 3],
        (("words", "z"),): [2],
    }
    assert [(key, rows.tolist()) for key, rows in Slicer(slicing[:1]).rows({}, 3)] == [((), [0, 1, 2])]


def test_sums_of_a_bundle_are_those_of_its_batches():
    random = np.random.default_rng(3)
    slicing = [config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["label"])]
    step = AddUp(slicing, [], grouped=False, ranked=False)
    step.start_bundle()
    batches = []
    # The second batch has new labels, and lacks others.
    for count, labels in ((30, [0, 1]), (7, [1, 5])):
        batches.append((random.choice(labels, count), random.normal(size=(count, 3)), random.integers(20, size=count)))
        label, values, buckets = batches[-1]
        element = {
            MEANS_KEY: values,
            BUCKET_KEY: buckets,
            UNIT_KEY: buckets + 1000,
            TERMS_KEY: values[:, 1:],
            FEATURES_KEY: {"label": label[:, None]},
        }
        assert list(step.process(element)) == []
    found = {each.value[0]: each.value[1] for each in step.finish_bundle()}
    label, values, buckets = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert found.keys() == {(), (("label", 0),), (("label", 1),), (("label", 5),)}
    for key, parts in found.items():
        rows = label == key[0][1] if key else np.full(37, True)
        assert parts.keys() == set(buckets[rows].tolist())
        for bucket, part in parts.items():
            assert part.size == (rows & (buckets == bucket)).sum()
            np.testing.assert_allclose(part.sums, values[rows & (buckets == bucket)].sum(axis=0), rtol=1e-12)
        (units,) = [part.units for part in parts.values() if part.units is not None]
        assert units.keys.tolist() == sorted(set((buckets[rows] + 1000).tolist()))
        for unit, sums in zip(units.keys, units.sums, strict=True):
            np.testing.assert_allclose(sums, values[rows & (buckets + 1000 == unit), 1:].sum(axis=0), rtol=1e-12)
    # The next bundle starts over.
    step.start_bundle()
    assert list(step.finish_bundle()) == []
    step.start_bundle()
    assert list(step.process(element)) == []
    again = {each.value[0]: each.value[1] for each in step.finish_bundle()}
    assert sum(part.size for part in again[()].values()) == 7
