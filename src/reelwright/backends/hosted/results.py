"""What a provider made, fetched and brought to what the shot asks for; and inputs, as providers take them."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelwright.backends.hosted.call import Answer, Finished
from reelwright.backends.hosted.wire import Wire, again
from reelwright.catalog import Shot
from reelwright.errors import BackendError, MediaError, ProviderFailed, ReelwrightError, TooLarge, Unsupported
from reelwright.fetching import Fetcher
from reelwright.media import edit
from reelwright.media.decode import open_video, read_still, spoken
from reelwright.media.sniff import HEAD, sniff
from reelwright.run import Run
from reelwright.types import Frame, Video

INLINE = 24 * 1024**2
"""Bytes of an input that goes along within a request."""


def fetched(
    finished: Finished, path: Path, wire: Wire, fetcher: Fetcher, *,
    most: int, seconds: float, refused: Callable[[Answer], ReelwrightError], still_wanted: Callable[[], None],
) -> None:  # fmt: skip
    """Write what was made to a file. Raises TooLarge, TimedOut, ProviderFailed, RequestError (an address not to be called)."""

    def from_outside(url: str) -> None:
        fetcher.fetch(url, path, most=most, seconds=seconds, still_wanted=still_wanted)

    def from_provider() -> None:
        assert finished.call is not None
        answer = wire.save(finished.call, path, most, seconds=seconds, still_wanted=still_wanted)
        if 300 <= answer.status < 400:  # it lies elsewhere: where the key does not go
            from_outside(answer.headers.get("location", ""))
        elif answer.status >= 400:
            raise refused(answer)

    if finished.body is not None:
        path.write_bytes(finished.body)
    elif finished.call is not None:
        again(from_provider, still_wanted)
    elif finished.url is not None:
        url = finished.url
        again(lambda: from_outside(url), still_wanted)
    else:
        raise ProviderFailed(f"{wire.name} finished and gave no file", retryable=False, provider=wire.name)


def conformed(path: Path, shot: Shot, run: Run) -> Video:
    """The file at the shot's size, rate and length; what had to be changed is told. Raises BackendError if it is no video."""
    try:
        if shot.card.frames.most == 1:
            return pictured(path, shot)
        video = open_video(path, audio=shot.card.audio)
    except MediaError as error:
        raise BackendError(
            f"{shot.card.title} gave a file that is no {'picture' if shot.card.frames.most == 1 else 'video'}: {error.message}",
            model=shot.card.id,
        ) from None
    video.source = None  # its packets are not copied: a provider's own tags would come along
    if shot.card.audio and not video.spec.audio:
        video = edit.with_sound(video, spoken(video))
    made = video.spec
    if (made.width, made.height) != (shot.width, shot.height) or abs(made.seconds - shot.frames / shot.fps) > Fraction(1, 5):
        run.note(f"{shot.card.title} made {made.width}x{made.height}, {float(made.seconds):.1f} s.")
    video = edit.fit(edit.at_rate(video, shot.fps), shot.width, shot.height)
    video = edit.hold(video, shot.frames / shot.fps)
    return edit.trim(video, 0, shot.frames / shot.fps) if video.spec.frames > shot.frames else video


def pictured(path: Path, shot: Shot) -> Video:
    """A picture as a video of one frame, at the shot's size. Raises MediaError if it is no picture."""
    frame = Frame.of(read_still(path))
    return edit.fit(edit.still(frame, shot.fps, 1 / shot.fps), shot.width, shot.height)


def data_uri(path: Path, most: int = INLINE) -> str:
    """A file as a data URI. Raises TooLarge over `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise TooLarge(
            f"{path.name} has {size / 1e6:.0f} MB, and at most {most / 1e6:.0f} MB can be sent", hint="Make it smaller."
        )
    return f"data:{kind_of(path)};base64,{base64.b64encode(path.read_bytes()).decode()}"


def kind_of(path: Path) -> str:
    """A file's media type, by its first bytes; assets have no telling names."""
    with path.open("rb") as file:
        try:
            return sniff(file.read(HEAD)).media_type
        except Unsupported:
            return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def from_uri(uri: str) -> tuple[str, bytes]:
    """Media type and bytes of a data URI."""
    head, _, body = uri.partition(",")
    return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(body)


def first_url(found: Any) -> str | None:
    """The first address in an answer's output, however it lies in lists and tables."""
    if isinstance(found, str):
        return found if "://" in found else None
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return next((url for each in inner if (url := first_url(each))), None)
