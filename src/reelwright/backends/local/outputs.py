"""What pipelines return, in whatever form, becomes a `Video`; what is no picture is found out here."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from reelwright.catalog import Shot
from reelwright.errors import BadOutput
from reelwright.run import Run
from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk, Frame, Video, VideoSpec

_BLACK = 3.0
"""Code values of 255: a clip nowhere brighter, or nowhere different, is told to be empty."""


def pictures(output: Any) -> list[Any]:
    """The frames of one clip: arrays (h, w, 3), uint8 or float 0..1, or PIL pictures. Raises BadOutput."""
    found = next(
        (getattr(output, name) for name in ("frames", "videos", "images") if getattr(output, name, None) is not None), None
    )
    if found is None:
        found = output[0] if isinstance(output, tuple) else output
    if isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]
    if hasattr(found, "detach"):
        found = found.detach().float().cpu().numpy()
        if found.ndim == 5 and found.shape[2] == 3:  # (batch, frames, channels, h, w)
            found = np.moveaxis(found, 2, -1)
    if isinstance(found, np.ndarray) and found.ndim == 5:
        found = found[0]
    made = list(found)
    if not made:
        raise BadOutput("the model returned no frames", hint="Try another seed, or a length that the model was made for.")
    return made


def as_video(made: list[Any], shot: Shot, run: Run, samples: Iterator[Chunk] | None = None) -> Video:
    """The frames as a video of the shot's spec, exactly as long as it says.

    Too many are cut, too few end on the last one held, and a note says so. Raises BadOutput on values that are no numbers.
    """
    if len(made) != shot.frames:
        run.note(f"{shot.card.title} made {len(made)} frames of {shot.frames}.")
    if len(made) > 1 or shot.frames == 1:
        made = made[: shot.frames] + made[-1:] * (shot.frames - len(made))
    _hold_pictures(made, shot, run)
    spec = VideoSpec(shot.width, shot.height, shot.fps, shot.frames, samples is not None)
    return Video(spec, _frames(made, shot), samples)


def _frames(made: list[Any], shot: Shot) -> Iterator[Frame]:
    for index, each in enumerate(made):
        rgb = eight_bit(each)
        made[index] = None  # 81 frames of 720p as floats are a gigabyte
        if rgb.shape[:2] != (shot.height, shot.width):
            from reelwright.media.camera import fitted

            yield fitted(rgb, shot.width, shot.height)
        else:
            yield Frame.of(rgb)


def eight_bit(picture: Any) -> Any:
    """A picture as (h, w, 3), uint8."""
    array = np.asarray(picture)
    if array.dtype != np.uint8:
        array = np.rint(np.clip(array, 0.0, 1.0) * 255).astype(np.uint8)
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def _hold_pictures(made: list[Any], shot: Shot, run: Run) -> None:
    size = np.asarray(made[0]).shape
    if size[:2] != (shot.height, shot.width):
        run.note(f"{shot.card.title} made {size[1]}x{size[0]}, which is fitted to {shot.width}x{shot.height}.")
    brightest, spread = 0.0, 0.0
    for index in {0, len(made) // 2, len(made) - 1}:
        array = np.asarray(made[index], np.float32)
        if not np.isfinite(array).all():
            raise BadOutput(
                f"{shot.card.title} returned values that are not numbers",
                hint="Compute in another type: `dtype` in the card's settings, with the VAE in `full`.",
                model=shot.card.id,
            )
        scale = 1.0 if np.asarray(made[index]).dtype == np.uint8 else 255.0
        brightest, spread = max(brightest, float(array.max()) * scale), max(spread, float(array.std()) * scale)
    if brightest < _BLACK:
        run.note(f"{shot.card.title} made a black clip: a safety checker may have hidden it, or its numbers overflowed.")
    elif spread < _BLACK / 10:
        run.note(f"{shot.card.title} made a clip of one colour: this size or length may not be one that it can make.")


def sound(output: Any, pipe: Any, spec: VideoSpec) -> Iterator[Chunk] | None:
    """The sound that a pipeline made beside its frames, at our rate and exactly as long as the clip; None if it made none."""
    found = getattr(output, "audio", None)
    if found is None:
        return None
    values = (found.detach().float().cpu().numpy() if hasattr(found, "detach") else np.asarray(found, np.float32)).squeeze()
    if values.ndim == 1:
        values = np.stack([values] * CHANNELS)
    if values.shape[0] > values.shape[1]:
        values = values.T
    rate = int(getattr(getattr(getattr(pipe, "vocoder", None), "config", None), "output_sampling_rate", 24_000))
    chunk = resampled(np.nan_to_num(values[:CHANNELS]), rate)
    return _fit(chunk, spec.samples)


def _fit(chunk: Chunk, count: int) -> Iterator[Chunk]:
    yield chunk[:count]
    if len(chunk) < count:
        yield np.zeros((count - len(chunk), CHANNELS), np.float32)


def resampled(values: Any, rate: int) -> Chunk:
    """Sound of shape (channels, n) at `rate` Hz as (m, channels) at ours, by FFmpeg's resampler."""
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(values.T, np.float32)
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values, np.float32), format="fltp", layout="stereo")
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
    pieces = [piece.to_ndarray() for given in (frame, None) for piece in resampler.resample(given)]
    return np.ascontiguousarray(np.concatenate(pieces, axis=1).T, np.float32)
