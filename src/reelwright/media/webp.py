"""Animated WebP, which FFmpeg writes but does not read; Pillow does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from reelwright.errors import MediaError


def durations(path: Path) -> list[int]:
    """Milliseconds of each picture; empty if the file is no animated WebP."""
    found = []
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return []
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            following = file.tell() + size + size % 2
            if chunk[:4] == b"ANMF":
                found.append(int.from_bytes(file.read(16)[12:15], "little") or 100)
            file.seek(following)
    return found


def size(path: Path) -> tuple[int, int]:
    """Width and height in px, from the header."""
    from PIL import Image

    try:
        with Image.open(path, formats=("WEBP",)) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"{path.name} cannot be read as WebP", hint="Export it again.", file=path.name) from error


def rate(lengths: Sequence[int], standard: Sequence[Fraction]) -> tuple[Fraction, bool]:
    """The steady rate of pictures that last so many ms, and whether they differ in length.

    A rate fits if it gives the whole length to a millisecond, as whole milliseconds are all that the file can say.
    """
    total = sum(lengths)
    if max(lengths) - min(lengths) <= 1:
        best = min(standard, key=lambda fps: round(abs(len(lengths) * 1000 / fps - total)))
        if abs(len(lengths) * 1000 / best - total) <= 1:
            return best, False
        return max(Fraction(1), min(Fraction(240), Fraction(len(lengths) * 1000, total).limit_denominator(1001))), False
    finest = Fraction(1000, min(lengths))
    return min((fps for fps in standard if fps >= min(finest, Fraction(30))), default=Fraction(240)), True


def pictures(path: Path) -> Iterator[av.VideoFrame]:
    """Its pictures in order; a damaged end ends them early."""
    from PIL import Image

    with Image.open(path, formats=("WEBP",)) as image:
        for index in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(index)
                rgba = np.asarray(image.convert("RGBA"), np.uint8)
            except (OSError, EOFError):
                return
            yield av.VideoFrame.from_ndarray(rgba, format="rgba")
