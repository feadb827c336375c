"""Names of pipelines that `edgemill init` makes from the names of folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgemill.project.files import name_for
from pipelines.file.spec import PIPELINE_NAME_PATTERN


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Shoes 2 (new)", "shoes-2-new"),
        ("x" * 200, "x" * 63),
        ("y" * 62 + " z", "y" * 62),
        ("...", "model"),
        ("模型", "model"),
    ],
)
def test_name_is_one_that_a_pipeline_may_have(folder: str, name: str) -> None:
    assert name_for(Path("/anywhere") / folder) == name
    assert re.fullmatch(PIPELINE_NAME_PATTERN, name)
