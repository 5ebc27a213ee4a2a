"""How loud sound is to a listener (EBU R 128, ITU-R BS.1770), and making it as loud as wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from reelwright.media.sound import close, gain, limit, silence, through
from reelwright.types import SAMPLE_RATE, Chunk

_MOST_DB = 40.0  # more would make a film out of a recording's hiss
_GATE = -70.0  # LUFS; what is softer does not count as sound (BS.1770), and the filter says this for silence


@dataclass(frozen=True)
class Loudness:
    """`integrated_lufs` and `true_peak_db` (dBTP), both -inf for silence; `range_lu` >= 0, 0 for less than 3 s."""

    integrated_lufs: float
    true_peak_db: float
    range_lu: float


def measure(samples: Iterator[Chunk]) -> Loudness:
    """The loudness of a stream, read once and closed, by FFmpeg's ebur128.

    Less than 0.4 s, the length of a gating block, has no loudness: -inf. The true peak is found at four times the rate, in
    steps of 0.001 of full scale.
    """
    taken, heard, peak, loudness, spread = 0, 0, 0.0, _GATE, 0.0

    def padded() -> Iterator[Chunk]:
        nonlocal taken, peak
        for piece in samples:
            taken += len(piece)
            peak = max(peak, float(np.abs(piece).max(initial=0)))
            yield piece
        yield from silence(SAMPLE_RATE // 5)  # the filter tells of whole tenths of a second only

    try:
        for frame in through(padded(), ("ebur128", "metadata=1:peak=true")):
            heard += frame.samples
            told = frame.metadata
            peak = max(peak, float(told.get("lavfi.r128.true_peak", 0)))
            if heard <= taken and "lavfi.r128.I" in told:  # the padding is not part of the sound
                loudness, spread = float(told["lavfi.r128.I"]), float(told["lavfi.r128.LRA"])
    finally:
        close(samples)
    return Loudness(
        loudness if loudness > _GATE else -math.inf,
        20 * math.log10(peak) if peak > 0 else -math.inf,
        spread,
    )


def normalise(make: Callable[[], Iterator[Chunk]], target_lufs: float = -16.0, ceiling_db: float = -1.0) -> Iterator[Chunk]:
    """The stream that `make` opens (twice), at `target_lufs`, its true peaks held under `ceiling_db` (dBTP).

    -16 LUFS suits the web, -23 television (EBU R 128). The first pass runs now, the second as it is read. Raised by 40 dB
    at most; what has no loudness (silence, under 0.4 s) is not raised. The limiter is left out where nothing reaches it;
    where it works much, the result is softer than the target.
    """
    found = measure(make())
    change = min(_MOST_DB, target_lufs - found.integrated_lufs) if math.isfinite(found.integrated_lufs) else 0.0
    raised = gain(make(), change)
    if found.true_peak_db + change <= ceiling_db:
        return raised
    return limit(raised, ceiling_db, true_peak=True)
