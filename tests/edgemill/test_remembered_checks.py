"""What a run takes for checked: only what passed with the very same inputs."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components.core.files import sha256_of_bytes
from components.core.version import forget_versions
from edgemill import remembered_checks
from edgemill.remembered_checks import Passed, check_once, digest_of_inputs, recall, remember
from pipelines.file.environment import environment
from pipelines.file.load import PipelineFileError, SkippedRecipe, load_pipeline
from pipelines.file.user_folders import make_importable
from pipelines.graph.sources import source_digests
from tests.processes import finished
from tests.small_pipeline import TASK, SmallPipeline

ROOT = Path(__file__).parents[2]
PROFILE = {"name": "board", "device_class": "board", "description": "a board", "schemes": ["static_wi8_ai8"]}
LINE = Passed(digest="a", lines=("line",))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPipeline:
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.syspath_prepend(str(tmp_path))
    pipeline = SmallPipeline(tmp_path)
    (tmp_path / f"{stem(pipeline)}_net.py").write_text("units = 8\n")
    task = tmp_path / f"{stem(pipeline)}.py"
    task.write_text(f"import {stem(pipeline)}_net\n" + task.read_text())
    (tmp_path / f"{stem(pipeline)}_more.py").write_text("def preprocess(inputs):\n    return inputs\n")
    pipeline.spec["preprocess"] = f"{stem(pipeline)}_more:preprocess"
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(PROFILE))
    pipeline.spec["devices"] = ["board.yaml"]
    (tmp_path / "mine.pbtxt").write_text('feature { name: "image" type: FLOAT } feature { name: "label" type: INT }\n')
    pipeline.spec["examples"]["schema_file"] = "mine.pbtxt"
    (tmp_path / "model.keras").write_bytes(b"weights")
    pipeline.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    (tmp_path / "words.txt").write_text("a")
    (tmp_path / "packages" / "layers-1.0.dist-info").mkdir(parents=True)
    return pipeline


def stem(small: SmallPipeline) -> str:
    return str(small.spec["task"]).partition(":")[0]


def digest(small: SmallPipeline) -> str:
    forget_versions()
    importlib.invalidate_caches()
    loaded = load_pipeline(small.write())
    return digest_of_inputs(loaded, source_digests(loaded.spec, environment(small.folder / "root", None)))


def append(name: str, text: str = "# changed\n") -> Callable[[SmallPipeline], object]:
    def change(small: SmallPipeline) -> None:
        path = small.folder / name.format(stem(small))
        path.write_bytes(path.read_bytes() + text.encode())

    return change


CHANGES: dict[str, Callable[[SmallPipeline], object]] = {
    "recipe": lambda small: small.spec["recipes"].append({"name": "float16", "scheme": "float16"}),
    "field": lambda small: small.spec["examples"].update(num_classes=4),
    "profile": append("board.yaml", "max_file_bytes: 100000\n"),
    "task": append("{}.py"),
    "module that the task imports": append("{}_net.py"),
    "preprocess": append("{}_more.py"),
    "data": lambda small: small.write_split("eval", 120, seed=9),
    "further file": lambda small: shutil.copy(
        small.folder / "data" / "train.tfrecord", small.folder / "data" / "train-2.tfrecord"
    ),
    "model": append("model.keras"),
    "schema": append("mine.pbtxt"),
    "read": lambda small: small.spec.update(reads={"files": ["words.txt"]}),
    "read file": append("words.txt"),
    "package": lambda small: (small.folder / "packages" / "layers-1.0.dist-info").rename(
        small.folder / "packages" / "layers-1.1.dist-info"
    ),
}


def test_each_input_of_the_checks_is_in_their_digest(small: SmallPipeline) -> None:
    found = {"before": digest(small)}
    assert digest(small) == found["before"]
    for name, change in CHANGES.items():
        change(small)
        found[name] = digest(small)
    assert len(set(found.values())) == len(found), found


def test_source_of_quantizers_and_of_edgemill_itself_is_in_the_digest(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in ("components", "pipelines", "edgemill"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    small = SmallPipeline(tmp_path / "small")
    (small.folder / "own_quantizers.py").write_text("class Mine: ...\n")
    step = {"kind": "qat", "epochs": 1, "weights": {"quantizer": "own_quantizers:Mine"}}
    small.spec["recipes"] = [{"name": "qat", "steps": [step], "scheme": "static_wi8_ai8"}]
    script = """
import sys
from pathlib import Path
from components.core.files import sha256_of_bytes
from components.core.version import forget_versions
from edgemill.remembered_checks import digest_of_inputs
from pipelines.file.load import read_pipeline
loaded, errors = read_pipeline(Path(sys.argv[1]))
for changed in sys.argv[2:]:
    forget_versions()
    print(digest_of_inputs(loaded, ""))
    with open(changed, "a") as file:
        file.write("# changed\\n")
"""
    changed = [
        str(small.folder / "own_quantizers.py"),
        str(copy / "pipelines" / "checks" / "model_check.py"),
        str(copy / "components" / "fake_quantize" / "qat.py"),
        str(copy / "edgemill" / "terminal.py"),
        "/dev/null",
    ]
    found = finished(
        [sys.executable, "-c", script, str(small.write()), *changed],
        cwd=copy,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{copy}:{small.folder}"},
    )
    digests = found.stdout.split()
    assert (len(digests), len(set(digests))) == (5, 5), found.stderr


def test_nothing_of_the_user_is_imported_for_the_digest(small: SmallPipeline) -> None:
    append("{}.py", "raise RuntimeError('imported')\n")(small)
    digest(small)
    assert stem(small) not in sys.modules


def test_failure_is_not_remembered_and_success_is_asked_for_once(small: SmallPipeline) -> None:
    append("{}.py", "raise RuntimeError('imported')\n")(small)
    loaded, memory = load_pipeline(small.write()), small.folder / "passed_checks.json"
    for _ in range(2):
        with pytest.raises(PipelineFileError, match="RuntimeError: imported"):
            check_once(loaded, memory, "data")
    assert not memory.exists()
    passed = Passed(digest=digest_of_inputs(loaded, "data"), lines=("recipe qat: 3 trained",))
    remember(memory, passed)
    assert check_once(loaded, memory, "data") == passed
    for data, again in (("data", True), ("other data", False)):
        with pytest.raises(PipelineFileError, match="RuntimeError: imported"):
            check_once(loaded, memory, data, again=again)


def test_checks_are_repeated_when_a_file_that_the_task_reads_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # so that what other tests of this process have read doesn't count
    scale = "float((__import__('pathlib').Path(__file__).parent / 'scale.txt').read_text())"
    small = SmallPipeline(tmp_path, TASK.replace("return tf.reshape(", f"return {scale} * tf.reshape("))
    (tmp_path / "scale.txt").write_text("1")
    make_importable(small.write())
    loaded, memory = load_pipeline(small.file), tmp_path / "root" / "passed_checks.json"
    passed = check_once(loaded, memory, "data")
    assert passed.files == {str(tmp_path / "scale.txt"): sha256_of_bytes(b"1")}
    assert len(passed.files_digest(tmp_path)) == 16
    assert recall(memory, passed.digest) == passed
    (tmp_path / "scale.txt").write_text("2")
    assert recall(memory, passed.digest) is None
    changed = check_once(loaded, memory, "data")
    assert changed.files_digest(tmp_path) != passed.files_digest(tmp_path)
    (tmp_path / "scale.txt").unlink()
    assert recall(memory, changed.digest) is None


def test_memory_gives_back_what_passed_and_nothing_else(tmp_path: Path) -> None:
    memory = tmp_path / "small" / "passed_checks.json"
    assert recall(memory, "a") is None
    skipped = SkippedRecipe(name="int8", scheme="static_wi8_ai8", place=1, reasons=("a mask",))
    first = Passed(digest="a", lines=("recipe qat: 3 trained",), skipped=(skipped,))
    second = Passed(digest="b", lines=())
    remember(memory, first)
    remember(memory, second)
    assert [recall(memory, digest) for digest in "abc"] == [first, second, None]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"passed": [{"digest": "a"}]}', b"\xff\xfe\0", b'{"passed": []}' + b" " * (2 << 20)],
    ids=["empty", "truncated", "list", "field missing", "bytes", "too large"],
)
def test_damaged_memory_is_no_memory_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    memory = tmp_path / "passed_checks.json"
    memory.write_bytes(content)
    assert recall(memory, "a") is None
    remember(memory, LINE)
    assert recall(memory, "a") == LINE


def test_pipe_is_no_memory_and_is_not_waited_for(tmp_path: Path) -> None:
    memory = tmp_path / "passed_checks.json"
    os.mkfifo(memory)
    assert recall(memory, "a") is None
    remember(memory, LINE)
    assert recall(memory, "a") == LINE


def test_memory_is_bounded_in_number_and_in_bytes(tmp_path: Path) -> None:
    memory = tmp_path / "passed_checks.json"
    for number in range(20):
        remember(memory, Passed(digest=str(number), lines=("line",)))
    assert [number for number in range(20) if recall(memory, str(number)) is not None] == list(range(12, 20))
    remember(memory, Passed(digest="huge", lines=("x" * remembered_checks._MOST_BYTES,)))
    assert recall(memory, "huge") is None
    assert recall(memory, "19") is not None
