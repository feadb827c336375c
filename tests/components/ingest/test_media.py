"""Images and WAV files of all modes and rates become arrays of one shape, or an error that names the file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from components.core.errors import DataError
from components.ingest.media import UnreadableError, decode_audio, decode_image, wav_facts
from components.spec.examples import AudioSource, ImageSource

RGB = ImageSource(kind="images", size=(4, 6), channels=3)
GRAY = ImageSource(kind="images", size=(4, 6), channels=1)
SOUND = AudioSource(kind="audio", sample_rate=8000, samples=800)


def png(folder: Path, image: Image.Image, suffix: str = "png", **options: object) -> Path:
    file = folder / f"image.{suffix}"
    image.save(file, **options)  # type: ignore[arg-type]
    return file


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "rgb"),
    [
        ("L", 200, "png", (200, 200, 200)),
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGBA", (200, 100, 50, 51), "png", (40, 20, 10)),  # a fifth, over black
        ("LA", (250, 51), "png", (50, 50, 50)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 51400, "png", (200, 200, 200)),  # 200 x 257; Pillow's own conversion clips it to 255
        ("CMYK", (0, 255, 255, 0), "tiff", (255, 0, 0)),
    ],
)
def test_images_of_each_mode_become_rgb(
    tmp_path: Path, mode: str, color: object, suffix: str, rgb: tuple[int, ...]
) -> None:
    decoded = decode_image(png(tmp_path, Image.new(mode, (9, 5), color), suffix), RGB)  # type: ignore[arg-type]
    assert decoded.shape == (4, 6, 3) and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - np.array(rgb)).max() <= 1


def test_palette_keeps_its_colors_and_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 90, 60, 30])
    assert decode_image(png(tmp_path, image), RGB)[0, 0].tolist() == [90, 60, 30]
    assert decode_image(png(tmp_path, image, transparency=1), RGB)[0, 0].tolist() == [0, 0, 0]


def test_gray_of_a_color_is_its_luma(tmp_path: Path) -> None:
    decoded = decode_image(png(tmp_path, Image.new("RGB", (6, 4), (255, 0, 0))), GRAY)
    assert decoded.shape == (4, 6, 1) and set(decoded.ravel()) == {76}  # ITU-R 601: 0.299 x 255


def test_image_is_turned_as_its_exif_data_says(tmp_path: Path) -> None:
    pixels = np.zeros([6, 4, 3], np.uint8)
    pixels[0] = 255  # the top row; turned by 90 degrees clockwise, it is the right column
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(png(tmp_path, Image.fromarray(pixels), "png", exif=exif), RGB)
    assert decoded[:, -1].min() == 255 and decoded[:, 0].max() == 0


@pytest.mark.parametrize("content", [b"", b"text", "truncated", "bomb"])
def test_damaged_image_is_named(tmp_path: Path, content: bytes | str) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "png")
    if content == "bomb":
        Image.new("1", (20_000, 20_000)).save(buffer := io.BytesIO(), "png")
    held = buffer.getvalue() if isinstance(content, str) else content
    file = tmp_path / "broken.png"
    file.write_bytes(held[: len(held) // 2] if content == "truncated" else held)
    with pytest.raises(UnreadableError, match=r"broken\.png: the file cannot be decoded .*Remedy: "):
        decode_image(file, RGB)


def tone(rate: int, seconds: float = 0.1) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_wav_files_of_each_type_hold_the_same_sound(tmp_path: Path, dtype: str) -> None:
    sound = tone(8000)
    scaled = {
        "uint8": np.rint(sound * 128 + 128).astype(np.uint8),
        "int16": np.rint(sound * 2**15).astype(np.int16),
        "int32": np.rint(sound * 2**31).astype(np.int32),
        "float32": sound.astype(np.float32),
    }
    wavfile.write(tmp_path / "tone.wav", 8000, scaled[dtype])
    decoded = decode_audio(tmp_path / "tone.wav", SOUND)
    assert decoded.dtype == np.dtype("<i2") and decoded.shape == (800,)
    assert np.abs(decoded / 32768 - sound).max() < (0.005 if dtype == "uint8" else 1e-4)


def test_stereo_becomes_its_mean_and_lengths_become_equal(tmp_path: Path) -> None:
    both = np.stack([np.full(500, 1000), np.full(500, 3000)], axis=1).astype(np.int16)
    wavfile.write(tmp_path / "short.wav", 8000, both)
    decoded = decode_audio(tmp_path / "short.wav", SOUND)
    assert set(decoded[:500]) == {2000} and not decoded[500:].any()
    wavfile.write(tmp_path / "long.wav", 8000, np.arange(1000, dtype=np.int16))
    assert decode_audio(tmp_path / "long.wav", SOUND).tolist() == list(range(800))


def test_other_rate_is_refused_or_resampled(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "tone.wav", 16000, np.rint(tone(16000) * 2**15).astype(np.int16))
    with pytest.raises(DataError, match=r"tone\.wav: .*expected: 8000 Hz .*found: 16000 Hz.*resample: true"):
        decode_audio(tmp_path / "tone.wav", SOUND)
    resampled = decode_audio(tmp_path / "tone.wav", SOUND.model_copy(update={"resample": True})) / 32768
    assert np.abs(resampled - tone(8000))[20:-20].max() < 0.01  # away from the edges of the filter


def test_damaged_wav_file_is_named(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "tone.wav", 8000, np.zeros(0, np.int16))
    with pytest.raises(UnreadableError, match=r"tone\.wav: .*no samples"):
        decode_audio(tmp_path / "tone.wav", SOUND)
    (tmp_path / "tone.wav").write_bytes(b"RIFF\x00\x00")
    with pytest.raises(UnreadableError, match=r"tone\.wav"):
        decode_audio(tmp_path / "tone.wav", SOUND)
    wavfile.write(tmp_path / "tone.wav", 8000, np.array([0, np.nan], np.float32))
    with pytest.raises(UnreadableError, match="not finite"):
        decode_audio(tmp_path / "tone.wav", SOUND)
    wavfile.write(tmp_path / "tone.wav", 2**31 - 1, np.ones(100, np.int16))
    for read in (wav_facts, lambda file: decode_audio(file, SOUND.model_copy(update={"resample": True}))):
        with pytest.raises(UnreadableError, match="a sample rate of 2,147,483,647 Hz"):
            read(tmp_path / "tone.wav")


def test_wav_file_that_ends_early_is_damaged_unless_its_length_was_unknown(tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"
    wavfile.write(file, 8000, np.ones(800, np.int16))
    whole = file.read_bytes()
    file.write_bytes(whole[:-600])
    with pytest.raises(UnreadableError, match="ends after 1,000 of 1,600 bytes of samples"):
        decode_audio(file, SOUND)
    # As ffmpeg writes it to a pipe.
    file.write_bytes(whole[:40] + b"\xff" * 4 + whole[44:-600])
    assert decode_audio(file, SOUND)[:500].tolist() == [1] * 500


@pytest.mark.parametrize("pixels", [np.full([4, 6], 200, np.float32), np.full([4, 6], 70_000, np.int32)])
def test_pixels_of_an_unknown_range_are_not_clipped(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(UnreadableError, match=r"pixels from (200|70000) to (200|70000) instead of 0 to"):
        decode_image(png(tmp_path, Image.fromarray(pixels), "tiff"), GRAY)


def test_programs_in_postscript_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadableError, match="cannot identify image file"):
        decode_image(tmp_path / "image.png", RGB)
