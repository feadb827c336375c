"""`edgemill init` asks on a terminal for what it cannot know, and elsewhere names the option."""

import os
import pty
import select
import sys
from codecs import getincrementaldecoder
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.e2e.test_optimize import invoke
from tests.processes import LIMIT_SECONDS, running

pytestmark = pytest.mark.e2e

# What a question contains, and the answer to it. An empty one takes the default.
DIALOG = (
    ("Which devices, separated by commas", "phone_cup"),
    ("Which devices, separated by commas", "phone_cpu,cortex_m7"),
    ("Which one is the label? [outcome]", ""),
    ("Which columns are the input, in the model's order?", "size,age"),
    ("the chance of the second class. [sick,healthy]", ""),
    ("Largest acceptable drop of the binary accuracy (0.01 is one point)? [0.02]", "0.01"),
)


def write_case(folder: Path) -> None:
    """A table without an obvious label, and a model with one output for the class that is not the last."""
    generator = np.random.default_rng(0)
    size = generator.normal(0, 1, 200)
    lines = [
        f"{number},{each:.3f},{number % 90},{'healthy' if each > 0 else 'sick'}" for number, each in enumerate(size)
    ]
    (folder / "people.csv").write_text("\n".join(["number,size,age,outcome", *lines]))
    inputs = tf.keras.Input([2])
    # Far from zero, gelu returns what it gets. Cortex-M7 lacks it.
    hidden = tf.keras.layers.Dense(1, "gelu")(inputs)
    outputs = tf.keras.layers.Dense(1, "sigmoid", name="chance_of_healthy")(hidden)
    model = tf.keras.Model(inputs, outputs)
    model.set_weights([np.array([[9.0], [0.0]]), np.full(1, 100.0), np.ones([1, 1]), np.full(1, -100.0)])
    model.save(folder / "health.h5")


def converse(command: list[str], folder: Path) -> tuple[int, str]:
    """Answer the questions of a command on a pseudo-terminal. Returns its exit status, and all that it printed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "300"}
    # A read can end within a character.
    decode = getincrementaldecoder("utf-8")().decode
    said, left = "", list(DIALOG)
    with running(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while True:
            ready, _, _ = select.select([ours], [], [], 1)
            if not ready and process.poll() is not None:
                break
            try:
                said += decode(os.read(ours, 65536)) if ready else ""
            except OSError:  # nothing has the terminal open
                break
            if left and said.rstrip().endswith(":") and left[0][0] in " ".join(said.rsplit("\n", 3)[-1].split()):
                os.write(ours, f"{left.pop(0)[1]}\n".encode())
                said += "\n"
        os.close(ours)
        assert not left, f"not asked in {LIMIT_SECONDS:.0f} s: {left}\n{said}"
        return process.wait(), said


def test_init_asks_for_what_it_cannot_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_case(tmp_path)
    command = ["init", "--model", "health.h5", "--data", "people.csv"]
    code, said = converse([sys.executable, "-m", "edgemill", *command], tmp_path)
    assert code == 0, said
    # `age` goes up to 89, so a step of int8 is a third of the standard deviation of `size`.
    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert "the standard deviation of size is less than 8 steps of it (size: 2." in warnings[0], said
    assert warnings[1].startswith("warning: the model needs GELU, which cortex_m7 doesn't have"), said
    written = yaml.safe_load((tmp_path / "health" / "pipeline.yaml").read_text())
    assert written["devices"] == ["phone_cpu", "cortex_m7"]
    assert (written["examples"]["label"], written["examples"]["classes"]) == ("outcome", ["sick", "healthy"])
    assert written["gate"]["metrics"] == [{"name": "binary_accuracy", "max_drop_from_baseline": 0.01}]
    assert '"size": "float32", "age": "int64"' in (tmp_path / "health" / "task.py").read_text()
    # The same without a terminal, in another folder.
    monkeypatch.chdir(tmp_path)
    done = invoke(*command, "-o", "other")
    assert (done.exit_code, "--label: it is not clear what the label is" in done.output) == (2, True), done.output
    assert not Path("other").exists()
