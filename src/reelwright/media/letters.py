"""Setting type: a text becomes an overlay, in any script, with outline, shadow and box."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, get_args

import annotated_types as at
import numpy as np

from reelwright.errors import RequestError
from reelwright.media import fonts as fontfiles
from reelwright.media.fonts import BUILT_IN, Fonts, Weight
from reelwright.media.ink import Canvas, Piece, mask, over, paint_emoji, rgba, rounded, shapes
from reelwright.media.overlay import Overlay as Overlay
from reelwright.media.writing import clusters, leftward, levels, units, visual
from reelwright.types import Frame, hold

Align = Literal["left", "center", "right"]
Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right", "lower-third"
]

_ASCENT, _DESCENT = 0.78, 0.24
"""How far letters reach above and below the line, in ems; the box and the safe area count with these."""
_PADDING = 0.34
"""Between letters and the edge of their box, in ems."""
_SMALLEST = 0.6
"""A text that has too many lines is set this much smaller at most, then cut."""
_LONGEST = 4000
"""Characters; no frame holds more, and measuring them takes time."""


@dataclass(frozen=True)
class LetterStyle:
    """How letters look and where they stand. Raises RequestError for a value out of bounds or a bad colour."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    font: str | None = None
    """Name of a family, or path of a font file; None chooses a clean sans-serif for each script."""
    size: Annotated[float, at.Interval(ge=0.01, le=0.5)] = 0.045
    """Height of an em as a fraction of the frame's height."""
    colour: str = "#ffffff"
    weight: Weight = "regular"
    outline: Annotated[float, at.Interval(ge=0, le=0.3)] = 0.05
    """Width of the line around the letters as a fraction of the size; 0 is none."""
    outline_colour: str = "#000000"
    shadow: Annotated[float, at.Interval(ge=0, le=1)] = 0.5
    """Strength of the soft shadow, 0..1; 0 is none."""
    box: str | None = None
    """Colour of a rounded box behind the text, mostly with alpha ("#000000a0"); None is none."""
    position: Position = "bottom"
    align: Align | None = None
    """How lines of different width stand to each other; None goes by the position."""
    margin: Annotated[float, at.Interval(ge=0, le=0.4)] = 0.05
    """What stays free at each side, as a fraction of width and height; 0.05 is the title-safe area of EBU R 95."""
    line_spacing: Annotated[float, at.Interval(ge=0.8, le=3)] = 1.25
    """From line to line, in sizes."""
    max_lines: Annotated[int, at.Interval(ge=1, le=100)] | None = None
    """A longer text is set smaller, to 60 % at least, then cut; None is as many as the safe area holds."""

    def __post_init__(self) -> None:
        hold(self)
        for name, known in (("position", Position), ("weight", Weight), ("align", Align)):
            got = getattr(self, name)
            if got not in get_args(known) and not (name == "align" and got is None):
                raise RequestError(f"{name} must be one of {', '.join(get_args(known))}, not {got!r}", field=name)
        for colour in (self.colour, self.outline_colour, self.box):
            if colour is not None:
                rgba(colour)

    @property
    def aligned(self) -> Align:
        """`align`, or what the position suggests."""
        side = self.position.rpartition("-")[2]
        return self.align or ("left" if side in ("left", "third") else "right" if side == "right" else "center")


# ---- measuring


class _Type:
    """The fonts and the direction of one text."""

    def __init__(self, style: LetterStyle, fonts: Fonts) -> None:
        self.style, self.fonts = style, fonts
        self.spare = next((font for _, font in fonts.choose("x", style.weight, style.font) if font), BUILT_IN)

    def pieces(self, line: str, rtl: bool) -> list[Piece]:
        """A line in parts of one font and one direction, from left to right."""
        found: list[tuple[int, Piece]] = []
        depth, at_char = levels(line, rtl), 0
        for run, font in self.fonts.choose(line, self.style.weight, self.style.font):
            end = at_char + len(run)
            while at_char < end:
                stop = next((i for i in range(at_char, end) if depth[i] != depth[at_char]), end)
                odd = depth[at_char] % 2 == 1
                text = line[at_char:stop]
                if odd and not shapes():
                    text = "".join(reversed(clusters(text)))
                found.append((depth[at_char], Piece(text, font or self.spare, odd)))
                at_char = stop
        return visual(found)

    def width(self, line: str, px: float) -> float:
        return sum(piece.width(px) for piece in self.pieces(line, False))

    def notes(self, text: str) -> list[str]:
        """What is not as asked: characters without a font, a family that is not here, marks that cannot be placed."""
        style, found = self.style, []
        if style.font and self.fonts.find(style.font, style.weight) is None:
            found.append(f"No font named {style.font} on this machine; another is used.")
        lacking = fontfiles.lacking(self.fonts.choose(text, style.weight, style.font))
        if lacking:
            found.append(fontfiles.missing_note(lacking))
        if not shapes() and any(unicodedata.bidirectional(c) in ("R", "AL", "NSM") for c in text):
            found.append("Pillow was built without Raqm here: joined scripts and marks are set letter by letter.")
        return found


# ---- breaking lines


def _fill(parts: list[tuple[str, float, float]], limit: float) -> list[str]:
    """Lines as full as `limit` allows; `parts` are (text, width, width of the space after it)."""
    lines: list[str] = []
    line, used, gap = "", 0.0, 0.0
    for text, width, space in parts:
        if line and used + gap + width > limit:
            lines.append(line)
            line, used, gap = "", 0.0, 0.0
        line += (" " if gap else "") + text
        used += gap + width
        gap = space
    return [*lines, line] if line else lines


def _break(paragraph: str, limit: float, measure: Callable[[str], float]) -> list[str]:
    """A paragraph in lines of `limit` px at most, of about the same length; one line for an empty paragraph."""
    widths: dict[str, float] = {}
    parts: list[tuple[str, float, float]] = []
    space = measure(" ")
    for text, spaced in units(paragraph):
        width = widths.get(text) or widths.setdefault(text, measure(text))
        pieces = [text] if width <= limit else _fill([(c, measure(c), 0.0) for c in clusters(text)], limit)
        parts.extend((piece, measure(piece), 0.0) for piece in pieces[:-1])
        parts.append((pieces[-1], width if len(pieces) == 1 else measure(pieces[-1]), space if spaced else 0.0))
    lines = _fill(parts, limit)
    if len(lines) > 1:
        low, high = max(width for _, width, _ in parts), limit
        while high - low > 2:
            middle = (low + high) / 2
            low, high = (middle, high) if len(_fill(parts, middle)) > len(lines) else (low, middle)
        lines = _fill(parts, high)
    return lines or [""]


class _Setting(NamedTuple):
    px: float
    lines: list[tuple[str, bool]]
    """Each with whether its paragraph reads leftward."""
    cut: bool


def _fit(text: str, type_: _Type, width: float, height: float, px: float) -> _Setting:
    """The largest size, from `px` down, at which `text` has few enough lines; cut where none has."""
    style = type_.style
    for shrink in (1.0, 0.92, 0.84, 0.76, 0.68, _SMALLEST):
        size = px * shrink
        padding = 2 * _PADDING * size if style.box else 2 * style.outline * size
        limit = max(width - padding, size)
        rows = max(1, int((height - padding - size * (_ASCENT + _DESCENT)) / (size * style.line_spacing) + 1))
        rows = min(rows, style.max_lines or rows)
        lines = [
            (line, leftward(paragraph))
            for paragraph in text.split("\n")
            for line in _break(paragraph, limit, lambda part, size=size: type_.width(part, size))  # type: ignore[misc]  # bound at once
        ]
        if len(lines) <= rows:
            return _Setting(size, lines, False)
    last, rtl = lines[rows - 1]
    kept = clusters(last)
    while kept and type_.width("".join(kept) + "…", size) > limit:
        kept.pop()
    return _Setting(size, [*lines[: rows - 1], ("".join(kept).rstrip() + "…", rtl)], True)


# ---- painting


def _paint(
    shape: tuple[int, int], placed: list[tuple[float, int, Piece]], px: float, style: LetterStyle
) -> tuple[Canvas, Canvas]:
    """Two premultiplied canvases of `shape` (h, w): shadow with outline, and letters."""
    import cv2

    height, width = shape
    below, above = np.zeros((height, width, 4), np.float32), np.zeros((height, width, 4), np.float32)
    stroke = style.outline * px
    over(above, mask(width, height, placed, px, 0), rgba(style.colour))
    for x, y, piece in placed:
        if piece.font.colour:
            paint_emoji(above, x, y, piece, px, rgba(style.colour))
    outline = mask(width, height, placed, px, stroke) if stroke else above[..., 3]
    if style.shadow:
        cast = np.maximum(outline, above[..., 3])
        drop = max(1.0, px * 0.04)
        moved = cv2.warpAffine(cast, np.array([[1, 0, drop * 0.5], [0, 1, drop]]), (width, height))
        # A wide blur of a quarter of the picture looks the same and takes a tenth of the time.
        part = 0.25 if px > 100 else 1.0
        small = cv2.resize(moved, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
        soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), max(0.8, px * 0.055 * part)), (width, height))
        soft[soft < 1 / 512] = 0  # an endless tail of nothing, slow to reckon with
        over(below, np.minimum(soft * 1.3, 1), (0, 0, 0, 255), style.shadow)
    if stroke:
        over(below, outline, rgba(style.outline_colour))
    return below, above


def set_type(text: str, width: int, height: int, style: LetterStyle | None = None, fonts: Fonts | None = None) -> Overlay:
    """`text` as an overlay for frames of `width` x `height` px; its notes tell of missing characters, fonts and cuts.

    It is wrapped to the safe area in balanced lines, line ends in the text are kept, and each script is set by its own
    rules. `fonts` are this machine's by default. Raises MediaError if the style names a font file that cannot be read.
    """
    style = style or LetterStyle()
    type_ = _Type(style, fonts or fontfiles.machine())
    text = _cleaned(text)
    safe_w, safe_h = width * (1 - 2 * style.margin), height * (1 - 2 * style.margin)
    px, lines, cut = _fit("".join(clusters(text[: _LONGEST + 1])[:_LONGEST]), type_, safe_w, safe_h, style.size * height)
    cut = cut or len(text) > _LONGEST
    laid = [type_.pieces(line, rtl) for line, rtl in lines]
    widths = [sum(piece.width(px) for piece in line) for line in laid]
    pad = int(px) + 8
    step = px * style.line_spacing
    inner_w, inner_h = max(widths), step * (len(laid) - 1) + px * (_ASCENT + _DESCENT)
    share = {"left": 0.0, "center": 0.5, "right": 1.0}[style.aligned]
    placed: list[tuple[float, int, Piece]] = []
    for row, (line, line_w) in enumerate(zip(laid, widths, strict=True)):
        x, y = pad + (inner_w - line_w) * share, round(pad + px * _ASCENT + row * step)
        for piece in line:
            placed.append((x, y, piece))
            x += piece.width(px)
    shape = (int(inner_h) + 2 * pad + 1, int(inner_w) + 2 * pad + 1)
    below, above = _paint(shape, placed, px, style)
    canvas = below * (1 - above[..., 3:]) + above
    if style.box and text.strip():
        room = _PADDING * px
        edges = pad - room, pad - room, pad + inner_w + room, pad + inner_h + room
        back = np.zeros_like(canvas)
        over(back, rounded(shape[1], shape[0], edges, 0.18 * px), rgba(style.box))
        canvas = back * (1 - canvas[..., 3:]) + canvas
    left, top = _corner(style, (width, height), (inner_w, inner_h), (_PADDING if style.box else style.outline) * px)
    notes = [
        *type_.notes(text),
        *([f"The text is too long for its place and was cut after: {lines[-1][0][-40:]}"] if cut else []),
    ]
    return Overlay.of_premultiplied(canvas, left - pad, top - pad, notes)


def _cleaned(text: str) -> str:
    """The text with one kind of line end, and without control characters and halves of surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").replace("\u2028", "\n").replace("\u2029", "\n")
    text = "".join(c if unicodedata.category(c) != "Cs" else "\ufffd" for c in text)
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) != "Cc").strip("\n")


def _corner(style: LetterStyle, frame: tuple[int, int], block: tuple[float, float], room: float) -> tuple[int, int]:
    """Where the block's top left corner stands in the frame, in px; `room` is what outline or box add around it."""
    spare_w, spare_h = (whole * (1 - 2 * style.margin) - part - 2 * room for whole, part in zip(frame, block, strict=True))
    first, _, second = style.position.partition("-")
    side = second or (first if first in ("left", "right") else "")
    across = {"left": 0.0, "third": 0.0, "right": 1.0}.get(side, 0.5)
    down = {"top": 0.0, "bottom": 1.0}.get(first, 0.5)
    y = frame[1] * style.margin + spare_h * down
    if style.position == "lower-third":
        y = min(max(frame[1] * 0.82 - block[1] - 2 * room, frame[1] * style.margin), y + spare_h / 2)  # captions fit below
    return round(frame[0] * style.margin + spare_w * across + room), round(y + room)


def fade_opacity(index: int, count: int, fps: float, seconds: float = 0.4) -> float:
    """Opacity 0..1 of frame `index` of `count`: the title fades in and out over `seconds` each, half its length at most."""
    ramp = min(seconds * float(fps), count / 2)
    near = min(index + 0.5, count - index - 0.5) / ramp if ramp else 1.0
    eased = min(max(near, 0.0), 1.0)
    return eased * eased * (3 - 2 * eased)


class Counter:
    """A number or timecode that changes with every frame, in columns that stand still.

    `template` is a text of the greatest length ("00:00:00:00"): it sets the place, and a shorter text is aligned in it as
    the style says. `chars` are all that can be drawn. Raises as `set_type` does.
    """

    def __init__(
        self,
        template: str,
        width: int,
        height: int,
        style: LetterStyle | None = None,
        chars: str = "0123456789:.;/ ",
        fonts: Fonts | None = None,
    ) -> None:
        style = style or LetterStyle()
        type_ = _Type(style, fonts or fontfiles.machine())
        px = style.size * height
        self.style, self.notes = style, tuple(type_.notes(chars))
        pieces = {char: type_.pieces(char, False)[0] for char in chars + template}
        digit = max((piece.width(px) for char, piece in pieces.items() if char.isdigit()), default=0.0)
        self._cells, self._sprites = {}, {}
        self._pad = (int(px) + 9) // 2 * 2
        tall = int(px * (_ASCENT + _DESCENT)) + 2 * self._pad
        for char, piece in pieces.items():
            cell = -int(-max(piece.width(px), digit if char.isdigit() else 0.0) // 2) * 2
            x = self._pad + (cell - piece.width(px)) / 2
            both = _paint((tall, cell + 2 * self._pad), [(x, round(self._pad + px * _ASCENT), piece)], px, style)
            self._cells[char] = cell
            self._sprites[char] = tuple(Overlay.of_premultiplied(canvas, 0, 0) for canvas in both)
        self._room = sum(self._cells[char] for char in template)
        block = (self._room, px * (_ASCENT + _DESCENT))
        left, top = _corner(style, (width, height), block, (_PADDING if style.box else style.outline) * px)
        self.x, self.y = left // 2 * 2, top // 2 * 2
        self._box = self._backed(block, _PADDING * px) if style.box else None

    def _backed(self, block: tuple[float, float], room: float) -> Overlay:
        shape = (int(block[1]) + 2 * self._pad, int(block[0]) + 2 * self._pad)
        edges = self._pad - room, self._pad - room, self._pad + block[0] + room, self._pad + block[1] + room
        canvas = np.zeros((*shape, 4), np.float32)
        over(canvas, rounded(shape[1], shape[0], edges, room / 2), rgba(self.style.box or "#000"))
        return Overlay.of_premultiplied(canvas, self.x - self._pad, self.y - self._pad)

    def draw(self, frame: Frame, text: str, opacity: float = 1.0) -> None:
        """Draw `text` into `frame` in place. Raises RequestError for a character that was not prepared."""
        strange = [char for char in text if char not in self._cells]
        if strange:
            raise RequestError(f"this counter has no sprite for {strange[0]!r}")
        if self._box is not None:
            self._box.draw(frame, opacity)
        share = {"left": 0.0, "center": 0.5, "right": 1.0}[self.style.aligned]
        start = self.x + int((self._room - sum(self._cells[char] for char in text)) * share) // 2 * 2
        # All shadows and outlines first: none may darken the letter before it.
        for layer in (0, 1):
            x = start
            for char in text:
                sprite = self._sprites[char][layer]
                sprite.draw_at(frame, x - self._pad + sprite.x, self.y - self._pad + sprite.y, opacity)
                x += self._cells[char]
