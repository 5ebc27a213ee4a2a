"""The short way in: generate, render, join, and the high-level call of the guide, sync and async (J11)."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from making import Counting, clip, counting, frames_of, heard, level_at, litter, mean, picture

import reelwright
from reelwright import agenerate_video, generate, generate_video, join, render
from reelwright.errors import BadStoryboard, Cancelled, MissingAsset, RequestError
from reelwright.run import Progress
from reelwright.settings import Settings
from reelwright.storyboard import Scene, Storyboard

__all__ = ["counting"]


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, cache_folder=tmp_path / "cache", output_folder=tmp_path / "films", workers=2)  # type: ignore[call-arg]  # pydantic-settings' own


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft preset at a size that tests can afford."""
    from fractions import Fraction

    from reelwright import request

    monkeypatch.setitem(request.PRESETS, "draft", request.Preset(160, 90, Fraction(24), 300))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)


def test_generate_video_returns_what_the_guide_promises(own: Settings, tmp_path: Path) -> None:
    """J11: a dictionary with the file's path and its metadata."""
    made = generate_video(
        prompt=["A serene mountain landscape at sunrise", "A bustling city skyline at night"],
        video_type="multi_frame", quality="draft", transition="crossfade", duration_per_frame=1.0,
        use_ai_generation=False, settings=own,
    )  # fmt: skip
    path = Path(made["file_path"])
    assert path.is_file()
    assert path.parent == tmp_path / "films"
    assert path.name == "a-serene-mountain-landscape-at-sunrise.mp4"
    assert (made["num_scenes"], made["quality"], made["transition"], made["model"]) == (2, "draft", "crossfade", "placeholder")
    assert (made["resolution"], made["width"], made["height"], made["fps"]) == ("160x90", 160, 90, 24.0)
    assert made["file_size"] == path.stat().st_size
    assert made["num_frames"] == len(frames_of(path)) == round(made["duration"] * 24)
    assert made["num_frames"] < 48
    assert made["manifest"]["kind"] == "film"
    assert made["notes"] == []


@pytest.mark.parametrize("transition", ["fade", "crossfade", "wipe", "slide", "zoom", "dissolve", "FADE", "cut"])
def test_the_guides_transitions_work_by_name(own: Settings, tmp_path: Path, transition: str) -> None:
    """S2, J11."""
    made = generate_video(["A boat", "A city"], quality="draft", transition=transition, duration_per_frame=0.5, settings=own)
    assert made["num_frames"] <= 24


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1, 0.2, 1])
def test_any_length_goes_with_any_number_of_scenes(own: Settings, seconds: float) -> None:
    made = generate_video(["A boat", "A city", "A forest"], quality="draft", duration_per_frame=seconds, settings=own)
    assert made["num_frames"] >= 3 or seconds < 0.05


def test_a_single_prompt_is_one_scene(own: Settings) -> None:
    """S1."""
    made = generate_video(
        "A boat", quality="draft", duration_per_frame=0.5, settings=own, output=own.output_folder.parent / "x.mp4"
    )
    assert (made["num_scenes"], made["num_frames"]) == (1, 12)
    assert made["file_path"].endswith("x.mp4")


def test_ai_generation_asks_the_model_that_is_set(counting: type[Counting], own: Settings) -> None:
    """J11: use_ai_generation, num_inference_steps, guidance_scale."""
    given: dict[str, Any] = {"quality": "draft", "duration_per_frame": 0.5}
    with_model = own.model_copy(update={"default_text_to_video_model": "counter"})
    made = generate_video("one", settings=with_model, num_inference_steps=25, guidance_scale=7.5, **given)
    assert counting.made == ["one"]
    assert made["model"] == "counter"
    assert made["manifest"]["scenes"][0]["shot"]["options"]["steps"] == 25
    assert made["notes"] == ["Counter has no guidance; the value was left out."]
    plain = generate_video("one", settings=with_model, use_ai_generation=False, **given)
    assert plain["model"] == "placeholder"
    assert counting.made == ["one"]
    named = generate_video("two", settings=own, model="counter", **given)
    assert named["model"] == "counter"


def test_without_a_model_the_scenes_are_placeholders_and_that_is_told(own: Settings) -> None:
    """J11, rule 11."""
    made = generate_video("A boat", quality="draft", duration_per_frame=0.5, settings=own)
    assert made["model"] == "placeholder"
    assert "DEFAULT_TEXT_TO_VIDEO_MODEL" in made["notes"][0]


def test_a_model_that_fails_falls_back(counting: type[Counting], own: Settings) -> None:
    """M2, M14."""
    made = generate_video(["A boat", "A city"], quality="draft", duration_per_frame=0.5, model="down", settings=own)
    assert len([note for note in made["notes"] if "stands in" in note]) == 2
    assert [scene["served"] for scene in made["manifest"]["scenes"]] == ["placeholder"] * 2


@pytest.mark.parametrize(
    "given",
    [{"prompt": []}, {"prompt": ""}, {"prompt": ["a", " "]}, {"prompt": [None]}, {"quality": "ultra"}, {"transition": "melt"},
     {"duration_per_frame": 0}, {"duration_per_frame": -1}, {"duration_per_frame": float("nan")}, {"num_inference_steps": 0},
     {"num_inference_steps": 1001}, {"guidance_scale": 0.5}, {"guidance_scale": 21}, {"video_type": "hologram"},
     {"camera": "wobble"},
     {"effect": "sparkle"}, {"seed": -1}, {"model": "nobody"}],
)  # fmt: skip
def test_wrong_values_are_refused_and_nothing_is_written(own: Settings, given: dict[str, Any]) -> None:
    """S5, J11."""
    with pytest.raises(RequestError):
        generate_video(**{"prompt": "A boat", "quality": "draft", "settings": own, **given})
    assert not own.output_folder.exists() or not list(own.output_folder.iterdir())


def test_progress_is_monotone_and_complete(own: Settings) -> None:
    seen: list[Progress] = []
    generate_video(["A boat", "A city"], quality="draft", duration_per_frame=1, settings=own, on_progress=seen.append)
    fractions = [each.fraction for each in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_cancel_mid_way_leaves_nothing(own: Settings, tmp_path: Path) -> None:
    """J11: cancellation."""
    stop = threading.Event()
    with pytest.raises(Cancelled):
        generate_video(["A boat", "A city"], quality="draft", duration_per_frame=2, settings=own, cancel=stop,
                       on_progress=lambda progress: stop.set() if progress.done > 20 else None)  # fmt: skip
    assert list((tmp_path / "films").iterdir()) == []
    assert litter(tmp_path) == []


def test_async_gives_the_same(own: Settings) -> None:
    """J11: sync and async."""
    made = asyncio.run(agenerate_video("A boat", quality="draft", duration_per_frame=0.5, settings=own))
    assert Path(made["file_path"]).is_file()


@pytest.mark.parametrize("with_own_cancel", [False, True])
def test_a_cancelled_task_stops_the_work(own: Settings, tmp_path: Path, with_own_cancel: bool) -> None:
    """J11: if the task is cancelled, so is the work; a cancel of one's own works beside it."""
    begun, ended = threading.Event(), threading.Event()
    given: dict[str, Any] = {"cancel": threading.Event()} if with_own_cancel else {}

    def slowly(progress: Progress) -> None:
        begun.set()
        ended.wait(0.02)

    async def main() -> None:
        task = asyncio.create_task(
            agenerate_video(["A boat"] * 3, quality="draft", duration_per_frame=20, settings=own, on_progress=slowly, **given)
        )
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # waits for the thread, which would work for a minute if it were not stopped
    assert begun.is_set()
    assert list((tmp_path / "films").glob("*.mp4")) == []
    assert litter(tmp_path) == []


def test_ones_own_cancel_works_in_async_code_too(own: Settings) -> None:
    stop = threading.Event()
    stop.set()

    async def main() -> None:
        await agenerate_video("A boat", quality="draft", settings=own, cancel=stop)

    with pytest.raises(Cancelled):
        asyncio.run(main())


def test_names_of_films_do_not_collide(own: Settings) -> None:
    given: dict[str, Any] = {"quality": "draft", "duration_per_frame": 0.2, "settings": own}
    names = [
        Path(generate_video(prompt, **given)["file_path"]).name for prompt in ("A boat!", "A boat?", "一只小船", "?!", "../../x")
    ]
    assert names == ["a-boat.mp4", "a-boat-2.mp4", "一只小船.mp4", "film.mp4", "x.mp4"]


def test_an_output_folder_that_is_a_file_is_said_plainly(own: Settings, tmp_path: Path) -> None:
    (tmp_path / "films").write_text("a file")
    with pytest.raises(RequestError, match="output folder"):
        generate_video("A boat", quality="draft", settings=own)


def test_generate_makes_one_clip(own: Settings, tmp_path: Path) -> None:
    made = generate(
        "A boat at sea", tmp_path / "a.mp4", camera="dolly in", effect="noir", seconds=0.5, width=160, height=90, settings=own
    )
    assert (made.spec.width, made.spec.height, made.spec.frames) == (160, 90, 15)
    assert max(float(np_std) for np_std in (frames_of(made.path)[0].u.std(), frames_of(made.path)[0].v.std())) < 3, (
        "noir has no colours"
    )
    preset = generate("A boat", quality="draft", seconds=0.2, settings=own)
    assert (preset.spec.width, preset.spec.fps) == (160, 24)
    with pytest.raises(RequestError, match="ultra"):
        generate("A boat", quality="ultra", settings=own)


def test_generate_from_a_picture(own: Settings, tmp_path: Path) -> None:
    """M5 on the placeholder: a picture moves."""
    made = generate(image=picture(tmp_path / "p.png"), output=tmp_path / "a.mp4", seconds=0.5, width=160, height=90, settings=own)
    assert made.manifest["request"]["inputs"][0]["role"] == "first_frame"
    with pytest.raises(MissingAsset):
        generate(image=tmp_path / "gone.png", output=tmp_path / "a.mp4", settings=own)


def test_render_takes_a_storyboard_or_its_file(own: Settings, tmp_path: Path) -> None:
    (tmp_path / "film.yaml").write_text("size: 160x90\nfps: 24\nscenes: [{prompt: A boat, seconds: 0.5}]\n")
    made = render(tmp_path / "film.yaml", settings=own)
    assert made.path == tmp_path / "film.mp4"
    other = render(Storyboard((Scene("A boat", seconds=0.5),), title="My Film", size="160x90", fps=24), settings=own)
    assert other.path == tmp_path / "films" / "my-film.mp4"
    assert other.reused == 1
    assert len(frames_of(other.path)) == 12


def test_clips_of_any_kind_are_joined(own: Settings, tmp_path: Path) -> None:
    """S6: different size, rate and sound."""
    clip(tmp_path / "a.mp4", 24, frequency=500, luma=lambda i: 60)
    clip(tmp_path / "b.mov", 30, fps=30, width=90, height=160, luma=lambda i: 160)
    made = join([tmp_path / "a.mp4", tmp_path / "b.mov"], tmp_path / "c.mp4", settings=own)
    assert (made.spec.width, made.spec.height, made.spec.fps, made.spec.frames) == (160, 90, 24, 48)
    levels = [mean(frame) for frame in frames_of(made.path)]
    assert levels[:24] == pytest.approx([60] * 24, abs=2)
    assert levels[24:] == pytest.approx([160] * 24, abs=2)
    sound = heard(made.path)
    assert level_at(sound, 0.1, 0.9, 500) > 0.2
    assert level_at(sound, 1.1, 1.9, 500) < 0.01
    crossed = join([tmp_path / "a.mp4", tmp_path / "b.mov"], tmp_path / "d.mp4", "crossfade", 0.5, "200x100", settings=own)
    assert (crossed.spec.width, crossed.spec.frames) == (200, 36)


def test_what_cannot_be_joined_says_why(own: Settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nothing to join"):
        join([], tmp_path / "c.mp4", settings=own)
    clip(tmp_path / "a.mp4", 4)
    with pytest.raises(BadStoryboard, match="less than its transitions"):
        join([tmp_path / "a.mp4"] * 2, tmp_path / "c.mp4", "fade", 3, settings=own)
    with pytest.raises(MissingAsset):
        join([tmp_path / "a.mp4", tmp_path / "gone.mp4"], tmp_path / "c.mp4", settings=own)


def test_every_name_of_the_package_is_there() -> None:
    assert set(reelwright.__all__) == set(dir(reelwright))
    for name in reelwright.__all__:
        assert getattr(reelwright, name) is not None
    with pytest.raises(AttributeError, match="nope"):
        reelwright.nope  # noqa: B018  it must raise
