"""What a storyboard refers to: files on the way out, assets on the way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright.run import LocalRun
from reelwright.storyboard import SoundTrack, Storyboard


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
        scenes.append(replace(scene, **changed))
    track = board.sound
    if isinstance(track, SoundTrack) and track.file is not None:
        track = replace(track, file=asset(track.file))
    subtitles = None if board.subtitles is None else asset(board.subtitles)
    return replace(board, scenes=tuple(scenes), sound=track, subtitles=subtitles)
