"""The registry, server, and devices that the tests of the device client share."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.device_client.fleet import Fleet, fleet_in

SOURCES = Path("components/device_client/microcontroller")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs that check a release and that attack the checker, with checks of memory and behavior."""
    folder = tmp_path_factory.mktemp("checker")
    test = subprocess.run(["gcc", "-E", "-"], input=b"#include <mbedtls/ecdsa.h>\n", capture_output=True, check=False)
    if test.returncode:
        pytest.skip("Debian's packages gcc and libmbedtls-dev are not installed")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"]
    checked = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{SOURCES}"]
    here = Path(__file__).parent
    for source in (SOURCES / "check_release.c", here / "attack_role.c", here / "compare_role.c"):
        built = [str(source), str(SOURCES / "role_check.c"), "-lmbedcrypto", "-o", str(folder / source.stem)]
        subprocess.run(["gcc", *strict, *checked, *built], check=True)
    return folder
