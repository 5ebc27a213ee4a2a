"""What Reelwright adds to a Diffusers script that does the same, and how soon a worker is at its first step.

`python bench/local.py`. The pipelines are real classes with random weights: a tiny one, whose clip takes a fraction of a second,
and one with ten layers of LTX-2B's full width. A script and Reelwright use the same pipeline object in the same process, with the
same prompt, seed, steps and threads, one after the other in turn; the script writes its clip with PyAV, x264 and its settings
as Reelwright keeps clips (`veryfast`, CRF 12). Each round has a prompt of its own, for Reelwright remembers encoded texts.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import measure

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MOST_MS, MOST_SHARE = 50.0, 0.02
"""What may be added to a clip: the larger of both."""
QUIET = 0.25
"""Cores. If others keep more busy, clocks say little and the bar is held against CPU time."""
SEED, GUIDANCE = 3, 3.0


@dataclass(frozen=True)
class Case:
    """A pipeline in a folder, its card's id, and the clip that is made of it."""

    name: str
    card: str
    folder: Path
    width: int
    height: int
    frames: int
    steps: int
    threads: int


@dataclass
class Spent:
    """Seconds of one clip: on the clock and of CPU, and of both what passed beside the pipeline's own work: outside of its
    call and in our callbacks and hooks within. `others`: cores that other processes kept busy."""

    wall: float = 0.0
    cpu: float = 0.0
    beside: float = 0.0
    beside_cpu: float = 0.0
    others: float = 0.0


@dataclass
class Way:
    """One way of making the clip; `make` takes a prompt and a file to write."""

    name: str
    make: Callable[[str, Path], None]
    spent: list[Spent] = field(default_factory=list)

    def median(self, what: str) -> float:
        """Of all rounds."""
        return statistics.median(getattr(each, what) for each in self.spent)


# ---- pipelines


def tiny(folder: Path) -> Case:
    """The tests' LTX: two layers 48 wide, float32."""
    from tests.tiny.ltx import VARIANTS

    VARIANTS["ltx_t2v"].build().save_pretrained(folder)
    return Case("tiny", "bench-tiny", folder, 128, 96, 25, 8, 1)  # models this small lose time with more threads


def large(folder: Path, steps: int, threads: int) -> Case:
    """LTX with ten layers of its full width."""
    import random_weights

    random_weights.save(random_weights.large_ltx(), folder)
    return Case("10 layers of LTX-2B", "bench-large", folder, 256, 160, 25, steps, threads)


def card_written(case: Case, home: Path) -> None:
    """A card in the person's own folder, as `reel models add` writes it, for pictures as small as this."""
    import tomli_w

    from reelwright import catalog
    from reelwright.backends.local.discovery import content_of
    from reelwright.catalog.card import cards
    from reelwright.settings import current

    content = content_of(str(case.folder), current())
    content["id"] = content["title"] = case.card
    content["sizes"] = {"native": [[case.width, case.height]], "step": 32, "least": 32}
    content["frames"] = {"default": case.frames, "step": 8, "offset": 1}
    del content["task"], content["sources"]
    catalog.card_from(content, case.card)
    path = home / "cards" / f"{case.card}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(content), "utf-8")
    cards.cache_clear()


# ---- three ways to make a clip


def request_of(case: Case, prompt: str) -> Any:
    """The clip, asked for."""
    from reelwright.request import GenerationRequest

    options = {"steps": case.steps, "guidance": GUIDANCE}
    return GenerationRequest(
        prompt=prompt, model=case.card, width=case.width, height=case.height, seconds=case.frames / 24, fps=24, seed=SEED,
        options=options,
    )  # fmt: skip


def seen() -> Any:
    """A run with somebody who watches: progress and previews."""
    from reelwright.run import LocalRun

    return LocalRun(on_progress=lambda _: None, on_preview=lambda _: None)


def script(case: Case, pipe: Any, prompt: str) -> Any:
    """What a script calls; the frames as floats."""
    import torch

    with torch.no_grad():
        made = pipe(
            prompt=prompt, width=case.width, height=case.height, num_frames=case.frames, num_inference_steps=case.steps,
            guidance_scale=GUIDANCE, frame_rate=24.0, output_type="np", generator=torch.Generator("cpu").manual_seed(SEED),
        )  # fmt: skip
    return made.frames[0]


def written(frames: Any, path: Path) -> None:
    """A script's frames in a file, by PyAV alone."""
    import av
    import numpy as np

    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "12"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for each in frames:
            picture = av.VideoFrame.from_ndarray(np.rint(np.clip(each, 0, 1) * 255).astype(np.uint8), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def ways(case: Case) -> tuple[Way, Way, Way]:
    """A script, our backend with our encoder, and all of `reel generate`. All of them have the model in memory."""
    from reelwright.backends.diffusers import Diffusers
    from reelwright.backends.local.residency import RESIDENTS
    from reelwright.catalog import find, resolve
    from reelwright.jobs.takes import KEPT
    from reelwright.media.encode import save
    from reelwright.studio import Studio

    card, backend, studio = find(case.card), Diffusers(), Studio()

    def of_backend(prompt: str) -> Any:
        shot, _ = resolve(request_of(case, prompt), card, str)
        return backend.generate(shot, seen())

    def pipe() -> Any:
        return next(each.pipe for each in RESIDENTS.loaded() if each.model == case.card)

    _hold_same(case, of_backend("a red boat"), pipe)
    return (
        Way("a Diffusers script", lambda prompt, path: written(script(case, pipe(), prompt), path)),
        Way("Reelwright's backend", lambda prompt, path: _discard(save(of_backend(prompt), path, KEPT))),
        Way("all of `reel generate`", lambda prompt, path: _discard(studio.generate(request_of(case, prompt), path, run=seen()))),
    )


def _discard(_: object) -> None:
    pass


def _hold_same(case: Case, video: Any, pipe: Callable[[], Any]) -> None:
    """Both make the very same pictures, or nothing here means anything."""
    import numpy as np

    from reelwright.backends.local.outputs import eight_bit
    from reelwright.types import Frame

    ours = [frame.buffer for frame in video.frames]
    theirs = [Frame.of(eight_bit(each)).buffer for each in script(case, pipe(), "a red boat")]
    if len(ours) != len(theirs) or not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise SystemExit(f"{case.name}: the script and Reelwright made different pictures")


# ---- measured


@contextmanager
def clocked(pipe_class: Any) -> Iterator[list[float]]:
    """Count what passes within the pipeline's call but not within our hooks: seconds on the clock, and of CPU."""
    from reelwright.backends.local.watching import Watch

    inside = [0.0, 0.0]
    hooks = ("_encoding", "_thinking", "_decoding", "_stepped", "advance")
    kept = [(owner, name, getattr(owner, name)) for owner, name in ((pipe_class, "__call__"), *((Watch, name) for name in hooks))]

    def timed(function: Callable[..., Any], sign: int) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            began, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                inside[0] += sign * (time.perf_counter() - began)
                inside[1] += sign * (time.process_time() - cpu)

        return run

    for owner, name, function in kept:
        setattr(owner, name, timed(function, 1 if name == "__call__" else -1))
    try:
        yield inside
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def compared(case: Case, rounds: int, folder: Path, *, profile: bool) -> bool:
    """Measure all ways in turn and print; False if the bar does not hold."""
    import diffusers
    import torch

    torch.set_num_threads(case.threads)
    made = ways(case)
    if profile:
        _profiled(made[2], folder)
    with clocked(diffusers.LTXPipeline) as inside:
        for number in range(rounds + 1):
            for way in made[number % 3 :] + made[: number % 3]:
                spent = _once(way, f"a red boat at dawn, take {number}", folder / f"{case.card}-{number}.mp4", inside)
                if number:  # the first round warms up
                    way.spent.append(spent)
    return _printed(case, made, rounds)


def _once(way: Way, prompt: str, path: Path, inside: list[float]) -> Spent:
    inside[:] = 0.0, 0.0
    busy, cpu, began = measure._busy(), time.process_time(), time.perf_counter()
    way.make(prompt, path)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    path.unlink()
    others = max(0.0, measure._busy() - busy - cpu) / wall
    return Spent(wall, cpu, wall - inside[0], cpu - inside[1], others)


def _printed(case: Case, made: tuple[Way, Way, Way], rounds: int) -> bool:
    bare, fine, verdicts = made[0], True, []
    others = statistics.median(each.others for way in made for each in way.spent)
    quiet = others < QUIET
    print(f"\n{case.name}: {case.width}x{case.height}, {case.frames} frames, {case.steps} steps, threads: {case.threads}")
    print(f"Medians of {rounds} rounds; other processes kept {others:.2f} cores busy.\n")
    print("| | wall s | CPU s | wall, times the script's | CPU, times the script's | beside the pipeline, wall ms | and CPU ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way in made:
        times = [way.median(what) / bare.median(what) for what in ("wall", "cpu")]
        print(f"| {way.name} | {way.median('wall'):.2f} | {way.median('cpu'):.2f} | {times[0]:.3f} | {times[1]:.3f} | "
              f"{way.median('beside') * 1000:.0f} | {way.median('beside_cpu') * 1000:.0f} |")  # fmt: skip
        if way is not bare:
            what = "beside" if quiet else "beside_cpu"
            added = (way.median(what) - bare.median(what)) * 1000
            most = max(MOST_MS, MOST_SHARE * bare.median("wall" if quiet else "cpu") * 1000)
            fine &= added <= most
            kind = "" if quiet else " of CPU"
            verdicts.append(f"{'PASS' if added <= most else 'FAIL'}  {way.name} adds {added:.0f} ms{kind} (at most {most:.0f})")
    print("\n" + "\n".join(verdicts))
    return fine


def _profiled(way: Way, folder: Path) -> None:
    """What of our own code costs most; torch's and the pipeline's time is in `inside`."""
    import cProfile
    import pstats

    way.make("warm", folder / "profile.mp4")
    profiler = cProfile.Profile()
    profiler.enable()
    way.make("profiled", folder / "profile.mp4")
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats("reelwright", 45)


# ---- start


def child(what: str, home: str, folder: str) -> None:
    """A fresh process, up to its first step."""

    def told() -> None:
        print("step", flush=True)
        os._exit(0)

    if what == "script":
        import torch
        from diffusers import LTXPipeline

        pipe = LTXPipeline.from_pretrained(folder, torch_dtype=torch.float32)
        pipe("a red boat", width=128, height=96, num_frames=9, num_inference_steps=2, callback_on_step_end=lambda *_: told())
    import multiprocessing

    from reelwright import workers
    from reelwright.backends.local import watching

    patience = threading.Timer(300, os._exit, (3,))  # a worker whose job failed would wait for another one
    patience.daemon = True
    patience.start()
    watching.Watch.advance = lambda *_: told()  # type: ignore[method-assign]  # the first step is all that is measured
    ours, theirs = multiprocessing.Pipe()
    workers._work(_settings(Path(home)), workers.posts(())[0], theirs)
    del ours


def _settings(home: Path) -> Any:
    from reelwright.settings import Settings

    return Settings(_env_file=None, data_folder=home / "data", cache_folder=home / "cache", log="text")


def start(rounds: int, case: Case, folder: Path) -> None:
    """From nothing to the first step, of the tiny pipeline."""
    from reelwright.workshop import Workshop

    names = {
        "import": '`python -c "import torch, diffusers"`',
        "script": "a script: import, `from_pretrained`, first step",
        "worker": "a worker: start, claim a job, load, first step",
    }
    walls: dict[str, list[float]] = {what: [] for what in names}
    cpus: dict[str, list[float]] = {what: [] for what in names}
    for number in range(rounds + 1):
        for what in names:
            home = folder / f"start-{number}"
            if what == "worker":
                shop = Workshop(_settings(home))
                shop.generate(replace(request_of(case, "a red boat"), options={"steps": 2}))
                shop.close()
            own = [__file__, "--child", what, str(home), str(case.folder)]
            words = ["-c", "import torch, diffusers"] if what == "import" else own
            cpu, began = _children(), time.perf_counter()
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=600)
            if done.returncode or (what != "import" and "step" not in done.stdout):
                raise SystemExit(f"{what} failed: {done.stderr[-2000:]}")
            if number:  # the first round warms the disk's cache up
                walls[what].append(time.perf_counter() - began)
                cpus[what].append(_children() - cpu)
    print(f"\nStart, each in a fresh process; medians of {rounds} rounds\n\n| | wall s | CPU s |\n| --- | --- | --- |")
    for what, name in names.items():
        print(f"| {name} | {statistics.median(walls[what]):.2f} | {statistics.median(cpus[what]):.2f} |")


def _children() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run what was asked for; 1 if a bar does not hold."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (5)")
    given.add_argument("--steps", type=int, default=4, help="steps of the larger pipeline (4)")
    given.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of the larger pipeline (one a core)")
    given.add_argument("--only", choices=("tiny", "large", "start"), help="one part of all")
    given.add_argument("--profile", action="store_true", help="also print what of our own code costs most")
    given.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.child:
        child(*options.child)
        return 0
    import platform

    import diffusers
    import torch

    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads, "
          f"diffusers {diffusers.__version__}")  # fmt: skip
    fine = True
    with tempfile.TemporaryDirectory(prefix="reelwright-bench-") as made:
        folder = Path(made)
        os.environ["REELWRIGHT_HOME"] = str(folder / "home")
        (folder / "home").mkdir()
        first = tiny(folder / "tiny")
        card_written(first, folder / "home")
        if options.only in (None, "tiny"):
            fine &= compared(first, options.rounds * 3, folder, profile=options.profile)
        if options.only in (None, "large"):
            second = large(folder / "large", options.steps, options.threads)
            card_written(second, folder / "home")
            fine &= compared(second, options.rounds, folder, profile=options.profile)
        if options.only in (None, "start"):
            start(options.rounds, first, folder)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
