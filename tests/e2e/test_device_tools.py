"""A device with an NPU and a microcontroller runtime, from its profile to the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from components.core.files import sha256_of_bytes
from components.push.artifact import artifact_files
from components.push.folder_releases import find_release
from edgemill.exit_codes import ExitCode
from pipelines.report.wording import in_words
from tests.components.push.firmware import firmware, methods
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e
PROFILE = {
    "name": "board",
    "device_class": "board",
    "description": "An NPU and a microcontroller.",
    "schemes": ["static_wi8_ai8"],
    "evaluators": [
        {"kind": "vela", "accelerator": "ethos-u55-32", "system_config": "Ethos_U55_Deep_Embedded"},
        {"kind": "tflm", "examples": 40},
    ],
    "max_cpu_operators": 0,
    "max_npu_cycles": 1_000_000,
    "max_arena_bytes": 65_536,
    "max_tflm_lsb": 4,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallPipeline:
    small = SmallPipeline(tmp_path_factory.mktemp("device_tools"))
    (small.folder / "board.yaml").write_text(yaml.safe_dump(PROFILE))
    small.spec["devices"] = ["board.yaml"]
    return small


@pytest.fixture(scope="module")
def first(small: SmallPipeline) -> Ran:
    return Ran(small.write(), "small")


def test_candidate_that_the_tools_take_is_pushed_with_its_facts(first: Ran) -> None:
    assert first.code == ExitCode.OK, first.output
    assert first.summary is not None and first.folder is not None
    assert first.states()["device_check__board"] == "complete"
    (on_device,) = first.summary.on_devices
    int8, floats = on_device.of("int8"), on_device.of("float32")
    assert int8.vela.cpu_operators == () and 0 < int8.vela.cycles <= 1_000_000
    assert 0 < int8.tflm.arena_bytes <= 65_536 and int8.tflm.examples == 40
    assert floats.vela.cycles is None and floats.vela.npu_operators == 0
    decision = first.summary.decision_for("board")
    assert decision.chosen == "int8"
    checks = {
        check.quantity: in_words(check)
        for one in decision.candidates
        if one.candidate == "int8"
        for check in one.checks
    }
    assert checks["NPU cycles"].measured == f"{int8.vela.cycles:,}"
    assert checks["arena bytes"].measured == f"{int8.tflm.arena_bytes:,}"
    html = next(first.folder.glob("*.html")).read_text()
    assert 'id="devices"' in html and f"<div>{int8.vela.cycles:,}</div></td>" in html


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_release_holds_a_bundle_that_firmware_can_use(first: Ran, tmp_path: Path) -> None:
    from tflite_micro import runtime

    from components.model.tflite_file import inspect_model

    assert first.summary is not None
    (pushed,), (on_device,) = first.summary.releases, first.summary.on_devices
    release = find_release(Path(str(pushed.path)))
    model = release.model_path.read_bytes()
    files = {name: Path(release.path, one.path(name)).read_bytes() for name, one in release.manifest.files.items()}
    bundle = {name: content for name, content in files.items() if name.startswith("microcontroller/")}
    assert sorted(bundle) == [f"microcontroller/{name}" for name in ("golden.h", "model.cc", "model.h", "resolver.h")]
    # Bound by digest: in the manifest, and in the OCI manifest.
    assert {name: sha256_of_bytes(content) for name, content in files.items()} == {
        name: one.sha256 for name, one in release.manifest.files.items()
    }
    (artifact,) = (content for path, content in artifact_files(release).items() if path.endswith("/oci-manifest.json"))
    layers = {one["annotations"]["org.cncf.model.filepath"]: one["digest"] for one in json.loads(artifact)["layers"]}
    for name, content in bundle.items():
        assert layers[release.manifest.files[name].path(name)] == f"sha256:{sha256_of_bytes(content)}"
    built = firmware(bundle, tmp_path)
    assert built.content.startswith(model) and built.sha256 == pushed.sha256
    operators = sorted({use.name for use in inspect_model(model).operators})
    assert built.added == [methods()[name] for name in operators] and built.operators == len(operators)
    assert built.arena_bytes == on_device.of("int8").tflm.arena_bytes
    # The golden example, as a device would run it.
    golden = np.frombuffer(built.content[len(model) :], np.int8)
    given, expected = golden[:16].reshape(1, 4, 4, 1), golden[16:].reshape(1, 3)
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=built.arena_bytes)
    interpreter.set_input(given, 0)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_output(0), expected)


def test_changed_bound_refuses_without_measuring_again(small: SmallPipeline, first: Ran) -> None:
    (on_device,) = first.summary.on_devices
    tight = PROFILE | {"max_npu_cycles": on_device.of("int8").vela.cycles - 1}
    (small.folder / "board.yaml").write_text(yaml.safe_dump(tight))
    again = Ran(small.write(), "small")
    assert again.states()["device_check__board"] == "cached"
    assert again.summary.verdict == "refused"
    reasons = {one.candidate: one.reasons for one in again.summary.decision_for("board").candidates}
    assert [check.quantity for check in reasons["int8"]] == ["NPU cycles"]
    assert again.summary.on_devices == first.summary.on_devices
