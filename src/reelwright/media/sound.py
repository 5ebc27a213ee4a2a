"""Sound from files and to files: decode, change speed, limit, draw and save it, a short piece at a time.

Every stream is an `Iterator[Chunk]` (float32, shape (n, 2), SAMPLE_RATE). An hour of sound never sits in memory; closing a
stream closes what it reads from. What `mixing` does is offered from here too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from reelwright.errors import MediaError, MissingAsset, RequestError, Unsupported
from reelwright.media.mixing import Source, close, crossfade, cut, delay, duck, fade, fit, gain, loop, mix, silence
from reelwright.media.partial import whole
from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk, Plane

__all__ = [
    "Source",
    "close",
    "crossfade",
    "decode",
    "delay",
    "duck",
    "duration",
    "fade",
    "fit",
    "gain",
    "limit",
    "loop",
    "mix",
    "retime",
    "save",
    "silence",
    "through",
    "waveform",
]

_PREROLL = 0.5  # seconds decoded ahead of a seek's target: MP3 and Opus need earlier packets to be exact
_HOLE = 0.04  # seconds that timestamps may stray from the samples' count before silence is put in
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")  # would make FFmpeg open other files and addresses
_CODECS = {
    ".wav": ("pcm_s24le", 0),
    ".flac": ("flac", 0),
    ".m4a": ("aac", 192_000),
    ".mp3": ("libmp3lame", 192_000),
    ".ogg": ("libopus", 160_000),
    ".opus": ("libopus", 160_000),
}
_OPTIONS = {".m4a": {"movflags": "+faststart"}}  # the index first, so that a player can start before it has all


def decode(path: Path, start: float = 0.0, seconds: float | None = None) -> Iterator[Chunk]:
    """The sound of a file, of any container and codec that FFmpeg reads; of a video, its sound.

    Starts `start` seconds in (>= 0, exact to the sample) and gives `seconds` of it (None: to the end). Second 0 is the first
    real sample (an encoder's priming is dropped) or, in a video, its first picture. Mono goes to both sides unchanged;
    surround is folded by FFmpeg's matrix (centre at -3 dB) and held under full scale by a limiter. Damaged packets are
    skipped, holes in the timestamps are silence, a file that breaks off just ends early. Fails here, not at the first
    piece: MissingAsset, MediaError (no sound, empty or unreadable), RequestError (negative times).
    """
    if start < 0 or (seconds is not None and seconds < 0):
        raise RequestError("sound cannot start or last less than 0 seconds")
    if not path.is_file():
        raise MissingAsset(f"there is no file {path.name}", hint="Check the path.")
    opened = _decode(path, round(start * SAMPLE_RATE), None if seconds is None else round(seconds * SAMPLE_RATE))
    first = next(opened)  # an empty piece that says that it could be opened; one with samples says that it is surround
    return limit(opened, 0.0) if len(first) else opened


def duration(path: Path) -> float:
    """Seconds that `decode(path)` gives, as exact as its timestamps (Matroska: 1 ms). Raises as that does."""
    close(decode(path))
    with _open(path) as container:
        stream = container.streams.best("audio")
        told = (stream.duration or 0) * float(stream.time_base or 0) if stream else 0.0
        guess = told or (container.duration or 0) / av.time_base
    start = max(0, int((guess - 1) * SAMPLE_RATE))
    tail = sum(map(len, decode(path, start / SAMPLE_RATE)))
    if not tail and start:  # the file is shorter than its header says
        start, tail = 0, sum(map(len, decode(path)))
    return (start + tail) / SAMPLE_RATE


def _open(path: Path) -> av.container.InputContainer:
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if not head or head.startswith(_PLAYLISTS):
        what = "is empty" if not head else "is a playlist, not sound"
        raise MediaError(f"{path.name} {what}", hint="Give a sound or video file such as WAV, MP3, M4A, FLAC, OGG or MP4.")
    try:
        # "file:" keeps a colon in a name from being read as a protocol
        return av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        hint = "It may be damaged or cut short; export it again as WAV, MP3 or M4A."
        raise MediaError(f"{path.name} cannot be read as sound", hint=hint) from error


def _decode(path: Path, start: int, count: int | None) -> Iterator[Chunk]:
    for seek in (True, False) if start > 2 * SAMPLE_RATE else (False,):
        with _open(path) as container:
            stream = container.streams.best("audio")
            if not isinstance(stream, av.AudioStream):
                raise MediaError(f"{path.name} has no sound", hint="Give a sound file, or a video that has a sound track.")
            origin, frames = _from(container, stream, start if seek else 0)
            first = next(frames, None)
            if first is None:
                if seek:
                    continue
                raise MediaError(f"no sound can be decoded from {path.name}", hint="Export it again as WAV, MP3 or M4A.")
            if seek and (first.pts is None or _samples(_time(first) - origin) > start):
                continue  # the seek cannot be relied on: go from the beginning
            if seek:  # begin where a sample of the source meets one of ours, so that resampling gives the same as from the start
                step = first.sample_rate // math.gcd(first.sample_rate, SAMPLE_RATE)
                early = -round((_time(first) - origin) * first.sample_rate) % step
                first = _sliced(first, early, first.samples) if early < first.samples else first
            at = _samples(_time(first) - origin)
            yield np.zeros((int(first.layout.nb_channels > 2), CHANNELS), np.float32)
            length = (container.duration or 0) / av.time_base + origin + 1
            heard = chain(silence(at - start), _sound(chain((first,), frames), length))
            yield from cut(heard, max(0, start - at), count)
            return


def _from(container: av.container.InputContainer, stream: av.AudioStream, start: int) -> tuple[float, Iterator[av.AudioFrame]]:
    """The time of second 0 in the file's own clock, and its frames from sample `start`, or somewhat before it, on."""
    stream.codec_context.thread_type = "AUTO"
    films = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    clock = next((s for s in films if s.start_time is not None), stream)
    origin = (clock.start_time or 0) * float(clock.time_base or 0)
    if start and stream.time_base:
        try:
            container.seek(int((start / SAMPLE_RATE - _PREROLL + origin) / stream.time_base), stream=stream)
        except av.FFmpegError:
            return origin, iter(())
    frames = _frames(container, stream)
    if not films and not start and (first := next(frames, None)) is not None:
        origin, frames = _time(first), chain((first,), frames)
    return origin, frames


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """What can be decoded, one frame behind: only the last frame of an MP4 may be cut to the length that the file states."""
    held: av.AudioFrame | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, ValueError):
            break  # the file breaks off here
        if packet is None:
            break
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError):
            continue
        for frame in decoded:
            if held is not None:
                yield held
            held = frame
    if held is None:
        return
    if "mp4" in container.format.name and held.time_base == Fraction(1, held.sample_rate) and 0 < held.duration < held.samples:
        held = _sliced(held, 0, held.duration)
    yield held


def _sliced(frame: av.AudioFrame, start: int, stop: int) -> av.AudioFrame:
    """The samples `start` to `stop` of a frame; all of it where PyAV cannot build such a frame (over 7 separate channels)."""
    channels, planar = frame.layout.nb_channels, frame.format.is_planar
    if planar and channels > 7:
        return frame
    wide = 1 if planar else channels
    data: Any = frame.to_ndarray()  # of whatever type the codec gives
    made = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(data[:, start * wide : stop * wide]), frame.format.name, frame.layout.name
    )
    made.sample_rate, made.time_base = frame.sample_rate, frame.time_base
    made.pts = (
        None if frame.pts is None or not frame.time_base else frame.pts + round(start / frame.sample_rate / frame.time_base)
    )
    return made


def _time(frame: av.AudioFrame) -> float:
    return float((frame.pts or 0) * (frame.time_base or 0))


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _sound(frames: Iterator[av.AudioFrame], length: float) -> Iterator[Chunk]:
    """Frames of any kind as stereo at SAMPLE_RATE. Timestamps over `length` are not believed."""
    shape: object = None
    resampler: av.AudioResampler | None = None
    clock = 0.0
    for frame in frames:
        now = _time(frame) if frame.pts is not None else clock
        hole = now - clock if shape is not None else 0.0
        if shape is None or abs(hole) > _HOLE:
            clock = now
        changed = shape != (shape := (frame.format.name, frame.layout.name, frame.sample_rate))
        if resampler is not None and (changed or hole > _HOLE):
            yield from map(_stereo, resampler.resample(None))
            resampler = None
        if hole > _HOLE and now < length:
            yield from silence(_samples(hole))
        if resampler is None:
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            resampler = av.AudioResampler("flt", layout, SAMPLE_RATE)
        clock += frame.samples / frame.sample_rate
        yield from map(_stereo, resampler.resample(frame))
    if resampler is not None:
        yield from map(_stereo, resampler.resample(None))


def _stereo(frame: av.AudioFrame) -> Chunk:
    data = np.asarray(frame.to_ndarray(), np.float32).reshape(-1, frame.layout.nb_channels)
    return data if data.shape[1] == CHANNELS else np.repeat(data, CHANNELS, axis=1)


def through(samples: Iterator[Chunk], *filters: tuple[str, str]) -> Iterator[av.AudioFrame]:
    """What FFmpeg's filters (name, arguments), one after another, make of a stream. Closes `samples`."""
    graph = Graph()
    clock = Fraction(1, SAMPLE_RATE)
    node = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="stereo", time_base=clock)
    source = node
    for name, arguments in (*filters, ("abuffersink", "")):
        following = graph.add(name, arguments)
        node.link_to(following)
        node = following
    graph.configure()
    at = 0
    try:
        for piece in chain(samples, (None,)):
            if piece is None:
                source.push(None)
            elif len(piece):
                source.push(_frame(piece, at))
                at += len(piece)
            while True:
                try:
                    yield graph.pull()  # type: ignore[misc]  # the sink takes sound, so it gives sound
                except (av.BlockingIOError, av.EOFError):
                    break
    finally:
        close(samples)


def _frame(piece: Chunk, at: int) -> av.AudioFrame:
    data = np.ascontiguousarray(piece, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(data, format="flt", layout="stereo")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), at
    return frame


_OUT = ("aformat", f"sample_fmts=flt:channel_layouts=stereo:sample_rates={SAMPLE_RATE}")


def retime(samples: Iterator[Chunk], factor: float) -> Iterator[Chunk]:
    """`factor` times as fast (0.5: half speed) at the same pitch; 0.02..50. Length is round(n / factor), to the sample.

    FFmpeg's atempo (WSOLA), chained so that no step leaves 0.5..2. Raises RequestError.
    """
    if not 0.02 <= factor <= 50:
        raise RequestError(f"sound can be made 0.02 to 50 times as fast, not {factor:g}")
    return samples if factor == 1 else _retimed(samples, factor)


def _retimed(samples: Iterator[Chunk], factor: float) -> Iterator[Chunk]:
    steps = max(1, math.ceil(abs(math.log2(factor)) - 1e-9))
    taken = given = 0

    def counted() -> Iterator[Chunk]:
        nonlocal taken
        for piece in samples:
            taken += len(piece)
            yield piece

    try:
        # the last few milliseconds come out too many or too few; before the end the output never overtakes the input
        for frame in through(counted(), *[("atempo", f"{factor ** (1 / steps):.12f}")] * steps, _OUT):
            piece = _stereo(frame)[: max(0, round(taken / factor) - given)]
            given += len(piece)
            yield piece
        yield from silence(round(taken / factor) - given)
    finally:
        close(samples)


def limit(samples: Iterator[Chunk], ceiling_db: float = -1.0, true_peak: bool = False) -> Iterator[Chunk]:
    """Peaks over `ceiling_db` (dBFS, -24..0) turned down smoothly, 5 ms ahead of them; length and place stay exact.

    With `true_peak` also the peaks between samples (ITU-R BS.1770: four times the rate), at a fifth of the speed.
    """
    rule = f"limit={10 ** (min(0.0, ceiling_db) / 20) * 0.99999:.8f}:level=disabled:attack=5:release=50:latency=1"
    finer = (("aresample", str(4 * SAMPLE_RATE)), ("alimiter", rule), ("aresample", str(SAMPLE_RATE))) if true_peak else ()
    for frame in through(samples, *finer, ("alimiter", rule), _OUT):
        yield _stereo(frame)


def waveform(
    samples: Iterator[Chunk], count: int, width: int, height: int, colour: tuple[int, int, int], background: tuple[int, int, int]
) -> Plane:
    """A picture of `count` samples: peaks in a soft and RMS in the full `colour`, sRGB, shape (height, width, 3), uint8.

    Scaled so that the loudest peak nearly fills the height; missing samples are silence, a thin line. Closes `samples`.
    """
    low, high, power = np.zeros(width), np.zeros(width), np.zeros(width)
    edges = np.arange(width + 1) * count // width
    at = 0
    for piece in fit(samples, count):
        inner = edges[np.searchsorted(edges, at, side="right") : np.searchsorted(edges, at + len(piece))]
        starts = np.unique(np.concatenate([[at], inner]))
        which = np.searchsorted(edges, starts, side="right") - 1
        starts -= at
        left, right = np.ascontiguousarray(piece.T)
        low[which] = np.minimum(low[which], np.minimum.reduceat(np.minimum(left, right), starts))
        high[which] = np.maximum(high[which], np.maximum.reduceat(np.maximum(left, right), starts))
        power[which] += np.add.reduceat((left * left + right * right) / 2, starts)
        at += len(piece)
    sizes = np.diff(edges)
    rms = np.sqrt(power / np.maximum(sizes, 1))
    if count < width:  # several columns share a sample
        filled = np.maximum.accumulate(np.where(sizes > 0, np.arange(width), 0))
        low, high, rms = low[filled], high[filled], rms[filled]
    scale = 0.47 * height / max(float(max(high.max(), -low.min())), 1e-4)
    middle, line = height / 2, 0.5
    peaks = _bars(middle - np.maximum(high * scale, line), middle + np.maximum(-low * scale, line), height)
    cores = _bars(middle - rms * scale, middle + rms * scale, height)
    cover = np.maximum(0.5 * peaks, np.minimum(cores, peaks))[..., None]
    picture: Plane = np.rint(np.asarray(background) * (1 - cover) + np.asarray(colour) * cover).astype(np.uint8)
    return picture


def _bars(top: NDArray[np.float64], bottom: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """How much of each pixel a bar covers that goes from `top` to `bottom` in its column: shape (height, width), 0..1."""
    rows = np.arange(height)[:, None]
    cover: NDArray[np.float64] = np.clip(np.minimum(rows + 1, bottom) - np.maximum(rows, top), 0, 1)
    return cover


def save(samples: Iterator[Chunk], path: Path) -> None:
    """Write a stream to a WAV or FLAC (24 bit), M4A (AAC), MP3, OGG or OPUS (Opus) file, by the name's ending.

    It is written beside `path` and put in its place when it is whole; on any failure nothing is left. Peaks over full scale
    are cut off: `limit` first. Raises Unsupported, RequestError (no sound, no such folder), DiskFull. Closes `samples`.
    """
    suffix = path.suffix.lower()
    if suffix not in _CODECS:
        close(samples)
        raise Unsupported(f"sound cannot be saved as {path.name}", hint=f"Use one of {', '.join(_CODECS)}.")
    codec, rate = _CODECS[suffix]
    try:
        with whole(path) as part, av.open(f"file:{part}", "w", options=_OPTIONS.get(suffix, {})) as container:
            stream = cast("av.AudioStream", container.add_stream(codec, rate=SAMPLE_RATE, layout="stereo"))
            if rate:
                stream.bit_rate = rate
            else:
                stream.codec_context.format = "s32"  # 24 bits of it are kept; FLAC would take 16
            at = 0
            for piece in samples:
                container.mux(stream.encode(_frame(piece, at)) if len(piece) else [])
                at += len(piece)
            if not at:
                raise RequestError(
                    f"there is no sound to write to {path.name}", hint="Check that what was cut out lies within the sound."
                )
            container.mux(stream.encode(None))
    finally:
        close(samples)
