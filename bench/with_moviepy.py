"""The work with moviepy 2, run by a Python that has it: `with_moviepy.py JOB.json OUTPUT WAY [lossless]`.

WAY "resized" is moviepy's own way to move over a still: `resized` and `with_position` with functions of time. WAY "pillow"
crops and scales each frame by Pillow within `transform`, with the same filter: faster and truer, and more to write.
Nothing of Reelwright is imported.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from moviepy import CompositeVideoClip, ImageClip, TextClip, vfx
from PIL import Image


def cpu() -> float:
    """CPU seconds of this process and of those that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def resized(still: str, boxes: list[list[float]], size: tuple[int, int], fps: int) -> CompositeVideoClip:
    """A camera move over a still, as moviepy's documentation has it."""

    def box(seconds: float) -> list[float]:
        return boxes[min(len(boxes) - 1, round(seconds * fps))]

    def scale(seconds: float) -> float:
        left, _, right, _ = box(seconds)
        return size[0] / (right - left)

    def place(seconds: float) -> tuple[float, float]:
        left, top, _, _ = box(seconds)
        return -left * scale(seconds), -top * scale(seconds)

    clip = ImageClip(still, duration=len(boxes) / fps).resized(scale).with_position(place)
    return CompositeVideoClip([clip], size=size)


def moving(still: str, boxes: list[list[float]], size: tuple[int, int], fps: int) -> ImageClip:
    """A camera move over a still."""

    def view(_get_frame: object, seconds: float) -> np.ndarray:
        box = boxes[min(len(boxes) - 1, round(seconds * fps))]
        return np.asarray(picture.resize(size, Image.Resampling.LANCZOS, box=tuple(box)))

    clip = ImageClip(still, duration=len(boxes) / fps)
    picture = Image.fromarray(clip.get_frame(0))
    moved = clip.transform(view)
    moved.size = size
    return moved


def main() -> None:
    """Make the film and print what it took."""
    job, output = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    began, before = time.perf_counter(), cpu()
    size, fps = (job["width"], job["height"]), job["fps"]
    move, clips = {"resized": resized, "pillow": moving}[sys.argv[3]], []
    for index, (still, boxes) in enumerate(zip(job["stills"], job["boxes"], strict=True)):
        clip = move(still, boxes, size, fps)
        start = index * (job["frames"] - job["overlap"]) / fps
        if index == job["captioned"]:
            text = TextClip(job["font"], job["caption"], font_size=job["letter_px"], color="white", stroke_color="black",
                            stroke_width=max(1, job["letter_px"] // 20), margin=(10, 10), duration=clip.duration)  # fmt: skip
            clip = CompositeVideoClip([clip, text.with_position(("center", 0.89), relative=True)], size=size)
        if index:
            clip = clip.with_effects([vfx.CrossFadeIn(job["overlap"] / fps)])
        clips.append(clip.with_start(start))
    film = CompositeVideoClip(clips, size=size)
    lossless = len(sys.argv) > 4
    rate = ["-qp", "0"] if lossless else [*job["rate"], "-movflags", "+faststart"]
    film.write_videofile(output, fps=fps, codec="libx264", preset="ultrafast" if lossless else "veryfast", audio=False,
                         ffmpeg_params=rate, logger=None, pixel_format="yuv420p")  # fmt: skip
    print(json.dumps({"wall": time.perf_counter() - began, "cpu": cpu() - before}))


if __name__ == "__main__":
    main()
