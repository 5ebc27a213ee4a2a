"""What the tests make for themselves: clips, pictures, sounds, studios, and a model that counts what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from reelwright import catalog, plugins
from reelwright.catalog import Card, Shot
from reelwright.errors import OutOfMemory, ProviderFailed
from reelwright.media import sound
from reelwright.media.decode import open_video
from reelwright.media.encode import Encoding, save
from reelwright.run import LocalRun, Run
from reelwright.settings import Settings
from reelwright.studio import Studio
from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk, Frame, Video, VideoSpec

SIZE = "160x90"


def studio(folder: Path, **settings: Any) -> Studio:
    """A studio whose results lie in `folder`."""
    given = {"cache_folder": folder / "cache", "output_folder": folder / "films", "workers": 2, **settings}
    return Studio(Settings(_env_file=None, **given))  # type: ignore[call-arg]  # pydantic-settings' own argument


def tone(samples: int, frequency: float = 440.0, level: float = 0.25) -> Chunk:
    """A sine, the same left and right."""
    wave = level * np.sin(2 * np.pi * frequency * np.arange(samples) / SAMPLE_RATE)
    return np.repeat(wave[:, None], CHANNELS, axis=1).astype(np.float32)


def clip(
    path: Path, frames: int = 24, *, fps: Fraction | int = 24, width: int = 160, height: int = 90,
    luma: Callable[[int], int] = lambda i: 40 + 2 * i, frequency: float | None = None,
) -> Path:  # fmt: skip
    """A clip of flat frames whose luma tells their number, with a tone if a frequency is given."""
    spec = VideoSpec(width, height, Fraction(fps), frames, frequency is not None)
    samples = iter([tone(spec.samples, frequency)]) if frequency else None
    save(Video(spec, (Frame.filled(width, height, y=luma(i)) for i in range(frames)), samples), path, Encoding(crf=4))
    return path


def wav(path: Path, seconds: float = 1.0, frequency: float = 440.0, level: float = 0.25) -> Path:
    """A sound file."""
    sound.save(iter([tone(round(seconds * SAMPLE_RATE), frequency, level)]), path)
    return path


def picture(path: Path, width: int = 320, height: int = 180) -> Path:
    """A picture with something to see in every part of it."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x // 20 + y // 20) % 2 * 255], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path)
    return path


def frames_of(path: Path) -> list[Frame]:
    """Every frame of a file."""
    with open_video(path, audio=False) as video:
        return [frame.copy() for frame in video.frames]


def heard(path: Path) -> Chunk:
    """All sound of a file."""
    return np.concatenate(list(sound.decode(path)))


def level_at(samples: Chunk, start: float, end: float, frequency: float) -> float:
    """How strong a tone of this frequency is between two times, as the amplitude of a sine."""
    part = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE), 0]
    turn = np.exp(-2j * np.pi * frequency * np.arange(len(part)) / SAMPLE_RATE)
    return float(2 * abs(np.mean(part * turn * np.hanning(len(part)) * 2)))


def mean(frame: Frame) -> float:
    """Its mean luma."""
    return float(frame.y.mean())


def litter(folder: Path) -> list[str]:
    """Partial files and locks under a folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and (".part" in path.name or path.suffix in (".lock", ".new"))
    )


class Counting:
    """A model that draws flat pictures and keeps what it was asked for in `made` (prompts, in order)."""

    made: ClassVar[list[str]] = []
    starts: ClassVar[list[float]] = []
    """Mean brightness of the start frames that it was given."""

    def check(self, card: Card) -> None:
        """It can do everything."""

    def generate(self, shot: Shot, run: Run) -> Video:
        self.made.append(shot.prompt)
        failure = shot.card.settings.get("fails")
        if failure == "provider":
            raise ProviderFailed("the provider is down")
        if failure == "memory":
            raise OutOfMemory("the card is full")
        if failure == "bug":
            raise RuntimeError("tensor sizes do not match")
        spec = VideoSpec(shot.width, shot.height, shot.fps, shot.frames)
        base = 40 + sum(shot.prompt.encode()) % 100
        for given in shot.inputs:
            from reelwright.media.decode import first_frame

            base = round(float(first_frame(run.fetch(given.ref)).mean())) // 2
            self.starts.append(base)
        return Video(spec, self._frames(spec, base, run, failure == "late"))

    def _frames(self, spec: VideoSpec, base: int, run: Run, late: bool) -> Iterator[Frame]:
        for index in range(spec.frames):
            if late and index == 3:
                raise ProviderFailed("the connection broke")
            run.step(index + 1, spec.frames, "generate")
            yield Frame.filled(spec.width, spec.height, y=base + index)

    def close(self) -> None:
        """Nothing is held."""


def _card(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name, "title": name.title(), "family": "test", "backend": "counting", "licence": "MIT", "deterministic": True,
        "accepts": [[], ["first_frame"]], "sizes": {"native": [[160, 90]], "step": 2, "least": 16, "most": 4096},
        "frames": {"default": 24}, "fps": {"default": 24, "least": 1, "most": 240},
        "options": {"steps": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
        **changes,
    }  # fmt: skip


CARDS = [
    _card("counter"),
    _card("down", settings={"fails": "provider"}),
    _card("full", settings={"fails": "memory"}),
    _card("buggy", settings={"fails": "bug"}),
    _card("breaks", settings={"fails": "late"}),
    _card("stiff", sizes={"native": [[128, 64]], "step": 64, "least": 64, "most": 256},
          frames={"default": 17, "offset": 1, "step": 8, "least": 9, "most": 25}, fps={"default": 8}),
]  # fmt: skip


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Counting]]:
    """The counting model and its cards, installed as a plug-in would be."""
    points, files = plugins.backends(), list(plugins.card_files())
    mine = EntryPoint("counting", "making:Counting", "reelwright.backends")
    monkeypatch.setattr(plugins, "backends", lambda: {**points, "counting": mine})
    monkeypatch.setattr(plugins, "card_files", lambda: iter([*files, *((f"tests/{card['id']}", card) for card in CARDS)]))
    catalog.card.cards.cache_clear()
    Counting.made, Counting.starts = [], []
    yield Counting
    catalog.card.cards.cache_clear()


def stopping(after: int) -> LocalRun:
    """A run that is cancelled after so many steps of progress."""
    steps: list[object] = []
    return LocalRun(on_progress=steps.append, cancel=lambda: len(steps) >= after)
