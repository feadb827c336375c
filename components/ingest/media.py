"""Decodes images and WAV files to arrays of one shape."""

from __future__ import annotations

import os
import warnings
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, summary_line
from components.spec.examples import AudioSource, ImageSource

Array = npt.NDArray[Any]
# An image with more pixels is refused before it is decompressed, because a small file can expand to gigabytes.
MOST_PIXELS = 100_000_000
# Pillow reads other formats with external programs: it would run Ghostscript on PostScript, regardless of the file's
# name.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Samples per second. Resampling from a larger, wrong rate takes all memory.
_HIGHEST_RATE = 768_000
# Programs that write to a pipe don't know the number of bytes, and declare at least this number.
_UNKNOWN_BYTES = 2**31 - 2**10


class UnreadableError(DataError):
    """A file is damaged, or has a different format. Sources can tolerate a share of such files."""


def decode_image(file: Path, source: ImageSource) -> npt.NDArray[np.uint8]:
    """Decode an image to [height, width, channels].

    Raises:
        UnreadableError: Pillow can't decode it.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise ValueError(f"{opened.width} x {opened.height} pixels, at most {MOST_PIXELS:,} are read")
                image = ImageOps.exif_transpose(opened)
                image.load()
        image = _plain(image, source.channels)
        height, width = source.size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image, np.uint8).reshape(height, width, source.channels)
    # Pillow's plug-ins raise many kinds of errors for damaged files.
    except Exception as error:
        raise _unreadable(file, "an image that Pillow reads", error) from error


def _plain(image: Any, channels: int) -> Any:
    """An image in 8-bit gray or RGB."""
    from PIL import Image

    # Pillow clips these when it converts them, instead of scaling them.
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((_within(image, 65535) // 257).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray((_within(image, 1) * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _within(image: Any, most: int) -> Array:
    pixels = np.asarray(image)
    if not (pixels.min() >= 0 and pixels.max() <= most):
        raise ValueError(f"pixels from {pixels.min():g} to {pixels.max():g} instead of 0 to {most}")
    return pixels


def decode_audio(file: Path, source: AudioSource) -> npt.NDArray[np.int16]:
    """Decode a WAV file to [samples]: the mean of its channels.

    Raises:
        UnreadableError: SciPy can't decode it.
        DataError: It has a different rate, and the source doesn't resample.
    """
    from scipy.signal import resample_poly

    rate, sound = _read_wav(file)
    if rate != source.sample_rate and not source.resample:
        raise DataError(
            "a WAV file has a different sample rate",
            where=str(file),
            bound=f"{source.sample_rate} Hz (examples.sample_rate)",
            measured=f"{rate} Hz",
            remedy="set `resample: true` in examples, or convert the file",
        )
    values = _unit(sound)
    if values.ndim > 1:
        values = values.mean(axis=1)
    if rate != source.sample_rate:
        shared = gcd(rate, source.sample_rate)
        values = resample_poly(values, source.sample_rate // shared, rate // shared)
    values = np.pad(values[: source.samples], (0, max(0, source.samples - len(values))))
    return np.rint(values * 32768).clip(-32768, 32767).astype("<i2")


def wav_facts(file: Path) -> tuple[int, int]:
    """The sample rate and the number of samples of a WAV file, without reading its samples.

    Raises:
        UnreadableError: SciPy can't read it.
    """
    rate, sound = _read_wav(file, mapped=True)
    return rate, len(sound)


def _read_wav(file: Path, *, mapped: bool = False) -> tuple[int, Array]:
    from scipy.io import wavfile

    try:
        _check_complete(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            # SciPy can't map 24-bit samples.
            try:
                rate, sound = wavfile.read(file, mmap=mapped)
            except ValueError:
                rate, sound = wavfile.read(file)
        if not len(sound):
            raise ValueError("there are no samples in it")
        if not 0 < rate <= _HIGHEST_RATE:
            raise ValueError(f"a sample rate of {rate:,} Hz")
        if not mapped and not np.isfinite(sound).all():
            raise ValueError("it has samples that are not finite")
        return int(rate), sound
    # A truncated file raises many kinds of errors.
    except Exception as error:
        raise _unreadable(file, "a WAV file", error) from error


def _check_complete(file: Path) -> None:
    """Check that a file has all samples that its header declares. SciPy returns the samples that exist."""
    with file.open("rb") as content:
        if content.read(12)[:4] != b"RIFF":
            return
        while len(header := content.read(8)) == 8:
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                held = os.fstat(content.fileno()).st_size - content.tell()
                if held < size < _UNKNOWN_BYTES:
                    raise ValueError(f"it ends after {held:,} of {size:,} bytes of samples")
                return
            content.seek(size + size % 2, os.SEEK_CUR)


def _unit(sound: Array) -> npt.NDArray[np.float64]:
    """Samples from -1 to 1."""
    if sound.dtype == np.uint8:
        return (sound.astype(np.float64) - 128) / 128
    if np.issubdtype(sound.dtype, np.integer):
        return sound.astype(np.float64) / -float(np.iinfo(sound.dtype).min)
    return sound.astype(np.float64)


def _unreadable(file: Path, bound: str, error: Exception) -> UnreadableError:
    return UnreadableError(
        "the file cannot be decoded",
        where=str(file),
        bound=bound,
        measured=summary_line(error).replace(f" {str(file)!r}", ""),  # `where` has the name of the file.
        remedy="copy or write the file again, remove it, or set examples.max_unreadable",
    )
