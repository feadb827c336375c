"""`edgemill optimize` from a folder of images and a model to a release, and what `init` refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner, Result

from components.core.errors import EdgemillError
from components.data.ready_made import OneInputTask
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from edgemill.project.data import recognize_data
from edgemill.project.found import Options
from edgemill.project.inputs import ModelInput
from edgemill.project.plan import Model, plan

pytestmark = pytest.mark.e2e


def write_data(folder: Path) -> None:
    """A table of images of three brightness classes, in the modes and sizes that users mix, and a model for -1..1."""
    generator = np.random.default_rng(3)
    rows = ["path,label", "part0/broken.tif,dark"]
    for part in ("part0", "part1"):
        (folder / "images" / part).mkdir(parents=True)
    for name, level in {"bright": 220, "dark": 30, "gray": 125}.items():
        for number in range(60):
            pixels = generator.normal(level, 12, [5 + number % 2, 6, 3]).clip(0, 255).astype(np.uint8)
            mode = ("RGB", "L", "RGBA", "CMYK", "P", "I;16")[number % 6]
            rows.append(f"part{number % 2}/{name}{number}.tif,{name}")
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
            (image or Image.fromarray(pixels).convert(mode)).save(folder / "images" / rows[-1].partition(",")[0])
    (folder / "images" / "part0" / "broken.tif").write_bytes(b"no image")
    (folder / "images" / "labels.csv").write_text("\n".join(rows))
    layers = tf.keras.layers
    model = tf.keras.Sequential([
        layers.Input([6, 6, 3]), layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    tf.keras.utils.set_random_seed(1)
    levels = np.repeat([220, 30, 125], 60) / 127.5 - 1
    inputs = levels[:, None, None, None] + generator.normal(0, 0.1, [180, 6, 6, 3])
    model.compile(tf.keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(inputs, np.repeat([0, 1, 2], 60), epochs=40, batch_size=60, verbose=0)
    model.save(folder / "brightness.keras")


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("optimize")
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_one_command_leads_from_images_to_a_release_and_overwrites_nothing(folder: Path) -> None:
    result = invoke(
        *("optimize", "brightness.keras", "--data", "images", "--root", "root", "--max-unreadable", "0.01"),
        *("--summary-json", "status.json"),
    )
    assert result.exit_code == ExitCode.OK, result.output
    assert "181 files of the kind `images` in 3 classes: bright, dark, gray" in result.output
    assert "device: phone_cpu" in result.output and "input range -1..1" in result.output
    status = json.loads(Path("status.json").read_text())
    [left_out] = status["left_out"]
    assert (left_out["files"], left_out["damaged"], left_out["bound"]) == (181, 1, 0.01)
    assert left_out["first"][0].startswith(str(folder / "images" / "part0" / "broken.tif"))
    assert "1 damaged file of 181 left out: 0.55%, at most 1.00% allowed" in result.output
    assert "images/part0/broken.tif" in Path(status["report"]).read_text()
    [release] = (folder / "brightness" / "registry").rglob("model.tflite")
    assert release.stat().st_size < 5000
    task = (folder / "brightness" / "task.py").read_text()
    assert "scale=1 / 127.5" in task and "offset=-1.0" in task
    again = invoke("optimize", "brightness.keras", "--data", "images", "--root", "root")
    assert again.exit_code == ExitCode.BAD_INPUT
    assert (
        "this folder contains pipeline.yaml, task.py, README.md, and `edgemill init` doesn't overwrite files"
        in again.output
    )
    assert "run them with `edgemill run brightness/pipeline.yaml`" in again.output


def test_init_prints_what_it_wrote_and_found_as_json(folder: Path) -> None:
    # The module `task` that the first test wrote and imported is another one.
    options = ("--device", "cortex_m55", "--max-unreadable", "0.01", "--output", "other", "--json")
    done = invoke("init", "--model", "brightness.keras", "--data", "images", *options)
    assert done.exit_code == ExitCode.OK, done.output
    found = json.loads(done.stdout)
    assert all(Path(name).is_file() for name in found["files"]) and found["file"] == "other/pipeline.yaml"
    assert (found["kind"], found["classes"], found["devices"]) == ("images", ["bright", "dark", "gray"], ["cortex_m55"])
    assert (found["objective"], found["input_range"]) == ("classes", "-1..1")
    assert "181 files of the kind `images` in 3 classes: bright, dark, gray" in found["facts"]


@pytest.mark.parametrize(
    ("shape", "outputs", "words"),
    [
        ((108,), 3, "the model's input cannot be an image .*expected: height x width x 1"),
        ((3, 6, 6), 3, "the model's input cannot be an image .*found: 3 x 6 x 6"),
        ((None, None, 3), 3, r"open dimensions .*expected: \? x \? x 3"),
        ((6, 6, 3), 4, "more outputs than the examples have classes .*expected: 4 classes.*found: 3: "),
        ((6, 6, 3), 1, "labels do not match the model's outputs .*found: 1 output"),
    ],
)
def test_model_that_does_not_fit_the_images_is_refused(
    folder: Path, shape: tuple[int | None, ...], outputs: int, words: str
) -> None:
    model = Model(inputs={"input": ModelInput(shape=shape, dtype="float32")}, outputs=outputs)
    options = Options(max_unreadable=0.01)
    with pytest.raises(EdgemillError, match=words):
        plan(recognize_data(folder / "images", options), model, options, lambda values: {"": values["input"]})


def test_ready_made_task_reads_each_type_of_values() -> None:
    raw = OneInputTask({"x": "int16"}, (2, 1), "classes", scale=1 / 32768)
    held = {"x": tf.constant([np.array([-32768, 16384], "<i2").tobytes()])}
    assert raw.decode(held).numpy().tolist() == [[[-1.0], [0.5]]]
    columns = OneInputTask({"b": "int64", "a": "float32"}, (2,), "two_classes", scale=(1.0, 2.0), offset=(0.0, 1.0))
    parsed = {"a": tf.constant([[3.0], [4.0]]), "b": tf.constant([[1], [2]], tf.int64)}
    assert columns.decode(parsed).numpy().tolist() == [[1.0, 7.0], [2.0, 9.0]]
    for objective in ("classes", "two_classes", "values"):
        model = tf.keras.Sequential(
            [tf.keras.layers.Input([2]), tf.keras.layers.Dense(2 if objective == "classes" else 1)]
        )
        OneInputTask({"x": "float32"}, (2,), objective, logits=True).compile(model)
        loss = model.train_on_batch(np.ones([4, 2]), np.array([0, 1, 0, 1]))
        assert np.isfinite(loss).all()
