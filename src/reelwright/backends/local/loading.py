"""From a card to a Diffusers pipeline in memory: a hub id, a folder, a single file, or a modular folder."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reelwright.backends.local import hardware, weights
from reelwright.backends.local import modular as modulars
from reelwright.catalog import Card
from reelwright.catalog.fit import Plan
from reelwright.errors import DiskFull, MissingExtra, RequestError, Unavailable, UnknownModel, Unsupported, WeightsInvalid
from reelwright.settings import Settings

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_INDEX, _MODULAR = "model_index.json", "modular_model_index.json"


@dataclass(frozen=True)
class Source:
    """Where a model is: `folder` on this machine (or None if it is fetched when it is loaded), the content of its index,
    and whether that is a modular one. A single file has no index."""

    name: str
    folder: Path | None
    index: Mapping[str, Any]
    modular: bool = False

    @property
    def pipeline(self) -> str | None:
        """The class that the index names; None for a single file."""
        named = self.index.get("_class_name")
        if isinstance(named, list):
            return "DiffusionPipeline"  # it brings its own class; whether that may run was asked when it was located
        return named if isinstance(named, str) else None


def libraries() -> Any:
    """The module `diffusers`; raises MissingExtra."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for noisy in ("torchao", "torch.utils._pytree", "huggingface_hub"):  # kernels that this machine could not use anyway
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        import diffusers
        import torch  # noqa: F401  diffusers imports without it, and then has no pipelines
    except ImportError as error:
        raise MissingExtra(
            f"local models need {error.name or 'torch'}, which is not installed",
            hint="make setup TORCH=auto, or: pip install 'reelwright[diffusers]'.",
            backend="diffusers",
        ) from None
    _quiet(diffusers)
    return diffusers


@cache
def _quiet(diffusers: Any) -> None:
    """Loading has a progress of its own here; bars of three libraries over one another say nothing."""
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def locate(name: str, settings: Settings, revision: str = "", apart: Collection[str] = ()) -> Source:
    """Find a model; of a hub id only its index is fetched. Components that come from elsewhere (`apart`) need no files in it.

    Raises UnknownModel, WeightsInvalid, Unavailable, Unsupported.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix in weights.PICKLES:
            raise weights.pickled(path)
        return Source(name, path, {})
    if path.is_dir():
        return _of_folder(name, path, settings, apart)
    if not HUB_ID.fullmatch(name):
        raise UnknownModel(
            f"there is no model at {name}", hint="Name a folder, a .safetensors file or a hub id.", requested_model=name
        )
    return _of_hub(name, settings, revision)


def _of_folder(name: str, path: Path, settings: Settings, apart: Collection[str]) -> Source:
    for file, modular in ((_INDEX, False), (_MODULAR, True)):
        if (path / file).is_file():
            index = _read(path / file)
            source = Source(name, path, index, modular)
            _hold_code(source, settings)
            if modular:
                modulars.hold(index)
            else:
                weights.hold(path, {part: kind for part, kind in index.items() if part not in apart})
            return source
    raise UnknownModel(
        f"{path.name} is no pipeline: it has neither {_INDEX} nor {_MODULAR}",
        hint="Name the folder that `save_pretrained` wrote.",
        requested_model=name,
    )


def _of_hub(name: str, settings: Settings, revision: str) -> Source:
    libraries()
    from huggingface_hub import hf_hub_download

    for file, modular in ((_INDEX, False), (_MODULAR, True)):
        with _told(name):
            try:
                place = hf_hub_download(name, file, revision=revision or None, token=_token(settings))
            except Exception as error:
                if type(error).__name__ in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
                    continue
                raise
        source = Source(name, None, _read(Path(place)), modular)
        _hold_code(source, settings)
        return source
    raise UnknownModel(f"{name} is no Diffusers pipeline: it has no {_INDEX}", requested_model=name)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsInvalid(f"{path.name} cannot be read: {error}", hint="Fetch the model again.", file=path.name) from None
    if not isinstance(content, dict) or not content.get("_class_name"):
        raise WeightsInvalid(f"{path.name} names no pipeline class", hint="Fetch the model again.", file=path.name)
    return content


def _hold_code(source: Source, settings: Settings) -> None:
    """A model that brings code of its own is only opened if the person's own settings name it."""
    named = source.index.get("_class_name")
    if (isinstance(named, list) or "auto_map" in source.index) and source.name not in settings.trust_code:
        raise Unsupported(
            f"{source.name} brings code of its own, which is not run",
            hint=f"If you trust it, set REELWRIGHT_TRUST_CODE={source.name}.",
            model=source.name,
        )


def _token(settings: Settings) -> str | None:
    return settings.hf_token.get_secret_value() if settings.hf_token else None


def pipeline_class(name: str) -> Any:
    """The class of a pipeline; raises WeightsInvalid if this version of diffusers has none of that name."""
    diffusers = libraries()
    found = getattr(diffusers, name, None)
    if not isinstance(found, type):
        raise WeightsInvalid(
            f"diffusers {diffusers.__version__} has no pipeline {name}",
            hint="Update diffusers, or correct `pipeline` in the card.",
            pipeline=name,
        )
    return found


def load(card: Card, source: Source, pipeline: str, plan: Plan, device: str, settings: Settings) -> Any:
    """The pipeline, on the CPU, in eval mode; placing it is the plan's matter.

    Through its concrete class: the generic loader ignores replaced components (notes, trap 1).
    """
    diffusers = libraries()
    keep = card.settings
    with _told(source.name):
        if source.modular:
            dtype = compute_type(device, keep.get("dtype", "bfloat16"))
            revision = card.revision or None if source.folder is None else None
            return modulars.load(str(source.folder or source.name), source.index, dtype, _token(settings), revision)
        cls = pipeline_class(pipeline)
        arguments = _arguments(card, source, cls, plan, device, settings)
        if source.folder is not None and source.folder.is_file():
            pipe = cls.from_single_file(str(source.folder), **arguments)
        else:
            place = source.name if source.folder is None else str(source.folder)
            if source.folder is None:
                _hold_space(card)
                arguments |= {"token": _token(settings), "revision": card.revision or None}
            if isinstance(source.index.get("_class_name"), list):
                arguments["trust_remote_code"] = True
            if (variant := _variant(source)) is not None:
                arguments["variant"] = variant
            pipe = cls.from_pretrained(place, use_safetensors=True, **arguments)
    if "scheduler" in keep:
        wanted = dict(keep["scheduler"])
        pipe.scheduler = getattr(diffusers, wanted.pop("class")).from_config(pipe.scheduler.config, **wanted)
    _see_to_adapters(pipe, card, settings)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _variant(source: Source) -> str | None:
    """The variant that has to be asked for: "fp16" or "bf16", if a folder holds its denoiser in no other one."""
    for name in ("transformer", "unet") if source.folder is not None else ():
        files = [path.name for path in (source.folder / name).glob("*.safetensors")]  # type: ignore[operator]  # it is set
        found = {match[1] for each in files if (match := re.search(r"\.(fp16|bf16)(?:-\d+-of-\d+)?\.safetensors$", each))}
        if found and all(any(f".{one}" in each for one in found) for each in files):
            return min(found)
    return None


def compute_type(device: str, wanted: str) -> Any:
    """The type to compute in: as the card says on a GPU, float32 on a CPU, where half types are slow."""
    import torch

    return torch.float32 if device == "cpu" else getattr(torch, wanted)


def _arguments(card: Card, source: Source, cls: Any, plan: Plan, device: str, settings: Settings) -> dict[str, Any]:
    import torch

    keep, half = card.settings, compute_type(device, card.settings.get("dtype", "bfloat16"))
    arguments: dict[str, Any] = {"dtype": {"default": half, **dict.fromkeys(keep.get("full", ()), torch.float32)}}
    if source.folder is not None and source.folder.is_file():
        arguments["dtype"] = half
    arguments |= dict.fromkeys(keep.get("drop", ()))
    for name, wanted in keep.get("components", {}).items():
        arguments[name] = _component(name, wanted, source, half, settings)
    if (quantized := _quantized(plan, source, half)) is not None:
        arguments["quantization_config"] = quantized
    if cls.__name__ == "TextToVideoZeroPipeline":  # its list of optional components is empty (notes, trap 15)
        arguments |= {"safety_checker": None, "feature_extractor": None}
    return arguments


def _component(name: str, wanted: Mapping[str, Any], source: Source, dtype: Any, settings: Settings) -> Any:
    """A component from another repository, folder or file, such as a motion adapter, a ControlNet or a GGUF transformer."""
    import diffusers

    cls = getattr(diffusers, wanted["class"], None)
    if cls is None:  # picture encoders and text encoders
        import transformers

        cls = getattr(transformers, wanted["class"])
    place = str(Path(wanted["source"]).expanduser())
    options: dict[str, Any] = {"token": _token(settings)} if HUB_ID.fullmatch(place) and not Path(place).exists() else {}
    file = wanted.get("file")
    if (file or place).endswith(".gguf"):
        if source.folder is None or source.folder.is_file():
            raise RequestError("a GGUF file needs the model's own folder for its configuration", field=f"components.{name}")
        return cls.from_single_file(
            f"{place}/{file}" if file else place,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            config=str(source.folder),
            subfolder=name,
            dtype=dtype,
        )
    if file or place.endswith(".safetensors"):
        return _from_file(cls, Path(place), file, dtype, options, source, name)
    if "subfolder" in wanted:
        options["subfolder"] = wanted["subfolder"]
    return cls.from_pretrained(place, dtype=dtype, use_safetensors=True, **options)


def _from_file(cls: Any, place: Path, file: str | None, dtype: Any, options: Mapping[str, Any], source: Source, part: str) -> Any:
    """A module from one file of safetensors: converted from its maker's layout if diffusers can, else as it is, with the
    default configuration (AnimateDiff-Lightning is published so)."""
    from huggingface_hub import hf_hub_download
    from safetensors.torch import load_file

    if place.is_file():
        path = place
    elif place.is_dir() and file:
        path = place / file
    else:
        path = Path(hf_hub_download(str(place), file or "", **options))
    if not _in_own_layout(cls, path):
        config = source.name if source.folder is None else str(source.folder)
        return cls.from_single_file(str(path), config=config, subfolder=part, dtype=dtype)
    made = cls().to(dtype)
    made.load_state_dict(load_file(path))
    return made


def _in_own_layout(cls: Any, path: Path) -> bool:
    """Whether a file names its tensors as the class does; makers' own files name them in other ways."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        names = set(cls().state_dict())
    return set(weights.header(path)) <= names


def _quantized(plan: Plan, source: Source, dtype: Any) -> Any:
    """How the denoiser is quantised while it is loaded, or None; fp8 is cast afterwards."""
    if plan.precision not in ("int8", "nf4"):
        return None
    from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig, TorchAoConfig

    name = next((each for each in ("transformer", "unet") if each in source.index), "transformer")
    if plan.precision == "nf4":
        config: Any = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    else:
        try:
            from torchao.quantization import Int8WeightOnlyConfig
        except ImportError:
            raise MissingExtra("int8 needs torchao", hint="pip install 'reelwright[quantize]'.", package="torchao") from None
        config = TorchAoConfig(Int8WeightOnlyConfig())
    return PipelineQuantizationConfig(quant_mapping={name: config})


def _see_to_adapters(pipe: Any, card: Card, settings: Settings) -> None:
    wanted = card.settings.get("ip_adapter")
    if wanted is not None:
        if str(wanted.get("weight_name", "")).endswith(weights.PICKLES):
            raise WeightsInvalid(
                f"{wanted['weight_name']} is a pickle file, which can run code when it is opened",
                hint="Name the adapter's .safetensors file in the card.",
                file=wanted["weight_name"],
            )
        names = {name: wanted[name] for name in ("subfolder", "weight_name") if name in wanted}
        with _told(wanted["source"]):
            pipe.load_ip_adapter(wanted["source"], token=_token(settings), **names)


def _hold_space(card: Card) -> None:
    """Find out before a download of many GB whether there is room for it."""
    import shutil

    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    if card.disk_gb is None or (place / f"models--{card.source.replace('/', '--')}").exists():
        return
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    if free < card.disk_gb * 1.05:
        raise DiskFull(
            f"{card.title} has {card.disk_gb:.0f} GB, and {free:.0f} GB are free",
            hint="Free some space, or set HF_HOME to a larger disk.",
            model=card.id,
        )


@contextmanager
def _told(name: str) -> Any:
    """What the libraries raise, in our words (notes, 3.1)."""
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        told = _in_our_words(name, error)
        if told is error:
            raise
        raise told from error


def _in_our_words(name: str, error: Exception) -> Exception:
    kind, text = type(error).__name__, str(error)
    short = text.strip().splitlines()[0][:300] if text.strip() else kind
    if getattr(error, "code", None) and hasattr(error, "body"):  # one of ours
        return error
    if isinstance(error, OSError) and error.errno == 28:
        return DiskFull(
            f"the disk filled up while {name} was fetched", hint="Free some space; what is there is kept.", model=name
        )
    if hardware.is_out_of_memory(error):
        return error
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError"):  # first: its text speaks of gated models too
        return UnknownModel(
            f"the hub has no model {name}", hint="Check the name; a private one needs HF_TOKEN.", requested_model=name
        )
    if kind == "GatedRepoError" or (isinstance(error, OSError) and ("gated" in text.lower() or "401 Client" in text)):
        return Unavailable(
            f"{name} is only given to people who accepted its licence",
            hint=f"Accept it on the page of {name}, then set HF_TOKEN.",
            retryable=False,
            model=name,
        )
    offline = ("offline", "not fully cached", "connection", "couldn't connect", "locate the files", "resolve host", "network")
    unreached = isinstance(error, OSError) and any(word in text.lower() for word in offline)
    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled") or unreached:
        return Unavailable(
            f"{name} is not on this machine and the hub cannot be reached",
            hint="Go online once, or name a local folder.",
            model=name,
        )
    if isinstance(error, ImportError):
        return MissingExtra(f"{name} needs a package that is not installed: {short}", backend="diffusers")
    return WeightsInvalid(
        f"{name} cannot be loaded: {short}", hint="Its files do not belong together, or are damaged.", model=name
    )
