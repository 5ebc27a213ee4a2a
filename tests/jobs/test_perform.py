"""A film into a file: segments side by side, taken from before where they are there (J6, rule 9)."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
from making import frames_of, litter

from reelwright.compose import Cut, Film, Take
from reelwright.errors import Cancelled, MediaError
from reelwright.jobs.measured import Speeds
from reelwright.jobs.perform import Rendered, in_segments, render, segment_settings, settled, side_by_side
from reelwright.jobs.results import Results
from reelwright.media.encode import Encoding
from reelwright.run import LocalRun
from reelwright.storyboard import TransitionSpec
from reelwright.types import Frame, Video, VideoSpec

FPS = Fraction(24)


def film(*scenes: int, fails: int | None = None) -> Film:
    def take(scene: int) -> Take:
        def frames():
            for index in range(30):
                if scene == fails and index == 20:
                    raise MediaError("it breaks here")
                yield Frame.filled(64, 48, y=40 + scene * 20 + index)

        return Take(lambda: Video(VideoSpec(64, 48, FPS, 30), frames()), 30, f"scene {scene}")

    return Film(tuple(Cut(take(scene), TransitionSpec(), name=str(scene)) for scene in scenes), 64, 48, FPS)


def made(
    film_: Film, path: Path, workers: int | None = 2, encoding: Encoding | None = None, run: LocalRun | None = None
) -> Rendered:
    results = Results(path.parent / "cache", 10**9)
    return render(film_, path, encoding or Encoding(), results, Speeds(path.parent), run or LocalRun(), workers)


def test_segments_are_made_once(tmp_path: Path) -> None:
    assert made(film(1, 2, 3), tmp_path / "a.mp4") == Rendered(3, 0)
    assert made(film(1, 2, 3), tmp_path / "b.mp4") == Rendered(3, 3)
    assert made(film(3, 1, 4), tmp_path / "c.mp4") == Rendered(3, 2)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert len(frames_of(tmp_path / "c.mp4")) == 90
    assert litter(tmp_path) == []


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_no_frame(tmp_path: Path, workers: int) -> None:
    made(film(1, 2, 3, 4), tmp_path / "a.mp4", workers)
    levels = [round(float(frame.y.mean())) for frame in frames_of(tmp_path / "a.mp4")]
    wanted = [40 + scene * 20 + index for scene in (1, 2, 3, 4) for index in range(30)]
    assert max(abs(a - b) for a, b in zip(levels, wanted, strict=True)) <= 2


def test_a_scene_that_fails_keeps_what_was_finished(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("from before")
    with pytest.raises(MediaError, match="Scene 3: it breaks here"):
        made(film(1, 2, 3, fails=3), tmp_path / "a.mp4", 1)
    assert (tmp_path / "a.mp4").read_text() == "from before"
    assert litter(tmp_path) == []
    assert made(film(1, 2, 3), tmp_path / "a.mp4", 1) == Rendered(3, 2)


def test_other_kinds_of_files_are_written_at_one_go(tmp_path: Path) -> None:
    assert made(film(1, 2), tmp_path / "a.webm") == Rendered(1, 0)
    assert made(film(1, 2), tmp_path / "a.mp4", encoding=Encoding(codec="h265")) == Rendered(1, 0)
    assert made(film(1, 2), tmp_path / "b.mp4", encoding=Encoding(bitrate=500, rate="average")) == Rendered(1, 0)
    assert len(frames_of(tmp_path / "a.webm")) == len(frames_of(tmp_path / "a.mp4")) == len(frames_of(tmp_path / "b.mp4")) == 60


def test_which_files_are_made_of_segments() -> None:
    assert in_segments(Path("a.mp4"), Encoding())
    assert in_segments(Path("a.mkv"), Encoding(bitrate=500))
    assert not in_segments(Path("a.gif"), Encoding())
    assert not in_segments(Path("a.mp4"), Encoding(hardware=True))
    assert not in_segments(Path("a.mp4"), Encoding(rate="average", bitrate=500))


def test_large_pictures_are_rendered_one_at_a_time() -> None:
    """Rule 9: 4K stays flat in memory."""
    small, large = VideoSpec(1280, 720, FPS, 1), VideoSpec(3840, 2160, FPS, 1)
    assert side_by_side(large, None) == 1
    assert 1 <= side_by_side(small, None) <= 8
    assert side_by_side(large, 3) == 3
    assert settled(Encoding(), small, 2).threads == max(1, min(16, -(-(os.cpu_count() or 2) * 3 // 4)))
    assert settled(Encoding(threads=5), small, 2).threads == 5


def test_bits_depend_on_the_encoder_and_its_settings() -> None:
    assert segment_settings(Encoding()) == segment_settings(Encoding(audio_bitrate=96, metadata={"a": "b"}))
    assert segment_settings(Encoding()) != segment_settings(Encoding(crf=30))


def test_cancel_stops_every_worker(tmp_path: Path) -> None:
    steps: list[object] = []
    run = LocalRun(on_progress=steps.append, cancel=lambda: len(steps) > 10)
    with pytest.raises(Cancelled):
        made(film(1, 2, 3, 4, 5, 6), tmp_path / "a.mp4", 3, run=run)
    assert len(steps) < 16
    assert not (tmp_path / "a.mp4").exists()
    assert litter(tmp_path) == []
