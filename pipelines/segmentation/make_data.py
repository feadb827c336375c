"""Writes the example's TFRecords from the images of `pipelines/fashion_mnist/`: `python make_data.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.fashion_mnist.garments import Wardrobe, write_examples
from pipelines.segmentation.task import SIDE

SCENES = {"train": 800, "eval": 300}
MOST, SIZES = 4, (14, 30)


def main(folder: Path) -> None:
    """Write `train.tfrecord.gz` and `eval.tfrecord.gz` to a folder, each from the garments of its split."""
    write_examples(folder, SCENES, 11, _scene)


def _scene(wardrobe: Wardrobe) -> dict[str, Any]:
    """Draw 1 to 4 garments. Later ones are on top of earlier ones."""
    random = wardrobe.random
    image, mask = np.zeros([SIDE, SIDE], np.uint8), np.zeros([SIDE, SIDE], np.uint8)
    count = int(random.integers(1, MOST + 1))
    for _ in range(count):
        kind, pixels = wardrobe.draw(int(random.integers(SIZES[0], SIZES[1] + 1)))
        height, width = pixels.shape
        top, left = (int(random.integers(0, SIDE - side + 1)) for side in (height, width))
        place, covered = (slice(top, top + height), slice(left, left + width)), pixels > 0
        image[place][covered], mask[place][covered] = pixels[covered], kind + 1
    return {"image": image.tobytes(), "mask": mask.tobytes(), "garments": count}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
