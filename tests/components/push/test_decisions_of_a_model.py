"""Several decisions about the same model: other metrics or bounds give other manifests, which channels sign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from components.core.errors import RegistryError
from components.device_client.folder import DeviceFolder
from components.device_client.pull import pull
from components.device_client.settings import Settings
from components.push import several, signed
from components.push.artifact import artifact_files
from components.push.references import manifest_digest
from components.push.release import Release, ReleaseManifest, manifest_path
from components.push.upkeep.check import verify
from components.push.upkeep.collect import collect
from components.push.upkeep.mirror import mirror
from components.push.upkeep.repair import repair
from components.trust import rollout
from tests.components.device_client.fleet import Server, model_of
from tests.components.push.places import KINDS, MODEL, OciFiles, Place, Store, signed_in, store_of
from tests.components.push.test_upkeep import other_place
from tests.forked import EVERY_STEP


class KilledError(Exception):
    """Ends a push like a signal: nothing handles it."""


@pytest.fixture(scope="module", params=KINDS if EVERY_STEP else ("local", "s3"))
def some_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param) as running:
        yield running


@pytest.fixture
def decided(some_store: Store, tmp_path: Path) -> Iterator[Place]:
    with signed_in(some_store.place(tmp_path / "registry"), tmp_path / "keys") as decided:
        yield decided


def problems(decided: Place) -> tuple[str, ...]:
    return tuple(one.message for one in verify(decided.root).problems)


def manifests(decided: Place, channel: str) -> list[str]:
    state = decided.registry().channel("phone", "shoes", channel)
    return [manifest_digest(stage.release) for stage in state.stages]


def address(decided: Place, release: Release) -> str:
    return f"{signed.normal(decided.root)}/phone/shoes/{release.version}"


def pulls(decided: Place, tmp_path: Path) -> None:
    """A device of each channel installs the model."""
    server = Server(Path(decided.root))
    for channel in ("beta", "stable"):
        device = DeviceFolder(tmp_path / f"device-{channel}")
        root = (tmp_path / "keys/root.json").read_bytes()
        device.create(Settings(server.url, "phone", "shoes", channel, "device-1"), root)
        pull(device)
        assert model_of(device) == MODEL
    server.close()


def test_each_channel_keeps_the_decision_that_it_has_signed(decided: Place, some_store: Store, tmp_path: Path) -> None:
    beta = decided.decide("beta", 0.875)
    stable = decided.decide("stable", 0.9)
    assert beta.version == stable.version and beta.manifest != stable.manifest
    assert problems(decided) == ()
    collect(decided.root, grace=0.0)
    assert problems(decided) == ()
    copy = other_place(decided, some_store, tmp_path)
    done = mirror(decided.root, copy.root)
    assert (done.problems, done.signed, len(done.copied)) == ((), True, 1)
    for one in (decided, copy):
        assert problems(one) == ()
        collect(one.root, grace=0.0)
        assert problems(one) == ()
        found = one.current("stable")
        assert found is not None and found.manifest == stable.manifest
    assert mirror(decided.root, copy.root).unchanged == 1
    assert (repair(decided.root).problems, repair(decided.root).restored) == ((), ())
    if some_store.kind == "local":
        pulls(copy, tmp_path)
    # Nobody needs the first decision after both channels have the second.
    decided.decide("beta", 0.9)
    before = len(decided.files.all())
    collect(decided.root, grace=0.0)
    assert problems(decided) == ()
    assert len(decided.files.all()) < before


def test_promotion_takes_the_newest_decision(decided: Place) -> None:
    first = decided.decide("canary", 0.875)
    signed.promote(address(decided, first), "stable", rollout.FULL_SHARE)
    assert manifests(decided, "stable") == [first.manifest_sha256]
    second = decided.decide("canary", 0.9)
    assert problems(decided) == ()
    assert manifests(decided, "stable") == [first.manifest_sha256]
    signed.promote(address(decided, first), "stable", rollout.FULL_SHARE)
    assert manifests(decided, "stable") == [second.manifest_sha256]
    decided.decide("canary", 0.875)
    assert problems(decided) == ()


@pytest.mark.parametrize("where", ["before the signature", "after the signature"])
def test_killed_push_leaves_the_old_decision_or_the_new_one(decided: Place, where: str) -> None:
    first = decided.decide("stable", 0.875)
    target = "commit_signed" if where.startswith("before") else None
    killed = (
        mock.patch.object(several, target, side_effect=KilledError)
        if target
        else mock.patch.object(type(decided.open()), "commit", side_effect=KilledError)
    )
    with killed, pytest.raises(KilledError):
        decided.decide("stable", 0.9)
    assert problems(decided) == ()
    found = decided.current()
    assert found is not None and found.manifest == first.manifest
    assert (manifests(decided, "stable") == [first.manifest_sha256]) == bool(target)
    signed.promote(address(decided, first), "beta", rollout.FULL_SHARE)
    assert problems(decided) == ()
    second = decided.decide("stable", 0.9)
    found = decided.current()
    assert found is not None and found.manifest == second.manifest
    assert problems(decided) == ()


def test_each_decision_is_repaired_from_a_mirror(decided: Place, tmp_path: Path) -> None:
    version = decided.decide("beta", 0.875).version
    decided.decide("stable", 0.9)
    copy = str(tmp_path / "mirror")
    assert mirror(decided.root, copy).signed
    if isinstance(decided.files, OciFiles):
        pytest.skip("a registry keeps a damaged blob under its digest")
    good = decided.files.all()
    current = good[f"phone/shoes/{version}/manifest.json"]
    files = [name for name in good if name.startswith(f"phone/shoes/{version}/")]
    # The current one can have a copy at its digest, which nobody reads.
    damaged = [name for name in files if "/content/" not in name or good[name] != current]
    kept = [name for name in damaged if name.endswith("/manifest.json")]
    assert len(kept) == 2
    # Each damage takes a repair and two verifications.
    for name in damaged if decided.spec.kind == "local" else kept:
        decided.files.write(name, b"damaged")
        assert problems(decided)
        assert not repair(decided.root, [copy]).problems
        assert problems(decided) == ()
        assert decided.files.all()[name] == good[name]
    for name in kept if decided.spec.kind == "local" else ():
        decided.files.remove(name)
        assert problems(decided)
        assert not repair(decided.root, [copy]).problems
        assert problems(decided) == ()


def test_manifest_that_nobody_signed_is_named_and_repaired_without_a_source(decided: Place) -> None:
    if isinstance(decided.files, OciFiles):
        pytest.skip("what is edited there has another digest")
    decided.decide("beta", 0.875)
    release = decided.decide("stable", 0.9)
    here = f"phone/shoes/{release.version}"
    good = decided.files.all()[f"{here}/manifest.json"]
    # It fits itself.
    edited = good.replace(b"0.9", b"0.99")
    decided.files.write(f"{here}/manifest.json", edited)
    found = Release(version=release.version, path=here, manifest=ReleaseManifest.model_validate_json(edited))
    for name, content in artifact_files(found, edited).items():
        decided.files.write(f"{here}/{name}", content)
    (problem,) = problems(decided)
    assert f"{here}/manifest.json: this file is not the one that was signed" in problem
    assert repair(decided.root).restored == (f"{here}/manifest.json",)
    assert problems(decided) == ()
    assert decided.files.all()[f"{here}/manifest.json"] == good


def test_mirror_without_a_signed_decision_points_no_channel_to_it_and_is_not_signed(
    decided: Place, some_store: Store, tmp_path: Path
) -> None:
    first = decided.decide("beta", 0.875)
    decided.decide("stable", 0.9)
    if isinstance(decided.files, OciFiles):
        tags = [name for name in decided.files.all() if name.startswith(f"tag phone/shoes:{first.version}-")]
        for tag in tags:
            decided.files.remove_tag(tag.removeprefix("tag "))
    else:
        path = f"phone/shoes/{first.version}/{manifest_path(first.manifest_sha256)}"
        decided.files.remove(path)
    assert "this file is not the one that was signed" in " ".join(problems(decided))
    copy = other_place(decided, some_store, tmp_path)
    done = mirror(decided.root, copy.root)
    assert (done.signed, done.pointed, done.copied, done.metadata) == (False, (), (), 0)
    assert len(done.problems) == 1
    with pytest.raises(RegistryError, match="this file is not the one that was signed"):
        signed.change(
            address(decided, first).rpartition("/")[0],
            "canary",
            lambda state: rollout.released(
                state, decided.registry().channel("phone", "shoes", "beta").stages[0].release
            ),
            "promote",
        )
    # A push with the same decision restores it.
    decided.decide("beta", 0.875)
    assert problems(decided) == ()
