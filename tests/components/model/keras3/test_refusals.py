"""What is refused, by files of Keras 3 that are written by hand."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

from components.baseline.pretrained import load_keras
from components.baseline.source import recognize
from components.core.errors import ModelError
from components.model.keras3.load import rebuild_file
from tests.artifacts import pretrained

INPUT = {
    "module": "keras.layers",
    "class_name": "InputLayer",
    "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "x"},
    "name": "x",
    "inbound_nodes": [],
}
TENSOR = {
    "class_name": "__keras_tensor__",
    "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["x", 0, 0]},
}
QUANTIZED = {"module": "keras", "class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}}
RANKER = {"module": "my.models", "class_name": "Ranker", "config": {"name": "r"}, "registered_name": "Custom>Ranker"}
DENSE = {"layers/dense": {"0": np.ones([3, 2], np.float32), "1": np.zeros([2], np.float32)}}


def model_of(module: str, kind: str, config: Mapping[str, Any], registered: str | None = None) -> dict[str, Any]:
    """A functional model with one layer or operation after its input."""
    layer = {
        "module": module,
        "class_name": kind,
        "config": {"name": "odd", **config},
        "registered_name": registered,
        "name": "odd",
        "inbound_nodes": [{"args": [TENSOR], "kwargs": {}}],
    }
    graph = {"name": "m", "layers": [INPUT, layer], "input_layers": ["x", 0, 0], "output_layers": ["odd", 0, 0]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": graph}


def write(
    path: Path, config: Any, weights: Mapping[str, Mapping[str, np.ndarray]] = DENSE, version: str = "3.15.1"
) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for group, arrays in weights.items():
            for name, array in arrays.items():
                file[f"{group}/vars/{name}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def dense(**options: Any) -> dict[str, Any]:
    return model_of("keras.layers", "Dense", {"units": 2, "activation": "relu", "trainable": True, **options})


def test_weights_are_carried_over_by_path(tmp_path: Path) -> None:
    model = rebuild_file(write(tmp_path / "m.keras", dense())).model
    np.testing.assert_array_equal(model(tf.constant([[1.0, 2.0, 3.0]])), [[6.0, 6.0]])
    assert [layer.name for layer in model.layers] == ["x", "odd"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (model_of("keras.layers", "RMSNormalization", {}), r"layer odd: .*tf-keras has no layer RMSNormalization"),
        (model_of("keras.src.ops.math", "RFFT", {}), r"layer odd: .*the operation RFFT cannot be rebuilt"),
        (
            model_of("keras.layers", "Resizing", {"height": 2, "width": 2, "antialias": True}),
            r"layer odd: .*no option 'antialias' .*found: True",
        ),
        (
            model_of("keras.layers", "LSTM", {"units": 2, "recurrent_activation": "hard_sigmoid"}),
            r"layer odd: .*no recurrent_activation like this one .*found: hard_sigmoid",
        ),
        (
            dense(dtype=QUANTIZED),
            r"layer odd: .*already quantized .*found: int8_from_float32.*before `model.quantize`",
        ),
        (
            model_of("keras.layers", "Conv2D", {"filters": 2, "kernel_size": 3}),
            r"layer odd: .*ValueError: .*min_ndim=4",
        ),
        (
            model_of("my.layers", "Scaled", {}, "shop>Scaled"),
            r"layer odd: the model has layers of classes that the task does not register .*found: shop>Scaled.*"
            r"register_keras_serializable\('shop'\)` above `class Scaled",
        ),
        (
            RANKER,
            r"it is a subclassed model, not a graph of layers .*found: Custom>Ranker",
        ),
        (
            {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}},
            r"model s: the model does not define its inputs",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value["class_name"],
)  # fmt: skip
def test_what_cannot_be_rebuilt_is_refused_by_layer_with_advice(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        rebuild_file(write(tmp_path / "m.keras", config))
    assert str(tmp_path / "m.keras") in str(caught.value)
    assert "model.export('folder')" in caught.value.remedy or "Input" in caught.value.remedy


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, r"layer odd: .*different number of weights .*expected: 2 at layers/dense: kernel, bias; found: 0"),
        (
            {"layers/dense": {"0": np.ones([2, 3], np.float32), "1": np.zeros([2], np.float32)}},
            r"its kernel has a different shape \(expected: \(3, 2\); found: \(2, 3\)\)",
        ),
        (
            {**DENSE, "layers/dense_1": {"0": np.ones([2], np.float32)}},
            r"layer layers/dense_1: .*no rebuilt layer takes these weights .*found: layers/dense_1\)",
        ),
    ],
    ids=["none", "transposed", "more"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, weights: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        rebuild_file(write(tmp_path / "m.keras", dense(), weights))


def test_weights_of_another_layer_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.keras", dense())
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "other"
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(dense()))
        archive.writestr("model.weights.h5", content.getvalue())
    with pytest.raises(ModelError, match=r"weights at layers/dense belong to another layer \(found: other\)"):
        rebuild_file(tmp_path / "n.keras")


def test_lambda_needs_trust_before_anything_is_built(tmp_path: Path) -> None:
    function = {"class_name": "__lambda__", "config": {"code": "", "defaults": None, "closure": None}}
    path = write(tmp_path / "m.keras", model_of("keras.layers", "Lambda", {"function": function}))
    with pytest.raises(ModelError, match=r"contains Python code.*found: layer 'odd'"):
        load_keras(pretrained(path))


def test_object_that_keras_3_would_import_is_refused_before_it_runs(tmp_path: Path) -> None:
    config = dense(kernel_initializer={"module": "os", "class_name": "system", "config": {}, "registered_name": None})
    with pytest.raises(ModelError, match=r"imports Python objects that the task does not register .*found: os.system"):
        load_keras(pretrained(write(tmp_path / "m.keras", config)))


def test_file_of_a_later_keras_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"written by Keras 4\.0\.1, whose format Edgemill doesn't know"):
        recognize(write(tmp_path / "m.keras", dense(), version="4.0.1"))


def test_zip_bomb_is_refused_before_it_is_decompressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", bytes(80 << 20))
    with pytest.raises(ModelError, match=r"config\.json: the model file is a decompression bomb .*83,886,080 bytes"):
        recognize(tmp_path / "m.keras")


@pytest.mark.parametrize("kind", ["bomb", "external", "link", "virtual"])
def test_weights_that_are_not_in_the_file_are_refused(tmp_path: Path, kind: str) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["1"] = np.zeros([2], np.float32)
        if kind == "bomb":
            group.create_dataset("0", [1 << 20, 1 << 10], "f4", chunks=(1 << 10, 1 << 10), compression="gzip")
        elif kind == "external":
            group.create_dataset("0", [3, 2], "f4", external=[("/etc/passwd", 0, 24)])
        elif kind == "link":
            group["0"] = h5py.ExternalLink("/etc/passwd", "/x")
        else:
            group.create_virtual_dataset("0", h5py.VirtualLayout((3, 2), "f4"))
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(dense()))
        archive.writestr("model.weights.h5", content.getvalue())
    message = r"decompression bomb .*4,294,967,296 bytes from 0" if kind == "bomb" else "refers to data outside it"
    with pytest.raises(ModelError, match=message):
        rebuild_file(tmp_path / "m.keras")
