"""Updates of a device from an honest registry, over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from components.device_client.errors import SelfTestError, SettingsError, UnreachableError
from components.device_client.main import main
from components.device_client.pull import Update, pull
from components.push import signed
from components.trust import rollout
from components.trust.rollout import place_of_device
from tests.components.device_client.fleet import NEW, OLD, OTHER, Fleet, model_of
from tests.forked import EVERY_STEP, killed_at

FAILS = (sys.executable, "-S", "-c", "raise SystemExit(7)")


def test_device_gets_the_release_keeps_the_previous_one_and_asks_little_for_nothing_new(fleet: Fleet) -> None:
    old, device = fleet.push(OLD), fleet.device()
    assert pull(device) == Update(old, None)
    new = fleet.push(NEW)
    assert pull(device) == Update(new, old)
    assert (model_of(device), device.version("previous")) == (NEW, old)
    assert (device.path / "previous/model.tflite").read_bytes() == OLD
    fleet.server.asked.clear()
    assert pull(device) == Update(new, new)
    assert len(fleet.server.asked) <= 3
    assert sum(size for _, _, size in fleet.server.asked) < 10_000
    release = json.loads((device.path / "current/release.json").read_bytes())
    assert {one["name"].rpartition("/")[2] for one in release["statement"]["subject"]} == {
        "model.tflite", "model.tflite.gz", "manifest.json", "oci-manifest.json"}  # fmt: skip
    fleet.push(OTHER)
    pull(device)
    assert sorted(path.name for path in device.models.iterdir()) == sorted({new, device.version() or ""})


def test_channels_and_classes_are_apart(fleet: Fleet) -> None:
    canary, stable, watch = fleet.push(NEW, "canary"), fleet.push(OLD), fleet.push(OTHER, device_class="watch")
    assert pull(fleet.device(channel="canary")).version == canary
    assert pull(fleet.device()).version == stable
    assert pull(fleet.device("watch")).version == watch
    with pytest.raises(UnreachableError, match="no release for this device"):
        pull(fleet.device(channel="beta"))


def test_staged_roll_out_reaches_a_device_at_its_share_and_a_rollback_returns_it(fleet: Fleet) -> None:
    old, device = fleet.push(OLD), fleet.device()
    new = fleet.push(NEW, "canary")
    address = f"{fleet.root.resolve()}/phone/shoes"
    place = place_of_device("device-1", new)
    signed.promote(f"{address}/{new}", "stable", place)  # just not
    assert pull(device).version == old
    signed.promote(f"{address}/{new}", "stable", place + 1)
    assert pull(device).version == new
    # The pointer, which unsigned readers follow, stays at the complete release.
    assert json.loads((fleet.root / "phone/shoes/stable.json").read_bytes())["version"] == old
    signed.change(address, "stable", rollout.rolled_back, "rollback")
    assert pull(device) == Update(old, new)
    assert model_of(device) == OLD


def test_device_without_a_release_for_it_warns_that_it_keeps_a_release_that_was_taken_back(fleet: Fleet) -> None:
    first, second = fleet.push(OLD, "canary"), fleet.push(NEW, "canary")
    address = f"{fleet.root.resolve()}/phone/shoes"
    signed.promote(f"{address}/{first}", "stable", place_of_device("device-1", first))  # just not
    device = fleet.device()
    assert pull(device) == Update(None, None)
    signed.promote(f"{address}/{second}", "stable", 9_999)
    assert pull(device) == Update(second, None)
    signed.change(address, "stable", rollout.rolled_back, "rollback")
    update = pull(device)
    assert update.version == second
    assert f"no release for this device; it keeps {second}" in (update.warning or "")


def test_download_continues_after_lost_connections(fleet: Fleet) -> None:
    model = os.urandom(100_000)
    version, device = fleet.push(model), fleet.device()
    ends = []
    for _ in range(9):
        # Metadata is short enough.
        fleet.server.cut = 20_000
        try:
            ends.append(pull(device))
            break
        except UnreachableError as error:
            assert "continues where this one ended" in str(error)
    assert ends == [Update(version, None)]
    sizes = [size for path, _, size in fleet.server.asked if path.endswith(".gz")]
    # Of each of the lost connections, less than a chunk of 4,096 bytes is fetched again.
    assert len(sizes) == 6
    assert 100_000 < sum(sizes) < 100_200 + 5 * 4096


def test_server_errors_keep_the_model(fleet: Fleet) -> None:
    fleet.push(OLD)
    pull(device := fleet.device())
    fleet.push(NEW)
    fleet.server.failing = True
    with pytest.raises(UnreachableError, match=r"503.*keeps its model"):
        pull(device)
    fleet.server.failing = False
    assert pull(device).before is not None
    assert model_of(device) == NEW


def test_failed_self_test_returns_and_is_not_repeated(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    old, device = fleet.push(OLD), fleet.device()
    pull(device)
    settings = json.loads((device.path / "device.json").read_bytes())
    (device.path / "device.json").write_text(json.dumps({**settings, "self_test": FAILS}))
    new = fleet.push(NEW)
    with pytest.raises(SelfTestError, match=rf"returned to {old} .*found: exit status 7"):
        pull(device)
    assert (device.version(), model_of(device)) == (old, OLD)
    with pytest.raises(SelfTestError, match="failed the self-test before"):
        pull(device)
    capsys.readouterr()
    main(["status", str(device.path)])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["current"], shown["previous"]) == (device.version("current"), None)
    (device.path / "device.json").write_text(json.dumps(settings))
    assert pull(device, retry=True).version == new


def test_first_model_that_fails_leaves_none_and_a_test_that_hangs_is_stopped(fleet: Fleet) -> None:
    fleet.push(OLD)
    hangs = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    device = fleet.device(self_test=hangs, self_test_seconds=0.2)
    with pytest.raises(SelfTestError, match=r"having no model .*still running after 0\.2 s"):
        pull(device)
    assert model_of(device) is None


def test_interrupted_self_test_returns_and_gets_one_more_chance(fleet: Fleet) -> None:
    old, device = fleet.push(OLD), fleet.device()
    pull(device)
    new = fleet.push(NEW)
    pull(device)
    for chances in (1, 2):
        device._link("current", old)
        device.begin_trial(new)
        device.recover()
        assert (device.version(), device.failures(new)) == (old, chances)
    with pytest.raises(SelfTestError, match="failed the self-test before"):
        pull(device)


def test_kill_at_every_step_leaves_the_old_model_or_the_new_one(fleet: Fleet) -> None:
    fleet.push(OLD)
    pull(device := fleet.device())
    fleet.push(NEW)
    start = fleet.folder / "start"
    device.path.rename(start)
    ends: list[bytes | None] = []
    for number, step in enumerate(range(1, 200, 1 if EVERY_STEP else 5), start=1):
        subprocess.run(["cp", "-a", str(start), str(device.path)], check=True)
        killed = killed_at(str(device.path), step, lambda: pull(device))
        ends.append(model_of(device))
        if not killed:
            break
        if number % 5 == 0:
            pull(device)
            assert model_of(device) == NEW
        subprocess.run(["rm", "-rf", str(device.path)], check=True)
    assert step > 30
    assert set(ends) == {OLD, NEW}
    assert ends == sorted(ends, key=[OLD, NEW].index)


@pytest.mark.parametrize("most", [0, 300, 3000])
def test_full_disk_keeps_the_model(fleet: Fleet, most: int) -> None:
    fleet.push(OLD)
    device = fleet.device()
    pull(device)
    fleet.push(NEW)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))"
    run = f"from components.device_client.main import main; raise SystemExit(main(['pull', {str(device.path)!r}]))"
    done = subprocess.run([sys.executable, "-c", f"{limit}; {run}"], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "the folder of the device cannot be used: File too large; the device keeps its model" in done.stderr
    assert model_of(device) == OLD
    pull(device)
    assert model_of(device) == NEW


def test_command_line_reports_by_exit_status(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(fleet.folder / "phone")
    given = ["init", folder, "--url", fleet.server.url, "--root", str(fleet.keys / "root.json"),
             "--device-class", "phone", "--name", "shoes", "--device-id", "1"]  # fmt: skip
    assert main([*given, "--channel", "gamma"]) == 2
    assert main(given) == 0
    assert main(given) == 2
    assert main(["pull", folder]) == 1
    version = fleet.push(OLD)
    assert main(["pull", folder]) == 0
    capsys.readouterr()
    assert main(["status", folder]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["current"], status["last_pull"]["meaning"]) == (version, "OK")
    (fleet.root / "_tuf/timestamp.json").write_bytes(b"{}")
    assert main(["pull", folder]) == 3
    assert "can't be trusted" in capsys.readouterr().err
    assert main(["status", folder]) == 3


def test_second_update_at_the_same_time_is_refused(fleet: Fleet) -> None:
    fleet.push(OLD)
    device = fleet.device()
    with device.locked(), pytest.raises(UnreachableError, match="another update is running"):
        pull(device)
    with pytest.raises(SettingsError, match="cannot be read"):
        type(device)(fleet.folder / "nothing").settings()


def test_client_imports_no_heavy_library() -> None:
    code = "import components.device_client.main, components.device_client.pull, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"tensorflow", "tfx", "apache_beam", "numpy", "pydantic", "yaml", "typer", "ml_metadata", "requests"}
    assert not heavy & set(found)
    ours = {name for name in found if name.startswith(("components.", "pipelines", "edgemill", "kubeflow"))}
    # Of object stores, only how to sign in to an OCI registry.
    assert {name.split(".")[1] for name in ours} == {"core", "device_client", "object_store", "trust"}
    stores = {name for name in ours if name.startswith("components.object_store.")}
    assert stores == {f"components.object_store.oci{name}" for name in ("", ".credentials", ".hosts")}
