"""What `edgemill explain` says of a run without explanations."""

import pytest

from edgemill.commands.explain.why import _missing


@pytest.mark.parametrize(
    ("planned", "words"),
    [(False, "an earlier version of Edgemill ran it"), (True, "because it failed or ended early")],
)
def test_run_of_an_earlier_version_is_not_called_failed(planned: bool, words: str) -> None:
    said = str(_missing("int8", "20250101-000000-abcdef", [], ["int8"], planned=planned))
    assert words in said and "none is quantized" not in said
