import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.core.errors import SpecError
from edgemill.main import app
from kubeflow.cron import parse_cron
from kubeflow.schedule import Schedule, check_name, crontab_line, write_units
from tests.small_pipeline import SmallPipeline


@pytest.mark.parametrize(
    ("cron", "calendar"),
    [
        ("30 2 * * *", "*-*-* 02:30:00"),
        ("*/15 * * * *", "*-*-* *:00,15,30,45:00"),
        ("0 9-17/4 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 09,13,17:00:00"),
        ("5,35 0 1 1,7 *", "*-01,07-01 00:05,35:00"),
        ("0 0 * * 7", "Sun *-*-* 00:00:00"),
        ("50/5 0 * * 0,6", "Sun,Sat *-*-* 00:50,55:00"),
    ],
)
def test_cron_as_systemd_writes_it(cron: str, calendar: str) -> None:
    assert parse_cron(cron).systemd == calendar
    if shutil.which("systemd-analyze"):
        assert (
            subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, check=False).returncode == 0
        )


def test_kubeflow_takes_seconds_first() -> None:
    assert parse_cron("30  2 * * 1").kubeflow == "0 30 2 * * 1"


@pytest.mark.parametrize(
    ("cron", "kubeflow"),
    [
        ("0 0 * * 7", "0 0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 0 * * 0,5,6"),
        ("0 0 * * 2/5", "0 0 0 * * 0,2"),
        ("*/15 0 1-7 1,7 *", "0 */15 0 1-7 1,7 *"),
    ],
)
def test_kubeflow_knows_no_day_7(cron: str, kubeflow: str) -> None:
    assert parse_cron(cron).kubeflow == kubeflow


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("30 2 * *", "does not have five fields"),
        ("0 30 2 * * *", "does not have five fields"),
        ("60 * * * *", "the minute is out of its range, 0 to 59"),
        ("0 5-2 * * *", "the hour is out of its range"),
        ("0 0 * * MON", "the day of the week cannot be parsed"),
        ("\u0663 2 * * *", "the minute cannot be parsed"),
        ("*/0 * * * *", "the minute is out of its range"),
        ("0 0 30 2 *", "none of its months has such a day"),
        ("0 0 1 * 1", "sets both days of the month and days of the week"),
    ],
)
def test_cron_that_cannot_be_kept_is_refused(cron: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_cron(cron)


def schedule(folder: Path) -> Schedule:
    command = ("/usr/bin/python3", "-m", "edgemill", "run", '/a b/100%/$x "y".yaml')
    return Schedule(name="nightly", command=command, folder=folder, root=folder / "root")


def test_units_quote_what_systemd_would_read(tmp_path: Path) -> None:
    service, timer = write_units(schedule(tmp_path), parse_cron("30 2 * * *"), tmp_path)
    assert (
        r'ExecStart="/usr/bin/python3" "-m" "edgemill" "run" "/a b/100%%/$$x \"y\".yaml"'
        in service.read_text().splitlines()
    )
    assert "SuccessExitStatus=143" in service.read_text().splitlines()
    assert "OnCalendar=*-*-* 02:30:00" in timer.read_text().splitlines()
    if shutil.which("systemd-analyze"):
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(timer)], capture_output=True, text=True, check=False
        )
        assert "nightly" not in said.stderr, said.stderr


def test_crontab_line_is_one_command_for_a_shell(tmp_path: Path) -> None:
    shown = Schedule(name="n", command=("printf", "%s", "100%"), folder=tmp_path, root=tmp_path / "root")
    line = crontab_line(shown, parse_cron("30 2 * * *"))
    assert line.startswith("30 2 * * * cd ")
    # cron turns \% back into % before a shell sees it.
    command = line.removeprefix("30 2 * * * ").replace("\\%", "%")
    assert "%" not in line.replace("\\%", "")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "100%")


def test_a_second_schedule_of_one_name_is_refused(tmp_path: Path) -> None:
    write_units(schedule(tmp_path), parse_cron("30 2 * * *"), tmp_path)
    before = (tmp_path / "edgemill-nightly.timer").read_text()
    with pytest.raises(SpecError, match="a schedule called 'nightly' already exists"):
        write_units(schedule(tmp_path), parse_cron("0 5 * * *"), tmp_path)
    assert (tmp_path / "edgemill-nightly.timer").read_text() == before


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "../x", "-a"])
def test_names_that_no_unit_can_have_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="not valid for a schedule"):
        check_name(name)


def test_command_writes_units_and_prints_both_ways(tmp_path: Path) -> None:
    file = SmallPipeline(tmp_path / "p").write()
    (tmp_path / "environment.yaml").write_text("root: out\n")
    arguments = ["schedule", str(file), "--cron", "30 2 * * *", "-o", str(tmp_path / "units")]
    result = CliRunner().invoke(app, [*arguments, "--environment", str(tmp_path / "environment.yaml")])
    assert result.exit_code == 0, result.output
    service = (tmp_path / "units/edgemill-small.service").read_text()
    assert f'"run" "{file}" "--environment" "{tmp_path / "environment.yaml"}"' in service
    assert f"flock --nonblock {tmp_path / 'out'}/.schedule-small.lock" in result.output.replace("\n", "")
    assert "systemctl enable --now edgemill-small.timer" in result.output.replace("\n", " ")
    options = ["--name", "watched", "--summary-json", str(tmp_path / "s.json"), "--log-format", "json"]
    watched = CliRunner().invoke(app, [*arguments, *options])
    assert watched.exit_code == 0, watched.output
    service = (tmp_path / "units/edgemill-watched.service").read_text()
    assert f'"--summary-json" "{tmp_path / "s.json"}" "--log-format" "json"\n' in service
    unknown = CliRunner().invoke(app, [*arguments, "--name", "other", "--log-format", "xml"])
    assert (unknown.exit_code, "there is no such format" in unknown.output) == (2, True)
    assert not (tmp_path / "units/edgemill-other.service").exists()
    again = CliRunner().invoke(app, arguments)
    assert (again.exit_code, "a schedule called 'small' already" in again.output) == (2, True)
