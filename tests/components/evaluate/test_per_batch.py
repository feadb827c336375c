import numpy as np
from tensorflow_model_analysis.proto import config_pb2

from components.evaluate.per_batch import slices_of


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
    found = slices_of(features, 4, slicing)
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
    assert [(key, rows.tolist()) for key, rows in slices_of({}, 3, slicing[:1])] == [((), [0, 1, 2])]
