"""Keyframe mode with pictures that a hosted model makes (M2)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
import standins
from making import frames_of
from PIL import Image

from reelwright import settings
from reelwright.backends.hosted import loop
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.studio import Studio

KEY = "planted-key-0123456789abcdef"


def test_a_picture_is_ordered_once_and_moved_over(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = standins.OpenAIStandIn(KEY)
    kept = BytesIO()
    Image.new("RGB", (1536, 864), (220, 20, 20)).save(kept, "PNG")
    server.made = kept.getvalue()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("REELWRIGHT_BASE_OPENAI", f"{server.address}/v1")
    settings.current.cache_clear()
    try:
        for number, camera in enumerate(("push-in", "pull-out")):
            run, path = LocalRun(), tmp_path / f"{number}.mp4"
            asked = GenerationRequest(
                prompt="A red boat", model="keyframes-gpt-image", width=320, height=180, seconds=0.5, seed=4,
                options={"camera": camera, "effort": "low"},
            )  # fmt: skip
            made = Studio().generate(asked, path, run=run)
            assert not any("stands in" in note for note in made.notes), made.notes
            red, green, _ = frames_of(path)[3].rgb.mean(axis=(0, 1))
            assert red > 150 > 80 > green, "it is not the picture that came"
    finally:
        server.close()
        loop._BREAKERS.clear()
    (order,) = server.orders
    assert order.json == {
        "model": "gpt-image-2.5-flare", "prompt": "A red boat", "size": "1536x864", "quality": "low", "n": 1,
        "output_format": "png",
    }  # fmt: skip
