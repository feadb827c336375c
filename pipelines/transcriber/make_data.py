"""Writes the example's TFRecords from the images of `pipelines/fashion_mnist/`: `python make_data.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.fashion_mnist.garments import Wardrobe, write_examples
from pipelines.transcriber.task import HEIGHT, LETTERS, MOST, WIDTH

STRIPS = {"train": 1200, "eval": 400}
FEWEST, SHORTEST, WIDEST_GAP = 3, 12, 3


def main(folder: Path) -> None:
    """Write `train.tfrecord.gz` and `eval.tfrecord.gz` to a folder, each from the garments of its split."""
    write_examples(folder, STRIPS, 21, _strip)


def _strip(wardrobe: Wardrobe) -> dict[str, Any]:
    """Draw 3 to 6 garments from left to right, up to 3 pixels apart."""
    random, image, text, left = wardrobe.random, np.zeros([HEIGHT, WIDTH], np.uint8), "", 0
    count = int(random.integers(FEWEST, MOST + 1))
    for _ in range(count):
        kind, pixels = wardrobe.draw(int(random.integers(SHORTEST, HEIGHT + 1)))
        height, width = pixels.shape
        left += int(random.integers(0, WIDEST_GAP + 1))
        top = int(random.integers(0, HEIGHT - height + 1))
        image[top : top + height, left : left + width] = pixels
        text, left = text + LETTERS[kind], left + width
    return {"image": image.tobytes(), "text": text, "garments": count}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
