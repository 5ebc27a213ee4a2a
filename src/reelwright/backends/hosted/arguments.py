"""A shot's values in a provider's words, from a template in the card: adding a model is data.

    [settings.arguments]
    prompt = "{prompt}"
    image_url = "{first_frame}"
    duration = "{seconds:.0f}s"
    resolution = "{size}"

A text that is one field alone keeps the value's type; what has no value is left out, with its name. An item of a list that lacks
one of its values is left out as a whole.
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


def values(shot: Shot, inputs: Mapping[str, str]) -> dict[str, Any]:
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


def _lacks(template: Any, known: Mapping[str, Any]) -> bool:
    """Whether a field in it has no value."""
    if isinstance(template, Mapping):
        return any(_lacks(each, known) for each in template.values())
    return isinstance(template, str) and any(known.get(name) is None for name in _FIELD.findall(template))


def filled(template: Any, known: Mapping[str, Any]) -> Any:
    """The template with its fields set; None if a field in it has no value, which leaves out a name in a table."""
    if isinstance(template, Mapping):
        made = {name: filled(each, known) for name, each in template.items()}
        return {name: each for name, each in made.items() if each is not None} or None
    if isinstance(template, list | tuple):
        return [each for each in (filled(one, known) for one in template if not _lacks(one, known)) if each is not None] or None
    if not isinstance(template, str):
        return template
    if alone := _ALONE.fullmatch(template):
        value = known.get(alone[1])
        return value if value is None or alone[2] is None else _AS[alone[2]](value)
    if any(known.get(name) is None for name in _FIELD.findall(template)):
        return None
    return template.format(**known)
