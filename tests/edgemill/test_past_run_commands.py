"""`edgemill runs`, `compare`, `open`, `doctor`, completion, and the options --json and --quiet."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgemill.commands.doctor import GENERATIONS, TOOLS, Finding, examine_imports, examine_libraries, examine_processor
from edgemill.main import app
from pipelines.file.load import shipped_devices
from tests.pipelines.history.conftest import PastRoot
from tests.small_pipeline import SmallPipeline


@pytest.fixture
def past(tmp_path):
    return PastRoot(tmp_path / "root")


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_runs_prints_a_row_for_each_run(past) -> None:
    first, second = past.run(0, report=False), past.run(1, report=False)
    done = invoke("runs", "--root", str(past.root))
    rows = [line for line in done.output.splitlines() if "-0000" in line]
    assert [row.split()[1] for row in rows] == [second, first]
    assert "phone_cpu: int8, accuracy 0.8890, 23,104 bytes" in rows[0]
    assert "cortex_m0: nothing passed" in done.output


def test_runs_as_json_holds_the_last_ones(past) -> None:
    past.run(0, report=False)
    newest = past.run(1, report=False)
    done = invoke("runs", "--root", str(past.root), "--last", "1", "--json")
    (run,) = json.loads(done.output)
    assert (run["run_id"], run["state"], run["devices"][0]["bytes"]) == (newest, "pushed", 23_104)


def test_compare_prints_what_changed(past) -> None:
    before = past.run(0, report=False)
    past.run(1, report=False, changes=[("int8", -0.02, 23_000)])
    done = invoke("compare", before, "latest", "--root", str(past.root))
    (row,) = [line for line in done.output.splitlines() if "│ int8 " in line]
    assert [cell.strip() for cell in row.split("│")[1:-2]] == [
        *("int8", "0.8890 → 0.8710", "-0.0180", "23,104 → 23,000", "-104", "0.78 → 0.78"),
    ]
    assert "phone_cpu: blessed → fail" in row
    assert "phone_cpu: int8 → dynamic" in done.output
    assert (
        json.loads(invoke("compare", before, before, "--root", str(past.root), "--json").output)["after"]["run_id"]
        == before
    )


def test_open_hands_the_report_to_the_browser(past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = past.run(0)
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    # The module registers browsers once per process.
    # With a screen, the module asks the desktop for its browser, without a limit of time.
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    monkeypatch.setattr("webbrowser._tryorder", None)
    done = invoke("open", "--root", str(past.root))
    report = past.folder(run) / "report.html"
    assert (done.exit_code, done.output.splitlines()) == (0, [str(report)])
    printed = invoke("open", "--root", str(past.root), "--json")
    assert json.loads(printed.output) == {"run_id": run, "report": str(report)}
    assert opened.read_text().split() == [report.as_uri()] * 2


def test_open_of_a_run_without_a_report_names_the_command_that_writes_it(past) -> None:
    killed = past.run(0, ended=False)
    done = invoke("open", "--root", str(past.root))
    assert (done.exit_code, f"edgemill report {killed}" in done.output) == (1, True)


@pytest.mark.parametrize("arguments", [("runs",), ("open",), ("compare", "latest", "latest"), ("serve",)])
def test_root_that_is_mistyped_is_bad_input_for_each_command(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments, "--root", str(tmp_path / "nosuch"))
    assert (done.exit_code, "--root" in done.output) == (2, True), done.output


def test_open_without_a_browser_names_the_variable_and_the_report(past, monkeypatch: pytest.MonkeyPatch) -> None:
    report = past.folder(past.run(0)) / "report.html"
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    monkeypatch.setattr("webbrowser._tryorder", [])
    monkeypatch.setenv("BROWSER", "/nope")
    done = invoke("open", "--root", str(past.root))
    assert (done.exit_code, done.stdout.splitlines()[0]) == (2, str(report))
    assert "BROWSER: no browser could be started" in done.stderr and "found: /nope" in done.stderr
    monkeypatch.delenv("BROWSER")
    assert "no browser was found on this machine" in invoke("open", "--root", str(past.root)).stderr


def test_completion_of_a_run_lists_those_of_the_root(past, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = past.run(0, report=False), past.run(1, report=False)
    words = f"edgemill compare --root {past.root} 2026"
    environment = {"_ROOT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
    done = CliRunner().invoke(app, [], env=environment, prog_name="root")
    assert done.output.split() == [second, first]


def test_completion_of_a_device_lists_the_shipped_profiles() -> None:
    environment = {"_ROOT_COMPLETE": "complete_bash", "COMP_WORDS": "edgemill init --device cortex", "COMP_CWORD": "3"}
    done = CliRunner().invoke(app, [], env=environment, prog_name="root")
    assert done.output.split() == sorted(name for name in shipped_devices() if name.startswith("cortex"))
    assert "cortex_m55" in done.output


def test_doctor_finds_this_machine_ready(tmp_path: Path) -> None:
    done = invoke("doctor", "--root", str(tmp_path), "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["ready"]) == (0, True)
    states = {one["subject"]: one["state"] for one in found["findings"]}
    assert states["tfx"] == states["metadata store"] == states["root"] == "ok"


def test_doctor_reports_a_damaged_store_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").write_text("not a database" * 100)
    done = invoke("doctor", "--root", str(tmp_path), "--json")
    (store,) = [one for one in json.loads(done.output)["findings"] if one["subject"] == "metadata store"]
    assert (done.exit_code, store["state"], bool(store["remedy"])) == (1, "problem", True)


def test_doctor_compares_libraries_with_the_generation_of_tfx() -> None:
    good = {"python": "3.11.2", "tfx": "1.16.0", "tensorflow": "2.16.2", "tf-keras": "2.16.0"}
    good |= {"ml-metadata": "1.16.0", "apache-beam": "2.61.0"}
    assert {one.state for one in examine_libraries(good)} == {"ok"}
    bad = good | {"python": "3.13.1", "tf-keras": "2.17.0"}
    problems = {one.subject: one.found for one in examine_libraries(bad) if one.state == "problem"}
    assert problems == {"python": "3.13.1 (expected: 3.10 or 3.11)", "tf-keras": "2.17.0 (expected: 2.16)"}
    (missing,) = examine_libraries({"python": "3.11.2"})
    assert (missing.state, missing.found) == ("problem", "not installed (expected: 1.16 or 1.21)")


def test_doctor_refuses_a_processor_without_avx() -> None:
    assert examine_processor("x86_64", {"sse4_2"}, 2).state == "problem"
    assert examine_processor("x86_64", {"avx"}, 2) == Finding("processor", "ok", "2 cores, AVX")
    assert examine_processor("aarch64", {"asimd"}, 4).state == "ok"


def test_doctor_finds_that_the_tools_of_this_installation_can_be_imported() -> None:
    found = list(examine_imports([*(statement for statement, _ in TOOLS.values()), "import nothing_of_this_name"]))
    assert [one.state for one in found] == ["ok", "ok", "ok", "problem"], found


@pytest.mark.parametrize("generation", GENERATIONS)
def test_doctor_knows_the_pins_of_the_requirements(generation: str) -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\d+\.\d+)", Path(f"requirements/tfx-{generation}.in").read_text(), re.M))
    libraries = GENERATIONS[generation][1]
    assert {name: pins[name] for name in libraries} == libraries


def test_validate_as_json_lists_recipes_and_devices(tmp_path: Path) -> None:
    file = str(SmallPipeline(tmp_path).write())
    found = json.loads(invoke("validate", file, "--json").output)
    assert (found["pipeline"], found["recipes"], found["devices"]) == ("small", ["float32", "int8"], ["phone_cpu"])
    assert (found["skipped"], found["layers"]) == ([], {})


def test_quiet_prints_nothing_but_errors(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    quiet = invoke("validate", str(small.write()), "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    small.spec["nmae"] = small.spec.pop("name")
    wrong = invoke("validate", str(small.write()), "--quiet")
    assert (wrong.exit_code, wrong.stdout, "did you mean 'name'?" in wrong.stderr) == (2, "", True)


def test_run_as_json_prints_the_status_even_of_a_file_that_is_refused(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["nmae"] = small.spec.pop("name")
    done = invoke("run", str(small.write()), "--json", "--root", str(tmp_path / "root"))
    status = json.loads(done.stdout)
    assert (done.exit_code, status["state"], status["exit_status"]) == (2, "ended", 2)
    assert "did you mean 'name'?" in status["errors"][0]


def test_open_says_that_the_report_of_an_ended_run_was_removed(past) -> None:
    run = past.run(0)
    (past.folder(run) / "report.html").unlink()
    done = invoke("open", run, "--root", str(past.root))
    assert (done.exit_code, "the report of this run was removed" in done.output) == (1, True)
    assert f"Remedy: write it with `edgemill report {run}`" in done.output


def test_doctor_tries_to_write_and_says_problems_even_if_it_is_quiet() -> None:
    # Permissions let root write anywhere, but this file system has no files of users.
    done = invoke("doctor", "--root", "/proc/sys/edgemill", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "root: /proc/sys/edgemill cannot be written: /proc/sys" in done.stderr
