"""Any Diffusers pipeline from its card, on this machine's device, within the memory there is (M3, J4).

A shot is fitted, its model loaded or found warm, its values bound to the pipeline's arguments, its run watched, and what it
returns made a `Video`. Memory that runs out moves on to the next plan and says so; size and length are never changed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from reelwright import settings
from reelwright.backends.local import adapters, binding, loading, outputs, plans, preflight
from reelwright.backends.local.experience import Experience
from reelwright.backends.local.hardware import Peak
from reelwright.backends.local.residency import RESIDENTS, Key, Loaded
from reelwright.backends.local.watching import Watch
from reelwright.catalog import Card, Shot, ShotInput, fit
from reelwright.catalog.fit import Machine, Need, Plan, Verdict, Work
from reelwright.errors import BackendError, OutOfMemory, ReelwrightError, Unsupported
from reelwright.run import Run
from reelwright.types import Role, Video, VideoSpec

_STRETCH = 1.5
"""Times the whole machine: a prediction may be wrong by so much, and a plan that a person asks for is tried up to there."""


@dataclass(frozen=True)
class _Job:
    """One shot on its way through a pipeline."""

    shot: Shot
    run: Run
    source: loading.Source
    pipeline: str
    device: str
    work: Work

    def key(self, plan: Plan) -> Key:
        """What a pipeline in memory must have in common with this shot to serve it."""
        card, options = self.shot.card, self.shot.options
        held = repr(sorted((name, repr(value)) for name, value in card.settings.items()))
        return (self.source.name, card.revision, self.pipeline, held, plan, self.device, bool(options.get("compile")))


class Diffusers:
    """The backend of cards that name a Diffusers model. `wanted`: this process's settings if None."""

    def __init__(self, wanted: settings.Settings | None = None) -> None:
        self._settings = wanted or settings.current()
        self._experience = Experience(self._settings.cache_folder)
        RESIDENTS.ttl = self._settings.model_ttl

    def check(self, card: Card) -> None:
        """A card needs a source; whether its files are there is found out when they are needed. Raises Unsupported."""
        if not card.source:
            raise Unsupported(f"the card {card.id} names no model", hint="Set `source` to a hub id or a folder.", model=card.id)

    def close(self) -> None:
        """Models stay for the next shot, until they were idle for their time to live; `reel models unload` lets them go."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot as a video, made before this returns. Raises OutOfMemory, WeightsInvalid, UnknownModel, BadOutput ..."""
        job = self._job(shot, run)
        from reelwright.backends.local import hardware  # behind the check for its libraries

        needs = self._admitted(job)
        run.step(1, 1, announced(needs[0]))
        for index, need in enumerate(needs):
            try:
                return self._made(job, need)
            except Exception as error:
                if not hardware.is_out_of_memory(error):
                    told = _told(error, shot)
                    if told is error:
                        raise
                    raise told from error
            # Out here, for the error's own traceback holds tensors: it has to be gone before the next plan can have them.
            self._failed(job, need.plan, needs[index + 1].plan if index + 1 < len(needs) else None)
        raise OutOfMemory(
            f"{shot.card.title} ran out of memory with every plan ({', '.join(need.plan.name for need in needs)})",
            hint=self._smaller(job, hardware.probe(job.device)),
            model=shot.card.id,
            tried=[need.plan.name for need in needs],
        )

    def warm(self, card: Card, run: Run) -> None:
        """Bring a model into memory for shots of its native size. Raises as `generate` does."""
        roles = next(iter(sorted(card.accepts, key=len)), frozenset[Role]())
        inputs = tuple(ShotInput(role, "", "") for role in sorted(roles))
        shot = Shot(card, "", "", *card.sizes.native[0], Fraction(str(card.fps.default)), card.frames.default, 0, inputs)
        job = self._job(shot, run)
        run.step(0, 1, "load")
        need = self._admitted(job)[0]
        with RESIDENTS.use(
            job.key(need.plan), lambda: self._loaded(job, need), lambda: run.step(0, 1, "wait for the model")
        ) as held:
            held.state["base"] = None  # its weights may be mapped only: what the first shot takes says nothing of them
            run.step(1, 1, "load")

    def _job(self, shot: Shot, run: Run) -> _Job:
        """Where the shot's model lies, which pipeline serves it and on what. Raises UnknownModel, Unsupported ..."""
        loading.libraries()
        from reelwright.backends.local import hardware

        card = shot.card
        source = loading.locate(card.source, self._settings, card.revision, preflight.apart(card))
        work = fit.work_of(card, shot.width, shot.height, shot.frames, shot.options)
        return _Job(shot, run, source, pipeline_of(shot, source), hardware.best(self._settings.device), work)

    def _failed(self, job: _Job, plan: Plan, following: Plan | None) -> None:
        """Memory ran out under a plan: its model goes, and another that is idle; both are remembered, the following told."""
        from reelwright.backends.local import hardware

        RESIDENTS.unload(key=job.key(plan))
        hardware.let_go()
        machine = hardware.probe(job.device)
        free = machine.free_ram_gb if machine.shared else machine.free_vram_gb
        self._experience.worse(job.shot.card.id, machine.name, plan.name, self._plain(job, plan, machine).vram_gb, free)
        if following is not None:
            RESIDENTS.make_room()
            job.run.note(f"{job.shot.card.title} ran out of memory with {plan.name}; {following.name} was tried.")

    # ---- which plan

    def _admitted(self, job: _Job) -> tuple[Need, ...]:
        """The plans to try, best first; waits for memory that others hold. Raises OutOfMemory with what would fit."""
        from reelwright.backends.local import hardware

        known = preflight.billions(job.source, job.shot.card)
        began, forced = time.monotonic(), job.shot.options.get("memory", "auto") != "auto"
        while True:
            machine = hardware.probe(job.device)
            verdict = self._verdict(job, machine, known)
            if verdict.needs or (forced and not _hopeless(verdict.closest, machine)):
                return verdict.needs or (verdict.closest,)
            whole = replace(machine, free_vram_gb=machine.vram_gb, free_ram_gb=machine.ram_gb)
            possible = bool(self._verdict(job, whole, known).needs)
            if possible and RESIDENTS.make_room() is not None:
                continue
            if not possible or time.monotonic() - began > self._settings.memory_wait:
                raise OutOfMemory(
                    verdict.why,
                    hint=self._smaller(job, machine),
                    retryable=possible,
                    model=job.shot.card.id,
                    needs_gb=verdict.closest.vram_gb,
                )
            job.run.step(0, 1, "wait for memory")
            time.sleep(0.5)

    def _verdict(self, job: _Job, machine: Machine, known: dict[str, float] | None) -> Verdict:
        """What fits, a plan whose model is in memory already first among those that cost the same pixels."""
        corrections = self._experience.of(job.shot.card.id, _named(job.device))
        ladder = preflight.ladder(job.shot.options, machine, lossy=self._settings.lossy)
        held = {plan: _credit(job.key(plan), machine) for plan in ladder}
        verdict = fit.choose(job.shot.card, job.work, machine, known, corrections, ladder, held)
        warm = tuple(need for need in verdict.needs if RESIDENTS.holds(job.key(need.plan)) and need.plan.exact)
        return replace(verdict, needs=(*warm, *(need for need in verdict.needs if need not in warm)))

    def _smaller(self, job: _Job, machine: Machine) -> str:
        """Advice: the nearest request that would fit."""
        card, plans = job.shot.card, preflight.ladder(job.shot.options, machine, lossy=self._settings.lossy)
        corrections = self._experience.of(card.id, _named(job.device))
        found = fit.nearest(card, job.work, machine, preflight.billions(job.source, card), plans, corrections)
        if found is None:
            return "Choose a smaller model: `reel models --fits`."
        seconds = float(found.frames / job.shot.fps)
        return f"{found.width}x{found.height} with {found.frames} frames ({seconds:.1f} s) would fit."

    # ---- the work

    def _made(self, job: _Job, need: Need) -> Video:
        from reelwright.backends.local import hardware

        shot, run, plan = job.shot, job.run, need.plan
        run.step(0, 1, "load")
        with RESIDENTS.use(job.key(plan), lambda: self._loaded(job, need), lambda: run.step(0, 1, "wait for the model")) as held:
            with hardware.peak(job.device) as height:
                run.step(1, 1, "load")
                began = time.monotonic()
                with adapters.put_on(held, shot, run, self._settings), self._options(held, job) as how:
                    output = self._called(held, job)
                spent = time.monotonic() - began
                made = outputs.pictures(output)
                spec = VideoSpec(shot.width, shot.height, shot.fps, shot.frames)
                samples = outputs.sound(output, held.pipe, spec) if shot.card.audio else None
                del output
            own = _own(held, height)
        run.note(f"{shot.card.title} on {_named(job.device)}, {plan.name}.")
        self._learn(job, need, own, spent)
        work = {
            "model": shot.card.id,
            "pipeline": job.pipeline,
            "device": _named(job.device),
            "plan": plan.name,
            "peak_gb": height.gb,
        }
        run.remember(work={**run.memory.get("work", {}), shot.fingerprint[:16]: {**work, **how, "seconds": round(spent, 3)}})
        return outputs.as_video(made, shot, run, samples)

    def _loaded(self, job: _Job, need: Need) -> Loaded:
        from reelwright.backends.local import hardware

        card, plan = job.shot.card, need.plan
        for each in _siblings(job.key(plan)):  # their memory was counted as free
            if each.key != job.key(plan):
                RESIDENTS.unload(key=each.key)
        base = hardware.taken()
        pipe = loading.load(card, job.source, job.pipeline, plan, job.device, self._settings)
        dtype = loading.compute_type(job.device, card.settings.get("dtype", "bfloat16"))
        folder = self._settings.cache_folder / "layers" / card.id.replace("/", "--")
        if not job.source.modular:
            tiled = plan.tiled or bool(card.settings.get("tiled"))  # Allegro's decoder can do nothing else
            plans.place(pipe, replace(plan, tiled=tiled), job.device, dtype, folder)
        elif job.device != "cpu":
            pipe.to(job.device)
        if job.shot.options.get("compile"):
            plans.compile_blocks(pipe)
        idle = fit.idle(card, plan, hardware.probe(job.device), preflight.billions(job.source, card))
        return Loaded(job.key(plan), card.id, pipe, plan, job.device, *idle, state={"base": base})

    @contextmanager
    def _options(self, held: Loaded, job: _Job) -> Iterator[dict[str, Any]]:
        """The options that say how a shot is run; gives what is to be told of them."""
        options = job.shot.options
        how: dict[str, Any] = {"attention": plans.choose_attention(held.pipe, options.get("attention", "auto"))}
        cache = options.get("step_cache", "none")
        try:
            if cache != "none":
                plans.enable_cache(held.pipe, cache)
                how["step_cache"] = cache
            if options.get("compile"):
                how["compile"] = True
            if native_schedule(job.shot):
                held.pipe.enable_free_noise(context_length=min(16, job.shot.frames), context_stride=4)
                how["schedule"] = "free noise"
            yield how
        finally:
            if "schedule" in how:
                held.pipe.disable_free_noise()
            if cache != "none":
                plans.disable_cache(held.pipe)

    def _called(self, held: Loaded, job: _Job) -> Any:
        """Call the pipeline."""
        import torch

        shot, run, pipe = job.shot, job.run, held.pipe
        arguments = _modular_arguments(shot) if job.source.modular else binding.bind(shot, pipe, run.fetch)
        arguments["generator"] = torch.Generator("cpu").manual_seed(shot.seed)
        watch = Watch(pipe, run, job.work.steps, self._painter(held, shot, run))
        devices = [torch.device(job.device)] if job.device.startswith("cuda") else []
        with watch.on() as callbacks, adapters.remembered_texts(held), torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(shot.seed)  # some encode their inputs past the generator (AnimateDiff with SparseCtrl)
            output = pipe(**arguments, **callbacks)
            watch.ended()
        return output

    def _painter(self, held: Loaded, shot: Shot, run: Run) -> Any:
        from reelwright.backends.local import previews

        if getattr(run, "on_preview", True) is None or held.plan.offload != "none":
            return None  # an encoder that is not on the device would be moved there for a preview
        if "colours" not in held.state:
            held.state["colours"] = previews.fitted_map(held.pipe)
        if "tiny decoder" not in held.state:
            held.state["tiny decoder"] = previews.tiny_decoder(shot.card, held.pipe)
        colours = held.state["colours"]
        return None if colours is None else previews.Painter(held.pipe, shot, colours, held.state["tiny decoder"])

    def _plain(self, job: _Job, plan: Plan, machine: Machine) -> Need:
        """What is predicted, uncorrected."""
        return fit.need(job.shot.card, job.work, plan, machine, preflight.billions(job.source, job.shot.card))

    def _learn(self, job: _Job, need: Need, own: float | None, spent: float) -> None:
        """Measured over predicted, both without what the process or CUDA take by themselves."""
        from reelwright.backends.local import hardware

        machine = hardware.probe(job.device)
        plain = self._plain(job, need.plan, machine)
        predicted = plain.vram_gb + plain.ram_gb - fit.PROCESS_GB if machine.shared else plain.vram_gb - fit.CONTEXT_GB
        factor = None if own is None or own <= 0 else own / max(0.05, predicted)
        seconds = spent / max(1e-3, plain.seconds)
        self._experience.learn(job.shot.card.id, machine.name, need.plan.name, factor, seconds, plain.vram_gb)


def _siblings(key: Key) -> list[Loaded]:
    """What is in memory of the same model, under any plan, compiled or not."""
    return [each for each in RESIDENTS.loaded() if (each.key[:4], each.key[5]) == (key[:4], key[5])]


def _credit(key: Key, machine: Machine) -> tuple[float, float]:
    """GB on the device and in RAM that a model can have beside what is free: its own, for it is in memory already, and those
    of the same model under other plans, which go before it is loaded."""
    vram = ram = 0.0
    for each in _siblings(key):
        if each.key == key:
            vram, ram = vram + each.gb, ram + (each.ram_gb if machine.shared else math.inf)  # nothing is to be loaded
        elif not each.lock.locked():
            vram, ram = vram + each.gb, ram + each.ram_gb
    return vram, ram


def _own(held: Loaded, height: Peak) -> float | None:
    """GB that a model took at its height, weights included; None if that cannot be told, as while another one works."""
    if height.gb is None or height.grown is None or held.device.split(":")[0] not in ("cuda", "cpu", "mps"):
        return None
    fresh, base = "base" in held.state, held.state.pop("base", None)
    if any(each.lock.locked() for each in RESIDENTS.loaded() if each is not held):
        return None
    if held.device.startswith("cuda") or not fresh:
        return height.grown + held.gb
    return None if base is None else height.gb - float(base)  # before the first shot, weights may be mapped only


def _hopeless(need: Need, machine: Machine) -> bool:
    """Whether a plan that was asked for cannot even come near to what the machine has."""
    if machine.shared:
        return need.vram_gb + need.ram_gb > machine.ram_gb * _STRETCH
    return need.vram_gb > machine.vram_gb * _STRETCH or need.ram_gb > machine.ram_gb * _STRETCH


def announced(need: Need) -> str:
    """What is about to happen, as the stage that is shown before it does."""
    seconds = f"{need.seconds:.0f} s" if need.seconds < 120 else f"{need.seconds / 60:.0f} min"
    return f"{need.plan.name}, about {need.vram_gb:.1f} GB and {seconds} ({need.sure})"


def native_schedule(shot: Shot) -> bool:
    """Whether the pipeline itself takes prompts over time (AnimateDiff with FreeNoise)."""
    return bool(shot.options.get("schedule")) and shot.card.settings.get("schedule") == "native"


def pipeline_of(shot: Shot, source: loading.Source) -> str:
    """The class that serves a shot: the card's for these inputs, else what the model's index names. Raises Unsupported."""
    named = shot.card.settings.get("pipeline")
    if isinstance(named, str):
        return named
    if isinstance(named, dict):
        roles = "+".join(sorted({given.role.value for given in shot.inputs})) or "prompt"
        if roles in named:
            return str(named[roles])
        raise Unsupported(
            f"{shot.card.title} has no pipeline for {roles}", hint=f"It has: {', '.join(named)}.", model=shot.card.id
        )
    if source.pipeline is None and not source.modular:
        raise Unsupported(
            f"a single file does not say which pipeline it is for: {source.name}",
            hint="Set `settings.pipeline` in its card.",
            model=shot.card.id,
        )
    return source.pipeline or str(source.index.get("_class_name"))


def _named(device: str) -> str:
    from reelwright.backends.local import hardware

    return hardware.probe(device).name


def _modular_arguments(shot: Shot) -> dict[str, Any]:
    values = {
        "prompt": shot.prompt, "negative_prompt": shot.negative or None, "width": shot.width, "height": shot.height,
        "num_frames": shot.frames, "num_inference_steps": shot.options.get("steps"), "output_type": "np",
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def _told(error: Exception, shot: Shot) -> Exception:
    """A pipeline's own failure as one of ours."""
    if isinstance(error, ReelwrightError):
        return error
    first = (str(error).strip().splitlines() or [""])[0][:300]
    return BackendError(f"{shot.card.title} failed: {type(error).__name__}: {first}", model=shot.card.id)
