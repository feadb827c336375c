"""Damage in the folder of a device, settings that can't be used, and self-tests that misbehave."""

from __future__ import annotations

import json
import shutil
import sys
import time

import pytest

from components.device_client.errors import DeviceError, SelfTestError, SettingsError
from components.device_client.folder import DeviceFolder
from components.device_client.main import main
from components.device_client.pull import Update, pull
from tests.components.device_client.fleet import NEW, OLD, OTHER, Fleet, model_of

DAMAGE = (b"", b"{", b"[1]", b'{"status": "x", "version": 5, "x": 1}', b"[" * 100_000)


@pytest.fixture
def device(fleet: Fleet) -> DeviceFolder:
    """Runs NEW, and has OLD as the previous model."""
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    fleet.push(NEW)
    pull(device)
    return device


def test_every_damaged_file_is_overcome_or_named(fleet: Fleet, device: DeviceFolder) -> None:
    for name in ("failures.json", "trial.json", "status.json"):
        (device.path / name).write_bytes(b'{"0123456789abcdef": 1}')
    start = fleet.folder / "start"
    shutil.copytree(device.path, start, symlinks=True)
    fleet.push(OTHER)
    names = [path.relative_to(start) for path in start.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(names) > 12
    refused = set()
    for name in names:
        for content in (*DAMAGE, (start / name).read_bytes()[:-9] + b"x" * 8):
            shutil.rmtree(device.path)
            shutil.copytree(start, device.path, symlinks=True)
            (device.path / name).write_bytes(content)
            try:
                pull(device)
                assert model_of(device) == OTHER
            except DeviceError as error:
                assert isinstance(error, SettingsError), (name, error)
                refused.add(str(name))
    assert refused == {"device.json", "root.json"}


@pytest.mark.parametrize("content", DAMAGE)
def test_damaged_status_is_as_if_there_was_no_pull(
    device: DeviceFolder, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (device.path / "status.json").write_bytes(content)
    assert main(["status", str(device.path)]) == 0
    assert json.loads(capsys.readouterr().out)["last_pull"] is None


def test_interrupted_trial_whose_file_is_damaged_returns_to_the_previous_model(device: DeviceFolder) -> None:
    (device.path / "trial.json").write_bytes(b"\0" * 40)
    device.recover()
    assert model_of(device) == OLD
    (device.path / "previous").unlink()
    (device.path / "trial.json").write_bytes(b"")
    device.recover()
    assert model_of(device) == OLD  # Without a previous model, the device keeps the one that it has.


def test_damaged_model_is_restored_although_nothing_is_new(device: DeviceFolder) -> None:
    path, version = device.path / "current/model.tflite", device.version()
    for content in (NEW[:-1] + b"x", b"", NEW[:100]):
        path.write_bytes(content)
        assert pull(device) == Update(version, version, restored=True)
        assert model_of(device) == NEW
    path.unlink()
    path.mkdir()
    assert "was damaged, and was restored" in str(pull(device))
    assert model_of(device) == NEW
    assert (device.path / "previous/model.tflite").read_bytes() == OLD
    assert pull(device) == Update(version, version)


def test_links_that_lead_out_of_the_folder_are_replaced(fleet: Fleet, device: DeviceFolder) -> None:
    version = str(device.version())
    planted = fleet.folder / "planted" / version
    planted.mkdir(parents=True)
    (planted / "model.tflite").write_bytes(b"planted")
    current, own = device.path / "current", device.models / version
    current.unlink()
    current.symlink_to(planted)
    pull(device)
    assert model_of(device) == NEW
    shutil.rmtree(own)
    own.symlink_to(planted)
    pull(device)
    assert model_of(device) == NEW
    (own / "model.tflite").unlink()
    (own / "model.tflite").symlink_to(planted / "model.tflite")
    pull(device)
    assert model_of(device) == NEW
    assert (planted / "model.tflite").read_bytes() == b"planted"


GOOD = {"--url": "http://127.0.0.1:1", "--device-class": "phone", "--name": "shoes", "--device-id": "1"}


@pytest.mark.parametrize(
    ("option", "values"),
    [
        # Devices without their own ID would get a staged roll-out together.
        ("--device-id", ("", "  ", "a\n", "a\0b", "\udcff", "x" * 1_001)),
        ("--device-class", ("", "../phone", "Phone", "ph*ne", "_tuf", "phone\0", "phone\n", "a/b", "\uff50hone",
                              "x" * 129)),
        ("--name", ("", "..", "sho/es", "*", "Shoes", "shoes ")),
        ("--channel", ("gamma", "")),
        ("--url", ("", "models", "file:///etc", "ftp://host/x", "http://", "oci://", "oci://host", "http://[::bad/",
                   "http://host:99999/", "http://ho st/", "http://host/?key=1", "http://host/#x")),
        ("--self-test", ("unbalanced 'quote",)),
        ("--self-test-seconds", ("nan", "inf", "0", "-1")),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused_before_a_folder_is_made(
    fleet: Fleet, option: str, values: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        given = {**GOOD, "--root": str(fleet.keys / "root.json"), option: value}
        folder = fleet.folder / "refused"
        assert main(["init", str(folder), *(f"{name}={one}" for name, one in given.items())]) == 2, value
        assert not folder.exists()
        said = capsys.readouterr().err
        assert option in said and "Remedy" in said


def test_password_in_an_address_is_refused_and_not_repeated(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**GOOD, "--root": str(fleet.keys / "root.json"), "--url": "https://user:hunter2@example.com/models"}
    assert main(["init", str(fleet.folder / "refused"), *(f"{name}={one}" for name, one in given.items())]) == 2
    said = capsys.readouterr().err
    assert "found: a user or a password" in said
    assert "hunter2" not in said


def test_file_that_is_no_root_is_refused_before_devices_trust_it(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fleet.folder / "r.json"
    signed = (fleet.keys / "root.json").read_bytes()
    for content in (
        b"",
        b"{}",
        b"[]",
        (fleet.root / "_tuf/timestamp.json").read_bytes(),
        signed.replace(b"365", b"366"),
    ):
        root.write_bytes(content)
        given = {**GOOD, "--root": str(root)}
        assert main(["init", str(fleet.folder / "refused"), *(f"{name}={one}" for name, one in given.items())]) == 2
        assert "the root cannot be used" in capsys.readouterr().err


def test_folder_that_cannot_be_made_is_named(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**GOOD, "--root": str(fleet.keys / "root.json")}
    (fleet.folder / "file").write_text("x")
    assert main(["init", str(fleet.folder / "file"), *(f"{name}={one}" for name, one in given.items())]) == 1
    assert "the folder of the device cannot be written: File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)", r"still running after 0\.5 s"),
        ("import sys; open(sys.argv[-1], 'ab').write(b'x')", "the self-test changed the model"),
        ("import os, sys; os.remove(sys.argv[-1])", "the self-test changed the model"),
        ("import sys; sys.exit(len(sys.stdin.read()) or 3)", "exit status 3"),  # Nobody answers its questions.
    ],
)
def test_self_test_that_misbehaves_counts_as_failed(fleet: Fleet, program: str, said: str) -> None:
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    settings = json.loads((device.path / "device.json").read_bytes())
    changed = {**settings, "self_test": [sys.executable, "-S", "-c", program], "self_test_seconds": 0.5}
    if "stdin" in program or "argv" in program:
        changed["self_test_seconds"] = 30.0
    (device.path / "device.json").write_text(json.dumps(changed))
    fleet.push(NEW)
    with pytest.raises(SelfTestError, match=f"returned to .*found: {said}"):
        pull(device)
    assert model_of(device) == OLD


def test_what_a_hanging_self_test_started_ends_with_it(fleet: Fleet) -> None:
    fleet.push(OLD)
    alive = fleet.folder / "alive"
    program = f"import os, time\nos.fork()\nwhile True:\n    open({str(alive)!r}, 'a').write('x'); time.sleep(0.02)"
    device = fleet.device(self_test=(sys.executable, "-S", "-c", program), self_test_seconds=0.5)
    with pytest.raises(SelfTestError, match="still running after"):
        pull(device)
    size = alive.stat().st_size
    time.sleep(0.3)
    assert alive.stat().st_size == size


def test_failure_that_nobody_foresaw_is_in_the_status(device: DeviceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: DeviceFolder, *, retry: bool) -> Update:
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr("components.device_client.pull.pull", fail)
    with pytest.raises(ZeroDivisionError):
        main(["pull", str(device.path)])
    status = json.loads((device.path / "status.json").read_bytes())
    assert status["message"] == "edgemill-device failed: ZeroDivisionError: nobody foresaw this"
