"""A memory plan put into effect on a pipeline, and the options that make it faster (notes, 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reelwright.catalog.fit import Plan
from reelwright.errors import MissingExtra, Unsupported

DENOISERS = ("transformer", "transformer_2", "unet")


def denoisers(pipe: Any) -> list[Any]:
    """The modules that do most of the work."""
    return [module for name in DENOISERS if (module := getattr(pipe, name, None)) is not None]


def place(pipe: Any, plan: Plan, device: str, dtype: Any, folder: Path) -> None:
    """Put the pipeline where the plan says; `folder` holds what "disk" reads layers from. Raises Unsupported."""
    import torch

    if plan.precision == "fp8":
        for module in denoisers(pipe):
            module.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if plan.tiled:
        tile(pipe)
    if plan.offload == "none":
        pipe.to(device)
    elif plan.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        options: dict[str, Any] = {}
        if plan.offload == "disk":
            folder.mkdir(parents=True, exist_ok=True)
            options["offload_to_disk_path"] = str(folder)
        try:
            pipe.enable_group_offload(
                onload_device=torch.device(device),
                offload_device=torch.device("cpu"),
                offload_type="leaf_level",
                use_stream=device.startswith("cuda"),
                **options,
            )
        except (ValueError, NotImplementedError, AttributeError) as error:
            raise Unsupported(f"{type(pipe).__name__} cannot be offloaded in groups: {error}") from None


def tile(pipe: Any) -> bool:
    """Decode in tiles and slices, as far as the decoder can; False if it can neither."""
    vae = getattr(pipe, "vae", None)
    done = False
    for name in ("enable_tiling", "enable_slicing"):
        with suppress(NotImplementedError, AttributeError):
            getattr(vae, name)()
            done = True
    return done


def choose_attention(pipe: Any, wanted: str) -> str:
    """Set the attention of the denoisers; "auto" keeps torch's own. Tells which it is; raises MissingExtra, Unsupported.

    Support is found by trying: two families take any name and change nothing (notes, trap 16).
    """
    if wanted in ("auto", "native"):
        return "native"
    for module in denoisers(pipe):
        if not hasattr(module, "set_attention_backend"):
            raise Unsupported(f"{type(module).__name__} has one kind of attention only", hint="Leave `attention` out.")
        try:
            module.set_attention_backend(wanted)
        except RuntimeError as error:
            raise MissingExtra(f"the attention {wanted} is not installed: {error}", hint="Leave `attention` out.") from None
        except ValueError as error:
            raise Unsupported(str(error).split("\n")[0][:300], field="attention") from None
        if not any(
            "DispatcherMixin" in str(type(each).__mro__) or hasattr(each, "_attention_backend") for each in _processors(module)
        ):
            raise Unsupported(f"{type(module).__name__} would ignore the attention {wanted}", hint="Leave `attention` out.")
    return wanted


def _processors(module: Any) -> list[Any]:
    found = getattr(module, "attn_processors", {})
    return list(found.values()) if isinstance(found, Mapping) else []


_CACHES: dict[str, Callable[[Any, int], Any]] = {}


def cache_config(name: str, module: Any, steps: int) -> Any:
    """The configuration of a step cache for a module. Raises Unsupported."""
    import diffusers

    if name == "first_block":
        return diffusers.FirstBlockCacheConfig(threshold=0.1)
    if name == "pyramid":
        return diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(100, 800),
            current_timestep_callback=lambda: module._reelwright_time,
        )
    if name == "taylor":
        # Without identifiers it changes nothing in four of six families (notes, trap 16).
        return diffusers.TaylorSeerCacheConfig(cache_identifiers=[r".*blocks\.\d+\.attn[12]?$"], cache_interval=3)
    if name == "magnitude":
        return diffusers.MagCacheConfig(num_inference_steps=steps, mag_ratios=[1.0] * steps, threshold=0.06)
    raise Unsupported(f"there is no step cache {name!r}", field="step_cache")


def enable_cache(pipe: Any, name: str, steps: int) -> None:
    """Reuse parts of earlier steps; pixels change. Raises Unsupported where the model cannot, found by trying."""
    for module in denoisers(pipe):
        if not hasattr(module, "enable_cache"):
            raise Unsupported(f"{type(module).__name__} has no step caches", hint="Leave `step_cache` out.", field="step_cache")
        try:
            module.enable_cache(cache_config(name, module, steps))
        except (ValueError, AttributeError, KeyError) as error:
            disable_cache(pipe)
            raise Unsupported(
                f"{type(module).__name__} cannot take the step cache {name}: {error}", hint="Leave it out.", field="step_cache"
            ) from None


def disable_cache(pipe: Any) -> None:
    """Take step caches off."""
    for module in denoisers(pipe):
        if getattr(module, "is_cache_enabled", False):
            module.disable_cache()


def compile_blocks(pipe: Any) -> None:
    """Compile the blocks that repeat, once each; the first run takes longer. Raises Unsupported."""
    for module in denoisers(pipe):
        if not getattr(module, "_repeated_blocks", None):
            raise Unsupported(f"{type(module).__name__} has no blocks to compile", hint="Leave `compile` out.", field="compile")
        module.compile_repeated_blocks(fullgraph=False)
