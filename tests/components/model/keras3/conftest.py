"""Models that Keras 3 saves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The layer of a task's own, which child processes import too.
sys.path.append(str(Path(__file__).parent))


def save(folder: Path, *names: str) -> Path:
    """Let one process of Keras 3 save the named models, or all."""
    program = Path(__file__).with_name("architectures.py")
    subprocess.run([sys.executable, str(program), str(folder), *names], check=True, timeout=600, env=dict(os.environ))
    return folder


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all models."""
    return save(tmp_path_factory.mktemp("keras3"))
