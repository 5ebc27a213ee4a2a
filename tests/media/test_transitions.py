"""What lies between two clips (S2): every transition starts at one and ends at the other, at any even size."""

from __future__ import annotations

import numpy as np
import pytest
from films import scene

from reelwright.errors import RequestError
from reelwright.media.transitions import TRANSITIONS, find, mix
from reelwright.types import Frame

SIZES = [(16, 16), (66, 34), (854, 480)]
MASKED = ["dissolve", "iris-open", "iris-close", "clock", "barn-doors", "diagonal", "blinds"]
MASKED += [f"wipe-{side}" for side in ("left", "right", "up", "down")]
MOVING = [f"{kind}-{side}" for kind in ("slide", "push") for side in ("left", "right", "up", "down")]


def pair(width: int, height: int) -> tuple[Frame, Frame]:
    return scene(0, width, height), scene(40, width, height)


def far(a: Frame, b: Frame) -> int:
    return int(np.abs(a.buffer.astype(int) - b.buffer).max())


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_starts_at_one_and_ends_at_the_other(name: str, size: tuple[int, int]) -> None:
    a, b = pair(*size)
    draw = TRANSITIONS[name].draw
    assert far(draw(a.copy(), b.copy(), 0.0), a) <= 2
    assert far(draw(a.copy(), b.copy(), 1.0), b) <= 2


@pytest.mark.parametrize("name", TRANSITIONS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_stays_in_range_and_size(name: str, size: tuple[int, int]) -> None:
    """Black and white in every place stay within limited range, whatever is drawn between them."""
    white, black = Frame.filled(*size, y=235, u=16, v=240), Frame.filled(*size, y=16, u=240, v=16)
    for p in np.linspace(0, 1, 9):
        for a, b in ((white, black), (black, white)):
            made = TRANSITIONS[name].draw(a.copy(), b.copy(), float(p))
            assert (made.width, made.height) == size
            assert made.y.min() >= 16
            assert made.y.max() <= 235
            assert min(made.u.min(), made.v.min()) >= 15
            assert max(made.u.max(), made.v.max()) <= 241


@pytest.mark.parametrize("name", [*MASKED, *MOVING, "crossfade"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_next_clip_only_gains(name: str, size: tuple[int, int]) -> None:
    dark, bright = Frame.filled(*size, y=20, u=20, v=20), Frame.filled(*size, y=220, u=220, v=220)
    shares = []
    for p in np.linspace(0, 1, 21):
        made = TRANSITIONS[name].draw(dark.copy(), bright.copy(), float(p))
        share = (made.y.mean() - 20) / 200
        assert abs((made.u.mean() - 20) / 200 - share) < (
            0.5 if size == (16, 16) else 0.1
        )  # colour goes with light, to a few px of edge at 16x16
        shares.append(share)
    assert shares == sorted(shares)
    assert 0.25 < shares[10] < 0.75
    assert max(np.diff(shares)) < 0.35


@pytest.mark.parametrize("name", MASKED)
def test_masked_frames_are_made_of_both(name: str) -> None:
    """No pixel lies outside of what the two clips have there."""
    a, b = pair(854, 480)
    for p in (0.07, 0.3, 0.5, 0.77):
        made = TRANSITIONS[name].draw(a.copy(), b.copy(), p).buffer.astype(int)
        low = np.minimum(a.buffer, b.buffer).astype(int)
        high = np.maximum(a.buffer, b.buffer).astype(int)
        assert (made >= low - 2).all()
        assert (made <= high + 2).all()


@pytest.mark.parametrize(
    ("name", "there", "not_there"),
    [
        ("wipe-left", (240, 800), (240, 50)),
        ("wipe-right", (240, 50), (240, 800)),
        ("wipe-up", (450, 400), (20, 400)),
        ("wipe-down", (20, 400), (450, 400)),
        ("slide-left", (240, 800), (240, 50)),
        ("push-down", (20, 400), (450, 400)),
        ("iris-open", (240, 427), (10, 10)),
        ("iris-close", (10, 10), (240, 427)),
        ("clock", (100, 600), (100, 250)),
        ("barn-doors", (240, 427), (240, 20)),
        ("diagonal", (20, 20), (460, 830)),
    ],
)
def test_where_the_next_clip_appears(name: str, there: tuple[int, int], not_there: tuple[int, int]) -> None:
    a, b = Frame.filled(854, 480, y=20), Frame.filled(854, 480, y=220)
    made = TRANSITIONS[name].draw(a, b, 0.3)
    assert made.y[there] > 215
    assert made.y[not_there] < 25


def test_through_black_white_and_light() -> None:
    a, b = pair(64, 48)
    assert abs(float(find("fade").draw(a.copy(), b.copy(), 0.5).y.mean()) - 16) < 2
    assert abs(float(find("fade-white").draw(a.copy(), b.copy(), 0.5).y.mean()) - 235) < 2
    assert find("flash").draw(a.copy(), b.copy(), 0.35).y.mean() > max(a.y.mean(), b.y.mean()) + 40
    assert far(find("cut").draw(a.copy(), b.copy(), 0.49), a) == 0
    assert far(find("cut").draw(a.copy(), b.copy(), 0.5), b) == 0


def test_blur_and_pixelate_lose_detail_in_the_middle() -> None:
    y, x = np.mgrid[0:480, 0:640]
    fine = Frame.filled(640, 480)
    fine.y[:] = np.where((x + y) % 2, 200, 40)
    for name in ("blur", "pixelate"):
        detail = [float(find(name).draw(fine.copy(), fine.copy(), p).y.std()) for p in (0, 0.1, 0.25, 0.5, 0.75, 1)]
        assert detail[0] == detail[-1]
        assert detail[3] < 12
        assert detail[0] >= detail[1] >= detail[2]


def test_zoom_grows_about_the_middle() -> None:
    """A mark above the middle of the first clip moves outwards, one in the middle stays."""
    a, b = Frame.filled(160, 120, y=16), Frame.filled(160, 120, y=16)
    a.y[58:62, 78:82] = 235
    a.y[40:44, 78:82] = 235
    made = find("zoom").draw(a, b, 0.4).y.astype(float)
    middle, above = made[52:68, 70:90], made[:52, 70:90]
    rows = np.arange(52)
    assert abs((middle.sum(axis=1) * np.arange(16)).sum() / middle.sum() - 7.5) < 0.6
    light = np.clip(above.sum(axis=1) - above.sum(axis=1).min(), 0, None)
    assert (light * rows).sum() / light.sum() < 39


def test_mix_is_even() -> None:
    a, b = Frame.filled(16, 16, 100, 90, 150), Frame.filled(16, 16, 200, 130, 110)
    made = mix(a, b, 0.25)
    assert (int(made.y[0, 0]), int(made.u[0, 0]), int(made.v[0, 0])) == (125, 100, 140)


def test_names_as_people_write_them() -> None:
    assert find("Wipe Left").name == "wipe-left"
    assert find("dip_to_black").name == "fade"
    assert find("none").name == "cut"
    assert all(find(name) is one for name, one in TRANSITIONS.items())
    with pytest.raises(RequestError, match="star wipe") as caught:
        find("star wipe")
    assert all(name in caught.value.hint for name in TRANSITIONS)
