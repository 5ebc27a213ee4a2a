"""What the tests of the media engine share."""

from __future__ import annotations

from pathlib import Path

import pytest
from films import grey, write


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two seconds of numbered frames, 24 fps, B frames, one key frame, with AAC sound, index first."""
    return write(
        tmp_path / "clip.mp4", (grey(i) for i in range(48)), sound="aac", seconds=2, mux={"movflags": "+faststart"},
        options={"preset": "veryfast", "g": "250", "bf": "3"}, tags={"colorspace": 1, "color_range": 1},
    )  # fmt: skip
