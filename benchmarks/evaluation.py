"""Examples per CPU second from TFRecord files to predictions, of Edgemill's extractors and TFMA's TFLite extractors.

Both read the same gzipped tf.Examples with Beam's DirectRunner and run the same int8 model (8x8 image -> convolution ->
10 classes), in turns. The best of several rounds counts. The predictions are then compared with those of an oracle that
runs one example at a time and shares no code with the extractors.

    python benchmarks/evaluation.py [--examples 60000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import apache_beam as beam
import numpy as np

import components  # noqa: F401  # chooses tf-keras before TensorFlow is imported

BATCH = 1000
BAR = 3.0


class DigitTask:
    """Rows of 64 floats as 8x8 images."""

    def feature_spec(self) -> dict[str, Any]:
        """The features of one example."""
        import tensorflow as tf

        return {"image": tf.io.FixedLenFeature([64], tf.float32), "label": tf.io.FixedLenFeature([], tf.int64)}

    def decode(self, features: dict[str, Any]) -> Any:
        """The model's input, [batch, 8, 8, 1]."""
        import tensorflow as tf

        return {"image": tf.reshape(features["image"], [-1, 8, 8, 1])}


TASK = DigitTask()


def make_model(images: np.ndarray) -> bytes:
    """An int8 convolutional network with random weights, calibrated on `images`."""
    import tensorflow as tf

    random = np.random.default_rng(1)
    module = tf.Module()
    module.kernel = tf.Variable(random.normal(size=(3, 3, 1, 8), scale=0.3).astype(np.float32))
    module.weights = tf.Variable(random.normal(size=(288, 10), scale=0.1).astype(np.float32))

    def serve(image: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "VALID"))
        return tf.nn.softmax(tf.matmul(tf.reshape(hidden, [-1, 288]), module.weights))

    spec = tf.TensorSpec([1, 8, 8, 1], tf.float32, name="image")
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(serve).get_concrete_function(spec)], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image.reshape(1, 8, 8, 1)] for image in images[:100])
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def write_examples(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write one gzipped TFRecord file."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for image, label in zip(images, labels, strict=True):
            features = {
                "image": tf.train.Feature(float_list=tf.train.FloatList(value=image)),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


class Keep(beam.DoFn):
    """Collects predictions and writes them to a file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def setup(self) -> None:
        """Start over."""
        self._parts: list[np.ndarray] = []

    def process(self, element: dict[str, Any]) -> tuple[()]:
        """Keep one batch."""
        self._parts.append(np.asarray(element["predictions"]))
        return ()

    def teardown(self) -> None:
        """Write."""
        np.save(self._path, np.concatenate(self._parts) if self._parts else np.zeros((0, 10)))


def run_ours(examples: Path, model: Path, kept: Path) -> None:
    """Run Edgemill, from the file to extracts with predictions."""
    from components.evaluate.extractors import EXTRACTS, PredictExtractor, load_tflite, read_batches, shared_model
    from components.evaluate.function_metric import FunctionValues

    models, task = [shared_model("", str(model), load_tflite)], f"{__name__}:TASK"
    extractor = PredictExtractor(models, task, None, "label", ["label"], [""], {"": ""}, FunctionValues((), "label"))
    with beam.Pipeline() as pipeline:
        batches = pipeline | beam.Create([str(examples)]) | beam.FlatMap(read_batches, BATCH)
        _ = (batches | extractor.ptransform)[EXTRACTS] | beam.ParDo(Keep(kept))


def run_stock(examples: Path, model: Path, kept: Path) -> None:
    """Run TFMA as its Evaluator does for model_type `tf_lite`: TFXIO, FeaturesExtractor, TFLitePredictExtractor."""
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.extractors import tflite_predict_extractor
    from tensorflow_model_analysis.proto import config_pb2
    from tfx_bsl.tfxio import tf_example_record

    config = config_pb2.EvalConfig(model_specs=[config_pb2.ModelSpec(label_key="label", model_type=tfma.TF_LITE)])
    shared = tfma.default_eval_shared_model(eval_saved_model_path=str(model.parent), eval_config=config)
    source = tf_example_record.TFExampleRecord(
        file_pattern=str(examples), raw_record_column_name=tfma.ARROW_INPUT_COLUMN
    )
    with beam.Pipeline() as pipeline:
        extracts = (
            pipeline | source.BeamSource(batch_size=BATCH) | beam.Map(lambda batch: {"arrow_record_batch": batch})
        )
        for extractor in (
            tfma.extractors.FeaturesExtractor(eval_config=config),
            tflite_predict_extractor.TFLitePredictExtractor(config, shared),
        ):
            extracts = extracts | extractor.stage_name >> extractor.ptransform
        _ = extracts | beam.ParDo(Keep(kept))


def oracle(content: bytes, images: np.ndarray) -> np.ndarray:
    """Predict one example at a time: round, clip, invoke, dequantize."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images.reshape(-1, 1, 8, 8, 1):
        scale, zero_point = source["quantization"]
        steps = np.round(image / np.float32(scale)) + zero_point
        interpreter.set_tensor(source["index"], np.minimum(np.maximum(steps, -128), 127).astype(np.int8))
        interpreter.invoke()
        scale, zero_point = sink["quantization"]
        rows.append((interpreter.get_tensor(sink["index"])[0].astype(np.float32) - zero_point) * np.float32(scale))
    return np.array(rows)


def main() -> int:
    """Measure and print. Returns 0 if the ratio meets its bound and Edgemill's predictions equal the oracle's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=60000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()

    random = np.random.default_rng(0)
    # Slightly beyond the calibrated range [0, 1], like real data.
    images = random.uniform(-0.02, 1.02, size=(asked.examples, 64)).astype(np.float32)
    labels = random.integers(10, size=asked.examples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = make_model(np.clip(images, 0, 1))
        model = folder / "tflite"
        model.write_bytes(content)
        write_examples(folder / "examples.gz", images, labels)
        paths = {"edgemill": run_ours, "stock": run_stock}
        best = dict.fromkeys(paths, float("inf"))
        for _ in range(asked.rounds):
            for kind, run in paths.items():
                start = time.process_time()
                run(folder / "examples.gz", model, folder / f"{kind}.npy")
                best[kind] = min(best[kind], time.process_time() - start)
        expected = oracle(content, images)
        wrong = {
            kind: int((np.load(folder / f"{kind}.npy").reshape(expected.shape) != expected).any(axis=1).sum())
            for kind in paths
        }
    ratio = best["stock"] / best["edgemill"]
    facts = {f"{kind}_examples_per_cpu_s": round(asked.examples / seconds) for kind, seconds in best.items()}
    facts |= {f"{kind}_examples_unlike_oracle": count for kind, count in wrong.items()}
    print(json.dumps({"examples": asked.examples, **facts, "ratio": round(ratio, 2), "bar": BAR}, indent=2))
    return 0 if ratio >= BAR and wrong["edgemill"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
