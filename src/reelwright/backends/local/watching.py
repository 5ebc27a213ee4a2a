"""Eyes on a running pipeline: progress, previews, and a cancel that is heard within a step, also while it decodes.

All pipelines draw a progress bar, most call back after each step, and all have a denoiser and a decoder that can be hooked
(notes, 3.2: seen on 62 of 62). What is hooked is taken off again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from reelwright.backends.local.binding import parameters
from reelwright.backends.local.previews import Painter
from reelwright.run import Run

_SHOWN_S = 1.0
"""Seconds between two previews; each costs a matrix product over the latents."""


class Watch:
    """Carries one call of a pipeline to its run. `steps`: what was asked for, until the bars say better."""

    def __init__(self, pipe: Any, run: Run, steps: int, painter: Painter | None) -> None:
        self._pipe, self._run, self._painter = pipe, run, painter
        self._total, self._done, self._bars = steps, 0, 0
        self._decoded = 0
        self._shown = 0.0
        self._stage = "prompt"

    @contextmanager
    def on(self) -> Iterator[dict[str, Any]]:
        """Watch while the block runs; gives the arguments to call the pipeline with."""
        handles = [
            module.register_forward_pre_hook(hook, with_kwargs=True)
            for names, hook in (
                (("text_encoder", "text_encoder_2", "image_encoder"), self._encoding),
                (("transformer", "transformer_2", "unet"), self._thinking),
            )
            for name in names
            if (module := getattr(self._pipe, name, None)) is not None and hasattr(module, "register_forward_pre_hook")
        ]
        decoder = getattr(getattr(self._pipe, "vae", None), "decoder", None)
        if decoder is not None:
            handles.append(decoder.register_forward_pre_hook(self._decoding, with_kwargs=True))
        drawing = list(_drawing(self._pipe))
        for each in drawing:
            each.progress_bar = self._bar
        try:
            yield self._callbacks()
        finally:
            for handle in handles:
                handle.remove()
            for each in drawing:
                vars(each).pop("progress_bar", None)
            self._reset()

    def _reset(self) -> None:
        """What a cancelled run left in step caches (notes, trap 4) and decoders (EasyAnimate's) would spoil the next one."""
        for component in getattr(self._pipe, "components", {}).values():
            for name in ("_reset_stateful_cache", "_clear_conv_cache"):
                if hasattr(component, name):
                    getattr(component, name)()

    def _callbacks(self) -> dict[str, Any]:
        known = parameters(type(self._pipe))
        if "callback_on_step_end" in known:
            return {"callback_on_step_end": self._stepped}
        if "callback" in known and "callback_steps" in known:
            return {"callback": lambda _index, _time, latents: self._show(latents), "callback_steps": 1}
        return {}

    def _stepped(self, _pipe: Any, _index: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
        self._show(values.get("latents"))
        return {}  # returning what was given breaks one pipeline (notes, trap 2)

    def _show(self, latents: Any) -> None:
        if self._painter is None or latents is None or time.monotonic() - self._shown < _SHOWN_S:
            return
        if (frame := self._painter.paint(latents)) is not None:
            self._run.preview(frame)
        self._shown = time.monotonic()

    # ---- hooks

    def _encoding(self, _module: Any, _args: Any, _kwargs: Any) -> None:
        if self._stage == "prompt":
            self._run.step(0, self._total, "denoise")

    def _thinking(self, _module: Any, _args: Any, _kwargs: Any) -> None:
        self._stage = "denoise"
        self._run.step(self._done, self._total, "denoise")

    def _decoding(self, _module: Any, _args: Any, _kwargs: Any) -> None:
        if self._stage == "prompt":  # a decoder that runs before the denoiser is at work on an input
            self._run.step(0, self._total, "denoise")
            return
        self._finish_steps()
        self._stage = "decode"
        self._decoded += 1
        self._run.step(self._decoded - 1, self._decoded, "decode")

    def ended(self) -> None:
        """The pipeline has returned: what it did is complete."""
        self._finish_steps()
        if self._decoded:
            self._run.step(self._decoded, self._decoded, "decode")

    def _finish_steps(self) -> None:
        if self._stage != "decode" and self._done < self._total:
            self._done = self._total
            self._run.step(self._done, self._total, "denoise")

    # ---- the bar

    def _bar(self, iterable: Any = None, total: int | None = None) -> _Bar:
        if total is None and iterable is not None:
            total = len(iterable) if hasattr(iterable, "__len__") else 0
        # Pipelines that work in sections open a bar for each; what is known grows, what is done never goes back.
        self._total = max(self._done + (total or 0), self._total if self._bars else 0)
        self._bars += 1
        return _Bar(self, iterable)

    def advance(self, count: int) -> None:
        """So many steps are done."""
        self._done += count
        self._total = max(self._total, self._done)
        self._stage = "denoise"
        self._run.step(self._done, self._total, "denoise")


def _drawing(pipe: Any) -> Iterator[Any]:
    """What draws a progress bar: a pipeline, or the loops among a modular one's blocks (notes, 3.7)."""
    blocks = getattr(pipe, "_blocks", None)
    if blocks is None:
        yield pipe
        return
    left = [blocks]
    while left:
        block = left.pop()
        left += getattr(block, "sub_blocks", {}).values()
        if hasattr(block, "progress_bar"):
            yield block


class _Bar:
    """What a pipeline takes for its progress bar."""

    def __init__(self, watch: Watch, iterable: Any) -> None:
        self._watch, self._iterable = watch, iterable

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for each in self._iterable:
            yield each
            self._watch.advance(1)

    def update(self, count: int = 1) -> None:
        """Steps done."""
        self._watch.advance(int(count or 1))

    def set_postfix(self, *_: object, **__: object) -> None:
        """Shown nowhere."""

    def set_description(self, *_: object, **__: object) -> None:
        """Shown nowhere."""

    def close(self) -> None:
        """Nothing is open."""
