"""What a workflow has made: which of its files is the film, and that file without what ComfyUI writes into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright.backends.comfy.client import table
from reelwright.catalog import Card
from reelwright.errors import BackendError

ENDINGS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif", ".webp", ".png")
"""Of films; the last two hold one only if they are marked as animated."""


def film(entry: Mapping[str, Any], card: Card) -> Mapping[str, Any]:
    """The file of the history's entry that is the film; the last that was kept, if there are several. Raises BackendError.

    Newer and older nodes name videos under images, gifs or videos; `animated` marks pictures that move.
    """
    outputs = table(entry.get("outputs"))
    wanted = card.settings.get("output")
    found = [item for name, output in outputs.items() if wanted in (None, name) for item in _items(output)]
    films = [item for item, moves in found if moves or Path(item["filename"]).suffix.lower() in ENDINGS[:-2]]
    if films:
        kept = [item for item in films if item.get("type", "output") == "output"]
        return (kept or films)[-1]
    if found:
        raise BackendError(
            f"the workflow of {card.title} gave {len(found)} pictures and no video",
            hint="End it with Create Video and Save Video.",
            model=card.id,
        )
    raise BackendError(f"the workflow of {card.title} gave no file", hint="It needs a node that saves a video.", model=card.id)


def _items(output: Any) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """(file, whether it moves) of one node's output."""
    if not isinstance(output, dict):
        return
    flags = output.get("animated") or ()
    moves = bool(flags[0]) if isinstance(flags, list | tuple) and flags else False
    for key in ("images", "gifs", "videos", "video"):
        for item in output.get(key) or ():
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                yield item, moves


def untagged(source: Path, path: Path) -> Path:
    """The streams of a file in a new one without tags: ComfyUI writes the whole graph into its files, prompts and all.

    A kind of file that cannot be written anew so is given back as it is.
    """
    import av

    try:
        with av.open(str(source)) as given, av.open(str(path), "w") as output:
            copies = {}
            for stream in given.streams:
                if stream.type in ("video", "audio"):
                    copies[stream.index] = output.add_stream_from_template(stream)
            for packet in given.demux(*(given.streams[index] for index in copies)):
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return source
    return path
