"""How fast this machine was (J5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import litter

from reelwright.jobs.measured import Speeds


def test_until_it_is_measured_an_estimate_is_the_default(tmp_path: Path) -> None:
    """J5: estimates, corrected by what this machine measured."""
    speeds = Speeds(tmp_path)
    assert speeds.estimate("film", 2_000_000, 0.5) == (1.0, False)
    speeds.learn("film", 1_000_000, 4)
    assert speeds.estimate("film", 2_000_000, 0.5) == (8.0, True)
    assert speeds.estimate("other", 2_000_000, 0.5) == (1.0, False)


def test_newer_measurements_count_more(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path)
    for seconds in (1, 2):
        speeds.learn("film", 1_000_000, seconds)
    assert Speeds(tmp_path).estimate("film", 1_000_000, 0)[0] == pytest.approx(1.4)


@pytest.mark.parametrize(("pixels", "seconds"), [(0, 1), (10, 0.01), (10, float("nan")), (10, float("inf"))])
def test_what_says_nothing_is_left_out(tmp_path: Path, pixels: int, seconds: float) -> None:
    Speeds(tmp_path).learn("film", pixels, seconds)
    assert Speeds(tmp_path).estimate("film", 1_000_000, 3) == (3, False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"film": 3}', '{"film": ["x", 1]}', "\udcff"])
def test_a_damaged_file_is_started_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "speeds.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    speeds = Speeds(tmp_path)
    assert speeds.estimate("film", 1_000_000, 3) == (3, False)
    speeds.learn("film", 1_000_000, 5)
    assert speeds.estimate("film", 1_000_000, 3) == (5, True)


def test_a_folder_that_cannot_be_written_to_costs_no_film(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    speeds = Speeds(tmp_path / "file")
    speeds.learn("film", 1_000_000, 5)
    assert speeds.estimate("film", 1_000_000, 3) == (3, False)
    Speeds(tmp_path).learn("film", 1_000_000, 5)
    assert litter(tmp_path) == []
