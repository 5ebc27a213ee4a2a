"""Packets moved from file to file without decoding them: whole files, cuts at key frames, films out of segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reelwright.errors import MediaError
from reelwright.media.partial import whole
from reelwright.media.probe import picture_stream, reading, sound_stream
from reelwright.types import Chunk

if TYPE_CHECKING:
    from reelwright.media.encode import Encoding

# What each kind of file may hold, by FFmpeg's codec names.
_HOLDS = {
    ".mp4": {"h264", "hevc", "av1", "vp9", "aac", "mp3", "opus", "mpeg4", "ac3", "flac"},
    ".mov": {"h264", "hevc", "prores", "aac", "pcm_s16le", "mp3", "mpeg4", "mjpeg"},
    ".webm": {"vp9", "vp8", "av1", "opus", "vorbis"},
    ".gif": {"gif"},
}
_HOLDS[".m4v"] = _HOLDS[".mp4"]


def copy_whole(source: Path, path: Path, encoding: Encoding) -> bool:
    """Copy a file's streams into a file of another (or the same) kind; False if that kind cannot hold them."""
    from reelwright.media.encode import writing

    if source.suffix.lower() == ".webp":  # FFmpeg does not read it
        return False
    with reading(source) as given:
        picture = picture_stream(given)
        streams = [stream for stream in (picture, sound_stream(given)) if stream is not None]
        if not fits(streams, path):
            return False
        try:
            with whole(path) as part, writing(part) as output:
                output.metadata.update({**_plain_tags(given.metadata), **encoding.metadata})
                copies = {stream.index: output.add_stream_from_template(stream) for stream in streams}
                for packet in _all(given, streams, source):
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
        except av.error.FFmpegError:  # such as packets without times, as in a bare stream
            return False
    return True


def fits(streams: Sequence[Stream], path: Path) -> bool:
    """Whether a file of this name can hold the streams as they are."""
    ending = path.suffix.lower()
    holds = _HOLDS.get(ending)
    return ending == ".mkv" or (holds is not None and all(stream.codec.canonical_name in holds for stream in streams))


def _all(given: InputContainer, streams: Sequence[Stream], source: Path) -> Iterator[Packet[Stream]]:
    """Every packet; raises MediaError if the file breaks off before the end that it states."""
    end = Fraction(0)
    try:
        for packet in given.demux(*streams):
            if packet.size == 0:  # the mark of the end
                continue
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            yield packet
    except av.error.FFmpegError as error:
        raise _breaks_off(source) from error
    start, length = (Fraction(value or 0, av.time_base) for value in (given.start_time, given.duration))
    if start + length - end > max(Fraction(2), length / 20):
        raise _breaks_off(source)


def _breaks_off(source: Path) -> MediaError:
    return MediaError(f"{source.name} breaks off before its end", hint="Keep what is there with `reel trim`.", file=source.name)


def _plain_tags(metadata: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in metadata.items()
        if key not in ("encoder", "major_brand", "minor_version", "compatible_brands")
    }


class Segments:
    """The packets of H.264 segments with one encoder setting, one after another, as one stream.

    `paths` may be an iterator that blocks until the next segment is there. `fps` and `frames` of the whole; raises
    MediaError if the segments were not made alike.
    """

    def __init__(self, paths: Iterator[Path], fps: Fraction) -> None:
        self._paths, self._fps = paths, fps

    def write(self, path: Path, samples: Iterator[Chunk] | None, encoding: Encoding) -> None:
        """Write the segments, with sound, to `path` (MP4, MOV or MKV)."""
        from reelwright.media.encode import SoundTrack, writing

        first = next(self._paths)
        with whole(path) as part, writing(part) as output:
            output.metadata.update(encoding.metadata)
            with reading(first) as given:
                template = _pictures(given, first)
                stream = output.add_stream_from_template(template)
                extradata = template.codec_context.extradata
            sound = None
            if samples is not None:
                sound = SoundTrack(output, encoding.codec_for(path).audio or "aac", encoding.audio_bitrate, samples)
            for end, packet in self._packets(first, extradata):
                packet.stream = stream
                output.mux(packet)
                if sound is not None:
                    sound.until(end / self._fps)
            if sound is not None:
                sound.finish()

    def _packets(self, first: Path, extradata: bytes | None) -> Iterator[tuple[int, Packet[VideoStream]]]:
        base = 0
        index = 0
        delay = 2  # frames between decoding and showing; x264's pyramid needs no more
        paths: Sequence[Path] | Iterator[Path] = self._paths
        for path in _chain(first, paths):
            count = 0
            with reading(path) as given:
                stream = _pictures(given, path)
                if stream.codec_context.extradata != extradata:
                    raise MediaError(
                        f"segment {path.name} was made with other settings", hint="Run `reel clean --all` and render again."
                    )
                unit = 1 / (self._fps * (stream.time_base or 1))
                for packet in given.demux(stream):
                    if packet.pts is None:
                        continue
                    shown = round(packet.pts / unit)
                    packet.time_base = 1 / self._fps
                    packet.pts, packet.dts, packet.duration = base + shown, index - delay, 1
                    index += 1
                    count += 1
                    yield base + shown + 1, packet
            base += count


def _pictures(given: InputContainer, path: Path) -> VideoStream:
    stream = picture_stream(given)
    if stream is None:
        raise MediaError(f"segment {path.name} has no pictures", hint="Run `reel clean --all` and render again.")
    return stream


def _chain(first: Path, rest: Iterator[Path] | Sequence[Path]) -> Iterator[Path]:
    yield first
    yield from rest
