"""A whole pipeline whose examples and artifacts lie in an object store, and whose releases go to signed registries.

Against real servers: one that speaks S3, an emulator of Google Cloud Storage, and Debian's registry of OCI artifacts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from components.core.files import sha256_of_bytes
from components.device_client.main import main as edgemill_device
from components.object_store.oci.repository import Repository
from components.push.folder_releases import current
from components.push.signed import open_signed
from components.trust import oci_store
from components.trust.keys import VARIABLE
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.storage.metadata_connection import open_store
from tests.components.device_client.fleet import Server
from tests.components.push.places import KINDS, ObjectFiles, store_of
from tests.node_ids import node_of
from tests.object_store import BUCKET, S3Server, free_port, s3_server, s3_user
from tests.oci_server import MEMORY, PROGRAM, oci_server
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e

ROOT = f"s3://{BUCKET}/team/mill"
ARTIFACTS = "team/mill/small/artifacts"


# The lock of an OCI registry, whose server is near.
QUICK = {"WRITE_SECONDS": 0.2, "WAIT_SECONDS": 0.3, "_PAUSE_SECONDS": 0.05}


class Twice:
    """Two runs of the small pipeline; between them all copies were removed.

    Attributes:
        registries: Kind -> root of each signed registry that it pushes to. The key set of each has the same name.
    """

    def __init__(self, folder: Path, server: S3Server, oci: str | None) -> None:
        self.folder, self.server = folder, server
        self.registries = {
            "local": str(folder / "registry"),
            "s3": f"s3://{BUCKET}/registry",
            "gcs": f"gs://{BUCKET}/registry",
        }
        if oci is not None:
            self.registries["oci"] = f"oci://{oci}/mill"
        small = SmallPipeline(folder)
        server.put_folder(folder / "data", "data/small")
        shutil.rmtree(folder / "data")
        small.spec["examples"]["path"] = f"s3://{BUCKET}/data/small"
        small.spec["recipes"] = [{"name": "int8", "scheme": "static_wi8_ai8"}]
        small.spec["push"] = [{"kind": kind, "root": root} for kind, root in self.registries.items()]
        place = folder / "environment.yaml"
        place.write_text(f"pipeline_root: {ROOT}\n")
        options = ("--environment", str(place), "--summary-json", str(folder / "status.json"))
        for kind, root in self.registries.items():
            assert command("registry", "init", root, "--keys", str(self.keys(kind))).exit_code == ExitCode.OK
        with self.signing():
            self.first = Ran(small.write(), "small", *options)
        self.copies = {
            path.relative_to(self.staged).as_posix(): path.read_bytes()
            for path in self.staged.rglob("*")
            if path.is_file()
        }
        self.left = {path.name for path in (self.first.root / "small").iterdir()}
        self.stored = server.objects(ARTIFACTS)
        shutil.rmtree(self.staged)
        with self.signing():
            self.second = Ran(small.file, "small", *options)

    @property
    def staged(self) -> Path:
        return self.first.root / "small" / "staged"

    def subjects(self, kind: str, version: str) -> dict[str, str]:
        """The digest of each file of a release by its path."""
        if kind == "oci":
            host, _, root = self.registries[kind].removeprefix("oci://").partition("/")
            artifact = Repository(host, f"{root}/phone_cpu/small").manifest(version) or b""
            digest = hashlib.sha256(artifact).hexdigest()
            layers = {
                one["annotations"]["org.cncf.model.filepath"]: one["digest"].removeprefix("sha256:")
                for one in json.loads(artifact)["layers"]
            }
            return {**layers, f"content/{digest[:16]}/oci-manifest.json": digest}
        folder = f"phone_cpu/small/{version}/"
        named = {name: one for name, one in self.files(kind).items() if name.startswith(folder)}
        # The manifest has the digest of its configuration.
        named = {name: one for name, one in named.items() if not name.endswith("/oci-config.json")}
        return {name.removeprefix(folder): hashlib.sha256(one).hexdigest() for name, one in named.items()}

    def artifact(self, node: str, output: str) -> dict[str, bytes]:
        """The files of an artifact of the first run, by their paths."""
        beginning = f"{ARTIFACTS}/{node}/{output}/"
        named = {key.removeprefix(beginning): one for key, one in self.stored.items() if key.startswith(beginning)}
        # The first part is the number of the execution.
        return {key.partition("/")[2]: one for key, one in named.items() if not key.endswith("/")}

    def keys(self, kind: str) -> Path:
        return self.folder / "keys" / kind

    def signing(self) -> Any:
        """The environment with the key sets of all registries."""
        return mock.patch.dict(os.environ, {VARIABLE: os.pathsep.join(str(self.keys(one)) for one in self.registries)})

    def files(self, kind: str) -> dict[str, bytes]:
        """The files of a registry by their paths, except for one of OCI."""
        if kind in {"s3", "gcs"}:
            return ObjectFiles(self.registries[kind]).all()
        root = self.folder / "registry"
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def web_server(files: dict[str, bytes], folder: Path) -> Iterator[str]:
    """What stands between a registry and devices; yields its URL."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    server = Server(folder)
    try:
        yield server.url
    finally:
        server.close()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def twice(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twice]:
    with ExitStack() as stack, mock.patch.multiple(oci_store, **QUICK):
        stack.enter_context(store_of("gcs"))
        oci = None
        if PROGRAM is not None:
            oci = stack.enter_context(oci_server(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))))
        yield Twice(tmp_path_factory.mktemp("object-store"), server, oci and oci.host)


def test_whole_pipeline_runs_and_the_blessed_candidate_is_pushed(twice: Twice) -> None:
    assert twice.first.code == ExitCode.OK, twice.first.output
    assert set(twice.first.states().values()) == {"complete"}
    (release,) = twice.first.summary.releases
    pushed = Path(release.path, "model.tflite").read_bytes()
    stored = {key: content for key, content in twice.stored.items() if key.endswith("Format-Serving/tflite")}
    nodes = {key.removeprefix(f"{ARTIFACTS}/").partition("/")[0] for key in stored}
    assert nodes >= {node_of("convert", "int8", twice.folder / "pipeline.yaml"), "gate__phone_cpu"}
    assert pushed in stored.values()
    assert sha256_of_bytes(pushed) == release.sha256
    assert current(twice.folder / "registry", "phone_cpu", "small") is not None


def test_every_registry_has_the_same_files_and_the_report_and_every_command_know_all(twice: Twice) -> None:
    # Each has its own audit log and signatures.
    own = ("_audit/", "_tuf/")
    files, *stored = (
        {name: one for name, one in twice.files(kind).items() if not name.startswith(own)}
        for kind in ("local", "s3", "gcs")
    )
    assert sorted(name.rpartition("/")[2] for name in files) == [
        "manifest.json",
        "model.tflite",
        "model.tflite.gz",
        "model_card.json",
        "model_card.md",
        "oci-config.json",
        "oci-manifest.json",
        "stable.json",
    ]
    assert stored == [files, files]
    (release,) = twice.first.summary.releases
    addresses = [f"{root}/phone_cpu/small/{release.version}" for root in twice.registries.values()]
    if "oci" in twice.registries:
        host, _, name = addresses[-1].removeprefix("oci://").rpartition("/")[0].partition("/")
        artifact = json.loads(Repository(host, name).manifest(release.version) or b"")
        named = {one["annotations"]["org.cncf.model.filepath"]: one["digest"] for one in artifact["layers"]}
        expected = {
            name.partition(f"{release.version}/")[2]: f"sha256:{sha256_of_bytes(one)}" for name, one in files.items()
        }
        assert named == {name: digest for name, digest in expected.items() if name and "/oci-" not in name}
    assert (release.signed, release.path, list(release.other_paths)) == (True, addresses[0], addresses[1:])
    said = f"phone_cpu: pushed {release.version} ({release.bytes:,} bytes) to {len(addresses)} registries"
    assert said in twice.first.output
    report = (twice.first.folder / "report.html").read_text()
    assert [one for one in addresses if one not in report] == []
    status = json.loads((twice.folder / "status.json").read_text())
    assert status["devices"][0]["release"]["other_paths"] == addresses[1:]
    commands = [
        ("verify", "latest", [f"release {address}: verified" for address in addresses]),
        ("verify", addresses[1], ["all unchanged"]),
        *(("rollback", one, [f"stable of small for phone_cpu: {release.version}, signed"]) for one in addresses),
    ]
    for name, target, texts in commands:
        with twice.signing():
            result = command(name, target, "--root", str(twice.first.root))
        assert (result.exit_code, [one for one in texts if one not in result.output]) == (0, []), result.output


@pytest.mark.parametrize("kind", KINDS)
def test_signed_statement_has_the_digests_of_what_the_run_stored_and_leads_to_ml_metadata(
    twice: Twice, kind: str
) -> None:
    skip_without(twice, kind)
    (release,) = twice.first.summary.releases
    with twice.signing():
        registry = open_signed(twice.registries[kind])
        assert registry is not None
        (stage,) = registry.channel("phone_cpu", "small", "stable").stages
    statement = json.loads(json.dumps(stage.release.statement))
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert digests == twice.subjects(kind, str(release.version))
    predicate = statement["predicate"]
    written = json.loads(twice.files("local")[f"phone_cpu/small/{release.version}/manifest.json"])["recipe"]
    (declared,) = yaml.safe_load(twice.first.file.read_text())["recipes"]
    assert (written["name"], written["scheme"]["kind"]) == (declared["name"], declared["scheme"])
    recipe = json.dumps(written, separators=(",", ":")).encode()
    assert predicate["recipe"] == {"name": "int8", "digest": {"sha256": hashlib.sha256(recipe).hexdigest()}}
    assert (predicate["device_class"], predicate["name"], predicate["device"]) == ("phone_cpu", "small", "phone_cpu")
    convert = node_of("convert", "int8", twice.first.file)
    assert {one["name"]: one["digest"]["sha256"] for one in predicate["materials"]} == {
        "calibration": digest_of(twice.artifact("calibrate", "sample"), "Split-calibration"),
        "candidate": digest_of(twice.artifact(convert, "candidate"), "Format-Serving/tflite"),
        "decision": digest_of(twice.artifact("gate__phone_cpu", "blessing"), "decision.json"),
        "evaluation": digest_of(twice.artifact("evaluate", "evaluation"), "report.json"),
        "examples": digest_of(twice.artifact("examples", "examples"), "Split-eval"),
        "model": digest_of(twice.artifact("baseline", "model"), "Format-Serving"),
    }
    # The second run made the same release, so the signed one is still that of the first.
    lineage = predicate["lineage"]
    assert lineage["run"] == twice.first.summary.run_id
    store = open_store(environment(twice.first.root, None).metadata_url)
    (found,) = zip(*(store.get_artifacts_by_id([int(lineage[name])]) for name in ("chosen", "blessing")), strict=True)
    assert [(one.type, one.uri.rpartition("/")[0]) for one in found] == [
        ("Model", f"{ROOT}/small/artifacts/gate__phone_cpu/chosen"),
        ("ModelBlessing", f"{ROOT}/small/artifacts/gate__phone_cpu/blessing"),
    ]


def digest_of(files: dict[str, bytes], path: str) -> str:
    """The digest of a file, or of the names and digests of the files in a folder, as sha256sum writes them."""
    if path in files:
        return hashlib.sha256(files[path]).hexdigest()
    inside = {name.removeprefix(f"{path}/"): one for name, one in files.items() if name.startswith(f"{path}/")}
    assert inside, (path, sorted(files))
    named = sorted(inside.items(), key=lambda one: one[0].split("/"))
    lines = "".join(f"{hashlib.sha256(one).hexdigest()}  {name}\n" for name, one in named)
    return hashlib.sha256(lines.encode()).hexdigest()


def skip_without(twice: Twice, kind: str) -> None:
    if kind not in twice.registries:
        pytest.skip("Debian's package docker-registry is not installed")


@pytest.mark.parametrize("kind", KINDS)
def test_lineage_of_a_release_verifies_everything_back_to_the_examples_and_names_what_was_changed(
    twice: Twice, kind: str
) -> None:
    skip_without(twice, kind)
    (release,) = twice.first.summary.releases
    address = f"{twice.registries[kind]}/phone_cpu/small/{release.version}"

    def traced(target: str) -> tuple[int, dict[str, str]]:
        done = command("lineage", target, "--root", str(twice.first.root), "--json")
        return done.exit_code, verified_in(json.loads(done.stdout))

    code, nodes = traced(address)
    assert (code, set(nodes.values())) == (0, {"yes"}), nodes
    kinds = {label.partition(" ")[0] for label in nodes}
    assert kinds >= {"PushedModel", "Model", "ModelBlessing", "ModelEvaluation", "Examples"}
    # The training examples, in the store.
    (key,) = (one for one in twice.server.objects(f"{ARTIFACTS}/examples/examples/") if "/Split-train/" in one)
    before, client = twice.server.objects(key)[key], twice.server.client()
    client.put_object(Bucket=BUCKET, Key=key, Body=before[:-1] + bytes([before[-1] ^ 1]))
    try:
        code, nodes = traced(address)
    finally:
        client.put_object(Bucket=BUCKET, Key=key, Body=before)
    changed = {label.partition(" ")[0]: said for label, said in nodes.items() if said != "yes"}
    assert (code, set(changed)) == (ExitCode.NODE_FAILED, {"Examples"}), nodes
    assert "is not the one that was written" in changed["Examples"]


def verified_in(node: dict[str, Any]) -> dict[str, str]:
    """The label of each artifact that a lineage compares, and how it compares."""
    found = {node["label"]: node["details"]["verified"]} if "verified" in node["details"] else {}
    for child in node["children"]:
        found |= verified_in(child)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_device_gets_what_was_promoted_and_its_bytes_lead_to_the_examples(
    twice: Twice, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skip_without(twice, kind)
    (release,) = twice.first.summary.releases
    root, device = twice.registries[kind], tmp_path / "device"
    with twice.signing():
        promoted = command("registry", "promote", f"{root}/phone_cpu/small/{release.version}", "--channel", "beta")
        assert (promoted.exit_code, release.version in promoted.output) == (0, True), promoted.output
        for named in ("verify", "audit"):
            result = command("registry", named, root)
            assert result.exit_code == ExitCode.OK, result.output
    followed = ("--device-class", "phone_cpu", "--name", "small", "--channel", "beta", "--device-id", "7")
    with nullcontext(root) if kind == "oci" else web_server(twice.files(kind), tmp_path / "web") as url:
        trusted = ("--url", url, "--root", str(twice.keys(kind) / "root.json"))
        made = edgemill_device(["init", str(device), *trusted, *followed])
        assert (made, edgemill_device(["pull", str(device)])) == (0, 0), capsys.readouterr()
    model = device / "current" / "model.tflite"
    assert sha256_of_bytes(model.read_bytes()) == release.sha256
    lineage = command("lineage", str(model), "--root", str(twice.first.root))
    assert (lineage.exit_code, f"uri: {ROOT}/small/artifacts/examples/examples/1" in lineage.output) == (0, True)
    assert "verified: NO" not in lineage.output


def test_second_run_is_served_from_cache_also_without_the_copies(twice: Twice) -> None:
    assert twice.second.code == ExitCode.OK, twice.second.output
    assert twice.second.executed() == {"push__phone_cpu"}


def test_metadata_names_addresses_and_the_store_has_what_they_name(twice: Twice) -> None:
    store = open_store(environment(twice.first.root, None).metadata_url)
    artifacts = store.get_artifacts()
    assert len(artifacts) > 10
    for artifact in artifacts:
        assert artifact.uri.startswith(f"s3://{BUCKET}/{ARTIFACTS}/"), artifact.uri
        key = artifact.uri.removeprefix(f"s3://{BUCKET}/")
        assert [one for one in twice.server.objects(key) if one.startswith(f"{key}/")], artifact.uri
        texts = [value.string_value for value in artifact.custom_properties.values()]
        assert not [text for text in texts if str(twice.folder) in text and "registry" not in text]
    (blessing,) = store.get_artifacts_by_type("ModelBlessing")
    assert blessing.custom_properties["current_model"].string_value.startswith(
        f"{ROOT}/small/artifacts/{node_of('convert', 'int8', twice.folder / 'pipeline.yaml')}/"
    )


def test_nothing_is_left_in_folders_but_copies_of_what_the_store_has(twice: Twice) -> None:
    assert twice.left == {".lock", "passed_checks.json", "runs", "staged"}
    stored = {f"s3/{BUCKET}/{key}": content for key, content in twice.stored.items() if not key.endswith("/")}
    assert twice.copies == stored
    # The second run has had what it pushed, and what that was decided by, and nothing else.
    assert {
        path.relative_to(twice.staged / "s3" / BUCKET / ARTIFACTS).parts[0]
        for path in twice.staged.rglob("*/manifest.json")
    } == {"gate__phone_cpu", "push__phone_cpu"}


def test_report_and_lineage_read_the_store(twice: Twice) -> None:
    before = (twice.second.folder / "summary.json").read_bytes()
    (twice.second.folder / "summary.json").unlink()
    result = CliRunner().invoke(app, ["report", "--root", str(twice.first.root)])
    assert result.exit_code == 0, result.output
    assert (twice.second.folder / "summary.json").read_bytes() == before
    (release,) = twice.second.summary.releases
    lineage = CliRunner().invoke(app, ["lineage", str(release.path), "--root", str(twice.first.root)])
    assert f"uri: {ROOT}/small/artifacts/examples/examples/1" in lineage.output


def test_no_secret_is_anywhere(twice: Twice, capfd: pytest.CaptureFixture[str]) -> None:
    server = twice.server
    forms = {
        form
        for secret in (server.secret, server.token)
        for form in (secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1])
    }
    files = {str(path): path.read_bytes() for path in twice.folder.rglob("*") if path.is_file()}
    assert {"metadata.sqlite", "log.txt", "status.json", "report.html"} <= {Path(name).name for name in files}
    printed = capfd.readouterr()
    said = {"printed": twice.first.output + twice.second.output + printed.out + printed.err}
    for form in forms:
        assert not [name for name, text in said.items() if form in text]
        for place in (files, server.objects()):
            assert not [name for name, content in place.items() if form.encode() in content], form


@pytest.fixture
def small(tmp_path: Path) -> SmallPipeline:
    return SmallPipeline(tmp_path)


def refused(small: SmallPipeline, root: str) -> Ran:
    ran = Ran(small.write(), "small", "--pipeline-root", root)
    assert ran.summary is None  # not a node, not even TensorFlow
    assert "Traceback" not in ran.output
    return ran


def test_missing_bucket_is_reported_before_anything_starts(small: SmallPipeline, server: S3Server) -> None:
    ran = refused(small, "s3://nobodys/mill")
    assert ran.code == ExitCode.BAD_INPUT
    assert "s3://nobodys/mill/.edgemill-probe: this pipeline root cannot be used: there is no such bucket" in ran.output
    assert "Remedy: create it, or correct its name" in ran.output


def test_server_that_is_away_is_reported_before_anything_starts(small: SmallPipeline, server: S3Server) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with s3_user(away, server.key_id, server.secret):
        ran = refused(small, ROOT)
    assert ran.code == ExitCode.NODE_FAILED
    assert re.search(rf"the object store cannot be reached \(found: EndpointConnectionError from {away}\)", ran.output)


def test_examples_that_are_not_there_are_reported_before_anything_starts(
    small: SmallPipeline, server: S3Server
) -> None:
    small.spec["examples"]["path"] = f"s3://{BUCKET}/elsewhere"
    ran = refused(small, ROOT)
    assert ran.code == ExitCode.BAD_INPUT
    assert (
        f"there are no examples for the split 'train' (expected: objects that match 'train*' in s3://{BUCKET}/elsewhere"
        in ran.output
    )


@pytest.mark.parametrize(
    "root", ["s3://me:hunter22@mill/x", "s3://mill/x?secret=hunter22", "ftp://hunter22/x", "s3://"]
)
def test_address_that_is_none_is_refused_without_repeating_it(
    root: str, small: SmallPipeline, server: S3Server
) -> None:
    ran = refused(small, root)
    assert ran.code == ExitCode.BAD_INPUT
    assert "--pipeline-root: this is not a pipeline root address (expected: s3://BUCKET/PREFIX" in ran.output
    assert "hunter22" not in ran.output


def test_secrets_among_arguments_of_beam_are_refused_without_repeating_them(small: SmallPipeline) -> None:
    ran = Ran(small.write(), "small", "--beam-arg", "--s3_secret_access_key=hunter22")
    assert ran.code == ExitCode.BAD_INPUT
    assert "--beam-arg=--s3_secret_access_key: this contains a secret" in ran.output
    assert "hunter22" not in ran.output


def test_root_that_is_an_address_is_refused_with_what_to_write(small: SmallPipeline) -> None:
    result = CliRunner().invoke(app, ["run", str(small.write()), "--root", ROOT])
    assert result.exit_code == ExitCode.BAD_INPUT
    assert "--root: reports, locks, and SQLite can't be in an object store" in result.output
    assert "set --pipeline-root" in result.output
    assert not Path("s3:").exists()


class TestServerThatAsksNames:
    @pytest.fixture(scope="class")
    def strict(self) -> Iterator[S3Server]:
        with s3_server() as running:
            self.__class__.reader = running.user("reader", "s3:ListBucket", "s3:GetObject")
            self.__class__.keeper = running.user("keeper", "s3:ListBucket", "s3:GetObject", "s3:PutObject")
            running.ask_names()
            yield running

    @pytest.mark.parametrize("name", ["reader", "keeper"])
    def test_root_without_permission_is_reported_before_anything_starts(
        self, name: str, small: SmallPipeline, strict: S3Server
    ) -> None:
        key_id, secret = getattr(self, name)
        with s3_user(strict.url, key_id, secret):
            ran = refused(small, ROOT)
        assert ran.code == ExitCode.BAD_INPUT
        assert (
            f"{ROOT}/.edgemill-probe: this pipeline root cannot be used: the object store denies access" in ran.output
        )
        assert "expected: permission to list, read, write, and delete objects below the pipeline root" in ran.output
        assert "Remedy: grant it to these credentials, or use different ones" in ran.output
        assert secret not in ran.output

    @pytest.mark.parametrize("wrong", ["secret", "id"])
    def test_wrong_credentials_are_reported_without_repeating_them(
        self, wrong: str, small: SmallPipeline, strict: S3Server
    ) -> None:
        key_id = self.reader[0] if wrong == "secret" else "AKIANOBODYNOBODYNOBO"
        with s3_user(strict.url, key_id, "hunter22/hunter22+hunter22"):
            ran = refused(small, ROOT)
        assert ran.code == ExitCode.NODE_FAILED
        code = {"secret": "SignatureDoesNotMatch", "id": "InvalidAccessKeyId"}[wrong]
        assert f"the object store does not accept the credentials (found: {code})" in ran.output
        assert "hunter22" not in ran.output
