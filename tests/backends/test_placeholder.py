"""The placeholder (M1) keeps the contract of backends, and is what it promises to be."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import picture

from reelwright.backends.placeholder import Placeholder
from reelwright.backends.slate import timecode
from reelwright.catalog import Shot, card_from, find, resolve
from reelwright.catalog.shot import digest
from reelwright.errors import MediaError, Unsupported
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun
from reelwright.testing import BackendContract
from reelwright.types import Frame, Role


class TestPlaceholder(BackendContract):
    card_id = "placeholder"


def resolved(**fields: Any) -> tuple[Shot, tuple[str, ...]]:
    given = {"prompt": "A boat at sea", "width": 160, "height": 90, "seconds": 0.25, "fps": 24, **fields}
    return resolve(GenerationRequest(**given), find("placeholder"), lambda ref: digest(Path(ref)))


def drawn(run: LocalRun | None = None, **fields: Any) -> list[Frame]:
    shot, _ = resolved(**fields)
    with Placeholder().generate(shot, run or LocalRun()) as video:
        assert (video.spec.width, video.spec.height, video.spec.fps) == (shot.width, shot.height, shot.fps)
        return list(video.frames)


def difference(a: Frame, b: Frame) -> float:
    return float(np.abs(a.y.astype(int) - b.y).mean())


@pytest.mark.parametrize(
    "size", [(16, 16), (16, 1024), (1024, 16), (18, 22), (160, 120), (158, 118), (360, 640), (854, 480), (8192, 16), (16, 8192)]
)
def test_any_size_that_the_card_allows(size: tuple[int, int]) -> None:
    """M1: any size, 16 to 8192 px a side."""
    frames = drawn(width=size[0], height=size[1], seconds=0.1, options={"scene": 3, "camera": "orbit left"})
    assert all((frame.width, frame.height) == size for frame in frames)
    assert float(frames[0].y.std()) > 1


@pytest.mark.parametrize("effect", ["noir", "vintage", "letterbox", "film grain", "slow motion", "dreamy"])
@pytest.mark.parametrize("size", [(16, 16), (34, 18), (160, 90)])
def test_effects_work_at_any_size(size: tuple[int, int], effect: str) -> None:
    assert len(drawn(width=size[0], height=size[1], options={"effect": [effect]})) == 6


def test_an_odd_size_is_snapped_and_told() -> None:
    """S5: adapted to the model's own rules, and told."""
    shot, notes = resolved(width=161, height=91)
    assert (shot.width, shot.height) in {(160, 90), (162, 92), (160, 92), (162, 90)}
    assert any("161x91" in note for note in notes)


@pytest.mark.parametrize("fps", [1, 8, 23.976, 30, 240])
def test_any_rate(fps: float) -> None:
    assert len(drawn(fps=fps, seconds=1, width=32, height=32)) == round(Fraction(resolved(fps=fps)[0].fps))


def test_one_frame_is_fine() -> None:
    assert len(drawn(seconds=0.001)) == 1


def test_the_prompt_decides_the_colours() -> None:
    """M1: colours follow from the prompt."""
    options = {"labels": "off"}
    chroma = {
        name: np.array([float(frame.u.mean()), float(frame.v.mean())])
        for name, frame in (
            (name, drawn(prompt=name, options=options)[0]) for name in ("A desert at sunset", "Blue ocean at noon", "Night")
        )
    }
    assert chroma["A desert at sunset"][1] > chroma["Blue ocean at noon"][1] + 5, "a sunset is redder than the sea"
    lumas = {name: float(drawn(prompt=name, options=options)[0].y.mean()) for name in ("A starlit night", "A snowy winter day")}
    assert lumas["A snowy winter day"] > lumas["A starlit night"] + 30


@pytest.mark.parametrize(
    "prompt", ["一只小船在平静的湖面上漂过日出", "سفينة في البحر", "🎬🌊", "a" * 5000, "line one\nline two\ttab", "\x00\x07", "x"]
)
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert len(drawn(prompt=prompt, width=320, height=180)) == 6


def test_a_prompt_too_long_for_the_picture_is_cut_and_told() -> None:
    """Rule 11."""
    run = LocalRun()
    drawn(run, prompt="a ship on the sea " * 60, width=320, height=180)
    assert any("too long" in note for note in run.notes)


def still_moves(options: dict[str, Any]) -> float:
    frames = drawn(seconds=1, options={"labels": "off", **options})
    return difference(frames[0], frames[-1])


@pytest.mark.parametrize("camera", ["dolly in", "pan left", "truck right", "tilt up", "zoom out", "orbit left", "roll left"])
def test_the_camera_is_visible(camera: str) -> None:
    """S4: real moves for placeholder clips."""
    assert still_moves({"camera": camera}) > 1.3 * still_moves({"camera": "static"})


def test_strength_matters() -> None:
    assert still_moves({"camera": "truck right", "camera_strength": 2.0}) > still_moves(
        {"camera": "truck right", "camera_strength": 0.3}
    )


@pytest.mark.parametrize("effect", ["noir", "vignette", "warm", "cold", "letterbox", "high contrast", "vintage"])
def test_the_effect_is_visible(effect: str) -> None:
    """S4."""
    plain, graded = (drawn(options={"labels": "off", "effect": each})[0] for each in ([], [effect]))
    changed = max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(plain.planes, graded.planes, strict=True))
    assert changed > 1


def test_labels_are_drawn_over_scenes_and_can_be_left_out() -> None:
    given: dict[str, Any] = {"width": 320, "height": 180}
    auto, on, off, raised = (drawn(options={"labels": each, "scene": 7}, **given)[0] for each in ("auto", "on", "off", "raised"))
    assert np.array_equal(auto.buffer, on.buffer)
    assert difference(on, off) > 2
    bright = [(np.abs(frame.y.astype(int) - off.y) > 60) for frame in (on, raised)]
    lower = slice(120, 170)
    assert bright[0][lower].mean() > 0.02, "the prompt stands in the lower part"
    assert bright[1][lower].mean() < 0.005, "raised leaves the lower part to captions"
    assert bright[1][:90].mean() > 0.01


def test_the_scenes_number_is_shown() -> None:
    given: dict[str, Any] = {"width": 320, "height": 180}
    with_number, without = (drawn(options={"scene": each}, **given)[0] for each in (12, 0))
    assert difference(with_number, without) > 0.05
    assert np.array_equal(with_number.y[90:], without.y[90:])


def test_the_timecode_runs() -> None:
    frames = drawn(width=320, height=180, seconds=2, options={"camera": "static"})
    plain = drawn(width=320, height=180, seconds=2, options={"camera": "static", "labels": "off"})
    corner = (slice(8, 24), slice(200, 310))
    inks = [np.abs(a.y[corner].astype(int) - b.y[corner]) > 50 for a, b in zip(frames, plain, strict=True)]
    assert all((a != b).any() for a, b in itertools.pairwise(inks))


@pytest.mark.parametrize(
    ("index", "fps", "text"),
    [(0, 24, "00:00:00:00"), (23, 24, "00:00:00:23"), (24, 24, "00:00:01:00"), (24 * 3661 + 5, 24, "01:01:01:05"),
     (30, Fraction(30000, 1001), "00:00:01:00")],
)  # fmt: skip
def test_timecodes(index: int, fps: int | Fraction, text: str) -> None:
    assert timecode(index, Fraction(fps)) == text


def with_picture(path: Path, **fields: Any) -> list[Frame]:
    return drawn(inputs=(Input(Role.FIRST_FRAME, str(path)),), **fields)


def test_a_picture_is_shown_and_moved_over(tmp_path: Path) -> None:
    """M1, S4: it takes a picture and moves over it."""
    path = picture(tmp_path / "p.png")
    still = with_picture(path, seconds=1, options={"camera": "static"})
    moved = with_picture(path, seconds=1, options={"camera": "truck right"})
    assert difference(still[0], still[-1]) < 0.5
    assert difference(moved[0], moved[-1]) > 5
    flat = Frame.of(np.asarray(still[0].rgb))
    assert float(flat.u.std()) > 3


@pytest.mark.parametrize("size", [(3, 3), (1, 400), (400, 1), (2000, 30), (16, 16)])
def test_a_picture_of_any_shape_fills_the_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    path = picture(tmp_path / "p.png", *size)
    for camera in ("static", "zoom in", "pan left", "roll right"):
        frames = with_picture(path, options={"camera": camera})
        assert len(frames) == 6


def test_the_same_bytes_give_the_same_frames_under_any_name(tmp_path: Path) -> None:
    """Rule 8: inputs count by content."""
    first = picture(tmp_path / "p.png")
    other = tmp_path / "elsewhere.png"
    other.write_bytes(first.read_bytes())
    a, b = (with_picture(path, options={"camera": "dolly in"}) for path in (first, other))
    assert all(np.array_equal(x.buffer, y.buffer) for x, y in zip(a, b, strict=True))


def test_over_a_picture_labels_are_only_drawn_when_asked(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png")
    plain, auto, raised, on = (with_picture(path, options={"labels": each})[0] for each in ("off", "auto", "raised", "on"))
    assert np.array_equal(plain.buffer, auto.buffer)
    assert np.array_equal(plain.buffer, raised.buffer)
    assert difference(plain, on) > 1


def test_a_picture_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(MediaError, match=r"bad\.png"):
        with_picture(tmp_path / "bad.png")


def test_it_refuses_cards_that_ask_for_more() -> None:
    other = {
        "id": "x", "title": "X", "family": "f", "backend": "placeholder", "licence": "MIT", "sizes": {"native": [[64, 64]]},
        "frames": {"default": 9}, "fps": {"default": 8},
    }  # fmt: skip
    Placeholder().check(card_from(other))
    with pytest.raises(Unsupported, match="magic"):
        Placeholder().check(card_from(other | {"options": {"magic": {"type": "string"}}}))
    with pytest.raises(Unsupported, match="sound"):
        Placeholder().check(card_from(other | {"audio": True}))
