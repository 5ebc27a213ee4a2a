"""S9: clips longer than a model makes, and prompts over time, in sections that do not drift."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelwright.backends.sections import OVERLAP, Sections, schedule_of, sections_of
from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.errors import Cancelled, RequestError
from reelwright.media.decode import first_frame
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun
from reelwright.types import Frame, Role, Video, VideoSpec

WIDTH, HEIGHT = 64, 48


class Drifting:
    """A model that repeats its start picture, whose colours go off by `drift` as soon as it begins, as real ones do."""

    def __init__(self, drift: float = 9.0, gain: float = 0.97) -> None:
        self.drift, self.gain, self.shots = drift, gain, list[Shot]()

    def check(self, card: Card) -> None:
        pass

    def close(self) -> None:
        pass

    def generate(self, shot: Shot, run: LocalRun) -> Video:
        self.shots.append(shot)
        given = shot.input(Role.FIRST_FRAME)
        rgb = scene() if given is None else first_frame(run.fetch(given.ref))
        changed = np.clip((rgb.astype(np.float32) - 128) * self.gain + 128 + self.drift, 0, 255).astype(np.uint8)
        start = rgb if given is None else changed

        def frames() -> Any:
            for index in range(shot.frames):
                run.step(index + 1, shot.frames, "denoise")
                yield Frame.of(np.roll(start, index, axis=1))

        return Video(VideoSpec(shot.width, shot.height, shot.fps, shot.frames), frames())


def scene() -> Any:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([90 + 60 * np.sin(x / 9), 100 + 40 * np.cos(y / 7), 110 + 30 * np.sin((x + y) / 11)], axis=-1).astype(
        np.uint8
    )


def card(**changes: Any) -> Card:
    content = {
        "id": "drifting", "title": "Drifting", "family": "test", "backend": "diffusers", "source": "x/y", "licence": "none",
        "accepts": [[], ["first_frame"]], "sizes": {"native": [[WIDTH, HEIGHT]], "step": 16, "least": 16},
        "frames": {"default": 17, "step": 4, "offset": 1, "most": 33}, "fps": {"default": 8},
    }  # fmt: skip
    return card_from({**content, **changes})


def shot_of(seconds: float, used: Card | None = None, **options: Any) -> Shot:
    request = GenerationRequest("a lake at dawn", seconds=seconds, seed=3, options=options)
    return resolve(request, used or card(), lambda ref: ref)[0]


def made(inner: Any, shot: Shot, run: LocalRun | None = None) -> list[Frame]:
    run = run or LocalRun()
    try:
        with Sections(inner).generate(shot, run) as video:
            return list(video.frames)
    finally:
        run.close()


def colour(frame: Frame) -> np.ndarray:
    return frame.rgb.reshape(-1, 3).mean(axis=0)


def test_a_short_shot_is_made_at_once() -> None:
    inner = Drifting()
    assert len(made(inner, shot_of(2.125))) == 17
    assert len(inner.shots) == 1


def test_a_long_shot_has_its_length_and_each_section_starts_from_the_one_before() -> None:
    inner, run = Drifting(), LocalRun()
    shot = shot_of(12.0)
    assert shot.frames == 96
    assert len(made(inner, shot, run)) == 96
    assert len(inner.shots) == len(sections_of(shot)) == 4
    assert inner.shots[0].inputs == ()
    assert all(each.input(Role.FIRST_FRAME) is not None for each in inner.shots[1:])
    assert all(each.frames % 4 == 1 and each.frames <= 33 for each in inner.shots), "each keeps the model's own rule"
    assert any("4 sections" in note for note in run.notes)


def test_colours_do_not_drift() -> None:
    """Unmatched, four sections of this model end 27 code values brighter; matched, the last differs by less than two."""
    shot = shot_of(12.0)
    frames = made(Drifting(), shot)
    assert np.abs(colour(frames[-1]) - colour(frames[0])).max() < 2
    unmatched = 3 * 9.0
    assert np.abs(colour(frames[-1]) - colour(frames[0])).max() < unmatched / 10


def test_there_is_no_step_where_sections_meet() -> None:
    shot = shot_of(12.0)
    frames = made(Drifting(), shot)
    jumps = [np.abs(a.y.astype(int) - b.y.astype(int)).mean() for a, b in itertools.pairwise(frames)]
    seams = [section.start for section in sections_of(shot)[1:]]
    usual = float(np.median(jumps))
    for seam in seams:
        assert max(jumps[seam - OVERLAP - 1 : seam + 1]) < usual * 3 + 1


def test_prompts_change_over_time() -> None:
    inner = Drifting()
    shot = shot_of(4.125, schedule=["1.5: a storm comes", "3 s: the sun is back"])
    assert len(made(inner, shot)) == 33
    assert [each.prompt for each in inner.shots] == ["a lake at dawn", "a storm comes", "the sun is back"]
    starts = [section.start for section in sections_of(shot)]
    assert starts == [0, 12, 24]
    assert all("schedule" not in each.options for each in inner.shots)


def test_a_schedule_is_part_of_the_fingerprint() -> None:
    assert shot_of(4.125).fingerprint != shot_of(4.125, schedule=["1: rain"]).fingerprint


@pytest.mark.parametrize("line", ["a storm", "x: a storm", "-1: a storm", "1:", ":"])
def test_a_wrong_schedule_is_shown(line: str) -> None:
    with pytest.raises(RequestError, match="schedule"):
        schedule_of("a", [line], Fraction(8))


def test_a_model_that_cannot_go_on_says_so_and_is_cut_to_its_length() -> None:
    alone = card(accepts=[[]])
    assert shot_of(12.0, alone).frames == 33, "cut, and told by resolve"
    with pytest.raises(RequestError, match="cannot go on from a picture"):
        made(Drifting(), shot_of(4.125, alone, schedule=["1: rain"]))


def test_a_cancel_in_the_second_section_is_heard(tmp_path: Path) -> None:
    steps: list[object] = []
    run = LocalRun(on_progress=steps.append, cancel=lambda: len(steps) > 40)
    with pytest.raises(Cancelled):
        made(Drifting(), shot_of(12.0), run)
    assert len(steps) == 41


def test_progress_names_the_section() -> None:
    seen: list[str] = []
    made(Drifting(), shot_of(8.0), LocalRun(on_progress=lambda progress: seen.append(progress.stage)))
    assert {"denoise, section 1 of 3", "denoise, section 3 of 3"} <= set(seen)


def test_a_pipeline_that_takes_prompts_over_time_gets_them_itself(tmp_path: Path) -> None:
    """AnimateDiff with FreeNoise: another clip with a schedule, and the very same as before without it."""
    pytest.importorskip("diffusers")
    from tests.tiny.sd import VARIANTS

    from reelwright.backends.diffusers import Diffusers
    from reelwright.backends.local.discovery import content_of
    from reelwright.backends.local.residency import RESIDENTS
    from reelwright.settings import load

    VARIANTS["animatediff"].build().save_pretrained(tmp_path / "model")
    known = load(cache_folder=tmp_path / "cache")
    content = content_of(str(tmp_path / "model"), known)
    assert content["settings"]["schedule"] == "native"
    content |= {"sizes": {"native": [[64, 64]], "step": 8, "least": 16}, "frames": {"default": 16, "most": 32}}
    used = card_from(content)
    clips = []
    for options in ({}, {"schedule": ["1: a dog"]}, {}):
        shot, _ = resolve(GenerationRequest("a cat", seconds=2, seed=1, options={"steps": 2, **options}), used, lambda ref: ref)
        clips.append(np.stack([frame.y for frame in made(Diffusers(known), shot)]))
    RESIDENTS.unload()
    assert np.array_equal(clips[0], clips[2])
    assert not np.array_equal(clips[0], clips[1])


class Humming(Drifting):
    """The same with a tone, a little louder in each section."""

    def generate(self, shot: Shot, run: LocalRun) -> Video:
        video = super().generate(shot, run)
        level = 0.1 * len(self.shots)
        samples = iter([np.full((video.spec.samples, 2), level, np.float32)])
        return Video(video.spec.but(audio=True), video.frames, samples)


def test_sound_goes_through_all_sections() -> None:
    """A model with sound, longer than it makes at once: as much sound as pictures, faded over where sections meet."""
    shot, run = shot_of(8.0, card(audio=True)), LocalRun()
    with Sections(Humming()).generate(shot, run) as video:
        assert video.spec.audio
        assert video.samples is not None
        heard = np.concatenate(list(video.samples))
        assert len(list(video.frames)) == 64
    run.close()
    assert len(heard) == video.spec.samples
    assert heard[1000, 0] == pytest.approx(0.1)
    assert heard[-1000, 0] == pytest.approx(0.3)
    assert np.abs(np.diff(heard[:, 0])).max() < 0.001, "no step where sections meet"


@pytest.mark.parametrize("role", ["source", "control", "keyframe"])
def test_a_clip_to_follow_is_not_cut_into_sections(role: str) -> None:
    used = card(accepts=[[], ["first_frame"], [role]])
    request = GenerationRequest("a lake", seconds=12.0, inputs=(Input(Role(role), "x"),))
    shot, notes = resolve(request, used, lambda ref: ref)
    assert shot.frames == 33
    assert any("not 96" in note for note in notes)
    scheduled = dataclasses.replace(shot, options={"schedule": ["1: rain"]})
    with pytest.raises(RequestError, match=r"sections|at most"):
        made(Drifting(), scheduled)


def test_a_last_frame_belongs_to_the_last_section() -> None:
    used = card(accepts=[[], ["first_frame"], ["last_frame"], ["first_frame", "last_frame"]])
    request = GenerationRequest("a lake", seconds=8.0, inputs=(Input(Role.LAST_FRAME, "x"),))
    inner = Drifting()
    made(inner, resolve(request, used, lambda ref: ref)[0])
    assert [each.input(Role.LAST_FRAME) is not None for each in inner.shots] == [False, False, True]
