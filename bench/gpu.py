"""Models of full size with random weights, run by our backend with each memory plan: `python bench/gpu.py` on a CUDA device.

Nothing is downloaded. What they show is noise; what they cost is real, but for the text encoder, which is a narrow one unless
`--text` is given. `--small` runs the same code with a few thousand weights on the CPU. Prints Markdown: what was measured, what
was predicted without any experience of this machine, and what others published for the same models.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}

import random_weights

from reelwright.backends.local import preflight
from reelwright.catalog import Card, Shot, fit, resolve
from reelwright.catalog.fit import LADDER, Machine, Need, Plan
from reelwright.request import GenerationRequest
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings
from reelwright.types import Frame

LADDER_STEPS = 4
"""Steps with which each plan is run; the first of them is left out of the median."""


@dataclass(frozen=True)
class Clip:
    """What is made: a size, a length, the steps of the figure that others published, and that figure."""

    width: int
    height: int
    frames: int
    steps: int
    published: str


CLIPS: dict[str, tuple[Clip, ...]] = {
    "ltx-2b": (
        Clip(704, 480, 121, 20, "RTX 4060 8 GB, 720x480, 121 frames: less than a minute, 8 GB (README of LTX-Video)"),
        Clip(768, 512, 97, 20, "nothing but 'real time' for the distilled model on an H100 (README of LTX-Video)"),
    ),
    "wan-1.3b": (
        Clip(832, 480, 81, 50, "47.8 s on one GPU that is not named, 50 steps (SGLang's documentation)"),
        Clip(832, 480, 17, 50, "8.1 s, 0.146 s a step, 18.4 GB on an H100, 1 s of video (SGLang, perf_baselines/h100.json)"),
    ),
    "wan-5b": (
        Clip(1280, 704, 121, 50, "90.6 s, 27.4 GB on an RTX 40 of 48 GB, default settings (SGLang's documentation)"),
        Clip(1280, 704, 17, 4, "5.91 s resident, 9.86 s with layers offloaded, 4 steps, on an H200 (SGLang PR 21248)"),
    ),
}
"""Figures of `notes/peers.md`, section 6: the publishers' own claims. The first clip of each goes down the ladder of plans."""


@dataclass
class Seen:
    """When each thing of one run happened, in seconds since its start."""

    device: str
    began: float = field(default_factory=time.perf_counter)
    loaded: float = 0.0
    steps: list[float] = field(default_factory=list)

    def progressed(self, progress: Progress) -> None:
        """Called by the run; work that was only queued on the device is waited for, so that it counts where it belongs."""
        if progress.stage == "load" and progress.done == progress.total:
            self.loaded = self.now()
        elif progress.stage == "denoise" and progress.done > len(self.steps):
            self.steps += [self.now()] * (progress.done - len(self.steps))

    def now(self) -> float:
        """Seconds since the start."""
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        return time.perf_counter() - self.began

    @property
    def each(self) -> float:
        """Seconds a step, the median of all but the first."""
        between = [after - before for before, after in zip(self.steps, self.steps[1:], strict=False)]
        return statistics.median(between) if between else self.steps[0] - self.loaded


@dataclass(frozen=True)
class Row:
    """One run, in seconds and GB."""

    plan: str
    load: float
    text: float
    step: float
    decode: float
    encode: float
    whole: float
    peak: float
    need: Need

    def line(self, machine: Machine) -> str:
        """A line of the table."""
        # On a CPU the peak is the process's; on a GPU the context, which is no tensor's, is not in what torch counts.
        memory = self.need.vram_gb + self.need.ram_gb if machine.shared else self.need.vram_gb
        seconds = self.whole - self.load - self.encode
        cells = (
            f"{self.load:.1f}", f"{self.text:.2f}", f"{self.step:.3f}", f"{self.decode:.2f}", f"{self.encode:.2f}",
            f"{self.whole:.1f}", f"{self.peak:.1f}", f"{memory:.1f}", f"{self.peak / memory:.2f}", f"{self.need.seconds:.1f}",
            f"{seconds / self.need.seconds:.2f}",
        )  # fmt: skip
        return f"| {self.plan} | {' | '.join(cells)} |"


HEAD = (
    "| plan | load s | text s | s a step | decode s | encode s | whole s | peak GB | predicted GB | measured / predicted | "
    "predicted s | measured / predicted |\n" + "| --- " * 12 + "|"
)


@dataclass
class Bench:
    """Runs shots on one device."""

    settings: Settings
    device: str
    machine: Machine
    folder: Path

    def run(self, card: Card, clip: Clip, plan: Plan | None, steps: int, take: int) -> Row:
        """One clip; `plan`: that one and no other, or what the backend picks."""
        from reelwright.backends.diffusers import Diffusers
        from reelwright.backends.local.loading import Source
        from reelwright.jobs.takes import KEPT
        from reelwright.media.encode import save

        shot = self._shot(card, clip, plan, steps, take)
        seen = Seen(self.device)
        run = LocalRun(on_progress=seen.progressed, on_preview=_nowhere)
        video = Diffusers(self.settings).generate(shot, run)
        made = seen.now()
        save(video, self.folder / "clip.mp4", KEPT)
        whole = seen.now()
        (work,) = run.memory["work"].values()
        used = next(each for each in (*LADDER, *preflight.LOSSY) if each.name == work["plan"])
        known = preflight.billions(Source(card.source, Path(card.source), {}))
        options = fit.work_of(card, shot.width, shot.height, shot.frames, shot.options)
        need = fit.need(card, options, used, self.machine, known)
        text = max(0.0, seen.steps[0] - seen.loaded - seen.each)
        last = seen.steps[-1]
        return Row(used.name, seen.loaded, text, seen.each, made - last, whole - made, whole, float(work["peak_gb"]), need)

    def _shot(self, card: Card, clip: Clip, plan: Plan | None, steps: int, take: int) -> Shot:
        options: dict[str, Any] = {"steps": steps}
        if plan is not None:
            options |= {"memory": "resident" if plan.offload == "none" else plan.offload, "tiling": plan.tiled}
            options |= {"precision": plan.precision} if plan.precision != "native" else {}
        fps = Fraction(str(card.fps.default))
        request = GenerationRequest(
            prompt=f"a red boat at dawn, take {take}", width=clip.width, height=clip.height, seconds=float(clip.frames / fps),
            seed=3, options=options,
        )  # fmt: skip
        shot, _ = resolve(request, card, str)
        if (shot.width, shot.height, shot.frames) != (clip.width, clip.height, clip.frames):
            raise SystemExit(f"{card.id} would make {shot.width}x{shot.height}, {shot.frames} frames")
        return shot


def _nowhere(_: Frame) -> None:
    """Previews are made, as they are for people, and not shown."""


def measured(bench: Bench, name: str, options: argparse.Namespace, deadline: float) -> None:
    """Build one model, run it, print its tables, and remove it."""
    from reelwright.backends.local import hardware
    from reelwright.backends.local.residency import RESIDENTS

    model, clips = random_weights.MODELS[name], CLIPS[name]
    if options.small:
        clips = tuple(replace(clip, width=64, height=64, frames=9, steps=3) for clip in clips[:1])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=options.folder) as place:
        folder = random_weights.save(model, Path(place), device=bench.device, small=options.small, text=options.text)
        hardware.let_go()
        size = sum(each.stat().st_size for each in folder.rglob("*.safetensors")) / 1e9
        print(
            f"\n## {model.card}\n\n{size:.2f} GB of random weights, written in {time.perf_counter() - began:.0f} s.", flush=True
        )
        card = random_weights.served(model, folder, small=options.small)
        clip = clips[0]
        print(f"\n{clip.width}x{clip.height}, {clip.frames} frames, {LADDER_STEPS} steps, each plan of the ladder:\n\n{HEAD}")
        plans = (*LADDER, Plan("model", precision="fp8")) if bench.machine.fp8 else LADDER
        for plan in plans:
            _tried(bench, card, clip, plan, LADDER_STEPS, deadline)
            RESIDENTS.unload()
        print(f"\nAs the backend picks, steps as published; the second run finds the model in memory:\n\n{HEAD}")
        for clip in reversed(clips):
            for take in (1, 2):
                _tried(bench, card, clip, None, clip.steps, deadline, take)
        RESIDENTS.unload()
        print("\nPublished:\n")
        for clip in CLIPS[name]:
            print(f"* {clip.width}x{clip.height}, {clip.frames} frames: {clip.published}")


def _tried(bench: Bench, card: Card, clip: Clip, plan: Plan | None, steps: int, deadline: float, take: int = 0) -> None:
    """Run and print a line: the figures, or why there are none."""
    from reelwright.errors import ReelwrightError

    said = plan.name if plan else f"{clip.width}x{clip.height}, {clip.frames} frames, {steps} steps"
    if time.monotonic() > deadline:
        print(f"| {said} | left out: the time is up |", flush=True)
        return
    try:
        row = bench.run(card, clip, plan, steps, take)
    except ReelwrightError as error:
        print(f"| {said} | {error.message} |", flush=True)
        return
    named = row if plan else replace(row, plan=f"{said}: {row.plan}")
    print(named.line(bench.machine), flush=True)


def main() -> int:
    """Run what was asked for; 2 without a device."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--only", choices=tuple(random_weights.MODELS), action="append", help="this model; may be repeated")
    given.add_argument("--small", action="store_true", help="the same with a few thousand weights, on the CPU")
    given.add_argument("--text", action="store_true", help="text encoders of real size: 10 to 12 GB more of disk")
    given.add_argument("--folder", type=Path, help="where the weights are written meanwhile; 4 to 25 GB")
    given.add_argument("--seconds", type=float, default=3600.0, help="no run is begun after so many seconds (3600)")
    options = given.parse_args()
    deadline = time.monotonic() + options.seconds
    import diffusers
    import torch

    from reelwright.backends.local import hardware, loading

    device = "cpu" if options.small else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: run with --small", file=sys.stderr)
        return 2
    loading.libraries()
    if options.small:
        torch.set_num_threads(1)  # models this small lose time with more
    with tempfile.TemporaryDirectory(prefix="reelwright-bench-") as made:
        folder = Path(made)
        settings = Settings(_env_file=None, cache_folder=folder / "cache", device=device)
        machine = hardware.probe(device)
        total = machine.ram_gb if machine.shared else machine.vram_gb
        print(f"{machine.name}, {total:.0f} GB, taken for {machine.tflops:g} TFLOPS; torch {torch.__version__}, "
              f"diffusers {diffusers.__version__}, attention of torch's own")  # fmt: skip
        for name in options.only or random_weights.MODELS:
            measured(Bench(settings, device, machine, folder), name, options, deadline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
