"""Print the lock file for this machine: which generation of TFX it can take is decided by its Python and its C library.

Run by the Makefile, by the Python that the environment is to be made of; needs nothing but that.
"""

import platform
import sys

_LOCKS = {
    "requirements/tfx-1.16.lock": ((3, 10), (3, 11)),
    "requirements/tfx-1.21.lock": ((3, 12), (3, 13)),
}
# ML Metadata and TensorFlow Data Validation have wheels of TFX 1.21 for manylinux_2_39 only.
_GLIBC = (2, 39)


def choose_lock(python, glibc):
    """The lock file for a Python, (major, minor), on a C library, "2.41"; "" is one that is not glibc.

    Raises:
        ValueError: There is none; the message says what was found and how to fix it.
    """
    found = "Python " + ".".join(map(str, python))
    lock = next((lock for lock, pythons in _LOCKS.items() if python in pythons), None)
    if lock is None:
        raise ValueError(
            f"there is no generation of TFX for {found} (expected: 3.10 or 3.11, or 3.12 or 3.13 with glibc >= 2.39); "
            "name another: make setup PYTHON=python3.11"
        )
    enough = bool(glibc) and tuple(map(int, glibc.split(".")[:2])) >= _GLIBC
    if lock == "requirements/tfx-1.21.lock" and not enough:
        raise ValueError(
            f"{found} needs TFX 1.21, which needs glibc >= 2.39 (found: {glibc or 'none'}); "
            "install Python 3.10 or 3.11 and name it: make setup PYTHON=python3.11, or take Debian 13 or Ubuntu 24.04"
        )
    return lock


def main():
    """Print the path, or an error and end with status 1."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(f"edgemill: '{sys.executable}' has no venv module; install it (Debian: apt-get install python3-venv)")
    library, version = platform.libc_ver()
    try:
        print(choose_lock(sys.version_info[:2], version if library == "glibc" else ""))
    except ValueError as error:
        sys.exit(f"edgemill: '{sys.executable}': {error}")


if __name__ == "__main__":
    main()
