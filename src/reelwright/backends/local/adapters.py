"""What is put on a pipeline for one shot and taken off again: LoRAs; and the memory of texts that were encoded before."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelwright.backends.local.loading import HUB_ID
from reelwright.backends.local.residency import Loaded
from reelwright.backends.local.weights import PICKLES, header
from reelwright.catalog import Shot
from reelwright.errors import MissingAsset, RequestError, Unsupported, WeightsInvalid
from reelwright.request import Lora
from reelwright.run import Run
from reelwright.settings import Settings

_TEXTS_BYTES = 256 * 1024**2
"""Of encoded prompts that a model remembers, in RAM."""
_KEPT_LORAS = 4
"""How many LoRAs stay in memory with a model, ready to be switched on."""


@contextmanager
def put_on(held: Loaded, shot: Shot, run: Run, settings: Settings) -> Iterator[None]:
    """The shot's LoRAs, at their weights, for as long as the block runs. Raises Unsupported, WeightsInvalid, MissingAsset.

    They stay with the model, switched off: the next shot with the same ones need not read them again.
    """
    if not shot.loras:
        yield
        return
    pipe = held.pipe
    if not hasattr(pipe, "load_lora_weights"):
        raise Unsupported(f"{type(pipe).__name__} takes no LoRA", model=shot.card.id)
    known: OrderedDict[str, str] = held.state.setdefault("loras", OrderedDict())
    try:
        names = [_loaded(pipe, known, lora, run, settings) for lora in shot.loras]
        pipe.enable_lora()
        pipe.set_adapters(names, adapter_weights=[lora.weight for lora in shot.loras])
        held.state["adapters"] = tuple((name, lora.weight) for name, lora in zip(names, shot.loras, strict=True))
        yield
    finally:
        held.state.pop("adapters", None)
        _off(pipe, known)


def _off(pipe: Any, known: OrderedDict[str, str]) -> None:
    """Switch LoRAs off and let the oldest go, and what is left of one that failed; the model is the base again, exactly."""
    for name in _there(pipe) - set(known.values()):
        with suppress(Exception):  # it may be in one of its components only
            pipe.delete_adapters(name)
    while len(known) > _KEPT_LORAS:
        pipe.delete_adapters(known.popitem(last=False)[1])
    if _there(pipe):
        pipe.disable_lora()


def _there(pipe: Any) -> set[str]:
    """The LoRAs of ours that are in the model, whole or in part."""
    return {each for names in pipe.get_list_adapters().values() for each in names if each.startswith("lora_")}


def _loaded(pipe: Any, known: OrderedDict[str, str], lora: Lora, run: Run, settings: Settings) -> str:
    place, key = _place(lora, run)
    if key in known:
        known.move_to_end(key)
        return known[key]
    name = f"lora_{len(known)}_{abs(hash(key)) % 10**8}"
    options: dict[str, Any] = {"token": settings.hf_token.get_secret_value()} if settings.hf_token else {}
    repository, _, file = place.partition(":") if HUB_ID.match(place) and not Path(place).exists() else (place, "", "")
    if file:
        options["weight_name"] = file
    try:
        with warnings.catch_warnings():  # peft finds a second LoRA worth a warning
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            pipe.load_lora_weights(repository, adapter_name=name, use_safetensors=True, **options)
    except Exception as error:  # noqa: BLE001  what three libraries raise for a file of another family differs
        raise _refused(pipe, lora, error) from None
    if name not in _there(pipe):
        raise _refused(pipe, lora, ValueError("none of its layers is in the model"))
    known[key] = name
    return name


def _place(lora: Lora, run: Run) -> tuple[str, str]:
    """Where a LoRA is, and what it is known by: a file by its time and size too, for it may be trained anew."""
    if lora.file is None:
        if HUB_ID.fullmatch(lora.ref.partition(":")[0]) and not Path(lora.ref).exists():
            return lora.ref, lora.ref
        raise MissingAsset(f"there is no LoRA {lora.ref}", hint="Name a .safetensors file or a hub id.", ref=lora.ref)
    path = Path(lora.file) if lora.installed else run.fetch(lora.file)
    if path.suffix in PICKLES:
        raise WeightsInvalid(
            f"{path.name} is a pickle file, which can run code when it is opened",
            hint=f"If you trust where it is from, convert it: reel models convert {path}",
            file=path.name,
        )
    header(path)
    facts = path.stat()
    return str(path), f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"


def _refused(pipe: Any, lora: Lora, error: Exception) -> Exception:
    first = (str(error).strip().splitlines() or [""])[0][:200]
    if isinstance(error, OSError) and "offline" in str(error).lower():
        return MissingAsset(f"the LoRA {lora.ref} is not on this machine and the hub cannot be reached", ref=lora.ref)
    return RequestError(
        f"the LoRA {Path(lora.ref).name} does not fit {type(pipe).__name__}: {first or type(error).__name__}",
        hint="It was trained for another family of models.",
        field="loras",
    )


@contextmanager
def remembered_texts(held: Loaded) -> Iterator[None]:
    """Encode the same prompt once: the result is the same, and a text encoder of 11 GB need not be brought in again."""
    pipe = held.pipe
    encode = getattr(pipe, "encode_prompt", None)
    if encode is None:
        yield
        return
    known: OrderedDict[str, Any] = held.state.setdefault("texts", OrderedDict())
    put_on_now = held.state.get("adapters")

    def remembered(*args: Any, **kwargs: Any) -> Any:
        if not all(_plain(value) for value in (*args, *kwargs.values())):
            return encode(*args, **kwargs)  # it looks at a picture too
        key = repr((args, sorted(kwargs.items()), put_on_now))
        if key in known:
            known.move_to_end(key)
            return _back(known[key])
        made = encode(*args, **kwargs)
        known[key] = _kept(made)
        while sum(map(_bytes, known.values())) > _TEXTS_BYTES:
            known.popitem(last=False)
        return made

    pipe.encode_prompt = remembered
    try:
        yield
    finally:
        del pipe.encode_prompt


@dataclass(frozen=True)
class _Kept:
    """A tensor in RAM, and the device that it came from."""

    tensor: Any
    device: Any


def _kept(value: Any) -> Any:
    """What an encoder gave, its tensors in RAM; containers of other kinds than these stay as they are."""
    import torch

    if isinstance(value, torch.Tensor):
        return _Kept(value.to("cpu"), value.device)
    return _over(value, _kept)


def _back(value: Any) -> Any:
    """The same, its tensors where they came from."""
    return value.tensor.to(value.device) if isinstance(value, _Kept) else _over(value, _back)


def _over(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) in (tuple, list):
        return type(value)(change(each) for each in value)
    return {name: change(each) for name, each in value.items()} if type(value) is dict else value


def _bytes(value: Any) -> int:
    if isinstance(value, _Kept):
        return int(value.tensor.numel() * value.tensor.element_size())
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes, parts))


def _plain(value: Any) -> bool:
    """Whether a value is wholly told by how it is written."""
    if isinstance(value, list | tuple):
        return all(_plain(each) for each in value)
    return value is None or isinstance(value, str | int | float | bool) or type(value).__name__ in ("device", "dtype")
