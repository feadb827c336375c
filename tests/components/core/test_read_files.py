import importlib
import sys
from pathlib import Path

import pytest

from components.core.read_files import files_read, recording

PROJECT = """
import importlib, json, sys
from pathlib import Path
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "library_of_reader"))
import helper_of_reader
importlib.import_module("plug_of_reader")

def read():
    json.loads((HERE / "scale.json").read_text())
    (HERE / ".cache" / "fonts").read_bytes()
    (HERE.parent / "outside.json").read_bytes()
    with open(HERE / "log.txt", "a") as log:
        log.write("read")
    (HERE / "temporary").write_text("x")
    (HERE / "temporary").read_text()
    (HERE / "temporary").unlink()
"""


def test_files_of_the_project_and_modules_from_anywhere_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, library = tmp_path / "project", tmp_path / "library_of_reader"
    for path, text in {
        project / "reader_of_files.py": PROJECT,
        project / "plug_of_reader.py": "",
        project / "scale.json": "1",
        project / "unread.json": "2",
        project / ".cache" / "fonts": "",
        library / "helper_of_reader.py": "import json\n",
        tmp_path / "outside.json": "3",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "path", [str(project), *sys.path])
    with recording():
        module = importlib.import_module("reader_of_files")
        module.read()
    (project / "unread.json").read_text()
    expected = {project / "plug_of_reader.py", project / "scale.json", library / "helper_of_reader.py"}
    assert {path for path in files_read([project]) if path.is_relative_to(tmp_path)} - {
        project / "reader_of_files.py"  # here, the test imports it; in a run, Edgemill does
    } == expected
