"""Modular pipelines: folders or repositories whose index says where each component is, often somewhere else (trap 20)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reelwright.backends.local import weights
from reelwright.errors import WeightsInvalid


def parts(index: Mapping[str, Any]) -> Iterator[tuple[str, str, Path]]:
    """Name, class and place of each component that has weights; the place of one on the hub is its id and subfolder."""
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) < 3 or not isinstance(entry[2], dict):
            continue
        spec = entry[2]
        place, hint = spec.get("pretrained_model_name_or_path"), spec.get("type_hint") or [None, entry[1]]
        kind = str(hint[-1]) if isinstance(hint, list) and hint else ""
        if isinstance(place, str) and place and weights.has_weights(kind):
            yield name, kind, Path(place).expanduser() / (spec.get("subfolder") or "")


def hold(index: Mapping[str, Any]) -> None:
    """Raise WeightsInvalid if a component on this machine has damaged files, or only pickled ones."""
    for name, kind, place in parts(index):
        if place.is_dir():
            weights.hold_part(place, name, kind)
        elif place.is_file() and place.suffix in weights.PICKLES:
            raise weights.pickled(place)


def load(place: str, index: Mapping[str, Any], dtype: Any, token: str | None, revision: str | None) -> Any:
    """The pipeline with its components, none of them from a pickle. Raises WeightsInvalid and what the libraries raise.

    The revision is of the index's own repository: components keep the one that the index gives them.
    """
    from diffusers import ModularPipeline

    names = [name for name, _, _ in parts(index)]
    known = {"token": token} if token else {}
    pipe = ModularPipeline.from_pretrained(place, **known, **({"revision": revision} if revision else {}))
    pipe.load_components(dtype=dtype, use_safetensors=dict.fromkeys(names, True), **known)
    if missing := [name for name in names if getattr(pipe, name, None) is None]:  # diffusers only warns of it
        raise WeightsInvalid(
            f"{', '.join(missing)} of {Path(place).name} cannot be loaded",
            hint="Its files are missing, damaged or pickled.",
            model=place,
        )
    return pipe
