"""Effects and grades as data, each a short list of operations on planes.

An operation is made once for a frame size and then called on each frame with its index; it draws in place. Tables of
single values are merged, so that a grade of curves and tints costs three look-ups however many it combines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from reelwright.errors import RequestError
from reelwright.types import Frame, Plane, Video

Draw = Callable[[Frame, int], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A table for each plane: luma 0..1 to 0..1, chroma -0.5..0.5 to the same."""

    y: Callable[[Floats], Floats] = lambda level: level
    u: Callable[[Floats], Floats] = lambda colour: colour
    v: Callable[[Floats], Floats] = lambda colour: colour

    def tables(self) -> tuple[Plane, Plane, Plane]:
        """The three tables of 256 values in limited range."""
        codes = np.arange(256.0)
        luma = np.clip(self.y(np.clip((codes - 16) / 219, 0, 1)), 0, 1) * 219 + 16
        colour = (codes - 128) / 224
        chroma = [np.clip(curve(colour), -0.5, 0.5) * 224 + 128 for curve in (self.u, self.v)]
        return tuple(np.rint(table).astype(np.uint8) for table in (luma, *chroma))


Operation = Curve | Callable[[int, int], Draw]
"""A curve, or a function of (width, height) that prepares a drawing function."""


@dataclass(frozen=True)
class Effect:
    """A look: its name, what it does, the words a video model understands, its operations, its pace.

    `pace`: how fast time runs, 1 = as filmed; 0.5 shows half of the clip in slow motion.
    """

    name: str
    description: str
    phrase: str
    operations: tuple[Operation, ...] = field(default=(), repr=False)
    pace: float = 1.0


def find(name: str) -> Effect:
    """The effect of this name; spaces, underscores and capitals do not matter. Raises RequestError."""
    key = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
    key = {
        "bw": "noir",
        "black-and-white": "monochrome",
        "grain": "film-grain",
        "slowmo": "slow-motion",
        "slow-mo": "slow-motion",
    }.get(key, key)
    if key not in EFFECTS:
        raise RequestError(f"there is no effect {name!r}", hint=f"Known effects: {', '.join(EFFECTS)}.", field="effect")
    return EFFECTS[key]


def contrast(amount: float, pivot: float = 0.45) -> Callable[[Floats], Floats]:
    """An S curve about `pivot`; 0 changes nothing, 1 is strong."""

    def curve(level: Floats) -> Floats:
        smooth = level * level * (3 - 2 * level)
        return np.asarray(level + amount * (smooth - level) + amount * 0.15 * (level - pivot))

    return curve


def _lifted(black: float, white: float, gamma: float = 1.0) -> Callable[[Floats], Floats]:
    return lambda level: np.asarray(black + (white - black) * level**gamma)


def _tint(shift: float, strength: float = 1.0) -> Callable[[Floats], Floats]:
    return lambda colour: np.asarray(colour * strength + shift)


def _vignette(amount: float) -> Callable[[int, int], Draw]:
    """Darkens towards the corners, by `amount` (0..1) in the outermost."""

    def prepare(width: int, height: int) -> Draw:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        far = np.clip((np.sqrt(x * x + y * y) - 0.55) / 0.86, 0, 1)
        kept = 1 - amount * far * far * (3 - 2 * far)
        # Limited range: black (16) must stay black, so 16 * (1 - kept) is given back.
        mask = np.rint(kept * 255).astype(np.uint8)
        back = np.rint(16 * (1 - mask / 255.0)).astype(np.uint8)
        small = cv2.resize(mask, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return_colour = np.rint(128 * (1 - small / 255.0)).astype(np.uint8)

        def draw(frame: Frame, _index: int) -> None:
            for plane, kept_part, offset in (
                (frame.y, mask, back),
                (frame.u, small, return_colour),
                (frame.v, small, return_colour),
            ):
                cv2.multiply(plane, kept_part, dst=plane, scale=1 / 255)
                cv2.add(plane, offset, dst=plane)

        return draw

    return prepare


def _grain(amount: float) -> Callable[[int, int], Draw]:
    """Film grain of `amount` code values rms: one noise field, read from a new place in every frame."""

    def prepare(width: int, height: int) -> Draw:
        random = np.random.default_rng(20)
        scale = max(1.0, height / 720)
        shape = (round((height + 64) / scale) + 2, round((width + 64) / scale) + 2)
        noise = random.normal(0, amount, shape).astype(np.float32)
        field_ = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 0.6) * 1.6, (width + 64, height + 64), interpolation=cv2.INTER_LINEAR)
        light = np.clip(np.rint(field_), 0, 255).astype(np.uint8)
        dark = np.clip(np.rint(-field_), 0, 255).astype(np.uint8)

        def draw(frame: Frame, index: int) -> None:
            x, y = (int(value) for value in np.random.default_rng(index).integers(0, 64, 2))
            cv2.add(frame.y, light[y : y + height, x : x + width], dst=frame.y)
            cv2.subtract(frame.y, dark[y : y + height, x : x + width], dst=frame.y)

        return draw

    return prepare


def _letterbox(aspect: float) -> Callable[[int, int], Draw]:
    """Black bars that leave a picture of this aspect ratio."""

    def prepare(width: int, height: int) -> Draw:
        bar = max(0, round((height - width / aspect) / 4) * 2)

        def draw(frame: Frame, _index: int) -> None:
            if bar:
                for plane, black, rows in ((frame.y, 16, bar), (frame.u, 128, bar // 2), (frame.v, 128, bar // 2)):
                    plane[:rows] = black
                    plane[-rows:] = black

        return draw

    return prepare


def _glow(amount: float, threshold: int = 90) -> Callable[[int, int], Draw]:
    """Light spills over: a blurred, quarter-size copy of what is bright is screened over the picture."""

    def prepare(width: int, height: int) -> Draw:
        size = (max(2, width // 8), max(2, height // 8))
        bright = np.clip((np.arange(256) - threshold) * amount, 0, 255).astype(np.uint8)

        def draw(frame: Frame, _index: int) -> None:
            small = cv2.LUT(cv2.resize(frame.y, size, interpolation=cv2.INTER_AREA), bright)
            soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.2), (width, height), interpolation=cv2.INTER_LINEAR)
            cv2.add(frame.y, soft, dst=frame.y)
            np.minimum(frame.y, 235, out=frame.y)

        return draw

    return prepare


def _split_tone(dark_u: float, dark_v: float, light_u: float, light_v: float) -> Callable[[int, int], Draw]:
    """Colours for shadows and lights, chroma shifts in -0.5..0.5; between them they blend by luma."""

    def prepare(width: int, height: int) -> Draw:
        level = np.clip((np.arange(256) - 16) / 219, 0, 1)
        tables = []
        for dark, light in ((dark_u, light_u), (dark_v, light_v)):
            shift = (dark * (1 - level) + light * level) * 224
            tables.append((np.clip(np.rint(shift), 0, 255).astype(np.uint8), np.clip(np.rint(-shift), 0, 255).astype(np.uint8)))

        def draw(frame: Frame, _index: int) -> None:
            luma = cv2.resize(frame.y, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            for plane, (more, less) in zip((frame.u, frame.v), tables, strict=True):
                cv2.add(plane, cv2.LUT(luma, more), dst=plane)
                cv2.subtract(plane, cv2.LUT(luma, less), dst=plane)

        return draw

    return prepare


def _flicker(amount: float) -> Callable[[int, int], Draw]:
    """The lamp of an old projector: brightness wavers by `amount` (0..1)."""

    def prepare(_width: int, _height: int) -> Draw:
        def draw(frame: Frame, index: int) -> None:
            level = 1 + amount * (np.sin(index * 1.7) * 0.5 + np.random.default_rng(index).uniform(-0.5, 0.5))
            table = np.clip(16 + (np.arange(256) - 16) * level, 0, 235).astype(np.uint8)
            cv2.LUT(frame.y, table, dst=frame.y)

        return draw

    return prepare


_FADED = Curve(y=_lifted(0.07, 0.95, 0.96), u=_tint(-0.03, 0.72), v=_tint(0.022, 0.72))

EFFECTS: dict[str, Effect] = {
    effect.name: effect
    for effect in (
        Effect("none", "As it is.", ""),
        Effect("cinematic", "Teal shadows, warm lights, soft corners.",
               "cinematic lighting, film look, teal and orange grade",
               (Curve(y=contrast(0.35)), _split_tone(0.03, -0.03, -0.028, 0.024), _vignette(0.3))),
        Effect("dramatic", "Deep shadows, strong contrast, dark corners.", "dramatic lighting, high contrast, deep shadows",
               (Curve(y=contrast(0.75, 0.5), u=_tint(0, 0.86), v=_tint(0, 0.86)), _vignette(0.5))),
        Effect("slow-motion", "Time runs at half its pace.", "slow motion, high frame rate", pace=0.5),
        Effect("noir", "Black and white, hard light, grain.", "film noir, black and white, hard shadows",
               (Curve(y=contrast(0.8, 0.5), u=_tint(0, 0), v=_tint(0, 0)), _vignette(0.5), _grain(3.5))),
        Effect("monochrome", "Black and white.", "black and white photography",
               (Curve(y=contrast(0.25), u=_tint(0, 0), v=_tint(0, 0)),)),
        Effect("vintage", "Faded colours, lifted blacks, grain, a wavering lamp.", "vintage film, faded colours, 1970s footage",
               (_FADED, _vignette(0.35), _grain(3.0), _flicker(0.03))),
        Effect("sepia", "Brown and cream, like an old photograph.", "sepia tone, antique photograph",
               (Curve(y=contrast(0.2), u=_tint(-0.055, 0), v=_tint(0.04, 0)), _vignette(0.4))),
        Effect("dreamy", "Glowing lights, soft contrast, pastel colours.", "dreamy soft focus, glowing light, ethereal",
               (Curve(y=_lifted(0.06, 0.98, 0.86), u=_tint(0.006, 0.9), v=_tint(0.01, 0.9)), _glow(0.42))),
        Effect("warm", "Towards evening sun.", "warm golden light", (Curve(u=_tint(-0.038), v=_tint(0.032)),)),
        Effect("cold", "Towards winter and moonlight.", "cold blue light", (Curve(u=_tint(0.042), v=_tint(-0.03)),)),
        Effect("high-contrast", "Bright lights, dark shadows.", "high contrast", (Curve(y=contrast(0.9, 0.5)),)),
        Effect("low-contrast", "Flat and soft, for grading later.", "low contrast, flat picture",
               (Curve(y=_lifted(0.1, 0.88)),)),
        Effect("vivid", "Colours stronger.", "vivid saturated colours",
               (Curve(y=contrast(0.2), u=_tint(0, 1.35), v=_tint(0, 1.35)),)),
        Effect("muted", "Colours quieter.", "muted desaturated colours", (Curve(u=_tint(0, 0.6), v=_tint(0, 0.6)),)),
        Effect("bleach-bypass", "Silver left in the film: hard and pale.", "bleach bypass, desaturated high contrast",
               (Curve(y=contrast(0.8, 0.48), u=_tint(0, 0.45), v=_tint(0, 0.45)), _grain(2.0))),
        Effect("night", "Day for night: blue and dark.", "night, moonlight, day for night",
               (Curve(y=_lifted(0.0, 0.62, 1.25), u=_tint(0.06, 0.6), v=_tint(-0.03, 0.6)), _vignette(0.45))),
        Effect("vignette", "Darker corners.", "vignette", (_vignette(0.55),)),
        Effect("film-grain", "The grain of fast film.", "film grain", (_grain(4.0),)),
        Effect("glow", "Lights spill over.", "glowing highlights, bloom", (_glow(0.6),)),
        Effect("letterbox", "Black bars, 2.39:1.", "anamorphic widescreen, letterbox", (_letterbox(2.39),)),
        Effect("old-film", "An early film: grey, flickering, grainy.", "silent era film, flickering",
               (Curve(y=contrast(0.5), u=_tint(-0.012, 0), v=_tint(0.01, 0)), _vignette(0.6), _grain(6.0), _flicker(0.09))),
    )
}  # fmt: skip
"""Every effect by name; the one list of them."""


def pace(effects: Iterable[str]) -> float:
    """How fast time runs under these effects together."""
    return float(np.prod([find(name).pace for name in effects]))


class Grade:
    """Effects, in order, prepared for one frame size."""

    def __init__(self, effects: Sequence[str], width: int, height: int) -> None:
        self._steps: list[Draw] = []
        tables: tuple[Plane, ...] | None = None
        for operation in (operation for name in effects for operation in find(name).operations):
            if isinstance(operation, Curve):
                made = operation.tables()
                tables = made if tables is None else tuple(after[before] for after, before in zip(made, tables, strict=True))
                continue
            if tables is not None:
                self._steps.append(_looked_up(tables))
                tables = None
            self._steps.append(operation(width, height))
        if tables is not None:
            self._steps.append(_looked_up(tables))

    def draw(self, frame: Frame, index: int) -> None:
        """Grade the frame in place; `index` is its place in the clip."""
        for step in self._steps:
            step(frame, index)


def _looked_up(tables: tuple[Plane, ...]) -> Draw:
    same = np.arange(256, dtype=np.uint8)
    changed = [not np.array_equal(table, same) for table in tables]

    def draw(frame: Frame, _index: int) -> None:
        for plane, table, wanted in zip(frame.planes, tables, changed, strict=True):
            if wanted:
                cv2.LUT(plane, table, dst=plane)

    return draw


def graded(video: Video, effects: Sequence[str]) -> Video:
    """The video with effects drawn on its frames; effects that change time are applied by `edit.retime`."""
    if not any(find(name).operations for name in effects):
        return video
    grade = Grade(effects, video.spec.width, video.spec.height)

    def frames() -> Iterator[Frame]:
        for index, frame in enumerate(video.frames):
            grade.draw(frame, index)
            yield frame

    return Video(video.spec, frames(), video.samples, (video,))
