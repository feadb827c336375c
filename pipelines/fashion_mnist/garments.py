"""Single garments from this example's images, from which other examples compose scenes. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.ingest.parquet import to_example
from pipelines.fashion_mnist.task import SIDE, TASK

Image = npt.NDArray[np.uint8]
KINDS = ("top", "trousers", "dress", "shoe", "bag")
# The ten classes of Fashion-MNIST are listed in its README: T-shirt, trouser, pullover, dress, coat, sandal, shirt...
_KIND_OF_CLASS = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
_DATA = Path(__file__).parent / "data"


class Garment(NamedTuple):
    """One garment.

    Attributes:
        kind: Its index in `KINDS`.
        pixels: uint8 [height, width], without empty rows and columns around it.
    """

    kind: int
    pixels: Image


class Wardrobe:
    """The garments of a split.

    Args:
        split: `train` or `eval`.
        seed: Seed for choosing the garments.
    """

    def __init__(self, split: str, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._by_kind: list[list[Image]] = [[] for _ in KINDS]
        for record in tf.data.TFRecordDataset(str(_DATA / f"{split}.tfrecord.gz"), "GZIP"):
            parsed = tf.io.parse_single_example(record, TASK.feature_spec())
            image = np.frombuffer(parsed["image"].numpy(), np.uint8).reshape(SIDE, SIDE)
            self._by_kind[_KIND_OF_CLASS[int(parsed["label"])]].append(_cropped(image))

    def draw(self, longest: int) -> Garment:
        """Draw a garment of a random kind, scaled so that its larger side has `longest` pixels."""
        kind = int(self.random.integers(len(KINDS)))
        images = self._by_kind[kind]
        return Garment(kind, _scaled(images[int(self.random.integers(len(images)))], longest))


def write_examples(
    folder: Path, counts: Mapping[str, int], first_seed: int, draw: Callable[[Wardrobe], Mapping[str, Any]]
) -> None:
    """Write `<split>.tfrecord.gz` to a folder for each split, from the garments of that split.

    Args:
        folder: The folder for the files.
        counts: Split -> number of examples.
        first_seed: Seed of the first split. Each following split has the next one.
        draw: Returns the features of one example.
    """
    for seed, (split, count) in enumerate(counts.items(), first_seed):
        wardrobe = Wardrobe(split, seed)
        with tf.io.TFRecordWriter(str(folder / f"{split}.tfrecord.gz"), "GZIP") as writer:
            for _ in range(count):
                writer.write(to_example(draw(wardrobe)).SerializeToString(deterministic=True))


def _cropped(image: Image) -> Image:
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(image: Image, longest: int) -> Image:
    factor = longest / max(image.shape)
    down, right = (_shares(side, max(1, round(side * factor))) for side in image.shape)
    return np.rint(down @ image @ right.T).astype(np.uint8)


def _shares(old: int, new: int) -> npt.NDArray[np.float64]:
    """The share of each old pixel in each new one, by length: [new, old]."""
    ends, places = np.linspace(0, old, new + 1)[:, None], np.arange(old)
    common = np.minimum(ends[1:], places + 1) - np.maximum(ends[:-1], places)
    return np.maximum(common, 0) * new / old
