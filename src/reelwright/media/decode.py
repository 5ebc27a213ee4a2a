"""Files become videos: any container, turned upright, at a constant rate, in planes.

A file with a variable rate is read on a steady grid: each picture stands at the nearest grid time and is held until
the next one. Colours of other matrices, ranges and depths are brought to BT.709, limited range, 8 bit; HDR is tone-mapped.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from reelwright.errors import MediaError, RequestError, TooLarge
from reelwright.media import sound, webp
from reelwright.media.probe import (
    MAX_PIXELS,
    PICTURES,
    STANDARD,
    existing,
    first_rotation,
    picture_stream,
    reading,
    shown,
    sound_stream,
    steady_rate,
    upright,
)
from reelwright.media.tonemap import TRANSFERS, ToneMap
from reelwright.types import Chunk, Frame, Plane, Video, VideoSpec

_TURN = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def open_video(path: Path, *, fps: Fraction | None = None, audio: bool = True) -> Video:
    """The file as a video at `fps` (its own steady rate by default), with its sound unless `audio` is False.

    Raises MissingAsset, MediaError (not a video, empty, cut off) or TooLarge. A break in the middle of the file raises
    MediaError when it is reached; trimming to what lies before it works.
    """
    if lengths := webp.durations(existing(path)):
        own, _ = webp.rate(lengths, STANDARD)
        rate = fps or own
        width, height = shown(*webp.size(path), Fraction(1), 0)
        spec = VideoSpec(width, height, rate, max(1, round(sum(lengths) * rate / 1000)))
        return Video(spec, _WebpFrames(path, spec, lengths), source=path if rate == own else None)
    turned = first_rotation(path)
    with reading(path) as container:
        stream = picture_stream(container)
        if stream is None:
            hint = "It holds sound only; use it as a sound track." if sound_stream(container) else "It may be damaged or cut off."
            raise MediaError(f"{path.name} has no pictures", hint=hint, file=path.name)
        own, _ = steady_rate(stream)
        width, height = upright(stream, turned)
        rate = fps or own
        frames = max(1, round(_seconds(container, stream, own) * rate))
        sounding = sound_stream(container) is not None
        heard = audio and sounding
    spec = VideoSpec(width, height, rate, frames, heard)
    samples = sound.fit(sound.decode(path), spec.samples) if heard else None
    same = path if rate == own and heard == sounding else None
    return Video(spec, DecodedFrames(path, spec, turned), samples, source=same)


def _seconds(container: InputContainer, stream: VideoStream, rate: Fraction) -> Fraction:
    """How long the pictures last: as the headers say, else by the packets, of which only the last few are read if that works."""
    base = stream.time_base or Fraction(1, av.time_base)
    if stream.duration:
        return stream.duration * base
    told = Fraction(container.duration or 0, av.time_base)
    origin = (stream.start_time or 0) * base
    end = None
    if told > 10:
        with contextlib.suppress(av.error.FFmpegError):
            container.seek(int((told - 5) * av.time_base))
            end, _ = _end(container, stream)
            if told - (end or 0) > 6:
                end = None
        if end is None:
            container.seek(0)
    if end is None:
        end, last = _end(container, stream)
        if end is None:  # packets without times, as in a bare stream
            return last / rate
        if told - last > max(Fraction(2), told / 20):  # nothing in the file reaches to where it says that it ends: it breaks off
            return told
    return end - origin


def _end(container: InputContainer, stream: VideoStream) -> tuple[Fraction | None, Fraction]:
    """Where the last picture ends, in seconds (None: not told), and where anything does; else how many pictures there are."""
    ends: dict[int, Fraction] = {}
    count = 0
    for packet in _packets(container):
        count += packet.stream_index == stream.index and packet.size > 0
        if packet.pts is not None and packet.time_base:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            ends[packet.stream_index] = max(end, ends.get(packet.stream_index, end))
    told = ends.get(stream.index)
    return told, max(ends.values()) if told is not None else Fraction(count)


class DecodedFrames(Iterator[Frame]):
    """A file's pictures on a steady grid; opened on the first one, closed after the last."""

    def __init__(self, path: Path, spec: VideoSpec, turned: int) -> None:
        self._path, self._spec, self._turned = path, spec, turned
        self._next = 0
        self._pictures: Iterator[_Timed] | None = None
        self._ahead: _Timed | None = None
        self._now: Frame | None = None
        self._at = self._until = Fraction(0)  # when the picture `_now` starts and ends, in frames
        self._closed = False
        self._tone: ToneMap | None = None

    def skip(self, count: int) -> None:
        """Pass over frames; before the first one this seeks, later on it decodes and throws away."""
        self._next += count

    def __next__(self) -> Frame:
        if self._closed or self._next >= self._spec.frames:
            self.close()
            raise StopIteration
        if self._pictures is None:
            self._pictures = self._read(self._next)
            self._ahead = next(self._pictures, None)
        index, self._next = self._next, self._next + 1
        picture = None
        while self._due(index, started=self._now is not None or picture is not None):
            assert self._ahead is not None
            self._at, self._until, picture = self._ahead
            self._ahead = next(self._pictures, None)
        if picture is not None:
            self._now = self._frame(picture)
        if self._now is None:
            raise MediaError(f"no picture of {self._path.name} can be decoded", hint="The file is damaged.", file=self._path.name)
        if self._ahead is None:
            self._check_end(index)
        return self._now if self._due(index + 1) else self._now.copy()

    def _due(self, index: int, *, started: bool = True) -> bool:
        """Whether the picture ahead is the one to show at `index`, or is past already."""
        if self._ahead is None:
            return False
        if not started or self._ahead[0] <= index:
            return True
        return self._ahead[0] < index + Fraction(1, 2) and self._ahead[0] - index < abs(self._at - index)

    def _check_end(self, index: int) -> None:
        """A file may end a little before its header says; a file that breaks off far before it is damaged."""
        missing = index - self._until
        if missing > max(2 * self._spec.fps, Fraction(5, 100) * self._spec.frames):
            reached, whole = float(self._until / self._spec.fps), float(self._spec.seconds)
            raise MediaError(
                f"{self._path.name} breaks off after {reached:.1f} of {whole:.1f} seconds",
                hint=f"Keep what is there with `reel trim FILE --to {max(0.1, reached - 0.1):.1f}`.",
                file=self._path.name,
                seconds=reached,
            )

    def _read(self, start: int) -> Iterator[_Timed]:
        """The pictures from `start` on, or from a little before it."""
        for back in (1, 10, 0):  # seconds before the start (0: from the beginning); some indexes are off by a few frames or more
            seek = back > 0 and start > back * self._spec.fps
            with reading(self._path) as container:
                stream = picture_stream(container)
                assert stream is not None
                stream.thread_type = "AUTO"
                base = stream.time_base or Fraction(1, av.time_base)
                origin = stream.start_time or 0
                unit = base * self._spec.fps
                if seek:
                    try:
                        container.seek(origin + int((start - back * self._spec.fps) / unit), stream=stream)
                    except av.error.FFmpegError:
                        continue
                pictures = _decoded(container, stream)
                first = next(pictures, None)
                if seek and (first is None or first.pts is None or (first.pts - origin) * unit > start):
                    continue
                at = until = Fraction(0)
                for picture in itertools.chain((first,) if first is not None else (), pictures):
                    at = until if picture.pts is None else max(Fraction(0), (picture.pts - origin) * unit)
                    until = at + (picture.duration * unit if picture.duration else 1)
                    yield at, until, picture
                return

    def _frame(self, picture: av.VideoFrame) -> Frame:
        if picture.color_trc in TRANSFERS:
            self._tone = self._tone or ToneMap(picture.color_trc)
            picture = self._tone(picture)
        sideways = self._turned % 180 != 0
        width, height = (self._spec.height, self._spec.width) if sideways else (self._spec.width, self._spec.height)
        frame = as_planes(picture, width, height)
        return turned(frame, self._turned) if self._turned else frame

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        close = getattr(self._pictures, "close", None)
        if close is not None:
            close()
        self._now = self._ahead = self._tone = None


class _WebpFrames(DecodedFrames):
    """The same for an animated WebP with pictures of these `lengths` in ms."""

    def __init__(self, path: Path, spec: VideoSpec, lengths: Sequence[int]) -> None:
        super().__init__(path, spec, 0)
        self._ends = [end * spec.fps / 1000 for end in itertools.accumulate(lengths)]

    def _read(self, start: int) -> Iterator[_Timed]:  # noqa: ARG002  there is nothing to seek by
        return zip((Fraction(0), *self._ends), self._ends, webp.pictures(self._path), strict=False)


_Timed = tuple[Fraction, Fraction, av.VideoFrame]
"""A picture with the times at which it starts and ends, in frames."""


def _packets(container: InputContainer, *streams: VideoStream) -> Iterator[Packet[Stream]]:
    """The packets of these streams (all by default), up to where the file breaks off, if it does."""
    packets = container.demux(*streams)
    with contextlib.suppress(av.error.FFmpegError):
        yield from packets


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """The stream's pictures; damaged packets are passed over, as players do."""
    for packet in itertools.chain(_packets(container, stream), (None,)):
        with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):
            yield from stream.decode(packet if packet is not None and packet.size else None)


def as_planes(picture: av.VideoFrame, width: int, height: int) -> Frame:
    """A decoded picture as BT.709 limited-range planes of the given even size."""
    if _has_alpha(picture.format.name):
        picture = _over_black(picture)
    exact = (picture.width, picture.height) == (width, height)
    if picture.width % 2 or picture.height % 2:  # repeat the odd edge instead of scaling everything by half a pixel
        rgb = np.asarray(picture.reformat(format="rgb24", src_colorspace=_matrix(picture)).to_ndarray(), np.uint8)
        even = Frame.of(rgb)
        return even if (even.width, even.height) == (width, height) else _scaled(even, width, height)
    limited = picture.color_range != ColorRange.JPEG and not picture.format.name.startswith("yuvj") and not picture.format.is_rgb
    if exact and picture.format.name == "yuv420p" and limited and _matrix(picture) == Colorspace.ITU709:
        return Frame(np.asarray(picture.to_ndarray(), np.uint8))
    made = picture.reformat(
        width=width,
        height=height,
        format="yuv420p",
        src_colorspace=_matrix(picture),
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG if limited else ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation="BICUBIC",
    )
    return Frame(np.asarray(made.to_ndarray(), np.uint8))


@cache
def _has_alpha(pixel_format: str) -> bool:
    described = av.VideoFormat(pixel_format)
    return described.has_palette or any(component.is_alpha for component in described.components)


def _over_black(picture: av.VideoFrame) -> av.VideoFrame:
    """Transparent pictures stand on black, as in players."""
    rgba = np.asarray(picture.reformat(format="rgba", src_colorspace=_matrix(picture)).to_ndarray(), np.uint8)
    alpha = rgba[..., 3:]
    return av.VideoFrame.from_ndarray((rgba[..., :3].astype(np.uint16) * alpha // 255).astype(np.uint8), format="rgb24")


def _matrix(picture: av.VideoFrame) -> Colorspace:
    """The matrix that the pixels were made with; untagged pictures follow their size, as players guess it."""
    by_number = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
    by_number |= {9: Colorspace.BT2020, 10: Colorspace.BT2020}
    guess = Colorspace.ITU709 if picture.height >= 720 or picture.width >= 1280 else Colorspace.ITU601
    return by_number.get(picture.colorspace, guess)


def _scaled(frame: Frame, width: int, height: int) -> Frame:
    made = Frame.empty(width, height)
    for plane, out in zip(frame.planes, made.planes, strict=True):
        cv2.resize(plane, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_CUBIC)
    return made


def turned(frame: Frame, degrees: int) -> Frame:
    """The frame turned clockwise by 90, 180 or 270 degrees."""
    swap = degrees % 180 != 0
    made = Frame.empty(frame.height, frame.width) if swap else Frame.empty(frame.width, frame.height)
    for plane, out in zip(frame.planes, made.planes, strict=True):
        cv2.rotate(plane, _TURN[degrees], dst=out)
    return made


def read_still(path: Path) -> Plane:
    """A picture file as sRGB of shape (h, w, 3), turned upright, transparency on black.

    Raises MissingAsset, MediaError or TooLarge (more than MAX_PIXELS).
    """
    from PIL import Image, ImageOps

    existing(path)
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooLarge(
                    f"{path.name} is {image.width}x{image.height}, more than {MAX_PIXELS // 10**6} megapixels",
                    hint="Scale it down first.",
                )
            image.load()
            upright_image = ImageOps.exif_transpose(image)
            if upright_image.mode in ("RGBA", "LA", "PA") or "transparency" in upright_image.info:
                over = Image.new("RGBA", upright_image.size, (0, 0, 0, 255))
                upright_image = Image.alpha_composite(over, upright_image.convert("RGBA"))
            return np.asarray(upright_image.convert("RGB"), np.uint8)
    except TooLarge:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"{path.name} unpacks to far more pixels than is reasonable", hint="Scale it down first.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(
            f"{path.name} is not a picture that can be read", hint="Use PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF.", file=path.name
        ) from error


def first_frame(path: Path) -> Plane:
    """The picture itself, or a video's first frame, as sRGB."""
    if path.suffix.lower() in PICTURES:
        return read_still(path)
    with open_video(path, audio=False) as video:
        return next(video.frames).rgb


def spread(path: Path, count: int) -> list[Frame]:
    """So many frames of a video (2 or more), evenly spread from its first to its last."""
    with open_video(path, audio=False) as video:
        wanted = {round(index * (video.spec.frames - 1) / (count - 1)) for index in range(count)}
        return [frame.copy() for number, frame in enumerate(video.frames) if number in wanted]


def keep_rate(fps: float | str | Fraction) -> Fraction:
    """A rate as a fraction: 29.97 and 23.976 become 30000/1001 and 24000/1001. Raises RequestError outside 1..240."""
    rate = Fraction(str(fps)) if not isinstance(fps, Fraction) else fps
    for base in (24, 30, 48, 60, 120):
        ntsc = Fraction(base * 1000, 1001)
        if abs(rate / ntsc - 1) < Fraction(1, 5000) and rate != base:
            return ntsc
    if not 1 <= rate <= 240:
        raise RequestError(f"fps must lie between 1 and 240, not {float(rate):g}", field="fps")
    return rate.limit_denominator(1001)


def spoken(video: Video) -> Iterator[Chunk]:
    """The video's sound, or silence of its length."""
    return video.samples if video.samples is not None else sound.silence(video.spec.samples)
