"""Cuts and joins that move packets and encode nothing: instant, without loss, where the files allow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.stream import Stream

from reelwright.errors import RequestError
from reelwright.media.copying import fits
from reelwright.media.encode import writing
from reelwright.media.partial import whole
from reelwright.media.probe import picture_stream, reading, sound_stream, steady_rate


def cut(source: Path, path: Path, start: float = 0.0, end: float | None = None) -> float:
    """Copy the part from the key frame at or before `start` to `end` seconds; returns where it really begins, in seconds.

    Raises RequestError if nothing lies between, or if a file of this kind cannot hold the streams.
    """
    with reading(source) as given:
        streams = _streams(given)
        if not streams or not fits(streams, path):
            raise RequestError(
                f"{source.name} cannot be copied into a {path.suffix} file", hint="Leave out --copy to encode it anew."
            )
        lead = streams[0]
        assert lead.time_base is not None
        origin = (lead.start_time or 0) * lead.time_base
        given.seek(int((origin + Fraction(start)) / lead.time_base), stream=lead, backward=True)
        first: Fraction | None = None
        with whole(path) as part, writing(part) as output:
            copies = {stream.index: output.add_stream_from_template(stream) for stream in streams}
            for packet in given.demux(*streams):
                if packet.pts is None or packet.dts is None or packet.time_base is None:
                    continue
                shown = packet.pts * packet.time_base - origin
                if first is None:
                    if packet.stream.index != lead.index or not packet.is_keyframe:
                        continue
                    first = shown
                if shown < first or (end is not None and shown >= Fraction(end)):
                    continue
                shift = round((first + origin) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
            if first is None or (end is not None and first >= Fraction(end)):
                raise RequestError(
                    f"nothing lies between {start:g} and {end or 0:g} s of {source.name}", hint="Give the later time second."
                )
    return float(first)


def alike(sources: Sequence[Path]) -> bool:
    """Whether the files were encoded in the same way, so that their packets can follow each other."""
    return len({_nature(source) for source in sources}) == 1


def join(sources: Sequence[Path], path: Path) -> bool:
    """Copy files that are `alike` one after another; False if they are not, or a file of that kind cannot hold them."""
    with reading(sources[0]) as given:
        if not fits(_streams(given), path):
            return False
    if not alike(sources):
        return False
    with whole(path) as part, writing(part) as output:
        begin = Fraction(0)
        copies: dict[str, Stream] = {}
        last: dict[str, int] = {}
        for source in sources:
            with reading(source) as given:
                streams = _streams(given)
                for stream in streams:
                    copies.setdefault(
                        stream.type, output.add_stream_from_template(stream) if stream.type not in copies else stream
                    )
                for packet in _shifted(given, streams, begin):
                    if packet.dts <= last.get(packet.stream.type, packet.dts - 1):
                        continue  # the lead-in of a sound encoder lies before the cut, where the last file still sounds
                    last[packet.stream.type] = packet.dts
                    packet.stream = copies[packet.stream.type]
                    output.mux(packet)
                begin += _length(streams[0])
    return True


def _streams(given: InputContainer) -> list[Any]:
    """Pictures first, then sound."""
    return [stream for stream in (picture_stream(given), sound_stream(given)) if stream is not None]


def _length(stream: Any) -> Fraction:
    assert stream.duration is not None
    assert stream.time_base is not None
    return Fraction(stream.duration * stream.time_base)


def _shifted(given: InputContainer, streams: Sequence[Any], begin: Fraction) -> Iterator[Any]:
    """The packets with their times moved so that the file begins at `begin` seconds; none beyond its pictures."""
    origin = (streams[0].start_time or 0) * streams[0].time_base
    end = _length(streams[0])
    for packet in given.demux(*streams):
        if packet.pts is None or packet.dts is None or packet.time_base is None:
            continue
        if packet.pts * packet.time_base - origin >= end:
            continue
        shift = round((begin - origin) / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        yield packet


def _nature(source: Path) -> tuple[Any, ...]:
    """All that has to be the same; a file that cannot be joined by copying is like no other."""
    with reading(source) as given:
        facts: list[Any] = []
        for stream in _streams(given):
            context = stream.codec_context
            if stream.duration is None:
                return (source,)
            facts += [context.name, context.extradata, stream.time_base]
            if stream.type == "video":
                rate, variable = steady_rate(stream)
                if variable:
                    return (source,)
                facts += [context.width, context.height, context.pix_fmt, rate]
            else:
                facts += [context.sample_rate, context.layout.name]
        return tuple(facts)
