"""User code that exits, ends the process, or does not return."""

import multiprocessing
import os
import posix
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.core.errors import SpecError
from components.core.user_code import LIMIT_VARIABLE, exits_reported, in_time, process_kept


def leave_generator() -> None:
    raise GeneratorExit


def loop() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (lambda: os._exit(0), r"os\._exit\(0\)"),
        (lambda: os.execl("/bin/true", "true"), r"os\.execv\('/bin/true'\)"),
        (lambda: posix._exit(0), r"posix\._exit\(0\)"),
        (lambda: sys.exit(0), r"SystemExit\(0\)"),
        (leave_generator, r"GeneratorExit\(\)"),
    ],
    ids=["_exit", "exec", "posix", "exit", "generator"],
)
def test_code_that_ends_the_process_is_an_error_that_names_its_line(leave: object, said: str) -> None:
    before = os._exit, posix._exit
    with pytest.raises(SpecError, match=rf"task: .* exits with {said} .*found: {__file__}, \S+, line \d+\)"):  # noqa: SIM117
        with exits_reported("task"), process_kept():
            leave()  # type: ignore[operator]
    assert (os._exit, posix._exit) == before


def test_forked_processes_end_as_ever() -> None:
    with process_kept():
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(7,))
        child.start()
        child.join()
    assert child.exitcode == 7


def test_code_that_never_returns_is_stopped_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0.05")
    before = signal.getsignal(signal.SIGALRM)
    late = rf"decode does not return \(expected: 0.1 s at most; found: {__file__}, loop, line \d+\).*{LIMIT_VARIABLE}"
    with pytest.raises(SpecError, match=late), in_time("decode", "task", times=2), in_time("inner", "task"):
        loop()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_code_in_time_and_code_of_other_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "600")
    done: list[int] = []
    # The time limit of the test itself is one of them.
    before = {*threading.enumerate()}

    def work() -> None:
        with in_time("decode", "task"):
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    assert done == [1, 1]
    left = {*threading.enumerate()} - before
    assert [each for each in left if isinstance(each, threading.Timer) and not each.finished.is_set()] == []


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "soon"])
def test_limit_that_is_none_is_an_error(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, limit)
    with pytest.raises(SpecError, match=rf"{LIMIT_VARIABLE}: .*found: {limit}"), in_time("decode", "task"):
        pass


def test_process_ends_with_status_2_and_an_ended_status_file_when_nothing_stops_the_code(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import pathlib\n"
        "from components.core.user_code import in_time\n"
        "from edgemill.status_file import StatusFile, ending\n"
        "def loop():\n"
        "    while True: pass\n"
        "def deaf():\n"
        "    while True:\n"
        "        try: loop()\n"
        "        except BaseException: pass\n"
        "status = StatusFile(pathlib.Path('s.json'), pathlib.Path('p.yaml'))\n"
        "status.begin()\n"
        "with ending(status), in_time('the import', 'task'):\n"
        "    deaf()\n"
    )
    ended = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, LIMIT_VARIABLE: "0.2", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (ended.returncode, "edgemill: task: the import does not return" in ended.stderr) == (2, True)
    assert f"{program}, loop, line " in ended.stderr
    status = (tmp_path / "s.json").read_text()
    assert '"state": "ended"' in status and '"exit_status": 2' in status and "does not return" in status
