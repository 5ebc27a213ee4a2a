"""What a file was made from, written into it and beside it, so that it can be made again."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reelwright.errors import MediaError, MissingAsset, ReelwrightError
from reelwright.media.encode import Encoding
from reelwright.media.partial import whole
from reelwright.media.probe import existing, probe

VERSION = 1
_EMBEDDED = 256 * 1024
"""Bytes of JSON that are written into a file; of a longer manifest the file only says that it lies beside it."""


def versions() -> dict[str, str]:
    """The programs that pixels depend on."""
    import av
    import cv2
    import numpy as np

    from reelwright import __version__

    return {
        "reelwright": __version__,
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def facts(encoding: Encoding) -> dict[str, Any]:
    """An encoding as JSON values, without the metadata that it carries."""
    content = asdict(encoding)
    del content["metadata"]
    return content


def beside(path: Path) -> Path:
    """Where the manifest of a file lies."""
    return path.with_name(f"{path.name}.json")


def tags(manifest: dict[str, Any], title: str) -> dict[str, str]:
    """The metadata that carries a manifest within its file."""
    text = json.dumps({"reelwright_manifest": VERSION, **manifest}, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > _EMBEDDED:
        text = json.dumps({"reelwright_manifest": VERSION, "kind": manifest["kind"], "beside": True})
    return (
        {"title": title, "comment": text, "encoded_by": "Reelwright"} if title else {"comment": text, "encoded_by": "Reelwright"}
    )


def write(manifest: dict[str, Any], path: Path) -> None:
    """Write the manifest beside the file at `path`."""
    with whole(beside(path)) as part:
        part.write_text(json.dumps({"reelwright_manifest": VERSION, **manifest}, ensure_ascii=False, indent=1), "utf-8")


def read(path: Path) -> dict[str, Any]:
    """The manifest of a file, from within it or from beside it; raises MediaError if there is none."""
    existing(path)
    found = None
    try:
        tags_ = {key.lower(): value for key, value in (probe(path).metadata or {}).items()}
        found = _parsed(tags_.get("comment", ""))
    except ReelwrightError:
        pass  # GIF and WebP carry none, and what cannot be probed may still have one beside it
    if (found is None or found.get("beside")) and beside(path).is_file():
        found = _parsed(beside(path).read_text("utf-8", errors="replace"))
    if found is None or found.get("beside"):
        raise MediaError(
            f"{path.name} carries no manifest of Reelwright",
            hint=f"It must be within the file or beside it ({beside(path).name}).",
            file=path.name,
        )
    if found["reelwright_manifest"] > VERSION:
        raise MediaError(f"the manifest of {path.name} was written by a newer Reelwright", hint="Update Reelwright.")
    return found


def folder(manifest: dict[str, Any], path: Path) -> Path:
    """Where the inputs of the file at `path` lie: its own folder, or the one that the manifest beside it names."""
    way = manifest.get("folder")
    if way is None and beside(path).is_file():
        way = (_parsed(beside(path).read_text("utf-8", errors="replace")) or {}).get("folder")
    return path.parent / way if isinstance(way, str) else path.parent


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) and isinstance(content.get("reelwright_manifest"), int) else None


def hold_inputs(manifest: dict[str, Any], folder: Path) -> None:
    """Check that every input is there with the content that it had; raises MissingAsset that names those that are not."""
    from reelwright.catalog.shot import digest

    gone = []
    for ref, known in manifest.get("inputs", {}).items():
        path = folder / ref
        if not path.is_file():
            gone.append(f"{ref} is missing")
        elif digest(path) != known:
            gone.append(f"{ref} has changed")
    if gone:
        raise MissingAsset(f"the film cannot be made again as it was: {'; '.join(gone)}", hint="Put the files back.", inputs=gone)
