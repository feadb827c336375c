"""Writes the example's TFRecords from the images of `pipelines/fashion_mnist/`: `python make_data.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.detector.task import MOST, SIDE
from pipelines.fashion_mnist.garments import Wardrobe, write_examples

SCENES = {"train": 1000, "eval": 300}
SIZES = (14, 30)
_TRIES = 100


def main(folder: Path) -> None:
    """Write `train.tfrecord.gz` and `eval.tfrecord.gz` to a folder, each from the garments of its split."""
    write_examples(folder, SCENES, 1, _scene)


def _scene(wardrobe: Wardrobe) -> dict[str, Any]:
    """Draw a scene of 1 to 4 garments that do not overlap."""
    random, image = wardrobe.random, np.zeros([SIDE, SIDE], np.uint8)
    taken = np.zeros([SIDE, SIDE], bool)
    boxes: list[int] = []
    kinds: list[int] = []
    wanted = int(random.integers(1, MOST + 1))
    for _ in range(_TRIES):
        if len(kinds) == wanted:
            break
        kind, pixels = wardrobe.draw(int(random.integers(SIZES[0], SIZES[1] + 1)))
        height, width = pixels.shape
        top, left = (int(random.integers(0, SIDE - side + 1)) for side in (height, width))
        place = slice(top, top + height), slice(left, left + width)
        if not taken[place].any():
            taken[place] = True
            image[place] = pixels
            boxes += [top, left, top + height, left + width]
            kinds.append(kind)
    return {"image": image.tobytes(), "boxes": boxes, "kinds": kinds, "garments": len(kinds)}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
