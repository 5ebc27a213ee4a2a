"""The studio: storyboards in, films out; plans, checks, notes, limits (S1-S7, J5, J6)."""

from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from making import Counting, clip, counting, frames_of, heard, level_at, litter, mean, picture, stopping, studio, wav

from reelwright.errors import Cancelled, MediaError, MissingAsset, ReelwrightError, RequestError, UnknownModel, Unsupported
from reelwright.media import fonts, loudness
from reelwright.media.encode import Encoding
from reelwright.media.letters import LetterStyle
from reelwright.media.probe import probe
from reelwright.run import LocalRun, Progress
from reelwright.storyboard import Scene, SoundTrack, Storyboard, Title, TransitionSpec

__all__ = ["counting"]


def board(*scenes: Scene, **fields: object) -> Storyboard:
    given = {"size": "160x90", "fps": 24}
    return Storyboard(scenes, **{**given, **fields})  # type: ignore[arg-type]  # fields of Storyboard


QUIET = {"options": {"labels": "off"}}


def test_a_film_of_everything(tmp_path: Path) -> None:
    """S1, S2, S6, S7: drawn, picture and clip scenes, titles, captions, a track, in one film of the exact length."""
    clip(tmp_path / "c.mp4", 48, fps=25, width=200, height=120, frequency=600)
    picture(tmp_path / "p.png")
    wav(tmp_path / "n.wav", 0.8, 900)
    scenes = (
        Scene("A boat at sea", seconds=2, camera="dolly in", title=Title("Hello", 1)),
        Scene("A picture", image="p.png", seconds=2, camera="pan left", caption="Words", effect="noir"),
        Scene(clip="c.mp4", narration="n.wav"),
    )
    made = studio(tmp_path).render(
        board(*scenes, transition=TransitionSpec("crossfade", 0.5), sound=SoundTrack(bed="calm"), title="All"),
        tmp_path / "a.mp4",
        tmp_path,
    )
    facts = probe(made.path)
    assert made.spec.frames == 48 + 48 + round(48 / 25 * 24) - 24
    assert len(frames_of(made.path)) == made.spec.frames
    assert (facts.width, facts.height, facts.fps, facts.audio_codec) == (160, 90, 24, "aac")
    sound = heard(made.path)
    assert len(sound) == pytest.approx(made.spec.samples, abs=1024)
    assert loudness.measure(iter([sound])).integrated_lufs == pytest.approx(-16, abs=1.5)
    assert level_at(sound, 3.1, 3.7, 900) > 5 * level_at(sound, 1, 1.6, 900)


def test_frames_at_the_joins_are_those_of_the_scenes_alone(tmp_path: Path) -> None:
    """No frame is lost or doubled where one scene becomes the next."""
    for name, base in (("a", 40), ("b", 100)):
        clip(tmp_path / f"{name}.mp4", 30, luma=lambda i, base=base: base + 2 * i)
    going = TransitionSpec("crossfade", 0.25)
    made = studio(tmp_path).render(
        board(Scene(clip="a.mp4"), Scene(clip="b.mp4"), transition=going), tmp_path / "f.mp4", tmp_path
    )
    levels = [mean(frame) for frame in frames_of(made.path)]
    wanted = [40 + 2 * i for i in range(24)]
    wanted += [(40 + 2 * (24 + p)) * (1 - (p + 1) / 7) + (100 + 2 * p) * (p + 1) / 7 for p in range(6)]
    wanted += [100 + 2 * i for i in range(6, 30)]
    assert len(levels) == len(wanted) == 54
    assert np.abs(np.array(levels) - wanted).max() < 3


def test_titles_and_captions_are_seen_when_they_should_be(tmp_path: Path) -> None:
    """S6: in the pixels of the file."""
    scenes = (
        Scene("A calm sea", seconds=2, title=Title("HELLO", 1, 0.5, LetterStyle(size=0.3, position="center")), **QUIET),
        Scene("A calm sea", seconds=2, caption="CAPTION", **QUIET),
    )
    plain = tuple(replace(scene, title=None, caption=None) for scene in scenes)
    films = studio(tmp_path)
    style = LetterStyle(size=0.2)
    with_letters = frames_of(films.render(board(*scenes, letters=style), tmp_path / "a.mp4").path)
    without = frames_of(films.render(board(*plain, letters=style), tmp_path / "b.mp4").path)
    inked = [float((np.abs(a.y.astype(int) - b.y) > 60).mean()) for a, b in zip(with_letters, without, strict=True)]
    seen = [amount > 0.01 for amount in inked]
    assert not any(seen[:12])
    assert all(seen[18:30])
    assert not any(seen[36:48])
    assert all(seen[48:96])


def test_subtitles_are_burned_in(tmp_path: Path) -> None:
    """S6."""
    (tmp_path / "s.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nHELLO THERE\n")
    style = LetterStyle(size=0.2)
    films = studio(tmp_path)
    shown = frames_of(
        films.render(
            board(Scene("A calm sea", seconds=1.5, **QUIET), subtitles="s.srt", letters=style), tmp_path / "a.mp4", tmp_path
        ).path
    )
    plain = frames_of(films.render(board(Scene("A calm sea", seconds=1.5, **QUIET)), tmp_path / "b.mp4").path)
    seen = [bool((np.abs(a.y.astype(int) - b.y) > 60).mean() > 0.01) for a, b in zip(shown, plain, strict=True)]
    assert seen == [12 <= place < 24 for place in range(36)]


def test_ten_thousand_scenes_are_planned(tmp_path: Path) -> None:
    made = studio(tmp_path).plan(
        board(*(Scene(f"A boat {n % 7}", seconds=1) for n in range(10_000)), transition="crossfade", size="32x32")
    )
    assert len(made.scenes) == 10_000
    assert made.spec.frames == 10_000 * 24 - 9999 * TransitionSpec("crossfade").frames(Fraction(24))
    assert made.reused == 0


def test_hundreds_of_scenes_render(tmp_path: Path) -> None:
    scenes = [Scene(f"A boat {n % 5}", seconds=0.2, **QUIET) for n in range(120)]
    made = studio(tmp_path).render(board(*scenes, size="32x32", fps=10), tmp_path / "a.mp4")
    assert made.spec.frames == 240
    assert len(frames_of(made.path)) == 240


def test_a_plan_says_what_will_be_made_and_what_is_there(counting: type[Counting], tmp_path: Path) -> None:
    """J5: time estimates before it starts; J6: what is there already."""
    clip(tmp_path / "c.mp4", 24)
    films = studio(tmp_path)
    storyboard = board(Scene("one", seconds=1, model="counter"), Scene("A boat", seconds=1), Scene(clip="c.mp4"), title="T")
    before = films.plan(storyboard, tmp_path)
    assert [scene.state for scene in before.scenes] == ["make", "drawn", "clip"]
    assert [scene.model for scene in before.scenes] == ["counter", "placeholder", None]
    assert (before.segments, before.reused, before.measured) == (3, 0, False)
    assert before.estimate > 0
    assert counting.made == []
    films.render(storyboard, tmp_path / "a.mp4", tmp_path)
    after = films.plan(storyboard, tmp_path)
    assert [scene.state for scene in after.scenes] == ["kept", "drawn", "clip"]
    assert (after.segments, after.reused, after.estimate) == (3, 3, 0)
    assert after.json()["spec"]["seconds"] == 3
    assert len(after.warnings) == 2
    assert "Scene 1" in after.warnings[0]


def test_check_tells_everything_that_would_stop_the_film(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "font.ttf").write_text("no font")
    (tmp_path / "bad.srt").write_text("no captions\nat all\n")
    storyboard = board(
        Scene("a", model="nobody"), Scene("b", image="gone.png"), Scene(clip="gone.mp4"), Scene("c", image="empty.png"),
        Scene("d", options={"sparkle": 1}), Scene("e", narration="gone.wav"), Scene("f", image="scene:2"), Scene("A boat"),
        sound=SoundTrack(file="gone.mp3"), subtitles="bad.srt", letters=LetterStyle(font=str(tmp_path / "font.ttf")),
    )  # fmt: skip
    problems = studio(tmp_path).check(storyboard, tmp_path)
    for part in ("Scene 1: there is no model", "Scene 2: there is no file gone.png", "Scene 3: there is no file gone.mp4",
                 "Scene 4: empty.png",
                 "Scene 5: Placeholder has no option", "Scene 6: there is no file gone.wav",
                 "gone.mp3", "bad.srt", "font.ttf"):  # fmt: skip
        assert any(part in problem for problem in problems), part
    assert not any("Scene 7" in problem or "Scene 8" in problem for problem in problems)
    assert len(problems) == 9
    assert studio(tmp_path).check(board(Scene("A boat"))) == ()


def test_a_font_that_cannot_be_read_names_the_scene(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_text("no font")
    style = LetterStyle(font=str(tmp_path / "font.ttf"))
    for scene in (Scene("A boat", title=Title("Hi", style=style)), Scene("A boat", caption="Hi")):
        with pytest.raises(MediaError, match=r"Scene 1: .*font\.ttf"):
            studio(tmp_path).render(board(scene, letters=style), tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    assert litter(tmp_path) == []


def test_letters_that_no_font_has_are_told(tmp_path: Path) -> None:
    """Rule 11: what could not be honoured is told, every time."""
    strange = "\U0001e922"  # Adlam
    if not fonts.missing(strange):
        strange = "\U00012000"  # cuneiform
    if not fonts.missing(strange):
        pytest.skip("this machine has fonts for everything")
    films = studio(tmp_path)
    for _ in range(2):
        made = films.render(board(Scene("A boat", seconds=0.5, caption=strange)), tmp_path / "a.mp4")
        assert fonts.missing_note(strange) in made.notes


def test_a_track_from_a_file_starts_where_it_should(tmp_path: Path) -> None:
    """S7."""
    wav(tmp_path / "s.wav", 2, 500)
    track = SoundTrack(file="s.wav", start=1, loop=False, fade_in=0, fade_out=0, loudness=None)
    made = studio(tmp_path).render(board(Scene("A boat", seconds=2), sound=track), tmp_path / "a.mp4", tmp_path)
    sound = heard(made.path)
    assert level_at(sound, 0.1, 0.9, 500) > 0.2
    assert level_at(sound, 1.2, 1.9, 500) < 0.01


def test_a_bed_is_as_long_as_the_film_and_follows_the_seed(tmp_path: Path) -> None:
    """S7."""
    films = studio(tmp_path)
    sounds = [
        heard(films.render(board(Scene("A boat", seconds=2), sound="calm", seed=seed), tmp_path / "a.mp4").path)
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])
    assert len(sounds[0]) == pytest.approx(96_000, abs=1024)


def test_a_muted_clip_is_not_heard(tmp_path: Path) -> None:
    clip(tmp_path / "c.mp4", 24, frequency=700)
    films = studio(tmp_path)
    assert films.render(board(Scene(clip="c.mp4")), tmp_path / "a.mp4", tmp_path).spec.audio
    assert not films.render(board(Scene(clip="c.mp4", mute=True)), tmp_path / "a.mp4", tmp_path).spec.audio


def test_slow_motion_slows_a_clips_sound_too(tmp_path: Path) -> None:
    """S4."""
    clip(tmp_path / "c.mp4", 24, frequency=700)
    made = studio(tmp_path).render(board(Scene(clip="c.mp4", effect="slow motion")), tmp_path / "a.mp4", tmp_path)
    assert made.spec.frames == 48
    assert level_at(heard(made.path), 1.2, 1.8, 700) > 0.1


@pytest.mark.parametrize(
    ("encoding", "output", "kind"),
    [
        (Encoding(codec="vp9"), "a.mp4", Unsupported),
        (None, "a.txt", Unsupported),
        (None, "gone/a.mp4", RequestError),
        (None, "folder", ReelwrightError),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_work(
    counting: type[Counting], tmp_path: Path, encoding: Encoding | None, output: str, kind: type[Exception]
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(kind):
        studio(tmp_path).render(board(Scene("one", seconds=1, model="counter")), tmp_path / output, encoding=encoding)
    assert counting.made == []


def test_an_unknown_model_is_named_with_its_scene(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="Scene 1: there is no model 'nobody'"):
        studio(tmp_path).render(board(Scene("one", model="nobody")), tmp_path / "a.mp4")


def test_progress_rises_and_ends_complete(tmp_path: Path) -> None:
    seen: list[Progress] = []
    studio(tmp_path).render(
        board(*[Scene(f"A boat {n}", seconds=1) for n in range(3)]), tmp_path / "a.mp4", run=LocalRun(seen.append)
    )
    steps = [each.done for each in seen if each.stage == "render"]
    assert steps == sorted(steps)
    assert seen[-1].done == seen[-1].total == 72
    assert seen[-1].fraction == 1


@pytest.mark.parametrize("after", [1, 20, 60])
def test_cancel_leaves_nothing_half_done(tmp_path: Path, after: int) -> None:
    """Rule 5: progress is the cancellation point."""
    films, scenes = studio(tmp_path), [Scene(f"A boat {n}", seconds=1) for n in range(3)]
    (tmp_path / "a.mp4").write_text("what was there before")
    with pytest.raises(Cancelled):
        films.render(board(*scenes), tmp_path / "a.mp4", run=stopping(after))
    assert (tmp_path / "a.mp4").read_text() == "what was there before"
    assert litter(tmp_path) == []
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith(("segment", "encoder"))]
    assert films.render(board(*scenes), tmp_path / "a.mp4").spec.frames == 72


def test_a_run_that_fails_in_a_callback_says_so(tmp_path: Path) -> None:
    def broken(_progress: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        studio(tmp_path).render(board(Scene("A boat", seconds=1)), tmp_path / "a.mp4", run=LocalRun(broken))
    assert litter(tmp_path) == []


def test_a_cache_of_no_size_keeps_nothing(tmp_path: Path) -> None:
    """J6: size limits."""
    films = studio(tmp_path, cache_limit_gb=0)
    made = films.render(board(Scene("A boat", seconds=1)), tmp_path / "a.mp4")
    assert len(frames_of(made.path)) == 24
    assert films.results.usage().files == 0


def test_one_frame_is_a_film(tmp_path: Path) -> None:
    made = studio(tmp_path).render(board(Scene("A boat", seconds=0.01)), tmp_path / "a.mp4")
    assert made.spec.frames == 1
    assert len(frames_of(made.path)) == 1


def test_a_missing_track_stops_before_work(counting: type[Counting], tmp_path: Path) -> None:
    with pytest.raises(MissingAsset, match=r"gone\.mp3"):
        studio(tmp_path).render(board(Scene("one", seconds=1, model="counter"), sound="gone.mp3"), tmp_path / "a.mp4", tmp_path)
    assert counting.made == []


def test_the_film_may_replace_one_of_its_clips(tmp_path: Path) -> None:
    clip(tmp_path / "c.mp4", 24)
    made = studio(tmp_path).render(board(Scene(clip="c.mp4"), Scene(clip="c.mp4")), tmp_path / "c.mp4", tmp_path)
    assert len(frames_of(made.path)) == 48
