import errno
import os

import pytest

from components.core.errors import DataError
from pipelines.runs.run import _with_space, explain


def test_our_error_is_found_among_causes() -> None:
    ours = DataError("bad data", where="examples", remedy="fix it")
    try:
        try:
            raise ours
        except DataError as error:
            raise RuntimeError("wrapped [while running 'step']") from error
    except RuntimeError as error:
        assert explain(error) == str(ours)


def test_our_error_is_found_in_the_text_that_beam_makes_of_it() -> None:
    text = f"Traceback ...\ncomponents.errors.DataError: {DataError('bad', remedy='fix it')}\n\nwhile running"
    assert explain(RuntimeError(text)) == "bad. Remedy: fix it"


def test_damaged_tfrecord_beyond_the_preflight_is_reported_with_a_fix() -> None:
    said = explain(ValueError("Not a valid TFRecord. Fewer than 8 bytes: b'x' [while running 'read']"))
    assert said.startswith("examples.path: a TFRecord file is truncated or damaged")
    assert "gzip --test" in said


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("one\ntwo")])
def test_other_error_is_reported_with_its_type(error: Exception) -> None:
    assert explain(error).startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("code", "words", "remedy"),
    [
        (errno.ENOSPC, "No space left on device", "free up space there, or choose another --root"),
        (errno.EDQUOT, "Disk quota exceeded", "free up space there"),
        (errno.EACCES, "Permission denied", "give this user permission"),
        (errno.EROFS, "Read-only file system", "remount the file system as writable"),
        (errno.EMFILE, "Too many open files", "raise the limit on open files (`ulimit -n 4096`)"),
        (errno.EFBIG, "File too large", "raise the file size limit (`ulimit -f unlimited`)"),
        (errno.EIO, "Input/output error", "check the disk and the system log"),
    ],
)
def test_what_the_system_refuses_is_reported_with_the_file_and_the_fix(code: int, words: str, remedy: str) -> None:
    said = explain(OSError(code, os.strerror(code), "/data/root/model"))
    assert said.startswith(f"/data/root/model: the operating system refused an operation: {words}. Remedy: {remedy}")
    # TensorFlow and Beam pass on only the words.
    for text in (
        f"/data/root/model; {words}",
        f"OSError: [Errno {code}] {words}: '/data/root/model' [while running 'x']",
    ):
        said = explain(RuntimeError(text))
        assert said.startswith(f"RuntimeError: {text}. Remedy: {remedy}")


def test_full_disk_is_named_whatever_a_library_says_of_it() -> None:
    said = _with_space("InternalError: cannot commit", "98,304 bytes are free in /root")
    assert said.startswith("InternalError: cannot commit (98,304 bytes are free in /root). Remedy: free up space there")
    assert _with_space("bad. Remedy: fix it", "3 bytes are free in /root") == (
        "bad. Remedy: fix it; 3 bytes are free in /root"
    )
    assert _with_space("KeyError: 'x'", "") == "KeyError: 'x'"
