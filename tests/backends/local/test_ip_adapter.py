"""S8: a reference picture through an IP-Adapter, with weights of our own, loaded as published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reelwright.backends.diffusers import Diffusers
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog import Card, card_from, resolve
from reelwright.errors import WeightsInvalid
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun
from reelwright.settings import Settings
from reelwright.types import Role

torch = pytest.importorskip("torch")


def adapter(folder: Path, pipe: Any) -> None:
    """An IP-Adapter for this pipeline's UNet, and the picture encoder that it goes with, in the layout of published ones."""
    from safetensors.torch import save_file
    from tests.tiny.text_clip import clip_vision

    generator = torch.Generator().manual_seed(3)
    width = pipe.unet.config.cross_attention_dim
    encoder = clip_vision()
    encoder.save_pretrained(folder / "models" / "image_encoder")
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * width, encoder.config.projection_dim, generator=generator),
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    number = 1
    for name, processor in pipe.unet.attn_processors.items():
        if "motion_modules" in name or name.endswith("attn1.processor"):
            continue
        attention = pipe.unet.get_submodule(name.removesuffix(".processor"))
        inner = attention.to_k.out_features
        assert processor is not None
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{number}.{part}.weight"] = torch.randn(inner, width, generator=generator)
        number += 2
    save_file(tensors, folder / "models" / "ip-adapter.safetensors")


@pytest.fixture
def known(tmp_path: Path) -> Settings:
    return Settings(cache_folder=tmp_path / "cache")


def card(folder: Path, known: Settings, weights: str = "ip-adapter.safetensors") -> Card:
    from tests.tiny.sd import VARIANTS

    from reelwright.backends.local.discovery import content_of

    pipe = VARIANTS["animatediff"].build()
    pipe.save_pretrained(folder / "model")
    adapter(folder / "adapter", pipe)
    content = content_of(str(folder / "model"), known)
    content |= {
        "accepts": [["reference"]], "sizes": {"native": [[64, 64]], "step": 8, "least": 16}, "frames": {"default": 4, "most": 16},
    }  # fmt: skip
    content["settings"]["ip_adapter"] = {"source": str(folder / "adapter"), "subfolder": "models", "weight_name": weights}
    return card_from(content)


def frames(used: Card, known: Settings, picture: Path, strength: float = 1.0) -> np.ndarray:
    given = (Input(Role.REFERENCE, str(picture), strength),)
    request = GenerationRequest("a person on a beach", seed=2, inputs=given, options={"steps": 2})
    shot, _ = resolve(request, used, lambda ref: ref)
    with Diffusers(known).generate(shot, LocalRun()) as video:
        return np.stack([frame.y for frame in video.frames])


def test_the_reference_picture_is_seen(tmp_path: Path, known: Settings) -> None:
    used = card(tmp_path, known)
    for name, colour in (("red", (200, 30, 30)), ("blue", (20, 40, 220))):
        Image.new("RGB", (80, 60), colour).save(tmp_path / f"{name}.png")
    red, blue = (frames(used, known, tmp_path / f"{name}.png") for name in ("red", "blue"))
    assert not np.array_equal(red, blue), "another picture, another clip"
    assert np.array_equal(red, frames(used, known, tmp_path / "red.png")), "and the same one again"
    ignored = [frames(used, known, tmp_path / f"{name}.png", 0.0) for name in ("red", "blue")]
    assert np.array_equal(*ignored), "at strength 0 it is not seen"
    RESIDENTS.unload()


def test_a_pickled_adapter_is_refused(tmp_path: Path, known: Settings) -> None:
    used = card(tmp_path, known, "ip-adapter.bin")
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "a.png")
    with pytest.raises(WeightsInvalid, match="pickle"):
        frames(used, known, tmp_path / "a.png")
