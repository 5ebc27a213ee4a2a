"""What a model's files hold, read from their headers: sizes without loading, and faults before a minute is lost.

A safetensors file begins with eight bytes of length and a JSON header that names type, shape and place of each tensor.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelwright.errors import WeightsInvalid

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files that can run code when they are opened. They are never opened by a model."""
_MOST_HEADER = 256 * 1024**2
"""Bytes; a longer header is a damaged length."""
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """What one component's files hold: `parameters`, and `size` in bytes as stored."""

    parameters: int
    size: int


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; raises WeightsInvalid if the file is damaged or shorter than it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(_MOST_HEADER, size - 8):
            raise _damaged(path, "it ends within its header")
        try:
            found: dict[str, Any] = json.loads(file.read(length))
            found.pop("__metadata__", None)
            places = [_place(each["dtype"], each["shape"], *each["data_offsets"]) for each in found.values()]
            end = 8 + length + max(places, default=0)
        except (ValueError, RecursionError):
            raise _damaged(path, "its header is not JSON") from None
        except (AttributeError, KeyError, IndexError, TypeError):
            raise _damaged(path, "its header does not say where the tensors are") from None
    if end > size:
        raise _damaged(path, f"it has {size:,} bytes and should have {end:,}")
    return found


def _place(dtype: str, shape: list[int], first: int, last: int) -> int:
    """Where a tensor ends; raises TypeError if its entry is not what it has to be."""
    if not isinstance(dtype, str) or not all(type(each) is int and each >= 0 for each in (*shape, first, last)):
        raise TypeError(dtype)
    return last


def _damaged(path: Path, why: str) -> WeightsInvalid:
    return WeightsInvalid(
        f"{path.parent.name}/{path.name} is damaged: {why}", hint="Delete the file and fetch it again.", file=path.name
    )


def measured(folder: Path) -> dict[str, Weights]:
    """Parameters and bytes of each component of a pipeline's folder; a single file counts as "transformer".

    Of several files of one component, those of the variant that would be loaded. Raises WeightsInvalid.
    """
    if folder.is_file():
        return {"transformer": _counted([folder])} if folder.suffix == ".safetensors" else {}
    found = {}
    for part in sorted(each for each in folder.iterdir() if each.is_dir()):
        if files := list(_used(part)):
            found[part.name] = _counted(files)
    return found


def _counted(files: list[Path]) -> Weights:
    parameters = size = 0
    for path in files:
        for tensor in header(path).values():
            count = math.prod(tensor["shape"])
            parameters += count
            size += count * _BITS.get(tensor["dtype"], 16) // 8
    return Weights(parameters, size)


def _used(part: Path) -> Iterator[Path]:
    """The safetensors files that loading this component opens: those of its index, else the plain one, else any."""
    for index in sorted(part.glob("*.safetensors.index.json")):
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise _damaged(index, "it is not an index of weights") from None
        for name in names:
            if not (part / name).is_file():
                raise WeightsInvalid(
                    f"{part.name}/{name} is missing, of {len(names)} files", hint="Fetch the model again.", file=name
                )
            yield part / name
        return
    plain = [part / name for name in ("diffusion_pytorch_model.safetensors", "model.safetensors") if (part / name).is_file()]
    yield from plain[:1] or sorted(part.glob("*.safetensors"))[:1]


def hold(folder: Path, index: dict[str, Any]) -> None:
    """Raise WeightsInvalid if a component that the index names has no files, damaged ones, or only pickled ones."""
    for name, kind in index.items():
        if name.startswith("_") or not isinstance(kind, list) or len(kind) < 2 or kind[0] is None:
            continue
        part = folder / name
        if not part.is_dir():
            raise WeightsInvalid(f"the component {name} is missing from {folder.name}", hint="Fetch the model again.", part=name)
        hold_part(part, name, str(kind[1]))


def hold_part(part: Path, name: str, kind: str) -> None:
    """The same for the folder of one component, whose class is `kind`."""
    list(_headers(part))
    if any(part.glob("*.safetensors")) or not has_weights(kind):
        return
    for each in sorted(part.iterdir()):
        if each.suffix in PICKLES:
            raise pickled(each, f"{name}/")
    raise WeightsInvalid(f"{name} has no weights", hint="Fetch the model again.", part=name)


def pickled(path: Path, where: str = "") -> WeightsInvalid:
    """What is said of a file that is not opened."""
    return WeightsInvalid(
        f"{where}{path.name} is a pickle file, which can run code when it is opened",
        hint=f"If you trust where it is from, convert it: reel models convert {path}",
        file=path.name,
    )


def _headers(part: Path) -> Iterator[dict[str, Any]]:
    return (header(path) for path in _used(part))


def has_weights(name: str) -> bool:
    """Whether a class of this name has weights: tokenizers, schedulers and picture processors have none."""
    return not any(word in name for word in ("Tokenizer", "Scheduler", "Processor", "Extractor", "Guidance", "Guider"))


def convert(path: Path) -> Path:
    """Write a pickled file's tensors as safetensors beside it; nothing but tensors is read from it.

    Raises WeightsInvalid if it holds anything else.
    """
    import torch
    from safetensors.torch import save_file

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  whatever a pickle file makes of being refused
        raise WeightsInvalid(
            f"{path.name} holds more than tensors and is not opened: {str(error).splitlines()[0][:200]}", file=path.name
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    found = content if isinstance(content, dict) else {}
    tensors = {str(name): each.contiguous().clone() for name, each in found.items() if isinstance(each, torch.Tensor)}
    if not tensors:
        raise WeightsInvalid(f"{path.name} holds no tensors", file=path.name)
    if "-of-" in path.stem:
        raise WeightsInvalid(
            f"{path.name} is one of several parts", hint="Load the model with its own library and save it as safetensors."
        )
    names = {"pytorch_model": "model"}
    made = path.with_name(names.get(path.stem, path.stem) + ".safetensors")
    if made.exists():
        raise WeightsInvalid(f"{made.name} is there already", hint="Remove it first, or use it.", file=made.name)
    save_file(tensors, made, metadata={"format": "pt"})
    return made
