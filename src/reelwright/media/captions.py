"""Captions: SubRip (.srt) and WebVTT (.vtt), read and written."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import annotated_types as at

from reelwright.errors import MediaError, MissingAsset, RequestError, Unsupported
from reelwright.media.partial import whole
from reelwright.types import hold

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_CUE = re.compile(rf"^\s*{_TIME}\s*-+>\s*{_TIME}(?:\s.*)?$")
_TAG = re.compile(r"</?(?:[ibusc]|font|v|lang|ruby|rt)(?:[\s.][^<>]*)?>|<\d+:[\d:.]+>|\{\\[^{}]*\}", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)


@dataclass(frozen=True)
class Caption:
    """A text and when it is shown: from `start` to `end` in seconds, 0 <= start < end. Raises RequestError otherwise."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    start: Annotated[float, at.Ge(0)]
    end: Annotated[float, at.Lt(360_000_000)]
    text: str

    def __post_init__(self) -> None:
        hold(self)
        if not self.start < self.end:
            raise RequestError(f"a caption must end after it starts, not at {self.end:g} s after {self.start:g} s", field="end")


def read(path: Path | str) -> tuple[Caption, ...]:
    """The captions of an .srt or .vtt file, in the order of the file; tags and places on the screen are left out.

    Takes UTF-8, UTF-16 with a byte order mark, and Windows-1252. Raises MissingAsset if there is no such file, Unsupported
    for another ending, and MediaError, which names the line, where the file is not what it says.
    """
    path = Path(path)
    vtt = _is_vtt(path)
    try:
        text = _decoded(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise MissingAsset(f"there is no caption file {path}") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if vtt and not re.match(r"WEBVTT(?:\s|$)", lines[0]):
        raise MediaError(f"{path.name}, line 1: a WebVTT file begins with WEBVTT", file=path.name, line=1)
    return tuple(_cues(lines, path.name, vtt))


def write(captions: Iterable[Caption], path: Path | str) -> None:
    """Write an .srt or .vtt file, by its ending, in UTF-8; it appears whole or not at all.

    Raises Unsupported for another ending, RequestError if the folder is missing, DiskFull if there is no room.
    """
    path = Path(path)
    text = as_vtt(captions) if _is_vtt(path) else as_srt(captions)
    with whole(path) as part:
        part.write_bytes(text.encode())


def as_srt(captions: Iterable[Caption]) -> str:
    """Captions as SubRip, numbered from 1; times to the millisecond. Empty lines inside a text are left out."""
    return "".join(
        f"{number}\n{_clock(caption.start, ',')} --> {_until(caption, ',')}\n{_escaped(caption.text)}\n\n"
        for number, caption in enumerate(captions, 1)
    )


def as_vtt(captions: Iterable[Caption]) -> str:
    """Captions as WebVTT; times to the millisecond. Empty lines inside a text are left out."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(caption.start, '.')} --> {_until(caption, '.')}\n{_escaped(caption.text, vtt=True)}\n\n" for caption in captions
    )


def _is_vtt(path: Path) -> bool:
    if path.suffix.lower() not in (".srt", ".vtt"):
        raise Unsupported(f"{path.name} is not a caption file", hint="Captions are .srt or .vtt files.")
    return path.suffix.lower() == ".vtt"


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _cues(lines: list[str], name: str, vtt: bool) -> Iterator[Caption]:
    def wrong(line: int, what: str) -> MediaError:
        return MediaError(f"{name}, line {line + 1}: {what}", file=name, line=line + 1)

    at_line = 1 if vtt else 0
    if vtt:  # the header may go on until an empty line
        while at_line < len(lines) and lines[at_line].strip() and "-->" not in lines[at_line]:
            at_line += 1
    while at_line < len(lines):
        first = lines[at_line].strip()
        if not first:
            at_line += 1
            continue
        if vtt and re.match(r"(NOTE|STYLE|REGION)(\s|$)", first) and "-->" not in first:
            while at_line < len(lines) and lines[at_line].strip():
                at_line += 1
            continue
        named = "-->" not in first and at_line + 1 < len(lines) and "-->" in lines[at_line + 1]
        at_line += named
        times = _CUE.match(lines[at_line])
        if times is None:
            raise wrong(at_line, f"expected times such as 00:00:01,000 --> 00:00:02,500, not {lines[at_line].strip()[:60]!r}")
        start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
        if start is None or end is None or not start < end:
            raise wrong(at_line, "a caption must end after it starts, and minutes and seconds are below 60")
        at_line += 1
        begun = at_line
        while at_line < len(lines) and lines[at_line].strip() and not _next_begins(lines, at_line):
            at_line += 1
        yield Caption(start, end, _plain("\n".join(lines[begun:at_line])))


def _next_begins(lines: list[str], index: int) -> bool:
    """Whether a cue begins here although the empty line before it is missing."""
    if _CUE.match(lines[index]):
        return True
    return lines[index].strip().isdecimal() and index + 1 < len(lines) and _CUE.match(lines[index + 1]) is not None


def _seconds(parts: tuple[str | None, ...]) -> float | None:
    hours, minutes, seconds = (int(part or 0) for part in parts[:3])
    if minutes > 59 or seconds > 59 or hours > 99_999:
        return None
    milliseconds = int(((parts[3] or "") + "000")[:3])
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def _plain(text: str) -> str:
    text = _TAG.sub("", text)
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text).strip()


def _escaped(text: str, vtt: bool = False) -> str:
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    text = "\n".join(lines)
    if vtt:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("{\\", "&#123;\\")
    # SubRip has no escapes of its own; only what would be read as a tag, an entity or a time needs one.
    text = _ENTITY.sub(lambda found: "&amp;" + found[0][1:], text)
    text = _TAG.sub(lambda found: found[0].replace("<", "&lt;").replace("{", "&#123;"), text)
    return text.replace("-->", "--&gt;")


def _clock(seconds: float, point: str) -> str:
    return _of_milliseconds(round(seconds * 1000), point)


def _until(caption: Caption, point: str) -> str:
    # A caption shorter than a millisecond still ends after it starts.
    return _of_milliseconds(max(round(caption.end * 1000), round(caption.start * 1000) + 1), point)


def _of_milliseconds(total: int, point: str) -> str:
    minutes, rest = divmod(total, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
