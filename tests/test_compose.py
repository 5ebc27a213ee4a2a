"""Films out of takes: one timeline, joins without a lost frame, letters and sound at their times (S2, S6, S7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import frames_of, heard, level_at, mean, tone

from reelwright.compose import Cut, Film, Samples, Take, Words, captioned
from reelwright.errors import BadStoryboard, MediaError
from reelwright.jobs.measured import Speeds
from reelwright.jobs.perform import render
from reelwright.jobs.results import Results
from reelwright.media import loudness, transitions
from reelwright.media.captions import Caption
from reelwright.media.encode import Encoding
from reelwright.media.letters import LetterStyle
from reelwright.run import LocalRun
from reelwright.storyboard import SoundTrack, TransitionSpec
from reelwright.types import SAMPLE_RATE, Frame, Video, VideoSpec

WIDTH, HEIGHT, FPS = 96, 64, Fraction(24)


def flat(index: int, scene: int) -> Frame:
    """A frame that tells scene and number: luma counts the frames, chroma the scene."""
    return Frame.filled(WIDTH, HEIGHT, y=30 + 3 * (index % 60), u=60 + 25 * (scene % 6), v=180 - 25 * (scene % 6))


def take(scene: int, frames: int, heard: Samples | None = None, narration: Samples | None = None) -> Take:
    def start() -> Video:
        return Video(VideoSpec(WIDTH, HEIGHT, FPS, frames), (flat(i, scene) for i in range(frames)))

    return Take(start, frames, f"take {scene} of {frames}", heard, narration)


def film(*lengths: int, going: TransitionSpec | None = None, **fields: object) -> Film:
    cuts = tuple(Cut(take(scene, frames), going or TransitionSpec()) for scene, frames in enumerate(lengths))
    return Film(cuts, WIDTH, HEIGHT, FPS, **fields)  # type: ignore[arg-type]  # fields of Film


def by_hand(lengths: list[int], shared: int, name: str) -> list[Frame]:
    """The same film, the plain way: whole scenes in memory, laid over each other."""
    scenes = [[flat(i, scene) for i in range(frames)] for scene, frames in enumerate(lengths)]
    made = scenes[0]
    draw = transitions.find(name).draw
    for after in scenes[1:]:
        if shared:
            joint = [draw(a, b, (p + 1) / (shared + 1)) for p, (a, b) in enumerate(zip(made[-shared:], after, strict=False))]
            made = made[:-shared] + joint + after[shared:]
        else:
            made = made + after
    return made


def of_segments(made: Film) -> list[Frame]:
    """All frames, segment by segment, as they are encoded."""
    found = []
    for segment in made.segments({}):
        with segment.open() as video:
            frames = [frame.copy() for frame in video.frames]
        assert len(frames) == segment.spec.frames
        found += frames
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(8, 60), min_size=1, max_size=6),
    st.integers(0, 4),
    st.sampled_from(["crossfade", "wipe-left", "slide-up", "dissolve"]),
)
def test_segments_end_to_end_are_the_film_composed_by_hand(lengths: list[int], shared: int, name: str) -> None:
    """S2: no frame is lost or doubled at a segment's border, and transitions are blended."""
    going = TransitionSpec(name, shared / 24) if shared else TransitionSpec()
    made = film(*lengths, going=going)
    expected = by_hand(lengths, shared, name)
    assert made.spec.frames == len(expected) == sum(lengths) - shared * (len(lengths) - 1)
    frames = of_segments(made)
    assert len(frames) == len(expected)
    for place, (got, wanted) in enumerate(zip(frames, expected, strict=True)):
        assert np.array_equal(got.buffer, wanted.buffer), f"frame {place} differs"


def test_short_scenes_share_a_segment() -> None:
    assert [segment.spec.frames for segment in film(8, 8, 30, 5, 5).segments({})] == [46, 10]
    assert [segment.spec.frames for segment in film(5).segments({})] == [5]


def rendered(made: Film, path: Path, workers: int = 2) -> Path:
    render(made, path, Encoding(crf=4), Results(path.parent / "cache", 10**9), Speeds(path.parent), LocalRun(), workers)
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm"])
def test_a_file_holds_exactly_these_frames(tmp_path: Path, ending: str) -> None:
    going = TransitionSpec("crossfade", 0.25)
    path = rendered(film(30, 26, 40, going=going), tmp_path / f"a{ending}")
    expected = by_hand([30, 26, 40], 6, "crossfade")
    frames = frames_of(path)
    assert len(frames) == len(expected) == 84
    assert max(abs(mean(a) - mean(b)) for a, b in zip(frames, expected, strict=True)) < 2.5
    assert max(abs(float(a.u.mean()) - float(b.u.mean())) for a, b in zip(frames, expected, strict=True)) < 3


def test_a_thousand_scenes_need_no_recursion(tmp_path: Path) -> None:
    """1,000 scenes compose without recursion or slowdown per frame."""
    cuts = tuple(Cut(take(scene, 4), TransitionSpec("crossfade", 1 / 24)) for scene in range(1000))
    made = Film(cuts, WIDTH, HEIGHT, FPS)
    assert made.spec.frames == 1000 * 4 - 999
    assert len(frames_of(rendered(made, tmp_path / "a.mp4"))) == 3001


def test_a_transition_longer_than_its_clip_is_refused() -> None:
    with pytest.raises(BadStoryboard, match=r"scene 2 lasts 0\.42 s"):
        film(30, 10, 30, going=TransitionSpec("fade", 0.25))


def test_a_take_that_ends_early_is_an_error_of_its_scene() -> None:
    def short() -> Video:
        return Video(VideoSpec(WIDTH, HEIGHT, FPS, 24), (flat(i, 0) for i in range(5)))

    made = Film((Cut(Take(short, 24, "x"), TransitionSpec(), name="intro"),), WIDTH, HEIGHT, FPS)
    with pytest.raises(MediaError, match="Scene intro: it has fewer frames"):
        list(made.frames())


def test_everything_is_closed_when_a_segment_is_left_early() -> None:
    closed: list[int] = []

    def tracked(scene: int) -> Take:
        def frames() -> Iterator[Frame]:
            try:
                for index in range(30):
                    yield flat(index, scene)
            finally:
                closed.append(scene)

        return Take(lambda: Video(VideoSpec(WIDTH, HEIGHT, FPS, 30), frames()), 30, str(scene))

    made = Film((Cut(tracked(0), TransitionSpec("crossfade", 0.5)), Cut(tracked(1), TransitionSpec())), WIDTH, HEIGHT, FPS)
    (first, _) = made.segments({})
    video = first.open()
    for _ in range(25):  # into the transition, where both are open
        next(video.frames)
    video.close()
    assert closed == [0, 1]


# ---- keys


def keys(made: Film) -> list[str]:
    return [segment.key for segment in made.segments({"crf": 20})]


def test_a_segments_key_is_of_all_that_its_pixels_depend_on() -> None:
    """J6: a change re-encodes the segments that it touches and no others."""
    going = TransitionSpec("crossfade", 0.25)
    base = film(30, 30, 30, 30, going=going)
    assert keys(base) == keys(film(30, 30, 30, 30, going=going))
    assert len(set(keys(base))) == 4

    def changed(other: Film) -> list[int]:
        return [index for index, (a, b) in enumerate(zip(keys(base), keys(other), strict=True)) if a != b]

    cuts = base.cuts
    word = (Words("Hello", LetterStyle(), 0, 10),)
    assert changed(replace(base, cuts=(cuts[0], replace(cuts[1], words=word), *cuts[2:]))) == [0, 1]
    assert changed(replace(base, cuts=(*cuts[:3], replace(cuts[3], take=take(9, 30))))) == [2, 3]
    assert changed(replace(base, cuts=(*cuts[:2], replace(cuts[2], going=TransitionSpec("fade", 0.25)), cuts[3]))) == [2]
    assert changed(replace(base, cuts=(*cuts[:2], replace(cuts[2], going=TransitionSpec("crossfade", 0.5)), cuts[3]))) == [2, 3]
    assert changed(replace(base, subtitles=(Caption(0, 0.5, "Hi"),))) == [0]
    assert changed(replace(base, letters=LetterStyle(size=0.2))) == []
    assert changed(replace(base, track=SoundTrack(bed="calm"))) == []
    assert changed(replace(base, width=98)) == [0, 1, 2, 3]
    assert [a for a, b in zip(keys(base), [s.key for s in base.segments({"crf": 21})], strict=True) if a == b] == []


def test_a_subtitle_belongs_to_its_place_in_the_segment() -> None:
    """Moving a film's end does not touch what lies before it."""
    base = replace(film(30, 30), subtitles=(Caption(1.5, 2, "Hi"),))
    moved = replace(film(30, 30, 30), subtitles=(Caption(1.5, 2, "Hi"),))
    assert keys(base) == keys(moved)[:2]


def test_equal_scenes_have_equal_keys_wherever_they_stand() -> None:
    same = take(1, 30)
    made = Film(tuple(Cut(same, TransitionSpec()) for _ in range(3)), WIDTH, HEIGHT, FPS)
    assert len(set(keys(made))) == 1


# ---- letters


def inked(frame: Frame, plain: Frame) -> float:
    """How much of a frame differs from the plain one."""
    return float((np.abs(frame.y.astype(int) - plain.y) > 20).mean())


def test_words_stand_for_their_time_only() -> None:
    """S6: captions and titles at the right times."""
    words = (Words("HELLO", LetterStyle(size=0.3, position="center"), 10, 20),)
    made = Film((Cut(take(0, 40), TransitionSpec(), words),), WIDTH, HEIGHT, FPS)
    shown = [inked(frame, flat(place, 0)) > 0.02 for place, frame in enumerate(made.frames())]
    assert shown == [10 <= place < 30 for place in range(40)]


def test_a_fading_title_rises_and_falls() -> None:
    words = (Words("HELLO", LetterStyle(size=0.3, position="center", colour="#ff0000"), 0, 40, fades=True),)
    black = Take(lambda: Video(VideoSpec(WIDTH, HEIGHT, FPS, 40), (Frame.filled(WIDTH, HEIGHT) for _ in range(40))), 40, "x")
    levels = [float(frame.v.mean()) for frame in Film((Cut(black, TransitionSpec(), words),), WIDTH, HEIGHT, FPS).frames()]
    assert levels[0] < levels[4] < levels[12]
    assert levels[20] > levels[36] > levels[39]


def test_subtitles_go_by_the_films_clock_over_segments() -> None:
    made = replace(film(30, 30), subtitles=(Caption(1.0, 1.5, "HELLO"),), letters=LetterStyle(size=0.3, position="center"))
    expected = by_hand([30, 30], 0, "cut")
    shown = [inked(a, b) > 0.02 for a, b in zip(of_segments(made), expected, strict=True)]
    assert shown == [24 <= place < 36 for place in range(60)]


def test_captions_are_burned_into_any_video() -> None:
    """S6."""
    with captioned(take(0, 24).open(), [Caption(0, 0.5, "HELLO")], LetterStyle(size=0.3, position="center")) as video:
        shown = [inked(frame, flat(place, 0)) > 0.02 for place, frame in enumerate(video.frames)]
    assert shown == [place < 12 for place in range(24)]


# ---- sound


def spoken(frequency: float, seconds: float = 1.0, level: float = 0.25) -> Samples:
    return lambda: iter([tone(round(seconds * SAMPLE_RATE), frequency, level)])


def samples_of(made: Film) -> np.ndarray:
    start = made.sound()
    assert start is not None
    return np.concatenate(list(start()))


def test_a_film_without_sound_has_none() -> None:
    assert film(24).sound() is None
    assert film(24).spec.audio is False


def test_clips_are_heard_in_their_place_and_crossfaded() -> None:
    """S7, S6: sound crossfades with the transition, and is as long as the film."""
    cuts = (Cut(take(0, 48, spoken(400, 2)), TransitionSpec("crossfade", 1)), Cut(take(1, 48, spoken(1000, 2)), TransitionSpec()))
    made = Film(cuts, WIDTH, HEIGHT, FPS)
    sound = samples_of(made)
    assert len(sound) == made.spec.samples == 3 * SAMPLE_RATE
    assert level_at(sound, 0.2, 0.8, 400) == pytest.approx(0.25, rel=0.05)
    assert level_at(sound, 0.2, 0.8, 1000) < 0.01
    assert level_at(sound, 2.2, 2.8, 1000) == pytest.approx(0.25, rel=0.05)
    assert level_at(sound, 2.2, 2.8, 400) < 0.01
    early, late = (level_at(sound, at, at + 0.3, 400) for at in (1.05, 1.65))
    assert 0.25 > early > late > 0.005


def test_narration_begins_with_its_scene_and_may_go_on_over_the_next() -> None:
    """S7."""
    cuts = (
        Cut(take(0, 24), TransitionSpec()),
        Cut(take(1, 24, None, spoken(700, 1.5)), TransitionSpec()),
        Cut(take(2, 24), TransitionSpec()),
    )
    sound = samples_of(Film(cuts, WIDTH, HEIGHT, FPS))
    assert level_at(sound, 0, 0.9, 700) < 0.001
    assert level_at(sound, 1.1, 1.9, 700) == pytest.approx(0.25, rel=0.05)
    assert level_at(sound, 2.1, 2.4, 700) == pytest.approx(0.25, rel=0.1)
    assert level_at(sound, 2.6, 3, 700) < 0.001


def test_the_track_ducks_under_narration() -> None:
    """S7."""
    track = SoundTrack(file="x", duck=-12, fade_in=0, fade_out=0, loudness=None)
    cuts = (Cut(take(0, 72, None, None), TransitionSpec()), Cut(take(1, 72, None, spoken(1000, 3)), TransitionSpec()))
    made = Film(cuts, WIDTH, HEIGHT, FPS, track, spoken(300, 6, 0.2))
    sound = samples_of(made)
    before, under = level_at(sound, 0.5, 2, 300), level_at(sound, 4.2, 5.8, 300)
    assert before == pytest.approx(0.2, rel=0.05)
    assert 20 * np.log10(under / before) == pytest.approx(-12, abs=2)
    loud = samples_of(replace(made, track=replace(track, duck=0)))
    assert level_at(loud, 4.2, 5.8, 300) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("loop", [True, False])
def test_a_short_track_begins_again_or_ends(loop: bool) -> None:
    track = SoundTrack(file="x", loop=loop, fade_in=0, fade_out=0, loudness=None)
    made = Film((Cut(take(0, 96), TransitionSpec()),), WIDTH, HEIGHT, FPS, track, spoken(300, 1))
    sound = samples_of(made)
    assert len(sound) == 4 * SAMPLE_RATE
    assert (level_at(sound, 3, 3.9, 300) > 0.1) == loop


def test_the_track_is_set_to_its_level_and_faded() -> None:
    track = SoundTrack(file="x", gain=-6, fade_in=1, fade_out=1, loudness=None)
    sound = samples_of(Film((Cut(take(0, 96), TransitionSpec()),), WIDTH, HEIGHT, FPS, track, spoken(300, 4)))
    assert level_at(sound, 1.2, 2.8, 300) == pytest.approx(0.25 / 2, rel=0.05)
    assert level_at(sound, 0.0, 0.3, 300) < 0.06
    assert level_at(sound, 3.7, 4.0, 300) < 0.06


def test_the_film_is_as_loud_as_was_asked(tmp_path: Path) -> None:
    """S7: loudness near the target, in the file."""
    track = SoundTrack(file="x", fade_in=0, fade_out=0, loudness=-20)
    made = Film((Cut(take(0, 96), TransitionSpec()),), WIDTH, HEIGHT, FPS, track, spoken(997, 4, 0.02))
    path = rendered(made, tmp_path / "a.mp4")
    sound = heard(path)
    assert loudness.measure(iter([sound])).integrated_lufs == pytest.approx(-20, abs=0.7)
    assert len(sound) == pytest.approx(made.spec.samples, abs=1)
