"""Every tiny transformer pipeline survives a trip through a folder and answers to its inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.tiny import cogvideox, ltx, ltx2, mochi, wan
from tests.tiny.calling import arguments
from tests.tiny.variant import Variant

VARIANTS: dict[str, Variant] = wan.VARIANTS | ltx.VARIANTS | ltx2.VARIANTS | mochi.VARIANTS | cogvideox.VARIANTS

pytestmark = [
    # Mochi asks for autocast to float32 on the CPU, which torch only has for shorter floats: it then computes in float32.
    pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype is not supported:UserWarning"),
    # LTX's condition pipeline gives its solver tensors, which numpy 2 asks for a copy argument that torch lacks.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

PROMPT = "a red fox runs"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose time to threads that wait for each other, the more so beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _run(variant: Variant, pipe: Any, prompt: str = PROMPT, seed: int = 1, shade: int = 0) -> tuple[np.ndarray, Any]:
    """One run's frames, (count, height, width, 3) in 0..1, and all else that came out."""
    with torch.no_grad():
        result = pipe(**arguments(variant, pipe, prompt, seed, shade))
    return np.asarray(result.frames)[0], result


def _differs(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two runs differ by more than two steps of 8 bits somewhere."""
    return one.shape == other.shape and float(np.abs(one - other).max()) > 2 / 255


@pytest.mark.parametrize("name", VARIANTS)
def test_a_tiny_pipeline_answers_to_its_inputs(name: str, tmp_path: Path) -> None:
    """Build, save, load by the concrete class, run: frames and their count, prompt, seed and pictures all tell."""
    variant = VARIANTS[name]
    variant.build().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == variant.pipeline
    pipe = getattr(diffusers, variant.pipeline).from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)

    frames, result = _run(variant, pipe)
    assert len(frames) == variant.given
    assert np.isfinite(frames).all()
    assert frames.std() > 0.01
    assert (getattr(result, "audio", None) is not None) == variant.audio
    assert np.array_equal(frames, _run(variant, pipe)[0])
    assert _differs(frames, _run(variant, pipe, prompt="blue boats on the sea at night")[0]) == variant.prompt
    assert _differs(frames, _run(variant, pipe, seed=2)[0]) == variant.seed
    assert _differs(frames, _run(variant, pipe, shade=70)[0]) == bool(variant.roles)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_tiny_pipeline_is_the_same_each_time(name: str) -> None:
    """Two builds have equal weights, in single precision, and nothing is left in training mode."""
    one, other = VARIANTS[name].build(), VARIANTS[name].build()
    for part, module in one.components.items():
        if isinstance(module, torch.nn.Module):
            assert not module.training
            weights = other.components[part].state_dict()
            assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())
            assert all(value.dtype == torch.float32 for value in module.parameters())


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.audio])
def test_sound_is_as_long_as_the_picture(name: str) -> None:
    """Stereo at the vocoder's rate, finite, not silent, within a tenth of a second of the picture's length."""
    variant = VARIANTS[name]
    pipe = variant.build()
    pipe.set_progress_bar_config(disable=True)
    sound = _run(variant, pipe)[1].audio
    rate = pipe.vocoder.config.output_sampling_rate
    assert sound.shape[:2] == (1, 2)
    assert torch.isfinite(sound).all()
    assert sound.abs().max() > 1e-4
    assert sound.shape[2] / rate == pytest.approx(variant.frames / 24, abs=0.1)
