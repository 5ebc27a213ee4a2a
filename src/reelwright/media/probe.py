"""What a media file is, read from its headers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from reelwright.errors import MediaError, MissingAsset, TooLarge
from reelwright.media import webp

MAX_PIXELS = 8192 * 8192
"""Pixels per picture that are opened at most; a header may promise any size, and memory is paid for before a frame is seen."""

# Only these are opened: playlists (hls, dash, concat) would read other files and addresses, and some rarely used
# demuxers are where FFmpeg's vulnerabilities live.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,gif,apng,webp,webp_anim,asf,mxf,ivf,nut,m4v,h264,hevc,"
    "obu,av1,wav,flac,mp3,aac,aiff,caf,w64,dv,mpegvideo,yuv4mpegpipe"
)
STANDARD = [Fraction(n) for n in (1, 2, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)] + [
    Fraction(n, 1001) for n in (24000, 30000, 60000, 120000)
]
"""Rates that people use, whole ones first."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm"})
"""Endings of still pictures."""
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Probe:
    """What a file holds.

    `width`, `height` in px as shown (turned upright, square pixels); None without pictures. `fps` is the constant rate
    at which the file is read. `seconds` of the longest stream, None if the headers do not say.
    """

    container: str
    seconds: float | None
    size: int
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    frames: int | None = None
    pixel_format: str | None = None
    rotation: int = 0
    variable_rate: bool = False
    hdr: str | None = None
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None
    metadata: dict[str, str] | None = None

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        facts = asdict(self)
        facts["fps"] = str(self.fps) if self.fps else None
        return facts


def existing(path: Path) -> Path:
    """The path of a file with something in it; raises MissingAsset or MediaError."""
    if path.is_dir():
        raise MediaError(f"{path.name} is a folder, not a media file", file=path.name)
    if not path.exists():
        raise MissingAsset(f"there is no file {path.name}", hint="Check the path.", file=path.name)
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes)", hint="Copy or export it again.", file=path.name)
    return path


@contextmanager
def reading(path: Path) -> Iterator[InputContainer]:
    """The file opened for reading; what FFmpeg cannot read becomes a MediaError."""
    existing(path)
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        # "file:" keeps a colon in a name from being read as a protocol
        container = av.open(f"file:{path}", "r", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        damaged = "It may be damaged, cut off, or have the wrong name; try to play it, then export it again."
        raise MediaError(
            f"{path.name} is not a video or sound file that can be read",
            hint="A still picture is used as an image, not as a clip." if path.suffix.lower() in PICTURES else damaged,
            file=path.name,
            cause=str(error).split(":")[0],
        ) from error
    try:
        yield container
    finally:
        container.close()


def picture_stream(container: InputContainer) -> VideoStream | None:
    """The video stream, cover pictures left out; None too if FFmpeg does not know its codec."""
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first sound stream whose codec FFmpeg knows."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def steady_rate(stream: VideoStream) -> tuple[Fraction, bool]:
    """The constant rate at which a stream is read, and whether it was variable before."""
    bare = stream.duration is None and stream.start_time is None  # no times at all; FFmpeg then calls everything 25 fps
    average = Fraction((not bare and stream.average_rate) or stream.guessed_rate or 25)
    base = Fraction(stream.base_rate or average)
    variable = not bare and base > average * Fraction(101, 100)
    # A recording that mostly stands still has a low average; what moves in it should not stutter.
    wanted = min(base, max(average, Fraction(30))) if variable else average
    nearest = min(STANDARD, key=lambda rate: abs(rate / wanted - 1))
    if abs(nearest / wanted - 1) < Fraction(1, 1500):
        return nearest, variable
    if variable:  # round up, so that few pictures are dropped
        return min((rate for rate in STANDARD if rate >= wanted * Fraction(98, 100)), default=Fraction(240)), True
    return max(Fraction(1), min(Fraction(240), wanted.limit_denominator(1001))), False


def upright(stream: VideoStream, turned: int) -> tuple[int, int]:
    """Width and height as shown: square pixels, turned, made even."""
    return shown(stream.codec_context.width, stream.codec_context.height, stream.sample_aspect_ratio or Fraction(1), turned)


def shown(width: int, height: int, aspect: Fraction, turned: int) -> tuple[int, int]:
    """The same from plain numbers; raises TooLarge, or MediaError if there is no size."""
    if width < 2 or height < 2:
        raise MediaError(f"its pictures have no usable size ({width}x{height})", hint="It may be damaged; export it again.")
    if width * height > MAX_PIXELS:
        raise TooLarge(
            f"its pictures are {width}x{height}, more than {MAX_PIXELS // 10**6} megapixels",
            hint="Scale it down first.",
            width=width,
            height=height,
        )
    if Fraction(1, 4) < aspect < 4:
        width = round(width * aspect)
    width, height = max(16, (width + 1) // 2 * 2), max(16, (height + 1) // 2 * 2)
    return (height, width) if turned % 180 else (width, height)


def probe(path: Path) -> Probe:
    """What the file is; raises MissingAsset, MediaError (not a media file) or TooLarge."""
    if lengths := webp.durations(existing(path)):
        width, height = shown(*webp.size(path), Fraction(1), 0)
        rate, variable = webp.rate(lengths, STANDARD)
        frames = round(sum(lengths) * rate / 1000)
        return Probe(
            "webp", sum(lengths) / 1000, path.stat().st_size, "webp", width, height, rate, frames, variable_rate=variable
        )
    with reading(path) as container:
        picture = picture_stream(container)
        sound = sound_stream(container)
        seconds = container.duration / av.time_base if container.duration else None
        facts: dict[str, Any] = {"metadata": dict(container.metadata)}
        if picture is not None:
            turned = first_rotation(path)
            rate, variable = steady_rate(picture)
            width, height = upright(picture, turned)
            context = picture.codec_context
            facts |= {"codec": context.name, "width": width, "height": height, "fps": rate, "rotation": turned}
            facts |= {"pixel_format": context.pix_fmt, "variable_rate": variable, "hdr": _HDR.get(context.color_trc)}
            facts["frames"] = round(seconds * rate) if seconds else picture.frames or None
        if sound is not None:
            heard = sound.codec_context
            facts |= {"audio_codec": heard.name, "audio_rate": heard.sample_rate, "audio_channels": heard.channels}
        if picture is None and sound is None:
            raise MediaError(f"{path.name} has neither pictures nor sound", hint="It may be damaged or cut off.", file=path.name)
        return Probe(container.format.name, seconds, path.stat().st_size, **facts)


def first_rotation(path: Path) -> int:
    """Degrees clockwise by which the first picture must be turned; 0 if it cannot be decoded.

    Raises TooLarge before it decodes anything.
    """
    with reading(path) as container:
        stream = picture_stream(container)
        if stream is None:
            return 0
        upright(stream, 0)
        try:
            for frame in container.decode(stream):
                return round(-frame.rotation / 90) * 90 % 360
        except av.error.FFmpegError:
            pass
        return 0
