"""What a storyboard refers to: files on the way out, assets on the way in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright.errors import BadStoryboard
from reelwright.run import LocalRun
from reelwright.storyboard import SoundTrack, Storyboard, Title


def with_assets(board: Storyboard, folder: Path, keep: Callable[[Path], str]) -> Storyboard:
    """The storyboard with every file that it names replaced by what `keep` gives for it, once a file.

    `folder`: where relative names start. What is an asset already stays. Raises MissingAsset.
    """
    run, known = LocalRun(folder=folder), dict[str, str]()

    def asset(ref: str) -> str:
        if ref.startswith("asset_"):
            return ref
        if ref not in known:
            known[ref] = keep(run.fetch(ref))
        return known[ref]

    scenes = []
    for index, scene in enumerate(board.scenes):
        own_image = scene.image is not None and board.source_of(index) is None
        names = ("clip", "narration", "image") if own_image else ("clip", "narration")
        changed: dict[str, Any] = {name: asset(getattr(scene, name)) for name in names if getattr(scene, name) is not None}
        changed["inputs"] = tuple(replace(given, ref=asset(given.ref)) for given in scene.inputs)
        scenes.append(replace(scene, **changed))
    track = board.sound
    if isinstance(track, SoundTrack) and track.file is not None:
        track = replace(track, file=asset(track.file))
    subtitles = None if board.subtitles is None else asset(board.subtitles)
    references = tuple(asset(ref) for ref in board.references)
    return replace(board, scenes=tuple(scenes), sound=track, subtitles=subtitles, references=references)


def hold_references(board: Storyboard) -> None:
    """Raise BadStoryboard if a storyboard from outside names files of this machine: it may name assets only."""
    problems = [f"{where}: {ref[:200]!r} is not an asset" for where, ref in _references(board) if not ref.startswith("asset_")]
    fonts = [style.font for style in _styles(board) if style is not None and style.font is not None]
    problems += [
        f"the LoRA {lora.ref[:200]!r} is not installed on this server"
        for lora in (*board.loras, *(each for scene in board.scenes for each in scene.loras))
        if not lora.installed
    ]
    problems += [f"the font {font[:200]!r} is a file" for font in fonts if "/" in font or "\\" in font or "." in font]
    if problems:
        raise BadStoryboard(problems[0], hint="Upload the file and name the asset.", problems=problems)


def _references(board: Storyboard) -> Iterator[tuple[str, str]]:
    for index, scene in enumerate(board.scenes):
        where = f"scene {board.name(index)}"
        if scene.image is not None and board.source_of(index) is None:
            yield where, scene.image
        for ref in (scene.clip, scene.narration, *(given.ref for given in scene.inputs)):
            if ref is not None:
                yield where, ref
    for ref in (getattr(board.sound, "file", None), board.subtitles, *board.references):
        if ref is not None:
            yield "the film", ref


def _styles(board: Storyboard) -> Iterator[Any]:
    yield from (board.letters, board.titles)
    yield from (scene.title.style for scene in board.scenes if isinstance(scene.title, Title))
