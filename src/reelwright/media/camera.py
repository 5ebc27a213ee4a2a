"""A camera over a still or a clip, to a fraction of a pixel.

`cv2.resize` is two to three times as fast as `cv2.warpAffine`, but its region starts at a whole pixel. Here the part
of a pixel that is missing is found in the scale: sampling k columns more on the left moves the grid by k*step, and one
of 32 values of k brings it within a small part of a pixel of where it should be; the step is then solved again so that
the centre of the frame is exact. What is left is an error of at most 1/16 px at the frame's edge. Turned views (roll,
yaw, pitch) go through a homography, and close in as far as they must to see nothing beyond the picture's edge.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from reelwright.media.moves import Camera, Reals, Views
from reelwright.types import Frame, Plane, Video, VideoSpec

_SHIFTS = 32
_TOLERANCE = 1 / 16
_CLEAR = 1.035
"""Steps nearer to 1 than this cannot be solved: shifting by whole columns then never changes the fraction."""
_MARGIN = 64
"""Luma px of repeated border around a still, so that views at its edge have columns to shift into."""


@dataclass(frozen=True)
class _Axis:
    """One direction of a grid: output i lies at `start + (i + .5) * step - .5`; solved as origin, shift and step."""

    start: Reals
    step: Reals
    origin: np.ndarray[Any, np.dtype[np.intp]]
    shift: np.ndarray[Any, np.dtype[np.intp]]
    solved: Reals
    fine: np.ndarray[Any, np.dtype[np.bool_]]


def _solve(start: Reals, step: Reals, count: int, length: int) -> _Axis:
    shifts = np.arange(_SHIFTS)
    place = start[:, None] - shifts * step[:, None]
    origin = np.rint(place)
    off = place - origin
    inside = (origin >= 0) & (origin + np.ceil((count + shifts) * step[:, None]) + 1 <= length)
    best = np.where(inside, np.abs(off), np.inf).argmin(axis=1)
    rows = np.arange(len(start))
    error = np.where(inside[rows, best], np.abs(off[rows, best]), np.inf)
    solved = step + off[rows, best] / (best + count / 2)
    return _Axis(start, step, origin[rows, best].astype(np.intp), best, solved, error <= _TOLERANCE)


@dataclass(frozen=True)
class _Line:
    """One direction before it is solved: where the view starts in the source and its step, both in samples, by frame."""

    start: Reals
    step: Reals
    count: int
    length: int
    reach: Reals
    """The room, in samples, over which a place of -1..1 is spread."""

    @classmethod
    def of(cls, place: Reals, step: Reals, count: int, source: int, scaled: int, margin: int, widest: float) -> _Line:
        """A view at `place` (-1..1) in `source` px, or the middle `widest` of them; they are `scaled` samples within `margin`."""
        ratio = scaled / source
        reach = min(source, widest) - step * count
        start = (source - step * count + reach * place) / 2
        return cls(start * ratio + margin, step * ratio, count, scaled + 2 * margin, reach * ratio)

    def halved(self, *, sited: bool) -> _Line:
        """The same line over a chroma plane; `sited`: its samples lie on the even luma samples, not between two."""
        shift = (1 - self.step) / 4 if sited else 0.0
        return _Line(self.start / 2 + shift, self.step, self.count // 2, self.length // 2, self.reach / 2)

    def solve(self) -> _Axis:
        """Whole-sample origins and shifts that come within 1/16 sample, where there are any."""
        return _solve(self.start, self.step, self.count, self.length)


@dataclass(frozen=True)
class _Grid:
    """Where each output sample of one plane lies in the source plane, for every frame."""

    width: int
    height: int
    across: _Axis
    down: _Axis

    def sample(self, plane: Plane, index: int, out: Plane) -> None:
        """Draw frame `index` of the move over `plane` into `out`."""
        ax, ay = self.across, self.down
        if ax.fine[index] and ay.fine[index]:
            kx, ky = ax.shift[index], ay.shift[index]
            x, y = ax.origin[index], ay.origin[index]
            sx, sy = ax.solved[index], ay.solved[index]
            region = plane[y : y + int((self.height + ky) * sy) + 2, x : x + int((self.width + kx) * sx) + 2]
            drawn = cv2.resize(region, None, fx=1 / sx, fy=1 / sy, interpolation=cv2.INTER_LINEAR)
            piece = drawn[ky : ky + self.height, kx : kx + self.width]
            if piece.shape == out.shape:
                out[:] = piece
                return
        sx, sy = ax.step[index], ay.step[index]
        matrix = np.array([[sx, 0, ax.start[index] + sx / 2 - 0.5], [0, sy, ay.start[index] + sy / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(plane, matrix, (self.width, self.height), dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)


class Lens:
    """The views of a move worked out for one source size and one output size.

    `width`, `height`: of the output in px. `source_width`, `source_height`: of the picture in px. `scaled`: the size at
    which its planes are given, the same by default. `margin`: luma px of border that the planes carry on every side.
    """

    def __init__(
        self,
        views: Views,
        size: tuple[int, int],
        source: tuple[int, int],
        scaled: tuple[int, int] | None = None,
        margin: int = 0,
    ) -> None:
        self.width, self.height = width, height = size
        columns, rows = scaled or source
        fit = min(source[0] / width, source[1] / height)
        step = views.scale * fit
        # Rounding a scaled still to even sides stretches it a little; each axis keeps its own exact step.
        widest = (fit * width, fit * height) if views.near else source
        across = _Line.of(views.x, step, width, source[0], columns, margin, widest[0])
        down = _Line.of(views.y, step, height, source[1], rows, margin, widest[1])
        self.closest = float(min(across.step.min(), down.step.min()))
        """The smallest step between output pixels, in samples."""
        self._homographies: Reals | None = None
        if not views.flat:
            self._homographies, nearer = _homographies(views, across, down, (columns, rows), margin)
            self.closest *= nearer
        else:
            self._solve(across, down)

    def _solve(self, across: _Line, down: _Line) -> None:
        """The grids of both plane sizes. Chroma is sited on even luma columns and between luma rows."""
        self._lines = across, down
        self._luma = _Grid(across.count, down.count, across.solve(), down.solve())
        half_across, half_down = across.halved(sited=True), down.halved(sited=False)
        self._chroma = _Grid(half_across.count, half_down.count, half_across.solve(), half_down.solve())

    def below(self, top: int) -> Lens:
        """The same lens for the rows of the output from `top` (even px) down."""
        made = copy.copy(self)
        made.height = self.height - top
        if self._homographies is not None:
            made._homographies = self._homographies @ np.array([[1, 0, 0], [0, 1, top], [0, 0, 1.0]])
        else:
            across, down = self._lines
            made._solve(across, replace(down, start=down.start + top * down.step, count=made.height))
        return made

    def sample(self, plane: Plane, index: int, out: Plane, *, chroma: bool = False) -> None:
        """Frame `index` of one plane; `out` has the output's (or half its) size."""
        if self._homographies is None:
            (self._chroma if chroma else self._luma).sample(plane, index, out)
            return
        matrix = self._homographies[index]
        if chroma:
            matrix = _TO_CHROMA @ matrix @ _FROM_CHROMA
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (out.shape[1], out.shape[0])
        cv2.warpPerspective(plane, matrix, size, dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def draw(self, source: Frame, index: int) -> Frame:
        """Frame `index` of the move over `source`."""
        made = Frame.empty(self.width, self.height)
        for plane, out in zip(source.planes, made.planes, strict=True):
            self.sample(plane, index, out, chroma=plane is not source.y)
        return made


# Pixel centres: luma (x, y) and chroma (x/2, (y - .5)/2).
_TO_CHROMA = np.array([[0.5, 0, 0], [0, 0.5, -0.25], [0, 0, 1]])
_FROM_CHROMA = np.linalg.inv(_TO_CHROMA)


def _homographies(views: Views, across: _Line, down: _Line, scaled: tuple[int, int], margin: int) -> tuple[Reals, float]:
    """Output pixel to source pixel, shape (n, 3, 3): a plane turned before a camera of 50 degrees, then placed.

    The four corners of a turned view tell how much room it takes. What is left of the picture is divided by `views.x`
    and `views.y`, so that no view leaves it; where none is left, all views close in by the same factor, returned too.
    """
    width, height = across.count, down.count
    focal = width / (2 * np.tan(np.radians(25)))
    centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1.0]])
    turns = np.empty((len(across.step), 3, 3))
    for i, (roll, yaw, pitch) in enumerate(np.radians(np.stack([views.roll, views.yaw, views.pitch], axis=1))):
        turn = _about_y(yaw) @ _about_x(pitch) @ _about_z(roll)
        # A picture point (a, b) at distance `focal` is seen at turn @ (a, b, 0) + (0, 0, focal), projected.
        onto = np.diag([focal, focal, 1.0]) @ np.column_stack([turn[:, 0], turn[:, 1], [0, 0, focal]])
        turns[i] = np.linalg.inv(onto) @ centre
    # The outer edges of the corner pixels, in output px about the middle.
    edges = np.array([[x, y, 1] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)]).T
    seen = turns @ edges
    low, high = ((seen[:, :2] / seen[:, 2:]).min(axis=2), (seen[:, :2] / seen[:, 2:]).max(axis=2))
    steps, sides = np.stack([across.step, down.step], axis=1), np.array(scaled)
    nearer = min(1.0, float((sides / ((high - low) * steps)).min()))
    steps = steps * nearer
    room = np.maximum(0, sides - (high - low) * steps)
    reach = np.minimum(room, np.stack([across.reach, down.reach], axis=1)) if views.near else room
    middles = margin - 0.5 - low * steps + (room + reach * np.stack([views.x, views.y], axis=1)) / 2
    place = np.zeros_like(turns)
    place[:, 0, 0], place[:, 1, 1], place[:, 2, 2] = steps[:, 0], steps[:, 1], 1
    place[:, :2, 2] = middles
    matrices = place @ turns
    return np.asarray(matrices / matrices[:, 2:, 2:]), nearer


def _about_x(a: float) -> Reals:
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def _about_y(a: float) -> Reals:
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])


def _about_z(a: float) -> Reals:
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])


def prepared(rgb: Plane, views: Views, width: int, height: int) -> tuple[Frame, Lens]:
    """A still scaled once so that the move over it samples well, with the lens that reads it.

    `rgb`: shape (h, w, 3), sRGB. Every view then has a step of at least 1.035 px, which keeps sub-pixel positions
    solvable and spares the per-frame resize from magnifying.
    """
    rows, columns = rgb.shape[:2]
    factor = _CLEAR / Lens(views, (width, height), (columns, rows)).closest
    size = (max(2, round(columns * factor / 2) * 2), max(2, round(rows * factor / 2) * 2))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled = rgb if size == (columns, rows) else cv2.resize(rgb, size, interpolation=way)
    flat = Frame.of(np.asarray(scaled, np.uint8))
    return bordered(flat, _MARGIN), Lens(views, (width, height), (columns, rows), size, _MARGIN)


def fitted(rgb: Plane, width: int, height: int) -> Frame:
    """A still cropped about its middle to a frame's shape and scaled to its size."""
    rows, columns = rgb.shape[:2]
    fit = min(columns / width, rows / height)
    seen = (min(columns, max(1, round(width * fit))), min(rows, max(1, round(height * fit))))
    x, y = (columns - seen[0]) // 2, (rows - seen[1]) // 2
    part = np.ascontiguousarray(rgb[y : y + seen[1], x : x + seen[0]])
    way = cv2.INTER_AREA if fit > 1 else cv2.INTER_CUBIC
    return Frame.of(
        np.asarray(part if seen == (width, height) else cv2.resize(part, (width, height), interpolation=way), np.uint8)
    )


def bordered(frame: Frame, margin: int) -> Frame:
    """The frame with `margin` luma px (even) of its edge repeated on every side."""
    made = Frame.empty(frame.width + 2 * margin, frame.height + 2 * margin)
    for plane, out in zip(frame.planes, made.planes, strict=True):
        m = margin if plane is frame.y else margin // 2
        cv2.copyMakeBorder(plane, m, m, m, m, cv2.BORDER_REPLICATE, dst=out)
    return made


class Still:
    """A picture made ready for a move: scaled, in planes, with its lens. It is only read, and may serve several clips."""

    def __init__(self, rgb: Plane, camera: Camera, spec: VideoSpec) -> None:
        self.spec = spec
        self._lens: Lens | None = None
        if camera.move == "static" or not camera.strength:
            self._frame = fitted(rgb, spec.width, spec.height)
        else:
            views = camera.views(spec.frames, float(spec.fps))
            self._frame, self._lens = prepared(rgb, views, spec.width, spec.height)

    def draw(self, index: int) -> Frame:
        """Frame `index` of the move."""
        return self._frame.copy() if self._lens is None else self._lens.draw(self._frame, index)


class StillFrames(Iterator[Frame]):
    """The frames of a move over a still; made when asked for, skipped for nothing; `make` is called for the first one."""

    def __init__(self, make: Callable[[], Still], spec: VideoSpec) -> None:
        self._make, self._spec, self._next = make, spec, 0
        self._still: Still | None = None

    def __next__(self) -> Frame:
        if self._next >= self._spec.frames:
            self.close()
            raise StopIteration
        self._still = self._still or self._make()
        index, self._next = self._next, self._next + 1
        return self._still.draw(index)

    def skip(self, count: int) -> None:
        """Pass over frames without drawing them."""
        self._next += count

    def close(self) -> None:
        """Let go of the picture."""
        self._next, self._still = self._spec.frames, None


def over_still(rgb: Plane, camera: Camera, spec: VideoSpec) -> Video:
    """A clip of `spec`'s size and length: `camera` over a still of shape (h, w, 3), sRGB, of any size."""
    return Video(spec.but(audio=False), StillFrames(lambda: Still(rgb, camera, spec), spec))


def over_clip(video: Video, camera: Camera) -> Video:
    """The clip seen through `camera`; size, length and sound stay."""
    if camera.move == "static" or not camera.strength:
        return video
    spec = video.spec
    size = (spec.width, spec.height)
    lens = Lens(camera.views(spec.frames, float(spec.fps)), size, size)

    def frames() -> Iterator[Frame]:
        for index, frame in enumerate(video.frames):
            yield lens.draw(frame, index)

    return Video(spec, frames(), video.samples, (video,))
