"""S10: the same prompt by several models, side by side; the winner is kept."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from making import Counting, counting

from reelwright.comparing import compare, pick
from reelwright.errors import BackendError, NotFound, RequestError
from reelwright.media.beside import beside
from reelwright.media.decode import open_video
from reelwright.request import GenerationRequest
from reelwright.settings import load
from reelwright.studio import Result, Studio
from reelwright.types import Frame, Video, VideoSpec

__all__ = ["counting"]  # a fixture


def flat(luma: int, width: int, height: int, frames: int, fps: int) -> Video:
    return Video(
        VideoSpec(width, height, Fraction(fps), frames), iter([Frame.filled(width, height, luma) for _ in range(frames)])
    )


def test_clips_of_other_sizes_and_rates_stand_side_by_side() -> None:
    with beside([flat(60, 64, 32, 8, 8), flat(120, 32, 32, 24, 24), flat(200, 64, 64, 12, 8)], ["a", "b", "c"], 384) as video:
        frames = list(video.frames)
        assert (video.spec.fps, video.spec.frames) == (24, 36), "the highest rate, the longest clip"
    assert len(frames) == 36
    third = frames[-1].width // 3
    middles = [float(frames[-1].y[frames[-1].height // 2, third * place + third // 2]) for place in range(3)]
    assert middles == pytest.approx([60, 120, 200], abs=1), "shorter ones hold their last picture"


def studio(folder: Path) -> Studio:
    return Studio(load(cache_folder=folder / "cache", data_folder=folder / "data"))


def test_each_model_makes_its_clip_and_a_failure_is_told(counting: type[Counting], tmp_path: Path) -> None:
    def make(model: str, path: Path) -> Result:
        request = GenerationRequest("one", model, seconds=0.5, width=128, height=64, seed=1)
        return studio(tmp_path).generate(request, path)

    said: list[str] = []
    made = compare(["counter", "placeholder", "broken", "counter"], tmp_path / "c", make, "one", said.append)
    assert [each.model for each in made.contenders] == ["counter", "placeholder", "broken"], "named twice is made once"
    assert [each.file is not None for each in made.contenders] == [True, True, False]
    assert "broken failed" in said[0]
    assert made.sheet.stat().st_size > 1000
    with open_video(made.film) as film:
        assert film.spec.width > film.spec.height
    kept = pick(made.folder, "2", only=True)
    assert kept == tmp_path / "c.mp4"
    assert kept.with_name("c.mp4.json").is_file(), "with what it was made from"
    assert json.loads((made.folder / "compare.json").read_text())["picked"] == "placeholder"
    assert not (made.folder / "counter.mp4").exists()
    with pytest.raises(NotFound, match="not among them"):
        pick(made.folder, "7")
    with pytest.raises(NotFound, match="no comparison"):
        pick(tmp_path, "1")


def test_one_model_is_no_comparison_and_all_failing_is_an_error(tmp_path: Path) -> None:
    def never(model: str, path: Path) -> Result:
        raise BackendError(f"{model} cannot")

    with pytest.raises(RequestError, match="two models"):
        compare(["a", "a"], tmp_path, never, "one", print)
    with pytest.raises(BackendError, match="none of 2"):
        compare(["a", "b"], tmp_path, never, "one", lambda _: None)
