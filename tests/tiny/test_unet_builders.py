"""Each tiny pipeline is what its `Variant` says: it survives saving and loading, runs, and hears its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.tiny import hunyuan, hunyuan15, others, sd, unet3d
from tests.tiny.calling import arguments, picture
from tests.tiny.seeded import seeded
from tests.tiny.variant import Variant

pytestmark = [
    # Schedulers of diffusers give numpy tensors; numpy 2 asks them for arguments that torch's do not know yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context and return_scalar:DeprecationWarning"),
    # Text2Video-Zero moves frames with calls of torch whose defaults are about to change.
    pytest.mark.filterwarnings("ignore:torch.meshgrid. in an upcoming release:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid behavior:UserWarning"),
]

VARIANTS: dict[str, Variant] = sd.VARIANTS | unet3d.VARIANTS | hunyuan.VARIANTS | hunyuan15.VARIANTS | others.VARIANTS


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One thread for torch: models this small lose far more time in waking others than these win."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loaded(variant: Variant, folder: Path) -> Any:
    """The pipeline that `variant` builds, saved to `folder` and read from there by its own class."""
    made = variant.build()
    assert type(made).__name__ == variant.pipeline
    parts = [part for part in made.components.values() if isinstance(part, torch.nn.Module)]
    assert not any(part.training for part in parts)
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.float32}
    made.save_pretrained(folder)
    own = getattr(diffusers, variant.pipeline)
    # Some classes know these parts as required, and do not take a folder's word that there is none.
    absent = {"safety_checker": None, "feature_extractor": None}
    unchecked = absent if absent.keys() <= inspect.signature(own).parameters.keys() else {}
    pipe = own.from_pretrained(folder, **unchecked)
    pipe.set_progress_bar_config(disable=True)
    if variant.pipeline == "AllegroPipeline":
        # its VAE cannot decode otherwise
        pipe.vae.enable_tiling()
    return pipe


def frames(variant: Variant, pipe: Any, prompt: str, seed: int) -> np.ndarray:
    """What two steps of `pipe` give: (count, height, width, 3)."""
    if variant.pipeline == "StableDiffusionControlNetPipeline":
        # it calls the control `image`
        given = arguments(replace(variant, roles=()), pipe, prompt, seed) | {"image": picture(variant.size)}
    else:
        given = arguments(variant, pipe, prompt, seed)
    # SparseCtrl draws from torch's own generator for the given frames, whatever the pipeline's generator
    with seeded():
        result = pipe(**given)
    return np.asarray(result.frames[0] if "frames" in result else result.images)


@pytest.mark.parametrize("name", VARIANTS)
def test_tiny_pipeline(name: str, tmp_path: Path) -> None:
    """A saved and loaded pipeline runs; its frames are as many as declared and change with prompt and seed."""
    variant = VARIANTS[name]
    pipe = loaded(variant, tmp_path)
    first = frames(variant, pipe, "a red fox in the snow", 1)
    width, height = variant.size
    assert first.shape == (variant.given, height, width, 3)
    assert np.isfinite(first).all()
    assert first.std() > 0.01
    if variant.prompt:
        assert np.abs(frames(variant, pipe, "blue waves at night", 1) - first).max() > 1 / 255
    if variant.seed:
        assert np.abs(frames(variant, pipe, "a red fox in the snow", 2) - first).max() > 1 / 255


@pytest.mark.parametrize("name", VARIANTS)
def test_same_weights_each_time(name: str) -> None:
    """Two builds have the same weights."""
    one, other = (VARIANTS[name].build().components for _ in range(2))
    for part, module in one.items():
        if isinstance(module, torch.nn.Module):
            again = other[part].state_dict()
            assert all(torch.equal(weight, again[key]) for key, weight in module.state_dict().items()), part
