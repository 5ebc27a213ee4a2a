"""Files of strangers are opened in a process of their own, with little memory and little time.

A picture that unpacks to gigabytes, or a file made to crash a decoder, ends that process and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from reelwright.errors import MediaError, ReelwrightError, TooLarge

_SECONDS = 30
_MEMORY = 3 * 1024**3
"""Bytes of address space: 64 megapixels in floats and the libraries themselves."""


def look(path: Path) -> dict[str, Any]:
    """What a media file is, its first picture decoded: width, height, fps, seconds ... ; raises MediaError, TooLarge."""
    return _apart("look", path)


def thumbnail(path: Path, output: Path, width: int) -> None:
    """Write the first picture of a file as JPEG, at most `width` px wide; raises MediaError, TooLarge."""
    _apart("thumbnail", path, str(output), str(width))


def _apart(verb: str, path: Path, *more: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "reelwright.media.apart", verb, str(path.absolute()), *more]
    broken = f"{path.name} cannot be read"
    try:
        done = subprocess.run(words, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603  our own program
    except subprocess.TimeoutExpired:
        raise MediaError(f"{broken} in {_SECONDS} s", hint="Export it again, or make it smaller.", file=path.name) from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise MediaError(f"{broken}: it breaks the decoder", hint="Export it again.", file=path.name) from None
    if "error" in answer:
        details = dict(answer["details"])
        kind = TooLarge if answer["error"] == TooLarge.code else MediaError
        raise kind(answer["message"], hint=str(details.pop("hint", "")), **details)
    return answer


def _look(path: Path) -> dict[str, Any]:
    from reelwright.media.decode import first_frame
    from reelwright.media.probe import PICTURES, probe

    if path.suffix.lower() in PICTURES:
        height, width = first_frame(path).shape[:2]
        return {"width": width, "height": height}
    facts = probe(path)
    if facts.width is not None:
        first_frame(path)
    known = {"width": facts.width, "height": facts.height, "seconds": facts.seconds, "codec": facts.codec or facts.audio_codec}
    known |= {"fps": str(facts.fps) if facts.fps else None, "audio": facts.audio_codec is not None}
    return {name: value for name, value in known.items() if value is not None}


def _thumbnail(path: Path, output: Path, width: int) -> dict[str, Any]:
    from reelwright.media.decode import first_frame
    from reelwright.media.stills import save_picture

    save_picture(first_frame(path), output, width)
    return {}


def _main(verb: str, path: str, *more: str) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the time limit holds there too
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = _look(Path(path)) if verb == "look" else _thumbnail(Path(path), Path(more[0]), int(more[1]))
    except ReelwrightError as error:
        answer = error.body()
    except MemoryError:
        answer = MediaError("it needs too much memory", hint="Make it smaller.").body()
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
