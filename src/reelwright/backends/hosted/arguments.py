"""A shot's values in a provider's words, from a template in the card: adding a model is data.

    [settings.arguments]
    prompt = "{prompt}"
    image_url = "{first_frame}"
    duration = "{seconds:.0f}s"
    resolution = "{size}"

A text that is one field alone keeps the value's type; what has no value is left out, with its name. An item of a list that lacks
one of its values is left out as a whole; one with a role that several inputs have is there for each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import gcd
from typing import Any

from reelwright.catalog import Shot

_ALONE = re.compile(r"\{(\w+)(?::(int|str|bool))?\}")
_FIELD = re.compile(r"\{(\w+)[^}]*\}")
_RATIOS = ((16, 9), (9, 16), (1, 1), (4, 3), (3, 4), (21, 9), (9, 21), (3, 2), (2, 3))


_AS: dict[str, Callable[[Any], Any]] = {"int": round, "str": str, "bool": bool}


class Given(str):
    """An input, as the provider takes it: what a person wrote, such as a prompt, is never one."""


class Several(tuple[Given, ...]):
    """Inputs of one role."""


def values(shot: Shot, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What templates may name: the shot's fields, its options, and its `inputs` by role (as the provider takes them)."""
    length = shot.frames / shot.fps
    short = min(shot.width, shot.height)
    return {
        **shot.options,
        **inputs,
        "prompt": shot.prompt,
        "negative": shot.negative or None,
        "width": shot.width,
        "height": shot.height,
        "size": f"{shot.width}x{shot.height}",
        "colon_size": f"{shot.width}:{shot.height}",
        "ratio": ratio(shot.width, shot.height),
        "resolution": next((f"{each}p" for each in (360, 480, 540, 720, 1080, 1440, 2160) if short <= each), "2160p"),
        "seconds": float(length),
        "frames": shot.frames,
        "fps": float(shot.fps),
        "seed": shot.seed % 2**31,
    }


def ratio(width: int, height: int) -> str:
    """The usual name of the shape nearest to a size: "16:9" ..."""
    shape = Fraction(width, height)
    a, b = min(_RATIOS, key=lambda each: abs(Fraction(*each) - shape))
    divisor = gcd(a, b)
    return f"{a // divisor}:{b // divisor}"


def _fields(template: Any) -> list[str]:
    """The names of the fields in a text, or in a table of texts."""
    if isinstance(template, Mapping):
        return [name for each in template.values() for name in _fields(each)]
    return _FIELD.findall(template) if isinstance(template, str) else []


def takes_several(template: Any, role: str) -> bool:
    """Whether there is a list in it with a place for this role."""
    if isinstance(template, Mapping):
        return any(takes_several(each, role) for each in template.values())
    return isinstance(template, list | tuple) and any(role in _fields(each) or takes_several(each, role) for each in template)


def _item(template: Any, known: Mapping[str, Any]) -> list[Any]:
    """An item of a list, filled: none if it lacks a value, one for each input of a role that has several."""
    names = _fields(template)
    if any(known.get(name) is None for name in names):
        return []
    several = next((name for name in names if isinstance(known[name], Several)), None)
    if several is not None:
        return [made for each in known[several] for made in _item(template, {**known, several: each})]
    made = filled(template, known)
    return [] if made is None else [made]


def filled(template: Any, known: Mapping[str, Any]) -> Any:
    """The template with its fields set; None if a field in it has no value, which leaves out a name in a table."""
    if isinstance(template, Mapping):
        made = {name: filled(each, known) for name, each in template.items()}
        return {name: each for name, each in made.items() if each is not None} or None
    if isinstance(template, list | tuple):
        return [made for each in template for made in _item(each, known)] or None
    if not isinstance(template, str):
        return template
    known = {name: known[name][0] if isinstance(known.get(name), Several) else known.get(name) for name in _fields(template)}
    if alone := _ALONE.fullmatch(template):
        value = known.get(alone[1])
        return value if value is None or alone[2] is None else _AS[alone[2]](value)
    if None in known.values():
        return None
    return template.format(**known)
