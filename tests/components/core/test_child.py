"""What a child process died of."""

import pytest

from components.core.child import how_it_ended


@pytest.mark.parametrize(
    ("code", "said"),
    [(-11, "SIGSEGV"), (-9, "SIGKILL"), (7, "exit code 7"), (0, "exit code 0"), (-40, "signal 40")],
)
def test_end_of_a_process_is_named(code: int, said: str) -> None:
    assert how_it_ended(code) == said
