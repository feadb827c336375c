"""A plain script without Edgemill: the same training, conversions, evaluation, and benchmark.

It runs in one process, without metadata, cache, or gate. `benchmarks/pipeline.py` compares the example with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported

import tensorflow as tf  # isort: skip
import numpy as np

from components.evaluate.latency.measure import measure_latency
from pipelines.fashion_mnist.task import TASK

DATA = Path(__file__).parent.parent / "pipelines" / "fashion_mnist" / "data"


def main() -> None:
    """Train, convert five times, evaluate, and benchmark. Prints a line for each candidate."""
    images, labels = _read("train")
    test_images, test_labels = _read("eval")
    tf.keras.utils.set_random_seed(17)
    model = TASK.build_model()
    TASK.compile(model)
    model.fit(images, labels, batch_size=64, epochs=10, verbose=0)
    sample = images[np.random.default_rng(17).permutation(len(images))[:500]]
    files = {name: _convert(model, name, sample) for name in ("float32", "float16", "dynamic", "int8", "int16x8")}
    print(f"baseline {_summary(model.predict(test_images, verbose=0), test_labels)}")
    ratios = measure_latency(files["float32"], files, {"image": test_images[:1]})
    for name, content in files.items():
        scores = _predict(content, test_images)
        print(f"{name:9} {len(content):7,} bytes, {_summary(scores, test_labels)}, latency {ratios[name].ratio}")


def _read(split: str) -> tuple[Any, Any]:
    records = tf.data.TFRecordDataset(str(DATA / f"{split}.tfrecord.gz"), compression_type="GZIP").batch(10_000)
    features = tf.io.parse_example(next(iter(records)), TASK.feature_spec())
    return TASK.decode(features).numpy(), features["label"].numpy()


def _convert(model: Any, name: str, sample: Any) -> bytes:
    serve = tf.function(lambda image: model(image, training=False))
    concrete = serve.get_concrete_function(tf.TensorSpec([1, 28, 28, 1], tf.float32, name="image"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    if name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if name in {"int8", "int16x8"}:
        converter.representative_dataset = lambda: ([image[None]] for image in sample)
        narrow = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [narrow if name == "int8" else wide]
        kind = tf.int8 if name == "int8" else tf.int16
        converter.inference_input_type = converter.inference_output_type = kind
    return bytes(converter.convert())


def _predict(content: bytes, images: Any) -> Any:
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = []
    for image in images:
        if source["dtype"] != np.float32:
            scale, zero = source["quantization"]
            info = np.iinfo(source["dtype"])
            image = np.clip(np.rint(image / scale) + zero, info.min, info.max).astype(source["dtype"])  # noqa: PLW2901
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(target["index"])[0])
    return np.array(scores)


def _summary(scores: Any, labels: Any) -> str:
    right = scores.argmax(axis=1) == labels
    draws = np.random.default_rng(0).integers(0, len(right), (1000, len(right)))
    low, high = np.quantile(right[draws].mean(axis=1), [0.025, 0.975])
    worst = min((right[labels == label].mean(), label) for label in range(10))
    return f"accuracy {right.mean():.4f} [{low:.4f}, {high:.4f}], worst class {worst[1]} at {worst[0]:.3f}"


if __name__ == "__main__":
    main()
