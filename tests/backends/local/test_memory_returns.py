"""Memory comes back: after a film, after a failure, after a cancel, and three times over (M3, J4)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import rooms
import torch
from diffusers import WanPipeline
from tests.tiny import wan
from tests.tiny.seeded import seeded

from reelwright.backends.local import hardware
from reelwright.backends.local.residency import RESIDENTS
from reelwright.errors import BackendError, Cancelled, OutOfMemory

MB = 1e6
SIZE_MB = 200
"""What the model's denoiser takes at least; 20 % of it may stay."""


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wan with a feed-forward part so wide that its denoiser has more than 200 MB, and little to compute."""
    folder = tmp_path_factory.mktemp("large") / "wan"
    pipe: Any = rooms.VARIANTS["wan_t2v"].build()
    with seeded(7):
        denoiser = type(pipe.transformer)(**{**dict(pipe.transformer.config), "ffn_dim": 280_000})
    held = sum(each.numel() * each.element_size() for each in denoiser.parameters())
    assert held > SIZE_MB * MB
    WanPipeline(
        tokenizer=pipe.tokenizer,
        text_encoder=pipe.text_encoder,
        vae=pipe.vae,
        scheduler=wan.wan_scheduler(),
        transformer=denoiser.eval(),
    ).save_pretrained(folder)
    return folder


def _resident() -> float:
    """MB of this process, with everything that nobody holds given back."""
    hardware.let_go()
    return psutil.Process().memory_info().rss / MB


def _maker(large: Path, tmp_path: Path) -> Callable[..., rooms.Made]:
    known = rooms.settings(tmp_path)
    shot = rooms.shot(rooms.card("wan_t2v", known, large), "wan_t2v", steps=1, memory="resident")
    return lambda **how: rooms.make(shot, known, **how)


def _film(make: Callable[..., rooms.Made]) -> None:
    make()


def _failure(make: Callable[..., rooms.Made]) -> None:
    with rooms.failing(["WanDecoder3d"], 1, 1, lambda: RuntimeError("broken")), pytest.raises(BackendError):
        make()


def _cancel(make: Callable[..., rooms.Made]) -> None:
    looks = 0

    def raised() -> bool:
        """Wanted until the denoiser has been through its weights: before, they are only mapped."""
        nonlocal looks
        looks += bool(RESIDENTS.loaded())
        return looks > 5

    with pytest.raises(Cancelled):
        make(cancel=raised)


def _exhaustion(make: Callable[..., rooms.Made]) -> None:
    with rooms.failing(["WanDecoder3d"], 1, 99), pytest.raises(OutOfMemory):
        make()


@pytest.mark.parametrize("end", [_film, _failure, _cancel, _exhaustion])
def test_resident_size_comes_back_once_the_model_is_let_go(
    end: Callable[[Callable[..., rooms.Made]], None], large: Path, tmp_path: Path
) -> None:
    make = _maker(large, tmp_path)
    end(make)  # what libraries load once stays, and is no leak
    RESIDENTS.unload()
    before = _resident()
    end(make)
    if end is not _exhaustion:
        assert [each.model for each in RESIDENTS.loaded()] == ["wan"]
        assert _resident() > before + SIZE_MB * 0.8
    RESIDENTS.unload()
    assert _resident() < before + SIZE_MB * 0.2


def test_three_cycles_do_not_grow(large: Path, tmp_path: Path) -> None:
    make = _maker(large, tmp_path)
    sizes = []
    for end in (_film, _film, _cancel, _film):
        end(make)
        RESIDENTS.unload()
        sizes.append(_resident())
    assert max(sizes[1:]) < sizes[0] + SIZE_MB * 0.2


def test_a_second_film_of_a_warm_model_takes_no_second_model(large: Path, tmp_path: Path) -> None:
    make = _maker(large, tmp_path)
    _film(make)
    before = _resident()
    _film(make)
    assert _resident() < before + SIZE_MB * 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("end", [_film, _failure, _cancel, _exhaustion])
def test_allocated_memory_of_the_card_comes_back(
    end: Callable[[Callable[..., rooms.Made]], None], large: Path, tmp_path: Path
) -> None:
    known = rooms.settings(tmp_path, device="cuda")
    shot = rooms.shot(rooms.card("wan_t2v", known, large), "wan_t2v", steps=1)
    RESIDENTS.unload()
    gc.collect()
    before = torch.cuda.memory_allocated()
    for _ in range(2):
        end(lambda **how: rooms.make(shot, known, **how))
        RESIDENTS.unload()
        assert torch.cuda.memory_allocated() <= before + 9 * MB  # cuBLAS keeps a workspace
