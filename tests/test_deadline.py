import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deadline import LANE_SECONDS, SUITE_SECONDS, deadline, seconds_for


def wait_for_a_pipe() -> None:
    os.read(os.pipe()[0], 1)


def wait_for_a_process() -> None:
    if (child := os.fork()) == 0:
        time.sleep(2)
        os._exit(0)
    os.waitpid(child, 0)


def wait_in_cleanup_too() -> None:
    try:
        threading.Event().wait(60)
    finally:
        threading.Event().wait(60)


@pytest.mark.parametrize("wait", [wait_for_a_pipe, wait_for_a_process, wait_in_cleanup_too])
def test_wait_without_an_end_fails_the_test(wait: Callable[[], None]) -> None:
    start = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match=r"x takes longer than 0\.05 s"), deadline("x", 0.05, 2.0):
        wait()
    assert time.monotonic() - start < 60


def test_tests_of_the_suite_have_minutes_and_lanes_have_hours() -> None:
    assert seconds_for(Path(__file__)) == SUITE_SECONDS
    assert seconds_for(Path(__file__).parent / "servers/registries.py") == LANE_SECONDS
