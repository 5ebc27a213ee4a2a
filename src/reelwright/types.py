"""The words that carry pixels: roles, frames, specs, videos."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, get_args, get_origin, get_type_hints, runtime_checkable

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from reelwright.errors import RequestError

if TYPE_CHECKING:
    import av

SAMPLE_RATE = 48_000
"""Hz; all sound inside Reelwright has this rate."""

CHANNELS = 2
"""All sound inside Reelwright is stereo; other layouts are mixed at the door."""

Plane = NDArray[np.uint8]
Chunk = NDArray[np.float32]
"""Sound: shape (n, CHANNELS), float32 in -1..1 at SAMPLE_RATE."""


class Role(StrEnum):
    """What an input is for."""

    FIRST_FRAME = "first_frame"
    LAST_FRAME = "last_frame"
    KEYFRAME = "keyframe"
    REFERENCE = "reference"
    SOURCE = "source"
    MASK = "mask"
    CONTROL = "control"
    PORTRAIT = "portrait"
    SPEECH = "speech"
    DRIVING = "driving"


class Frame:
    """One picture as three planes, YUV 4:2:0, BT.709, limited range: `y` (h, w), `u` and `v` (h/2, w/2), uint8.

    The planes are views into `buffer`, shape (h*3/2, w), which an encoder takes without a copy. Width and height are
    even. Chroma is left-sited (sample x lies on luma column 2x, between luma rows 2y and 2y+1), as in H.264.
    """

    __slots__ = ("buffer", "height", "u", "v", "width", "y")

    def __init__(self, buffer: Plane) -> None:
        rows, width = buffer.shape
        if rows % 3 or width % 2 or rows // 3 * 2 % 2 or buffer.dtype != np.uint8 or not buffer.flags.c_contiguous:
            raise ValueError(f"a frame's buffer is contiguous uint8 of shape (h*3/2, w), even h and w; got {buffer.shape}")
        height = rows // 3 * 2
        self.buffer, self.width, self.height = buffer, width, height
        self.y = buffer[:height]
        chroma = buffer[height:].reshape(2, height // 2, width // 2)
        self.u, self.v = chroma[0], chroma[1]

    @classmethod
    def empty(cls, width: int, height: int) -> Self:
        """A frame whose pixels are not set yet; `width` and `height` in px, even."""
        return cls(np.empty((height * 3 // 2, width), np.uint8))

    @classmethod
    def filled(cls, width: int, height: int, y: int = 16, u: int = 128, v: int = 128) -> Self:
        """A frame of one colour; black by default."""
        frame = cls.empty(width, height)
        frame.y[:], frame.u[:], frame.v[:] = y, u, v
        return frame

    @classmethod
    def of(cls, rgb: Plane) -> Self:
        """A frame from an sRGB picture of shape (h, w, 3), uint8. An odd last row or column is repeated."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        height, width = rgb.shape[:2]
        if height % 2 or width % 2:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        made = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        return cls(np.asarray(made.to_ndarray(), np.uint8))

    @property
    def rgb(self) -> Plane:
        """The picture as sRGB, shape (h, w, 3), uint8: for models, stills and previews."""
        from av.video.reformatter import ColorRange, Colorspace

        made = self.picture.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )
        return np.asarray(made.to_ndarray(), np.uint8)

    @property
    def picture(self) -> av.VideoFrame:
        """The same picture as FFmpeg takes it, in the same memory where that is possible."""
        import av

        if self.height % 4 == 0:
            return av.VideoFrame.from_numpy_buffer(self.buffer, format="yuv420p")
        # PyAV 18 takes the height from a buffer's rows as rows // 6 * 4, which loses two rows here.
        made = av.VideoFrame(self.width, self.height, "yuv420p")
        for plane, out in zip(self.planes, made.planes, strict=True):
            lines = np.frombuffer(memoryview(out), np.uint8).reshape(-1, out.line_size)
            lines[: plane.shape[0], : plane.shape[1]] = plane
        return made

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """`(y, u, v)`."""
        return self.y, self.u, self.v

    def copy(self) -> Frame:
        """The same picture in memory of its own."""
        return Frame(self.buffer.copy())

    def __repr__(self) -> str:
        return f"Frame({self.width}x{self.height})"


@runtime_checkable
class Skips(Protocol):
    """Frames that can pass over some without making them: a decoder seeks, a renderer counts."""

    def skip(self, count: int) -> None:
        """Pass over the next `count` frames."""


@dataclass(frozen=True)
class VideoSpec:
    """The shape of a video; held when it is made.

    `width` and `height` in px, even, 16..16384. `fps` is rational, 1..240. `frames` is exact and at least 1.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    audio: bool = False

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not 16 <= side <= 16384 or side % 2:
                raise RequestError(f"{name} must be an even number of pixels from 16 to 16384, not {side}")
        if not 1 <= self.fps <= 240:
            raise RequestError(f"fps must lie between 1 and 240, not {float(self.fps):g}")
        if self.frames < 1:
            raise RequestError(f"a video has at least one frame, not {self.frames}")
        object.__setattr__(self, "fps", Fraction(self.fps))

    @property
    def seconds(self) -> Fraction:
        """Length in seconds."""
        return self.frames / self.fps

    @property
    def samples(self) -> int:
        """Sound samples per channel that belong to this length."""
        return round(self.seconds * SAMPLE_RATE)

    def but(self, **changes: Any) -> VideoSpec:
        """The same spec with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass
class Video:
    """Pixels in flight: a spec, an iterator of its frames (and one of its sound), read once, closable.

    `frames` yields exactly `spec.frames` frames of `spec.width` x `spec.height`. `samples` yields chunks of sound,
    exactly `spec.samples` in all, and is set exactly if `spec.audio` is. `source` names a file whose content this
    video is, unchanged, so that saving may copy it. `close()` releases this and everything upstream; twice is fine.
    """

    spec: VideoSpec
    frames: Iterator[Frame]
    samples: Iterator[Chunk] | None = None
    upstream: tuple[Video, ...] = ()
    source: Path | None = None
    closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.spec.audio != (self.samples is not None):
            raise ValueError("spec.audio and samples disagree")

    def __iter__(self) -> Iterator[Frame]:
        return self.frames

    def close(self) -> None:
        """Release decoders, renderers and files, here and upstream."""
        if self.closed:
            return
        self.closed = True
        for stream in (self.frames, self.samples):
            close = getattr(stream, "close", None)
            if close is not None:
                close()
        for video in self.upstream:
            video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True)
class Asset:
    """Bytes at rest: where they are, what they are, and their SHA-256."""

    path: Path
    digest: str
    media_type: str
    size: int


@cache
def _bounds(cls: type) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    found = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        parts = [hint, *(get_args(hint) if get_origin(hint) is not Annotated else ())]
        rules = tuple(rule for part in parts if get_origin(part) is Annotated for rule in get_args(part)[1:])
        if rules:
            found.append((name, rules))
    return tuple(found)


def hold(value: Any) -> None:
    """Check a dataclass instance against the `annotated_types` bounds of its own fields.

    Knows Ge, Gt, Le, Lt, Interval, MinLen, MaxLen; `None` passes. Raises RequestError that names field and bound: the
    same rules that pydantic applies at the edges, so a value made in Python is as sound as one from JSON.
    """
    for name, rules in _bounds(type(value)):  # type: ignore[arg-type]  # mypy: classes are hashable
        got = getattr(value, name)
        if got is None:
            continue
        for rule in rules:
            for single in rule if isinstance(rule, at.GroupedMetadata) else (rule,):
                if (wrong := _broken(got, single)) is not None:
                    raise RequestError(f"{name} must be {wrong}, not {_short(got)}", field=name)


_COMPARISONS: tuple[tuple[type, str, Callable[[Any, Any], bool], str], ...] = (
    (at.Ge, "ge", operator.ge, "at least"),
    (at.Gt, "gt", operator.gt, "more than"),
    (at.Le, "le", operator.le, "at most"),
    (at.Lt, "lt", operator.lt, "less than"),
)


def _broken(got: Any, rule: Any) -> str | None:
    for kind, name, fine, words in _COMPARISONS:
        if isinstance(rule, kind):
            bound = getattr(rule, name)
            return None if fine(got, bound) else f"{words} {bound}"
    if isinstance(rule, at.MinLen) and len(got) < rule.min_length:
        return "set" if rule.min_length == 1 else f"at least {rule.min_length} long"
    if isinstance(rule, at.MaxLen) and len(got) > rule.max_length:
        return f"at most {rule.max_length} long"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
