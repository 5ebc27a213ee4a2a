"""Scenes become takes: models are asked once, files are opened, chains hang on last frames (S1, J6, M14)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import Counting, clip, counting, frames_of, litter, mean, picture, stopping, studio

from reelwright.errors import (
    BackendError,
    Cancelled,
    DiskFull,
    MediaError,
    MissingAsset,
    OutOfMemory,
    ProviderFailed,
    RequestError,
    TooLarge,
    Unsupported,
)  # fmt: skip
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun
from reelwright.storyboard import Scene, Storyboard, TransitionSpec
from reelwright.types import Role

__all__ = ["counting"]

Count = type[Counting]


def board(*scenes: Scene, **fields: Any) -> Storyboard:
    given = {"size": "160x90", "fps": 24, "model": "counter", **fields}
    return Storyboard(scenes or tuple(Scene(text, seconds=1) for text in ("one", "two", "three")), **given)


def test_a_model_is_asked_once(counting: Count, tmp_path: Path) -> None:
    """J6: the same board again makes nothing."""
    films = studio(tmp_path)
    first = films.render(board(), tmp_path / "a.mp4")
    assert counting.made == ["one", "two", "three"]
    assert (first.made, first.reused) == (3, 0)
    again = films.render(board(), tmp_path / "b.mp4")
    assert counting.made == ["one", "two", "three"]
    assert (again.made, again.reused) == (0, 3)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_one_word_of_one_scene_makes_that_scene_again_and_no_other(counting: Count, tmp_path: Path) -> None:
    """J6, rule 8: change one scene and only that scene is made anew."""
    films = studio(tmp_path)
    films.render(board(), tmp_path / "a.mp4")
    counting.made.clear()
    changed = films.render(
        board(Scene("one", seconds=1), Scene("two words", seconds=1), Scene("three", seconds=1)), tmp_path / "a.mp4"
    )
    assert counting.made == ["two words"]
    assert (changed.made, changed.reused) == (1, 2)


def test_a_title_makes_no_model_work_and_encodes_only_its_segment(counting: Count, tmp_path: Path) -> None:
    """J6."""
    films = studio(tmp_path)
    films.render(board(), tmp_path / "a.mp4")
    counting.made.clear()
    scenes = board().scenes
    titled = films.render(board(replace(scenes[0], title="Hello"), *scenes[1:]), tmp_path / "a.mp4")
    assert counting.made == []
    assert (titled.made, titled.reused) == (1, 2)


def test_a_changed_scene_behind_a_transition_touches_its_neighbour_before(counting: Count, tmp_path: Path) -> None:
    films = studio(tmp_path)
    going = TransitionSpec("crossfade", 0.25)
    texts = [("one", "two", "three", "four"), ("one", "two", "changed", "four")]
    made = [films.render(board(*(Scene(t, seconds=2) for t in each), transition=going), tmp_path / "a.mp4") for each in texts]
    assert (made[1].made, made[1].reused) == (2, 2)
    assert counting.made == ["one", "two", "three", "four", "changed"]


def test_drawn_scenes_touch_only_their_segments(tmp_path: Path) -> None:
    """J6: the instant renderer's frames are not kept, its segments are."""
    films = studio(tmp_path)
    scenes = [Scene(text, seconds=1) for text in ("A boat at sea", "A night city", "A forest")]
    films.render(board(*scenes, model="placeholder"), tmp_path / "a.mp4")
    scenes[2] = Scene("A green forest", seconds=1)
    made = films.render(board(*scenes, model="placeholder"), tmp_path / "a.mp4")
    assert (made.made, made.reused) == (1, 2)


def test_the_same_scene_twice_is_made_once(counting: Count, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    run = LocalRun(
        on_progress=lambda progress: steps.append((progress.done, progress.total)) if progress.stage == "render" else None
    )
    made = studio(tmp_path).render(board(*[Scene("one", seconds=1)] * 3), tmp_path / "a.mp4", run=run)
    assert counting.made == ["one"]
    assert (made.made, made.reused) == (1, 2)
    assert made.spec.frames == 72
    assert steps[-1] == (24, 24)


@pytest.mark.parametrize(("model", "message"), [("down", "the provider is down"), ("full", "the card is full"),
                                                ("buggy", "RuntimeError: tensor sizes do not match"),
                                                ("breaks", "the connection broke")])  # fmt: skip
def test_a_failing_models_scene_is_served_by_the_placeholder_and_told(
    counting: Count, tmp_path: Path, model: str, message: str
) -> None:
    """M14, M2: the result names what was asked for and what served it."""
    scenes = (Scene("one", seconds=1), Scene("A boat at sea", seconds=1, model=model, options={"steps": 5}))
    made = studio(tmp_path).render(board(*scenes), tmp_path / "a.mp4")
    assert made.spec.frames == 48
    (note,) = [note for note in made.notes if "stands in" in note]
    assert model in note
    assert message in note
    assert "Scene 2" in note
    assert [(scene["asked"], scene["served"]) for scene in made.manifest["scenes"]] == [
        ("counter", "counter"),
        (model, "placeholder"),
    ]
    frames = frames_of(tmp_path / "a.mp4")
    assert float(frames[0].y.std()) < 2 < float(frames[-1].y.std())
    assert litter(tmp_path) == []


@pytest.mark.parametrize(
    ("model", "kind"), [("down", ProviderFailed), ("full", OutOfMemory), ("buggy", BackendError), ("breaks", ProviderFailed)]
)
def test_a_failing_model_raises_where_one_clip_was_asked_for(
    counting: Count, tmp_path: Path, model: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        studio(tmp_path).generate(GenerationRequest("one", model), tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    assert litter(tmp_path) == []


def test_a_full_disk_is_no_failure_of_the_model(counting: Count, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = studio(tmp_path)

    def full(*_given: object) -> Path:
        raise DiskFull("no room")

    monkeypatch.setattr(films.results, "make", full)
    with pytest.raises(DiskFull, match="Scene 1: no room"):
        films.render(board(), tmp_path / "a.mp4")


def test_a_scene_goes_on_from_the_last_frame_of_the_one_before(counting: Count, tmp_path: Path) -> None:
    """S1: `previous`; the start frame is there before the model is asked."""
    scenes = (Scene("one", seconds=1), Scene("two", seconds=1, image="previous"), Scene("three", seconds=1, image="scene:1"))
    studio(tmp_path).render(board(*scenes), tmp_path / "a.mp4")
    assert counting.made == ["one", "two", "three"]
    last = 40 + sum(b"one") % 100 + 23
    expected = (last - 16) * 255 / 219 / 2
    assert counting.starts == pytest.approx([expected, expected], abs=2)


def test_a_scene_may_go_on_from_a_later_one(counting: Count, tmp_path: Path) -> None:
    """S1: `scene:ID`; models are asked in the order in which they need each other."""
    scenes = (Scene("one", seconds=1, image="scene:last"), Scene("two", seconds=1), Scene("three", seconds=1, id="last"))
    studio(tmp_path).render(board(*scenes), tmp_path / "a.mp4")
    assert counting.made.index("three") < counting.made.index("one")


def test_a_chain_changes_from_where_it_was_changed(counting: Count, tmp_path: Path) -> None:
    films = studio(tmp_path)
    chain = [Scene("root", seconds=1), *(Scene(f"link {n}", seconds=1, image="previous") for n in range(4))]
    films.render(board(*chain), tmp_path / "a.mp4")
    counting.made.clear()
    chain[2] = replace(chain[2], prompt="another link")
    films.render(board(*chain), tmp_path / "a.mp4")
    assert counting.made == ["another link", "link 2", "link 3"]


def test_a_chain_goes_on_from_the_stand_in(counting: Count, tmp_path: Path) -> None:
    """M14: what hangs on a scene that had to be replaced starts from the replacement's last frame."""
    scenes = (
        Scene("A boat", seconds=1, model="down"),
        Scene("two", seconds=1, image="previous"),
        Scene("three", seconds=1, image="previous"),
    )
    made = studio(tmp_path).render(board(*scenes), tmp_path / "a.mp4")
    assert counting.made == ["A boat", "two", "three"]
    assert [scene["served"] for scene in made.manifest["scenes"]] == ["placeholder", "counter", "counter"]


def test_a_chain_of_three_hundred_scenes(tmp_path: Path) -> None:
    scenes = (Scene("A boat", seconds=0.1), *(Scene("goes on", seconds=0.1, image="previous") for _ in range(299)))
    made = studio(tmp_path).render(board(*scenes, model="placeholder", size="32x32", fps=10), tmp_path / "a.mp4")
    assert made.spec.frames == 300
    assert len(frames_of(tmp_path / "a.mp4")) == 300


def test_the_next_scene_starts_without_the_labels_of_the_one_before(tmp_path: Path) -> None:
    scenes = (
        Scene("A calm sea", seconds=1, options={"labels": "on"}),
        Scene("goes on", seconds=1, image="previous", options={"labels": "off"}),
    )
    studio(tmp_path).render(board(*scenes, model="placeholder", size="320x180"), tmp_path / "a.mp4")
    frames = frames_of(tmp_path / "a.mp4")
    edge = [float(frames[at].y[-1, 20:-20].mean()) for at in (23, 24)]
    assert edge[0] > 180 > edge[1], "the bar at the lower edge is drawn over the first scene and must not be in the second"


def test_a_clip_is_trimmed_fitted_and_brought_to_the_rate(tmp_path: Path) -> None:
    """S6: clips of any size and rate."""
    clip(tmp_path / "c.mp4", 60, fps=30, width=320, height=240, luma=lambda i: 40 + 3 * i)
    made = studio(tmp_path).render(board(Scene(clip="c.mp4", start=0.5, seconds=1)), tmp_path / "a.mp4", tmp_path)
    frames = frames_of(made.path)
    assert len(frames) == 24
    assert mean(frames[0]) == pytest.approx(40 + 3 * 15, abs=4)
    assert mean(frames[-1]) == pytest.approx(40 + 3 * 44, abs=4)


def test_a_clip_without_a_length_keeps_its_own(tmp_path: Path) -> None:
    clip(tmp_path / "c.mp4", 36)
    made = studio(tmp_path).render(
        board(Scene(clip="c.mp4"), Scene(clip="c.mp4", effect="slow motion")), tmp_path / "a.mp4", tmp_path
    )
    assert made.spec.frames == 36 + 72


def test_a_clip_that_is_too_short_holds_its_last_picture_and_says_so(tmp_path: Path) -> None:
    clip(tmp_path / "c.mp4", 12, luma=lambda i: 40 + 10 * i)
    made = studio(tmp_path).render(board(Scene(clip="c.mp4", seconds=1)), tmp_path / "a.mp4", tmp_path)
    assert any("shorter than the scene" in note for note in made.notes)
    frames = frames_of(made.path)
    assert mean(frames[23]) == pytest.approx(mean(frames[11]), abs=1)


def test_a_clip_is_named_by_its_content(tmp_path: Path) -> None:
    """J6: another file under the same name is another film."""
    films = studio(tmp_path)
    clip(tmp_path / "c.mp4", 24)
    films.render(board(Scene(clip="c.mp4")), tmp_path / "a.mp4", tmp_path)
    clip(tmp_path / "c.mp4", 24, luma=lambda i: 200)
    made = films.render(board(Scene(clip="c.mp4")), tmp_path / "a.mp4", tmp_path)
    assert made.made == 1
    assert mean(frames_of(made.path)[0]) == pytest.approx(200, abs=2)
    (tmp_path / "c.mp4").rename(tmp_path / "d.mp4")
    assert films.render(board(Scene(clip="d.mp4")), tmp_path / "a.mp4", tmp_path).reused == 1


def test_what_a_model_makes_otherwise_is_brought_to_the_film(counting: Count, tmp_path: Path) -> None:
    """S5: a model with its own sizes, rate and frame count."""
    made = studio(tmp_path).render(board(Scene("one", seconds=3.25, model="stiff")), tmp_path / "a.mp4")
    assert made.spec.frames == 78
    assert any("8 frames a second, not 24" in note for note in made.notes)
    frames = frames_of(made.path)
    assert len(frames) == 78
    assert mean(frames[-1]) == pytest.approx(40 + sum(b"one") % 100 + 24, abs=2), "it holds its last picture"


def test_a_scene_longer_than_its_model_makes_goes_on_in_sections(counting: Count, tmp_path: Path) -> None:
    """S9: the second section starts from a picture of the first, and a note says so."""
    made = studio(tmp_path).render(board(Scene("one", seconds=5, model="stiff")), tmp_path / "a.mp4")
    assert made.spec.frames == 120
    assert any("2 sections" in note for note in made.notes)
    assert len(counting.made) == 2


def broken(folder: Path, kind: str) -> Path:
    path = folder / ("bad.png" if kind.endswith("image") else "bad.mp4")
    if kind.startswith("empty"):
        path.write_bytes(b"")
    elif kind.startswith("renamed"):
        path.write_text("I am a text file, whatever my name says")
    elif kind == "truncated image":
        data = picture(folder / "good.png").read_bytes()
        path.write_bytes(data[: len(data) // 3])
    else:
        data = clip(folder / "good.mp4", 96, luma=lambda i: 40 + i).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    "kind", ["empty image", "renamed image", "truncated image", "empty clip", "renamed clip", "truncated clip"]
)
def test_a_bad_file_is_an_error_that_names_the_scene(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path, kind)
    scene = Scene("x", image=path.name, seconds=1) if kind.endswith("image") else Scene(clip=path.name)
    films, storyboard = studio(tmp_path), board(Scene("A boat", seconds=1), scene, model="placeholder")
    with pytest.raises(MediaError, match=r"Scene 2: .*bad"):
        films.render(storyboard, tmp_path / "a.mp4", tmp_path)
    assert not (tmp_path / "a.mp4").exists()
    assert litter(tmp_path) == []
    if kind != "truncated clip":  # that is found when it is read
        (problem,) = films.check(storyboard, tmp_path)
        assert problem.startswith("Scene 2: bad")


def test_a_missing_file_names_the_scene(tmp_path: Path) -> None:
    for scene in (Scene("x", image="gone.png"), Scene(clip="gone.mp4"), Scene("x", narration="gone.wav"), Scene(clip="x" * 4000)):
        with pytest.raises(MissingAsset, match="Scene 1: "):
            studio(tmp_path).render(board(scene, model="placeholder"), tmp_path / "a.mp4", tmp_path)


def test_an_input_over_the_limit_is_refused(tmp_path: Path) -> None:
    """J8: MAX_VIDEO_FILE_SIZE."""
    clip(tmp_path / "c.mp4", 24)
    with pytest.raises(TooLarge, match="Scene 1: "):
        studio(tmp_path, max_video_file_size=500).render(board(Scene(clip="c.mp4")), tmp_path / "a.mp4", tmp_path)


def test_a_clip_cannot_start_after_its_end(tmp_path: Path) -> None:
    clip(tmp_path / "c.mp4", 24)
    films = studio(tmp_path)
    with pytest.raises(RequestError, match=r"Scene 1: c\.mp4 lasts 1\.00 s"):
        films.render(board(Scene(clip="c.mp4", start=1)), tmp_path / "a.mp4", tmp_path)
    assert len(films.check(board(Scene(clip="c.mp4", start=1)), tmp_path)) == 1


def test_an_option_that_the_model_lacks_names_the_scene(counting: Count, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="Scene 1: Counter has no option 'sparkle'"):
        studio(tmp_path).render(board(Scene("a", options={"sparkle": 1})), tmp_path / "a.mp4")
    assert counting.made == []


def test_a_narration_without_sound_is_found_before_any_work(counting: Count, tmp_path: Path) -> None:
    clip(tmp_path / "mute.mp4", 4)
    with pytest.raises(MediaError, match="Scene 2: "):
        studio(tmp_path).render(board(Scene("one"), Scene("two", narration="mute.mp4")), tmp_path / "a.mp4", tmp_path)
    assert counting.made == []


def test_cancel_while_a_model_works_leaves_nothing(counting: Count, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        studio(tmp_path).render(board(), tmp_path / "a.mp4", run=stopping(60))
    assert not (tmp_path / "a.mp4").exists()
    assert litter(tmp_path) == []
    assert studio(tmp_path).render(board(), tmp_path / "a.mp4").spec.frames == 72
    assert counting.made == ["one", "two", "two", "three"], "what was finished before the cancel is used again"


def test_generate_fills_in_the_operators_defaults(counting: Count, tmp_path: Path) -> None:
    """J8: VIDEO_FRAME_RATE, VIDEO_INFERENCE_STEPS, VIDEO_QUALITY_PRESET, MAX_VIDEO_DURATION."""
    films = studio(tmp_path, video_frame_rate=12, video_inference_steps=33, max_video_duration=2)
    made = films.generate(GenerationRequest("one", "counter", seconds=1), tmp_path / "a.mp4")
    assert made.spec.fps == 12
    assert made.manifest["scenes"][0]["shot"]["options"]["steps"] == 33
    with pytest.raises(RequestError, match="at most 2 s"):
        films.generate(GenerationRequest("one", "counter", seconds=2.5), tmp_path / "a.mp4")
    draft = studio(tmp_path, video_quality_preset="draft").generate(
        GenerationRequest("one", "counter", seconds=0.2), tmp_path / "b.mp4"
    )
    assert (draft.spec.width, draft.spec.height, draft.spec.fps) == (854, 480, 24)


def test_a_films_quality_follows_the_operator_where_it_names_none(tmp_path: Path) -> None:
    """J8."""
    films = studio(tmp_path, video_quality_preset="draft", video_frame_rate=10)
    assert films.plan(Storyboard((Scene("A boat"),))).spec.width == 854
    assert films.plan(Storyboard((Scene("A boat"),))).spec.fps == 10
    assert films.plan(Storyboard((Scene("A boat"),), quality="high")).spec.fps == 30


def test_a_picture_moves(tmp_path: Path) -> None:
    """S4, M1: generate from a picture, on the camera asked for."""
    path = picture(tmp_path / "p.png")
    request = GenerationRequest(
        inputs=(Input(Role.FIRST_FRAME, str(path)),), width=160, height=90, seconds=0.5, options={"camera": "truck right"}
    )
    made = studio(tmp_path).generate(request, tmp_path / "a.mp4")
    first, *_, last = frames_of(made.path)
    assert np.abs(first.y.astype(int) - last.y).mean() > 5
    assert made.spec.fps == Fraction(30)
