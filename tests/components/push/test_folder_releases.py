import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.core.compression import gzip_of
from components.core.errors import RegistryError, SpecError
from components.push.artifact import artifact_of
from components.push.folder import FolderRegistry
from components.push.folder_releases import check_writable, current, find_release, point_at
from components.push.release import ReleaseManifest
from components.spec.registry import LocalRegistry

MODEL = bytes(range(256)) * 8
SHA256 = hashlib.sha256(MODEL).hexdigest()
VERSION = SHA256[:16]


def manifest_of(model):
    return ReleaseManifest(
        name="shoes",
        device_class="phone",
        device="phone_cpu",
        sha256=hashlib.sha256(model).hexdigest(),
        bytes=len(model),
        recipe={"name": "int8", "scheme": "static_wi8_ai8"},
        metrics={"accuracy": {"value": 0.875, "lower": 0.85, "upper": 0.9}},
        parents={"candidate": "ab" * 32},
    )


def push(root, model=MODEL, channel="stable", name="shoes"):
    registry = FolderRegistry(LocalRegistry(root=str(root), channel=channel))
    release = registry.put("phone", name, model, manifest_of(model))
    registry.commit(release)
    return release


def tree_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_release_is_laid_out_by_content_when_pushed(tmp_path):
    release = push(tmp_path)
    folder = tmp_path / "phone" / "shoes"
    config, artifact = (hashlib.sha256(one).hexdigest()[:16] for one in artifact_of(release))
    assert sorted(tree_of(tmp_path)) == sorted([
        f"phone/shoes/{VERSION}/content/{config}/oci-config.json",
        f"phone/shoes/{VERSION}/content/{artifact}/oci-manifest.json",
        f"phone/shoes/{VERSION}/manifest.json",
        f"phone/shoes/{VERSION}/model.tflite",
        f"phone/shoes/{VERSION}/model.tflite.gz",
        "phone/shoes/stable.json",
    ])  # fmt: skip
    assert (folder / VERSION / "model.tflite").read_bytes() == MODEL
    assert json.loads((folder / "stable.json").read_text()) == {"version": VERSION, "sha256": SHA256, "bytes": 2048}
    assert (release.version, release.path) == (VERSION, str(folder / VERSION))
    assert release == find_release(folder / VERSION) == find_release(folder / VERSION / "model.tflite")
    assert release == find_release(folder / VERSION / "model.tflite.gz")
    assert current(tmp_path, "phone", "shoes") == release
    assert current(tmp_path, "phone", "shoes", "beta") is None
    assert (folder / VERSION).stat().st_mode & 0o777 == 0o755
    for file in ("model.tflite", "model.tflite.gz"):
        assert (folder / VERSION / file).stat().st_mode & 0o777 == 0o644


def test_compressed_form_is_the_model_and_its_digest_is_reported_when_pushed(tmp_path):
    release = push(tmp_path)
    served = (Path(release.path) / "model.tflite.gz").read_bytes()
    assert gzip.decompress(served) == MODEL
    # 8 times the same 256 bytes: stored once, and referred to.
    assert 256 < len(served) < 400
    manifest = json.loads((Path(release.path) / "manifest.json").read_text())
    assert manifest["compressed"] == {
        "file": "model.tflite.gz",
        "sha256": hashlib.sha256(served).hexdigest(),
        "bytes": len(served),
    }
    assert (manifest["sha256"], manifest["bytes"]) == (SHA256, 2048)


def forge(folder, served):
    """Another compressed form, with its digest in the manifest."""
    (folder / "model.tflite.gz").write_bytes(served)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["compressed"] |= {"sha256": hashlib.sha256(served).hexdigest(), "bytes": len(served)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder, served: (folder / "model.tflite.gz").write_bytes(served[:-1]),
        # The time in the frame's header: the content is the same, the bytes are not.
        lambda folder, served: (folder / "model.tflite.gz").write_bytes(served[:4] + b"\x01" + served[5:]),
        lambda folder, served: (folder / "model.tflite.gz").unlink(),
        lambda folder, served: forge(folder, gzip.compress(MODEL[::-1])),
        lambda folder, served: forge(folder, gzip.compress(bytes(50_000_000))),
        lambda folder, served: forge(folder, gzip.compress(MODEL) + b"x"),
        lambda folder, served: forge(folder, b"no gzip"),
    ],
    ids=["truncated", "header", "missing", "other model", "bomb", "more behind", "no gzip"],
)
def test_release_is_refused_when_its_compressed_form_was_changed(tmp_path, damage):
    folder = Path(push(tmp_path).path)
    damage(folder, (folder / "model.tflite.gz").read_bytes())
    with pytest.raises(RegistryError, match=r"compressed form is not the model|complete release.*model\.tflite\.gz"):
        find_release(folder)
    with pytest.raises(RegistryError, match="push"):
        push(tmp_path)


def test_release_without_a_compressed_form_is_read_and_gets_one_when_pushed_again(tmp_path):
    folder = Path(push(tmp_path).path)
    before = tree_of(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["compressed"], manifest["artifact"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "model.tflite.gz").unlink()
    assert find_release(folder).manifest.compressed is None
    assert push(tmp_path) == current(tmp_path, "phone", "shoes") == find_release(folder)
    assert without_kept(tmp_path) == before


def without_kept(root):
    """The files without the manifests that are kept at their digests, because a channel can have signed them."""
    return {
        name: one for name, one in tree_of(root).items() if not re.search("/content/[0-9a-f]{16}/manifest.json", name)
    }


def test_equally_good_compressed_form_stays_when_pushed_again(tmp_path):
    folder = Path(push(tmp_path).path)
    # Other bytes of the same content, as another version of zlib makes them. A channel can have signed them.
    forge(folder, other := gzip.compress(MODEL, mtime=9))
    push(tmp_path)
    assert (folder / "model.tflite.gz").read_bytes() == other
    found = find_release(folder).manifest.compressed
    assert found is not None and found.bytes == len(other)


def edit(path, old, new):
    before = path.read_text()
    path.write_text(before.replace(old, new))
    assert path.read_text() != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder / "manifest.json", '"value": 0.875', '"value": 0.999'),
        lambda folder: edit(folder / "manifest.json", "ab" * 32, "cd" * 32),
        lambda folder: edit(folder / "manifest.json", '"phone_cpu"', '"another"'),
        lambda folder: edit(folder / "manifest.json", '"metrics"', '"parents": {}, "metrics"'),
        lambda folder: edit(folder / "manifest.json", "\n", "\n "),
        lambda folder: edit(folder.parent / "stable.json", SHA256, "0" * 64),
        lambda folder: edit(folder.parent / "stable.json", "2048", "2047"),
    ],
    ids=["figure", "parent", "device", "repeated key", "spaces", "channel", "channel's bytes"],
)
def test_release_is_what_is_pushed_file_by_file_when_a_hand_has_edited_it(tmp_path, change, caplog):
    release = push(tmp_path)
    before = tree_of(tmp_path)
    change(Path(release.path))
    edited = tree_of(tmp_path)
    assert edited != before
    assert push(tmp_path) == release
    assert without_kept(tmp_path) == before
    # A channel moves with every model; what does not change by itself is named.
    changed = {path for path, content in without_kept(tmp_path).items() if content != edited.get(path)}
    assert {path for path in changed if f"{tmp_path / path} differs from the content of this push" in caplog.text} == {
        path for path in changed if not path.endswith("stable.json")
    }


def test_registry_is_unchanged_to_the_inode_when_same_bytes_are_pushed_twice(tmp_path):
    def inodes():
        # The manifest's time says when the release was pushed last.
        return {
            path: (path.stat().st_ino, path.name == "manifest.json" or path.stat().st_mtime_ns)
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    first = push(tmp_path)
    before = inodes()
    assert push(tmp_path) == first
    assert inodes() == before


def test_manifest_is_the_same_bytes_when_pushed_to_two_registries(tmp_path):
    push(tmp_path / "one")
    push(tmp_path / "two")
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def test_channel_moves_and_older_release_stays_when_another_model_is_pushed(tmp_path):
    first, second = push(tmp_path), push(tmp_path, MODEL[::-1])
    assert current(tmp_path, "phone", "shoes") == second != first
    assert find_release(Path(first.path)) == first
    push(tmp_path, channel="beta")
    assert current(tmp_path, "phone", "shoes", "beta") == first
    assert current(tmp_path, "phone", "shoes") == second


def test_channel_points_back_at_an_earlier_release_when_rolled_back(tmp_path):
    first, second = push(tmp_path), push(tmp_path, model=b"another model")
    before = tree_of(tmp_path)
    assert point_at(Path(first.path), "stable") == (second.version, first)
    found = current(tmp_path, "phone", "shoes")
    assert found is not None and found.version == first.version
    push(tmp_path, model=b"another model")
    assert tree_of(tmp_path) == before


def test_rollback_is_refused_to_a_corrupt_release_and_by_an_unknown_channel(tmp_path):
    first, second = push(tmp_path), push(tmp_path, model=b"another model")
    for channel in ("beta", "../stable"):
        with pytest.raises(RegistryError, match=rf"there is no such channel \(expected: stable; found: {channel}\)"):
            point_at(Path(first.path), channel)
    first.model_path.write_bytes(b"damaged")
    with pytest.raises(RegistryError, match="the release is corrupt"):
        point_at(Path(first.path), "stable")
    found = current(tmp_path, "phone", "shoes")
    assert found is not None and found.version == second.version


@pytest.mark.parametrize("damage", ["flip", "truncate", "no_manifest", "other_manifest"])
def test_corrupt_release_is_refused_and_kept_when_pushed_again(tmp_path, damage):
    folder = Path(push(tmp_path).path)
    (tmp_path / "phone" / "shoes" / "stable.json").unlink()
    match damage:
        case "flip":
            (folder / "model.tflite").write_bytes(b"\xff" + MODEL[1:])
        case "truncate":
            (folder / "model.tflite").write_bytes(MODEL[:-1])
        case "no_manifest":
            (folder / "manifest.json").unlink()
        case "other_manifest":
            (folder / "manifest.json").write_text(manifest_of(b"other").model_dump_json())
    before = tree_of(tmp_path)
    with pytest.raises(RegistryError, match=r"corrupt|not a complete release") as caught:
        push(tmp_path)
    assert "push again" in str(caught.value)
    assert tree_of(tmp_path) == before


def test_release_in_a_folder_of_another_version_is_refused_when_read(tmp_path):
    folder = Path(push(tmp_path).path)
    folder.rename(folder.parent / ("0" * 16))
    with pytest.raises(RegistryError, match="corrupt"):
        find_release(folder.parent / ("0" * 16))


@pytest.mark.parametrize("pointer", [b"{", b'{"version": "x"}', None])
def test_broken_pointer_is_reported_when_read_and_rewritten_when_pushed(tmp_path, pointer):
    release = push(tmp_path)
    path = tmp_path / "phone" / "shoes" / "stable.json"
    other = json.dumps({"version": VERSION, "sha256": "0" * 64, "bytes": 1}).encode()
    path.write_bytes(pointer or other)
    with pytest.raises(RegistryError, match=r"pointer cannot be read|pointer differs from its release"):
        current(tmp_path, "phone", "shoes")
    push(tmp_path)
    assert current(tmp_path, "phone", "shoes") == release


def test_stale_leftovers_are_removed_and_fresh_ones_kept_when_pushed(tmp_path):
    folder = tmp_path / "phone" / "shoes"
    old, fresh = folder / ".staging-old", folder / ".staging-fresh"
    for staging in (old, fresh):
        staging.mkdir(parents=True)
        (staging / "model.tflite").write_bytes(b"half")
    pointer, kept, other = folder / ".stable.json.abc_0123", folder / ".gitkeep", folder / ".stable.json.bak"
    for file in (pointer, kept, other):
        file.write_bytes(b"half")
    (folder / ".git").mkdir()
    for stale in (old, pointer, kept, other, folder / ".git"):
        os.utime(stale, (1, 1))
    push(tmp_path)
    assert sorted(path.name for path in folder.glob(".*")) == [
        ".git",
        ".gitkeep",
        ".stable.json.bak",
        ".staging-fresh",
    ]


def test_manifest_of_other_bytes_is_refused_when_published(tmp_path):
    with pytest.raises(RegistryError, match="describes other bytes"):
        FolderRegistry(LocalRegistry(root=str(tmp_path))).put("phone", "shoes", MODEL, manifest_of(b"other"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "Upper"])
def test_name_is_refused_when_it_is_no_folder_name(tmp_path, name):
    with pytest.raises(SpecError, match="cannot be a folder name in the registry"):
        push(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_error_names_the_file_when_root_is_a_file(tmp_path):
    root = tmp_path / "registry"
    root.write_bytes(b"a file")
    for attempt in (lambda: push(root), lambda: check_writable(LocalRegistry(root=str(root)))):
        with pytest.raises(RegistryError, match=r"there is a file where .*move the file away"):
            attempt()
    assert root.read_bytes() == b"a file"


def test_check_writable_leaves_nothing_when_root_is_there_or_not(tmp_path):
    check_writable(LocalRegistry(root=str(tmp_path)))
    check_writable(LocalRegistry(root=str(tmp_path / "not" / "yet")))
    assert list(tmp_path.iterdir()) == []


# What a full disk, a limit on file size, or another user meets can only be had in its own process.
CHILD = """
import os, resource, sys
from pathlib import Path
from components.core.errors import RegistryError
from components.push.folder_releases import check_writable
from components.spec.registry import LocalRegistry
sys.path.insert(0, {folder!r})
from test_folder_releases import push, MODEL
{prepare}
for attempt in ({attempts}):
    try:
        attempt()
    except RegistryError as error:
        print(error)
    else:
        print("NO ERROR")
"""


def child_code(prepare, attempts):
    return CHILD.format(folder=str(Path(__file__).parent), prepare=prepare, attempts=attempts)


def run_child(root, prepare, attempts):
    done = subprocess.run(
        [sys.executable, "-c", child_code(prepare, attempts), str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_each_model_is_one_release_when_four_pushers_race(tmp_path):
    go = tmp_path / "go"
    wait = f"import time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.001)"
    attempts = "*[lambda i=i: push(Path(sys.argv[1]), MODEL + bytes([i])) for i in range(25)],"
    root = tmp_path / "registry"
    pushers = [
        subprocess.Popen([sys.executable, "-c", child_code(wait, attempts), str(root)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    time.sleep(1.5)  # lets all of them reach the barrier; without that the race is only less likely
    go.touch()
    for pusher in pushers:
        output, _ = pusher.communicate()
        assert pusher.returncode == 0
        assert output.decode().split("\n") == ["NO ERROR"] * 25 + [""]
    folder = root / "phone" / "shoes"
    assert {path.name for path in folder.iterdir()} == {
        hashlib.sha256(MODEL + bytes([index])).hexdigest()[:16] for index in range(25)
    } | {"stable.json"}
    assert current(root, "phone", "shoes").version == hashlib.sha256(MODEL + bytes([24])).hexdigest()[:16]


def test_registry_is_as_before_when_a_file_size_limit_stops_the_push(tmp_path):
    release = push(tmp_path)
    before = tree_of(tmp_path)
    refusal, again = run_child(
        tmp_path,
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))",
        "lambda: push(Path(sys.argv[1]), MODEL[::-1]), lambda: push(Path(sys.argv[1]))",
    )
    assert again == "NO ERROR"  # what is there already needs no room
    assert "there is not enough space for the release" in refusal
    check_room(refusal, MODEL[::-1])
    assert tree_of(tmp_path) == before
    assert current(tmp_path, "phone", "shoes") == release


def check_room(refusal, model):
    """The refusal says how much room the model, its compressed form, and the OCI manifest need."""
    needed = int(re.search(r"free up at least ([\d,]+) bytes", refusal)[1].replace(",", ""))
    assert 0 < needed - len(model) - len(gzip_of(model)) < 2_000


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root and a kernel that allows it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_registry_is_as_before_when_the_disk_is_full(small_disk):
    release = push(small_disk)
    before = tree_of(small_disk)
    with pytest.raises(RegistryError, match="not enough space for the release: No space left") as refusal:
        push(small_disk, bytes(65536))
    check_room(str(refusal.value), bytes(65536))
    assert tree_of(small_disk) == before
    assert current(small_disk, "phone", "shoes") == release
    push(small_disk, MODEL[::-1])  # a smaller one still goes


def test_registry_is_as_before_when_write_permission_is_missing(tmp_path):
    root = tmp_path / "registry"
    push(root)
    before = tree_of(root)
    folders = [root, root / "phone", root / "phone" / "shoes"]
    for folder in folders:
        folder.chmod(0o555)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    try:
        refusals = run_child(
            root,
            "os.getuid() or os.setuid(65534)",  # root may write anywhere: become nobody
            "lambda: push(Path(sys.argv[1]), MODEL[::-1]), lambda: check_writable(LocalRegistry(root=sys.argv[1]))",
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert len(refusals) == 2
    assert all(
        "there is no permission to write to the registry" in line and "grant write permission" in line
        for line in refusals
    )
    assert tree_of(root) == before


def test_full_disk_asks_for_some_space_where_a_pointer_alone_is_written(tmp_path):
    first, _ = push(tmp_path), push(tmp_path, MODEL[::-1])
    release = tmp_path / "phone" / "shoes" / first.version
    refusal, _ = run_child(
        tmp_path,
        f"from components.push.folder_releases import point_at; release = Path({str(release)!r}); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
        "lambda: point_at(release, 'stable'), lambda: None",
    )
    assert "free up some space there" in refusal


@pytest.mark.parametrize("name", ["model.tflite", "model.tflite.gz", "manifest.json"])
def test_pipe_in_a_release_is_an_error_and_not_waited_for(tmp_path, name):
    path = Path(push(tmp_path).path)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(RegistryError, match=r"this is not a complete release: .*Not a regular file"):
        find_release(path)


def test_pipe_in_the_place_of_a_pointer_is_replaced_by_a_rollback(tmp_path):
    release = push(tmp_path)
    pointer = tmp_path / "phone" / "shoes" / "stable.json"
    pointer.unlink()
    os.mkfifo(pointer)
    with pytest.raises(RegistryError, match=r"the channel's pointer cannot be read: .*Not a regular file"):
        current(tmp_path, "phone", "shoes")
    assert point_at(Path(release.path), "stable")[0] is None
    assert current(tmp_path, "phone", "shoes") == release
