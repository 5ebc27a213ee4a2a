"""Transitions as data: each a function of two frames and a position that draws what lies between.

`draw(a, b, p)` with p in 0..1 returns a frame: `a` at 0, `b` at 1. It may draw into `a` or `b`, which belong to it. All
work on planes; positions on edges are even, so that chroma follows luma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

import cv2
import numpy as np

from reelwright.errors import RequestError
from reelwright.media.camera import Lens
from reelwright.media.moves import eased, views
from reelwright.types import Frame, Plane

Draw = Callable[[Frame, Frame, float], Frame]


@dataclass(frozen=True)
class Transition:
    """One way from a clip to the next; `seconds` is its usual length (0 for a cut)."""

    name: str
    description: str
    draw: Draw = field(repr=False)
    seconds: float = 0.5


def find(name: str) -> Transition:
    """The transition of this name; spaces, underscores and capitals do not matter. Raises RequestError."""
    key = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    key = _ALIASES.get(key, key)
    if key not in TRANSITIONS:
        raise RequestError(
            f"there is no transition {name!r}", hint=f"Known transitions: {', '.join(TRANSITIONS)}.", field="transition"
        )
    return TRANSITIONS[key]


def _even(value: float) -> int:
    return round(value / 2) * 2


def _smooth(p: float) -> float:
    return float(eased(np.float64(p), "in-out"))  # type: ignore[arg-type]  # a scalar does as well


def mix(a: Frame, b: Frame, p: float) -> Frame:
    """`a` and `b` blended, `p` of `b`; drawn into `a`."""
    cv2.addWeighted(a.buffer, 1 - p, b.buffer, p, 0, dst=a.buffer)
    return a


def _through(luma: int, a: Frame, b: Frame, p: float) -> Frame:
    """Out to one grey and in again."""
    frame, kept = (a, 1 - 2 * p) if p < 0.5 else (b, 2 * p - 1)
    # cv2 computes buffer * kept + offset; the offset is where the plane goes: the grey, or no colour.
    cv2.convertScaleAbs(frame.y, dst=frame.y, alpha=kept, beta=luma * (1 - kept))
    for plane in (frame.u, frame.v):
        cv2.convertScaleAbs(plane, dst=plane, alpha=kept, beta=128 * (1 - kept))
    return frame


def _cut(a: Frame, b: Frame, p: float) -> Frame:
    return a if p < 0.5 else b


def _flash(a: Frame, b: Frame, p: float) -> Frame:
    """A burst of light hides the cut."""
    frame = a if p < 0.35 else b
    light = p / 0.35 if p < 0.35 else (1 - p) / 0.65
    cv2.convertScaleAbs(frame.y, dst=frame.y, alpha=1 - 0.8 * light, beta=235 * 0.8 * light + 40 * light)
    np.minimum(frame.y, 235, out=frame.y)
    for plane in (frame.u, frame.v):
        cv2.convertScaleAbs(plane, dst=plane, alpha=1 - light, beta=128 * light)
    return frame


def _boxes(frame: Frame, x: int, y: int, width: int, height: int) -> tuple[tuple[Plane, slice, slice], ...]:
    """A box of even px in each plane."""
    luma = (slice(y, y + height), slice(x, x + width))
    chroma = (slice(y // 2, (y + height) // 2), slice(x // 2, (x + width) // 2))
    return ((frame.y, *luma), (frame.u, *chroma), (frame.v, *chroma))


def _paste(onto: Frame, source: Frame, at: tuple[int, int], start: tuple[int, int], size: tuple[int, int]) -> None:
    """Copy a box of `size` that starts at `start` in `source` to `at`; all (x, y), even px."""
    if min(size) <= 0:
        return
    for (out, rows, columns), (plane, from_rows, from_columns) in zip(
        _boxes(onto, *at, *size), _boxes(source, *start, *size), strict=True
    ):
        out[rows, columns] = plane[from_rows, from_columns]


_SOFT = 0.06
"""Width of a soft edge as a part of the frame."""


@lru_cache(maxsize=8)
def _ramp(width: int, height: int, kind: str) -> tuple[Plane, Plane]:
    """For each pixel when (0..255) it changes over; full size and half size."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    wide = width / height
    far = np.hypot((x - 0.5) * wide, y - 0.5) / np.hypot(0.5 * wide, 0.5)
    angle = np.mod(np.arctan2((x - 0.5) * wide, 0.5 - y), 2 * np.pi) / (2 * np.pi)
    shapes: dict[str, Callable[[], np.ndarray]] = {
        "left": lambda: 1 - x,
        "right": lambda: x,
        "up": lambda: 1 - y,
        "down": lambda: y,
        "iris-open": lambda: far,
        "iris-close": lambda: 1 - far,
        "clock": lambda: angle,
        "barn-doors": lambda: np.abs(x - 0.5) * 2,
        "diagonal": lambda: (x + y) / 2,
        "blinds": lambda: np.mod(np.minimum(x, 0.999) * 8, 1),
        "dissolve": lambda: _noise(width, height),
    }
    full = np.clip(shapes[kind]() * 255, 0, 255).astype(np.uint8)
    return full, np.ascontiguousarray(full[::2, ::2])


def _noise(width: int, height: int) -> np.ndarray:
    """Even noise with soft grains of about three px: sorted ranks, so that every moment changes as many pixels."""
    coarse = np.random.default_rng(7).random((max(2, height // 3), max(2, width // 3)), np.float32)
    soft = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 0.8), (width, height), interpolation=cv2.INTER_LINEAR)
    edges = np.quantile(soft[::4, ::4], np.linspace(0, 1, 257))
    return np.searchsorted(edges, soft).astype(np.float32) / 257


def _masked(kind: str, soft: float, a: Frame, b: Frame, p: float) -> Frame:
    """Each pixel changes over when its ramp is reached, over a soft edge."""
    full, half = _ramp(a.width, a.height, kind)
    edge = max(2.0, 255 * soft)
    reached = p * (255 + edge)
    share = np.clip((reached - np.arange(256.0)) / edge, 0, 1)  # of b, by ramp value
    table = np.rint(share * 255).astype(np.uint8)
    for plane, other, ramp in ((a.y, b.y, full), (a.u, b.u, half), (a.v, b.v, half)):
        _blend(plane, other, ramp, table)
    return a


def _blend(plane: Plane, other: Plane, ramp: Plane, table: Plane) -> None:
    """plane = plane * (1 - share) + other * share, in place; `table`: falling shares 0..255 by ramp value.

    Only the box around the soft edge is computed; what lies beyond it is copied or left alone.
    """
    whole, some = int(np.count_nonzero(table == 255)), int(np.count_nonzero(table))
    if some == 0:
        return
    x, y, width, height = cv2.boundingRect(cv2.inRange(ramp, whole, some - 1)) if some > whole else (0, 0, 0, 0)
    if width * height < 0.6 * plane.size:
        if whole:
            cv2.copyTo(other, cv2.compare(ramp, whole - 1, cv2.CMP_LE), plane)  # type: ignore[call-overload]  # a number does
    else:
        x, y, (height, width) = 0, 0, plane.shape
    if width * height == 0:
        return
    box = (slice(y, y + height), slice(x, x + width))
    part, share = plane[box], cv2.LUT(ramp[box], table)
    came = cv2.multiply(other[box], share, scale=1 / 255)
    cv2.multiply(part, cv2.bitwise_not(share, dst=share), dst=part, scale=1 / 255)
    cv2.add(part, came, dst=part)


_SIDES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def _slide(side: str, a: Frame, b: Frame, p: float) -> Frame:
    """`b` comes in over `a`."""
    dx, dy = _SIDES[side]
    width, height = a.width, a.height
    rest = 1 - _smooth(p)
    x, y = _even(-dx * width * rest), _even(-dy * height * rest)
    _paste(a, b, (max(0, x), max(0, y)), (max(0, -x), max(0, -y)), (width - abs(x), height - abs(y)))
    return a


def _push(side: str, a: Frame, b: Frame, p: float) -> Frame:
    """`b` pushes `a` out."""
    dx, dy = _SIDES[side]
    width, height = a.width, a.height
    gone = _smooth(p)
    x, y = _even(dx * width * gone), _even(dy * height * gone)
    made = b.copy()
    _paste(made, a, (max(0, x), max(0, y)), (max(0, -x), max(0, -y)), (width - abs(x), height - abs(y)))
    bx, by = x - dx * width, y - dy * height
    _paste(made, b, (max(0, bx), max(0, by)), (max(0, -bx), max(0, -by)), (width - abs(bx), height - abs(by)))
    return made


def _magnified(frame: Frame, scale: float) -> Frame:
    """The middle of the frame, `scale` (at least 1) times as large."""
    if scale == 1:
        return frame
    size = (frame.width, frame.height)
    return Lens(views(np.zeros(1), scale=1 / scale), size, size).draw(frame, 0)


def _zoom(a: Frame, b: Frame, p: float) -> Frame:
    """Into `a` until `b` is there."""
    gone = _smooth(p)
    return mix(_magnified(a, 1 + 1.2 * gone), _magnified(b, 1.25 - 0.25 * gone), gone)


def _blur(a: Frame, b: Frame, p: float) -> Frame:
    """Out of focus, and into focus on the next clip: blurred at a quarter of the size, at first only mixed in."""
    share = float(np.clip((p - 0.3) / 0.4, 0, 1))
    radius = (1 - abs(2 * p - 1)) * a.height / 47
    made, sharp = Frame.empty(a.width, a.height), a if p < 0.5 else b
    for first, second, out in zip(a.planes, b.planes, made.planes, strict=True):
        rows, columns = out.shape
        size = (max(1, a.width // 4), max(1, a.height // 4))
        given = [(first, 1 - share), (second, share)]
        small = [(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), part) for plane, part in given if part]
        both = small[0][0] if len(small) == 1 else cv2.addWeighted(*small[0], *small[1], 0)
        soft = cv2.GaussianBlur(both, (0, 0), max(0.6, radius / 4))
        cv2.resize(soft, (columns, rows), dst=out, interpolation=cv2.INTER_LINEAR)
    return mix(made, sharp, 1 - radius / 4) if radius < 4 else made


def _pixelate(a: Frame, b: Frame, p: float) -> Frame:
    """Coarser and coarser, then finer."""
    frame = a if p < 0.5 else b
    block = _even((1 - abs(2 * p - 1)) * a.height / 12)
    if block < 2:
        return frame
    made = Frame.empty(frame.width, frame.height)
    cells = (max(1, frame.width // block), max(1, frame.height // block))
    for plane, out in zip(frame.planes, made.planes, strict=True):
        rows, columns = plane.shape
        if rows >= 16 * cells[1] and columns >= 16 * cells[0]:  # a quarter of the size is quick to reach and still fine enough
            smaller = cv2.resize(plane, (columns // 4, rows // 4), interpolation=cv2.INTER_AREA)
        else:
            smaller = plane
        small = cv2.resize(smaller, cells, interpolation=cv2.INTER_AREA)
        cv2.resize(small, (columns, rows), dst=out, interpolation=cv2.INTER_NEAREST)
    return made


def _whip(a: Frame, b: Frame, p: float) -> Frame:
    """A fast pan that blurs across both clips."""
    made = _push("left", a, b, p)
    length = round(made.width / 6 * np.sin(np.pi * p)) | 1
    if length < 3:
        return made
    for plane in made.planes:
        size = length if plane is made.y else length // 2 | 1
        cv2.blur(plane, (size, 1), dst=plane)
    return made


def _wipe(side: str) -> Draw:
    return partial(_masked, side, _SOFT)


TRANSITIONS: dict[str, Transition] = {
    transition.name: transition
    for transition in (
        Transition("cut", "The next clip, at once.", _cut, 0.0),
        Transition("crossfade", "One clip fades into the next.", mix),
        Transition("fade", "Out to black, in from black.", partial(_through, 16), 1.0),
        Transition("fade-white", "Out to white, in from white.", partial(_through, 235), 1.0),
        Transition("dissolve", "Grain by grain.", partial(_masked, "dissolve", 0.25), 0.8),
        *(Transition(f"wipe-{side}", f"An edge sweeps {side}.", _wipe(side)) for side in ("left", "right", "up", "down")),
        *(Transition(f"slide-{side}", f"The next clip slides in, moving {side}.", partial(_slide, side)) for side in _SIDES),
        *(Transition(f"push-{side}", f"The next clip pushes the last one {side}.", partial(_push, side)) for side in _SIDES),
        Transition("zoom", "Into the picture until the next is there.", _zoom),
        Transition("blur", "Out of focus, into focus.", _blur, 0.6),
        Transition("iris-open", "A circle opens.", partial(_masked, "iris-open", 0.03), 0.7),
        Transition("iris-close", "A circle closes.", partial(_masked, "iris-close", 0.03), 0.7),
        Transition("clock", "A hand goes round.", partial(_masked, "clock", 0.03), 0.8),
        Transition("barn-doors", "Two doors open.", partial(_masked, "barn-doors", 0.04), 0.7),
        Transition("diagonal", "An edge from corner to corner.", partial(_masked, "diagonal", _SOFT)),
        Transition("blinds", "Eight blinds turn.", partial(_masked, "blinds", 0.12), 0.7),
        Transition("pixelate", "Coarse, then fine again.", _pixelate, 0.6),
        Transition("whip", "A fast, blurred pan.", _whip, 0.35),
        Transition("flash", "A burst of light.", _flash, 0.4),
    )
}
"""Every transition by name; the one list of them."""

_ALIASES = {
    "none": "cut",
    "cross-fade": "crossfade",
    "fade-black": "fade",
    "dip-to-black": "fade",
    "dip-to-white": "fade-white",
    "wipe": "wipe-left",
    "slide": "slide-left",
    "push": "push-left",
    "iris": "iris-open",
    "clock-wipe": "clock",
    "whip-pan": "whip",
}
