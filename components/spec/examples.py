"""Sources that Edgemill makes tf.Examples from: images, audio, arrays, and functions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from components.core.values import Count, FrozenModel, Seed

# The feature with the content of a file.
IMAGE, AUDIO = "image", "audio"


class Classes(FrozenModel):
    """Labels that are names.

    Attributes:
        classes: Names of the classes, in the order of the model's outputs. The label becomes the number of its name,
            from 0. Sets `num_classes`.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _count(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(named := given.get("classes"), list | tuple):
            if len({*map(str, named)}) < len(named):
                raise ValueError("a class occurs twice in `classes`")
            if "num_classes" in cls.model_fields and given.get("num_classes") is None:
                return {**given, "num_classes": len(named)}
            if given.get("num_classes", len(named)) != len(named):
                raise ValueError(f"`classes` names {len(named)} classes, and `num_classes` is a different number")
        return given


class _Made(Classes):
    """The common fields of these sources.

    Attributes:
        split_seed: Determines which examples go to which split, if splits are hashed.
    """

    split_seed: Seed = 0


class _Files(_Made):
    """One file for each example.

    Attributes:
        layout: `folders` if each file is in a folder with the name of its class; `table` if the files that match the
            patterns are CSV tables with a header line, with one row for each example. Paths in a table are relative to
            the table's folder, and its other columns become features of text. Without `label`, names of folders have no
            meaning. Hidden files in folders, notes, and annotations (`.txt`, `.md`, `.pdf`, `.html`, `.csv`, `.json`,
            `.xml`, `.yaml`) aren't examples.
        path_column: Column of the paths, if the layout is `table`. The label is in the column that `label` names.
        max_unreadable: Largest share of the files that can be damaged or of a different format. They are left out, and
            the report counts them. A larger share stops the run.
    """

    layout: Literal["folders", "table"] = "folders"
    path_column: str = "path"
    max_unreadable: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.0

    @property
    def usual_pattern(self) -> str:
        """The pattern for hashed splits that don't declare one."""
        return "*/*" if self.layout == "folders" else "*.csv"


class ImageSource(_Files):
    """Images that Pillow reads. Each becomes a feature `image`: uint8 [height, width, channels], row by row.

    Attributes:
        size: Height and width. Images of other sizes are resized with Pillow's bilinear filter, without keeping their
            proportions.
        channels: 1 for gray, or 3 for red, green, and blue. Images of other modes (palette, CMYK, 16 bits per channel)
            are converted. Transparent pixels get a black background, and images are rotated according to their EXIF
            data.
    """

    kind: Literal["images"]
    size: tuple[Count, Count]
    channels: Literal[1, 3] = 3


class AudioSource(_Files):
    """WAV files. Each becomes a feature `audio`: little-endian int16 [samples], from one channel.

    Attributes:
        sample_rate: Samples per second. Files with a different rate stop the run, unless `resample` is set.
        samples: Length of an example. Longer files are truncated, and shorter files are padded with zeros.
        resample: Convert files with a different rate to `sample_rate` with SciPy's polyphase filter.
    """

    kind: Literal["audio"]
    sample_rate: Count
    samples: Count
    resample: bool = False


class ArraySource(_Made):
    """NumPy arrays in `.npz` and `.npy` files. Each array becomes a feature.

    Arrays of uint8 with two or more dimensions become bytes, row by row. Other arrays become numbers or text. One-hot
    labels become the numbers of their classes.

    Attributes:
        names: Name of a feature -> name of its array: its key in an `.npz` file, or the name of an `.npy` file without
            the suffix. `{split}` in it is replaced with the name of the split, so that `x_{split}` is `x_train` and
            `x_test`. By default, each array becomes a feature of the same name.
    """

    kind: Literal["arrays"]
    names: dict[str, str] = {}


class GeneratorSource(_Made):
    """A function that yields one dictionary for each example: name of a feature -> number, text, bytes, or an array.

    Arrays become features as in `arrays`.

    Attributes:
        function: `package.module:function`. It is called without arguments if the splits are hashed, otherwise with the
            name of each split. It must yield the same examples in each call, and the same type for each feature.
        limit: Maximum number of examples of one call. If there are more, the run stops, because a function that never
            ends would fill the disk.
    """

    kind: Literal["generator"]
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    limit: Count = 1_000_000

    @property
    def usual_pattern(self) -> str:
        """The pattern for hashed splits that don't declare one."""
        return "*.py"


Source = ImageSource | AudioSource | ArraySource | GeneratorSource


class MadeSplits(FrozenModel):
    """The configuration of an ExampleGen for these sources.

    Attributes:
        source: The source.
        label: Feature of the label; "" for none.
        feature: Feature whose hash determines the split; None for the complete example.
        version: Version of the generator's code; empty for other sources.
    """

    source: Annotated[Source, Field(discriminator="kind")]
    label: str = ""
    feature: str | None = None
    version: str = ""
