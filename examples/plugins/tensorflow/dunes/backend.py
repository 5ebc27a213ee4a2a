"""A TensorFlow SavedModel that tf2onnx has converted, as a backend; channels stand last, as TensorFlow has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from reelwright.catalog import Card, Shot
from reelwright.errors import Unavailable
from reelwright.run import Run
from reelwright.types import Frame, Video, VideoSpec

CHUNK = 4  # frames that go through the graph at once


class Dunes:
    """The backend of the card `dunes`; its graph stays in memory from shot to shot."""

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    def check(self, card: Card) -> None:
        """Raises Unavailable if the graph is not there."""
        if not Path(card.source).expanduser().is_file():
            hint = f"Convert it: python -m tf2onnx.convert --saved-model FOLDER --output {card.source}"
            raise Unavailable(f"{card.title} has no graph at {card.source}", hint=hint, retryable=False, model=card.id)

    def generate(self, shot: Shot, run: Run) -> Video:
        """Frames in chunks, each made when the first of its frames is read."""
        return Video(VideoSpec(shot.width, shot.height, shot.fps, shot.frames), self._frames(shot, run))

    def _frames(self, shot: Shot, run: Run) -> Iterator[Frame]:
        session = self._session(shot.card.source)
        words = hashlib.sha256(f"{shot.prompt}\0{shot.seed}".encode()).digest()
        noise = np.random.default_rng(int.from_bytes(words[:8], "big"))
        near, far = noise.standard_normal((2, shot.height // 8, shot.width // 8, 8))
        for start in range(0, shot.frames, CHUNK):
            turns = np.arange(start, min(start + CHUNK, shot.frames)).reshape(-1, 1, 1, 1) * (2 * np.pi / shot.frames)
            latents = near * np.cos(turns) + far * np.sin(turns) * shot.options["motion"]
            (pictures,) = session.run(["frames"], {"latent": latents.astype(np.float32)})
            run.step(start + len(turns), shot.frames, "generate")  # tells progress, and raises Cancelled
            yield from map(Frame.of, np.rint(pictures * 255).astype(np.uint8))

    def _session(self, source: str) -> Any:
        if source not in self._sessions:
            import onnxruntime

            path = Path(source).expanduser()
            self._sessions[source] = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
        return self._sessions[source]

    def close(self) -> None:
        """Let the graphs go."""
        self._sessions.clear()
