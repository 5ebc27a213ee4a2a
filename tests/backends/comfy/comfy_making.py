"""What the tests of ComfyUI make: a workflow without models, its card, shots of it, backends that ask often."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from reelwright.backends.comfy.work import Pace
from reelwright.backends.comfyui import ComfyUI
from reelwright.catalog import Card, Shot, card_from, resolve
from reelwright.catalog.shot import digest
from reelwright.request import GenerationRequest
from reelwright.settings import Settings

REAL = os.environ.get("REELWRIGHT_TEST_COMFYUI")
NOISE = {
    "words": {"class_type": "PrimitiveString", "inputs": {"value": "{prompt}"}},
    "plain": {
        "class_type": "EmptyImage",
        "inputs": {"width": "{width:int}", "height": "{height:int}", "batch_size": "{frames:int}", "color": 4000000},
    },
    "noise": {"class_type": "ImageAddNoise", "inputs": {"image": ["plain", 0], "seed": "{seed:int}", "strength": "{strength}"}},
    "video": {"class_type": "CreateVideo", "inputs": {"images": ["noise", 0], "fps": "{fps:float}"}},
    "save": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["video", 0], "filename_prefix": "{file}", "format": "auto", "codec": "auto"},
    },
}
"""A workflow that a server without any model runs."""


def noise_card(**changes: Any) -> Card:
    return card_from(
        {
            "id": "noise", "title": "Noise", "family": "test", "backend": "comfyui", "licence": "MIT", "previews": True,
            "deterministic": True,
            "sizes": {"native": [[128, 72]], "step": 8, "least": 64, "most": 1280}, "frames": {"default": 8, "most": 48},
            "fps": {"default": 8, "least": 1, "most": 60},
            "options": {"strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.3}},
            "settings": {"graph": "noise"}, **changes,
        }
    )  # fmt: skip


def shot_of(card: Card, **fields: Any) -> Shot:
    given = {"prompt": "A boat at sea", "seconds": 1, "seed": 7, **fields}
    return resolve(GenerationRequest(**given), card, lambda ref: digest(Path(ref)))[0]


def backend_of(*addresses: str, **settings: Any) -> ComfyUI:
    """A backend that asks often."""
    known = Settings(_env_file=None, comfy_servers=addresses, **settings)  # type: ignore[call-arg]  # pydantic-settings' own
    return ComfyUI(known, Pace(looks=0.1, patience=0.5))
