"""Single pictures out of videos: stills, thumbnails, contact sheets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from reelwright.errors import Unsupported
from reelwright.media import edit
from reelwright.media.partial import whole
from reelwright.types import Frame, Plane, Video


def every(video: Video, count: int) -> Iterator[tuple[int, Frame]]:
    """`count` frames (or all, if there are fewer) spread evenly over the video, each with its index; passes over the rest."""
    total = video.spec.frames
    places = sorted({min(total - 1, int((i + 0.5) * total / count)) for i in range(count)})
    here = 0
    for place in places:
        edit.skip(video.frames, place - here)
        here = place + 1
        yield place, next(islice(video.frames, 1))


def sheet(frames: Sequence[Frame], columns: int = 4, width: int = 480, gap: int = 8) -> Plane:
    """Frames on one picture, row by row, as sRGB of shape (h, w, 3) on dark grey; `width` px each, `gap` px between."""
    height = max(2, round(width * frames[0].height / frames[0].width))
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    made = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 24, np.uint8)
    for index, frame in enumerate(frames):
        y, x = divmod(index, columns)
        top, left = gap + y * (height + gap), gap + x * (width + gap)
        made[top : top + height, left : left + width] = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
    return made


def save_picture(rgb: Plane, path: Path, width: int | None = None) -> None:
    """Write an sRGB picture as PNG, JPEG or WebP, by the file's ending; scaled to `width` px if given."""
    from PIL import Image

    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise Unsupported(
            f"no picture can be written to a {path.suffix or 'nameless'} file", hint=f"Use one of {', '.join(kinds)}."
        )
    image = Image.fromarray(rgb)
    if width is not None and width < image.width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    with whole(path) as part:
        image.save(part, kind, **({"quality": 90} if kind != "PNG" else {}))
