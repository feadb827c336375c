"""What the node that finds a champion leaves: the file, its digest in ML Metadata, and whether it can be reused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.champion.component import ChampionFinder, ChampionRequest
from components.core.errors import TamperedError
from components.facts.champion import Champion
from components.facts.verified import verified
from components.push.champion import named_now
from components.push.several import publish
from components.spec.devices.device import DeviceProfile
from components.spec.registry import LocalRegistry
from tests.components.push.places import MODEL, manifest_of

PHONE = DeviceProfile(name="phone_cpu", device_class="phone", description="any", schemes=("static_wi8_ai8",))


def found(folder: Path, registry: LocalRegistry, seen: str | None) -> Any:
    """The artifact of the node when the registries named `seen` as the run began; None if they could not say."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    folder.mkdir()
    asked = ChampionRequest(registries=(registry,), device=PHONE, name="shoes")
    parameters = {"spec": asked.model_dump_json(), "code_version": "1", "attempt": "2", "seen": seen or "", "retry": ""}
    ChampionFinder.EXECUTOR_SPEC.executor_class().Do({}, {"champion": [artifact]}, parameters)
    return artifact


def test_outcome_is_reusable_only_if_the_channels_name_what_they_did_when_the_run_began(tmp_path: Path) -> None:
    registry = LocalRegistry(root=str(tmp_path / "registry"))
    before = named_now([registry], "phone", "shoes")
    first = found(tmp_path / "first", registry, before)
    properties = [first.get_string_custom_property(name) for name in ("state", "version", "role")]
    assert (properties, first.get_int_custom_property("transient")) == (["none", "", "champion"], 0)

    ((release,), _) = publish([registry], "phone", "shoes", MODEL, manifest_of(MODEL))
    # Another push came between the beginning of the run and this node.
    assert found(tmp_path / "late", registry, before).get_int_custom_property("transient") == 1
    second = found(tmp_path / "second", registry, named_now([registry], "phone", "shoes"))
    assert second.get_int_custom_property("transient") == 0
    digest = hashlib.sha256(MODEL).hexdigest()
    names = ("sha256", "version", "address", "recipe")
    assert [second.get_string_custom_property(name) for name in names] == [digest, digest[:16], release.path, "int8"]
    copy = verified(second)
    assert copy.read("Format-Serving/tflite") == MODEL
    assert Champion.model_validate_json(copy.read("champion.json")).sha256 == digest

    release.model_path.write_bytes(MODEL[1:])
    damaged = found(tmp_path / "damaged", registry, None)
    assert (damaged.get_string_custom_property("state"), damaged.get_int_custom_property("transient")) == ("unknown", 1)
    assert "Format-Serving/tflite" not in verified(damaged).manifest.files


def test_copy_that_was_changed_is_refused(tmp_path: Path) -> None:
    registry = LocalRegistry(root=str(tmp_path / "registry"))
    publish([registry], "phone", "shoes", MODEL, manifest_of(MODEL))
    artifact = found(tmp_path / "copy", registry, None)
    (tmp_path / "copy" / "Format-Serving" / "tflite").write_bytes(MODEL[::-1])
    with pytest.raises(TamperedError, match="champion 'int8'"):
        verified(artifact)
