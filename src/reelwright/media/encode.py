"""Videos become files. The encoder works in a thread of its own behind a short queue; a file appears whole or not at all."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from reelwright.errors import Unsupported
from reelwright.media.partial import whole
from reelwright.types import SAMPLE_RATE, Chunk, Frame, Video, VideoSpec, hold

_BACKLOG = 4
_TAGS = 1  # BT.709 in FFmpeg's numbering of matrix, primaries and transfer; also MPEG (limited) range


@dataclass(frozen=True)
class Codec:
    """One way to write pictures: FFmpeg's encoder, its pixel format, the file endings it is for, its options.

    `encoders`: tried in order when hardware is wanted, the last one is software. `crf`: quality at equal sight for
    `quality="normal"`; None where the encoder has no such dial. `audio`: encoder of the sound beside it, or None.
    """

    name: str
    encoders: tuple[str, ...]
    endings: tuple[str, ...]
    pixel_format: str = "yuv420p"
    crf: int | None = None
    audio: str | None = "aac"
    options: Mapping[str, str] = field(default_factory=dict)


def _hardware(family: str) -> tuple[str, ...]:
    return f"{family}_nvenc", f"{family}_qsv", f"{family}_amf"


CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("h264", (*_hardware("h264"), "h264_videotoolbox", "libx264"), (".mp4", ".mov", ".m4v", ".mkv"), crf=20),
        Codec("h265", (*_hardware("hevc"), "hevc_videotoolbox", "libx265"), (".mp4", ".mov", ".mkv"), crf=24,
              options={"preset": "fast", "x265-params": "log-level=error"}),
        Codec("av1", (*_hardware("av1"), "libsvtav1"), (".mp4", ".mkv", ".webm"), crf=32, options={"preset": "9"}),
        Codec("vp9", ("libvpx-vp9",), (".webm", ".mkv"), crf=32, audio="libopus",
              options={"deadline": "realtime", "cpu-used": "6", "row-mt": "1", "b": "0"}),
        Codec("prores", ("prores_ks",), (".mov",), pixel_format="yuv422p10le", audio="pcm_s16le", options={"profile": "2"}),
        Codec("gif", ("gif",), (".gif",), pixel_format="pal8", audio=None),
        Codec("webp", ("libwebp_anim",), (".webp",), audio=None, options={"loop": "0", "quality": "75"}),
    )
}  # fmt: skip
"""Every codec by name; the first one whose endings fit a file is its default."""

_X264 = {
    # Camera moves live on sub-pixel motion search (subme), the one thing that x264's `ultrafast` leaves out. With it, B
    # frames, CABAC and the 8x8 transform it comes near `veryfast` at half its time. What a move shows stays in sight for
    # long, so key frames get many of the bits and B frames few (ipratio, pbratio): more SSIM at no more CPU, on our stills. Each
    # segment's rate buffer begins less than half full, or films of many segments would exceed their bitrate.
    "drawn": {
        "preset": "ultrafast",
        "x264-params": "subme=1:bframes=3:b-adapt=0:cabac=1:8x8dct=1:no-deblock=0:deblock=-1,-1:scenecut=0:direct=temporal:"
        "weightp=1:partitions=i8x8,i4x4:ipratio=2:pbratio=1.8:aq-mode=1:aq-strength=0.5:vbv-init=0.4",
    },
    "filmed": {"preset": "faster", "x264-params": "scenecut=40"},
}


@dataclass(frozen=True)
class Encoding:
    """How a video is written.

    `codec`: a name of CODECS; by the file's ending if None. `bitrate`: kbit/s; with `rate` "capped" (default) quality
    leads and this is its ceiling, with "average" it is met exactly; None leaves quality alone in charge. `speed`:
    "drawn" for camera moves and graphics, "filmed" for models' pictures, or a preset of x264. `hardware`: use the
    machine's video encoder where there is one. `audio_bitrate`: kbit/s. `threads`: None picks by size and cores. `crf`: the
    encoder's quality dial, lower is better; None takes the codec's.
    """

    codec: str | None = None
    bitrate: Annotated[int, at.Interval(ge=50, le=400_000)] | None = None
    rate: Literal["capped", "average"] = "capped"
    speed: str = "drawn"
    hardware: bool = False
    audio_bitrate: Annotated[int, at.Interval(ge=16, le=512)] = 192
    threads: Annotated[int, at.Interval(ge=1, le=64)] | None = None
    crf: Annotated[int, at.Interval(ge=0, le=63)] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hold(self)
        if self.codec is not None and self.codec not in CODECS:
            raise Unsupported(f"there is no codec {self.codec!r}", hint=f"Choose one of {', '.join(CODECS)}.", field="codec")

    def codec_for(self, path: Path) -> Codec:
        """The codec of a file of this name; raises Unsupported if it cannot hold it."""
        ending = path.suffix.lower()
        fitting = [codec for codec in CODECS.values() if ending in codec.endings]
        if ending == ".webm" and self.codec is None:
            fitting = [CODECS["vp9"]]
        if not fitting:
            endings = sorted({known for codec in CODECS.values() for known in codec.endings})
            raise Unsupported(
                f"no video can be written to a {ending or 'nameless'} file", hint=f"Use one of {', '.join(endings)}."
            )
        if self.codec is None:
            return fitting[0]
        if CODECS[self.codec] not in fitting:
            raise Unsupported(
                f"{self.codec} does not go into a {ending} file", hint=f"Use {' or '.join(CODECS[self.codec].endings)}."
            )
        codec = CODECS[self.codec]
        return replace(codec, audio="libopus") if ending == ".webm" else codec


Step = Callable[[int, int], None]
"""Called after each frame with (done, total); may raise to stop."""


def save(video: Video, path: Path, encoding: Encoding | None = None, step: Step | None = None) -> tuple[str, ...]:
    """Write the video to `path` and close it; returns notes.

    What is unchanged since it was opened is copied without encoding it again, if the file's kind allows and no codec,
    bitrate was asked for; metadata is added. Raises Unsupported, RequestError (folder), DiskFull, and whatever the video
    raises; in every case nothing is left under `path` that was not there before.
    """
    from reelwright.media.copying import copy_whole

    encoding = encoding or Encoding()
    try:
        codec = encoding.codec_for(path)
        if (
            video.source is not None
            and encoding.codec is None
            and encoding.bitrate is None
            and copy_whole(video.source, path, encoding)
        ):
            return ()
        with whole(path) as part:
            return _encode(video, part, codec, encoding, step)
    finally:
        video.close()


def _encode(video: Video, part: Path, codec: Codec, encoding: Encoding, step: Step | None) -> tuple[str, ...]:
    work: queue.Queue[Frame | None] = queue.Queue(_BACKLOG)
    writer = _Writer(video, part, codec, encoding, work)
    writer.start()
    try:
        for index, frame in enumerate(video.frames, 1):
            if not writer.offer(frame):
                break
            if step is not None:
                step(index, video.spec.frames)
        writer.offer(None)
    except BaseException:
        writer.stop()
        raise
    writer.join()
    if writer.failure is not None:
        raise writer.failure
    return tuple(writer.notes)


class _Writer(threading.Thread):
    """Takes frames from the queue, pulls the sound that belongs to them, encodes and muxes both."""

    def __init__(self, video: Video, path: Path, codec: Codec, encoding: Encoding, work: queue.Queue[Frame | None]) -> None:
        super().__init__(name="encoder", daemon=True)
        self.failure: BaseException | None = None
        self.notes: list[str] = []
        self._video, self._path, self._codec, self._encoding, self._work = video, path, codec, encoding, work
        self._stopped = threading.Event()

    def offer(self, frame: Frame | None) -> bool:
        """Hand over a frame, or None for the end; False if the encoder has given up."""
        while self.failure is None:
            try:
                self._work.put(frame, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def stop(self) -> None:
        """Give up and wait until files are closed."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        try:
            with writing(self._path) as output:
                self._write(output)
        except BaseException as error:  # noqa: BLE001  it is raised again in the thread that waits
            self.failure = error

    def _frames(self) -> Iterator[Frame]:
        while not self._stopped.is_set():
            try:
                frame = self._work.get(timeout=0.1)
            except queue.Empty:
                continue
            if frame is None:
                return
            yield frame

    def _write(self, output: OutputContainer) -> None:
        spec = self._video.spec
        output.metadata.update(self._encoding.metadata)
        stream = picture_stream(output, spec, self._codec, self._encoding, self.notes)
        sound = None
        if self._video.samples is not None and self._codec.audio is not None:
            sound = SoundTrack(output, self._codec.audio, self._encoding.audio_bitrate, self._video.samples)
        elif self._video.samples is not None:
            self.notes.append(f"{self._codec.name} files have no sound; it was left out.")
        if self._codec.name == "gif":
            pictures = _paletted(self._frames(), spec)
        else:
            pictures = map(_as_601 if self._codec.name == "webp" else _plain, self._frames())
        for index, picture in enumerate(pictures):
            picture.pts, picture.time_base = index, 1 / spec.fps
            output.mux(stream.encode(picture))
            if sound is not None:
                sound.until((index + 1) / spec.fps)
        if not self._stopped.is_set():
            output.mux(stream.encode(None))
            if sound is not None:
                sound.finish()


def _plain(frame: Frame) -> av.VideoFrame:
    picture = frame.picture
    picture.colorspace, picture.color_range = _TAGS, _TAGS
    return picture


def _as_601(frame: Frame) -> av.VideoFrame:
    """WebP knows no tags: its pictures are always BT.601."""
    return _plain(frame).reformat(
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )


def writing(path: Path) -> OutputContainer:
    """A file opened for writing, of the kind that its ending says."""
    ending = path.suffix.lower()
    options = {"movflags": "+faststart"} if ending in (".mp4", ".mov", ".m4v") else {}
    if ending in (".mkv", ".webm"):  # they get a random number otherwise, and the same film would be other bytes each time
        options["fflags"] = "+bitexact"
    # "file:" keeps a colon in a name from being read as a protocol
    return av.open(f"file:{path}", "w", format="mp4" if ending == ".m4v" else None, options=options)


class SoundTrack:
    """The sound stream of a file that is being written."""

    def __init__(self, output: OutputContainer, encoder: str, bitrate: int, samples: Iterator[Chunk]) -> None:
        self._output, self._samples, self._done = output, samples, 0
        self._stream: AudioStream = output.add_stream(encoder, rate=SAMPLE_RATE)  # type: ignore[assignment]  # named by variable
        self._stream.codec_context.layout = "stereo"
        if not encoder.startswith("pcm"):
            self._stream.codec_context.bit_rate = bitrate * 1000

    def until(self, seconds: Fraction) -> None:
        """Write what belongs before this time."""
        while self._done < seconds * SAMPLE_RATE:
            chunk = next(self._samples, None)
            if chunk is None:
                return
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk.T, np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._done, Fraction(1, SAMPLE_RATE)
            self._done += len(chunk)
            self._output.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the rest."""
        self.until(Fraction(1 << 62))
        self._output.mux(self._stream.encode(None))


def picture_stream(output: OutputContainer, spec: VideoSpec, codec: Codec, encoding: Encoding, notes: list[str]) -> VideoStream:
    """The video stream of a file that is being written, its encoder chosen and opened."""
    encoders = codec.encoders if encoding.hardware else codec.encoders[-1:]
    encoder = next(name for name in encoders if name == encoders[-1] or opens(name, spec))
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # it would write its settings to the terminal
    if encoding.hardware and encoder == codec.encoders[-1] and len(codec.encoders) > 1:
        notes.append(f"No hardware encoder for {codec.name} works here; {encoder} was used.")
    # The dimensions' rate is given twice on purpose: the stream's for players, the encoder's for its rate control.
    stream: VideoStream = output.add_stream(encoder, rate=spec.fps, options=_options(encoder, codec, encoding, spec))  # type: ignore[assignment]  # named by variable
    stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, codec.pixel_format
    context = stream.codec_context
    context.time_base = 1 / spec.fps
    context.colorspace = context.color_primaries = context.color_trc = context.color_range = _TAGS
    if codec.name == "gif":
        return stream
    context.gop_size = max(1, round(2 * spec.fps))
    context.thread_type = "FRAME"
    context.thread_count = encoding.threads or default_threads(spec)
    if encoding.rate == "average" and encoding.bitrate:
        context.bit_rate = encoding.bitrate * 1000
    if codec.name == "h265":
        context.codec_tag = "hvc1"  # the only tag that Apple's players take
    try:
        context.open()
    except (av.error.FFmpegError, ValueError) as error:
        raise Unsupported(
            f"{encoder} cannot write {spec.width}x{spec.height} at {float(spec.fps):g} fps", hint="Use another size or codec."
        ) from error
    return stream


def default_threads(spec: VideoSpec) -> int:
    """Encoder threads: one and a half a core; at most 8 above 1080p, where each holds frames (32 threads: 2.6 GB at 4K)."""
    return min(8 if spec.width * spec.height > 1920 * 1088 else 16, max(1, (os.cpu_count() or 2) * 3 // 2))


def _options(encoder: str, codec: Codec, encoding: Encoding, spec: VideoSpec) -> dict[str, str]:
    options = dict(codec.options)
    capped = encoding.bitrate if encoding.rate == "capped" else None
    if encoder == "libx264":
        options |= _X264.get(encoding.speed, {"preset": encoding.speed})
    if encoder in ("libx264", "libx265", "libsvtav1", "libvpx-vp9") and encoding.rate == "capped":
        options["crf"] = str(codec.crf if encoding.crf is None else encoding.crf)
    if encoder == "libx265":
        options["x265-params"] += f":keyint={round(2 * spec.fps)}:open-gop=0"
        if spec.frames < 8:  # with fewer pictures than it looks ahead, x265 gives some of them no decoding time
            options["x265-params"] += ":bframes=0"
    if capped and encoder in ("libx264", "libx265"):
        options |= {"maxrate": f"{capped}k", "bufsize": f"{2 * capped}k"}
    elif capped and encoder != "libwebp_anim":
        options["maxrate" if "nvenc" in encoder else "b"] = f"{capped}k"
    return options


def opens(encoder: str, spec: VideoSpec) -> bool:
    """Whether an encoder can be opened on this machine for pictures of this size."""
    try:
        context: Any = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt = spec.width, spec.height, "yuv420p"
        context.framerate, context.time_base = spec.fps, 1 / spec.fps
        with av.logging.Capture():
            context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _paletted(frames: Iterator[Frame], spec: VideoSpec) -> Iterator[av.VideoFrame]:
    """GIF has 256 colours a picture: each gets a palette of its own, so that nothing has to be kept."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=spec.width, height=spec.height, format=av.VideoFormat("yuv420p"), time_base=1 / spec.fps)
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, sink = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, frame in enumerate(frames):
        picture = _plain(frame)
        picture.pts, picture.time_base = index, 1 / spec.fps
        graph.push(picture)
        made = graph.pull()
        assert isinstance(made, av.VideoFrame)
        yield made
