"""Every example runs, and makes films that can be opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelwright.media.decode import open_video

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "REELWRIGHT_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "error"}
    ran = subprocess.run(
        [sys.executable, str(example), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    films = [path for ending in ("*.mp4", "*.webm") for path in tmp_path.glob(ending)]
    assert films
    for film in films:
        assert str(film.name) in ran.stdout
        with open_video(film) as video:
            assert sum(1 for _ in video.frames) == video.spec.frames
