"""Pictures with alpha that are laid over frames, plane by plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from reelwright.types import Frame, Plane

_KR, _KB = 0.2126, 0.0722
_KG = 1 - _KR - _KB
_TO_YUV = np.array(
    [
        [219 * _KR, 219 * _KG, 219 * _KB, 16],
        [-112 * _KR / (1 - _KB), -112 * _KG / (1 - _KB), 112, 128],
        [112, -112 * _KG / (1 - _KR), -112 * _KB / (1 - _KR), 128],
    ],
    np.float32,
)
"""Premultiplied RGBA in 0..1 to premultiplied BT.709 limited-range YUV: the offsets go with alpha."""

_GAP = 16
"""Empty rows that part one band from the next; fewer cost more in calls than in pixels."""


class Overlay:
    """A picture with alpha at a fixed place of a frame, in the planes that are blended over it.

    `x` and `y` are the top left corner in px, `width` and `height` its box; all are even. `planes` (y, u, v) are uint8,
    already multiplied by alpha; `clear` is 255 - alpha for luma, `clear_chroma` for chroma. `notes` tells what could not
    be honoured. It never changes, so threads may share it.
    """

    __slots__ = ("_bands", "clear", "clear_chroma", "height", "notes", "planes", "width", "x", "y")

    def __init__(
        self, x: int, y: int, planes: tuple[Plane, Plane, Plane], clear: Plane, clear_chroma: Plane, notes: Iterable[str] = ()
    ) -> None:
        self.x, self.y, self.planes, self.clear, self.clear_chroma = x, y, planes, clear, clear_chroma
        self.height, self.width = clear.shape
        self.notes = tuple(dict.fromkeys(notes))
        self._bands = _bands(clear, clear_chroma)

    @classmethod
    def of(cls, rgba: Plane, x: int = 0, y: int = 0, notes: Iterable[str] = ()) -> Self:
        """An overlay from an sRGB picture with straight alpha, shape (h, w, 4), uint8, its corner at `x`, `y` px.

        Any place is good, odd and outside of the frame too; what lies outside is not drawn.
        """
        picture = rgba.astype(np.float32) / np.float32(255)
        picture[..., :3] *= picture[..., 3:]
        return cls.of_premultiplied(picture, x, y, notes)

    @classmethod
    def of_premultiplied(cls, rgba: NDArray[np.float32], x: int, y: int, notes: Iterable[str] = ()) -> Self:
        """As `of`, from float32 in 0..1 whose colours are already multiplied by alpha."""
        import cv2

        inked = rgba[..., 3] >= 0.5 / 255
        rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
        if not len(rows):
            empty = np.empty((0, 0), np.uint8)
            return cls(x // 2 * 2, y // 2 * 2, (empty, empty, empty), empty, empty, notes)
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        x, y = x + int(columns[0]), y + int(rows[0])
        left, top = x % 2, y % 2
        # One column more than evenness asks for: chroma at column 2x also sees column 2x - 1.
        right = 2 - (left + rgba.shape[1]) % 2
        rgba = np.pad(rgba, ((top, (top + rgba.shape[0]) % 2), (left, right), (0, 0)))
        full = cv2.transform(rgba, _TO_YUV)
        # At the frame's own left edge there is nothing beyond: the first column counts for it.
        beyond = np.pad(
            np.dstack((full[..., 1:], rgba[..., 3:])), ((0, 0), (1, 0), (0, 0)), mode="edge" if x <= 0 else "constant"
        )
        pairs = (beyond[0::2] + beyond[1::2]) * 0.125
        chroma = pairs[:, 0:-2:2] + 2 * pairs[:, 1:-1:2] + pairs[:, 2::2]
        planes = _bytes(full[..., 0]), _bytes(chroma[..., 0]), _bytes(chroma[..., 1])
        return cls(x - left, y - top, planes, 255 - _bytes(rgba[..., 3] * 255), 255 - _bytes(chroma[..., 2] * 255), notes)

    @classmethod
    def combine(cls, overlays: Iterable[Overlay]) -> Self:
        """One overlay that draws like all of them, one after another; with their notes. Of none, an empty one."""
        parts = tuple(overlays)
        notes = [note for part in parts for note in part.notes]
        seen = [part for part in parts if part.width and part.height]
        if not seen:
            return cls.of_premultiplied(np.zeros((0, 0, 4), np.float32), 0, 0, notes)
        x, y = min(part.x for part in seen), min(part.y for part in seen)
        width, height = max(part.x + part.width for part in seen) - x, max(part.y + part.height for part in seen) - y
        colours, clear = Frame.filled(width, height, 0, 0, 0), Frame.filled(width, height, 255, 255, 255)
        for part in seen:
            part.draw_at(colours, part.x - x, part.y - y)
            # What shows through both is the product of what shows through each.
            nothing = np.zeros_like(part.clear), np.zeros_like(part.clear_chroma), np.zeros_like(part.clear_chroma)
            Overlay(part.x - x, part.y - y, nothing, part.clear, part.clear_chroma).draw(clear)
        return cls(x, y, colours.planes, clear.y, clear.u, notes)

    def draw(self, frame: Frame, opacity: float = 1.0) -> None:
        """Blend it into `frame` in place; nothing outside of its box changes. `opacity` 0..1 fades all of it."""
        self.draw_at(frame, self.x, self.y, opacity)

    def draw_at(self, frame: Frame, x: int, y: int, opacity: float = 1.0) -> None:
        """As `draw`, with its corner at `x`, `y` px, both even."""
        if opacity <= 0:
            return
        for top, bottom, left, right in self._bands:
            top, left = max(top, -y), max(left, -x)
            bottom, right = min(bottom, frame.height - y), min(right, frame.width - x)
            if top >= bottom or left >= right:
                continue
            for plane, colours, size in zip(frame.planes, self.planes, (1, 2, 2), strict=True):
                here = slice(top // size, bottom // size), slice(left // size, right // size)
                there = plane[(y + top) // size : (y + bottom) // size, (x + left) // size : (x + right) // size]
                _blend(there, colours[here], (self.clear if size == 1 else self.clear_chroma)[here], opacity)

    def __repr__(self) -> str:
        return f"Overlay({self.width}x{self.height} at {self.x}, {self.y})"


def _blend(under: Plane, colours: Plane, clear: Plane, opacity: float) -> None:
    import cv2

    if opacity >= 1:
        cv2.multiply(under, clear, dst=under, scale=1 / 255)
        cv2.add(under, colours, dst=under)
        return
    drawn = cv2.add(cv2.multiply(under, clear, scale=1 / 255), colours)
    cv2.addWeighted(drawn, opacity, under, 1 - opacity, 0, dst=under)


def _bytes(values: NDArray[Any]) -> Plane:
    rounded: Plane = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded


def _bands(clear: Plane, clear_chroma: Plane) -> list[tuple[int, int, int, int]]:
    """The parts that hold ink, as (top, bottom, left, right) in px, even: far-apart titles leave the middle alone."""
    height, width = clear.shape
    inked = (clear_chroma < 255) | (clear < 255).reshape(height // 2, 2, width // 2, 2).any((1, 3))
    rows = np.flatnonzero(inked.any(1))
    found = []
    for part in np.split(rows, np.flatnonzero(np.diff(rows) > _GAP // 2) + 1) if len(rows) else []:
        top, bottom = int(part[0]), int(part[-1]) + 1
        columns = np.flatnonzero(inked[top:bottom].any(0))
        found.append((top * 2, bottom * 2, int(columns[0]) * 2, int(columns[-1]) * 2 + 2))
    return found
