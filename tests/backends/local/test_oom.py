"""Memory that runs out: the next plan is tried and told, size and length stay, the failed model is gone (M3, M14, J4)."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rooms
import torch

from reelwright.backends.local import loading, preflight
from reelwright.backends.local.experience import Experience
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog.fit import Plan
from reelwright.errors import BackendError, OutOfMemory

FAMILIES: dict[str, tuple[str, str, int]] = {
    "wan_t2v": ("WanTransformer3DModel", "WanDecoder3d", 2),
    "ltx_t2v": ("LTXVideoTransformer3DModel", "LTXVideoDecoder3d", 1),
    "sd15": ("UNet2DConditionModel", "Decoder", 1),
    "animatediff": ("UNetMotionModel", "Decoder", 1),
}
"""The classes of a model's denoiser and decoder, and how often the denoiser is called in a step."""
POINTS = ("load", "first step", "second step", "decode")
TILED = {"memory": "resident", "tiling": True}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., rooms.Made]:
    """A run in which nothing fails, made once."""
    made: dict[str, rooms.Made] = {}

    def run(name: str, **options: Any) -> rooms.Made:
        key = f"{name} {sorted(options.items())}"
        if key not in made:
            made[key] = rooms.quick(name, tmp_path_factory.mktemp("clean"), **options)
            RESIDENTS.unload()  # a warm model would be preferred afterwards
        return made[key]

    return run


def _starved(name: str, point: str, times: float, patch: pytest.MonkeyPatch) -> Any:
    """Memory runs out at this point of a run, the first `times` times."""
    denoiser, decoder, calls = FAMILIES[name]
    if point == "first step":
        return rooms.failing([denoiser], 1, times)
    if point == "second step":
        return rooms.failing([denoiser], calls + 1, times)
    if point == "decode":
        return rooms.failing([decoder], 1, times)
    real, failed = loading.load, 0

    def load(*given: Any) -> Any:
        nonlocal failed
        if failed < times:
            failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(*given)

    patch.setattr(loading, "load", load)
    return rooms.failing([], 1, 0)


@pytest.mark.parametrize(
    ("name", "point"),
    [(name, point) for name in FAMILIES for point in POINTS if name != "animatediff" or point in ("first step", "decode")],
)
def test_out_of_memory_goes_on_with_the_next_plan_and_tells_both(
    name: str, point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: Callable[..., rooms.Made]
) -> None:
    expected = clean(name, **TILED)
    known = rooms.settings(tmp_path)
    with _starved(name, point, 1, monkeypatch):
        made = rooms.make(rooms.shot(rooms.card(name, known), name), known)

    assert made.plan == "resident, tiled"
    told = [note for note in made.notes if "ran out of memory" in note]
    assert len(told) == 1
    assert "with resident; resident, tiled was tried" in told[0]
    assert made.frames.shape == expected.frames.shape
    assert np.abs(made.frames.astype(int) - expected.frames).max() <= 2
    assert [each.plan.name for each in RESIDENTS.loaded()] == ["resident, tiled"]


@pytest.mark.parametrize("name", ["wan_t2v", "ltx_t2v"])
def test_an_exact_plan_after_a_failure_gives_the_very_same_pixels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: Callable[..., rooms.Made]
) -> None:
    expected = clean(name, memory="group", tiling=False)
    monkeypatch.setattr(preflight, "ladder", lambda *_, **__: (Plan("model"), Plan("group")))
    known = rooms.settings(tmp_path)
    with rooms.failing([FAMILIES[name][1]], 1, 1):
        made = rooms.make(rooms.shot(rooms.card(name, known), name), known)
    assert made.plan == "group offload"
    assert any("with model offload; group offload was tried" in note for note in made.notes)
    assert np.array_equal(made.frames, expected.frames)
    assert np.array_equal(made.frames, clean(name).frames)


def test_two_failures_reach_the_plan_after_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: Callable[..., rooms.Made]
) -> None:
    expected = clean("ltx_t2v", memory="disk", tiling=True)
    known = rooms.settings(tmp_path)
    with _starved("ltx_t2v", "decode", 2, monkeypatch):
        made = rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert made.plan == "disk offload, tiled"
    assert len([note for note in made.notes if "ran out of memory" in note]) == 2
    assert np.abs(made.frames.astype(int) - expected.frames).max() <= 2


@pytest.mark.parametrize("point", POINTS)
def test_out_of_memory_in_every_plan_says_what_was_tried_and_what_would_fit(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = rooms.settings(tmp_path)
    with _starved("ltx_t2v", point, 99, monkeypatch), pytest.raises(OutOfMemory) as caught:
        rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    error = caught.value
    assert error.code == "out_of_memory"
    assert error.exit_code == 3
    assert error.details["tried"] == ["resident", "resident, tiled", "disk offload, tiled"]
    assert all(plan in error.message for plan in error.details["tried"])
    assert "would fit" in error.hint or "smaller model" in error.hint
    json.dumps(error.body())
    assert not RESIDENTS.loaded()


@pytest.mark.parametrize("point", POINTS[1:])
def test_the_failed_model_is_gone_before_the_next_one_is_loaded(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, real = rooms.settings(tmp_path), loading.load
    born: list[weakref.ref[Any]] = []
    dead: list[bool] = []

    def load(*given: Any) -> Any:
        dead.extend(each() is None for each in born)
        pipe = real(*given)
        born.append(weakref.ref(pipe.transformer))
        return pipe

    monkeypatch.setattr(loading, "load", load)
    with _starved("wan_t2v", point, 1, monkeypatch):
        rooms.make(rooms.shot(rooms.card("wan_t2v", known), "wan_t2v"), known)
    assert dead == [True]
    assert born[1]() is not None
    RESIDENTS.unload()
    gc.collect()
    assert born[1]() is None


@pytest.mark.parametrize(
    "error",
    [
        lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError,
    ],
    ids=["mps", "cublas", "cpu", "python"],
)
def test_other_words_for_out_of_memory_count_too(
    error: Callable[[], BaseException], tmp_path: Path, clean: Callable[..., rooms.Made]
) -> None:
    known = rooms.settings(tmp_path)
    with rooms.failing([FAMILIES["ltx_t2v"][0]], 1, 1, error):
        made = rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert made.plan == "resident, tiled"


def test_another_failure_is_not_taken_for_want_of_memory(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    broken = rooms.failing([FAMILIES["ltx_t2v"][0]], 1, 1, lambda: RuntimeError("shapes cannot be multiplied"))
    with broken, pytest.raises(BackendError, match="shapes cannot be multiplied") as caught:
        rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known)
    assert caught.value.code == "backend_failed"
    assert caught.value.exit_code == 4
    assert [each.plan.name for each in RESIDENTS.loaded()] == ["resident"]
    assert rooms.make(rooms.shot(rooms.card("ltx_t2v", known), "ltx_t2v"), known).plan == "resident"


def test_a_plan_that_ran_out_of_memory_is_expected_to_need_more_the_next_time(tmp_path: Path) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    with rooms.failing([FAMILIES["ltx_t2v"][0]], 1, 1):
        made = rooms.make(rooms.shot(of, "ltx_t2v"), known)
    device = next(iter(made.memory["work"].values()))["device"]
    learned = Experience(known.cache_folder).of(of.id, device)
    assert learned["resident"].failed > 0
    assert (learned["resident"].memory, learned["resident"].runs) == (1.0, 0)
    assert learned["resident, tiled"].runs == 1


def test_memory_that_the_machine_does_not_have_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known)
    huge = {"transformer": 9000.0, "vae": 1.0}
    monkeypatch.setattr(preflight, "billions", lambda *_: huge)
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(OutOfMemory) as caught:
        rooms.make(rooms.shot(of, "ltx_t2v"), known)
    assert "GB" in caught.value.message
    assert caught.value.hint == "Choose a smaller model: `reel models --fits`."
    assert caught.value.details["needs_gb"] > 100
