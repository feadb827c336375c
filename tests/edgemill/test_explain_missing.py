"""What `edgemill explain` says of a run without explanations."""

import pytest

from edgemill.commands.explain.why import _missing, _recipes


@pytest.mark.parametrize(
    ("planned", "words"),
    [(False, "an earlier version of Edgemill ran it"), (True, "because it failed or ended early")],
)
def test_run_of_an_earlier_version_is_not_called_failed(planned: bool, words: str) -> None:
    said = str(_missing("int8", "20250101-000000-abcdef", [], ["int8"], planned=planned))
    assert words in said and "none is quantized" not in said


def test_reference_of_sizes_is_no_recipe() -> None:
    names = {"convert__4f1d0c22ab": ("float_reference",), "convert__0a": ("int8",), "predict__0a": ("int8",)}
    assert _recipes([*names, "convert__half"], names, {"int8"}) == {"int8", "half"}
