import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.checks.preflight import preflight
from pipelines.file.load import PipelineFileError
from pipelines.file.user_folders import make_importable
from tests.object_store import BUCKET, free_port, s3_server
from tests.small_pipeline import SmallPipeline, frame, frame_header, serialize


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(tmp_path)


def check(small: SmallPipeline) -> None:
    make_importable(small.write())
    preflight(small.file)


def errors_of(small: SmallPipeline) -> str:
    with pytest.raises(PipelineFileError) as caught:
        check(small)
    assert "Remedy: " in str(caught.value)
    return str(caught.value)


def test_whole_pipeline_passes(small: SmallPipeline) -> None:
    check(small)


def test_file_that_code_reads_must_exist(small: SmallPipeline) -> None:
    (small.folder / "words.txt").write_text("a")
    os.mkfifo(small.folder / "pipe")
    small.spec["reads"] = {"files": ["words.txt", "data", "nowhere.txt", "pipe"], "variables": ["EM_NOT_SET"]}
    said = errors_of(small)
    assert f"reads.files[2]: there is no such file or folder (found: {small.folder / 'nowhere.txt'})" in said
    assert "reads.files[3]: there is no such file or folder" in said and "a named pipe" in said
    assert "reads.files[1]" not in said
    small.spec["reads"] = {"files": ["s3://bucket/words.txt"]}
    assert "reads.files[0]: object stores cannot be used here" in errors_of(small)


def test_tool_of_another_version_and_missing_binary_are_reported_unless_another_machine_runs_them(
    small: SmallPipeline,
) -> None:
    profile = {"name": "mine", "device_class": "mine", "description": "a phone", "schemes": ["static_wi8_ai8"]}
    evaluators = [{"kind": "adb", "benchmark": "bin/benchmark_model"}, {"kind": "tflm", "version": "9.9"}]
    (small.folder / "mine.json.yaml").write_text(json.dumps({**profile, "evaluators": evaluators}))
    small.spec["devices"] = ["mine.json.yaml"]
    said = errors_of(small)
    binary = small.folder / "bin" / "benchmark_model"
    assert "device 'mine': evaluators[0] (adb).benchmark: the benchmark binary cannot be read" in said
    assert f"found: {os.path.realpath(binary)}: No such file" in said
    assert "evaluators[1] (tflm).version: TensorFlow Lite Micro has a different version" in said
    preflight(small.file, tools=False)


def test_missing_task_module_is_named(small: SmallPipeline) -> None:
    small.spec["task"] = "nowhere.task:TASK"
    assert "task: the module 'nowhere.task' cannot be found" in errors_of(small)


def test_missing_task_attribute_is_named_with_those_there_are(small: SmallPipeline) -> None:
    small.spec["task"] = small.spec["task"].replace(":TASK", ":TASKS")
    said = errors_of(small)
    assert "defines no 'TASKS'" in said
    assert "TASK, Task" in said


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("class Tasks:\n    def decode(self):\n        local = 1", False),
        ("def decode_all():\n    decode = 1", False),
        ("made = [decode for decode in ()]", False),
        ("made = lambda: (decode := 1)", False),
        ("try:\n    import decode\nexcept ImportError:\n    pass", True),
        ("try:\n    pass\nexcept ImportError:\n    decode = None", True),
        ("if True:\n    pass\nelse:\n    def decode(): pass", True),
        ("with open('x') as decode:\n    pass", True),
        ("for decode in (): pass", True),
        ("match 1:\n    case _:\n        decode: int = 1", True),
        ("import decode.parts", True),
        ("from parts import other as decode", True),
        ("made, (decode, *_) = 1, (2, 3)", True),
        ("if decode := 1: pass", True),
    ],
)
def test_only_names_of_the_module_itself_are_found(small: SmallPipeline, line: str, found: bool) -> None:
    (small.folder / "own_task.py").write_text(f"{line}\ndecoder = 1\n")
    small.spec["task"] = "own_task:decode"
    if found:
        check(small)
        return
    said = errors_of(small)
    assert "the module 'own_task' defines no 'decode' at its top level; did you mean 'decode" in said
    assert "decode," not in said and "local" not in said


@pytest.mark.parametrize("address", ["https://host/data", "hdfs://host/data", "file:///data"])
def test_examples_at_another_address_than_of_an_object_store_are_refused(small: SmallPipeline, address: str) -> None:
    small.spec["examples"]["path"] = address
    assert "examples.path: examples cannot be read from an address of this kind (expected: a folder, s3:" in errors_of(
        small
    )


def test_what_is_not_a_data_folder_is_described(small: SmallPipeline) -> None:
    loop, pipe = small.folder / "loop", small.folder / "pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    small.spec["examples"]["path"] = "pipe"
    assert (
        f"examples.path: this is not a folder (expected: the folder of the examples; found: {pipe}, a named pipe)"
        in (errors_of(small))
    )
    small.spec["examples"]["path"] = "loop"
    assert f"{loop}, a loop of symbolic links)" in errors_of(small)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef (\n", "invalid syntax in line 2 (found: "),
        ("x = 1\0\n", "source code string cannot contain null bytes (found: "),
        ("x = " + "-" * 100_000 + "1\n", "it is nested too deeply (found: "),
        ("x = 1" + "+1" * 60_000 + "\n", "maximum recursion depth exceeded"),
    ],
    ids=["syntax", "nul", "signs", "sum"],
)
def test_task_that_is_not_python_is_named_with_its_line(small: SmallPipeline, text: str, said: str) -> None:
    (small.folder / "broken_task.py").write_text(text)
    small.spec["task"] = "broken_task:TASK"
    message = errors_of(small)
    assert f"is not Python: {said}" in message and "broken_task.py" in message


PROGRAM = """
import subprocess, sys
from pathlib import Path
from pipelines.file.user_folders import make_importable
make_importable(Path(sys.argv[1]))
print(*(index for index, folder in enumerate(sys.path) if folder in sys.argv[2:]), flush=True)
code = "import components.core.errors as c, pipelines as p, mine; print(c.__file__, p.__path__[0], mine.__file__)"
for start in (["-c", code], ["-m", "mine"]):
    subprocess.run([sys.executable, *start], check=True)
"""


def test_packages_of_the_user_called_like_ours_do_not_replace_them_in_children(tmp_path: Path) -> None:
    for name in ("components", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not Edgemill')\n")
    (tmp_path / "mine.py").write_text(
        "import components.core.errors\nif __name__ == '__main__': print(components.__file__)\n"
    )
    root = Path("components").resolve().parent
    program = tmp_path / "bin" / "program.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "pipeline.yaml"), str(root), str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    places, imported, run = done.stdout.splitlines()[-3:]
    assert places == "0 1"
    assert imported == f"{root}/components/core/errors.py {root}/pipelines {tmp_path}/mine.py"
    assert run == f"{root}/components/__init__.py"


def test_task_in_a_package_called_like_ours_is_refused_by_name(
    small: SmallPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    (small.folder / "pipelines").mkdir()
    (small.folder / "pipelines" / "mine.py").write_text("TASK = 1\n")
    small.spec["task"] = "pipelines.mine:TASK"
    said = errors_of(small)
    assert "task: the module 'pipelines.mine' is looked up in Edgemill itself" in said
    assert f"found: {small.folder / 'pipelines'}" in said
    assert "Remedy: rename it" in said


def test_folder_called_like_ours_is_no_error_by_itself(small: SmallPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    (small.folder / "pipelines").mkdir()
    check(small)


def test_module_of_the_same_name_in_the_working_directory_is_refused(
    small: SmallPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    module = small.folder / f"{small.spec['task'].partition(':')[0]}.py"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(elsewhere)
    check(small)
    shutil.copy(module, elsewhere)
    said = errors_of(small)
    assert f"task: there are two modules '{module.stem}'" in said
    assert f"(expected: {module}; found: {elsewhere / module.name})" in said


def test_missing_preprocessing_function_is_named(small: SmallPipeline) -> None:
    small.spec["preprocess"] = "nowhere:preprocessing_fn"
    assert "preprocess: the module 'nowhere' cannot be found" in errors_of(small)


def test_missing_data_folder_is_named(small: SmallPipeline) -> None:
    small.spec["examples"]["path"] = "elsewhere"
    assert "examples.path: there is no such folder" in errors_of(small)


def test_empty_data_folder_is_named_for_each_split(small: SmallPipeline) -> None:
    for file in (small.folder / "data").iterdir():
        file.unlink()
    said = errors_of(small)
    assert "there are no examples for the split 'train'" in said
    assert "there are no examples for the split 'eval'" in said


def test_empty_files_are_no_examples(small: SmallPipeline) -> None:
    (small.folder / "data" / "eval.tfrecord").write_bytes(b"")
    assert "found: only empty files" in errors_of(small)


def test_links_without_a_file_are_named(small: SmallPipeline) -> None:
    data = small.folder / "data"
    (data / "train-2").symlink_to("nowhere")
    (data / "train-3").symlink_to("train-3")
    (data / "train-4").symlink_to("eval.tfrecord")
    said = errors_of(small)
    assert f"links to missing files: {data / 'train-2'}, {data / 'train-3'} (" in said
    assert "found: a loop of symbolic links, a symbolic link to nothing)" in said


def test_files_that_only_the_pattern_or_only_tfx_finds_are_named(small: SmallPipeline, tmp_path: Path) -> None:
    data = small.folder / "data"
    for folder in (data / "monday", tmp_path / "elsewhere"):
        folder.mkdir()
        shutil.copy(data / "train.tfrecord", folder)
    patterns = small.spec["examples"]["splits"]["patterns"]
    patterns["train"] = "**/train*"
    assert f"TFX does not read all files that match: {data / 'train.tfrecord'} (" in errors_of(small)
    patterns["train"] = "*/train*"
    check(small)
    (data / "tuesday").symlink_to(tmp_path / "elsewhere")
    assert f"TFX does not read all files that match: {data / 'tuesday' / 'train.tfrecord'} (" in errors_of(small)
    (data / "tuesday").unlink()
    os.mkfifo(data / "monday" / "train-2.tfrecord")
    assert (
        f"TFX would also read something other than files of examples: {data / 'monday' / 'train-2.tfrecord'} ("
        in errors_of(small)
    )


def test_data_folder_that_tfx_would_read_as_a_pattern_is_refused(tmp_path: Path) -> None:
    said = errors_of(SmallPipeline(tmp_path / "v[1]"))
    assert "TFX reads the characters [ of a path as a pattern" in said
    small = SmallPipeline(tmp_path / "v (1) é")
    check(small)
    data = small.folder / "data"
    shutil.copy(data / "train.tfrecord", data / os.fsdecode(b"train-\xff.tfrecord"))
    said = errors_of(small)
    assert (
        f"examples.path: this path is not UTF-8, which TFX requires (expected: a name in UTF-8; found: {data}" in said
    )
    assert "train-\\udcff.tfrecord)" in said


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("share", [0.501, 0.999])
def test_truncated_tfrecord_is_reported_with_the_number_of_whole_records(
    small: SmallPipeline, zipped: bool, share: float
) -> None:
    (small.folder / "data" / "eval.tfrecord").unlink()
    path = small.write_split("eval", 120, seed=2, zipped=zipped)
    assert (path.suffix == ".gz") == zipped
    check(small)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    said = errors_of(small)
    assert f"{path}: the TFRecord file is truncated or damaged after " in said


def test_truncated_tfrecord_counts_whole_records(small: SmallPipeline) -> None:
    path = small.write_split("eval", 10, seed=2)
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) // 10 - 1])
    assert "after 8 complete records" in errors_of(small)


def test_large_records_of_plain_files_are_not_read(small: SmallPipeline) -> None:
    path = small.folder / "data" / "train-large.tfrecord"
    length = 1 << 40  # a hole in the file, which takes no room but would take hours to read
    with path.open("wb") as file:
        file.write(frame_header(length))
        file.truncate(length + 16)
    check(small)
    with path.open("ab") as file:
        file.truncate(length + 15)
    assert "after 0 complete records" in errors_of(small)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("bit", "whole"), [(0, None), (9, None), (60, 0), (-1, 0), (200, 1)])
def test_flipped_bit_in_the_first_records_is_reported(
    small: SmallPipeline, bit: int, whole: int | None, zipped: bool
) -> None:
    record = serialize({"image": np.zeros(16, np.float32), "label": 1})
    content = bytearray(frame(record) * 10)
    content[bit if bit >= 0 else len(frame(record)) + bit] ^= 1
    file = small.folder / "data" / f"train-1.tfrecord{'.gz' if zipped else ''}"
    file.write_bytes(gzip.compress(content) if zipped else content)
    said = errors_of(small)
    if whole is None:
        assert f"{file}: this is not a TFRecord file, or its first bytes are damaged" in said
    else:
        assert f"damaged after {whole} complete record" in said


def test_file_that_is_no_tfrecord_is_reported(small: SmallPipeline) -> None:
    file = small.folder / "data" / "train.tfrecord"
    for content, found in (
        ("label,image\n1,zw\u00f6lf\n".encode() * 50, "found: a text file). Remedy: write `kind: csv` in examples"),
        (b"PAR1" + bytes(300), "found: a Parquet file). Remedy: write `kind: parquet` in examples"),
        (b"\x89HDF" + bytes(300), "found: the bytes 89 48 44 46 00 00 00 00 00 00 00 00)"),
    ):
        file.write_bytes(content)
        said = errors_of(small)
        assert "this is not a TFRecord file, or its first bytes are damaged (expected: the length of the first" in said
        assert found in said
    file.unlink()
    (file.with_suffix(".gz")).write_bytes(gzip.compress(b"label,image\n1,2\n" * 50))
    assert "found: a text file)" in errors_of(small)


@pytest.mark.parametrize("zipped", [False, True])
def test_name_and_compression_must_agree_because_beam_goes_by_the_name(small: SmallPipeline, zipped: bool) -> None:
    (small.folder / "data" / "eval.tfrecord").unlink()
    path = small.write_split("eval", 120, seed=2, zipped=zipped)
    wrong = path.rename(path.with_suffix("" if zipped else ".gz"))
    said = " is gzipped, but its name does not end in .gz" if zipped else "'s name ends in .gz, but it is not gzipped"
    assert f"{wrong}: the TFRecord file{said}" in errors_of(small)


def test_gzipped_files_beyond_the_budget_are_only_looked_into(
    small: SmallPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("eval", "train"):
        (small.folder / "data" / f"{split}.tfrecord").unlink()
        path = small.write_split(split, 10_000, seed=2, zipped=True)
        path.write_bytes(path.read_bytes()[:-100])
    assert "2 errors" in errors_of(small)
    monkeypatch.setattr("pipelines.checks.example_files._GZIP_BUDGET", path.stat().st_size)
    assert "after 9" in errors_of(small)  # the first file is read to its end, the second is not
    assert "one error" in errors_of(small)
    path.write_bytes(path.read_bytes()[:20])
    assert "after 0 complete records" in errors_of(small)


def test_missing_pretrained_model_is_named(small: SmallPipeline) -> None:
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    assert "there is no readable model here" in errors_of(small)


def test_file_of_a_later_keras_is_refused_by_name_with_a_fix(small: SmallPipeline) -> None:
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    with zipfile.ZipFile(small.folder / "model.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "4.5.0"}')
        archive.writestr("config.json", "{}")
    said = errors_of(small)
    assert "this file was written by Keras 4.5.0" in said
    assert "`model.export('folder')`" in said


def test_lambda_in_a_keras_file_needs_trust(small: SmallPipeline) -> None:
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    layer = {"class_name": "Lambda", "config": {"name": "doubled"}}
    with zipfile.ZipFile(small.folder / "model.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.16.0"}')
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
    said = errors_of(small)
    assert "contains Python code, which runs when the model is loaded" in said
    assert "found: layer 'doubled'" in said
    small.spec["baseline"]["trust_code"] = True
    check(small)


def test_keras_2_file_passes(small: SmallPipeline) -> None:
    small.spec["baseline"] = {"kind": "pretrained", "path": "model.keras"}
    with zipfile.ZipFile(small.folder / "model.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.16.0"}')
    check(small)


def test_registry_that_cannot_be_a_folder_is_named(small: SmallPipeline) -> None:
    (small.folder / "registry").write_text("in the way")
    assert f"push.root: {small.folder / 'registry'}: there is a file where" in errors_of(small)


def test_registry_that_cannot_be_created_is_named_without_temporary_names(small: SmallPipeline) -> None:
    small.spec["push"] = {"root": "/proc/releases"}
    said = errors_of(small)
    assert "push.root: /proc" in said and ".staging" not in said


def test_name_that_an_oci_registry_refuses_is_found_before_anything_runs(
    small: SmallPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.object_store.oci.transport.ATTEMPTS", 1)
    small.spec["push"] = {"kind": "oci", "root": f"oci://127.0.0.1:{free_port()}/mill"}
    (small.folder / "watch.yaml").write_text(
        "name: watch\ndevice_class: watch_\ndescription: A watch.\nschemes: [float32]\n"
    )
    small.spec["devices"] = ["watch.yaml"]
    said = errors_of(small)
    assert "device watch: push: a registry of the kind oci refuses this name" in said
    assert "found: 'watch_'" in said
    assert "the registry cannot be reached" in said


def test_registry_in_a_store_is_checked_before_anything_runs(small: SmallPipeline) -> None:
    with s3_server() as server:
        small.spec["push"] = {"kind": "s3", "root": "s3://nobodys/x"}
        said = errors_of(small)
        assert "push: s3://nobodys/x/.edgemill-probe: the registry cannot be used: there is no such bucket" in said
        small.spec["push"] = {"kind": "s3", "root": f"s3://{BUCKET}/x"}
        check(small)
        assert server.objects() == {}


def test_errors_of_different_kinds_are_reported_at_once(small: SmallPipeline) -> None:
    small.spec["task"] = "nowhere:TASK"
    small.spec["examples"]["path"] = "elsewhere"
    (small.folder / "registry").write_text("in the way")
    small.spec["evaluate"]["split"] = "test"  # this needs the file alone
    assert "4 errors in the pipeline file" in errors_of(small)


@pytest.mark.parametrize("pattern", ["*", "train*", "../data/train*"])
def test_evaluation_files_in_another_split_are_named(small: SmallPipeline, pattern: str) -> None:
    small.spec["examples"]["splits"]["patterns"]["eval"] = pattern
    said = errors_of(small)
    assert "examples.splits.patterns.train: the split 'train' has files of the evaluation split 'eval': " in said
    assert "data/train.tfrecord (expected: no file in both; found: 1 of " in said


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_evaluation_file_is_known_by_another_name(small: SmallPipeline, link: Callable[[Path, Path], None]) -> None:
    data = small.folder / "data"
    link(data / "train.tfrecord", data / "eval2.tfrecord")
    said = errors_of(small)
    assert "data/eval2.tfrecord (expected: no file in both; found: 1 of 2 evaluation files)" in said


def test_calibration_split_within_the_training_split_is_no_error(small: SmallPipeline) -> None:
    small.spec["examples"]["splits"]["patterns"]["few"] = "train.*"
    small.spec["calibrate"]["split"] = "few"
    check(small)


H5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.h5", H5_SIGNATURE), ("m.h5", H5_SIGNATURE + b"\0" * 500), ("m.keras", b"{"), ("m.keras", b"[]")],
    ids=["h5-cut", "h5-zeros", "metadata-cut", "metadata-list"],
)
def test_damaged_keras_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    small = SmallPipeline(tmp_path)
    if name == "m.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("metadata.json", content)
    else:
        (tmp_path / name).write_bytes(content)
    small.spec["baseline"] = {"kind": "pretrained", "path": name}
    with pytest.raises(PipelineFileError, match=f"{name}: the model file is damaged"):
        preflight(small.write())
