"""Firmware that holds the bundle of a release: compiled with g++ against a header of the resolver's own methods."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# The part of TensorFlow Lite Micro's header that the bundle needs: it prints the methods that are called.
RESOLVER = """
#pragma once
#include <cstdio>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
namespace tflite {
template <unsigned int tOpCount> class MicroMutableOpResolver {
 public:
  ADDERS
};
}
"""
MAIN = """
#include <cstdio>
#include <cstring>
#include "golden.h"
#include "model.h"
#include "resolver.h"
int main() {
  tflite::MicroMutableOpResolver<edgemill::kOperators> resolver;
  if (edgemill::AddOperators(resolver) != kTfLiteOk) return 1;
  if (reinterpret_cast<std::uintptr_t>(edgemill::kModel) % 16) return 2;
  std::fwrite(edgemill::kModel, 1, edgemill::kModelBytes, stderr);
  std::fwrite(edgemill::kGoldenInput0, 1, sizeof edgemill::kGoldenInput0, stderr);
  std::fwrite(edgemill::kGoldenOutput0, 1, sizeof edgemill::kGoldenOutput0, stderr);
  std::printf("%u %zu %s\\n", edgemill::kOperators, edgemill::kArenaBytes, edgemill::kModelSha256);
}
"""


class Firmware(NamedTuple):
    """What the program printed.

    Attributes:
        added: The methods of the resolver that it called.
        operators, arena_bytes, sha256: Constants of the bundle.
        content: The array, then the first golden input, then the first golden output.
    """

    added: list[str]
    operators: int
    arena_bytes: int
    sha256: str
    content: bytes


def methods() -> dict[str, str]:
    """Operator -> method, as the header of TensorFlow Lite Micro has them."""
    lines = Path(__file__).with_name("tflm_resolver.csv").read_text().splitlines()
    return dict(line.split(",") for line in lines if not line.startswith("#"))


def firmware(files: Mapping[str, bytes], folder: Path) -> Firmware:
    """Compile the bundle with g++, without a warning, and run it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    header = folder / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    header.parent.mkdir(parents=True)
    adders = (f'TfLiteStatus {name}() {{ std::puts("{name}"); return kTfLiteOk; }}' for name in methods().values())
    header.write_text(RESOLVER.replace("ADDERS", "\n".join(adders)))
    (folder / "main.cc").write_text(MAIN)
    built = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{folder}", f"-I{folder}/microcontroller"]
    subprocess.run([*built, "main.cc", "microcontroller/model.cc", "-o", "program"], cwd=folder, check=True)
    done = subprocess.run([folder / "program"], capture_output=True, check=True)
    *added, last = done.stdout.decode().splitlines()
    operators, arena, sha256 = last.split()
    return Firmware(added, int(operators), int(arena), sha256, done.stderr)
