"""What kind of file this is, by its first bytes: names and what senders say are not believed."""

from __future__ import annotations

from dataclasses import dataclass

from reelwright.errors import Unsupported

HEAD = 512
"""Bytes from a file's beginning that are enough to tell."""


@dataclass(frozen=True)
class FileKind:
    """`group`: image, video, audio or text; `media_type`, and the `ending` that goes with it."""

    group: str
    media_type: str
    ending: str


_MARKS: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x89PNG\r\n\x1a\n", FileKind("image", "image/png", ".png")),
    (b"\xff\xd8\xff", FileKind("image", "image/jpeg", ".jpg")),
    (b"II*\x00", FileKind("image", "image/tiff", ".tif")),
    (b"MM\x00*", FileKind("image", "image/tiff", ".tif")),
    (b"GIF87a", FileKind("video", "image/gif", ".gif")),
    (b"GIF89a", FileKind("video", "image/gif", ".gif")),
    (b"FLV\x01", FileKind("video", "video/x-flv", ".flv")),
    (b"fLaC", FileKind("audio", "audio/flac", ".flac")),
    (b"OggS", FileKind("audio", "audio/ogg", ".ogg")),
    (b"ID3", FileKind("audio", "audio/mpeg", ".mp3")),
    (b"\xff\xfb", FileKind("audio", "audio/mpeg", ".mp3")),
    (b"\xff\xf3", FileKind("audio", "audio/mpeg", ".mp3")),
    (b"\xff\xf1", FileKind("audio", "audio/aac", ".aac")),
    (b"\xff\xf9", FileKind("audio", "audio/aac", ".aac")),
)
_RIFF = {
    b"WEBP": FileKind("image", "image/webp", ".webp"),
    b"WAVE": FileKind("audio", "audio/wav", ".wav"),
    b"AVI ": FileKind("video", "video/x-msvideo", ".avi"),
}
_BRANDS = {
    b"qt  ": FileKind("video", "video/quicktime", ".mov"),
    b"M4A ": FileKind("audio", "audio/mp4", ".m4a"),
    b"avif": FileKind("image", "image/avif", ".avif"),
}


def sniff(head: bytes) -> FileKind:
    """The kind of a file that begins so; raises Unsupported."""
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp" and head[8:12] not in (b"heic", b"heix", b"mif1"):
        return _BRANDS.get(head[8:12], FileKind("video", "video/mp4", ".mp4"))
    if head[:4] == b"\x1aE\xdf\xa3":
        webm = b"webm" in head[:64]
        return FileKind("video", "video/webm", ".webm") if webm else FileKind("video", "video/x-matroska", ".mkv")
    if len(head) > 188 and head[0] == 0x47 == head[188]:
        return FileKind("video", "video/mp2t", ".ts")
    text = head.removeprefix(b"\xef\xbb\xbf")
    if text.startswith(b"WEBVTT"):
        return FileKind("text", "text/vtt", ".vtt")
    if b"-->" in text and b"\x00" not in text:
        return FileKind("text", "application/x-subrip", ".srt")
    raise Unsupported(
        "this is no kind of file that can be used",
        hint="Take PNG, JPEG, WebP, MP4, MOV, WebM, MKV, WAV, MP3, FLAC, Ogg, SRT or WebVTT.",
    )
