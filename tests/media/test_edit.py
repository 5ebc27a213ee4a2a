"""Cutting, fitting and timing (S6, S1): the right frames, exactly as much sound as picture, everything closed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import film, number, numbered, scene, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from reelwright.errors import RequestError
from reelwright.media import edit
from reelwright.media.decode import open_video
from reelwright.types import Frame, Video


def clip(frames: int = 24, fps: int | Fraction = 24, *, audio: bool = True) -> Video:
    return film(frames, fps=fps, draw=lambda i, w, h: numbered(i, w, h), audio=audio)


def check(video: Video) -> list[Frame]:
    """All frames; there are as many, as large and with as much sound as the spec says."""
    frames = list(video.frames)
    assert len(frames) == video.spec.frames
    assert {(frame.width, frame.height) for frame in frames} == {(video.spec.width, video.spec.height)}
    assert (video.samples is not None) == video.spec.audio
    if video.samples is not None:
        assert sum(map(len, video.samples)) == video.spec.samples
    video.close()
    return frames


def numbers(video: Video) -> list[int]:
    return [number(frame) for frame in check(video)]


@given(
    frames=st.integers(1, 50),
    fps=st.sampled_from([Fraction(8), Fraction(24), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)]),
    start=st.floats(0, 2.2),
    length=st.one_of(st.none(), st.floats(0.001, 2.2)),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_trim_keeps_the_frames_between(frames: int, fps: Fraction, start: float, length: float | None) -> None:
    video = clip(frames, fps)
    end = None if length is None else start + length
    first = round(Fraction(start) * fps)
    last = frames if end is None else min(frames, round(Fraction(end) * fps))
    if first >= last:
        with pytest.raises(RequestError, match="nothing lies between"):
            edit.trim(video, start, end)
        return
    assert numbers(edit.trim(video, start, end)) == list(range(first, last))


def test_trim_takes_the_sound_that_belongs_to_it() -> None:
    def ramp(samples: int) -> np.ndarray:
        return np.repeat(np.linspace(0, 1, samples, dtype=np.float32)[:, None], 2, axis=1)

    video = edit.trim(film(48, audio=True, sound=ramp), 0.5, 1.5)
    assert video.samples is not None
    heard = np.concatenate(list(video.samples))
    assert np.array_equal(heard, ramp(96000)[24000:72000])


def test_trim_of_a_trim_and_of_nothing() -> None:
    assert numbers(edit.trim(edit.trim(clip(), 0.25, 0.75), 0.25)) == [12, 13, 14, 15, 16, 17]
    whole = clip()
    assert edit.trim(whole, 0, 1) is whole
    assert edit.trim(whole, 0, 99) is whole
    for wrong in ((-1, None), (1, None), (0.5, 0.5), (0.6, 0.5), (5, 9)):
        with pytest.raises(RequestError) as caught:
            edit.trim(clip(), *wrong)
        assert caught.value.hint


def test_trim_of_a_file_seeks(clip: Path) -> None:
    assert numbers(edit.trim(open_video(clip), 1.25, 1.5)) == [30, 31, 32, 33, 34, 35]


@pytest.mark.parametrize("how", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(48, 32), (96, 96), (200, 64), (66, 34), (34, 66), (16, 16)], ids=str)
def test_fit(how: str, size: tuple[int, int]) -> None:
    """White pictures show what is filled, and what is left black."""
    video = film(2, draw=lambda _i, w, h: Frame.filled(w, h, y=235, u=100, v=150), audio=True)
    frame = check(edit.fit(video, *size, how))[0]
    lit = frame.y > 128
    if how != "contain":
        assert lit.all()
        assert (frame.u == 100).all()
        return
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    assert len(columns) / len(rows) == pytest.approx(1.5, rel=0.12)
    assert len(columns) == size[0] or len(rows) == size[1]
    assert abs(rows[0] - (size[1] - 1 - rows[-1])) <= 2
    assert abs(columns[0] - (size[0] - 1 - columns[-1])) <= 2
    assert lit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (frame.u[~lit[::2, ::2]] == 128).all()


def test_fit_keeps_what_is_in_the_middle() -> None:
    video = film(1, draw=lambda i, w, h: scene(i, w, h), audio=False)
    covered = check(edit.fit(video, 64, 64, "cover"))[0]
    assert np.array_equal(covered.buffer[:64], scene(0).y[:, 16:80])
    same = film(1)
    assert edit.fit(same, 96, 64) is same


def test_crop() -> None:
    picture = scene(0)
    made = check(edit.crop(film(3, audio=True), 10, 6, 40, 30))[0]
    assert np.array_equal(made.y, picture.y[6:36, 10:50])
    assert np.array_equal(made.u, picture.u[3:18, 5:25])
    assert check(edit.crop(film(1), 11, 7, 41, 31))[0].width == 40
    for wrong in ((-2, 0, 40, 40), (0, 0, 98, 40), (60, 0, 40, 40), (0, 40, 40, 40), (0, 0, 8, 8)):
        with pytest.raises(RequestError):
            edit.crop(film(1), *wrong)


@pytest.mark.parametrize("frames", [1, 7, 24, 25])
@pytest.mark.parametrize(
    ("before", "after"), [(24, 30), (30, 24), (24, 60), (60, 24), (24, Fraction(24000, 1001)), (8, 24), (50, 1)]
)
def test_at_rate(frames: int, before: int, after: int | Fraction) -> None:
    video = edit.at_rate(clip(frames, before), Fraction(after))
    assert video.spec.fps == after
    assert abs(video.spec.seconds - Fraction(frames, before)) <= Fraction(1, 2) / Fraction(after) or video.spec.frames == 1
    wanted = [min(frames - 1, int(i * Fraction(before) / Fraction(after) + Fraction(1, 2))) for i in range(video.spec.frames)]
    assert numbers(video) == wanted


@pytest.mark.parametrize("pace", [0.5, 0.25, 2, 1.5, 3, 0.1, 16])
@pytest.mark.parametrize("blend", [True, False])
def test_retime(pace: float, blend: bool) -> None:
    video = edit.retime(clip(33), pace, blend=blend)
    assert video.spec.frames == max(1, round(33 / Fraction(pace).limit_denominator(1000)))
    lumas = [float(frame.y.mean()) for frame in check(video)]
    for index, luma in enumerate(lumas):
        at = min(32, index * pace if blend else int(index * pace + 0.5))
        assert luma == pytest.approx(30 + 4 * at, abs=1.1)


def test_retime_keeps_the_pitch() -> None:
    slow = edit.retime(film(24, audio=True), 0.5)
    assert slow.samples is not None
    heard = np.concatenate(list(slow.samples))[4000:-4000, 0]
    assert np.abs(np.fft.rfft(heard)).argmax() * 48000 / len(heard) == pytest.approx(440, abs=3)
    same = clip()
    assert edit.retime(same, 1) is same
    for wrong in (0, -1, 17, 1 / 17):
        with pytest.raises(RequestError):
            edit.retime(clip(), wrong)


@pytest.mark.parametrize("frames", [1, 2, 3, 24])
def test_hold(frames: int) -> None:
    video = edit.hold(clip(frames), 2)
    drawn = []
    for frame in video.frames:
        drawn.append(number(frame))
        frame.buffer[:] = 200  # whoever is given a frame may draw on it
    assert drawn == [*range(frames), *[frames - 1] * (48 - frames)]
    assert video.samples is not None
    heard = np.concatenate(list(video.samples))
    assert len(heard) == 96000
    assert not heard[round(frames / 24 * 48000) + 10 :].any()
    long = clip(frames)
    assert edit.hold(long, 0.01) is long


@pytest.mark.parametrize("seconds", [0.01, 0.5, 1, 2.6])
def test_loop(seconds: float) -> None:
    made: list[Video] = []

    def make() -> Video:
        made.append(clip(24))
        return made[-1]

    assert numbers(edit.loop(make, seconds)) == [i % 24 for i in range(max(1, round(seconds * 24)))]
    assert all(video.closed for video in made)


def test_loop_closed_in_its_second_round() -> None:
    made: list[Video] = []

    def make() -> Video:
        made.append(clip(4, audio=False))
        return made[-1]

    video = edit.loop(make, 10)
    for _ in range(6):
        next(video.frames)
    video.close()
    assert len(made) == 2
    assert all(each.closed for each in made)


def test_still_silent_and_sound() -> None:
    frames = check(edit.still(numbered(5), Fraction(24), 0.5))
    assert [number(frame) for frame in frames] == [5] * 12
    frames[0].buffer[:] = 0
    assert number(frames[1]) == 5
    assert not edit.silent(clip()).spec.audio
    check(edit.silent(clip()))
    for samples in (10, 48000, 90000):
        video = edit.with_sound(clip(24, audio=False), iter([tone(samples)]))
        assert video.spec.audio
        check(video)


def test_level() -> None:
    assert edit.level(Frame.filled(16, 16)) == 0
    assert edit.level(Frame.filled(16, 16, y=235)) == 1
    assert edit.level(Frame.filled(16, 16, y=125)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        lambda video: edit.trim(video, 0.1, 0.5),
        lambda video: edit.fit(video, 32, 32),
        lambda video: edit.crop(video, 0, 0, 32, 32),
        lambda video: edit.at_rate(video, Fraction(30)),
        lambda video: edit.retime(video, 0.5),
        lambda video: edit.hold(video, 3),
        lambda video: edit.loop(lambda: video, 0.5),
        edit.silent,
        lambda video: edit.with_sound(video, iter([tone(10)])),
        lambda video: edit.fit(edit.trim(edit.at_rate(video, Fraction(30)), 0.1), 32, 32),
    ],
    ids=["trim", "fit", "crop", "at_rate", "retime", "hold", "loop", "silent", "with_sound", "all"],
)
@pytest.mark.parametrize("read", [0, 1, 5])
def test_close_reaches_upstream(change: Callable[[Video], Video], read: int) -> None:
    video = clip()
    made = change(video)
    for _ in range(read):
        next(made.frames)
    made.close()
    made.close()
    assert video.closed
    assert next(made.frames, None) is None


@pytest.mark.parametrize(("start", "end"), [(float("nan"), 1.0), (0.0, float("inf")), (float("-inf"), None)])
def test_times_that_are_no_times_are_refused(start: float, end: float | None) -> None:
    with pytest.raises(RequestError, match="finite"):
        edit.trim(film(8), start, end)
