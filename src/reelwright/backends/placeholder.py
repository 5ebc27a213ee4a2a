"""The model that needs nothing: a moving landscape that follows from the prompt, or a camera over a given picture (M1).

Same shot, same pixels. It costs less than the encoder that takes its frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np

from reelwright.backends.recent import Recent
from reelwright.backends.scenery import number, paint
from reelwright.backends.slate import Slate
from reelwright.catalog import Card, Shot
from reelwright.errors import Unsupported
from reelwright.media import grade
from reelwright.media.camera import Lens, Still, StillFrames, prepared
from reelwright.media.decode import first_frame
from reelwright.media.grade import Grade
from reelwright.media.moves import Camera, Reals, Views
from reelwright.run import Run
from reelwright.types import Frame, Plane, Role, Video, VideoSpec

_LARGEST = 1920
"""px: landscapes are painted this wide at most and enlarged; they are soft, and painting has to be quick."""
_ROOM = 1.3
"""How much larger than the frame a landscape is painted, for the camera to move in."""


_DRIFT = (11.0, 5.0, 5.0)
"""Code values by which light and colours drift, in luma and both chroma planes."""


_DEFAULTS: dict[str, Any] = {
    "camera": "static",
    "camera_strength": 1.0,
    "ease": "in-out",
    "effect": [],
    "labels": "auto",
    "scene": 0,
}
"""Of the options that a card may leave out."""


class Placeholder:
    """The backend of the `placeholder` card.

    It keeps the last pictures that it made ready: a film opens each scene twice, for the transition into it and for itself.
    """

    def __init__(self) -> None:
        self._stills: Recent[Still] = Recent(4)
        self._plates: Recent[_Plates] = Recent(4)

    def check(self, card: Card) -> None:
        """Every card that asks for nothing but the options below can be drawn; raises Unsupported."""
        unknown = set(card.options) - set(_DEFAULTS)
        if unknown or card.audio:
            raise Unsupported(f"the placeholder cannot do {', '.join(sorted(unknown)) or 'sound'}", model=card.id)

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot as a video whose frames are made when they are read."""
        options = _DEFAULTS | dict(shot.options)
        camera = Camera(str(options["camera"]), float(options["camera_strength"]), options["ease"])
        effects = [grade.find(name).name for name in options["effect"]]
        spec = VideoSpec(shot.width, shot.height, shot.fps, shot.frames)
        given = shot.input(Role.FIRST_FRAME)
        labels = options["labels"] == "on" or (options["labels"] in ("auto", "raised") and given is None)
        slate = None
        if labels:
            slate = Slate(shot, camera.move, effects, raised=options["labels"] == "raised")
            for note in slate.notes:
                run.note(note)
        source: StillFrames | _Landscape
        if given is not None:
            path, key = run.fetch(given.ref), (given.digest, camera, spec)
            still = self._stills.get(key, lambda: Still(first_frame(path), camera, spec))
            source = StillFrames(lambda: still, spec)
        else:
            scene = (shot.prompt, shot.seed, camera, spec)
            source = _Landscape(lambda: self._plates.get(scene, lambda: _Plates.of(*scene)), spec, grade.pace(effects))
        return Video(spec, DrawnFrames(source, spec, Grade(effects, spec.width, spec.height), slate, run))

    def close(self) -> None:
        """Let the pictures go."""
        self._stills.clear()
        self._plates.clear()


class DrawnFrames(Iterator[Frame]):
    """The placeholder's frames; made when asked for, skipped for nothing."""

    def __init__(self, source: StillFrames | _Landscape, spec: VideoSpec, looks: Grade, slate: Slate | None, run: Run) -> None:
        self._source, self._spec, self._grade, self._slate, self._run = source, spec, looks, slate, run
        self._next = 0

    def __next__(self) -> Frame:
        frame = next(self._source)
        self._grade.draw(frame, self._next)
        if self._slate is not None:
            self._slate.draw(frame, self._next)
        self._next += 1
        self._run.step(self._next, self._spec.frames, "draw")
        return frame

    def skip(self, count: int) -> None:
        """Pass over frames without drawing them."""
        self._next += count
        self._source.skip(count)

    def close(self) -> None:
        """Let go of the pictures."""
        self._source.close()


@dataclass(frozen=True)
class _Layer:
    """The near plate: colours multiplied by alpha, and what shines through (255 - alpha), as planes with their lens."""

    colour: Frame
    clear: Plane
    clear_chroma: Plane


@dataclass(frozen=True)
class _Plates:
    """A painted landscape made ready for a move; only read. `top`: the frame's first row that the near plate reaches."""

    far: Frame
    far_lens: Lens
    near: _Layer
    near_lens: Lens
    top: int
    waves: Reals

    @classmethod
    def of(cls, prompt: str, seed: int, camera: Camera, spec: VideoSpec) -> Self:
        """Paint it."""
        factor = min(_ROOM, _LARGEST / max(spec.width, spec.height))
        scenery = paint(prompt, seed, max(64, round(spec.width * factor)), max(64, round(spec.height * factor)))
        views = camera.views(spec.frames, float(spec.fps))
        far, far_lens = prepared(scenery.far, _deeper(views, 0.72), spec.width, spec.height)
        for plane, amount in zip(far.planes, _DRIFT, strict=True):
            # The drift only ever adds; half of it is taken away here, once.
            cv2.subtract(plane, np.full_like(plane, round(amount * 0.9)), dst=plane)
        alpha = scenery.near[..., 3]
        # Premultiplied in limited range: black at alpha 0 is (0, 0, 0), not (16, 128, 128).
        plain, near_lens = prepared(scenery.near[..., :3], views, spec.width, spec.height)
        mask, _ = prepared(np.repeat(alpha[..., None], 3, axis=2), views, spec.width, spec.height)
        near = _premultiplied(plain, mask)
        top = _first_row(near, near_lens, spec)
        waves = np.random.default_rng(number(prompt, seed, "drift")).uniform((0.5, 0.5, 0.05, 0), (2.2, 2.2, 0.16, 6.28), (5, 4))
        return cls(far, far_lens, near, near_lens.below(top) if top < spec.height else near_lens, top, waves)


def _first_row(near: _Layer, lens: Lens, spec: VideoSpec) -> int:
    """The highest row of the frame that the near plate ever reaches, even; the frame's height if it stays outside."""
    probe = np.empty((spec.height, spec.width), np.uint8)
    top = spec.height
    for index in np.linspace(0, spec.frames - 1, min(spec.frames, 9)).astype(int):
        lens.sample(near.clear, int(index), probe)
        touched = np.flatnonzero(probe.min(axis=1) < 255)
        top = min(top, int(touched[0]) if len(touched) else top)
    return top if top == spec.height else max(0, (top - spec.height // 40) // 2 * 2)


class _Landscape(Iterator[Frame]):
    """A landscape in two depths with light drifting over it."""

    def __init__(self, make: Callable[[], _Plates], spec: VideoSpec, pace: float) -> None:
        self._make, self._spec, self._pace, self._next = make, spec, pace, 0
        self._plates: _Plates | None = None

    def __next__(self) -> Frame:
        if self._next >= self._spec.frames:
            self.close()
            raise StopIteration
        self._plates = self._plates or self._make()
        index, self._next = self._next, self._next + 1
        frame = self._plates.far_lens.draw(self._plates.far, index)
        _drift(frame, self._plates.waves, index / float(self._spec.fps) * self._pace)
        _cover(frame, self._plates, index)
        return frame

    def skip(self, count: int) -> None:
        """Pass over frames without drawing them."""
        self._next += count

    def close(self) -> None:
        """Let go of the plates."""
        self._next, self._plates = self._spec.frames, None


def _drift(frame: Frame, known: Reals, seconds: float) -> None:
    """Slow light and colour over the sky: a few plane waves at a 60th of the size."""
    y, x = np.mgrid[0 : 1 : 18 * 1j, 0 : 1 : 32 * 1j]
    for plane, turn, amount in zip(frame.planes, (0.0, 2.1, 4.2), _DRIFT, strict=True):
        waves = [np.sin(2 * np.pi * (a * x + b * y + speed * seconds) + phase + turn) for a, b, speed, phase in known]
        light = np.clip(np.mean(waves, axis=0) * amount + amount * 0.9, 0, 2 * amount).astype(np.uint8)
        size = (plane.shape[1], plane.shape[0])
        cv2.add(plane, cv2.resize(light, size, interpolation=cv2.INTER_LINEAR), dst=plane)


def _cover(frame: Frame, plates: _Plates, index: int) -> None:
    """The near plate over the frame's lower rows."""
    top, lens = plates.top, plates.near_lens
    if top >= frame.height:
        return
    clear = np.empty((frame.height - top, frame.width), np.uint8)
    half = np.empty((clear.shape[0] // 2, clear.shape[1] // 2), np.uint8)
    lens.sample(plates.near.clear, index, clear)
    lens.sample(plates.near.clear_chroma, index, half, chroma=True)
    for plane, source, alpha in zip(frame.planes, plates.near.colour.planes, (clear, half, half), strict=True):
        drawn = np.empty_like(alpha)
        lens.sample(source, index, drawn, chroma=alpha is half)
        part = plane[-alpha.shape[0] :]
        cv2.multiply(part, alpha, dst=part, scale=1 / 255)
        cv2.add(part, drawn, dst=part)


def _deeper(views: Views, amount: float) -> Views:
    """The same move for a plate further away: it goes `amount` as far."""
    return dataclasses.replace(views, x=views.x * amount, y=views.y * amount, scale=1 - (1 - views.scale) * amount)


def _premultiplied(plain: Frame, mask: Frame) -> _Layer:
    """Planes multiplied by alpha; `mask` carries alpha 0..255 as grey in limited range."""
    alpha = np.clip((mask.y.astype(np.float32) - 16) * (255 / 219), 0, 255)
    half = cv2.resize(alpha, (mask.width // 2, mask.height // 2), interpolation=cv2.INTER_AREA)
    made = Frame.empty(plain.width, plain.height)
    for plane, out, share in zip(plain.planes, made.planes, (alpha, half, half), strict=True):
        out[:] = np.rint(plane * (share / 255)).astype(np.uint8)
    return _Layer(made, np.asarray(255 - np.rint(alpha), np.uint8), np.asarray(255 - np.rint(half), np.uint8))
