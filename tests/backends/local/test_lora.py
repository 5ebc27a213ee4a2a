"""LoRAs of every family: put on for a shot, taken off without a trace, and refused in words (M3, S5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinies import FILTERS, VARIANTS, Made, Tinies, differ, lora_file

from reelwright.backends.local import adapters, weights
from reelwright.backends.local.residency import RESIDENTS
from reelwright.errors import MissingAsset, RequestError, Unsupported, WeightsInvalid
from reelwright.request import Lora

pytestmark = FILTERS

FAMILIES = [
    "wan_t2v", "wan_t2v22", "ltx_t2v", "ltx2_t2v", "cogvideox_t2v", "hunyuan_t2v", "mochi_t2v", "sana_video", "helios",
    "animatediff", "sd15", "sdxl",
]  # fmt: skip


def not_again(*_args: Any, **_kwargs: Any) -> None:
    raise AssertionError("the LoRA was read again")


def test_the_families_here_are_those_that_take_loras() -> None:
    assert all(VARIANTS[name].loras for name in FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_loras_come_and_go(
    name: str, tiny: Tinies, make: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On, the pixels change; at weight 0 and off again, they are the base's exactly; two work at once."""
    card = tiny.card(name)
    one, two = (lora_file(name, tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))

    def film(*loras: Lora) -> Made:
        return make(tiny.shot(name, card, loras=loras))

    base = film()
    first = film(Lora(str(one)))
    assert differ(first, base)
    assert not differ(film(), base), "off, it leaves a trace"
    both = film(Lora(str(one)), Lora(str(two)))
    assert differ(both, base)
    assert differ(both, first)

    (held,) = RESIDENTS.loaded()
    assert len(held.state["loras"]) == 2
    monkeypatch.setattr(held.pipe, "load_lora_weights", not_again)
    assert not differ(film(Lora(str(one))), first), "the other one, off, leaves a trace"
    assert not differ(film(Lora(str(one), weight=0)), base)
    assert differ(film(Lora(str(one), weight=0.5)), first)
    assert not differ(film(), base)


def test_a_lora_that_was_trained_anew_is_read_anew(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    card, path = tiny.card("ltx_t2v"), lora_file("ltx_t2v", tmp_path / "mine.safetensors", 1)
    before = make(tiny.shot("ltx_t2v", card, loras=(Lora(str(path)),)))
    path.unlink()
    lora_file("ltx_t2v", path, 2)
    assert differ(make(tiny.shot("ltx_t2v", card, loras=(Lora(str(path)),))), before)


def test_the_oldest_loras_go(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    """Four stay in memory; one that went is read again and does the same."""
    card = tiny.card("ltx_t2v")
    files = [lora_file("ltx_t2v", tmp_path / f"{seed}.safetensors", seed) for seed in range(6)]
    films = [make(tiny.shot("ltx_t2v", card, loras=(Lora(str(path)),))) for path in files]
    (held,) = RESIDENTS.loaded()
    there = {each for names in held.pipe.get_list_adapters().values() for each in names}
    assert len(held.state["loras"]) == len(there) == 4
    assert len({tuple(film.frames) for film in films}) == 6
    again = [make(tiny.shot("ltx_t2v", card, loras=(Lora(str(path)),))) for path in files]
    assert [film.frames for film in again] == [film.frames for film in films]


def test_texts_are_encoded_anew_under_a_lora(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    """A LoRA may change the text encoder: what was encoded without it is not taken for what is encoded with it."""
    card, path = tiny.card("sd15"), lora_file("sd15", tmp_path / "mine.safetensors")
    make(tiny.shot("sd15", card))
    make(tiny.shot("sd15", card, loras=(Lora(str(path)),)))
    make(tiny.shot("sd15", card))
    (held,) = RESIDENTS.loaded()
    assert len(held.state["texts"]) == 2


@pytest.mark.parametrize(("model", "other"), [("wan_t2v", "ltx_t2v"), ("sd15", "wan_t2v"), ("ltx_t2v", "hunyuan_t2v")])
def test_a_lora_of_another_family_is_named_and_does_no_harm(
    model: str, other: str, tiny: Tinies, make: Callable[..., Made], tmp_path: Path
) -> None:
    card, path = tiny.card(model), lora_file(other, tmp_path / "foreign.safetensors")
    base = make(tiny.shot(model, card))
    with pytest.raises(RequestError, match=rf"foreign\.safetensors does not fit {VARIANTS[model].pipeline}") as told:
        make(tiny.shot(model, card, loras=(Lora(str(path)),)))
    assert "another family" in told.value.hint
    assert not differ(make(tiny.shot(model, card)), base)
    fitting = lora_file(model, tmp_path / "own.safetensors")
    assert differ(make(tiny.shot(model, card, loras=(Lora(str(fitting)),))), base)


def test_of_two_loras_the_second_of_which_fails_neither_stays_on(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    card = tiny.card("ltx_t2v")
    own, foreign = lora_file("ltx_t2v", tmp_path / "own.safetensors"), lora_file("wan_t2v", tmp_path / "foreign.safetensors")
    base = make(tiny.shot("ltx_t2v", card))
    with pytest.raises(RequestError, match="foreign"):
        make(tiny.shot("ltx_t2v", card, loras=(Lora(str(own)), Lora(str(foreign)))))
    (held,) = RESIDENTS.loaded()
    there = {each for names in held.pipe.get_list_adapters().values() for each in names}
    assert there == set(held.state["loras"].values())
    assert not differ(make(tiny.shot("ltx_t2v", card)), base)


def test_texts_are_remembered_in_ram_within_so_many_bytes(
    tiny: Tinies, make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tiny.card("ltx_t2v")
    first = make(tiny.shot("ltx_t2v", card))
    (held,) = RESIDENTS.loaded()
    (kept,) = held.state["texts"].values()
    tensors = [each for each in kept if isinstance(each, adapters._Kept)]
    assert tensors
    assert all(each.tensor.device.type == "cpu" for each in tensors)
    monkeypatch.setattr(held.pipe.text_encoder, "forward", not_again)
    assert make(tiny.shot("ltx_t2v", card)).frames == first.frames
    monkeypatch.undo()
    monkeypatch.setattr(adapters, "_TEXTS_BYTES", adapters._bytes(kept) * 2.5)
    for prompt in "abcd":
        make(tiny.shot("ltx_t2v", card, prompt=prompt))
    assert len(held.state["texts"]) == 2


@pytest.mark.parametrize("ending", ["bin", "pt"])
def test_a_pickled_lora_is_refused_and_can_be_converted(
    ending: str, tiny: Tinies, make: Callable[..., Made], tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    card, good = tiny.card("ltx_t2v"), lora_file("ltx_t2v", tmp_path / "good.safetensors")
    pickled = tmp_path / f"mine.{ending}"
    torch.save(load_file(good), pickled)
    with pytest.raises(WeightsInvalid, match="pickle") as told:
        make(tiny.shot("ltx_t2v", card, loras=(Lora(str(pickled)),)))
    assert f"reel models convert {pickled}" in told.value.hint
    converted = weights.convert(pickled)
    one, other = (make(tiny.shot("ltx_t2v", card, loras=(Lora(str(path)),))) for path in (good, converted))
    assert not differ(one, other)


@pytest.mark.parametrize("kept", [4, 100, 0.5, 0.99])
def test_a_damaged_lora_is_told_as_such(kept: float, tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    path = lora_file("ltx_t2v", tmp_path / "mine.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(WeightsInvalid, match=r"mine\.safetensors is damaged"):
        make(tiny.shot("ltx_t2v", loras=(Lora(str(path)),)))


def test_a_lora_that_is_not_there(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    path = lora_file("ltx_t2v", tmp_path / "mine.safetensors")
    shot = tiny.shot("ltx_t2v", loras=(Lora(str(path)),))
    path.unlink()
    with pytest.raises(MissingAsset):
        make(shot)


def test_a_class_that_takes_no_lora(tiny: Tinies, make: Callable[..., Made], tmp_path: Path) -> None:
    """Told when the shot is resolved; and by the backend, if a card promises too much."""
    path = lora_file("sd15", tmp_path / "mine.safetensors")
    with pytest.raises(Unsupported, match="takes no LoRA"):
        tiny.shot("svd", loras=(Lora(str(path)),))
    boastful = tiny.card("svd", loras=True)
    with pytest.raises(Unsupported, match="StableVideoDiffusionPipeline takes no LoRA"):
        make(tiny.shot("svd", boastful, loras=(Lora(str(path)),)))
