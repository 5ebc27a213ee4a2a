"""Letters and boxes as pixels, on premultiplied float32 canvases of shape (h, w, 4), 0..1."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reelwright.errors import RequestError
from reelwright.media.fonts import FontFile

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Canvas = NDArray[np.float32]
Colour = tuple[int, int, int, int]


def rgba(colour: str) -> Colour:
    """Red, green, blue and alpha, 0..255, of "#rgb", "#rrggbb", "#rrggbbaa" or a CSS name. Raises RequestError."""
    from PIL import ImageColor

    try:
        red, green, blue, alpha = (*ImageColor.getrgb(colour), 255)[:4]
    except (ValueError, AttributeError, TypeError):
        hint = 'Write it as "#ffcc00", "#ffcc0080" (with alpha) or "white".'
        raise RequestError(f"{colour!r} is not a colour", hint=hint) from None
    return red, green, blue, alpha


@cache
def shapes() -> bool:
    """Whether Pillow can shape text: join Arabic, place marks, reorder; its wheels can."""
    from PIL import features

    return bool(features.check_feature("raqm"))


class Piece(NamedTuple):
    """Text of one font and one direction."""

    text: str
    font: FontFile
    leftward: bool

    def face(self, px: float) -> tuple[FreeTypeFont, float]:
        """The loaded font, and by how much what it draws must be scaled (bitmap emoji come in one size)."""
        face = self.font.load(px)
        return face, px / face.size

    @property
    def direction(self) -> str | None:
        """For Pillow, which takes none without Raqm."""
        return ("rtl" if self.leftward else "ltr") if shapes() else None

    def width(self, px: float) -> float:
        """Its length on the line in px."""
        face, scale = self.face(px)
        return face.getlength(self.text, direction=self.direction) * scale


def over(canvas: Canvas, coverage: Canvas, colour: Colour, strength: float = 1.0) -> None:
    """Lay a colour over a premultiplied canvas where `coverage` (h, w), 0..1, says."""
    import cv2

    tint = [np.float32(part / 255) for part in (*colour[:3], 255)]
    for top in range(0, len(canvas), 64):  # in strips that stay in the processor's cache
        under, alpha = canvas[top : top + 64], coverage[top : top + 64] * np.float32(colour[3] / 255 * strength)
        clear = 1 - alpha
        cv2.multiply(under, cv2.merge([clear, clear, clear, clear]), dst=under)
        cv2.add(under, cv2.merge([alpha * part for part in tint]), dst=under)


def mask(width: int, height: int, placed: list[tuple[float, int, Piece]], px: float, stroke: float) -> Canvas:
    """Coverage (h, w) of pieces without colours of their own, each with its x and baseline in px, made `stroke` px fatter."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for x, y, piece in placed:
        if not piece.font.colour:
            face, _ = piece.face(px)
            draw.text((x, y), piece.text, 255, face, "ls", stroke_width=stroke, direction=piece.direction)
    return np.asarray(image, np.float32) / np.float32(255)


def paint_emoji(canvas: Canvas, x: float, y: int, piece: Piece, px: float, fill: Colour) -> None:
    """Draw emoji over a canvas at `x` and baseline `y` px, at their own size and then scaled; room of an em around is needed."""
    import cv2
    from PIL import Image, ImageDraw

    face, scale = piece.face(px)
    size = face.size
    width, up, down = round(face.getlength(piece.text, direction=piece.direction) + size), round(1.2 * size), round(0.5 * size)
    image = Image.new("RGBA", (width, up + down))
    # Pasted on nothing, the colours come out multiplied by alpha, which is what the canvas holds.
    ImageDraw.Draw(image).text((size / 2, up), piece.text, fill, face, "ls", embedded_color=True, direction=piece.direction)
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    sprite = cv2.resize(np.asarray(image, np.float32) / 255, None, fx=scale, fy=scale, interpolation=smaller)
    left, top = round(x - size / 2 * scale), round(y - up * scale)
    under = canvas[top : top + sprite.shape[0], left : left + sprite.shape[1]]
    sprite = sprite[: under.shape[0], : under.shape[1]]
    under *= 1 - sprite[..., 3:]
    under += sprite


def rounded(width: int, height: int, inside: tuple[float, float, float, float], radius: float) -> Canvas:
    """Coverage of a rounded box (left, top, right, bottom), by the distance of each pixel from its edge."""
    left, top, right, bottom = inside
    x = np.abs(np.arange(width) + 0.5 - (left + right) / 2) - (right - left) / 2 + radius
    y = np.abs(np.arange(height) + 0.5 - (top + bottom) / 2) - (bottom - top) / 2 + radius
    corner = np.hypot(np.maximum(x, 0)[None], np.maximum(y, 0)[:, None])
    distance = corner + np.minimum(np.maximum(x[None], y[:, None]), 0) - radius
    coverage: Canvas = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    return coverage
