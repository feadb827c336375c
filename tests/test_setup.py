"""Which generation of TFX set-up takes for a machine."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.processes import finished

choose_lock = runpy.run_path("requirements/choose_lock.py")["choose_lock"]


@pytest.mark.parametrize(
    ("python", "glibc", "lock"),
    [
        ((3, 10), "2.35", "requirements/tfx-1.16.lock"),
        ((3, 11), "2.36", "requirements/tfx-1.16.lock"),
        # Python decides: TFX 1.16 runs on a newer C library as well.
        ((3, 11), "2.41", "requirements/tfx-1.16.lock"),
        ((3, 12), "2.39", "requirements/tfx-1.21.lock"),
        ((3, 13), "2.41", "requirements/tfx-1.21.lock"),
    ],
)
def test_python_and_c_library_decide(python: tuple[int, int], glibc: str, lock: str) -> None:
    assert choose_lock(python, glibc) == lock
    assert Path(lock).is_file()


@pytest.mark.parametrize(
    ("python", "glibc", "message"),
    [
        ((3, 9), "2.36", r"no generation of TFX for Python 3\.9 .*make setup PYTHON=python3\.11"),
        ((3, 14), "2.41", r"no generation of TFX for Python 3\.14 .*make setup PYTHON=python3\.11"),
        (
            (3, 13),
            "2.36",
            r"Python 3\.13 needs TFX 1\.21.*glibc >= 2\.39 \(found: 2\.36\).*install Python 3\.10 or 3\.11",
        ),
        ((3, 12), "", r"glibc >= 2\.39 \(found: none\)"),
    ],
)
def test_machine_that_no_generation_takes_is_reported(python: tuple[int, int], glibc: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_lock(python, glibc)


def test_this_machine_has_the_lock_that_is_chosen_for_it() -> None:
    output = finished([sys.executable, "requirements/choose_lock.py"], check=True)
    chosen = Path(output.stdout.strip()).read_text()
    tfx = finished(
        [sys.executable, "-c", "import importlib.metadata; print(importlib.metadata.version('tfx'))"],
        check=True,
    ).stdout.strip()
    assert f"\ntfx=={tfx} " in chosen


def test_locks_hold_hashes_and_no_addresses() -> None:
    for lock in Path("requirements").glob("*.lock"):
        text = lock.read_text()
        pinned = [line for line in text.splitlines() if line[:1].isalnum()]
        assert len(pinned) > (30 if lock.name == "docs.lock" else 200)
        assert all("==" in line and line.endswith("\\") for line in pinned)
        assert "://" not in text
        assert "index-url" not in text
