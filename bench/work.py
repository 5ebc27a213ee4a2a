"""The work that all rows do: three photo-like stills, a camera move over each, crossfades, one caption."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reelwright.media import fonts
from reelwright.media.moves import Camera
from reelwright.request import PRESETS, Preset
from reelwright.storyboard import Scene, Storyboard, TransitionSpec

MOVES = ("zoom-in", "pan-right", "dolly-in")
SECONDS, CROSSFADE = 3.0, 0.5
CAPTION = "Low tide, an hour before the light goes"
CAPTIONED = 1
STILL = (1920, 1080)


@dataclass(frozen=True)
class Work:
    """What is to be made: a quality preset and the pictures."""

    name: str
    stills: tuple[Path, ...]

    @property
    def preset(self) -> Preset:
        return PRESETS[self.name]

    @property
    def scene_frames(self) -> int:
        return round(SECONDS * self.preset.fps)

    @property
    def overlap(self) -> int:
        return round(CROSSFADE * self.preset.fps)

    @property
    def frames(self) -> int:
        return len(MOVES) * self.scene_frames - (len(MOVES) - 1) * self.overlap

    @property
    def rate(self) -> list[str]:
        """The rate control of Reelwright's `capped` mode, as FFmpeg's command line spells it."""
        kbit = self.preset.bitrate
        return ["-crf", "20", "-maxrate", f"{kbit}k", "-bufsize", f"{2 * kbit}k", "-g", str(round(2 * self.preset.fps))]

    def board(self) -> Storyboard:
        """The work as a storyboard."""
        scenes = tuple(
            Scene(
                image=str(still),
                model="placeholder",
                seconds=SECONDS,
                camera=move,
                caption=CAPTION if index == CAPTIONED else None,
            )
            for index, (still, move) in enumerate(zip(self.stills, MOVES, strict=True))
        )
        return Storyboard(scenes, quality=self.name, transition=TransitionSpec("crossfade", CROSSFADE))

    def boxes(self, scene: int) -> list[tuple[float, float, float, float]]:
        """What a scene's frames see of its still: left, top, right, bottom in px, to a fraction."""
        return boxes(MOVES[scene], self.scene_frames, float(self.preset.fps), STILL, (self.preset.width, self.preset.height))

    def job(self, folder: Path) -> dict[str, object]:
        """The work as JSON values, for rivals that know nothing of Reelwright."""
        font = next(iter(fonts.machine().choose("x", "regular", None)))[1]
        return {
            "stills": [str(still) for still in self.stills],
            "boxes": [self.boxes(index) for index in range(len(MOVES))],
            "width": self.preset.width,
            "height": self.preset.height,
            "fps": int(self.preset.fps),
            "frames": self.scene_frames,
            "overlap": self.overlap,
            "caption": CAPTION,
            "captioned": CAPTIONED,
            "font": str(font.path) if font is not None else None,
            "letter_px": round(0.045 * self.preset.height),
            "rate": self.rate,
            "folder": str(folder),
        }


def boxes(
    move: str, frames: int, fps: float, still: tuple[int, int], size: tuple[int, int]
) -> list[tuple[float, float, float, float]]:
    """The views of a move that does not turn, as boxes of the still in px."""
    views = Camera(move).views(frames, fps)
    fit = min(still[0] / size[0], still[1] / size[1])
    made = []
    for x, y, scale in zip(views.x, views.y, views.scale, strict=True):
        width, height = scale * fit * size[0], scale * fit * size[1]
        left, top = (still[0] - width) * (1 + x) / 2, (still[1] - height) * (1 + y) / 2
        made.append((float(left), float(top), float(left + width), float(top + height)))
    return made


def zoompan(move: str, frames: int) -> str:
    """The same moves as expressions of FFmpeg's zoompan filter."""
    u = f"(1-cos(PI*on/{frames - 1}))/2"
    middle = "x='(iw-iw/zoom)/2':y='(ih-ih/zoom)/2'"
    return {
        "zoom-in": f"z='1/pow(0.73,{u})':{middle}",
        "pan-right": f"z='1/0.84':x='(iw-iw/zoom)*{u}':y='(ih-ih/zoom)/2'",
        "dolly-in": f"z='1/(1-0.288*{u})':x='(iw-iw/zoom)/2':y='(ih-ih/zoom)*(1+0.12*(2*{u}-1))/2'",
    }[move]


def stills(folder: Path) -> tuple[Path, ...]:
    """Three pictures as JPEG: leaves, a hillside, a street; always the same."""
    made = []
    for name, draw in (("leaves", _leaves), ("hill", _hill), ("street", _street)):
        random = np.random.default_rng(sum(name.encode()))
        picture = np.clip(draw(random) + random.normal(0, 0.8, (STILL[1], STILL[0], 3)), 0, 255).astype(np.uint8)
        path = folder / f"{name}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        made.append(path)
    return tuple(made)


def _cloud(random: np.random.Generator, power: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls as 1/frequency**power, as in photos; mean 0, spread 1."""
    width, height = STILL
    fy, fx = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    radius = np.maximum(1.0, np.hypot(fx, fy))
    spectrum = np.exp(2j * np.pi * random.random(radius.shape)) / radius**power
    made = np.fft.irfft2(spectrum, s=(height, width))
    return ((made - made.mean()) / made.std()).astype(np.float32)


def _ground(random: np.random.Generator, colour: tuple[float, float, float], spread: float, power: float) -> np.ndarray:
    light, tint = _cloud(random, power), _cloud(random, power + 0.3)
    return np.asarray(colour, np.float32) + light[..., None] * spread + tint[..., None] * np.float32([4, -2, -5])


def _leaves(random: np.random.Generator) -> np.ndarray:
    """Leaves on leaves, small ones by far the most: sharp edges at every size."""
    picture, bark = _ground(random, (40, 60, 45), 18, 1.1), _cloud(random, 1.0) * 5
    for _ in range(2600):
        size = min(240.0, 7 / random.random() ** 0.65)
        centre = random.random(2) * STILL
        turn, shape, shade = random.random() * 360, random.uniform(0.25, 0.5), random.uniform(0.35, 1.3)
        colour = np.array([random.uniform(20, 70), random.uniform(70, 170), random.uniform(40, 190)]) * shade
        axes = (round(size * 16), round(size * shape * 16))
        at = (round(centre[0] * 16), round(centre[1] * 16))
        cv2.ellipse(picture, at, axes, turn, 0, 360, colour.tolist(), -1, cv2.LINE_AA, 4)
        tip = np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))]) * size
        ends = [tuple(int(v) for v in (centre + sign * tip) * 16) for sign in (-1, 1)]
        cv2.line(picture, ends[0], ends[1], (colour * 1.25).tolist(), max(1, round(size / 30)), cv2.LINE_AA, 4)
    return cv2.GaussianBlur(picture, (0, 0), 0.7) + bark[..., None]


def _hill(random: np.random.Generator) -> np.ndarray:
    """A soft sky, ridges behind each other, grass in front."""
    width, height = STILL
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = np.float32([205, 165, 120]) * (1 - down) + np.float32([150, 190, 235]) * down + _cloud(random, 1.7)[..., None] * 14
    rows = np.arange(height)[:, None]
    for depth in range(5):
        line = np.cumsum(np.cumsum(random.normal(0, 0.012, width)) - 0.0)
        line = height * (0.34 + 0.1 * depth) + (line - line.mean()) / max(1.0, np.abs(line).max()) * 90
        face = _ground(random, (120 - 16 * depth, 118 - 8 * depth, 100 - 12 * depth), 5 + 5 * depth, 1.25 - 0.08 * depth)
        mask = np.clip(rows - line[None], 0, 1)[..., None].astype(np.float32)
        picture = picture * (1 - mask) + face * mask
    for _ in range(9000):
        x, root = random.random() * width, height * random.uniform(0.72, 1.08)
        reach = (root / height - 0.62) * random.uniform(40, 190)
        points = np.array(
            [
                [x, root],
                [x + random.normal(0, 0.12) * reach, root - reach * 0.6],
                [x + random.normal(0, 0.4) * reach, root - reach],
            ]
        )
        colour = (np.array([50, 130, 130]) * random.uniform(0.35, 1.5) + random.normal(0, 12, 3)).tolist()
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, colour, random.integers(1, 3), cv2.LINE_AA, 4)
    return cv2.GaussianBlur(picture, (0, 0), 0.6)


def _street(random: np.random.Generator) -> np.ndarray:
    """Fronts with windows, signs and wires: straight edges and fine repetition."""
    width, height = STILL
    picture = _ground(random, (190, 180, 170), 10, 1.6)
    left = 0
    while left < width:
        wide, top = int(random.integers(130, 330)), int(random.integers(60, 430))
        wall = _ground(random, tuple(random.uniform(60, 190, 3)), 8, 1.0)
        picture[top:, left : left + wide] = wall[top:, left : left + wide]
        stepx, stepy = int(random.integers(26, 60)), int(random.integers(40, 80))
        for y in range(top + 20, height - 170, stepy):
            for x in range(left + 10, min(left + wide, width) - stepx // 2, stepx):
                box = (x, y), (x + stepx * 3 // 5, y + stepy * 3 // 5)
                cv2.rectangle(picture, *box, (random.uniform(20, 235, 3) * random.uniform(0.3, 1)).tolist(), -1)
                cv2.rectangle(picture, *box, random.uniform(180, 240, 3).tolist(), 1)
                cv2.line(picture, (x, y + stepy * 3 // 10), (box[1][0], y + stepy * 3 // 10), (200, 200, 200), 1)
        left += wide
    street = _ground(random, (95, 92, 90), 14, 0.9)
    picture[height - 150 :] = street[height - 150 :]
    signs = np.clip(picture, 0, 255).astype(np.uint8)  # letters are only drawn on bytes
    for _ in range(70):
        at = int(random.integers(0, width)), int(random.integers(height - 300, height - 155))
        text, colour = "".join(random.choice(list("ABCDEFHKLMNOPRSTU"), 7)), random.uniform(0, 255, 3).tolist()
        cv2.putText(signs, text, at, cv2.FONT_HERSHEY_SIMPLEX, random.uniform(0.5, 1.1), colour, 2, cv2.LINE_AA)
    picture = signs.astype(np.float32)
    for _ in range(6):
        ends = [(0, int(random.integers(0, 300))), (width, int(random.integers(0, 300)))]
        cv2.line(picture, *ends, (25, 25, 25), 1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 0.65)
