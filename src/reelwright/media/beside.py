"""Clips side by side, each with a label: to see which of several is best (S10)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from reelwright.media import edit
from reelwright.media.letters import LetterStyle, set_type
from reelwright.types import Frame, Video, VideoSpec

_GAP = 4
"""px between two clips."""
_LABEL = LetterStyle(size=0.055, weight="bold", position="top-left", box="#000000a0", outline=0.0, margin=0.02, max_lines=2)


def beside(videos: Sequence[Video], labels: Sequence[str], width: int = 1920) -> Video:
    """The videos in a grid, `width` px in all, at the highest of their rates; shorter ones hold their last picture. Silent."""
    columns = min(len(videos), 2 if len(videos) in (2, 4) else 3)
    rows = math.ceil(len(videos) / columns)
    tile = (width - _GAP * (columns - 1)) // columns // 2 * 2
    shape = max(video.spec.height / video.spec.width for video in videos)
    high = round(tile * shape) // 2 * 2
    fps = max(video.spec.fps for video in videos)
    seconds = max(video.spec.seconds for video in videos)
    tiles = [_tile(video, tile, high, fps, seconds) for video in videos]
    marks = [set_type(label, tile, high, _LABEL) for label in labels]
    spec = VideoSpec(columns * (tile + _GAP) - _GAP, rows * (high + _GAP) - _GAP, fps, max(1, round(seconds * fps)))

    def frames() -> Iterator[Frame]:
        for _ in range(spec.frames):
            made = Frame.filled(spec.width, spec.height, 24)
            for index, (video, mark) in enumerate(zip(tiles, marks, strict=True)):
                frame = next(video.frames)
                mark.draw(frame)
                row, column = divmod(index, columns)
                _put(frame, made, column * (tile + _GAP), row * (high + _GAP))
            yield made

    return Video(spec, frames(), upstream=tuple(tiles))


def _tile(video: Video, width: int, height: int, fps: Fraction, seconds: Fraction) -> Video:
    made = edit.hold(edit.fit(edit.at_rate(edit.silent(video), fps), width, height, "contain"), seconds)
    return edit.hold(made, seconds + 1 / fps)  # rounding may ask for one frame more


def _put(frame: Frame, over: Frame, x: int, y: int) -> None:
    for plane, out, half in zip(frame.planes, over.planes, (1, 2, 2), strict=True):
        top, left = y // half, x // half
        out[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
