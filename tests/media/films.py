"""Real files made by the tests themselves, with PyAV and Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk, Frame, Plane, Video, VideoSpec

STEP = 4
"""Levels between the luma of one numbered frame and the next."""


def numbered(index: int, width: int = 96, height: int = 64) -> Frame:
    """A frame whose flat luma is its number: 30 + 4 * index."""
    return Frame.filled(width, height, y=30 + STEP * index)


def number(frame: Frame) -> int:
    """Which numbered frame this is, read from its pixels."""
    return round((float(frame.y.mean()) - 30) / STEP)


def scene(index: int, width: int = 96, height: int = 64) -> Frame:
    """A smooth picture with colour that moves with `index`: kind to encoders, different in every frame."""
    y, x = np.mgrid[0:height, 0:width] / height
    red = 0.5 + 0.4 * np.sin(4 * x + 0.11 * index)
    green = 0.5 + 0.4 * np.sin(3 * y - 0.07 * index + 1)
    blue = 0.5 + 0.4 * np.sin(3 * (x - y) + 0.05 * index + 2)
    return Frame.of(np.rint(np.stack([red, green, blue], axis=-1) * 255).astype(np.uint8))


def film(
    frames: int, *, width: int = 96, height: int = 64, fps: int | Fraction = 24, audio: bool = False,
    draw: Callable[[int, int, int], Frame] = scene, sound: Callable[[int], Chunk] | None = None,
) -> Video:  # fmt: skip
    """A video of drawn frames, with a tone (or `sound(samples)`) if `audio`."""
    spec = VideoSpec(width, height, Fraction(fps), frames, audio)
    samples = _pieces((sound or tone)(spec.samples)) if audio else None
    return Video(spec, (draw(i, width, height) for i in range(frames)), samples)


def tone(samples: int) -> Chunk:
    """A quiet 440 Hz tone."""
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(samples) / SAMPLE_RATE)
    return np.repeat(wave[:, None], CHANNELS, axis=1).astype(np.float32)


def _pieces(sound: Chunk) -> Iterator[Chunk]:
    for at in range(0, len(sound), 1000):
        yield sound[at : at + 1000]


def psnr(a: Plane, b: Plane) -> float:
    """Peak signal to noise ratio in dB."""
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 10 * np.log10(255**2 / max(error, 1e-9))


Picture = Plane | av.VideoFrame


def write(
    path: Path, pictures: Iterable[Picture], *, codec: str = "libx264", pixels: str = "yuv420p", fps: int | Fraction = 24,
    times: Sequence[int] | None = None, base: Fraction | None = None, tags: dict[str, int] | None = None, turned: int = 0,
    aspect: Fraction | None = None, options: dict[str, str] | None = None, mux: dict[str, str] | None = None,
    form: str | None = None, sound: str | None = None, layout: str = "stereo", seconds: float = 1.0,
    bitrate: int | None = None,
) -> Path:  # fmt: skip
    """A file written straight with PyAV: RGB arrays, or frames already in `pixels`; `times` in units of `base`."""
    base = base or 1 / Fraction(fps)
    with av.open(str(path), "w", format=form, options=mux or {}) as output:
        stream = output.add_stream(codec, rate=Fraction(fps), options=options or {})
        stream.pix_fmt, stream.time_base = pixels, base
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if bitrate:
            stream.bit_rate = bitrate
        if turned:
            stream.set_display_rotation(turned)
        heard = output.add_stream(sound, rate=SAMPLE_RATE, layout=layout) if sound else None
        for index, picture in enumerate(pictures):
            frame = picture if isinstance(picture, av.VideoFrame) else av.VideoFrame.from_ndarray(picture, format="rgb24")
            if index == 0:
                stream.width, stream.height = frame.width, frame.height
                if aspect:
                    stream.codec_context.sample_aspect_ratio = aspect
            if frame.format.name != pixels:
                frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = (times[index] if times else index), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if heard is not None:
            count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
            block, at = 1024, 0
            while at < seconds * SAMPLE_RATE:
                wave = np.sin(2 * np.pi * 440 * (at + np.arange(block)) / SAMPLE_RATE).astype(np.float32) * 0.25
                piece = av.AudioFrame.from_ndarray(np.tile(wave, (count, 1)), format="fltp", layout=layout)
                piece.sample_rate, piece.pts, piece.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
                output.mux(heard.encode(piece))
                at += block
            output.mux(heard.encode(None))
    return path


def flat(red: int, green: int, blue: int, width: int = 96, height: int = 64) -> Plane:
    """An RGB picture of one colour."""
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def grey(index: int, width: int = 96, height: int = 64) -> av.VideoFrame:
    """A yuv420p picture that `number` can read."""
    return av.VideoFrame.from_ndarray(numbered(index, width, height).buffer, format="yuv420p")
