"""Memory and length: 4K films, crossfades of 4K clips, a thousand scenes. Each in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import measure
from work import MOVES

from reelwright.storyboard import Scene, Storyboard, TransitionSpec, plain

CHILD = Path(__file__).parent / "child.py"


def child(folder: Path, kind: str, job: dict[str, Any], tries: int = 1) -> measure.Measured:
    """One piece of work of child.py, measured."""
    path = folder / f"{kind}.job.json"
    path.write_text(json.dumps(job))
    return measure.run([sys.executable, str(CHILD), kind, str(path)], tries)


def premium(folder: Path, stills: tuple[Path, ...], scenes: int) -> measure.Measured:
    """A 3840x2160 film at 60 fps of `scenes` times 5 s, crossfades included."""
    shots = tuple(
        Scene(image=str(stills[i % 3]), model="placeholder", seconds=5.5 if i < scenes - 1 else 5.0, camera=MOVES[(i + 2) % 3])
        for i in range(scenes)
    )  # the dolly and the zoom, whose pictures are the largest, meet in the first crossfade already
    board = Storyboard(shots, quality="premium", transition=TransitionSpec("crossfade", 0.5))
    return child(folder, "film", {"board": plain(board), "speed": "drawn", "output": str(folder / "premium.mp4")})


def crossfade(folder: Path, still: Path, seconds: int) -> measure.Measured:
    """Two 4K clips of this length that fade into each other nearly all along."""
    clip = folder / f"clip{seconds}.mp4"
    child(folder, "clip", {"still": str(still), "seconds": seconds, "output": str(clip)})
    return child(folder, "crossfade", {"clip": str(clip), "seconds": seconds, "output": str(folder / "crossfade.mp4")})


def many(folder: Path, stills: tuple[Path, ...], count: int) -> tuple[float, measure.Measured]:
    """A film of `count` scenes of 0.2 s at 160x90: CPU milliseconds a frame, and the run."""
    small = []
    for index, still in enumerate(stills):
        small.append(folder / f"small{index}.jpg")
        cv2.imwrite(str(small[-1]), cv2.resize(cv2.imread(str(still)), (320, 180), interpolation=cv2.INTER_AREA))
    scenes = tuple(Scene(image=str(small[i % 3]), model="placeholder", seconds=0.2, camera=MOVES[i % 3]) for i in range(count))
    board = Storyboard(scenes, size="160x90", fps=30, transition=TransitionSpec("crossfade", 1 / 30))
    run = child(folder, "film", {"board": plain(board), "speed": "drawn", "output": str(folder / "many.mp4")}, 2)
    return run.cpu * 1000 / (count * 6 - (count - 1)), run
