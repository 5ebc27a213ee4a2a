"""A memory plan put into effect on a pipeline, and the options that make it faster (notes, 3.5)."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
        where = layer_folder(pipe, folder) if plan.offload == "disk" else None
        if where is not None:
            untie(pipe)
        try:
            for name, component in getattr(pipe, "components", {}).items():
                if isinstance(component, torch.nn.Module):
                    # Pipelines read tables of decoders (LTX: `latents_mean`) without calling them: those have to stay in RAM.
                    kept = where is None or "vae" in name
                    _in_groups(component, device, None if kept else where / name)
        except (ValueError, NotImplementedError, AttributeError) as error:
            raise Unsupported(f"{type(pipe).__name__} cannot be offloaded in groups: {error}") from None


def layer_folder(pipe: Any, folder: Path) -> Path:
    """A new folder in `folder` for the layers of this pipeline, which goes with it.

    Diffusers names the files by the layers' names and takes a file that is there for the right one: components that share
    a folder, and an earlier model of the same name, would be mixed. Folders of processes that were killed are swept.
    """
    import psutil

    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*-*"):
        owner = left.name.partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))
    weakref.finalize(pipe, shutil.rmtree, made, ignore_errors=True)
    return made


def untie(pipe: Any) -> None:
    """Give each tensor one layer: of two that share it, the second would be written to disk after the first emptied it.

    The text encoders of T5 hold their embedding twice.
    """
    import torch

    first: dict[int, Any] = {}
    for component in getattr(pipe, "components", {}).values():
        if not isinstance(component, torch.nn.Module):
            continue
        for name, module in list(component.named_modules()):
            for key, tensor in list(module.named_parameters(recurse=False)):
                other = first.setdefault(id(tensor), module)
                if other is module:
                    continue
                if type(other) is type(module) and name:
                    parent, _, last = name.rpartition(".")
                    setattr(component.get_submodule(parent), last, other)
                    break
                setattr(module, key, torch.nn.Parameter(tensor.detach().clone(), requires_grad=False))


def _in_groups(component: Any, device: str, folder: Path | None) -> None:
    import torch
    from diffusers.hooks import apply_group_offloading

    options: dict[str, Any] = {
        "onload_device": torch.device(device),
        "offload_device": torch.device("cpu"),
        "offload_type": "leaf_level",
        "use_stream": device.startswith("cuda"),
        "offload_to_disk_path": None if folder is None else str(folder),
    }
    if hasattr(component, "enable_group_offload"):
        component.enable_group_offload(**options)
    else:
        apply_group_offloading(module=component, **options)


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
    """Set the attention of the denoisers; "auto" is torch's own. Tells which it is; raises MissingExtra, Unsupported.

    Support is found by trying: two families take any name and change nothing (notes, trap 16).
    """
    if wanted in ("auto", "native"):
        for module in denoisers(pipe):  # a warm model may still have what the shot before asked for
            for each in _processors(module):
                if getattr(each, "_attention_backend", None) is not None:
                    each._attention_backend = None
        return "native"
    for module in denoisers(pipe):
        if not hasattr(module, "set_attention_backend"):
            raise Unsupported(f"{type(module).__name__} has one kind of attention only", hint="Leave `attention` out.")
        try:
            with _own_attention():
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


@contextmanager
def _own_attention() -> Iterator[None]:
    """What diffusers also sets for the whole process, every other model and shot after this one, is set back."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    before = Registry.get_active_backend()[0]
    try:
        yield
    finally:
        Registry.set_active_backend(before)


def _processors(module: Any) -> list[Any]:
    found = getattr(module, "attn_processors", {})
    return list(found.values()) if isinstance(found, Mapping) else []


_CACHES: dict[str, Callable[[Any, int], Any]] = {}


def cache_config(name: str) -> Any:
    """The configuration of a step cache. Raises Unsupported."""
    import diffusers

    if name == "first_block":
        return diffusers.FirstBlockCacheConfig(threshold=0.1)
    if name == "taylor":
        # Without identifiers it changes nothing in four of six families (notes, trap 16).
        return diffusers.TaylorSeerCacheConfig(cache_identifiers=[r".*blocks\.\d+\.attn[12]?$"], cache_interval=3)
    raise Unsupported(f"there is no step cache {name!r}", field="step_cache")


def enable_cache(pipe: Any, name: str) -> None:
    """Reuse parts of earlier steps; pixels change. Raises Unsupported where the model cannot, found by trying."""
    for module in denoisers(pipe):
        if not hasattr(module, "enable_cache"):
            raise Unsupported(f"{type(module).__name__} has no step caches", hint="Leave `step_cache` out.", field="step_cache")
        try:
            module.enable_cache(cache_config(name))
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
