"""`edgemill optimize` from each kind of data to a release, and the tutorials, whose commands are those of the page."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from edgemill.exit_codes import ExitCode
from edgemill.main import app
from tests.processes import finished

pytestmark = pytest.mark.e2e

layers = tf.keras.layers
GENERATOR = np.random.default_rng(3)
COUNT = 200
PAGE = Path("docs/own-model-tutorials.md")
# Each block is a tutorial.
TUTORIALS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)]


@pytest.fixture(scope="module")
def tutorials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first command of each tutorial writes. One process runs all of them, because it imports Keras 3."""
    folder = tmp_path_factory.mktemp("tutorials")
    for name in ("tests", "pipelines"):
        (folder / name).symlink_to(Path(name).resolve())
    code = (
        "import json, runpy, sys\n"
        "for sys.argv in json.loads(sys.argv[1]): runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    commands = [shlex.split(line) for line, *_ in TUTORIALS[:3]]
    assert {name for name, *_ in commands} == {"python"}
    given = json.dumps([arguments for _, *arguments in commands])
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    finished([sys.executable, "-c", code, given], cwd=folder, env=environment, check=True)
    return folder


def run_here(line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a line of a tutorial in this process, with its arguments as Bash expands them. Returns what it prints."""
    listed = finished(["bash", "-euc", f"printf '%s\\0' {line}"], check=True)
    name, *arguments = listed.stdout.split("\0")[:-1]
    if name == "cd":
        monkeypatch.chdir(*arguments)
        return ""
    assert name == "edgemill"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == ExitCode.OK, done.output
    return done.output


# `make test-own-models` also runs the one about arrays.
@pytest.mark.parametrize("commands", TUTORIALS[:3], ids=lambda commands: commands[1])
def test_tutorial_leads_to_an_int8_release(
    commands: list[str], tutorials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tutorials)
    *_, inspected = [run_here(line, monkeypatch) for line in commands[1:]]
    assert "INT8" in inspected
    (summary,) = Path("build/edgemill").glob("*/runs/*/summary.json")
    facts = json.loads(summary.read_text())
    assert (facts["verdict"], facts["decisions"][0]["chosen"]) == ("pushed", "int8"), facts["decisions"]


def several_outputs(folder: Path) -> tuple[tf.keras.Model, str, str, str]:
    """Arrays for two inputs, and for two outputs: a class and a number."""
    images = GENERATOR.integers(0, 256, [COUNT, 4, 4, 1], dtype=np.uint8)
    ages = GENERATOR.uniform(0, 1, [COUNT, 1]).astype(np.float32)
    total = (images.mean(axis=(1, 2, 3)) / 255 + ages[:, 0]).astype(np.float32)
    image, age = layers.Input([4, 4, 1], name="image"), layers.Input([1], name="age")
    joined = layers.Dense(8, activation="relu")(layers.Concatenate()([layers.Flatten()(image), age]))
    outputs = [layers.Dense(2, activation="softmax", name="old")(joined), layers.Dense(1, name="sum")(joined)]
    model = tf.keras.Model([image, age], outputs)
    model.compile(tf.keras.optimizers.Adam(0.03), ["sparse_categorical_crossentropy", "mse"])
    old = (ages[:, 0] > 0.5).astype(np.int64)
    model.fit([images / 255, ages], [old, total], epochs=20, verbose=0)
    (folder / "arrays").mkdir()
    for name, array in {"image": images, "age": ages, "old": old, "sum": total}.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    return model, "arrays", "--label", "old,sum"


def several_labels(folder: Path) -> tuple[tf.keras.Model, str, str, str]:
    """A Parquet table with a column of text, one of true and false, and two labels."""
    heat, rainy = GENERATOR.normal(0, 1, COUNT).astype(np.float32), GENERATOR.integers(0, 2, COUNT)
    wet, hot = rainy, (heat + rainy > 0.5).astype(int)
    days = [f"day {day}" for day in range(COUNT)]
    columns = {"day": days, "heat": heat, "rainy": rainy.astype(bool), "wet": wet, "hot": hot}
    pq.write_table(pa.table(columns), folder / "days.parquet")
    inputs = [layers.Input([1], name=name) for name in ("rainy", "heat")]
    joined = layers.Dense(8, activation="relu")(layers.Concatenate()(inputs))
    model = tf.keras.Model(inputs, layers.Dense(2, activation="sigmoid")(joined))
    model.compile(tf.keras.optimizers.Adam(0.03), "binary_crossentropy")
    model.fit([rainy.astype(np.float32), heat], np.stack([wet, hot], axis=1), epochs=30, verbose=0)
    return model, "days.parquet", "--label", "wet,hot"


FUNCTION = """
import numpy as np

def examples():
    generator = np.random.default_rng(3)
    for number in range(200):
        pixels = generator.normal(60 + 140 * (number % 2), 20, [4, 4, 1]).clip(0, 255)
        yield {"image": pixels.astype(np.uint8), "label": ("dark", "bright")[number % 2]}
"""


def function(folder: Path) -> tuple[tf.keras.Model, str]:
    (folder / "own_examples.py").write_text(FUNCTION)
    model = tf.keras.Sequential([layers.Input([4, 4, 1]), layers.Flatten(), layers.Dense(2, activation="softmax")])
    # Sorted by name, `bright` is 0.
    bright = np.arange(COUNT) % 2
    images = GENERATOR.normal(60 + 140 * bright[:, None, None, None], 20, [COUNT, 4, 4, 1]).clip(0, 255) / 255
    model.compile(tf.keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(images, 1 - bright, epochs=20, verbose=0)
    return model, "own_examples:examples"


@pytest.mark.parametrize("made", [several_outputs, several_labels, function])
def test_one_command_leads_to_a_release(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tf.keras.utils.set_random_seed(1)
    model, data, *options = made(tmp_path)
    model.save(tmp_path / "my.keras")
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(
        "{name: small, device_class: small, description: Integers, schemes: [static_wi8_ai8], integer_only: true}"
    )
    done = CliRunner().invoke(app, ["optimize", "my.keras", "--data", data, "--device", "small.yaml", *options])
    assert done.exit_code == ExitCode.OK, done.output
    (release,) = Path("my/registry").rglob("model.tflite")
    assert release.stat().st_size < 10_000
