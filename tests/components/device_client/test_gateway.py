"""Gateways: what they pass on, and what the reference checker in C accepts of it."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from securesystemslib.signer import CryptoSigner, SSlibKey

from components.device_client.errors import AlarmError, SelfTestError, UnreachableError
from components.device_client.folder import DeviceFolder
from components.device_client.main import main
from components.device_client.pull import pull
from components.push import signed
from components.trust import repository, role_file, rollout
from components.trust.role_file import RoleFile, RoleFileError
from components.trust.setup import rotate
from components.trust.signing import point_of
from tests.components.device_client.fleet import NEW, OLD, OTHER, Fleet, model_of

TARGET = "phone/shoes/stable"
OK, BAD_LENGTH, BAD_FORMAT, BAD_SIGNATURE, OTHER_TARGET, OLD_VERSION, EXPIRED, TOO_LARGE, OTHER_MODEL = range(9)
# The exit status for an argument that can't be used.
UNUSABLE = 64
NONE = "0" * 64


@pytest.fixture
def gateway(fleet: Fleet) -> DeviceFolder:
    return fleet.device(gateway=True)


@pytest.fixture
def key(fleet: Fleet, tmp_path: Path) -> Path:
    """The file with the key of the phones' stable channel, after a first push."""
    fleet.push(OLD)
    path = tmp_path / "key.bin"
    path.write_bytes(point_of(channel_key(fleet)))
    return path


@dataclasses.dataclass
class Board:
    """A microcontroller: what it has installed, and the result of the check of what the gateway passes on."""

    program: Path
    key: Path
    target: str = TARGET
    version: int = 0
    sha256: str = NONE
    capacity: int = 1 << 20
    now: int = 0

    def check(self, role: Path, model: Path) -> int:
        known = [self.key, self.target, self.version, self.sha256, self.capacity, self.now]
        done = subprocess.run(list(map(str, [self.program, *known, role, model])), capture_output=True, check=False)
        assert b"ERROR" not in done.stderr, done.stderr.decode()
        if done.returncode == OK:
            self.version = int(done.stdout)
            self.sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        return done.returncode

    def update(self, gateway: DeviceFolder) -> int:
        return self.check(gateway.path / "current/role.bin", gateway.path / "current/model.tflite")


@pytest.fixture
def board(programs: Path, key: Path) -> Board:
    return Board(programs / "check_release", key)


def channel_key(fleet: Fleet, role: str = "phone.stable") -> SSlibKey:
    targets = fleet.registry().read().targets.signed
    found = targets.get_key(targets.get_delegated_role(role).keyids[0])
    assert isinstance(found, SSlibKey)
    return found


def sign(said: RoleFile, signer: CryptoSigner) -> bytes:
    content = said.signed_bytes()
    halves = decode_dss_signature(bytes.fromhex(signer.sign(content).signature))
    return content + b"".join(half.to_bytes(32, "big") for half in halves)


def test_microcontroller_installs_what_the_gateway_passes_on(fleet: Fleet, gateway: DeviceFolder, board: Board) -> None:
    pull(gateway)
    assert board.update(gateway) == OK
    assert board.update(gateway) == OK  # The same again.
    fleet.push(NEW)
    pull(gateway)
    assert board.update(gateway) == OK
    assert (board.version, board.sha256) == (2, hashlib.sha256(NEW).hexdigest())


def test_microcontroller_follows_a_rollback_because_its_version_is_newer(
    fleet: Fleet, gateway: DeviceFolder, board: Board
) -> None:
    for model in (NEW, OLD):
        pull(gateway)
        assert board.update(gateway) == OK
        if model == NEW:
            fleet.push(NEW)
            pull(gateway)
            assert board.update(gateway) == OK
            signed.change(f"{fleet.root.resolve()}/phone/shoes", "stable", rollout.rolled_back, "rollback")
    assert model_of(gateway) == OLD
    assert (board.version, board.sha256) == (3, hashlib.sha256(OLD).hexdigest())


def test_gateway_has_the_role_file_of_the_newest_state_although_the_model_is_the_same(
    fleet: Fleet, gateway: DeviceFolder, board: Board
) -> None:
    pull(gateway)
    new = fleet.push(NEW, "canary")
    # Beyond the share of the gateway's device, so that it keeps its model.
    share = rollout.place_of_device("device-1", new)
    ref = fleet.registry().channel("phone", "shoes", "canary").stages[0].release
    signed.change(
        f"{fleet.root.resolve()}/phone/shoes", "stable", lambda old: rollout.released(old, ref, share), "promote"
    )
    pull(gateway)
    assert model_of(gateway) == OLD
    assert board.update(gateway) == OK
    assert board.version == 2


def test_pause_gives_the_microcontroller_the_release_before_with_a_newer_role_file(
    fleet: Fleet, gateway: DeviceFolder, board: Board
) -> None:
    pull(gateway)
    fleet.push(NEW)
    signed.change(f"{fleet.root.resolve()}/phone/shoes", "stable", rollout.paused, "pause")
    pull(gateway)
    assert board.update(gateway) == OK
    assert (board.version, board.sha256) == (3, hashlib.sha256(OLD).hexdigest())


def test_replay_of_an_older_release_is_refused_by_the_microcontroller(
    fleet: Fleet, gateway: DeviceFolder, board: Board, tmp_path: Path
) -> None:
    pull(gateway)
    old = [tmp_path / "role.bin", tmp_path / "model.tflite"]
    for path in old:
        path.write_bytes((gateway.path / "current" / path.name).read_bytes())
    assert board.update(gateway) == OK
    fleet.push(NEW)
    pull(gateway)
    assert board.update(gateway) == OK
    assert board.check(*old) == OLD_VERSION


def test_every_change_of_a_role_file_is_refused(programs: Path, key: Path, gateway: DeviceFolder) -> None:
    pull(gateway)
    role = gateway.path / "current/role.bin"
    size = role.stat().st_size
    done = subprocess.run([programs / "attack_role", key, TARGET, role], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    tried, accepted = map(int, done.stdout.split())
    assert tried >= 10 * size + 0xFFFF
    assert accepted == 0


def test_changed_model_is_refused_by_the_microcontroller(gateway: DeviceFolder, board: Board, tmp_path: Path) -> None:
    pull(gateway)
    role, changed = gateway.path / "current/role.bin", tmp_path / "changed.tflite"
    for content, status in (
        (OLD[:-1], BAD_LENGTH),
        (OLD + b"\0", BAD_LENGTH),
        (b"", BAD_LENGTH),
        (OLD[:100] + bytes([OLD[100] ^ 1]) + OLD[101:], OTHER_MODEL),
        (NEW, OTHER_MODEL),
    ):
        changed.write_bytes(content)
        assert board.check(role, changed) == status
    assert board.update(gateway) == OK


def test_arguments_that_cannot_be_used_are_refused(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(65))

    def refusal(number: int, value: str) -> str:
        arguments = [str(tmp_path / "key"), TARGET, "0", NONE, "9999", "0", "role.bin", "model.tflite"]
        arguments[number] = value
        done = subprocess.run([programs / "check_release", *arguments], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (UNUSABLE, b"")
        return done.stderr.decode()

    numbers = ("x", "", "-1", "+1", " 1", "1x", str(2**32), "9" * 40)
    for number, value in [*((2, one) for one in numbers), (4, "1k"), (5, "now")]:
        assert f"{value}: not a number from 0 to 4294967295" in refusal(number, value)
    for size in (0, 64, 66, 5 * 65):
        (file := tmp_path / "keys").write_bytes(bytes(size))
        assert "keys: not 1 to 4 public keys of 65 bytes" in refusal(0, str(file))


SAID = RoleFile(TARGET, 7, 0, len(OLD), hashlib.sha256(OLD).hexdigest())


@pytest.mark.parametrize(
    ("said", "has", "status"),
    [
        ({}, {"version": 7, "sha256": SAID.model_sha256}, OK),
        ({}, {"version": 7, "sha256": NONE}, OLD_VERSION),
        ({"version": 6}, {"version": 7}, OLD_VERSION),
        ({"version": 2**32 - 1}, {"version": 7}, OK),
        ({"target": "watch/shoes/stable"}, {}, OTHER_TARGET),
        ({"target": "phone/shoes/canary"}, {}, OTHER_TARGET),
        ({"target": "phone/shoes/stabl"}, {}, OTHER_TARGET),
        ({"target": "phone/shoes/stables"}, {}, OTHER_TARGET),
        ({"target": ""}, {}, OTHER_TARGET),
        ({"expires": 1000}, {"now": 1000}, EXPIRED),
        ({"expires": 1000}, {"now": 999}, OK),
        ({"expires": 1000}, {"now": 0}, OK),
        ({"model_bytes": 2**32 - 1}, {}, TOO_LARGE),
        ({"model_bytes": 0}, {}, TOO_LARGE),
        ({}, {"capacity": len(OLD) - 1}, TOO_LARGE),
        ({}, {"capacity": len(OLD)}, OK),
    ],
)
def test_role_file_of_the_right_key_is_accepted_by_its_values(
    programs: Path, tmp_path: Path, said: dict[str, object], has: dict[str, object], status: int
) -> None:
    signer = CryptoSigner.generate_ecdsa()
    paths = role, model, key = [tmp_path / name for name in ("role.bin", "model.tflite", "key.bin")]
    for path, content in zip(
        paths, (sign(dataclasses.replace(SAID, **said), signer), OLD, point_of(signer.public_key)), strict=True
    ):
        path.write_bytes(content)
    board = dataclasses.replace(Board(programs / "check_release", key), **has)
    assert board.check(role, model) == status


def test_keys_of_the_gateway_and_of_other_channels_are_refused(
    fleet: Fleet, gateway: DeviceFolder, board: Board, tmp_path: Path
) -> None:
    pull(gateway)
    role, model = tmp_path / "role.bin", gateway.path / "current/model.tflite"
    said, _ = role_file.read((gateway.path / "current/role.bin").read_bytes())
    role.write_bytes(sign(said, CryptoSigner.generate_ecdsa()))
    assert board.check(role, model) == BAD_SIGNATURE
    canary = fleet.registry().keys.signer(channel_key(fleet, "phone.canary"))
    assert isinstance(canary, CryptoSigner)
    role.write_bytes(sign(said, canary))
    assert board.check(role, model) == BAD_SIGNATURE
    role.write_bytes(b"EMR2" + (gateway.path / "current/role.bin").read_bytes()[4:])
    assert board.check(role, model) == BAD_FORMAT


def test_rotated_key_needs_the_new_key_in_the_firmware(fleet: Fleet, gateway: DeviceFolder, board: Board) -> None:
    pull(gateway)
    assert board.update(gateway) == OK
    rotate(fleet.registry(), "phone.stable")
    pull(gateway)
    assert board.update(gateway) == BAD_SIGNATURE
    # Firmware that has both keys.
    board.key.write_bytes(board.key.read_bytes() + point_of(channel_key(fleet)))
    assert board.update(gateway) == OK


def test_role_file_of_another_release_is_refused_by_the_gateway(
    fleet: Fleet, gateway: DeviceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.push(OLD)
    pull(gateway)
    honest = role_file.RoleFile.signed_bytes

    def attack(change: Callable[[RoleFile], RoleFile], match: str, model: bytes) -> None:
        monkeypatch.setattr(role_file.RoleFile, "signed_bytes", lambda self: honest(change(self)))
        fleet.push(model)
        monkeypatch.setattr(role_file.RoleFile, "signed_bytes", honest)
        with pytest.raises(AlarmError, match=match):
            pull(gateway)
        assert model_of(gateway) == OLD

    attack(lambda old: dataclasses.replace(old, version=1), "is not for the release", NEW)
    attack(lambda old: dataclasses.replace(old, model_sha256="0" * 64), "is not for the release", OTHER)
    attack(lambda old: dataclasses.replace(old, target="watch/shoes/stable"), "is not for the release", NEW)
    fleet.push(OTHER)
    pull(gateway)
    assert model_of(gateway) == OTHER


def test_gateway_keeps_its_model_when_the_transfer_fails(fleet: Fleet) -> None:
    fleet.push(OLD)
    program = fleet.folder / "transfer"
    program.write_text(f'#!/bin/sh\ntest -s "$(dirname "$1")/role.bin" || exit 3\nexit $(cat {fleet.folder}/verdict)\n')
    program.chmod(0o755)
    (fleet.folder / "verdict").write_text("0")
    gateway = fleet.device(gateway=True, self_test=(str(program),))
    pull(gateway)
    (fleet.folder / "verdict").write_text("5")
    fleet.push(NEW)
    with pytest.raises(SelfTestError, match="found: exit status 5"):
        pull(gateway)
    assert model_of(gateway) == OLD


def test_channel_that_an_earlier_version_signed_gets_role_files_with_the_next_push(
    fleet: Fleet, gateway: DeviceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "replace", lambda state, sequence: state)
    fleet.push(OLD)
    monkeypatch.undo()
    with pytest.raises(UnreachableError, match="no role file for microcontrollers; the device keeps its model"):
        pull(gateway)
    assert model_of(gateway) is None
    fleet.push(OLD)
    pull(gateway)
    assert role_file.read((gateway.path / "current/role.bin").read_bytes())[0].version == 2


def test_command_line_makes_a_gateway(fleet: Fleet) -> None:
    fleet.push(OLD)
    folder = fleet.folder / "gateway"
    given = ["init", str(folder), "--url", fleet.server.url, "--root", str(fleet.keys / "root.json"), "--gateway",
             "--device-class", "phone", "--name", "shoes", "--device-id", "1"]  # fmt: skip
    assert main(given) == 0
    assert main(["pull", str(folder)]) == 0
    assert role_file.read((folder / "current/role.bin").read_bytes())[0].target == TARGET


@pytest.mark.parametrize("content", [b"", b"EMR1", b"EMR1" + bytes(200), b"EMR2" + bytes(110), b"EMR1" + bytes(109)])
def test_other_bytes_are_no_role_file(content: bytes) -> None:
    with pytest.raises(RoleFileError):
        role_file.read(content)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RoleFileError, match="above 4294967295"):
        dataclasses.replace(SAID, model_bytes=2**32).signed_bytes()
