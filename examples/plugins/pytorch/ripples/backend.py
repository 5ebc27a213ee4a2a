"""A torch.nn.Module of one's own as a backend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelwright.catalog import Card, Shot
from reelwright.errors import Unavailable
from reelwright.run import Run
from reelwright.types import Frame, Video, VideoSpec

CHUNK = 4  # frames that go through the network at once


class Ripples:
    """The backend of the card `ripples`; its weights stay in memory from shot to shot."""

    def __init__(self) -> None:
        self._networks: dict[str, Any] = {}

    def check(self, card: Card) -> None:
        """Raises Unavailable if the weights are not there."""
        if not Path(card.source).expanduser().is_file():
            hint = f"Make them: python make_weights.py {card.source}"
            raise Unavailable(f"{card.title} has no weights at {card.source}", hint=hint, retryable=False, model=card.id)

    def generate(self, shot: Shot, run: Run) -> Video:
        """Frames in chunks, each made when the first of its frames is read."""
        return Video(VideoSpec(shot.width, shot.height, shot.fps, shot.frames), self._frames(shot, run))

    def _frames(self, shot: Shot, run: Run) -> Iterator[Frame]:
        import torch

        network = self._network(shot.card.source)
        words = hashlib.sha256(f"{shot.prompt}\0{shot.seed}".encode()).digest()
        noise = torch.Generator().manual_seed(int.from_bytes(words[:7], "big"))  # on the CPU: the same on every device
        near, far = torch.randn(2, 8, shot.height // 8, shot.width // 8, generator=noise)
        for start in range(0, shot.frames, CHUNK):
            turns = torch.arange(start, min(start + CHUNK, shot.frames)).view(-1, 1, 1, 1) * (2 * torch.pi / shot.frames)
            latents = near * turns.cos() + far * turns.sin() * shot.options["motion"]
            with torch.inference_mode():
                pictures = network(latents.to(next(network.parameters()).device))
            run.step(start + len(turns), shot.frames, "generate")  # tells progress, and raises Cancelled
            yield from map(Frame.of, (pictures * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())

    def _network(self, source: str) -> Any:
        if source not in self._networks:
            from ripples.network import load

            self._networks[source] = load(Path(source).expanduser())
        return self._networks[source]

    def close(self) -> None:
        """Let the weights go."""
        self._networks.clear()
