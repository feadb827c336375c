"""Random role files, signed and not, for the checker in C and for one that was written from docs/gateway.md in Python.

`EDGEMILL_TEST_ROLE_FILES=100000` compares so many; the suite compares some.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256K1,
    SECP256R1,
    EllipticCurve,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from components.trust import role_file
from components.trust.role_file import RoleFile, RoleFileError
from tests.components.device_client.conftest import SOURCES
from tests.components.device_client.test_gateway import (
    BAD_FORMAT,
    BAD_LENGTH,
    BAD_SIGNATURE,
    EXPIRED,
    OK,
    OLD_VERSION,
    OTHER_MODEL,
    OTHER_TARGET,
    TARGET,
    TOO_LARGE,
)

CASES = int(os.environ.get("EDGEMILL_TEST_ROLE_FILES", "600"))
MODEL = bytes(range(256)) * 3
SHA = hashlib.sha256(MODEL).digest()
MOST = 2**32 - 1
OTHERS = ["watch/shoes/stable", "phone/shoes/canary", TARGET[:-1], TARGET + "\0", ""]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Case:
    """What a device knows, and what arrives."""

    keys: tuple[bytes, ...]
    target: bytes
    version: int
    capacity: int
    now: int
    sha256: bytes
    file: bytes
    model: bytes
    step: int

    def packed(self) -> bytes:
        def text(content: bytes) -> bytes:
            return struct.pack("<I", len(content)) + content

        numbers = struct.pack("<III", self.version, self.capacity, self.now)
        return (
            text(b"".join(self.keys)) + text(self.target) + numbers + self.sha256
            + text(self.file) + text(self.model) + struct.pack("<I", self.step)
        )  # fmt: skip


def point(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def is_signed(key: bytes, content: bytes, signature: bytes) -> bool:
    if key[:1] != b"\4":
        return False
    try:
        public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), key)
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        public.verify(encode_dss_signature(r, s), content, ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True


def expected(case: Case) -> int:
    """The result by the text of docs/gateway.md."""
    file = case.file
    if len(file) < 114:
        return BAD_LENGTH
    if file[:4] != b"EMR1":
        return BAD_FORMAT
    version, expires, size, digest, length = struct.unpack_from("<III32sH", file, 4)
    if len(file) != 114 + length:
        return BAD_LENGTH
    if not any(is_signed(key, file[:-64], file[-64:]) for key in case.keys):
        return BAD_SIGNATURE
    rules = [
        (file[50:-64] != case.target, OTHER_TARGET),
        (version < case.version or (version == case.version and digest != case.sha256), OLD_VERSION),
        (expires > 0 and case.now > 0 and case.now >= expires, EXPIRED),
        (not 0 < size <= case.capacity, TOO_LARGE),
        (len(case.model) != size, BAD_LENGTH),
        (hashlib.sha256(case.model).digest() != digest, OTHER_MODEL),
    ]
    return next((status for broken, status in rules if broken), OK)


def signed(content: bytes, key: EllipticCurvePrivateKey) -> bytes:
    return content + b"".join(half.to_bytes(32, "big") for half in decode_dss_signature(der(content, key)))


def der(content: bytes, key: EllipticCurvePrivateKey) -> bytes:
    return key.sign(content, ECDSA(SHA256()))


class Attacker:
    """Makes cases: what only the owner of the key can sign, and what anybody can make of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.own, self.other = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())

    def case(self) -> Case:
        chance = self.chance
        version, now = chance.choice([0, 1, 7, 2**31, MOST]), chance.choice([0, 1, 1000, 2**31, MOST])
        said = RoleFile(
            target=chance.choice(
                [TARGET] * 6 + ["watch/shoes/stable", "phone/shoes/canary", TARGET[:-1], TARGET + "\0", ""]
            ),
            version=min(MOST, max(0, version + chance.choice([-1, 0, 1]))),
            expires=chance.choice([0, 0, min(MOST, now + 1), now, max(0, now - 1), MOST]),
            model_bytes=chance.choice([len(MODEL)] * 6 + [0, 1, len(MODEL) - 1, len(MODEL) + 1, MOST]),
            model_sha256=chance.choice([SHA] * 5 + [bytes(32)]).hex(),
        )
        known = Case(
            keys=(point(self.own),),
            target=TARGET.encode(),
            version=version,
            capacity=chance.choice([len(MODEL)] * 2 + [MOST] * 4 + [0, len(MODEL) - 1]),
            now=now,
            sha256=chance.choice([SHA, SHA, bytes(32)]),
            file=signed(said.signed_bytes(), self.own),
            model=chance.choice([MODEL] * 6 + [MODEL[:-1], MODEL + b"\0", MODEL[::-1], b""]),
            step=chance.choice([1, 7, 64, 256, 10_000]),
        )
        attack = chance.choice(
            [self.nothing, self.nothing, self.bits, self.length, self.signature, self.key, self.noise]
        )
        return attack(known)

    def nothing(self, case: Case) -> Case:
        return case

    def bits(self, case: Case) -> Case:
        content = bytearray(case.file)
        for _ in range(self.chance.choice([1, 1, 2, 8])):
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
        return replace(case, file=bytes(content))

    def length(self, case: Case) -> Case:
        """Cut, longer, or with another length of the target, also where the signed bytes say it."""
        file, chance = case.file, self.chance
        length = chance.choice([0, 1, len(file) - 113, 0x7FFF, 0xFFFF, chance.randrange(1 << 16)])
        changed = file[:48] + struct.pack("<H", length) + file[50:]
        return replace(
            case,
            file=chance.choice(
                [
                    file[: chance.randrange(len(file))],
                    file + bytes(chance.randrange(1, 100)),
                    file + file,
                    changed,
                    signed(changed[:-64], self.own),
                    signed(changed[:-64].ljust(50 + length, b"\0")[: 50 + length], self.own),
                ]
            ),
        )

    def signature(self, case: Case) -> Case:
        content, r, s = case.file[:-64], case.file[-64:-32], case.file[-32:]
        mirrored = (ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
        border = self.chance.choice([0, 1, ORDER - 1, ORDER, ORDER + 1, 2**256 - 1]).to_bytes(32, "big")
        encoded = der(content, self.own)
        return replace(
            case,
            file=content
            + self.chance.choice(
                [
                    encoded, encoded[:64], encoded.rjust(72, b"\0"), r + mirrored, s + r, border + s, r + border,
                    border + border, r[::-1] + s[::-1], r + s[:-1], signed(content, self.other)[-64:],
                    signed(case.file, self.own)[-64:], signed(content[4:], self.own)[-64:],
                ]
            ),
        )  # fmt: skip

    def key(self, case: Case) -> Case:
        own, chance = point(self.own), self.chance
        off = bytearray(own)
        off[chance.randrange(1, 65)] ^= 1 << chance.randrange(8)
        curve: EllipticCurve = SECP256K1()
        wrong = [bytes([kind]) + own[1:] for kind in (0, 2, 3, 5, 6, 7, 255)]
        wrong += [bytes(off), bytes(65), b"\4" + bytes(64), b"\4" + b"\xff" * 64, point(generate_private_key(curve))]
        keys = chance.sample(wrong, chance.randrange(3)) + chance.choice([[], [own], [point(self.other)]])
        chance.shuffle(keys)
        return replace(case, keys=tuple(keys))

    def noise(self, case: Case) -> Case:
        size = self.chance.choice([0, 3, 49, 50, 113, 114, 115, 200, 70_000])
        return replace(case, file=(self.chance.choice([b"EMR1", b""]) + self.chance.randbytes(size))[:size])


def test_checker_in_c_decides_as_the_description_of_the_format(programs: Path) -> None:
    attacker = Attacker(16)
    cases = [attacker.case() for _ in range(CASES)]
    done = subprocess.run(
        [programs / "compare_role"], input=b"".join(case.packed() for case in cases), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    for case, (status, *said) in zip(cases, found, strict=True):
        assert status == expected(case), case
        accepted = status in {OK, OTHER_MODEL} or (status == BAD_LENGTH and said[2])
        if not accepted:
            assert said == [0, 0, 0]  # Nothing of what was refused is passed on.
            continue
        written, signature = role_file.read(case.file)
        assert said == [written.version, written.expires, written.model_bytes]
        assert case.file == written.signed_bytes() + signature
    seen = {status for status, *_ in found}
    assert seen == {
        OK,
        BAD_LENGTH,
        BAD_FORMAT,
        BAD_SIGNATURE,
        OTHER_TARGET,
        OLD_VERSION,
        EXPIRED,
        TOO_LARGE,
        OTHER_MODEL,
    }


def test_checker_stays_short() -> None:
    """At most 500 lines on top of the library, with its header and the program around it."""
    assert sum(len(path.read_text().splitlines()) for path in SOURCES.glob("*.[ch]")) <= 500


def test_reader_in_python_takes_the_files_that_have_the_form_of_one() -> None:
    attacker = Attacker(17)
    for _ in range(CASES):
        file = attacker.case().file
        form = len(file) >= 114 and file[:4] == b"EMR1" and len(file) == 114 + int.from_bytes(file[48:50], "little")
        try:
            written, signature = role_file.read(file)
        except RoleFileError:
            assert not form or not file[50:-64].isascii()
        else:
            assert form
            assert written.signed_bytes() + signature == file
