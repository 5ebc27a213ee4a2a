"""Tiny real pipelines as the backend meets them: a folder, a card, a shot, and what comes of it."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.catalog.shot import digest
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings
from reelwright.types import Chunk, Frame, Role, Video, VideoSpec

# Read once, when the libraries are imported. Nothing here may reach the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

HERE = all(find_spec(name) for name in ("torch", "diffusers", "transformers"))
"""Whether the libraries of local models are installed; without them there are no variants."""

BY_FILE: dict[str, dict[str, Any]] = {}
"""The variants of each file of `tests.tiny`."""
if HERE:
    from tests.tiny import cogvideox, hunyuan, hunyuan15, ltx, ltx2, mochi, others, sd, unet3d, wan

    BY_FILE = {
        module.__name__.rpartition(".")[2]: module.VARIANTS
        for module in (wan, ltx, ltx2, mochi, cogvideox, sd, unet3d, hunyuan, hunyuan15, others)
    }

VARIANTS: dict[str, Any] = {name: variant for found in BY_FILE.values() for name, variant in found.items()}
"""Every tiny pipeline by name."""

FILTERS = [
    # Mochi asks for autocast to float32 on the CPU, which torch only has for shorter floats: it then computes in float32.
    pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype is not supported:UserWarning"),
    # Looking for a modular pipeline's class imports all of diffusers, one of whose models compiles a function in an old way.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    # A second LoRA beside a first is what is meant.
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
    # Schedulers of diffusers hand tensors to numpy, and numpy 2 asks them for arguments that torch's do not know yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context and return_scalar:DeprecationWarning"),
    # Text2Video-Zero moves frames with calls of torch whose defaults are about to change.
    pytest.mark.filterwarnings("ignore:torch.meshgrid. in an upcoming release:UserWarning"),
    pytest.mark.filterwarnings("ignore:Default grid_sample and affine_grid behavior:UserWarning"),
]
"""Warnings of other people's code, which are errors otherwise; each test file takes them as its `pytestmark`."""

MOVING = ("source", "control", "driving", "mask")
PROMPT = "a red fox runs"
STEPS = {"ltx_condition_v2v": 8}
"""Steps of variants to which two say nothing: half a source is kept until half of the noise is gone."""


def picture(width: int = 96, height: int = 96, shade: int = 0) -> Any:
    """An sRGB picture, no two regions of which are alike; `shade` moves its colours."""
    down, across = np.mgrid[0:height, 0:width]
    channels = (down * 255 // (height - 1), across * 255 // (width - 1), (down + across) * 3)
    return ((np.stack(channels, axis=-1) + shade) % 256).astype(np.uint8)


def scale_of(name: str) -> int:
    """How many times larger than what goes in a variant's picture is."""
    return 2 if "Upsample" in VARIANTS[name].pipeline else 1


@dataclass
class Made:
    """What a shot became: a digest of each frame, the video's spec, samples of sound, notes, progress, previews, memory."""

    frames: list[bytes]
    spec: VideoSpec
    samples: int
    notes: list[str]
    progress: list[Progress]
    previews: list[Frame] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    sound: Chunk | None = None

    @property
    def stages(self) -> list[str]:
        """The stages in the order in which they began."""
        return list(dict.fromkeys(each.stage for each in self.progress))


class Tinies:
    """Builds each tiny pipeline once, into a folder of `root`, and asks the backend for shots of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> Path:
        """The folder that holds the variant; built on first use."""
        place = self.root / "models" / name
        if not place.exists():
            part = place.with_name(f"{name}.part")
            VARIANTS[name].build().save_pretrained(part)
            part.rename(place)
        return place

    def card(self, name: str, settings: dict[str, Any] | None = None, **fields: Any) -> Card:
        """A card as the backend finds it for an unknown folder, with the sizes and counts of the variant.

        `settings` are laid over the card's settings, `fields` over its other fields.
        """
        from reelwright.backends.local import discovery

        variant, folder, scale = VARIANTS[name], self.folder(name), scale_of(name)
        content = copy.deepcopy(discovery.content_of(str(folder), _settings(self.root / "cards")))
        content["sizes"] = {"native": [[side * scale for side in variant.size]], "step": variant.size_step * scale, "least": 16}
        extra = variant.frames - variant.given
        offset = variant.offset if not extra else (variant.offset - extra) % variant.step
        content["frames"] = {"default": variant.given, "step": variant.step or 1, "offset": offset}
        if variant.step == 0:  # one count only
            content["frames"] |= {"least": variant.given, "most": variant.given}
        content["accepts"] = [list(variant.roles)]
        content["audio"] = variant.audio
        content["settings"].setdefault("call", {}).update(variant.call)
        if extra:
            content["settings"].setdefault("extra_frames", extra)
        if "steps" in content.get("options", {}):
            content["options"]["steps"] |= {"minimum": 1}
        if scale > 1:
            content["settings"]["scale"] = scale
        content["settings"] |= settings or {}
        return card_from({**content, **fields}, name)

    def inputs(self, name: str) -> tuple[Input, ...]:
        """A picture or a clip of our own for each role that the variant needs."""
        strength = VARIANTS[name].call.get("strength", 1.0)
        return tuple(self.input(role, strength) for role in VARIANTS[name].roles)

    def input(self, role: str, strength: float = 1.0) -> Input:
        """A picture or a clip for a role."""
        return Input(Role(role), str(self.clip(role) if role in MOVING else self.still(role)), strength)

    def still(self, role: str) -> Path:
        """A picture, another one for each role."""
        from PIL import Image

        path = self.root / f"{role}.png"
        if not path.exists():
            Image.fromarray(picture(shade=17 * len(role))).save(path)
        return path

    def clip(self, role: str) -> Path:
        """Five seconds of a moving picture; a mask is the right half, white."""
        from reelwright.media.encode import save

        path = self.root / f"{role}.mp4"
        if not path.exists():
            if role == "mask":
                half = np.zeros((96, 96, 3), np.uint8)
                half[:, 48:] = 255
                frames = (Frame.of(half) for _ in range(40))
            else:
                frames = (Frame.of(np.roll(picture(shade=17 * len(role)), 3 * index, axis=1)) for index in range(40))
            save(Video(VideoSpec(96, 96, Fraction(8), 40), frames), path)
        return path

    def shot(self, name: str, card: Card | None = None, **changes: Any) -> Shot:
        """A shot of few steps at the variant's size; `changes` are fields of GenerationRequest, `options` are added."""
        return self.resolved(name, card, **changes)[0]

    def resolved(self, name: str, card: Card | None = None, **changes: Any) -> tuple[Shot, tuple[str, ...]]:
        """The same with the notes on what was adapted."""
        card = card or self.card(name)
        options = ({"steps": STEPS.get(name, 2)} if "steps" in card.options else {}) | changes.pop("options", {})
        width, height = card.sizes.native[0]
        fields = {"prompt": PROMPT, "width": width, "height": height, "seed": 1, "inputs": self.inputs(name), **changes}
        return resolve(GenerationRequest(options=options, **fields), card, lambda ref: digest(Path(ref)))


def _settings(cache: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, **{"cache_folder": cache, "device": "cpu", **changes})


def made(shot: Shot, settings: Settings, *, previews: bool = False, stop: Callable[[Progress], bool] | None = None) -> Made:
    """Have the backend make a shot. `stop`: cancel once this holds; no progress may be told after that."""
    from reelwright.backends.diffusers import Diffusers

    progress: list[Progress] = []
    shown: list[Frame] = []
    cancelled = False

    def tell(each: Progress) -> None:
        nonlocal cancelled
        assert not cancelled, "progress was told after a cancel"
        progress.append(each)
        cancelled = stop is not None and stop(each)

    run = LocalRun(on_progress=tell, on_preview=shown.append if previews else None, cancel=lambda: cancelled)
    with Diffusers(settings).generate(shot, run) as video:
        frames = [hashlib.sha256(frame.buffer.tobytes()).hexdigest()[:12] for frame in video.frames]
        sound = None if video.samples is None else np.concatenate(list(video.samples))
    return Made(frames, video.spec, 0 if sound is None else len(sound), run.notes, progress, shown, run.memory, sound)


def differ(one: Made, other: Made) -> bool:
    """Whether two films of one shape have other pixels."""
    assert one.spec == other.spec
    return one.frames != other.frames


def lora_file(name: str, path: Path, seed: int = 1) -> Path:
    """A LoRA for the variant's denoiser, of rank 4, with weights that change something; written as its class writes it."""
    import torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = VARIANTS[name].build()
    part = "transformer" if hasattr(pipe, "transformer") else "unet"
    module = getattr(pipe, part)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = ["to_q", "to_k", "to_v", "to_out.0"]
        module.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=names))
    layers = get_peft_model_state_dict(module)
    if part == "unet":
        layers = convert_state_dict_to_diffusers(layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    type(pipe).save_lora_weights(path.parent, **{f"{part}_lora_layers": layers}, weight_name=path.name)
    return path
