"""Finds the sample rate of sounds. Reads only the headers of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError, counted
from components.ingest.media import UnreadableError, wav_facts
from edgemill.project.found import Options
from edgemill.project.unclear import UnclearError

# Files whose header is read.
_MOST_OPENED = 20_000


def audio_fields(files: Sequence[Path], options: Options) -> dict[str, Any]:
    """The fields of `examples` about the sample rate.

    Raises:
        DataError: No file can be read.
        UnclearError: The files have different rates, and the user hasn't chosen one.
    """
    rates: Counter[int] = Counter()
    first: dict[int, Path] = {}
    opened = files[:: -(-len(files) // _MOST_OPENED)]
    for file in opened:
        try:
            rate = wav_facts(file)[0]
        except UnreadableError:
            continue  # counted by the validation
        rates[rate] += 1
        first.setdefault(rate, file)
    if options.sample_rate is not None:
        return {
            "sample_rate": options.sample_rate,
            **({"resample": True} if set(rates) != {options.sample_rate} else {}),
        }
    if len(rates) == 1:
        return {"sample_rate": next(iter(rates))}
    if not rates:
        raise DataError(
            "no WAV file can be read",
            where="--data",
            remedy="write them again as WAV files with PCM samples, for example with `ffmpeg -i sound.wav new.wav`",
        )
    raise UnclearError(
        "the WAV files have different sample rates",
        option="sample_rate",
        question="Which rate was the model trained on, in Hz? The others are resampled.",
        default=str(rates.most_common(1)[0][0]),
        where="--data",
        bound="one sample rate",
        measured=", ".join(
            f"{rate} Hz in {counted(count, 'file')} such as {first[rate]}" for rate, count in sorted(rates.items())
        )
        + ("" if len(opened) == len(files) else f", of the {len(opened):,} of {counted(len(files), 'file')} read"),
        remedy="add --sample-rate with the rate that the model was trained on; the others are resampled",
    )
