"""Camera moves (S4, M2): smooth to a part of a pixel, never past the picture's edge, every name known."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from films import psnr, scene
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import RequestError
from reelwright.media.camera import _MARGIN, Lens, fitted, over_clip, over_still, prepared
from reelwright.media.moves import MOVES, Camera, find
from reelwright.types import Frame, Plane, Video, VideoSpec

WIDTH, HEIGHT, COUNT = 640, 360, 40
FLAT = [name for name in MOVES if Camera(name).views(9, 30).flat]


def chart(width: int, height: int) -> tuple[Plane, np.ndarray]:
    """Soft blobs at known places (x, y), not on whole pixels."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    picture, places = np.zeros((height, width)), []
    for down in range(100, height - 90, 90):
        for right in range(110, width - 100, 110):
            place = right + random.uniform(-6, 6), down + random.uniform(-6, 6)
            picture += np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 3.5**2))
            places.append(place)
    grey = np.clip(picture * 220 + 16, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), np.array(places)


def errors(frames: list[Frame], camera: Camera, source: tuple[int, int], places: np.ndarray) -> np.ndarray:
    """By how many px each blob lies off where the move's path puts it: shape (blob, frame, 2), nan where it is not seen."""
    views = camera.views(len(frames), 30)
    size = np.array([frames[0].width, frames[0].height])
    step = views.scale * (np.array(source) / size).min()
    view = step[:, None] * size
    reach = (view / views.scale[:, None] if views.near else np.array(source)) - view
    start = (np.array(source) - view + reach * np.stack([views.x, views.y], axis=1)) / 2
    off = np.full((len(places), len(frames), 2), np.nan)
    y, x = np.mgrid[0:33, 0:33]
    for j, frame in enumerate(frames):
        for i, place in enumerate(places):
            wanted = (place + 0.5 - start[j]) / step[j] - 0.5
            left, top = (int(value) - 16 for value in wanted)
            if left < 2 or top < 2 or left + 35 > size[0] or top + 35 > size[1]:
                continue
            light = np.clip(frame.y[top : top + 33, left : left + 33].astype(float) - 32, 0, None)
            seen = np.array([(light * x).sum(), (light * y).sum()]) / light.sum() + (left, top)
            off[i, j] = seen - wanted
    return off


def check(off: np.ndarray) -> None:
    assert np.isfinite(off).mean() > 0.3
    assert np.sqrt(np.nanmean(off**2)) < 0.05
    assert np.sqrt(np.nanmean(np.diff(off, n=2, axis=1) ** 2)) < 0.1
    assert np.nanmax(np.abs(off)) < 0.2


@pytest.mark.parametrize("move", [name for name in FLAT if name != "static"])
@pytest.mark.parametrize("source", [(960, 640)], ids=str)
def test_flat_moves_are_smooth_over_a_still(move: str, source: tuple[int, int]) -> None:
    rgb, places = chart(*source)
    camera = Camera(move)
    with over_still(rgb, camera, VideoSpec(WIDTH, HEIGHT, Fraction(30), COUNT)) as video:
        check(errors(list(video.frames), camera, source, places))


@pytest.mark.parametrize("move", ["zoom-in", "pan-left", "float"])
def test_flat_moves_are_smooth_over_a_clip(move: str) -> None:
    rgb, places = chart(WIDTH, HEIGHT)
    spec = VideoSpec(WIDTH, HEIGHT, Fraction(30), COUNT)
    picture = Frame.of(rgb)
    camera = Camera(move)
    with over_clip(Video(spec, (picture.copy() for _ in range(COUNT))), camera) as video:
        assert video.spec == spec
        check(errors(list(video.frames), camera, (WIDTH, HEIGHT), places))


@pytest.mark.parametrize("move", ["zoom-in", "roll-left", "tilt-up"])
def test_a_lens_for_the_lower_rows_sees_the_same(move: str) -> None:
    views = Camera(move).views(5, 12)
    picture, lens = prepared(scene(0, 192, 128).rgb, views, 128, 72)
    for index in range(5):
        whole, part = lens.draw(picture, index), lens.below(22).draw(picture, index)
        assert (part.width, part.height) == (128, 50)
        assert np.abs(part.y.astype(int) - whole.y[22:]).max() <= 2
        assert np.abs(part.u.astype(int) - whole.u[11:]).max() <= 2


def test_colour_moves_with_the_light() -> None:
    """A red square on grey: its edges in chroma stay with those in luma."""
    rgb = np.full((480, 720, 3), 128, np.uint8)
    rgb[160:320, 240:480] = (255, 0, 0)
    with over_still(rgb, Camera("zoom-in"), VideoSpec(360, 240, Fraction(30), 20)) as video:
        for frame in video.frames:
            light = (frame.y < 95).astype(float)
            red = (frame.v > 184).astype(float)
            for axis in (0, 1):
                at = np.average(np.arange(light.shape[1 - axis]), weights=light.sum(axis=axis))
                sited = np.arange(red.shape[1 - axis]) * 2 + (0.5 if axis else 0)
                assert abs(np.average(sited, weights=red.sum(axis=axis)) - at) < 0.8


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("source", [(240, 136), (160, 240), (400, 120)], ids=str)
def test_no_view_leaves_the_picture(move: str, strength: float, source: tuple[int, int]) -> None:
    """The border around the picture is painted white; none of it is seen, at any strength, over pictures of any shape."""
    views = Camera(move, strength=strength).views(9, 12)
    size = (160, 90)
    drawn, lens = prepared(np.zeros((source[1], source[0], 3), np.uint8), views, *size)
    plain = Frame.filled(size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN)
    for frame, through in ((drawn, lens), (plain, Lens(views, size, size, margin=_MARGIN))):
        bound = 40 + 219 * max(0, 1 - through.closest) / 2  # where pixels are magnified, the last one fades out over its half
        inside = frame.y[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN].copy()
        frame.y[:] = 235
        frame.y[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = inside
        for index in range(9):
            assert through.draw(frame, index).y.max() < bound


@pytest.mark.parametrize("move", MOVES)
def test_strength_zero_is_still(move: str) -> None:
    views = Camera(move, strength=0).views(20, 12)
    assert views.flat
    assert (views.scale == 1).all()
    for place in (views.x, views.y):  # without room to move in, where the view lies in it does not matter; see below
        assert np.isfinite(place).all()
    rgb = scene(0, 96, 160).rgb
    spec = VideoSpec(96, 64, Fraction(12), 6)
    with over_still(rgb, Camera(move, strength=0), spec) as video, over_still(rgb, Camera(), spec) as static:
        for frame, wanted in zip(video.frames, static.frames, strict=True):
            assert np.array_equal(frame.buffer, wanted.buffer)


@pytest.mark.parametrize("move", [name for name in MOVES if name != "static"])
def test_every_move_moves(move: str) -> None:
    spec = VideoSpec(128, 72, Fraction(12), 24)
    with over_still(scene(0, 192, 108).rgb, Camera(move), spec) as video:
        frames = [frame.y.astype(float) for frame in video.frames]
    assert np.abs(frames[0] - frames[12]).mean() > 0.4
    assert max(np.abs(a - b).mean() for a, b in itertools.pairwise(frames)) < 8


@pytest.mark.parametrize("source", [(128, 72), (257, 301), (64, 36), (500, 80)], ids=str)
def test_static_is_the_picture_itself(source: tuple[int, int]) -> None:
    rgb = np.asarray(scene(0, 512, 304).rgb[: source[1], : source[0]])
    rgb = np.ascontiguousarray(rgb[:301])
    spec = VideoSpec(128, 72, Fraction(24), 3)
    with over_still(rgb, Camera(), spec) as video:
        frames = list(video.frames)
    assert all(np.array_equal(frame.buffer, fitted(rgb, 128, 72).buffer) for frame in frames)
    if source == (128, 72):
        assert np.array_equal(frames[0].buffer, Frame.of(rgb).buffer)
    frames[0].buffer[:] = 0
    assert frames[1].buffer.any()


def test_moves_begin_at_the_fitted_picture() -> None:
    rgb = scene(0, 192, 108).rgb
    with over_still(rgb, Camera("zoom-in"), VideoSpec(128, 72, Fraction(24), 24)) as video:
        assert psnr(next(video.frames).buffer, fitted(rgb, 128, 72).buffer) > 38


@pytest.mark.parametrize("move", ["handheld", "float"])
def test_wandering_does_not_depend_on_length(move: str) -> None:
    rgb = scene(0, 192, 108).rgb
    camera = Camera(move)
    with (
        over_still(rgb, camera, VideoSpec(128, 72, Fraction(24), 12)) as short,
        over_still(rgb, camera, VideoSpec(128, 72, Fraction(24), 90)) as long,
    ):
        for a, b in zip(short.frames, long.frames, strict=False):
            assert psnr(a.buffer, b.buffer) > 45


@pytest.mark.parametrize("move", ["handheld", "float"])
@pytest.mark.parametrize("source", [(150, 300), (500, 100)], ids=str)
def test_a_sway_stays_small_over_pictures_of_another_shape(move: str, source: tuple[int, int]) -> None:
    """A white square in the middle stays near the middle, however much of the picture lies beside the view."""
    rgb = np.zeros((source[1], source[0], 3), np.uint8)
    y, x = source[1] // 2, source[0] // 2
    rgb[y - 8 : y + 8, x - 8 : x + 8] = 255
    with over_still(rgb, Camera(move), VideoSpec(128, 72, Fraction(12), 60)) as video:
        for frame in video.frames:
            rows, columns = np.nonzero(frame.y > 128)
            assert abs(rows.mean() - 35.5) < 4
            assert abs(columns.mean() - 63.5) < 6


def test_skip_gives_the_same_frames() -> None:
    rgb = scene(0, 192, 108).rgb
    spec = VideoSpec(128, 72, Fraction(24), 20)
    with over_still(rgb, Camera("orbit-left"), spec) as video:
        every = [frame.buffer for frame in video.frames]
    with over_still(rgb, Camera("orbit-left"), spec) as video:
        video.frames.skip(13)
        assert np.array_equal(next(video.frames).buffer, every[13])
        video.frames.skip(5)
        assert np.array_equal(next(video.frames).buffer, every[19])
        assert next(video.frames, None) is None


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("move", MOVES)
def test_clips_of_one_and_two_frames(move: str, frames: int) -> None:
    with over_still(scene(0).rgb, Camera(move), VideoSpec(34, 66, Fraction(24), frames)) as video:
        assert len(list(video.frames)) == frames


@given(
    move=st.sampled_from(list(MOVES)),
    strength=st.floats(0, 2),
    ease=st.sampled_from(["linear", "in", "out", "in-out"]),
    frames=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_views_stay_within_their_bounds(move: str, strength: float, ease: str, frames: int) -> None:
    views = Camera(move, strength=strength, ease=ease).views(frames, 24)
    for values in (views.x, views.y, views.scale, views.roll, views.yaw, views.pitch):
        assert values.shape == (frames,)
    assert np.abs(views.x).max() <= 1 + 1e-9
    assert np.abs(views.y).max() <= 1 + 1e-9
    assert views.scale.min() > 0.3
    assert views.scale.max() <= 1 + 1e-9


def test_names_as_people_write_them() -> None:
    assert find("Zoom In").name == "zoom-in"
    assert Camera("PAN_LEFT").move == "pan-left"
    assert find("none").name == "static"
    for name in ("pan", "tilt", "zoom", "dolly", "orbit", "static", "handheld"):  # S4
        assert find(name).phrase
    with pytest.raises(RequestError, match="moonwalk") as caught:
        Camera("moonwalk")
    assert all(name in caught.value.hint for name in MOVES)
    for wrong in (-0.1, 2.1):
        with pytest.raises(RequestError):
            Camera("pan", strength=wrong)
