"""What is written over a placeholder: the prompt, the scene's number, the running timecode, the move and the look."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from reelwright.catalog import Shot
from reelwright.media.letters import Counter, LetterStyle, Position, set_type
from reelwright.media.overlay import Overlay
from reelwright.types import Frame, Plane


def timecode(index: int, fps: Fraction) -> str:
    """HH:MM:SS:FF of a frame, without drop frames."""
    whole = max(1, round(fps))
    seconds, frame = divmod(index, whole)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"


class Slate:
    """The letters over one clip; `draw` puts them on frame `index`.

    `effects` are names; the shot's scene 0 shows no number; `raised` puts everything at the top and leaves the lower part
    free for captions. Very small pictures carry the prompt alone.
    """

    def __init__(self, shot: Shot, move: str, effects: list[str], *, raised: bool = False) -> None:
        prompt, width, height, scene = shot.prompt, shot.width, shot.height, int(shot.options.get("scene", 0))
        self._fps, self._frames = shot.fps, shot.frames
        self._width, self._height = width, height
        unit = min(width * 0.75, height)  # upright pictures get letters for their width
        side: Position = "top-left" if raised else "bottom-left"
        below = (0.145 if scene else 0.05) * unit  # under the scene's number, or under the timecode

        def style(size: float, position: Position, **more: Any) -> LetterStyle:
            em = min(0.5, max(0.01, size * unit / height, 8 / height))
            return LetterStyle(size=em, position=position, outline=0, shadow=0.75, margin=0.065, **more)

        parts = [_scrim(width, height), *([_scrim(width, height, top=True)] if raised else [])]
        notes: list[str] = []
        if prompt.strip():
            text = set_type(prompt.strip(), width, height, style(0.052, side, weight="bold", max_lines=3))
            notes += text.notes
            parts.append(_moved(text, below + 0.045 * unit if raised else -max(0.062 * unit, 16)))
        small = style(0.0235, side, max_lines=1, colour="#ffffffd0")
        facts = "   ·   ".join(
            [
                move.replace("-", " "),
                *(name.replace("-", " ") for name in effects),
                f"{width} × {height}",
                f"{float(shot.fps):g} fps",
            ]
        )
        self._counter: Counter | None = None
        if height >= 120 and width >= 160:
            parts += [_moved(set_type(facts.upper(), width, height, small), below if raised else 0), _corners(width, height)]
            self._counter = Counter("00:00:00:00", width, height, style(0.026, "top-right"), chars="0123456789:")
            if scene:
                parts.append(set_type(f"{scene:02d}", width, height, style(0.1, "top-left", weight="light", colour="#ffffffe6")))
        self.notes = tuple(dict.fromkeys(notes))
        self._overlay = Overlay.combine(parts)

    def draw(self, frame: Frame, index: int) -> None:
        """Draw the letters on the frame in place."""
        self._overlay.draw(frame)
        if self._counter is not None:
            self._counter.draw(frame, timecode(index, self._fps))
            done = round(self._width * (index + 1) / self._frames / 2) * 2
            thick = max(2, self._height // 240 * 2)
            frame.y[-thick:, :done] = 210  # how far the scene has run, along the lower edge
            frame.u[-thick // 2 :, : done // 2] = 128
            frame.v[-thick // 2 :, : done // 2] = 128


def _moved(overlay: Overlay, down: float) -> Overlay:
    overlay.y = max(0, overlay.y + round(down) // 2 * 2)
    return overlay


def _scrim(width: int, height: int, *, top: bool = False) -> Overlay:
    """A shade that rises from the lower edge (or falls from the upper), so that letters can be read over any sky."""
    rows = height * 46 // 100 // 2 * 2
    shade = np.zeros((rows, width, 4), np.uint8)
    rise = np.linspace(1, 0, rows) if top else np.linspace(0, 1, rows)
    shade[..., 3] = (np.asarray(rise * rise * (3 - 2 * rise)) * (110 if top else 150))[:, None].astype(np.uint8)
    return Overlay.of(shade, 0, 0 if top else height - rows)


def _corners(width: int, height: int) -> Overlay:
    """Marks in the corners of the title-safe area, as in a view finder."""
    canvas: Plane = np.zeros((height, width, 4), np.uint8)
    x, y = round(width * 0.04), round(height * 0.04)
    arm, thick = round(height * 0.028), max(1, round(height / 540))
    for left, top, dx, dy in ((x, y, 1, 1), (width - x, y, -1, 1), (x, height - y, 1, -1), (width - x, height - y, -1, -1)):
        cv2.line(canvas, (left, top), (left + dx * arm, top), (255, 255, 255, 130), thick, cv2.LINE_AA)
        cv2.line(canvas, (left, top), (left, top + dy * arm), (255, 255, 255, 130), thick, cv2.LINE_AA)
    return Overlay.of(canvas)
