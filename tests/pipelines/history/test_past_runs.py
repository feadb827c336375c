import pytest

from components.core.errors import MetadataError, StorageError, UnknownRunError
from pipelines.history.past_runs import DeviceResult, find_past_run, past_runs, summary_of


def test_runs_are_listed_newest_first_with_what_each_device_got(past) -> None:
    first = past.run(0, report=False)
    second = past.run(1, report=False, changes=[("int8", -0.004, 23_000)])
    runs = past_runs(past.root)
    assert [(run.run_id, run.state, run.metric, run.baseline) for run in runs] == [
        (second, "pushed", "accuracy", 0.891),
        (first, "pushed", "accuracy", 0.891),
    ]
    phone, micro = runs[0].devices
    assert (phone.candidate, phone.bytes, phone.version) == ("int8", 23_000, "696e7438696e7438")
    assert phone.value == pytest.approx(0.887)
    assert micro == DeviceResult(device="cortex_m0", candidate=None)
    assert runs[1].devices[0].bytes == 23_104


def test_runs_of_one_pipeline_are_listed_alone(past) -> None:
    past.run(0, "other", report=False)
    mine = past.run(1, report=False)
    assert [run.run_id for run in past_runs(past.root, "fashion-mnist")] == [mine]
    with pytest.raises(MetadataError, match="no pipeline of this name has run here"):
        past_runs(past.root, "fashion")


def test_run_without_an_end_is_unfinished_and_names_the_command_that_writes_its_summary(past) -> None:
    killed = past.run(0, ended=False)
    (run,) = past_runs(past.root)
    assert (run.state, run.report, run.devices) == ("unfinished", False, ())
    with pytest.raises(StorageError, match=f"edgemill report {killed}"):
        summary_of(run)


def test_damaged_files_make_a_run_unreadable_and_leave_the_others(past) -> None:
    good, cut, foreign, no_plan = (past.run(night, report=False) for night in range(4))
    summary = past.folder(cut) / "summary.json"
    summary.write_text(summary.read_text()[:500])
    past.change_summary(foreign, field_of_the_future=1)
    (past.folder(no_plan) / "run.json").write_text("{")
    states = {run.run_id: run.state for run in past_runs(past.root)}
    assert states == {good: "pushed", cut: "unreadable", foreign: "unreadable", no_plan: "unreadable"}
    with pytest.raises(StorageError, match="this file from a run is damaged"):
        summary_of(find_past_run(past.root, cut))


def test_folders_that_clean_is_removing_are_no_runs(past) -> None:
    kept = past.run(0, report=False)
    gone = past.folder(past.run(1, report=False))
    gone.rename(gone.with_name(f".removing-{gone.name}"))
    assert [run.run_id for run in past_runs(past.root)] == [kept]


def test_latest_is_the_newest_and_an_unknown_run_is_an_error(past) -> None:
    past.run(0, report=False)
    newest = past.run(1, report=False)
    assert find_past_run(past.root, "latest").run_id == newest
    with pytest.raises(MetadataError, match=r"20250101: there is no such run .*edgemill runs"):
        find_past_run(past.root, "20250101")
    with pytest.raises(UnknownRunError, match=f"did you mean {newest}"):
        find_past_run(past.root, newest[:-1])


def test_root_without_runs_is_an_error(tmp_path) -> None:
    with pytest.raises(MetadataError, match="no pipeline has run here"):
        past_runs(tmp_path)
