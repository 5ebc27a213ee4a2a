"""Effects and grades (S4): each does what its description says, in place, the same every time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from films import film, numbered, scene

from reelwright.errors import RequestError
from reelwright.media.grade import EFFECTS, Curve, Grade, contrast, find, graded, pace
from reelwright.types import Frame

SIZE = (160, 90)


def after(name: str, frame: Frame | None = None, index: int = 0) -> Frame:
    made = (frame or scene(0, *SIZE)).copy()
    Grade([name], made.width, made.height).draw(made, index)
    return made


def spread(plane: np.ndarray) -> float:
    return float(plane.astype(float).std())


def warmer(made: Frame, where: np.ndarray) -> float:
    """By how much V grew in the part of the picture that `where` marks."""
    part = where[::2, ::2]
    return float(made.v[part].mean() - BEFORE.v[part].mean())


def same(made: np.ndarray, before: np.ndarray, top: int, bottom: int) -> bool:
    """Whether the middle columns of these rows are untouched."""
    return np.array_equal(made[top:bottom, 70:90], before[top:bottom, 70:90])


BEFORE = scene(0, *SIZE)
SAID: dict[str, Callable[[Frame], bool]] = {
    "none": lambda made: np.array_equal(made.buffer, BEFORE.buffer),
    "cinematic": lambda made: warmer(made, BEFORE.y > 150) > 2 and warmer(made, BEFORE.y < 90) < -2,
    "dramatic": lambda made: spread(made.y) > spread(BEFORE.y) and spread(made.u) < spread(BEFORE.u),
    "slow-motion": lambda made: np.array_equal(made.buffer, BEFORE.buffer),
    "noir": lambda made: (made.u == 128).all() and (made.v == 128).all() and spread(made.y) > spread(BEFORE.y),
    "monochrome": lambda made: (made.u == 128).all() and (made.v == 128).all(),
    "vintage": lambda made: spread(made.u) < 0.8 * spread(BEFORE.u) and made.u.mean() < 124 + 0.72 * (BEFORE.u.mean() - 128),
    "sepia": lambda made: len(np.unique(made.u)) < 20 and made.u.mean() < 125 and made.v.mean() > 130,
    "dreamy": lambda made: made.y.mean() > BEFORE.y.mean() + 5 and spread(made.u) < spread(BEFORE.u),
    "warm": lambda made: made.v.mean() > BEFORE.v.mean() + 4 and made.u.mean() < BEFORE.u.mean() - 4,
    "cold": lambda made: made.u.mean() > BEFORE.u.mean() + 4 and made.v.mean() < BEFORE.v.mean() - 4,
    "high-contrast": lambda made: spread(made.y) > 1.15 * spread(BEFORE.y),
    "low-contrast": lambda made: spread(made.y) < 0.85 * spread(BEFORE.y) and np.array_equal(made.u, BEFORE.u),
    "vivid": lambda made: spread(made.u) > 1.2 * spread(BEFORE.u) and spread(made.v) > 1.2 * spread(BEFORE.v),
    "muted": lambda made: spread(made.u) < 0.7 * spread(BEFORE.u) and np.array_equal(made.y, BEFORE.y),
    "bleach-bypass": lambda made: spread(made.u) < 0.6 * spread(BEFORE.u) and spread(made.y) > spread(BEFORE.y),
    "night": lambda made: made.y.mean() < 0.75 * BEFORE.y.mean() and made.u.mean() > BEFORE.u.mean() + 4,
    "vignette": lambda made: made.y[:6, :6].mean() < 0.8 * BEFORE.y[:6, :6].mean() and same(made.y, BEFORE.y, 40, 50),
    "film-grain": lambda made: 2 < spread(made.y.astype(int) - BEFORE.y) < 7 and np.array_equal(made.u, BEFORE.u),
    "glow": lambda made: made.y.mean() > BEFORE.y.mean() + 2 and made.y.max() <= 235,
    "letterbox": lambda made: (made.y[:10] == 16).all() and (made.u[:5] == 128).all() and same(made.y, BEFORE.y, 14, 76),
    "old-film": lambda made: np.ptp(made.u) < 20 and spread(np.diff(made.y.astype(int), axis=1)) > 3,
}  # fmt: skip


@pytest.mark.parametrize("name", EFFECTS)
def test_does_what_it_says(name: str) -> None:
    assert SAID[name](after(name))


@pytest.mark.parametrize("name", EFFECTS)
def test_is_the_same_every_time(name: str) -> None:
    assert np.array_equal(after(name, index=7).buffer, after(name, index=7).buffer)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("size", [(16, 16), (66, 34)], ids=str)
def test_any_even_size(name: str, size: tuple[int, int]) -> None:
    made = after(name, scene(0, *size))
    assert (made.width, made.height) == size


@pytest.mark.parametrize("name", ["film-grain", "noir", "old-film"])
def test_grain_differs_from_frame_to_frame(name: str) -> None:
    grey = Frame.filled(160, 90, y=120)
    first, second = after(name, grey, 0), after(name, grey, 1)
    assert np.abs(first.y.astype(int) - second.y).mean() > 1
    assert abs(float(first.y.mean()) - float(second.y.mean())) < 12


def test_a_vignette_darkens_to_black_and_no_further() -> None:
    black = after("vignette", Frame.filled(160, 90))
    assert (black.y == 16).all()
    assert (black.u == 128).all()
    white = after("vignette", Frame.filled(160, 90, y=235, u=90, v=170))
    assert white.y[0, 0] < 130 < 230 < white.y[45, 80]
    ring = [int(white.y[45 - i // 2, 80 - i]) for i in range(0, 78, 6)]
    assert ring == sorted(ring, reverse=True)
    assert abs(int(white.u[0, 0]) - 128) < abs(90 - 128)
    assert white.u[22, 40] == 90


@pytest.mark.parametrize("size", [(854, 480), (1280, 720), (1920, 1080), (480, 854), (480, 200)], ids=str)
def test_letterbox_leaves_its_shape(size: tuple[int, int]) -> None:
    made = after("letterbox", Frame.filled(*size, y=200, u=90, v=90))
    lit = np.flatnonzero(made.y[:, 5] == 200)
    assert size[0] / len(lit) == pytest.approx(max(2.39, size[0] / size[1]), rel=0.02)
    assert lit[0] == size[1] - 1 - lit[-1]
    assert np.array_equal(np.flatnonzero(made.u[:, 3] == 90), np.arange(lit[0] // 2, (lit[-1] + 1) // 2))


@pytest.mark.parametrize(
    "names",
    [["warm", "high-contrast"], ["vivid", "muted", "cold"], ["sepia", "warm"], ["warm", "vignette", "cold"], ["noir", "glow"]],
    ids="+".join,
)  # fmt: skip
def test_together_is_one_after_the_other(names: list[str]) -> None:
    """Tables are merged for speed; what is seen stays the same."""
    together = scene(3, *SIZE)
    Grade(names, *SIZE).draw(together, 5)
    single = scene(3, *SIZE)
    for name in names:
        Grade([name], *SIZE).draw(single, 5)
    assert np.array_equal(together.buffer, single.buffer)


def test_curves_start_and_end_where_they_should() -> None:
    y, u, v = Curve(y=contrast(0.9, 0.5)).tables()
    assert np.array_equal(u, np.clip(np.arange(256), 16, 240))
    assert np.array_equal(u, v)
    assert (np.diff(y.astype(int)) >= 0).all()
    assert (y.min(), y.max()) == (16, 235)
    same, _, _ = Curve().tables()
    assert np.array_equal(same, np.clip(np.arange(256), 16, 235))


def test_a_film_is_graded_frame_by_frame() -> None:
    clean = film(4, draw=lambda i, w, h: numbered(i, w, h), audio=True)
    with graded(clean, ["film-grain"]) as video:
        assert video.spec == clean.spec
        for index, frame in enumerate(video.frames):
            assert np.array_equal(frame.buffer, after("film-grain", numbered(index), index).buffer)
        assert video.samples is clean.samples
    assert clean.closed
    same = film(2)
    assert graded(same, []) is same
    assert graded(same, ["none", "slow-motion"]) is same


def test_names_and_pace() -> None:
    assert find("Slow Mo").name == "slow-motion"
    assert find("black_and_white").name == "monochrome"
    assert pace(["warm", "slow-motion"]) == 0.5
    assert pace([]) == 1
    for name in ("cinematic", "dramatic", "slow motion"):  # S4
        assert find(name).phrase
    with pytest.raises(RequestError, match="sparkle") as caught:
        find("sparkle")
    assert all(name in caught.value.hint for name in EFFECTS)
