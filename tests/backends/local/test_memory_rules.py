"""Who may have memory: what is counted as free is freed, failures are remembered by size, measurements stay believable."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rooms

from reelwright.backends import diffusers
from reelwright.backends.local import hardware, loading, preflight
from reelwright.backends.local.experience import Experience
from reelwright.backends.local.hardware import Peak
from reelwright.backends.local.residency import RESIDENTS, Loaded
from reelwright.catalog import card_from, fit
from reelwright.catalog.fit import Correction, Machine, Plan
from reelwright.errors import OutOfMemory

CONTENT: dict[str, Any] = {
    "id": "a", "title": "A", "family": "a", "backend": "diffusers", "source": "a/b", "licence": "MIT", "fps": {"default": 8},
    "sizes": {"native": [[512, 512]]}, "frames": {"default": 17}, "settings": {"weights": {"transformer": 1.0, "vae": 0.1}},
}  # fmt: skip
CARD = card_from(CONTENT)
WORK = fit.Work(512, 512, 17, 10)
GPU = Machine("cuda", "GPU", 24, 24, 64, 64, 100)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


def _machine(monkeypatch: pytest.MonkeyPatch, free: float, whole: float = 16.0) -> None:
    monkeypatch.setattr(hardware, "probe", lambda _device: Machine("cpu", "CPU", ram_gb=whole, free_ram_gb=free, tflops=0.1))


# ---- what is counted as free


def test_a_model_under_another_plan_goes_before_this_one_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    rooms.make(rooms.shot(of, "ltx_t2v"), known)
    seen: list[int] = []
    real: Callable[..., Any] = loading.load

    def load(*given: Any) -> Any:
        seen.append(len(RESIDENTS.loaded()))
        return real(*given)

    monkeypatch.setattr(loading, "load", load)
    rooms.make(rooms.shot(of, "ltx_t2v", memory="resident", tiling=True), known)
    assert seen == [0]
    assert [each.plan.name for each in RESIDENTS.loaded()] == ["resident, tiled"]


def test_an_idle_model_counts_as_its_weights(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    (held,) = RESIDENTS.loaded()
    parts = [part for part in held.pipe.components.values() if hasattr(part, "parameters")]
    weights = sum(each.numel() * each.element_size() for part in parts for each in part.parameters()) / 1e9
    assert held.gb == pytest.approx(weights, rel=0.2)


def test_after_an_exhaustion_an_idle_model_of_another_kind_goes_too(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    rooms.make(rooms.shot(rooms.card("sd15", known), "sd15"), known)
    with rooms.failing(["LTXVideoDecoder3d"], 1, 1):
        rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert RESIDENTS.models() == ("ltx-t2v",)


def test_what_a_plan_keeps_between_two_shots() -> None:
    cpu = Machine("cpu", "CPU", ram_gb=64, free_ram_gb=60)
    assert fit.idle(CARD, Plan(), GPU) == pytest.approx((2.2, 0))
    assert fit.idle(CARD, Plan("model"), GPU) == pytest.approx((0, 2.2))
    assert fit.idle(CARD, Plan("disk"), GPU) == pytest.approx((0, 0.2))
    assert fit.idle(CARD, Plan(), cpu) == pytest.approx((4.4, 0))


def test_a_warm_model_needs_no_second_helping_of_ram() -> None:
    little = Machine("cuda", "GPU", 24, 20, 8, 1, 100)
    assert not fit.choose(CARD, WORK, little, plans=[Plan("model")]).needs
    assert fit.choose(CARD, WORK, little, plans=[Plan("model")], held={Plan("model"): (0.0, math.inf)}).needs
    key = ("a/b", "", "Pipe", "[]", Plan("model"), "cuda", False)
    held = Loaded(key, "a", SimpleNamespace(components={}), Plan("model"), "cuda", 0.5, 2.0)
    with RESIDENTS.use(key, lambda: held, lambda: None):
        assert diffusers._credit(key, little) == (0.5, math.inf)
        other = (*key[:4], Plan(), *key[5:])
        assert diffusers._credit(other, little) == (0, 0), "it is busy, and stays"
    assert diffusers._credit(other, little) == (0.5, 2.0)
    assert diffusers._credit(("b/c", *other[1:]), little) == (0, 0)


# ---- who is let in


@pytest.mark.parametrize(("free", "whole", "again"), [(0.1, 16.0, True), (0.1, 0.2, False)])
def test_automatic_memory_when_asked_for_is_still_automatic(
    free: float, whole: float, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    _machine(monkeypatch, free, whole)
    with pytest.raises(OutOfMemory) as caught:
        rooms.make(rooms.shot(of, "ltx_t2v", memory="auto"), known)
    assert caught.value.retryable is again


def test_a_plan_that_is_asked_for_is_tried_unless_it_is_hopeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rooms.settings(tmp_path)
    shot = rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v", memory="resident")
    _machine(monkeypatch, 0.1)
    assert rooms.make(shot, known).plan == "resident"
    RESIDENTS.unload()
    _machine(monkeypatch, 0.1, 0.2)
    with pytest.raises(OutOfMemory) as caught:
        rooms.make(shot, known)
    assert not caught.value.retryable


def test_a_hopeless_shot_flushes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = rooms.settings(tmp_path)
    rooms.make(rooms.shot(rooms.card("sd15", known), "sd15"), known)
    _machine(monkeypatch, 0.1, 0.2)
    with pytest.raises(OutOfMemory):
        rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert RESIDENTS.models() == ("sd15",)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=["torch", "system"],
)
def test_memory_that_runs_out_while_loading_is_no_damaged_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = rooms.settings(tmp_path)
    real, failed = loading._arguments, list[int]()

    def once(*given: Any) -> Any:
        if not failed:
            failed.append(1)
            raise error
        return real(*given)

    monkeypatch.setattr(loading, "_arguments", once)
    made = rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert made.plan == "resident, tiled"


# ---- what is remembered


def test_a_failure_bounds_what_is_as_large_until_it_expires_or_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Experience(tmp_path)
    size = fit.need(CARD, WORK, Plan(), GPU).vram_gb
    known.worse("a", "GPU", "resident", size, 24.0)
    learned = known.of("a", "GPU")
    assert learned["resident"] == Correction(1.0, 1.0, 0, size, 24.0)
    found = fit.choose(CARD, WORK, GPU, None, learned)
    assert found.needs[0].plan == Plan("model")
    smaller = fit.choose(CARD, fit.Work(256, 256, 9, 10), GPU, None, learned).needs[0]
    assert (smaller.plan, smaller.sure) == (Plan(), "computed")
    larger = Machine("cuda", "GPU", 48, 48, 64, 64, 100)
    assert fit.choose(CARD, WORK, larger, None, learned).needs[0].plan == Plan(), "more is free than when it failed"

    known.learn("a", "GPU", "resident", 1.0, 1.0, size * 0.5)
    assert known.of("a", "GPU")["resident"].failed == size, "something smaller says nothing"
    known.learn("a", "GPU", "resident", 1.0, 1.0, size)
    assert known.of("a", "GPU")["resident"].failed == 0

    known.worse("a", "GPU", "resident", size, 24.0)
    now = hardware.time.time()
    monkeypatch.setattr("reelwright.backends.local.experience.time.time", lambda: now + 25 * 3600)
    assert known.of("a", "GPU")["resident"].failed == 0


def test_factors_on_memory_stay_believable_and_older_files_are_read(tmp_path: Path) -> None:
    known = Experience(tmp_path)
    known.learn("a", "GPU", "resident", 50.0, 7.0)
    assert known.of("a", "GPU")["resident"] == Correction(3.0, 7.0, 1)
    known.learn("a", "GPU", "model offload", 0.01, None)
    assert known.of("a", "GPU")["model offload"].memory == pytest.approx(0.3)
    (tmp_path / "experience.json").write_text(json.dumps({"a|GPU|resident": [9.0, 2.0, 4]}), "utf-8")
    assert known.of("a", "GPU")["resident"] == Correction(3.0, 2.0, 4)


def test_a_measurement_is_of_this_model_alone() -> None:
    def held(device: str, **state: Any) -> Loaded:
        return Loaded((device,), device, SimpleNamespace(components={}), Plan(), device, 3.0, state=state)

    cold, other = held("cpu", base=10.0), held("other")
    assert diffusers._own(held("cuda"), Peak(30.0, 2.0)) == 5.0
    assert diffusers._own(cold, Peak(18.0, 6.0)) == 8.0, "from before it was loaded"
    assert diffusers._own(cold, Peak(18.0, 1.0)) == 4.0, "once it is warm, its weights and what they grew by"
    assert diffusers._own(held("cpu", base=None), Peak(18.0, 1.0)) is None
    assert diffusers._own(held("xpu"), Peak(18.0, 1.0)) is None
    with RESIDENTS.use(("other",), lambda: other, lambda: None):
        assert diffusers._own(held("cuda"), Peak(30.0, 2.0)) is None, "another one works beside it"


def test_growth_is_told_beside_the_height() -> None:
    with hardware.peak("cpu") as height:
        block = bytearray(200_000_000)
        block[::4096] = b"x" * len(block[::4096])
    del block
    assert height.gb is not None
    assert height.grown == pytest.approx(0.2, abs=0.05)
    assert height.gb > height.grown


# ---- clips in sections


def test_a_clip_in_sections_needs_the_memory_of_one_and_the_time_of_all(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    going = card_from({**CONTENT, "frames": {"default": 17, "most": 17}, "accepts": [[], ["first_frame"]]})
    once, whole = (preflight.verdict(going, (512, 512), frames, {}, known).closest for frames in (17, 17 + 13 * 3))
    assert preflight.sections(going, 17 + 13 * 3) == (17, 4)
    assert whole.vram_gb == once.vram_gb
    assert whole.seconds == pytest.approx(once.seconds * 4)
