"""A whole pipeline whose examples and artifacts lie in an object store, against a real server speaking S3."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from components.core.files import sha256_of_bytes
from components.push.folder_releases import current
from edgemill.exit_codes import ExitCode
from edgemill.main import app
from pipelines.file.environment import environment
from pipelines.storage.metadata_connection import open_store
from tests.node_ids import node_of
from tests.object_store import BUCKET, S3Server, free_port, s3_server, s3_user
from tests.ran import Ran
from tests.small_pipeline import SmallPipeline

pytestmark = pytest.mark.e2e

ROOT = f"s3://{BUCKET}/team/mill"
ARTIFACTS = "team/mill/small/artifacts"


class Twice:
    """Two runs of the small pipeline; between them all copies were removed."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        self.folder, self.server = folder, server
        small = SmallPipeline(folder)
        server.put_folder(folder / "data", "data/small")
        shutil.rmtree(folder / "data")
        small.spec["examples"]["path"] = f"s3://{BUCKET}/data/small"
        small.spec["recipes"] = [{"name": "int8", "scheme": "static_wi8_ai8"}]
        small.spec["push"] = [small.spec["push"], {"kind": "s3", "root": f"s3://{BUCKET}/registry"}]
        place = folder / "environment.yaml"
        place.write_text(f"pipeline_root: {ROOT}\n")
        options = ("--environment", str(place), "--summary-json", str(folder / "status.json"))
        self.first = Ran(small.write(), "small", *options)
        self.copies = {
            path.relative_to(self.staged).as_posix(): path.read_bytes()
            for path in self.staged.rglob("*")
            if path.is_file()
        }
        self.left = {path.name for path in (self.first.root / "small").iterdir()}
        self.stored = server.objects(ARTIFACTS)
        shutil.rmtree(self.staged)
        self.second = Ran(small.file, "small", *options)

    @property
    def staged(self) -> Path:
        return self.first.root / "small" / "staged"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def twice(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Twice:
    return Twice(tmp_path_factory.mktemp("object-store"), server)


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


def test_both_registries_have_the_same_files_and_the_report_and_every_command_know_both(twice: Twice) -> None:
    registry = twice.folder / "registry"
    files = {path.relative_to(registry).as_posix(): path.read_bytes() for path in registry.rglob("*") if path.is_file()}
    # Each has its own audit log.
    files = {name: content for name, content in files.items() if not name.startswith("_audit/")}
    assert sorted(name.rpartition("/")[2] for name in files) == [
        "manifest.json",
        "model.tflite",
        "model.tflite.gz",
        "model_card.md",
        "stable.json",
    ]
    stored = {key: one for key, one in twice.server.objects("registry/").items() if "/_audit/" not in key}
    assert stored == {f"registry/{name}": content for name, content in files.items()}
    (release,) = twice.first.summary.releases
    address = f"s3://{BUCKET}/registry/phone_cpu/small/{release.version}"
    assert (release.path, release.other_paths) == (str(registry / "phone_cpu" / "small" / release.version), (address,))
    assert f"phone_cpu: pushed {release.version} ({release.bytes:,} bytes) to 2 registries" in twice.first.output
    assert address in (twice.first.folder / "report.html").read_text()
    status = json.loads((twice.folder / "status.json").read_text())
    assert status["devices"][0]["release"]["other_paths"] == [address]
    commands = (
        ("verify", "latest", f"release {address}: verified"),
        ("verify", address, "all unchanged"),
        ("lineage", address, f"uri: {ROOT}/small/artifacts/examples/examples/1"),
        ("rollback", address, f"stable of small for phone_cpu: {release.version}, was {release.version}"),
    )
    for command, target, said in commands:
        result = CliRunner().invoke(app, [command, target, "--root", str(twice.first.root)])
        assert (result.exit_code, said in result.output) == (0, True), result.output


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
    assert "--pipeline-root: this is no address of a pipeline root (expected: s3://BUCKET/PREFIX" in ran.output
    assert "hunter22" not in ran.output


def test_secrets_among_arguments_of_beam_are_refused_without_repeating_them(small: SmallPipeline) -> None:
    ran = Ran(small.write(), "small", "--beam-arg", "--s3_secret_access_key=hunter22")
    assert ran.code == ExitCode.BAD_INPUT
    assert "--beam-arg=--s3_secret_access_key: this holds a secret" in ran.output
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
        assert "Remedy: grant it to these credentials, or use others" in ran.output
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
