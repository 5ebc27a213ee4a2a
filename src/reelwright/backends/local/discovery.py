"""A card for a model that nobody has described: from its index, its configurations, and what its class is known to do."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelwright.backends.local import binding, loading, weights
from reelwright.catalog import Card, card_from, cards
from reelwright.settings import Settings

_ROLES: dict[str, tuple[str, ...]] = {
    "image": ("first_frame",), "cond_image": ("first_frame",), "last_image": ("first_frame", "last_frame"), "video": ("source",),
    "control_video": ("control",), "conditioning_frames": ("control",), "pose_video": ("portrait", "driving"),
}  # fmt: skip
"""What a parameter lets a pipeline work from."""


def card_of(name: str, settings: Settings) -> Card:
    """A card for a folder, file or hub id. Raises what `locate` raises."""
    return card_from(content_of(name, settings), name)


def content_of(name: str, settings: Settings) -> dict[str, Any]:
    """The same as a TOML file would hold it."""
    source = loading.locate(name, settings)
    title = Path(name).stem if source.folder is not None else name.split("/")[-1]
    content: dict[str, Any] = {
        "id": re.sub(r"[^a-z0-9.]+", "-", name.split("/")[-1].lower()).strip("-") or "model",
        "title": title, "backend": "diffusers", "source": name, "licence": "unknown",
    }  # fmt: skip
    pipeline = source.pipeline
    if pipeline in (None, "DiffusionPipeline"):
        return {**content, **_plain(), "family": "unknown"}
    cls = loading.pipeline_class(pipeline)
    alike = _alike(pipeline)
    taken = _taken(cls, source)
    content |= _like(alike, cls) if alike is not None else _of_class(cls, source, taken)
    content["settings"] = {**content.get("settings", {}), "pipeline": pipeline, **_latent(source)}
    content["accepts"] = _accepts(cls, taken)
    content["task"] = _tasks(taken, content["accepts"])
    content["loras"] = hasattr(cls, "load_lora_weights")
    content["sources"] = [f"read from {title} and from diffusers' {pipeline}"]
    if source.folder is not None and not source.modular and (held := weights.measured(source.folder)):
        billions = {part: each.parameters / 1e9 for part, each in held.items()}
        content["settings"]["weights"] = billions
        content["params_b"] = max(billions.values())
        content["vram_gb"] = [round(max(billions.values()) * 2 + 1, 1), round(sum(billions.values()) * 2 + 2, 1)]
        content["disk_gb"] = round(sum(each.size for each in held.values()) / 1e9, 3)
    return content


def _taken(cls: Any, source: loading.Source) -> Mapping[str, inspect.Parameter]:
    """What a pipeline takes: by its call, or, if it is a modular one, by its blocks."""
    blocks = getattr(loading.libraries(), str(source.index.get("_blocks_class_name")), None) if source.modular else None
    if blocks is None:
        return binding.parameters(cls)
    return {
        each.name: inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=inspect.Parameter.empty if each.required else each.default
        )
        for each in blocks().inputs
        if each.name
    }


def _pipelines(card: Card) -> set[str]:
    named = card.settings.get("pipeline", "")
    return {named} if isinstance(named, str) else set(named.values())


def _alike(pipeline: str) -> Card | None:
    """The card that says most about a class: one that is for it alone, and current."""
    found = [card for card in cards().values() if pipeline in _pipelines(card)]
    return min(found, key=lambda card: (len(_pipelines(card)), card.status != "current", len(card.id), card.id), default=None)


def _like(card: Card, cls: Any) -> dict[str, Any]:
    """What models of one class have in common, from the card of one of them."""
    shared = ("dtype", "full", "call", "names", "denoiser", "extra_frames", "decode_frames", "drop", "tiled", "schedule")
    sizes = card.sizes
    return {
        "family": card.family,
        "sizes": {
            "native": [list(each) for each in sizes.native],
            "step": sizes.step,
            "least": max(16, sizes.step),
            "most": sizes.most,
        },
        "frames": {"default": card.frames.default, "step": card.frames.step, "offset": card.frames.offset},
        "fps": {"default": card.fps.default, "least": card.fps.least, "most": card.fps.most},
        "audio": card.audio,
        "previews": card.previews,
        "deterministic": True,
        "options": {
            name: {**schema, **({"minimum": 1} if name == "steps" else {})}
            for name, schema in card.options.items()
            if not _shared_option(card, name) and _known(cls, name, card)
        },
        "settings": {name: value for name, value in card.settings.items() if name in shared},
    }


def _known(cls: Any, option: str, card: Card) -> bool:
    """Whether the class has a parameter for an option."""
    names = card.settings.get("names", {})
    tried = (names[option],) if option in names else binding.NAMES.get(option, (option,))
    return any(name in binding.parameters(cls) for name in tried)


def _shared_option(card: Card, name: str) -> bool:
    from reelwright.catalog.card import shared_options

    return name in shared_options(card.backend)


def _of_class(cls: Any, source: loading.Source, known: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """What a class says of itself: the defaults of its call, and the compression of its decoder."""

    def default(*names: str) -> Any:
        values = (known[name].default for name in names if name in known)
        return next((value for value in values if value not in (None, inspect.Parameter.empty)), None)

    spatial, temporal = _compression(source)
    frames = default(*binding.NAMES["frames"]) or 49
    return {
        "family": cls.__name__.removesuffix("Pipeline").lower(),
        "sizes": {
            "native": [[default("width") or 512, default("height") or 512]],
            "step": max(8, spatial * 2),
            "least": max(16, spatial * 2),
        },
        "frames": {"default": (frames - 1) // temporal * temporal + 1, "step": temporal, "offset": 1},
        "fps": {"default": float(default("frame_rate", "fps", "target_fps") or 16)},
        "deterministic": True,
        "options": _options(known),
        "settings": {},
    }  # fmt: skip


def _plain() -> dict[str, Any]:
    """For a file that says nothing of itself."""
    return {
        "sizes": {"native": [[512, 512]], "step": 32},
        "frames": {"default": 25, "step": 8, "offset": 1},
        "fps": {"default": 16},
    }


def _options(known: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    made = {}
    if "num_inference_steps" in known:
        steps = known["num_inference_steps"].default
        made["steps"] = {
            "title": "Steps",
            "type": "integer",
            "minimum": 1,
            "maximum": 200,
            "default": steps if isinstance(steps, int) else 30,
        }
    if "guidance_scale" in known:
        scale = known["guidance_scale"].default
        made["guidance"] = {
            "title": "Guidance", "type": "number", "minimum": 0, "maximum": 30,
            "default": float(scale) if isinstance(scale, int | float) else 5.0,
        }  # fmt: skip
    return made


def _accepts(cls: Any, known: Mapping[str, inspect.Parameter]) -> list[list[str]]:
    required = {name for name in _ROLES if name in known and known[name].default is known[name].empty}
    if "conditions" in known:
        return [[], ["first_frame"], ["first_frame", "last_frame"], ["source"]]
    if "reference_images" in known and "mask" in known:  # VACE does it all
        return [[], ["first_frame"], ["source"], ["reference"], ["mask", "source"]]
    found: list[list[str]] = [] if required or cls.__name__ == "StableVideoDiffusionPipeline" else [[]]
    for name, roles in _ROLES.items():
        if name in known and (not required or name in required or name == "last_image"):
            still = name == "image" and ("VideoToVideo" in cls.__name__ or "conditioning_frames" in known)
            found += [] if still else [sorted(roles)]
    return [list(each) for each in dict.fromkeys(tuple(each) for each in found)] or [[]]


def _tasks(known: Mapping[str, inspect.Parameter], accepts: list[list[str]]) -> list[str]:
    if not any(name in known for name in (*binding.NAMES["frames"], "video", "fps")):
        return ["text-to-image"]
    made = ["text-to-video"] if [] in accepts else []
    made += ["image-to-video"] if any("first_frame" in roles for roles in accepts) else []
    return made + (["video-to-video"] if any("source" in roles for roles in accepts) else []) or ["text-to-video"]


def _compression(source: loading.Source) -> tuple[int, int]:
    """Pixels a latent, across and in time."""
    config = _config(source, "vae")
    spatial = config.get("spatial_compression_ratio") or config.get("scale_factor_spatial") or 0
    temporal = config.get("temporal_compression_ratio") or config.get("scale_factor_temporal") or 0
    if scaling := config.get("spatio_temporal_scaling"):  # LTX: which blocks halve, and a patch before them
        halved = 2 ** sum(map(bool, scaling))
        spatial = spatial or halved * int(config.get("patch_size") or 1)
        temporal = temporal or halved * int(config.get("patch_size_t") or 1)
    blocks = config.get("block_out_channels") or config.get("down_block_types") or []
    return int(spatial or 2 ** max(0, len(blocks) - 1) or 8), int(temporal or 1)


def _latent(source: loading.Source) -> dict[str, Any]:
    spatial, temporal = _compression(source)
    config = _config(source, "transformer")
    patch = config.get("patch_size", 1)
    if isinstance(patch, list):
        deep, patch = (patch[0], patch[-1]) if len(patch) == 3 else (1, patch[-1])
    else:
        deep = config.get("patch_size_t") or 1
    latent = {"spatial": max(1, spatial), "temporal": max(1, temporal), "patch": int(patch or 1), "patch_t": int(deep or 1)}
    heads, wide, layers = config.get("num_attention_heads"), config.get("attention_head_dim"), config.get("num_layers")
    made: dict[str, Any] = {"latent": latent}
    if heads and wide and layers:
        made["denoiser"] = {"width": int(heads) * int(wide), "layers": int(layers), "passes": 2}
    return made


def _config(source: loading.Source, part: str) -> Mapping[str, Any]:
    if source.folder is None or source.folder.is_file():
        return {}
    try:
        content = json.loads((_place(source, source.folder, part) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _place(source: loading.Source, folder: Path, part: str) -> Path:
    """Where a component lies: a modular index names a folder for each."""
    named = source.index.get(part)
    if not source.modular or not isinstance(named, list) or not isinstance(named[-1], dict):
        return folder / part
    return Path(str(named[-1].get("pretrained_model_name_or_path"))) / str(named[-1].get("subfolder") or "")
