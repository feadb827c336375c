import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf

from pipelines.checks.dry_run import dry_run
from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError
from pipelines.file.user_folders import make_importable
from tests.small_pipeline import OF_SCALARS, TASK, SmallPipeline, with_csv


def check(small: SmallPipeline) -> None:
    make_importable(small.write())
    dry_run(preflight(small.file))


def errors_of(small: SmallPipeline) -> str:
    with pytest.raises(PipelineFileError) as caught:
        check(small)
    assert "Remedy: " in str(caught.value)
    return str(caught.value)


def test_whole_pipeline_passes(tmp_path: Path) -> None:
    check(SmallPipeline(tmp_path))


def test_task_that_raises_on_import_is_reported_with_its_error(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "import nowhere_at_all\nTASK = 1\n")
    assert "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'" in errors_of(small)


def test_object_without_the_methods_of_a_task_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "TASK = 1\n")
    assert "is not a task: it lacks feature_spec, decode" in errors_of(small)


def test_task_without_build_model_is_reported_when_the_baseline_is_trained(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("def build_model", "def make_model"))
    assert "the task has no build_model and compile" in errors_of(small)


@pytest.mark.parametrize(
    ("returned", "found"), [("None", "NoneType"), ("tf.keras.Model", "the class Model"), ("object(), 1", "tuple")]
)
def test_build_model_that_returns_no_model_is_refused(tmp_path: Path, returned: str, found: str) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("layers = tf.keras.layers", f"return {returned}"))
    said = errors_of(small)
    assert "task: the task's build_model does not return a model" in said
    assert f"found: {found})" in said


@pytest.mark.parametrize(
    ("decoded", "found"),
    [
        ('tf.reshape(features["image"], [-1, 4, 4, 1])[1:]', "examples; found: [3, 4, 4, 1])"),
        ('tf.reshape(features["image"], [4, 4, 4, 1])[:4]', ""),
        ("tf.zeros([4, 4, 4, 1])", "a first dimension of 1 for a batch of 1 example; found: [4, 4, 4, 1])"),
    ],
)
def test_decode_that_does_not_keep_the_batch_is_refused(tmp_path: Path, decoded: str, found: str) -> None:
    small = SmallPipeline(tmp_path, TASK.replace('tf.reshape(features["image"], [-1, 4, 4, 1])', decoded))
    said = errors_of(small)
    assert "task: the task's decode " + ("does not return one row per example" if found else "fails") in said
    assert found in said


def test_model_that_cannot_be_built_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("layers.Flatten()", "layers.Flatten(3, 4, 5)"))
    assert "the task's model cannot be built: TypeError" in errors_of(small)


def test_stateful_model_is_reported_with_its_layer(tmp_path: Path) -> None:
    recurrent = "layers.Reshape([4, 8]), layers.LSTM(4, stateful=True, name='memory'),"
    text = TASK.replace("layers.Flatten(),", recurrent).replace("Input([4, 4, 1], ", "Input([4, 4, 1], 1, ")
    said = errors_of(SmallPipeline(tmp_path, text))
    assert "layer memory: the model is stateful" in said
    assert "stateful=False" in said


def test_examples_without_the_label_are_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.write_split("eval", 9, seed=1, change=lambda _, features: {"image": features["image"]})
    said = errors_of(small)
    assert "eval.tfrecord: the examples do not have the features that the task declares" in said
    assert "(expected: image: 16 of float32, label: 1 of int64; found: image: 16 of float32)" in said


def test_types_and_lengths_that_differ_from_the_declared_ones_are_shown(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.write_split(
        "eval", 9, seed=1, change=lambda n, features: {"image": features["image"][n % 2 :], "label": b"a"}
    )
    expected = "image: 16 of float32, label: 1 of int64"
    assert f"(expected: {expected}; found: image: 16 of float32 or 15 of float32, label: 1 of string)" in errors_of(
        small
    )


def test_label_that_the_task_does_not_declare_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["examples"]["label"] = "class"
    said = errors_of(small)
    assert "examples.label: the task has no dense feature 'class' (expected: one of image, label" in said


@pytest.mark.parametrize("kind", ["tfrecord", "csv"])
def test_slice_that_the_task_does_not_declare_is_reported_with_its_field(tmp_path: Path, kind: str) -> None:
    small = with_csv(tmp_path) if kind == "csv" else SmallPipeline(tmp_path)
    if kind == "csv":
        (tmp_path / "data" / "eval.csv").write_text("image,label,town\n0.5,1,A\n")
    small.spec["evaluate"]["slices"] = [["label", "town"]]
    assert "evaluate.slices: the task has no dense feature 'town'" in errors_of(small)
    small.spec["evaluate"]["slices"] = []
    small.spec["gate"]["metrics"][0] |= {"slices": ["town"]}
    assert "gate.metrics: the task has no dense feature 'town'" in errors_of(small)
    small.spec["gate"]["metrics"][0] |= {"slices": []}
    small.spec["evaluate"]["group_by"] = "town"
    assert "evaluate.group_by: the task has no dense feature 'town'" in errors_of(small)


def test_stratifying_feature_that_records_lack_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["calibrate"]["stratify_by"] = "town"
    assert "calibrate.stratify_by: an example lacks the feature 'town'" in errors_of(small)
    small.spec["recipes"] = [{"name": "float32", "scheme": "float32"}]
    check(small)


def test_stratifying_feature_that_only_the_records_have_passes(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.write_split("train", 9, seed=1, change=lambda _, features: {**features, "town": b"A"})
    small.spec["calibrate"]["stratify_by"] = "town"
    check(small)


def test_stratifying_feature_that_is_no_column_is_reported(tmp_path: Path) -> None:
    small = with_csv(tmp_path)
    small.spec["calibrate"]["stratify_by"] = "town"
    assert "calibrate.stratify_by: the examples have no column 'town'" in errors_of(small)
    small.spec["calibrate"]["stratify_by"] = "label"
    check(small)


def test_gzipped_file_without_records_is_skipped(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    (tmp_path / "data" / "train-0.gz").write_bytes(gzip.compress(b""))
    check(small)


def test_split_whose_files_hold_no_record_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    (tmp_path / "data" / "eval.tfrecord").unlink()
    (tmp_path / "data" / "eval.gz").write_bytes(gzip.compress(b""))
    assert "there are no examples for the split 'eval' (expected: at least one record" in errors_of(small)


@pytest.mark.parametrize("kind", ["local", "remote"])
@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ("None", "found: NoneType"),
        ("(features['image'], features['label'])", "found: tuple"),
        ("'text'", "found: str"),
        ("tf.strings.as_string(features['image'])", "found: a tensor of strings"),
        ("{}", "found: an empty dict"),
        ("{'image': None}", "found: NoneType for 'image'"),
        ("{1: features['image']}", "found: a name of type int"),
        ("tf.RaggedTensor.from_tensor(features['image'])", "found: RaggedTensor). Remedy: pad it in decode with"),
        ("{'image': tf.sparse.from_dense(features['image'])}", "found: SparseTensor for 'image'). Remedy: pad it"),
    ],
)
def test_decode_that_returns_no_tensor_is_reported(tmp_path: Path, kind: str, returned: str, found: str) -> None:
    small = SmallPipeline(tmp_path)
    if kind == "remote":  # where no record is read
        small.spec["examples"]["path"] = "s3://bucket/data"
    module = next(tmp_path.glob("small_task_*.py"))
    module.write_text(TASK.replace('tf.reshape(features["image"], [-1, 4, 4, 1])', returned))
    said = errors_of(small)
    assert "the task's decode does not return inputs for a model" in said
    assert found in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("feature_spec(self)", "feature_spec(self, more)", "the task's feature_spec fails: TypeError"),
        ("        return {", "        return list({", "must return a mapping of features (expected: feature name"),
        ('"image": tf.io', '"more": 3, "image": tf.io', "found: 'more': int"),
        ("        return {", "        raise SystemExit(0)\n        return {", "feature_spec, line 6"),
    ],
)
def test_feature_spec_that_cannot_be_used_is_reported(tmp_path: Path, old: str, new: str, words: str) -> None:
    task = TASK.replace(old, new)
    task = task.replace("tf.int64)}", "tf.int64)})") if "list(" in new else task
    assert words in errors_of(SmallPipeline(tmp_path, task))


def test_records_that_are_no_examples_are_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    with tf.io.TFRecordWriter(str(tmp_path / "data" / "train.tfrecord")) as writer:
        writer.write(b"\xff\xfe no example")
    assert "found: records that are not tf.Examples" in errors_of(small)


def test_decode_that_fails_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("[-1, 4, 4, 1]", "[-1, 5, 5, 1]"))
    assert "the task's decode fails: InvalidArgumentError" in errors_of(small)


def test_model_that_does_not_take_what_decode_returns_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("layers.Input([4, 4, 1]", "layers.Input([5, 5, 1]"))
    said = errors_of(small)
    assert "(expected: image (None, 5, 5, 1); found: image (4, 4, 4, 1))" in said


def test_number_of_classes_that_does_not_fit_the_model_is_reported(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["examples"]["num_classes"] = 4
    assert (
        "the model's output does not fit the number of classes "
        "(expected: 3, the number of the model's outputs; found: 4)" in (errors_of(small))
    )


TWO_OUTPUTS = """
        image = layers.Input([4, 4, 1], name="image")
        return tf.keras.Model(image, [layers.Dense(3, name=name)(layers.Flatten()(image)) for name in ("one", "two")])
"""
SUBCLASSED = """
        class Own(tf.keras.Model):
            def call(self, image):
                return tf.reshape(image, [-1, 16])[:, :3]
        return Own()
"""
OPEN = """
        image = layers.Input([None, 4, 1], name="image")
        return tf.keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)))
"""
ONE_OUTPUT = """
        image = layers.Input([4, 4, 1], name="image")
        return tf.keras.Model(image, layers.Dense(1, activation="sigmoid")(layers.Flatten()(image)))
"""


def with_model(folder: Path, body: str) -> SmallPipeline:
    return SmallPipeline(
        folder, TASK.replace("        return tf.keras.Sequential", f"{body}        return tf.keras.Sequential")
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            TWO_OUTPUTS,
            "baseline: the model has several outputs, but the task declares one target, the label (expected: "
            "targets(features) that returns a dict with one, two;",
        ),
        (SUBCLASSED, "task: the model does not define its inputs"),
        (OPEN, "task: the input 'image' has no fixed size per example"),
    ],
    ids=["two outputs", "subclassed", "open dimension"],
)
@pytest.mark.parametrize("classes", [3, None])
def test_model_that_cannot_be_exported_is_reported_before_training(
    tmp_path: Path, body: str, message: str, classes: int | None
) -> None:
    small = with_model(tmp_path, body)
    small.spec["examples"]["num_classes"] = classes
    assert message in errors_of(small)


def test_one_output_is_reported_when_the_metric_compares_classes(tmp_path: Path) -> None:
    small = with_model(tmp_path, ONE_OUTPUT)
    task = next(tmp_path.glob("small_task_*.py"))
    task.write_text(task.read_text().replace("sparse_categorical_crossentropy", "binary_crossentropy"))
    for split in ("train", "eval"):
        small.write_split(split, 30, seed=1, change=lambda _, features: features | {"label": features["label"] % 2})
    small.spec["examples"]["num_classes"] = 2
    said = errors_of(small)
    assert "evaluate.metrics: the metric 'accuracy' needs one output for each class" in said
    assert "Remedy: use `binary_accuracy`" in said
    small.spec["evaluate"]["metrics"] = ["cross_entropy", "accuracy"]
    assert "Remedy: use `{name: cross_entropy, class_name: BinaryCrossentropy}`" in errors_of(small)
    assert "binary_accuracy" in said
    small.spec["evaluate"]["metrics"] = ["binary_accuracy"]
    small.spec["gate"]["metrics"][0]["name"] = "binary_accuracy"
    check(small)


def test_decoded_names_that_are_not_the_models_are_reported(tmp_path: Path) -> None:
    text = TASK.replace('return tf.reshape(features["image"], [-1, 4, 4, 1])', 'return {"picture": features["image"]}')
    said = errors_of(SmallPipeline(tmp_path, text))
    assert (
        "the decoded inputs do not match the model's inputs (expected: image (None, 4, 4, 1); found: picture (4, 16))"
        in said
    )


def with_saved_model(
    folder: Path, function: Callable[[Any], Any], shape: list[int | None], kind: Any = tf.float32
) -> SmallPipeline:
    small = SmallPipeline(folder)
    module = tf.Module()
    module.counter = tf.Variable(0.0)
    spec = tf.TensorSpec(shape, kind, name="image")
    module.serve = tf.function(lambda image: {"scores": function(module, image)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    small.spec["baseline"] = {"kind": "pretrained", "path": "saved"}
    return small


def first_three(_: Any, image: Any) -> Any:
    return tf.reshape(image, [-1, 16])[:, :3]


def test_operation_without_an_operator_is_refused_in_a_graph_unless_it_is_part_of_one(tmp_path: Path) -> None:
    def errors_with(name: str, function: Callable[[Any], Any]) -> Any:
        return with_saved_model(tmp_path / name, lambda _, image: function(first_three(_, image)), [None, 4, 4, 1])

    assert "TensorFlow Lite has no operator for Erf" in errors_of(errors_with("erf", tf.math.erf))
    check(errors_with("gelu", tf.nn.gelu))


@pytest.mark.parametrize("batch", [None, 1])
def test_saved_model_passes_when_it_takes_what_decode_returns(tmp_path: Path, batch: int | None) -> None:
    check(with_saved_model(tmp_path, first_three, [batch, 4, 4, 1]))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (first_three, [None, 5, 5, 1], "(expected: image (None, 5, 5, 1); found: image (4, 4, 4, 1))"),
        (
            lambda _, image: first_three(_, image) / 0.0,
            [None, 4, 4, 1],
            "output scores: the model computes values that are not finite from the first examples",
        ),
        (
            lambda _, image: tf.reshape(image, [-1, 7]),
            [None, 4, 4, 1],
            "the model cannot run on the output of decode: Input to reshape is a tensor with 64 values, but the "
            "requested shape requires a multiple of 7. Remedy",
        ),
        (first_three, [None, None, 4, 1], "the input 'image' has no fixed size per example"),
        (
            lambda module, image: first_three(module, image) + module.counter.assign_add(1.0),
            [None, 4, 4, 1],
            "the model keeps state between invocations",
        ),
        (lambda _, image: tf.reshape(image, [-1, 16])[:, :5], [None, 4, 4, 1], "does not fit the number of classes"),
    ],
    ids=["other shape", "nan", "raises", "open dimension", "state", "five outputs"],
)
def test_saved_model_that_does_not_fit_is_reported(
    tmp_path: Path, function: Callable[[Any, Any], Any], shape: list[int | None], message: str
) -> None:
    assert message in errors_of(with_saved_model(tmp_path, function, shape))


def test_variable_of_a_graph_that_is_not_finite_is_named(tmp_path: Path) -> None:
    def scaled(module: Any, image: Any) -> Any:
        with tf.init_scope():
            module.counter.assign(float("nan"))
        return first_three(module, image * module.counter)

    said = errors_of(with_saved_model(tmp_path, scaled, [None, 4, 4, 1]))
    assert "saved: the model has weights that are not finite: Variable:0" in said
    assert "found: nan, 1 of 1 values in Variable:0)" in said


def test_graph_with_a_loop_is_refused_in_integer_recipes(tmp_path: Path) -> None:
    def looped(module: Any, image: Any) -> Any:
        (_, state) = tf.while_loop(lambda i, _: i < 4, lambda i, s: (i + 1, tf.tanh(s + image[:, i])), [0, image[:, 0]])
        return first_three(module, tf.tile(state, [1, 1, 4]))

    small = with_saved_model(tmp_path, looped, [None, 4, 4, 1])
    said = errors_of(small)
    assert "recipes[1] (int8): scheme: the graph loops over time steps, and TensorFlow Lite crashes when it" in said
    assert "use the .keras file that the SavedModel was exported from as the baseline" in said
    small.spec["recipes"].pop()
    check(small)


def test_graph_whose_operators_have_no_integer_kernel_is_refused_in_integer_recipes(tmp_path: Path) -> None:
    sine = with_saved_model(tmp_path / "sine", lambda _, image: first_three(_, tf.sin(image)), [None, 4, 4, 1])
    said = errors_of(sine)
    assert "recipes[1] (int8): scheme: there is no kernel for SIN with 8-bit activations" in said
    assert "recipes[0]" not in said
    half = with_saved_model(
        tmp_path / "half", lambda _, image: first_three(_, tf.cast(image, tf.float32)), [None, 4, 4, 1], tf.float16
    )
    said = errors_of(half)
    assert "recipes[1] (int8): scheme: the graph takes or returns floats that aren't float32" in said
    assert "recipes[0]" not in said


@pytest.mark.parametrize("damaged", ["saved_model.pb", "variables/variables.index"])
def test_damaged_saved_model_is_reported(tmp_path: Path, damaged: str) -> None:
    small = with_saved_model(tmp_path, first_three, [None, 4, 4, 1])
    (tmp_path / "saved" / damaged).write_bytes(b"\x0a\xff nothing of the kind")
    assert "the SavedModel cannot be loaded: " in errors_of(small)


def test_decode_that_fails_is_reported_for_csv_too(tmp_path: Path) -> None:
    small = with_csv(tmp_path, OF_SCALARS.replace("return tf", "raise ValueError('boom'); return tf"))
    small.spec["examples"]["splits"] = {"kind": "hashed"}
    assert "the task's decode fails: ValueError: boom" in errors_of(small)


AUTO = {"kind": "static_wi8_ai8", "keep_float": {"kind": "auto", "max_drop": 0.01}}


def test_metric_that_keras_lacks_is_reported_when_float_layers_are_chosen_by_it(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"] = [{"name": "accuracy", "class_name": "BalancedAccuracy"}]
    check(small)
    small.spec["recipes"].append({"name": "auto", "scheme": AUTO})
    said = errors_of(small)
    assert "evaluate.metrics[0]: `keep_float: auto` needs a Keras metric" in said
    assert "found: BalancedAccuracy" in said
    thresholds = {"name": "precision", "class_name": "Precision", "config": {"thresholds": [0.3, 0.7]}}
    small.spec["evaluate"]["metrics"] = [thresholds, "accuracy"]
    assert "the Keras metric Precision cannot compare the model's output with the label" in errors_of(small)
    small.spec["evaluate"]["metrics"] = ["auc", "accuracy"]
    check(small)


def test_area_of_all_classes_together_is_refused(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append({"name": "area", "class_name": "AUC", "config": {"curve": "PR"}})
    said = errors_of(small)
    assert "evaluate.metrics: the metric 'area' ranks the outputs of all classes together" in said
    assert "write `config: {class_id: " in said


def test_labels_of_text_are_refused(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace('"label": tf.io.FixedLenFeature([], tf.int64)', LABEL_OF_TEXT))
    said = errors_of(small)
    assert "examples.label: the label is text, but losses and metrics need numbers" in said
    assert "found: 'label' is string" in said


LABEL_OF_TEXT = '"label": tf.io.FixedLenFeature([], tf.string)'


@pytest.mark.parametrize(
    ("split", "feature", "value", "message"),
    [
        (
            "eval",
            "label",
            3,
            "the label 'label' is not a class number in the file's first records (expected: int",
        ),
        ("train", "label", -1, "integers from 0 to 2 (examples.num_classes: 3); found: -1)"),
        ("train", "image", float("nan"), "the feature 'image' has values that are not finite in the file's first"),
        ("eval", "image", float("inf"), "(expected: finite numbers; found: inf, 16 of 64 values)"),
    ],
)
def test_bad_values_in_first_records_are_refused_with_their_file(
    tmp_path: Path, split: str, feature: str, value: float, message: str
) -> None:
    small = SmallPipeline(tmp_path)

    def change(index: int, features: dict[str, Any]) -> dict[str, Any]:
        changed = value if feature == "label" else [value] * 16
        return features | {feature: changed} if index == 2 else features

    small.write_split(split, 30, seed=1, change=change)
    said = errors_of(small)
    assert f"{split}.tfrecord: " in said
    assert message in said


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0.5,1\n0.5,7\n", "integers from 0 to 2 (examples.num_classes: 3); found: 7)"),
        ("0.5,1\nnan,1\n", "(expected: finite numbers; found: nan, 1 of 2 values)"),
        ("0.5,cat\n", "the examples do not have the features that the task declares"),
        ("0.5,\n", "columns have empty cells: label"),
        ('0.5,"1', "line 2: a quote is not closed"),
    ],
    ids=["range", "nan", "text", "empty", "damaged"],
)
def test_first_rows_of_csv_files_are_read_as_records_are(tmp_path: Path, rows: str, message: str) -> None:
    small = with_csv(tmp_path)
    (tmp_path / "data" / "eval.csv").write_text(f"image,label\n{rows}")
    said = errors_of(small)
    assert "eval.csv: " in said
    assert message in said


def test_first_rows_of_parquet_files_are_read_as_records_are(tmp_path: Path) -> None:
    small = with_csv(tmp_path)
    small.spec["examples"] |= {"kind": "parquet", "splits": {"kind": "hashed", "pattern": "*.parquet"}}
    file = tmp_path / "data" / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"image": [0.5, 0.5], "label": [1, 7]}), file)
    assert "rows.parquet: the label 'label' is not a class number" in errors_of(small)
    pyarrow.parquet.write_table(pa.table({"image": [0.5, 0.5], "label": [1, None]}), file)
    assert "rows.parquet: the examples do not have the features that the task declares" in errors_of(small)
    file.write_bytes(b"PAR1 nothing of the kind")
    assert "rows.parquet: the columns of this file cannot be read" in errors_of(small)
    pyarrow.parquet.write_table(pa.table({"image": [0.5, 0.25], "label": [1, 2]}), file)
    check(small)


def test_decode_that_returns_no_numbers_is_refused(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace('tf.reshape(features["image"]', 'tf.reshape(features["image"] / 0.0'))
    said = errors_of(small)
    assert "train.tfrecord: the task's decode returns values that are not finite" in said
    assert "(expected: finite numbers; found: inf, 64 of 64 values)" in said


def test_metric_that_every_model_meets_is_refused(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append("top_5_accuracy")
    said = errors_of(small)
    assert "the metric 'top_5_accuracy' is always 1" in said
    assert "(expected: k below 3, the number of the model's outputs; found: 5)" in said


@pytest.mark.parametrize(
    "metric",
    [
        {"name": "mine", "class_name": "NoSuchMetric"},
        {"name": "mine", "class_name": "AUC", "config": {"thresholdz": 4}},
        {"name": "mine", "class_name": "SparseTopKCategoricalAccuracy", "config": {"kk": 2}},
    ],
    ids=lambda metric: metric["class_name"],
)
def test_metric_that_cannot_be_made_is_refused(tmp_path: Path, metric: dict[str, Any]) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append(metric)
    assert "evaluate.metrics: TensorFlow Model Analysis rejects a metric: " in errors_of(small)


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("Precision", {"thresholds": "abc"}, "TypeError: '>' not supported"),
        ("Precision", {"class_id": 7}, 'ValueError: class_id "7" out of range'),
        ("SparseTopKCategoricalAccuracy", {"k": "two"}, ""),
        ("R2Score", {}, "ValueError: "),
    ],
)
def test_metric_that_cannot_be_computed_is_refused(
    tmp_path: Path, class_name: str, config: dict[str, Any], message: str
) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append({"name": "mine", "class_name": class_name, "config": config})
    said = errors_of(small)
    assert f"evaluate.metrics: the metric 'mine' cannot be computed on the first examples: {message}" in said
    assert "outputs [4, 3]" in said


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("featur { }", "mine.pbtxt: this is not a schema: "),
        ("", "examples.label: the examples do not have this label (expected: a schema with features; found: label)"),
        ('feature { name: "image" type: FLOAT }', "examples.label: the examples do not have this label"),
    ],
)
def test_schema_file_that_cannot_be_used_is_refused(tmp_path: Path, schema: str, message: str) -> None:
    small = SmallPipeline(tmp_path)
    (tmp_path / "mine.pbtxt").write_text(schema)
    small.spec["examples"]["schema_file"] = "mine.pbtxt"
    assert message in errors_of(small)


SCHEMA = """
feature { name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 16 } } }
feature { name: "label" type: INT presence { min_fraction: 1 } shape { } int_domain { min: 0 max: 2 } }
"""


@pytest.mark.parametrize(
    ("old", "new", "feature", "expected", "found"),
    [
        ("type: FLOAT", "type: BYTES", "image", "type: BYTES", "FLOAT of 16 values"),
        ("type: INT", "type: FLOAT", "label", "type: FLOAT", "INT 0, INT 1, INT 2"),
        ("size: 16", "size: 25", "image", "size: 25", "FLOAT of 16 values"),
        ("max: 2", "max: 1", "label", "max: 1", "INT 0, INT 1, INT 2"),
        (
            "\nfeature",
            '\nfeature { name: "who" type: INT presence { min_fraction: 1 } }\nfeature',
            "who",
            'name: "who"',
            "no value",
        ),
        ('"image"', '"picture"', "image", "one of label, picture", "FLOAT of 16 values"),
    ],
    ids=["type", "numbers", "shape", "domain", "missing", "unknown"],
)
def test_schema_that_contradicts_the_first_records_is_refused(
    tmp_path: Path, old: str, new: str, feature: str, expected: str, found: str
) -> None:
    small = SmallPipeline(tmp_path)
    (tmp_path / "mine.pbtxt").write_text(SCHEMA.replace(old, new, 1))
    small.spec["examples"]["schema_file"] = "mine.pbtxt"
    said = errors_of(small)
    assert "the first records contradict the schema: " in said
    assert f"mine.pbtxt: split 'train', feature '{feature}'" in said
    bound, _, measured = said.partition("(expected: ")[2].partition("; found: ")
    assert expected in bound
    assert measured.startswith(f"{found}). Remedy: correct this feature in the schema, or the data")


def test_schema_about_shares_and_counts_over_all_records_is_left_to_the_run(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    rare = 'feature { name: "rare" type: INT presence { min_fraction: 0.1 min_count: 1 } }'
    label = "int_domain { min: 0 max: 2 } unique_constraints { min: 3 max: 3 }"
    text = SCHEMA.replace("min_fraction: 1", "min_fraction: 1 min_count: 100").replace(
        "int_domain { min: 0 max: 2 }", label
    )
    (tmp_path / "mine.pbtxt").write_text(f"{text}{rare} dataset_constraints {{ min_examples_count: 100 }}")
    small.spec["examples"]["schema_file"] = "mine.pbtxt"
    check(small)


def test_schema_is_compared_with_csv_columns_whose_type_is_inferred_from_the_complete_file(tmp_path: Path) -> None:
    small = with_csv(tmp_path)
    (tmp_path / "data" / "train.csv").write_text("image,label,more\n0,1,2\n")
    (tmp_path / "data" / "eval.csv").write_text("image,label,more\n0.5,1,a\n")
    small.spec["examples"]["schema_file"] = "mine.pbtxt"
    text = SCHEMA.replace("dim { size: 16 }", "") + 'feature { name: "more" type: BYTES }'
    (tmp_path / "mine.pbtxt").write_text(text)
    check(small)
    (tmp_path / "mine.pbtxt").write_text(text.replace("BYTES", "INT"))
    said = errors_of(small)
    assert "mine.pbtxt: split 'eval', feature 'more'" in said
    assert "found: BYTES b'a')" in said


def test_metric_that_compares_each_output_is_refused_where_a_label_is_a_class_number(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["evaluate"]["metrics"].append({"name": "cross", "class_name": "BinaryCrossentropy"})
    said = errors_of(small)
    assert "evaluate.metrics: the metric 'cross' compares each output with its own label" in said
    assert "use `accuracy` or `cross_entropy`" in said


COMPILES = 'model.compile(tf.keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", ["accuracy"])'


@pytest.mark.parametrize(
    ("compiles", "message"),
    [
        ("pass", "task: the task's compile does not compile the model, so it can't be trained"),
        ('model.compile("adam")', "task: the model cannot be trained on the first examples: "),
        (
            'model.compile("adam", "no_such_loss")',
            "task: the model cannot be trained on the first examples: ValueError: Unknown loss function",
        ),
        (
            'model.compile("adam", "categorical_crossentropy")',
            "task: the model cannot be trained on the first examples",
        ),
        (
            'model.compile("adam", lambda _, outputs: tf.reduce_mean(outputs) / 0.0)',
            "task: the loss is not finite when the model is trained on the first examples (expected: a finite loss",
        ),
        (
            'model.compile("adam", "mse", ["mae", "no_such_thing"])',
            "task: Keras knows no metric 'no_such_thing' (expected: names of tf.keras.metrics",
        ),
        (
            'model.compile("adam", "mse", weighted_metrics={"probabilities": ["acuracy"]})',
            "task: Keras knows no metric 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            'model.compile("adam", "mse", [tf.keras.metrics.AUC])',
            "task: the task's compile passes a class instead of an object as metrics (expected: names, functions, or "
            "metric objects of tf.keras; found: the class AUC). Remedy: call the class: `AUC(...)`",
        ),
        (
            'model.compile("adam", "mse", ["IoU"])',
            "task: the model cannot be trained on the first examples: TypeError: Exception encountered: "
            "IoU.__init__() missing 2 required positional arguments",
        ),
    ],
)
def test_compile_that_cannot_train_is_refused(tmp_path: Path, compiles: str, message: str) -> None:
    text = TASK.replace(COMPILES, compiles)
    assert text != TASK
    assert message in errors_of(SmallPipeline(tmp_path, text))


NOTHING_TO_TRAIN = """
        image = layers.Input([4, 4, 1], name="image")
        return tf.keras.Model(image, layers.Softmax()(layers.Flatten()(image)[:, :3]))
"""
FROZEN = TASK.replace("layers.Conv2D(8, 3,", "layers.Conv2D(8, 3, trainable=False,").replace(
    "layers.Dense(3,", "layers.Dense(3, trainable=False,"
)


@pytest.mark.parametrize("frozen", [True, False])
def test_model_without_anything_to_train_is_refused(tmp_path: Path, *, frozen: bool) -> None:
    small = SmallPipeline(tmp_path, FROZEN) if frozen else with_model(tmp_path, NOTHING_TO_TRAIN)
    said = errors_of(small)
    assert "task: the model has no trainable weights, so it cannot be trained (expected: at least one" in said
    assert ("found: 4 weights, all of them frozen)" if frozen else "found: no weights)") in said


@pytest.mark.parametrize("kind", ["qat", "prune", "cluster"])
def test_pretrained_model_without_anything_to_train_passes_until_a_step_trains_it(tmp_path: Path, kind: str) -> None:
    small = SmallPipeline(tmp_path)
    layers = tf.keras.layers
    frozen = [layers.Conv2D(8, 3, trainable=False), layers.Flatten(), layers.Dense(3, "softmax", trainable=False)]
    tf.keras.Sequential([layers.Input([4, 4, 1], name="image"), *frozen]).save(tmp_path / "model.keras")
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    check(small)
    more = {"prune": {"sparsity": 0.5}, "cluster": {"num_clusters": 4}}.get(kind, {})
    step = {"kind": kind, "epochs": 2, "split": "train", **more}
    small.spec["recipes"].append({"name": "trained", "scheme": "static_wi8_ai8", "steps": [step]})
    said = errors_of(small)
    assert "recipes[2] (trained): model: the model has no trainable weights, so it cannot be trained" in said


@pytest.mark.parametrize(
    ("compiles", "message"),
    [
        ("pass", "task: the task's compile does not compile the model"),
        ('model.compile("adam", tf.keras.losses.Poisson)', "found: the class Poisson)"),
        ('model.get_layer("none")', "task: the pretrained model cannot be compiled: ValueError: No such layer: none"),
        (
            'model.compile("adam", "categorical_crossentropy")',
            "task: the model cannot be trained on the first examples",
        ),
    ],
)
def test_pretrained_model_that_a_step_cannot_train_is_refused(tmp_path: Path, compiles: str, message: str) -> None:
    small = SmallPipeline(tmp_path, TASK.replace(COMPILES, compiles))
    layers = tf.keras.layers
    model = [layers.Input([4, 4, 1], name="image"), layers.Flatten(), layers.Dense(3, "softmax")]
    tf.keras.Sequential(model).save(tmp_path / "model.keras")
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    check(small)
    step = {"kind": "prune", "epochs": 2, "split": "train", "sparsity": 0.5}
    small.spec["recipes"].append({"name": "trained", "scheme": "static_wi8_ai8", "steps": [step]})
    assert message in errors_of(small)


def test_pretrained_model_with_weights_or_outputs_that_are_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input([4, 4, 1], name="image"),
            layers.Flatten(),
            layers.Dense(3, name="wide"),
            # Infinite in all classes: otherwise some are 0.
            layers.Dense(3, "softmax", kernel_initializer="ones", name="scores"),
        ]
    )
    wide, bias = model.get_layer("wide").get_weights()
    # Finite weights, but sums of infinity; and differences of those, which are NaN.
    model.get_layer("wide").set_weights([np.full_like(wide, 3e38), bias])
    model.get_layer("scores").set_weights([np.array([[1.0] * 3, [-1.0] * 3, [1.0] * 3], np.float32), np.zeros(3)])
    model.save(tmp_path / "model.keras")
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    said = errors_of(small)
    assert f"{tmp_path / 'model.keras'}, output scores: the model computes values that are not finite" in said
    assert "12 of 12 values, first in layer 'wide')" in said
    wide[1, 2] = np.nan
    model.get_layer("wide").set_weights([wide, bias])
    model.save(tmp_path / "model.keras")
    said = errors_of(small)
    assert "model.keras: the model has weights that are not finite: wide/kernel:0" in said
    assert "found: nan, 1 of 48 values in wide/kernel:0)" in said


def test_compile_that_runs_several_batches_at_once_passes(tmp_path: Path) -> None:
    check(SmallPipeline(tmp_path, TASK.replace(COMPILES, COMPILES[:-1] + ", steps_per_execution=4)")))


@pytest.mark.parametrize(("split", "doing"), [("train", "trained"), ("eval", "evaluated")])
def test_label_beyond_the_models_outputs_is_refused_in_either_split(tmp_path: Path, split: str, doing: str) -> None:
    small = SmallPipeline(tmp_path)
    del small.spec["examples"]["num_classes"]
    small.write_split(split, 30, seed=1, change=lambda _, features: features | {"label": 7})
    said = errors_of(small)
    assert f"task: the model cannot be {doing} on the first examples: InvalidArgumentError" in said


@pytest.mark.parametrize(("policy", "bits"), [("mixed_float16", 16), ("mixed_bfloat16", 16), ("float64", 64)])
def test_model_that_computes_in_other_than_32_bits_is_refused_with_its_layer(
    tmp_path: Path, policy: str, bits: int
) -> None:
    text = TASK.replace("layers.Conv2D(8, 3,", f"layers.Conv2D(8, 3, name='odd', dtype='{policy}',")
    said = errors_of(SmallPipeline(tmp_path, text))
    assert f"layer odd: the model computes in {bits}-bit floats, which cannot be converted" in said
    assert f"found: {policy.removeprefix('mixed_')})" in said


def test_input_of_float64_is_refused_where_only_integers_may_be(tmp_path: Path) -> None:
    text = TASK.replace("return tf.reshape(", "return tf.cast(tf.reshape(").replace(
        "[-1, 4, 4, 1])", "[-1, 4, 4, 1]), 'float64')"
    )
    small = SmallPipeline(tmp_path, text.replace('name="image")', 'name="image", dtype="float64")'))
    said = errors_of(small)
    assert "recipes[1] (int8): " in said
    assert "the model takes float64, which an integer-only file can't contain" in said
    small.spec["recipes"].pop()
    check(small)


def with_input(dtype: str) -> str:
    """A task whose model takes numbers of this type."""
    text = TASK.replace("return tf.reshape(", "return tf.cast(16 * tf.reshape(")
    text = text.replace("[-1, 4, 4, 1])", f"[-1, 4, 4, 1]), '{dtype}')")
    return text.replace('name="image")', f'name="image", dtype="{dtype}"), layers.Rescaling(1 / 16)')


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32"])
def test_integer_inputs_that_are_cast_first_pass_in_integer_recipes(tmp_path: Path, dtype: str) -> None:
    small = SmallPipeline(tmp_path, with_input(dtype))
    small.spec["recipes"].append({"name": "int16", "scheme": "static_wi8_ai16"})
    check(small)


TOKENS = TASK.replace('tf.reshape(features["image"], [-1, 4, 4, 1])', 'tf.cast(16 * features["image"], "int32")')
TOKENS = TOKENS.replace('Input([4, 4, 1], name="image")', 'Input([16], name="image", dtype="int32")')


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        ("layers.GlobalAveragePooling1D(name='reads')", True),
        ("layers.Dense(4), layers.GlobalAveragePooling1D(name='reads')", True),
        ("layers.Masking(name='reads'), layers.GlobalMaxPooling1D()", True),
        ("layers.GlobalMaxPooling1D()", False),
        ("layers.Conv1D(8, 3), layers.GlobalAveragePooling1D()", False),
    ],
)
def test_mask_that_a_layer_reads_is_refused_with_the_recipe(tmp_path: Path, layer: str, *, refused: bool) -> None:
    embedding = "layers.Embedding(32, 8, mask_zero=True), " + layer
    text = TOKENS.replace('layers.Conv2D(8, 3, activation="relu")', embedding).replace("layers.Flatten(),", "")
    small = SmallPipeline(tmp_path, text)
    if refused:
        said = errors_of(small)
        assert "recipes[1] (int8): " in said
        assert "/reads/Cast: the model casts integers or booleans to floats internally" in said
        assert "found: bool to float32). Remedy: remove Masking layers and mask_zero" in said
        small.spec["recipes"].pop()
    check(small)


def test_feature_that_splits_are_hashed_by_is_in_every_record(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["examples"]["splits"] = {"kind": "hashed", "feature": "speaker"}
    said = errors_of(small)
    assert "eval.tfrecord: the splits are hashed by the feature 'speaker', which one of the file's first" in said
    assert (
        "records lacks (expected: integers or text in 'speaker' (examples.splits.feature); found: image, label" in said
    )
    small.spec["examples"]["splits"]["feature"] = "image"
    assert "records stores as floats" in errors_of(small)
    for split in ("train", "eval"):
        small.write_split(split, 30, seed=1, change=lambda _, features: features | {"speaker": b"A"})
    small.spec["examples"]["splits"]["feature"] = "speaker"
    check(small)
