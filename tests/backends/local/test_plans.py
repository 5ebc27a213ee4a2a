"""Plans put into effect on real pipelines, and the options that make them faster (M3, M13, J4)."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import rooms
import torch

from reelwright.backends.local import plans
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog.fit import Plan
from reelwright.errors import MissingExtra, ReelwrightError, RequestError, Unsupported

pytestmark = [
    *(pytest.mark.filterwarnings(each) for each in rooms.NOISE),
    # flex attention is slow without a compiler, and says so; it is tried here for what it computes
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
]

FAMILIES = ("wan_t2v", "ltx_t2v", "cogvideox_t2v", "mochi_t2v", "hunyuan_t2v")
BLOCKS = {
    "wan_t2v": "WanTransformerBlock", "ltx_t2v": "LTXVideoTransformerBlock", "cogvideox_t2v": "CogVideoXBlock",
    "mochi_t2v": "MochiTransformerBlock", "hunyuan_t2v": "HunyuanVideoTransformerBlock",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with rooms.alone():
        yield


@functools.cache
def _plain(name: str, folder: Path, steps: int = 2) -> np.ndarray:
    """A film of the plan that keeps everything in place."""
    with rooms.alone():
        return rooms.quick(name, folder, memory="resident", tiling=False, steps=steps).frames


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the films to compare with are kept."""
    return tmp_path_factory.mktemp("plain")


def _off(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference in code values."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


# ---- offload


@pytest.mark.parametrize("name", FAMILIES)
def test_group_offload_changes_no_bit(name: str, tmp_path: Path, shelf: Path) -> None:
    made = rooms.quick(name, tmp_path, memory="group", tiling=False)
    assert made.plan == "group offload"
    assert np.array_equal(made.frames, _plain(name, shelf))


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_read_from_disk_give_the_same_picture_and_leave_no_file(name: str, tmp_path: Path, shelf: Path) -> None:
    """The same up to one code value: numbers from a file lie elsewhere in memory, and CPU kernels sum in another order there."""
    expected = _plain(name, shelf)
    made = rooms.quick(name, tmp_path, memory="disk", tiling=False)
    assert made.plan == "disk offload"
    assert _off(made.frames, expected) <= 1
    (layers,) = (tmp_path / "cache" / "layers").iterdir()
    parts = {each.name for folder in layers.iterdir() for each in folder.iterdir()}
    assert {"transformer", "text_encoder"} <= parts, "each component has files of its own"
    assert "vae" not in parts, "pipelines read its tables without calling it"
    assert np.array_equal(rooms.quick(name, tmp_path, memory="disk", tiling=False).frames, made.frames)
    RESIDENTS.unload()
    gc.collect()
    assert list(layers.iterdir()) == []


def test_another_model_of_the_same_name_does_not_read_the_old_one_s_layers(tmp_path: Path) -> None:
    """Diffusers takes a file that is there for the right one."""
    first = rooms.quick("ltx_t2v", tmp_path, memory="disk", tiling=False).frames
    copy = rooms.copied("ltx_t2v", tmp_path)
    pipe = diffusers.LTXPipeline.from_pretrained(copy)
    with torch.no_grad():
        pipe.transformer.proj_out.weight.mul_(-1)
    pipe.transformer.save_pretrained(copy / "transformer")
    known = rooms.settings(tmp_path)
    of = rooms.card("ltx_t2v", known, copy)
    other = rooms.make(rooms.shot(of, "ltx_t2v", memory="disk", tiling=False), known).frames
    assert not np.array_equal(first, other)
    assert _off(other, rooms.make(rooms.shot(of, "ltx_t2v", memory="resident", tiling=False), known).frames) <= 1


def test_layers_of_processes_that_were_killed_are_swept(tmp_path: Path) -> None:
    left, ours = tmp_path / "999999999-abc", tmp_path / f"{os.getpid()}-abc"
    for each in (left, ours):
        (each / "transformer").mkdir(parents=True)
    made = plans.layer_folder(torch.nn.Linear(1, 1), tmp_path)
    assert not left.exists()
    assert ours.exists()
    gc.collect()
    assert not made.exists()


def test_a_tensor_of_two_layers_is_made_one_layer_s() -> None:
    """T5 holds its embedding twice: the second layer would be written to disk after the first emptied it."""
    pipe = rooms.VARIANTS["ltx_t2v"].build()
    encoder = pipe.text_encoder
    encoder.other = torch.nn.Linear(encoder.shared.weight.shape[1], encoder.shared.weight.shape[0], bias=False)
    encoder.other.weight = encoder.shared.weight
    plans.untie(pipe)
    owners = [(id(tensor), id(module)) for _, module in encoder.named_modules() for tensor in module.parameters(recurse=False)]
    assert len({tensor for tensor, _ in owners}) == len(owners)
    assert encoder.encoder.embed_tokens is encoder.shared
    assert torch.equal(encoder.other.weight, encoder.shared.weight)


@pytest.mark.parametrize("name", ["wan_t2v", "ltx_t2v", "animatediff"])
def test_model_offload_and_tiles_give_the_same_small_picture(name: str, tmp_path: Path, shelf: Path) -> None:
    """Tiles of 256 px are larger than these pictures."""
    made = rooms.quick(name, tmp_path, memory="model", tiling=True)
    assert made.plan == "model offload, tiled"
    assert _off(made.frames, _plain(name, shelf)) <= 1


def test_tiles_are_switched_on_where_the_decoder_has_them() -> None:
    wan = rooms.VARIANTS["wan_t2v"].build()
    assert not wan.vae.use_tiling
    assert plans.tile(wan)
    assert wan.vae.use_tiling
    assert wan.vae.use_slicing
    assert not plans.tile(object())


# ---- precision


@pytest.mark.parametrize("name", FAMILIES)
def test_fp8_holds_the_denoiser_in_a_third_and_gives_nearly_the_same(name: str, tmp_path: Path, shelf: Path) -> None:
    expected = _plain(name, shelf)
    full = sum(each.numel() * each.element_size() for each in rooms.VARIANTS[name].build().transformer.parameters())
    made = rooms.quick(name, tmp_path, precision="fp8")
    assert made.plan == "resident, fp8"
    transformer = RESIDENTS.loaded()[0].pipe.transformer
    held = sum(each.numel() * each.element_size() for each in transformer.parameters())
    assert held < full * 0.75, "norms and embeddings, large in so small a model, stay in float32"
    assert any(each.dtype == torch.float8_e4m3fn for each in transformer.parameters())
    assert 0 < _off(made.frames, expected) <= 40


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.parametrize("name", ["wan_t2v", "ltx_t2v"])
def test_int8_through_torchao_runs_and_gives_nearly_the_same(name: str, tmp_path: Path, shelf: Path) -> None:
    try:
        made = rooms.quick(name, tmp_path, precision="int8")
    except MissingExtra as error:
        pytest.skip(str(error))
    assert made.plan == "resident, int8"
    transformer = RESIDENTS.loaded()[0].pipe.transformer
    assert any("Int8" in type(each).__name__ for each in transformer.parameters())
    assert 0 < _off(made.frames, _plain(name, shelf)) <= 25


# ---- step caches


@contextlib.contextmanager
def _counted(*kinds: str) -> Iterator[dict[str, int]]:
    """How often modules of these classes compute: their own forward, which a step cache passes over."""
    seen = dict.fromkeys(kinds, 0)

    def look(module: torch.nn.Module, *_: Any) -> None:
        if type(module).__name__ in seen:
            seen[type(module).__name__] += 1

    handle = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("cache", ["first_block", "taylor"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_cache_saves_work_or_is_refused(name: str, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, real = 8, plans.cache_config

    def generous(*given: Any) -> Any:
        """The steps of random weights differ more than those of a trained model."""
        made = real(*given)
        if hasattr(made, "threshold"):
            made.threshold = 10.0
        return made

    monkeypatch.setattr(plans, "cache_config", generous)
    with _counted("Linear") as plain:
        rooms.quick(name, tmp_path, steps=steps)
    try:
        with _counted("Linear") as cached:
            made = rooms.quick(name, tmp_path, steps=steps, step_cache=cache)
    except Unsupported as refusal:
        refused: Unsupported | None = refusal
    else:
        refused = None
    if refused is not None:
        assert refused.details["field"] == "step_cache"
        assert refused.hint
        return
    assert cached["Linear"] < plain["Linear"] * 0.97
    assert next(iter(made.memory["work"].values()))["step_cache"] == cache


@pytest.mark.parametrize("cache", ["first_block", "taylor"])
def test_a_step_cache_is_off_again_for_the_next_shot(cache: str, tmp_path: Path) -> None:
    before = rooms.quick("wan_t2v", tmp_path, steps=4).frames
    cached = rooms.quick("wan_t2v", tmp_path, steps=4, step_cache=cache).frames
    assert np.array_equal(rooms.quick("wan_t2v", tmp_path, steps=4, step_cache=cache).frames, cached)
    assert np.array_equal(rooms.quick("wan_t2v", tmp_path, steps=4).frames, before)
    assert len(RESIDENTS.loaded()) == 1


def test_a_model_without_step_caches_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no step caches") as caught:
        rooms.quick("animatediff", tmp_path, step_cache="first_block")
    assert caught.value.exit_code == 2
    with pytest.raises(RequestError, match="must be one of"):
        rooms.quick("animatediff", tmp_path, step_cache="magic")
    with pytest.raises(Unsupported, match="no step cache 'magic'"):
        plans.cache_config("magic")


# ---- attention


@pytest.mark.parametrize("kernel", ["_native_math", "flex"])
def test_other_attention_gives_nearly_the_same_and_none_of_it_stays(kernel: str, tmp_path: Path, shelf: Path) -> None:
    expected = _plain("wan_t2v", shelf)
    made = rooms.quick("wan_t2v", tmp_path, attention=kernel)
    assert _off(made.frames, expected) <= 5
    assert next(iter(made.memory["work"].values()))["attention"] == kernel
    after = rooms.quick("wan_t2v", tmp_path)
    assert len(RESIDENTS.loaded()) == 1, "the same model serves both"
    assert np.array_equal(after.frames, expected)
    assert next(iter(after.memory["work"].values()))["attention"] == "native"


def test_unknown_missing_and_ignored_attention_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(RequestError, match="must be one of"):
        rooms.quick("wan_t2v", tmp_path, attention="magic")
    wan = rooms.VARIANTS["wan_t2v"].build()
    with pytest.raises(Unsupported) as unknown:
        plans.choose_attention(wan, "magic")
    assert unknown.value.code == "unsupported"
    with pytest.raises(MissingExtra, match="not installed") as missing:
        plans.choose_attention(wan, "sage")
    assert missing.value.code == "missing_extra"
    assert missing.value.hint
    with pytest.raises(Unsupported, match="would ignore"):  # any name is taken there and changes nothing
        plans.choose_attention(rooms.VARIANTS["mochi_t2v"].build(), "_native_math")
    assert plans.choose_attention(wan, "auto") == "native"


# ---- compile


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compiling without a compiler: it traces, and runs what it traced; the classes that were compiled."""
    seen: list[str] = []

    def compile_(module: torch.nn.Module, *_: Any, **__: Any) -> None:
        seen.append(type(module).__name__)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_)
    return seen


def test_blocks_that_repeat_are_compiled_once_and_give_the_same(tmp_path: Path, shelf: Path, eager: list[str]) -> None:
    expected = _plain("ltx_t2v", shelf)
    made = rooms.quick("ltx_t2v", tmp_path, compile=True)
    assert set(eager) == {BLOCKS["ltx_t2v"]}
    assert next(iter(made.memory["work"].values()))["compile"] is True
    assert _off(made.frames, expected) <= 3
    count = len(eager)
    rooms.quick("ltx_t2v", tmp_path, compile=True)
    assert len(eager) == count, "a warm model is not compiled again"
    torch.compiler.reset()


def test_a_model_without_such_blocks_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(ReelwrightError, match="no blocks to compile") as caught:
        plans.compile_blocks(type("Pipe", (), {"unet": torch.nn.Linear(1, 1)})())
    assert isinstance(caught.value, Unsupported)


def test_a_plan_that_the_pipeline_cannot_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = rooms.VARIANTS["sd15"].build()

    def broken(**_: Any) -> None:
        raise ValueError("it has hooks already")

    monkeypatch.setattr(pipe.unet, "enable_group_offload", broken, raising=False)
    with pytest.raises(Unsupported, match="cannot be offloaded in groups: it has hooks already"):
        plans.place(pipe, Plan("group"), "cpu", torch.float32, tmp_path)
