"""Cutting, fitting and timing of videos: each function takes a video and returns one that is read in its place."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np

from reelwright.errors import RequestError
from reelwright.media import sound
from reelwright.types import SAMPLE_RATE, Chunk, Frame, Skips, Video, VideoSpec

Fit = Literal["cover", "contain", "stretch"]


def skip(frames: Iterator[Frame], count: int) -> None:
    """Pass over `count` frames, without making them where that is possible."""
    if isinstance(frames, Skips):
        frames.skip(count)
    else:
        next(itertools.islice(frames, count, count), None)


def trim(video: Video, start: float | Fraction = 0, end: float | Fraction | None = None) -> Video:
    """The part from `start` to `end` seconds; raises RequestError if nothing lies between."""
    spec = video.spec
    if not (math.isfinite(start) and (end is None or math.isfinite(end))):
        raise RequestError("times are finite numbers of seconds", field="start")
    first = round(Fraction(start) * spec.fps)
    last = spec.frames if end is None else min(spec.frames, round(Fraction(end) * spec.fps))
    if not 0 <= first < last:
        until = "the end" if end is None else f"{float(end):g} s"
        raise RequestError(
            f"nothing lies between {float(start):g} s and {until} of a clip of {float(spec.seconds):g} s",
            hint="Give times in seconds, the later one second.",
        )
    if first == 0 and last == spec.frames:
        return video
    made = spec.but(frames=last - first)
    offset = round(first / spec.fps * SAMPLE_RATE)

    def frames() -> Iterator[Frame]:
        skip(video.frames, first)
        yield from itertools.islice(video.frames, last - first)

    samples = None if video.samples is None else sound.fit(_after(video.samples, offset), made.samples)
    return Video(made, frames(), samples, (video,))


def _after(samples: Iterator[Chunk], count: int) -> Iterator[Chunk]:
    """The sound without its first `count` samples."""
    for chunk in samples:
        if count >= len(chunk):
            count -= len(chunk)
            continue
        yield chunk[count:]
        count = 0


def fit(video: Video, width: int, height: int, how: Fit = "cover") -> Video:
    """The video at another size: filling it and cropped ("cover"), within it on black ("contain"), or distorted ("stretch")."""
    spec = video.spec
    if (spec.width, spec.height) == (width, height):
        return video
    if how == "stretch":
        box = (0, 0, width, height)
    else:
        choose = max if how == "cover" else min
        factor = choose(Fraction(width, spec.width), Fraction(height, spec.height))
        inner = (max(2, round(spec.width * factor / 2) * 2), max(2, round(spec.height * factor / 2) * 2))
        box = (_even((width - inner[0]) / 2), _even((height - inner[1]) / 2), *inner)
    draw = _placed(box, width, height)
    return Video(spec.but(width=width, height=height), map(draw, video.frames), video.samples, (video,))


def _even(value: float) -> int:
    return int(value // 2) * 2


def _placed(box: tuple[int, int, int, int], width: int, height: int) -> Callable[[Frame], Frame]:
    """A function that scales a frame to the box (x, y, w, h; may reach out of the picture) of a picture of this size."""
    x, y, inner_width, inner_height = box

    def draw(frame: Frame) -> Frame:
        way = cv2.INTER_AREA if inner_width < frame.width else cv2.INTER_CUBIC
        made = Frame.empty(width, height) if inner_width >= width and inner_height >= height else Frame.filled(width, height)
        for plane, out in zip(frame.planes, made.planes, strict=True):
            part = 1 if plane is frame.y else 2
            size = (inner_width // part, inner_height // part)
            scaled = plane if size == plane.shape[::-1] else cv2.resize(plane, size, interpolation=way)
            left, top = x // part, y // part
            source = scaled[max(0, -top) : max(0, -top) + out.shape[0], max(0, -left) : max(0, -left) + out.shape[1]]
            out[max(0, top) : max(0, top) + source.shape[0], max(0, left) : max(0, left) + source.shape[1]] = source
        return made

    return draw


def crop(video: Video, x: int, y: int, width: int, height: int) -> Video:
    """A rectangle of the picture, in px; moved and sized to even numbers. Raises RequestError if it reaches outside."""
    spec = video.spec
    x, y, width, height = (_even(value) for value in (x, y, width, height))
    if x < 0 or y < 0 or x + width > spec.width or y + height > spec.height:
        raise RequestError(f"the crop {width}x{height} at {x},{y} reaches out of the {spec.width}x{spec.height} picture")

    def frames() -> Iterator[Frame]:
        for frame in video.frames:
            made = Frame.empty(width, height)
            made.y[:] = frame.y[y : y + height, x : x + width]
            for plane, out in ((frame.u, made.u), (frame.v, made.v)):
                out[:] = plane[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2]
            yield made

    return Video(spec.but(width=width, height=height), frames(), video.samples, (video,))


def at_rate(video: Video, fps: Fraction) -> Video:
    """The video at another rate, frames repeated or left out; its length stays (to the nearest frame)."""
    return video if fps == video.spec.fps else _resampled(video, max(1, round(video.spec.seconds * fps)), fps, Fraction(1))


def retime(video: Video, pace: float, *, blend: bool = True) -> Video:
    """The video at `pace` times its speed: 0.5 is slow motion, 2 is fast. 1/16..16.

    Frames between frames are blended unless `blend` is False; sound keeps its pitch. Raises RequestError.
    """
    if not 1 / 16 <= pace <= 16:
        raise RequestError(f"pace must lie between 1/16 and 16, not {pace:g}", field="pace")
    if pace == 1:
        return video
    ratio = Fraction(pace).limit_denominator(1000)
    made = _resampled(video, max(1, round(video.spec.frames / ratio)), video.spec.fps, ratio, blend=blend)
    if video.samples is not None:
        made.samples = sound.fit(sound.retime(video.samples, float(ratio)), made.spec.samples)
    return made


def _resampled(video: Video, count: int, fps: Fraction, pace: Fraction, *, blend: bool = False) -> Video:
    """`count` frames at `fps`; frame i shows what lies at i / fps * pace seconds."""
    spec = video.spec
    step = spec.fps / fps * pace

    def frames() -> Iterator[Frame]:
        now, after, place = next(video.frames), next(video.frames, None), 0
        for index in range(count):
            at = index * step
            whole = min(int(at if blend else at + Fraction(1, 2)), spec.frames - 1)
            while place < whole and after is not None:
                now, after, place = after, next(video.frames, None), place + 1
            part = float(at - whole)
            if blend and part > 0.02 and after is not None:
                yield Frame(cv2.addWeighted(now.buffer, 1 - part, after.buffer, part, 0))  # type: ignore[arg-type]  # stays uint8
            else:
                yield now.copy()

    samples = None
    made = spec.but(fps=fps, frames=count)
    if video.samples is not None:
        samples = sound.fit(video.samples, made.samples)
    return Video(made, frames(), samples, (video,))


def hold(video: Video, seconds: float | Fraction) -> Video:
    """The video with its last frame held, so that it lasts `seconds`; sound ends where it ended."""
    spec = video.spec
    count = round(Fraction(seconds) * spec.fps)
    if count <= spec.frames:
        return video
    made = spec.but(frames=count)

    def frames() -> Iterator[Frame]:
        last = None
        for index, frame in enumerate(video.frames, 1):
            last = frame.copy() if index == spec.frames else None
            yield frame
        assert last is not None
        for _ in range(count - spec.frames):
            yield last.copy()

    samples = None if video.samples is None else sound.fit(video.samples, made.samples)
    return Video(made, frames(), samples, (video,))


def conform(video: Video, spec: VideoSpec) -> Video:
    """The video at the rate, size and length of `spec`, silent; a shorter one holds its last picture."""
    return exactly(hold(fit(at_rate(silent(video), spec.fps), spec.width, spec.height), spec.seconds), spec)


def exactly(video: Video, spec: VideoSpec) -> Video:
    """The video cut to the length of `spec`, if it is longer."""
    return trim(video, 0, spec.seconds) if video.spec.frames > spec.frames else video


def loop(make: Callable[[], Video], seconds: float | Fraction) -> Video:
    """A video that starts over until `seconds` are full; `make` opens it anew each time."""
    first = make()
    spec = first.spec
    made = spec.but(frames=max(1, round(Fraction(seconds) * spec.fps)), audio=spec.audio)

    def frames() -> Iterator[Frame]:
        left, video = made.frames, first
        try:
            while left > 0:
                for frame in itertools.islice(video.frames, left):
                    yield frame
                    left -= 1
                video.close()
                if left > 0:
                    video = make()
        finally:
            video.close()

    def again() -> Iterator[Chunk]:
        with make() as video:
            assert video.samples is not None
            yield from video.samples

    samples = sound.fit(sound.loop(again, made.samples), made.samples) if spec.audio else None
    return Video(made, frames(), samples, (first,))


def still(frame: Frame, fps: Fraction, seconds: float | Fraction) -> Video:
    """One frame, held."""
    from reelwright.types import VideoSpec

    spec = VideoSpec(frame.width, frame.height, fps, max(1, round(Fraction(seconds) * fps)))
    return Video(spec, (frame.copy() for _ in range(spec.frames)))


def silent(video: Video) -> Video:
    """The video without its sound."""
    return video if video.samples is None else Video(video.spec.but(audio=False), video.frames, None, (video,))


def with_sound(video: Video, samples: Iterator[Chunk]) -> Video:
    """The video with this sound instead of its own, cut or padded to its length."""
    return Video(video.spec.but(audio=True), video.frames, sound.fit(samples, video.spec.samples), (video,))


def level(frame: Frame) -> float:
    """Mean brightness, 0 (black) .. 1 (white)."""
    return float(np.clip((frame.y.mean() - 16) / 219, 0, 1))
