"""Examples per CPU second from TFRecord files to predictions, and the cost of evaluating stored predictions.

Edgemill's predictions, TFMA's TFLite extractors, and a bare loop over TensorFlow Lite's interpreter in batches read the
same gzipped tf.Examples and run the same int8 model (8x8 image -> convolution -> 10 classes), in turns. The best of
several rounds counts. The predictions are then compared with those of an oracle that runs one example at a time and
shares no code with them. The evaluation computes the accuracy overall and for 10 slices, with intervals, changes, and
flips. The time of the statistics consists of adding up by slice and part, and of the combine with its intervals.

With --memory, the same runs on 100,000 and on 1,000,000 examples in their own processes, whose peaks are compared.

    python benchmarks/evaluation.py [--examples 200000] [--rounds 3] [--memory]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
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
from components.upstream.beam import keep_beam_in_process

BATCH = 1000
TIMES_STOCK, SHARE_OF_BARE, SHARE_OF_STATISTICS, GROWTH = 5.0, 0.85, 0.1, 1.2


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


def make_model(images: np.ndarray, folder: Path) -> bytes:
    """An int8 convolutional network with random weights, calibrated on `images`; saves the float model in `folder`."""
    import tensorflow as tf

    random = np.random.default_rng(1)
    module = tf.Module()
    module.kernel = tf.Variable(random.normal(size=(3, 3, 1, 8), scale=0.3).astype(np.float32))
    module.weights = tf.Variable(random.normal(size=(288, 10), scale=0.1).astype(np.float32))

    def serve(image: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(tf.nn.conv2d(image, module.kernel, 1, "VALID"))
        return tf.nn.softmax(tf.matmul(tf.reshape(hidden, [-1, 288]), module.weights))

    image = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")
    module.serve = tf.function(lambda image: {"probabilities": serve(image)}, input_signature=[image])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
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


def request() -> Any:
    """The split and the model to predict."""
    from components.spec.prediction import PredictionSpec

    return PredictionSpec(split="eval", batch_size=BATCH)


def run_ours(examples: Path, model: Path, kept: Path) -> None:
    """Predict with Edgemill, from the file to stored outputs."""
    import functools

    from components.predict.models import TFLitePredictor
    from components.predict.prediction import predict

    load = functools.partial(TFLitePredictor, model.read_bytes())
    predict(load, files=[str(examples)], request=request(), task=f"{__name__}:TASK", output=kept.with_suffix(""))


def stored_outputs(folder: Path) -> np.ndarray:
    """Return the outputs that Edgemill stored, [N, 10]."""
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(folder, format="ipc").to_table()
    column = next(name for name in table.column_names if name.startswith("output:"))
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table[column].chunks]
    return np.concatenate(parts).reshape(-1, 10)


def run_bare(examples: Path, model: Path, kept: Path) -> None:
    """Only read, parse, quantize, invoke, and dequantize batches."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(model), num_threads=1)
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = source["quantization"]
    step, zero = sink["quantization"]
    parse = tf.function(lambda batch: TASK.decode(tf.io.parse_example(batch, TASK.feature_spec()))["image"])
    records = tf.data.TFRecordDataset([str(examples)], compression_type="GZIP").batch(BATCH)
    size, parts = 0, []
    for batch in records:
        images = parse(batch).numpy()
        if len(images) != size:
            size = len(images)
            interpreter.resize_tensor_input(source["index"], images.shape)
            interpreter.allocate_tensors()
        steps = np.clip(np.round(images / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], steps)
        interpreter.invoke()
        parts.append((interpreter.get_tensor(sink["index"]).astype(np.float32) - zero) * np.float32(step))
    np.save(kept, np.concatenate(parts))


def run_stock(examples: Path, model: Path, kept: Path) -> None:
    """Run TFMA like its Evaluator for model_type `tf_lite`: TFXIO, FeaturesExtractor, TFLitePredictExtractor."""
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


def timed(*methods: tuple[type, str]) -> list[float]:
    """Time methods, once per class. Return a list to which each call appends its CPU seconds."""
    spent: list[float] = []
    for kind, name in methods:
        original = getattr(kind, f"_untimed_{name}", None) or getattr(kind, name)
        setattr(kind, f"_untimed_{name}", original)

        def call(self: Any, *given: Any, original: Any = original) -> Any:
            start = time.process_time()
            result = original(self, *given)
            # Beam consumes a generator, so all of its work counts here.
            result = list(result) if hasattr(result, "__next__") else result
            spent.append(time.process_time() - start)
            return result

        setattr(kind, name, call)
    return spent


def predict_and_evaluate(folder: Path) -> tuple[float, float, float]:
    """Predict with two models, and evaluate. Return CPU seconds of both parts, and of the statistics in the second."""
    import functools

    from components.evaluate.eval_config import BASELINE
    from components.evaluate.evaluation import run_evaluation
    from components.evaluate.jackknife import _MergedParts
    from components.evaluate.per_batch import AddUp
    from components.predict.models import FloatPredictor, TFLitePredictor
    from components.predict.prediction import predict
    from components.predict.store import in_folder
    from components.spec.evaluate import EvaluationSpec

    files, task = [str(folder / "examples.gz")], f"{__name__}:TASK"
    loads = {
        BASELINE: functools.partial(FloatPredictor, folder / "saved_model"),
        "int8": functools.partial(TFLitePredictor, (folder / "tflite").read_bytes()),
    }
    start, names = time.process_time(), ()
    for name, load in loads.items():
        report = predict(
            load, files=files, request=request(), task=task, output=folder / f"of-{name}", output_names=names
        )
        names = names or report.output_names
    predicted = time.process_time() - start
    spent = timed(
        (AddUp, "process"),
        (AddUp, "finish_bundle"),
        (_MergedParts, "merge_accumulators"),
        (_MergedParts, "extract_output"),
    )
    start = time.process_time()
    run_evaluation(
        files=files,
        baseline=folder / "saved_model",
        predictions={name: in_folder(folder / f"of-{name}") for name in loads},
        spec=EvaluationSpec(slices=(("label",),), batch_size=BATCH),
        label="label",
        task=task,
        output=folder / "evaluation",
    )
    return predicted, time.process_time() - start, sum(spent)


def written(folder: Path, count: int) -> tuple[bytes, np.ndarray]:
    """Write examples and models to a folder; return the int8 file and the images."""
    random = np.random.default_rng(0)
    # Slightly beyond the calibrated range [0, 1], like real data.
    images = random.uniform(-0.02, 1.02, size=(count, 64)).astype(np.float32)
    content = make_model(np.clip(images[:100], 0, 1), folder / "saved_model")
    (folder / "tflite").write_bytes(content)
    write_examples(folder / "examples.gz", images, random.integers(10, size=count))
    return content, images


def peak_bytes(count: int) -> int:
    """The peak of a process that predicts and evaluates `count` examples, written by another process."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("write", "evaluate"):
            command = [sys.executable, __file__, "--examples", str(count), "--part", part, "--folder", name]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(found.splitlines()[-1])


def main() -> int:
    """Measure and print. Returns 0 if all bounds hold and Edgemill's predictions equal the oracle's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=200000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--part", choices=("write", "evaluate"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    # The same setting as in `edgemill run`.
    keep_beam_in_process()
    if asked.part == "write":
        written(asked.folder, asked.examples)
        return 0
    if asked.part == "evaluate":
        predict_and_evaluate(asked.folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
        return 0
    if asked.memory:
        peaks = {count: peak_bytes(count) for count in (100_000, 1_000_000)}
        growth = peaks[1_000_000] / peaks[100_000]
        facts = {f"peak_mb_of_{count}": round(peak / 1e6) for count, peak in peaks.items()}
        print(json.dumps({**facts, "growth": round(growth, 3), "bar": GROWTH}, indent=2))
        return 0 if growth <= GROWTH else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content, images = written(folder, asked.examples)
        model = folder / "tflite"
        paths = {"edgemill": run_ours, "stock": run_stock, "bare": run_bare}
        parts = ("predict_two", "evaluate_two", "statistics_of_two")
        best = dict.fromkeys([*paths, *parts], float("inf"))
        for _ in range(asked.rounds):
            for kind, run in paths.items():
                start = time.process_time()
                run(folder / "examples.gz", model, folder / f"{kind}.npy")
                best[kind] = min(best[kind], time.process_time() - start)
            for kind, seconds in zip(parts, predict_and_evaluate(folder), strict=True):
                best[kind] = min(best[kind], seconds)
        expected = oracle(content, images)
        np.save(folder / "edgemill.npy", stored_outputs(folder / "edgemill"))
        wrong = {
            kind: int((np.load(folder / f"{kind}.npy").reshape(expected.shape) != expected).any(axis=1).sum())
            for kind in paths
        }
    facts: dict[str, Any] = {f"{kind}_examples_per_cpu_s": round(asked.examples / best[kind]) for kind in paths}
    facts |= {f"{kind}_examples_unlike_oracle": count for kind, count in wrong.items()}
    facts["times_stock"] = round(best["stock"] / best["edgemill"], 2)
    facts["share_of_bare"] = round(best["bare"] / best["edgemill"], 3)
    facts["share_of_statistics"] = round(best["statistics_of_two"] / (best["predict_two"] + best["evaluate_two"]), 3)
    facts |= {f"{part}_us_per_example": round(best[part] / asked.examples * 1e6, 1) for part in parts}
    bars = {"times_stock": TIMES_STOCK, "share_of_bare": SHARE_OF_BARE, "share_of_statistics": SHARE_OF_STATISTICS}
    print(json.dumps({"examples": asked.examples, **facts, "bars": bars}, indent=2))
    met = facts["times_stock"] >= TIMES_STOCK and facts["share_of_bare"] >= SHARE_OF_BARE
    return 0 if met and facts["share_of_statistics"] <= SHARE_OF_STATISTICS and wrong["edgemill"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
