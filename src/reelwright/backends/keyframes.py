"""Keyframe mode: a picture of each scene by an image model, and a camera that moves over it (M2).

The picture is kept by what it depends on, so that another move over it costs no model. Where a picture fails, the error rises:
a drawn scene stands in, under a name of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reelwright import plugins, settings
from reelwright.backends.placeholder import Placeholder
from reelwright.catalog import Card, Shot, ShotInput, find, resolve
from reelwright.errors import BackendError, RequestError, Unsupported
from reelwright.media.partial import whole
from reelwright.media.stills import save_picture
from reelwright.request import GenerationRequest
from reelwright.run import Run
from reelwright.types import Role, Video

_DRAWN = ("camera", "camera_strength", "ease", "effect", "labels", "scene")
"""Options of the camera's half; the others are the picture model's."""


@dataclass
class _Beside:
    """A run that knows one file more."""

    run: Run
    ref: str
    path: Path

    def fetch(self, ref: str) -> Path:
        return self.path if ref == self.ref else self.run.fetch(ref)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)


class Keyframes:
    """The backend of cards whose `settings.picture` names a model for pictures."""

    def __init__(self, wanted: settings.Settings | None = None) -> None:
        self._settings = wanted or settings.current()
        self._drawing = Placeholder()
        self._pictures: dict[str, Any] = {}

    def check(self, card: Card) -> None:
        """Raises Unsupported if the card names no picture model, UnknownModel if there is none of that name."""
        name = card.settings.get("picture")
        if not name:
            raise Unsupported(f"the card {card.id} names no picture model", hint="Set `settings.picture`.", model=card.id)
        find(str(name))

    def close(self) -> None:
        """Let the drawn pictures go; the picture model stays for its time to live."""
        self._drawing.close()
        for backend in self._pictures.values():
            backend.close()
        self._pictures.clear()

    def generate(self, shot: Shot, run: Run) -> Video:
        """The picture, moved over as the shot says. Raises what its model raises."""
        self.check(shot.card)
        drawn = {name: value for name, value in shot.options.items() if name in _DRAWN}
        placeholder = dataclasses.replace(shot, card=find("placeholder"), options=drawn, loras=(), inputs=())
        try:
            path = self._picture(shot, run)
        except RequestError as error:  # what the picture's model cannot do was not asked for in so many words
            raise BackendError(f"its picture cannot be made: {error.message}", model=shot.card.id) from error
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        moved = dataclasses.replace(placeholder, inputs=(ShotInput(Role.FIRST_FRAME, f"keyframe:{digest}", digest),))
        return self._drawing.generate(moved, _Beside(run, f"keyframe:{digest}", path))

    def _picture(self, shot: Shot, run: Run) -> Path:
        """The scene's picture, made unless it was made before."""
        card = find(str(shot.card.settings["picture"]))
        width, height = _nearest(card, shot.width, shot.height)
        options = {name: value for name, value in shot.options.items() if name in card.options}
        request = GenerationRequest(
            prompt=shot.prompt,
            negative=shot.negative,
            width=width,
            height=height,
            seed=shot.seed,
            loras=shot.loras,
            options=options,
        )
        still, _ = resolve(request, card, lambda ref: hashlib.sha256(run.fetch(ref).read_bytes()).hexdigest())

        def write(part: Path) -> None:
            if card.backend not in self._pictures:
                self._pictures[card.backend] = plugins.make_backend(card.backend, self._settings)
            backend = self._pictures[card.backend]
            backend.check(card)
            with backend.generate(still, run) as video:
                save_picture(next(video.frames).rgb, part)

        path = self._settings.cache_folder / "pictures" / still.fingerprint[:2] / f"{still.fingerprint}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, run):  # two that want the same picture make it once
            if not path.is_file():
                with whole(path) as part:
                    write(part)
        return path


@contextmanager
def _alone(path: Path, run: Run) -> Iterator[None]:
    """The picture's place for this process alone; while another one has it, the run is asked whether it is still wanted."""
    lock = FileLock(path.with_suffix(".lock"))
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            run.step(0, 1, "wait for the picture")
    try:
        yield
    finally:
        lock.release()


def _nearest(card: Card, width: int, height: int) -> tuple[int, int]:
    """The size that the picture model was trained for whose shape is nearest to this one."""
    shape = width / height
    return min(card.sizes.native, key=lambda size: abs(size[0] / size[1] / shape - 1) + abs(size[0] * size[1] / 1e7))
