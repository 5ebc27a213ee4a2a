"""A transition and a camera move of one's own: each is one entry in a table."""

import sys
import tempfile
from pathlib import Path

import numpy as np

import reelwright
from reelwright.media.moves import MOVES, Move, Views, views
from reelwright.media.transitions import TRANSITIONS, Transition
from reelwright.storyboard import Scene, Storyboard
from reelwright.types import Frame


def stripes(a: Frame, b: Frame, p: float) -> Frame:
    """Every other group of rows comes from `b`, more and more of them."""
    rows = max(2, round(16 * p) * 2)
    for plane, other, size in ((a.y, b.y, rows), (a.u, b.u, rows // 2), (a.v, b.v, rows // 2)):
        step = 32 if plane is a.y else 16
        for top in range(0, plane.shape[0], step):
            plane[top : top + size] = other[top : top + size]
    return a


def nod(u: np.ndarray, strength: float) -> Views:
    """Down and up again, twice."""
    return views(u, y=0.8 * strength * np.sin(4 * np.pi * u), scale=0.85)


def main(folder: Path) -> None:
    """Use both in a film."""
    TRANSITIONS["stripes"] = Transition("stripes", "Stripes that grow.", stripes, 0.6)
    MOVES["nod"] = Move("nod", "The camera nods.", "camera nods", nod)
    board = Storyboard(
        (
            Scene("A quiet harbour in the morning fog", camera="nod", transition="stripes"),
            Scene("Gulls over the harbour at noon"),
        ),
        quality="draft",
    )
    print(reelwright.render(board, folder / "own.mp4").path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
