"""Camera moves as data: what each is called, what a prompt says for it, and the path of the view.

A path turns eased time `u` (0..1, one value a frame) and a strength into `Views`. Adding a move is adding one entry to
`MOVES`; nothing else lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
from numpy.typing import NDArray

from reelwright.errors import RequestError
from reelwright.types import hold

Reals = NDArray[np.float64]
Ease = Literal["linear", "in", "out", "in-out"]


@dataclass(frozen=True)
class Views:
    """What the camera sees in each frame; every array has shape (n,).

    `x`, `y`: where the view lies within the room that the picture leaves it, -1 (left, top) .. 1. `scale`: the part
    of the picture seen, 1 = as much as fits the frame's shape. `roll`, `yaw`, `pitch` in degrees. `near`: only the room
    that closing in has made counts, so that a small sway stays small over a picture of another shape.
    """

    x: Reals
    y: Reals
    scale: Reals
    roll: Reals
    yaw: Reals
    pitch: Reals
    near: bool = False

    @property
    def flat(self) -> bool:
        """True if no frame is turned, so that rows and columns can be sampled apart."""
        return not (self.roll.any() or self.yaw.any() or self.pitch.any())


def views(
    u: Reals, *, x: object = 0.0, y: object = 0.0, scale: object = 1.0, roll: object = 0.0, yaw: object = 0.0, pitch: object = 0.0
) -> Views:
    """Views from scalars or arrays, each spread to the shape of `u`."""

    def spread(value: object) -> Reals:
        return np.broadcast_to(np.asarray(value, np.float64), u.shape)

    return Views(spread(x), spread(y), spread(scale), spread(roll), spread(yaw), spread(pitch))


Path = Callable[[Reals, float], Views]


@dataclass(frozen=True)
class Move:
    """One camera move: its name, what it shows, the words a video model understands, its path.

    A path is given eased time 0..1; that of a move that `wanders` is given seconds, and goes on at its own pace however
    long the clip is.
    """

    name: str
    description: str
    phrase: str
    path: Path = field(repr=False)
    wanders: bool = False


@dataclass(frozen=True)
class Camera:
    """A move with its strength and easing.

    `move`: a name of `MOVES`. `strength`: 0 (still) .. 2, default 1. `ease`: linear, in, out or in-out (default).
    """

    move: str = "static"
    strength: Annotated[float, at.Interval(ge=0, le=2)] = 1.0
    ease: Ease = "in-out"

    def __post_init__(self) -> None:
        hold(self)
        object.__setattr__(self, "move", find(self.move).name)

    def views(self, frames: int, fps: float) -> Views:
        """The views of a clip of this many frames; `fps` sets the pace of moves that do not depend on length."""
        time = np.arange(frames) / max(1, frames - 1)
        move = find(self.move)
        return move.path(np.arange(frames) / fps if move.wanders else eased(time, self.ease), self.strength)


def eased(u: Reals, ease: Ease) -> Reals:
    """`u` (0..1) with an easing: sine in-out, quadratic in or out."""
    if ease == "in":
        return u**2
    if ease == "out":
        return 1 - (1 - u) ** 2
    if ease == "in-out":
        return (1 - np.cos(np.pi * u)) / 2
    return u


def find(name: str) -> Move:
    """The move of this name; spaces, underscores and capitals do not matter. Raises RequestError."""
    key = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    key = _ALIASES.get(key, key)
    if key not in MOVES:
        raise RequestError(f"there is no camera move {name!r}", hint=f"Known moves: {', '.join(MOVES)}.", field="camera")
    return MOVES[key]


def _between(u: Reals, first: float, last: float) -> Reals:
    return first + (last - first) * u


def _slide(axis: str, sign: float, room: float, yaw: float = 0.0) -> Path:
    """Across the picture; `room` is how far the view must close in to have somewhere to go."""

    def path(u: Reals, strength: float) -> Views:
        along = _between(u, -sign, sign) * min(1.0, strength)
        turn = _between(u, -yaw, yaw) * strength
        scale = 1 - room * strength
        return views(u, x=along, scale=scale, yaw=turn) if axis == "x" else views(u, y=along, scale=scale, pitch=turn)

    return path


def _zoom(first: float, last: float) -> Path:
    """A lens that changes: the same ratio in every moment looks like an even speed."""

    def path(u: Reals, strength: float) -> Views:
        low, high = 1 - (1 - first) * strength * 0.9, 1 - (1 - last) * strength * 0.9
        return views(u, scale=low * (high / low) ** u)

    return path


def _travel(first: float, last: float, lift: float = 0.0) -> Path:
    """A camera that comes nearer or goes away: what is seen shrinks with the distance, evenly."""

    def path(u: Reals, strength: float) -> Views:
        scale = 1 - (1 - _between(u, first, last)) * strength * 0.9
        return views(u, scale=scale, y=lift * strength * _between(u, -1, 1))

    return path


def _nearer(scale: Reals | float, strength: float) -> Reals | float:
    """A scale reached in full at strength 1, twice as far at 2, not at all at 0."""
    return 1 - (1 - scale) * strength


def _roll(first: float, last: float) -> Path:
    def path(u: Reals, strength: float) -> Views:
        # A turned view closes in by itself as far as its shape and the picture's make it necessary.
        return views(u, roll=_between(u, first, last) * strength)

    return path


def _around(sign: float, first: float, last: float) -> Path:
    """Around the subject: the picture turns while the view drifts against it."""

    def path(u: Reals, strength: float) -> Views:
        swing = _between(u, -1, 1) * sign * strength
        return views(u, x=0.55 * np.clip(swing, -1, 1), yaw=7 * swing, scale=_nearer(_between(u, first, last), strength))

    return path


def _crane(sign: float) -> Path:
    def path(u: Reals, strength: float) -> Views:
        height = _between(u, 1, -1) * sign * min(1.0, strength)
        return views(u, y=height, scale=_nearer(_between(u, 0.78, 0.9), strength), pitch=3 * height * strength)

    return path


def _wander(seconds: Reals, *waves: tuple[float, float]) -> Reals:
    """A sum of slow sines whose periods do not meet: smooth, and never quite the same again."""
    return np.asarray(sum(np.sin(2 * np.pi * hertz * seconds + phase) / (1 + i) for i, (hertz, phase) in enumerate(waves)))


def _handheld(seconds: Reals, strength: float) -> Views:
    across = _wander(seconds, (0.31, 0.2), (0.83, 1.7), (1.9, 4.0))
    along = _wander(seconds, (0.37, 2.9), (0.71, 0.4), (2.3, 1.1))
    turn = _wander(seconds, (0.23, 1.0), (0.9, 3.3))
    roll, scale = 0.35 * strength * turn, _nearer(0.96, strength)
    return replace(views(seconds, x=0.45 * across, y=0.5 * along, roll=roll, scale=scale), near=True)


def _float(seconds: Reals, strength: float) -> Views:
    x, y = _wander(seconds, (0.09, 0.0), (0.05, 2.0)), _wander(seconds, (0.07, 1.2), (0.11, 0.3))
    return replace(views(seconds, x=0.6 * x, y=0.6 * y, scale=_nearer(0.92, strength)), near=True)


def _spiral(u: Reals, strength: float) -> Views:
    return views(u, roll=8 * u * strength, scale=_nearer(_between(u, 0.95, 0.7), strength))


def _static(u: Reals, _strength: float) -> Views:
    return views(u)


def _dutch(u: Reals, strength: float) -> Views:
    return _roll(7, 8.5)(u, strength)


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move("static", "The camera does not move.", "static shot, locked-off camera", _static),
        Move("pan-left", "Turns left on the spot.", "camera pans left", _slide("x", -1, 0.16)),
        Move("pan-right", "Turns right on the spot.", "camera pans right", _slide("x", 1, 0.16)),
        Move("tilt-up", "Looks up on the spot.", "camera tilts up", _slide("y", -1, 0.16)),
        Move("tilt-down", "Looks down on the spot.", "camera tilts down", _slide("y", 1, 0.16)),
        Move("zoom-in", "The lens closes in.", "camera zooms in", _zoom(1, 0.7)),
        Move("zoom-out", "The lens opens up.", "camera zooms out", _zoom(0.7, 1)),
        Move("dolly-in", "The camera rolls towards the subject.", "dolly in, camera moves forward", _travel(1, 0.68, 0.12)),
        Move("dolly-out", "The camera rolls back from the subject.", "dolly out, camera moves backward", _travel(0.68, 1, -0.12)),
        Move("push-in", "A slow, small move towards the subject.", "slow push-in", _travel(1, 0.84)),
        Move("pull-out", "A slow, small move away.", "slow pull-out reveal", _travel(0.84, 1)),
        Move("truck-left", "The camera travels left.", "camera trucks left, tracking shot", _slide("x", -1, 0.22, -2.5)),
        Move("truck-right", "The camera travels right.", "camera trucks right, tracking shot", _slide("x", 1, 0.22, 2.5)),
        Move("pedestal-up", "The camera rises straight up.", "camera pedestals up", _slide("y", -1, 0.2, -2.0)),
        Move("pedestal-down", "The camera sinks straight down.", "camera pedestals down", _slide("y", 1, 0.2, 2.0)),
        Move("roll-left", "Turns about the lens, against the clock.", "camera rolls counter-clockwise", _roll(-4, 4)),
        Move("roll-right", "Turns about the lens, with the clock.", "camera rolls clockwise", _roll(4, -4)),
        Move("orbit-left", "Circles the subject to the left.", "camera orbits left around the subject", _around(-1, 0.8, 0.8)),
        Move("orbit-right", "Circles the subject to the right.", "camera orbits right around the subject", _around(1, 0.8, 0.8)),
        Move("arc-left", "Circles left and comes nearer.", "arc shot to the left, moving closer", _around(-1, 0.86, 0.7)),
        Move("arc-right", "Circles right and comes nearer.", "arc shot to the right, moving closer", _around(1, 0.86, 0.7)),
        Move("crane-up", "Rises high and looks down.", "crane shot rising up", _crane(1)),
        Move("crane-down", "Comes down from above.", "crane shot descending", _crane(-1)),
        Move("handheld", "Breathes and sways like a camera in the hand.", "handheld camera, natural shake", _handheld, True),
        Move("float", "Drifts gently, like a camera on a gimbal.", "floating steadicam shot", _float, True),
        Move("spiral", "Turns while it closes in.", "spiralling camera moving in", _spiral),
        Move("dutch", "Tilted, uneasy frame.", "dutch angle", _dutch),
    )
}
"""Every camera move by name; the one list of them."""

_ALIASES = {
    "none": "static",
    "still": "static",
    "pan": "pan-right",
    "tilt": "tilt-up",
    "zoom": "zoom-in",
    "dolly": "dolly-in",
    "truck": "truck-right",
    "tracking": "truck-right",
    "pedestal": "pedestal-up",
    "roll": "roll-left",
    "orbit": "orbit-left",
    "arc": "arc-left",
    "crane": "crane-up",
    "push": "push-in",
    "pull": "pull-out",
    "pull-back": "pull-out",
    "steadicam": "float",
    "gimbal": "float",
    "dutch-angle": "dutch",
}
