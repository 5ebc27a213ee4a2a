"""Tiny models in folders, run by the local backend, each in a room of its own: what the tests of memory and faults share."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.tiny import cogvideox, hunyuan, ltx, mochi, sd, wan
from tests.tiny.variant import Variant

from reelwright.backends.diffusers import Diffusers
from reelwright.backends.local import discovery
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun
from reelwright.settings import Settings

VARIANTS: dict[str, Variant] = wan.VARIANTS | ltx.VARIANTS | sd.VARIANTS | cogvideox.VARIANTS | mochi.VARIANTS | hunyuan.VARIANTS
NOISE = (
    # torch has no CPU autocast to float32, which Mochi asks for; it computes in float32 anyway
    "ignore:In CPU autocast, but the target dtype is not supported:UserWarning",
    # torchao registers Enum classes that torch 2.13 knows by itself
    "ignore:.*is now natively supported by torch.compile:UserWarning",
)
"""Warnings of third parties that say nothing of ours."""


@contextmanager
def alone() -> Iterator[None]:
    """Nothing in memory before and after, one thread, and the residents' time to live as it was."""
    threads, ttl = torch.get_num_threads(), RESIDENTS.ttl
    torch.set_num_threads(1)
    RESIDENTS.unload()
    try:
        yield
    finally:
        RESIDENTS.unload()
        RESIDENTS.ttl = ttl
        torch.set_num_threads(threads)


@cache
def _shelf() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="reelwright-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def saved(name: str) -> Path:
    """The folder of a tiny model, written once; not to be changed."""
    folder = _shelf() / name
    VARIANTS[name].build().save_pretrained(folder)
    return folder


def copied(name: str, folder: Path) -> Path:
    """A copy of a tiny model, to be damaged."""
    return Path(shutil.copytree(saved(name), folder / name))


def settings(folder: Path, **more: Any) -> Settings:
    """Settings that keep everything in `folder` and run on the CPU."""
    return Settings(cache_folder=folder / "cache", **{"device": "cpu", "memory_wait": 0.0, **more})


def card(name: str, known: Settings, folder: Path | None = None, **changed: Any) -> Card:
    """The card of a tiny model, as found from its folder, with the sizes that it can make; `changed` goes into its settings."""
    variant, place = VARIANTS[name], folder or saved(name)
    content = discovery.content_of(str(place), known)
    content["sizes"] = {"native": [list(variant.size)], "step": variant.size_step, "least": max(16, variant.size_step)}
    content["frames"] = {"default": variant.given, "step": variant.step, "offset": min(variant.offset, variant.given)}
    if variant.given == 1:
        content["frames"] = {"default": 1, "step": 1, "offset": 0, "most": 1}
    if variant.frames != variant.given:
        content["settings"].setdefault("extra_frames", variant.frames - variant.given)
    content["settings"]["call"] = {**content["settings"].get("call", {}), **variant.call}
    content["settings"] |= changed
    content["accepts"] = [list(variant.roles)]
    for schema in (content.get("options", {}).get("steps"),):
        if schema:
            schema["minimum"] = 1
    return card_from(content, name)


def shot(of: Card, name: str, seed: int = 3, prompt: str = "a red boat on the sea", **options: Any) -> Shot:
    """A shot in two steps, or as many as `options` say."""
    width, height = VARIANTS[name].size
    wanted = {"steps": 2, **options} if "steps" in of.options else options
    request = GenerationRequest(prompt=prompt, width=width, height=height, seed=seed, options=wanted)
    made, _ = resolve(request, of, lambda ref: ref)
    return made


@dataclass
class Made:
    """What a run gave: frames (count, height, width, 3) of 8 bits, notes, and what was remembered."""

    frames: np.ndarray
    notes: list[str]
    memory: dict[str, Any]
    stages: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def plan(self) -> str:
        """The name of the plan that served."""
        return str(next(iter(self.memory["work"].values()))["plan"])


def make(of: Shot, known: Settings, cancel: threading.Event | Callable[[], bool] | None = None) -> Made:
    """Run a shot through the backend."""
    stages: list[tuple[str, int, int]] = []
    run = LocalRun(on_progress=lambda seen: stages.append((seen.stage, seen.done, seen.total)), cancel=cancel)
    video = Diffusers(known).generate(of, run)
    frames = np.stack([frame.rgb for frame in video.frames])
    return Made(frames, run.notes, run.memory, stages)


def quick(name: str, folder: Path, changed: Mapping[str, Any] | None = None, **options: Any) -> Made:
    """A tiny model's film with default settings, kept in `folder`."""
    known = settings(folder)
    return make(shot(card(name, known, **(changed or {})), name, **options), known)


@contextmanager
def failing(
    kinds: Sequence[str], nth: int = 1, times: float = 1, error: Callable[[], BaseException] | None = None
) -> Iterator[None]:
    """Each `nth` pass through a module of one of these classes raises (out of memory), `times` times; later ones do not.

    The passes are counted anew after each failure.
    """
    seen, failed = 0, 0

    def look(module: torch.nn.Module, _given: Any) -> None:
        nonlocal seen, failed
        if type(module).__name__ not in kinds or failed >= times:
            return
        seen += 1
        if seen == nth:
            seen, failed = 0, failed + 1
            raise error() if error else torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
