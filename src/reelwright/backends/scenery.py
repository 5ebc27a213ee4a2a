"""Landscapes from words: what the placeholder paints behind a prompt.

A prompt's words choose a time of day (colours) and a place (shapes); what it does not say follows from a hash of it.
The picture comes in two plates, a far and a near one, which the camera moves at different rates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reelwright.types import Plane

Pixels = NDArray[np.float32]
Colour = tuple[float, float, float]


def _rgb(text: str) -> Colour:
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]  # three of them


@dataclass(frozen=True)
class Hour:
    """Colours of a time of day: sky from top to horizon, haze on the land, the land's shade, the light; its height 0..1."""

    words: frozenset[str]
    sky: tuple[str, str, str]
    haze: str
    land: str
    light: str
    height: float
    stars: float = 0.0


def _hour(words: str, sky: tuple[str, str, str], haze: str, land: str, light: str, height: float, stars: float = 0.0) -> Hour:
    return Hour(frozenset(words.split()), sky, haze, land, light, height, stars)


HOURS: tuple[Hour, ...] = (
    _hour(
        "sunset dusk evening golden amber autumn fire warm desert",
        ("#2b2350", "#b5476b", "#ffb168"),
        "#e98a6b",
        "#1d1530",
        "#ffe3ad",
        0.2,
    ),
    _hour(
        "sunrise dawn morning serene calm spring peaceful",
        ("#3e5f9e", "#c99bb4", "#ffd9b0"),
        "#d9a9a0",
        "#233150",
        "#fff1cf",
        0.26,
    ),
    _hour(
        "night midnight moon moonlight dark stars starlit noir",
        ("#050b1f", "#10224a", "#2f4f86"),
        "#2c4678",
        "#040813",
        "#eaf0ff",
        0.62,
        1.0,
    ),
    _hour(
        "neon cyberpunk city club futuristic synthwave electric",
        ("#12062e", "#4a1270", "#ff4fa0"),
        "#8a2b8f",
        "#0b0620",
        "#8ff3ff",
        0.3,
        0.3,
    ),
    _hour(
        "storm stormy thunder rain rainy grey gray cloudy war",
        ("#1e2730", "#45545f", "#93a3a8"),
        "#76868c",
        "#10171c",
        "#dfe9ea",
        0.5,
    ),
    _hour(
        "fog foggy mist misty haze quiet ghost lonely", ("#7f8f98", "#b1bcbf", "#dfe0da"), "#c3cac8", "#3b474c", "#fffdf2", 0.45
    ),
    _hour(
        "snow snowy winter ice frozen arctic cold glacier",
        ("#4a78ad", "#9dc0dc", "#eaf3f7"),
        "#c4d8e6",
        "#38567a",
        "#ffffff",
        0.42,
    ),
    _hour(
        "day noon sunny bright blue summer sky garden meadow",
        ("#1f6fc4", "#62aee6", "#d4eef2"),
        "#a5cfd6",
        "#17473f",
        "#fffbe0",
        0.7,
    ),
)
"""Times of day and weathers; they go before what a place is like."""

CLIMES: tuple[Hour, ...] = (
    _hour("forest jungle green leaf moss wood trees", ("#1d4a49", "#5c9a7c", "#e5eec0"), "#8fb98f", "#0d2620", "#fdffd8", 0.5),
    _hour(
        "ocean sea underwater wave waves beach island water lake",
        ("#0e3a63", "#2f86a8", "#bfe9dc"),
        "#74b9bf",
        "#062338",
        "#f6fff2",
        0.36,
    ),
    _hour(
        "space galaxy planet cosmic nebula universe astronaut mars",
        ("#06030f", "#23124a", "#7a3f96"),
        "#4b2a72",
        "#05030b",
        "#ffd6f2",
        0.58,
        1.6,
    ),
    _hour(
        "dream magical fantasy fairy pastel candy love soft",
        ("#7f7bd0", "#d9a5dc", "#ffe3d8"),
        "#e2b7d8",
        "#4a3a78",
        "#fff6ff",
        0.38,
    ),
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PLACES: dict[str, frozenset[str]] = {
    "city": _words("city skyline street streets urban town buildings tower towers downtown tokyo york office neon club bridge"),
    "sea": _words("sea ocean wave waves beach water lake river boat ship sailing harbour harbor island shore coast surf whale"),
    "forest": _words("forest tree trees wood woods jungle pine garden park leaf leaves fox deer wolf owl"),
    "dunes": _words("desert dune dunes sand sahara camel mars savanna"),
    "hills": _words("field fields meadow hill hills grass farm village sunflowers flowers valley dog horse sheep"),
    "peaks": _words("mountain mountains peak peaks alps cliff rocky glacier summit snow himalaya volcano"),
}


def words_of(prompt: str) -> list[str]:
    """The prompt's words, lower case, without punctuation, and without a plural s."""
    cleaned = "".join(character if character.isalnum() else " " for character in prompt.lower())
    return [form for word in cleaned.split() for form in dict.fromkeys((word, word.removesuffix("s")))]


def number(*parts: object) -> int:
    """A 64-bit number from values: the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


@dataclass(frozen=True)
class Scenery:
    """A painted scene: `far` (h, w, 3) and `near` (h, w, 4), sRGB uint8; `light` is where the sun or moon stands, 0..1."""

    far: Plane
    near: Plane
    light: tuple[float, float]
    glow: Colour


def paint(prompt: str, seed: int, width: int, height: int) -> Scenery:
    """The scenery of a prompt at this size in px; the same prompt, seed and size give the same pixels."""
    words = words_of(prompt)
    random = np.random.default_rng(number(prompt, seed))
    hour = _best_hour(words, random)
    place = max(PLACES, key=lambda name: (len(PLACES[name] & set(words)), random.random()))
    light_x, light_y = float(random.uniform(0.24, 0.76)), 0.68 - 0.55 * hour.height
    picture = _sky(hour, light_x, light_y, width, height, random)
    colours = [np.array(_rgb(hour.haze)), np.array(_rgb(hour.land))]
    ridges = _LAND[place](width, height, random)
    near = np.zeros((height, width, 4), np.float32)
    for index, line in enumerate(ridges):
        depth = (index + 1) / len(ridges)
        shade = np.asarray(colours[0] * (1 - depth) + colours[1] * depth, np.float32)
        mask = _below(line, width, height)
        if index < len(ridges) - 1:
            _lay(picture, mask, _shaded(shade, colours[0], line, height, 0.55 * (1 - depth)))
        else:
            near[..., :3] = _shaded(shade, colours[0], line, height, 0.12)
            near[..., 3] = mask
    if place == "city":
        _windows(picture, ridges[-2], random, np.array(_rgb(hour.light)))
        _windows(near, ridges[-1], random, np.array(_rgb(hour.light)))
    if place == "sea":
        _glitter(picture, ridges[0], light_x, np.array(_rgb(hour.light)), random)
    picture += random.normal(0, 0.004, picture.shape[:2]).astype(np.float32)[..., None]  # hides the steps of 8 bits
    return Scenery(_bytes(picture), _bytes(near), (light_x, light_y), _rgb(hour.light))


def _bytes(picture: Pixels) -> Plane:
    return np.asarray(np.clip(picture * 255 + 0.5, 0, 255), np.uint8)


def _best_hour(words: list[str], random: np.random.Generator) -> Hour:
    known = set(words)
    for choice in (HOURS, CLIMES):
        scores = [len(hour.words & known) for hour in choice]
        if any(scores):
            return choice[int(np.argmax(scores))]
    return (HOURS + CLIMES)[int(random.integers(len(HOURS) + len(CLIMES)))]


def _noise(count: int, random: np.random.Generator, octaves: int, first: int, fall: float = 0.5) -> Pixels:
    """Smooth noise along a line, about -1..1: octaves of interpolated random values."""
    place = np.linspace(0, 1, count)
    total = np.zeros(count)
    for octave in range(octaves):
        knots = first * 2**octave + 1
        values = random.uniform(-1, 1, knots)
        t = place * (knots - 1)
        low = np.minimum(t.astype(int), knots - 2)
        part = t - low
        part = part * part * (3 - 2 * part)
        total += fall**octave * (values[low] * (1 - part) + values[low + 1] * part)
    return np.asarray(total, np.float32)


def _clouds(width: int, height: int, random: np.random.Generator) -> Pixels:
    """Streaks of cloud, 0..1."""
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        shape = (3 * 2**octave + 2, 2 * 2**octave + 2)
        total += cv2.resize(random.random(shape, np.float32), (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    low, high = np.quantile(total[::8, ::8], (0.5, 0.97))
    return np.asarray(np.clip((total - low) / (high - low), 0, 1), np.float32)


def _sky(hour: Hour, light_x: float, light_y: float, width: int, height: int, random: np.random.Generator) -> Pixels:
    stops = np.array([_rgb(colour) for colour in hour.sky], np.float32)
    down = np.linspace(0, 1, height) ** 0.9 / 0.72
    rows = np.stack([np.interp(down, (0, 0.55, 1), stops[:, channel]) for channel in range(3)], axis=-1)
    picture = np.repeat(rows[:, None].astype(np.float32), width, axis=1)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    distance = np.hypot((x - light_x) * width / height, y - light_y)
    light = np.array(_rgb(hour.light), np.float32)
    if hour.stars:
        count = int(260 * hour.stars)
        for star_x, star_y, size in random.random((count, 3)) * (width, height * 0.6, 1):
            colour = [float(c) for c in (light * (0.35 + 0.65 * size**4))]
            radius = 0.45 + 0.9 * size**6
            cv2.circle(picture, (int(star_x * 16), int(star_y * 16)), int(radius * height / 540 * 16), colour, -1, cv2.LINE_AA, 4)
    cover = _clouds(width, height, random) * np.clip(1.15 - y * 1.3, 0, 1) * 0.34
    tint = light * 0.55 + stops[2] * 0.45
    picture += cover[..., None] * (tint - picture)
    glow = 0.75 * np.exp(-((distance / 0.16) ** 1.1)) + 0.3 * np.exp(-((distance / 0.5) ** 2))
    picture += glow[..., None] * (light - picture) * 0.85
    radius = 0.05 if hour.stars else 0.062
    disc = np.clip((radius - distance) * height / 1.6 + 0.5, 0, 1)
    picture += disc[..., None] * (light - picture)
    return picture


Land = Callable[[int, int, np.random.Generator], list[Pixels]]


def _ranges(levels: tuple[float, ...], swing: float, first: int, octaves: int, fall: float, sharp: float = 1.0) -> Land:
    """Ridge lines, far to near, as heights in px by column."""

    def lines(width: int, height: int, random: np.random.Generator) -> list[Pixels]:
        made = []
        for index, level in enumerate(levels):
            noise = _noise(width, random, octaves, first + index, fall)
            if sharp != 1.0:
                noise = np.asarray(1 - 2 * np.abs(noise) ** sharp, np.float32)
            made.append(np.asarray((level - swing * (0.55 + 0.3 * index / len(levels)) * noise) * height, np.float32))
        return made

    return lines


def _forest(width: int, height: int, random: np.random.Generator) -> list[Pixels]:
    """Hills with firs on them: triangles of many sizes along a soft ridge."""
    columns = np.arange(width, dtype=np.float32)
    made = [_ranges((0.6,), 0.1, 2, 4, 0.5)(width, height, random)[0]]
    for index, level in enumerate((0.68, 0.78, 0.93)):
        ground = (level - 0.05 * _noise(width, random, 3, 2)) * height
        line = ground.copy()
        size = height * (0.06 + 0.055 * index)
        for place in np.arange(0, width, size * 0.24):
            centre, tall = place + random.uniform(-1, 1) * size * 0.2, size * random.uniform(0.55, 1.35)
            reach = np.abs(columns - centre) / (tall * 0.24)
            steps = reach + 0.1 * np.abs(np.sin(reach * 9))  # the tiers of a fir
            tip = np.where(reach < 1, tall * (1 - steps), -np.inf)
            line = np.minimum(line, ground[int(np.clip(centre, 0, width - 1))] - tip)
        made.append(np.asarray(line, np.float32))
    return made


def _city(width: int, height: int, random: np.random.Generator) -> list[Pixels]:
    """Rows of houses; the far ones are more, and paler."""
    made = []
    for index, level in enumerate((0.66, 0.72, 0.8)):
        line = np.full(width, level * height, np.float32)
        place = 0.0
        while place < width:
            wide = width * random.uniform(0.012, 0.034) * (1 + 0.7 * index)
            tall = height * random.uniform(0.03, 0.3) * (1.05 - 0.18 * index) * random.uniform(0.5, 1.25)
            start, end = int(place), int(min(width, place + wide))
            line[start:end] = level * height - tall
            if random.random() < 0.22 and end - start > 8:  # a mast or a smaller storey on top
                inset = (end - start) // 3
                line[start + inset : end - inset] -= tall * 0.16
            place += wide * random.choice((1.0, 1.0, 1.12))
        made.append(line)
    return made


_LAND: dict[str, Land] = {
    "peaks": _ranges((0.62, 0.7, 0.79, 0.95), 0.17, 3, 6, 0.52, 0.9),
    "hills": _ranges((0.66, 0.73, 0.81, 0.94), 0.07, 1, 3, 0.4),
    "dunes": _ranges((0.68, 0.75, 0.84, 0.97), 0.09, 1, 3, 0.3, 1.2),
    "sea": _ranges((0.66, 0.75, 0.86), 0.006, 8, 3, 0.6),
    "forest": _forest,
    "city": _city,
}


def _below(line: Pixels, width: int, height: int) -> Pixels:
    """What lies under a ridge line, 0..1, its edge smooth."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    assert line.shape == (width,)
    return np.asarray(np.clip(rows - line[None, :] + 0.5, 0, 1), np.float32)


def _shaded(shade: Pixels, haze: NDArray[np.float64], line: Pixels, height: int, amount: float) -> Pixels:
    """A ridge's colour: itself at the crest, paler with haze towards its foot. Shape (h, w, 3) or broadcast to it."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    depth = np.clip((rows - line[None, :]) / (0.3 * height), 0, 1)[..., None] * amount
    return np.asarray(shade + depth * (haze.astype(np.float32) - shade), np.float32)


def _lay(picture: Pixels, mask: Pixels, colour: Pixels) -> None:
    picture += mask[..., None] * (colour - picture)


def _windows(picture: Pixels, line: Pixels, random: np.random.Generator, light: NDArray[np.float64]) -> None:
    """Lit windows in the houses under a line; RGBA pictures keep their alpha."""
    height, width = picture.shape[:2]
    cell = max(4, round(height / 108))
    warm = np.array([1.0, 0.82, 0.5])
    for x in range(cell, width - cell, cell * 2):
        top = float(line[x - cell // 2 : x + cell].max())
        for y in range(int(top) + cell, min(height - cell, int(top + height * 0.32)), cell * 2):
            if random.random() < 0.2:
                colour = np.asarray(warm if random.random() < 0.75 else light, np.float32) * random.uniform(0.45, 0.95)
                picture[y : y + cell - cell // 3, x : x + cell // 2, :3] = colour


def _glitter(picture: Pixels, line: Pixels, light_x: float, light: NDArray[np.float64], random: np.random.Generator) -> None:
    """The light's path on the water: short strokes, wider towards the viewer."""
    height, width = picture.shape[:2]
    start = int(line.max())
    for _ in range(420):
        depth = random.random() ** 0.7
        y = start + depth * (height - start)
        x = (light_x + random.normal(0, 0.02 + 0.09 * depth)) * width
        long = width * (0.004 + 0.02 * depth) * random.uniform(0.4, 1)
        thick = max(1, round(height / 540 * (0.5 + 1.6 * depth)))
        if 0 <= int(y) < height:
            at = picture[int(y), int(np.clip(x, 0, width - 1))]
            colour = [float(c) for c in at + (light - at) * random.uniform(0.2, 0.7)]
            cv2.line(
                picture, (int((x - long) * 16), int(y * 16)), (int((x + long) * 16), int(y * 16)), colour, thick, cv2.LINE_AA, 4
            )
