"""Artifacts conform to the CNCF ModelPack specification, by tables written from its text and its schema, version 1.

`EDGEMILL_MODELPACK_SCHEMA=FILE` also holds the configuration, and the table of its fields, against the specification's
own `schema/config-schema.json`, which is in the repository modelpack/model-spec.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from components.core.values import serialized
from components.push.artifact import artifact_of
from components.push.release import CompressedForm, Release
from components.push.release_files import compressed_form, described
from tests.components.push.places import MODEL, manifest_of

# What a push can put next to the model.
FILES = {
    "labels.txt": b"shoe\nboot\n",
    "model_card.md": b"# The model",
    "microcontroller/model.h": b"// h",
    "microcontroller/model.cc": b"// cc",
    "microcontroller/golden.h": b"// golden",
}

# The schema of the configuration: section -> field -> type. No section allows another field.
TEXT, TEXTS = str, list
CONFIGURATION: dict[str, dict[str, type]] = {
    "descriptor": {
        "createdAt": TEXT, "authors": TEXTS, "family": TEXT, "name": TEXT, "docURL": TEXT, "sourceURL": TEXT,
        "datasetsURL": TEXTS, "version": TEXT, "revision": TEXT, "vendor": TEXT, "licenses": TEXTS, "title": TEXT,
        "description": TEXT,
    },
    "config": {
        "architecture": TEXT, "format": TEXT, "paramSize": TEXT, "precision": TEXT, "quantization": TEXT,
        "capabilities": dict, "transformerConfig": dict,
    },
    "modelfs": {"type": TEXT, "diffIds": TEXTS},
}  # fmt: skip
SCHEMA = os.environ.get("EDGEMILL_MODELPACK_SCHEMA", "")
# Those of files that are in no archive.
LAYERS = re.compile(r"application/vnd\.cncf\.model\.(weight|weight\.config|doc|code|dataset)\.v1\.raw")
LAYER_ANNOTATIONS = {
    "org.cncf.model.filepath", "org.cncf.model.file.metadata+json", "org.cncf.model.file.mediatype.untested",
}  # fmt: skip
# What an OCI image manifest and a descriptor can hold.
MANIFEST = {"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"}
DESCRIPTOR = {"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def broken_rules(artifact: dict[str, Any], config: dict[str, Any], contents: dict[str, bytes]) -> list[str]:
    """What an artifact breaks. `contents` are its blobs by digest."""
    found = [f"no {field}" for field in ("artifactType", "config", "layers", "mediaType") if field not in artifact]
    if found:
        return found
    found += [f"another field: {one}" for one in artifact.keys() - MANIFEST]
    expected = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
    }
    found += [f"another {field}" for field, value in expected.items() if artifact.get(field) != value]
    if artifact["config"]["mediaType"] != "application/vnd.cncf.model.config.v1+json":
        found.append("another type of configuration")
    for one in (artifact["config"], *artifact["layers"]):
        found += [f"another field of a descriptor: {name}" for name in one.keys() - DESCRIPTOR]
        if not DIGEST.fullmatch(one["digest"]) or len(contents.get(one["digest"], b"")) != one["size"]:
            found.append(f"another digest or size: {one}")
        named = one.get("annotations", {})
        found += [f"another type of an annotation: {name}" for name in named if not isinstance(named[name], str)]
    for layer in artifact["layers"]:
        if not LAYERS.fullmatch(layer["mediaType"]):
            found.append(f"another type of layer: {layer['mediaType']}")
        found += [f"another annotation of a layer: {name}" for name in layer["annotations"].keys() - LAYER_ANNOTATIONS]
    # Annotations by the OCI image specification: names of reversed domains.
    for name, value in artifact.get("annotations", {}).items():
        if not re.fullmatch(r"[a-z]+(\.[a-z0-9-]+)+", name) or not isinstance(value, str):
            found.append(f"another annotation: {name}")
    # The digests of the layers' content, which is in no archive.
    if config.get("modelfs") != {"type": "layers", "diffIds": [one["digest"] for one in artifact["layers"]]}:
        found.append("other diffIds")
    return found


def broken_fields(config: dict[str, Any]) -> list[str]:
    """What a configuration breaks of the schema."""
    found = []
    for section in CONFIGURATION.keys() | config.keys():
        if section not in CONFIGURATION or section not in config:
            found.append(f"section {section}")
            continue
        for field, value in config[section].items():
            kind = CONFIGURATION[section].get(field)
            if kind is None or not isinstance(value, kind) or not all(isinstance(one, str) for one in value):
                found.append(f"field {section}.{field}")
    return found if config.get("descriptor", {}).get("name", "x") else [*found, "an empty name"]


def made() -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """The artifact of a release with every kind of file, its configuration, and its blobs."""
    packed, form = compressed_form(MODEL)
    assert isinstance(form, CompressedForm)
    manifest = manifest_of(MODEL).model_copy(update={"compressed": form, "files": described(FILES)})
    release = Release(version=manifest.sha256[:16], path="oci://host/mill/phone/shoes/x", manifest=manifest)
    config, artifact = artifact_of(release)
    blobs = [MODEL, packed, serialized(manifest), config, *FILES.values()]
    contents = {f"sha256:{hashlib.sha256(one).hexdigest()}": one for one in blobs}
    return json.loads(artifact), json.loads(config), contents


def test_artifact_and_configuration_conform() -> None:
    artifact, config, contents = made()
    assert broken_rules(artifact, config, contents) + broken_fields(config) == []
    assert len(artifact["layers"]) == 3 + len(FILES)


@pytest.mark.skipif(not SCHEMA, reason="EDGEMILL_MODELPACK_SCHEMA names no config-schema.json")
def test_configuration_is_valid_by_the_schema_of_the_specification() -> None:
    schema = json.loads(Path(SCHEMA).read_text())
    # It says draft-04, and has the `$defs` of a later one.
    validator = Draft202012Validator({name: value for name, value in schema.items() if name not in {"$schema", "$id"}})
    _, config, _ = made()
    assert [error.message for error in validator.iter_errors(config)] == []
    for section in CONFIGURATION:
        assert list(validator.iter_errors({**config, section: {**config[section], "another": "x"}}))
        definition = schema["$defs"][schema["properties"][section]["$ref"].rpartition("/")[2]]
        kinds = {"string": str, "array": list}
        fields = {name: kinds.get(one.get("type", ""), dict) for name, one in definition["properties"].items()}
        assert fields.items() <= CONFIGURATION[section].items()
    config["modelfs"]["diffIds"] = []
    assert list(validator.iter_errors(config))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda artifact, config: artifact.update(artifactType="application/json"), "another artifactType"),
        (lambda artifact, config: artifact["layers"][0].update(mediaType="application/octet-stream"), "type of layer"),
        (lambda artifact, config: artifact["layers"][0].update(size=1), "digest or size"),
        (lambda artifact, config: artifact["layers"][0]["annotations"].update(path="x"), "annotation of a layer"),
        (lambda artifact, config: artifact["annotations"].update({"Edgemill": "x"}), "another annotation"),
        (lambda artifact, config: config["modelfs"].update(diff_ids=[]), "modelfs.diff_ids"),
        (lambda artifact, config: config["modelfs"]["diffIds"].reverse(), "other diffIds"),
        (lambda artifact, config: config["config"].update(precision=8), "config.precision"),
        (lambda artifact, config: config.pop("descriptor"), "section descriptor"),
        (lambda artifact, config: config["descriptor"].update(device="phone"), "descriptor.device"),
    ],
)  # fmt: skip
def test_table_notices_what_does_not_conform(change: Callable[[Any, Any], object], found: str) -> None:
    artifact, config, contents = made()
    change(artifact, config)
    assert found in "; ".join(broken_rules(artifact, config, contents) + broken_fields(config))
