"""Storyboard files: read with every fault found at once, each with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from reelwright.errors import BadStoryboard, MissingAsset, RequestError, TooLarge
from reelwright.media import grade, moves, transitions
from reelwright.media.letters import LetterStyle
from reelwright.media.moves import Camera
from reelwright.storyboard import MAX_SCENES, Scene, SoundTrack, Storyboard, Title, TransitionSpec

_LARGEST = 64 * 1024 * 1024
"""Bytes of a storyboard file that are read at most."""


@dataclass(frozen=True)
class Problem:
    """One fault: the field it lies in, what is wrong, and the line of the file (from 1) where it is known."""

    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.field}: {self.message}" if self.field else f"{where}{self.message}"


def load(path: Path) -> Storyboard:
    """The storyboard in a YAML, TOML or JSON file; raises MissingAsset, TooLarge or BadStoryboard with every fault."""
    if not path.is_file():
        raise MissingAsset(
            f"there is no storyboard {path.name}", hint="`reel new FILE` writes one to start from.", file=path.name
        )
    if path.stat().st_size > _LARGEST:
        raise TooLarge(f"{path.name} is larger than {_LARGEST // 2**20} MiB", hint="Is it a storyboard?")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise _bad(path.name, [Problem("", "the file is not UTF-8 text")]) from None
    return parse(text, path.suffix.lower(), path.name)


def parse(text: str, ending: str = ".yaml", name: str = "the storyboard") -> Storyboard:
    """The storyboard in a text of this kind (".yaml", ".toml" or ".json"); raises BadStoryboard with every fault."""
    readers = {".toml": _toml, ".json": _json}
    content, lines, twice = readers.get(ending, _yaml)(text, name)
    if not isinstance(content, Mapping):
        raise _bad(name, [Problem("", "a storyboard is a mapping with a list `scenes`", 1)])
    return _validated(content, lines, name, twice)


def validated(
    content: Mapping[str, Any], lines: Mapping[tuple[Any, ...], int] | None = None, name: str = "the storyboard"
) -> Storyboard:
    """The storyboard of plain values; raises BadStoryboard with every fault."""
    return _validated(content, lines or {}, name, ())


def _validated(
    content: Mapping[str, Any], lines: Mapping[tuple[Any, ...], int], name: str, known: Sequence[Problem]
) -> Storyboard:
    from pydantic import ValidationError

    problems: list[Problem] = []
    try:
        board: Storyboard = _adapter().validate_python(content)
    except ValidationError as error:
        problems = _problems(content, error.errors(include_url=False), lines)
    if known or problems:
        raise _bad(name, sorted([*known, *problems], key=lambda each: each.line or 0))
    return board


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Storyboard)


def _bad(name: str, problems: Sequence[Problem]) -> BadStoryboard:
    count = f"{len(problems)} problems" if len(problems) != 1 else "a problem"
    listed = "\n".join(f"  {problem}" for problem in problems[:50])
    more = f"\n  … and {len(problems) - 50} more" if len(problems) > 50 else ""
    facts = [{"field": problem.field, "message": problem.message, "line": problem.line} for problem in problems[:500]]
    return BadStoryboard(f"{name} has {count}:\n{listed}{more}", problems=facts)


def _problems(
    content: Mapping[str, Any], faults: Sequence[Mapping[str, Any]], lines: Mapping[tuple[Any, ...], int]
) -> list[Problem]:
    """pydantic's faults as ours, and the wrong names that it had no occasion to find."""
    made: dict[tuple[Any, ...], str] = _wrong_names(content)
    for fault in faults:
        place = _place(fault)
        # Of a value that may have several shapes, only the fault of the shape that was meant; and where scenes are
        # wrong, their number is no fault of its own.
        if fault["type"] in ("string_type", "none_required", "too_short") and any(
            deeper[: len(place)] == place for deeper in made
        ):
            continue
        for vague in [
            known for known, text in made.items() if known != place and known == place[: len(known)] and text == _NOT_TEXT
        ]:
            del made[vague]
        made.setdefault(place, _text(fault, place))
    return sorted(
        (Problem(_shown(place), text, _line(place, lines)) for place, text in made.items()), key=lambda each: each.line or 0
    )


_NOT_TEXT = "Input should be a valid string"


def _place(fault: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where in the file a fault lies."""
    place = tuple(part for part in fault["loc"] if isinstance(part, int) or not _is_shape(part))
    field = getattr(fault.get("ctx", {}).get("error"), "details", {}).get("field")
    if field is None:
        return place
    if str(field).startswith("scenes."):
        return tuple(int(part) if part.isdigit() else part for part in str(field).split("."))
    return (*place, field) if not place or place[-1] != field else place


def _text(fault: Mapping[str, Any], place: tuple[Any, ...]) -> str:
    if fault["type"] == "unexpected_keyword_argument":
        return f"there is no such field; {_nearest(str(place[-1]), place)}"
    if fault["type"] in ("missing", "missing_argument"):
        return "is required"
    if fault["type"] == "string_type" and isinstance(fault["input"], (int, float, date)):
        return f'must be text; write it in quotes: "{fault["input"]}"'
    if fault["type"] in ("too_short", "too_long") and place == ("scenes",):
        return f"a film has 1 to {MAX_SCENES:,} scenes, not {fault['ctx']['actual_length']:,}"
    cause = fault.get("ctx", {}).get("error")
    hint = getattr(cause, "hint", "")
    return f"{getattr(cause, 'message', None) or fault['msg']}{'. ' + hint if hint else ''}"


def _wrong_names(content: Mapping[str, Any]) -> dict[tuple[Any, ...], str]:
    """Cameras, effects and transitions that do not exist: pydantic leaves them out in a scene with another fault."""
    found: dict[tuple[Any, ...], str] = {}

    def look(place: tuple[Any, ...], value: Any, find: Callable[[str], object]) -> None:
        name = value.get("name", value.get("move")) if isinstance(value, Mapping) else value
        if isinstance(name, str):
            try:
                find(name)
            except RequestError as error:
                found[place] = str(error.message)

    look(("transition",), content.get("transition"), transitions.find)
    scenes = content.get("scenes")
    for index, scene in enumerate(scenes if isinstance(scenes, (list, tuple)) else ()):
        if isinstance(scene, Mapping):
            look(("scenes", index, "camera"), scene.get("camera"), moves.find)
            look(("scenes", index, "transition"), scene.get("transition"), transitions.find)
            effects = scene.get("effect")
            for name in effects if isinstance(effects, (list, tuple)) else [effects]:
                look(("scenes", index, "effect"), name, grade.find)
    return found


_SHAPES = {"str", "none", "tuple[str, ...]", "Camera", "TransitionSpec", "Title", "SoundTrack", "LetterStyle"}


def _is_shape(part: str) -> bool:
    return part in _SHAPES or part.startswith(("tuple[", "function-", "constrained-", "dataclass"))


def _nearest(name: str, place: tuple[Any, ...]) -> str:
    import difflib

    owners = {"scenes": Scene, "sound": SoundTrack, "transition": TransitionSpec, "title": Title, "camera": Camera}
    owners |= dict.fromkeys(("letters", "titles", "style"), LetterStyle)
    named = [part for part in place[:-1] if isinstance(part, str)]
    owner: type = owners.get(named[-1], Storyboard) if named else Storyboard
    known = list(owner.__dataclass_fields__)  # type: ignore[attr-defined]  # all of them are dataclasses
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(known)}"


def _shown(place: tuple[Any, ...]) -> str:
    text = ""
    for part in place:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _line(place: tuple[Any, ...], lines: Mapping[tuple[Any, ...], int]) -> int | None:
    """The line of a field, or of the nearest thing around it."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return lines.get(())


_Read = tuple[Any, dict[tuple[Any, ...], int], list[Problem]]
"""Content, the line of each place in it, and names that stand twice in one mapping."""
_DEEPEST = 40
"""Lists and mappings within each other; a storyboard needs 6. PyYAML ends the process at some ten thousand."""
_MOST = 2_000_000
"""Values, counting what `*alias` stands for as often as it is written."""


def _yaml(text: str, name: str) -> _Read:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _hold_depth(text, loader, name)
        reader = loader(text)
        node = reader.get_single_node()
        if _count(node, {}) > _MOST:
            raise _bad(name, [Problem("", "its aliases stand for more than a storyboard can hold")])
        lines: dict[tuple[Any, ...], int] = {}
        twice: list[Problem] = []
        _mark(node, (), lines, twice)
        content = None if node is None else reader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid YAML"
        raise _bad(name, [Problem("", what, line)]) from None
    except RequestError:
        raise
    except ValueError as error:  # such as a date that does not exist
        raise _bad(name, [Problem("", f"not valid YAML: {error}")]) from None
    return content, lines, twice


def _hold_depth(text: str, loader: Any, name: str) -> None:
    import yaml

    depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _bad(name, [Problem("", "lists and mappings lie too deep within each other", event.start_mark.line + 1)])  # type: ignore[union-attr]  # events of a text have marks
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _count(node: Any, known: dict[int, float]) -> float:
    """Values under a node, aliases written out; infinite if one stands within itself."""
    parts = getattr(node, "value", None)
    if not isinstance(parts, list):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")
        flat = (each for pair in parts for each in (pair if isinstance(pair, tuple) else (pair,)))
        known[id(node)] = 1 + sum(_count(each, known) for each in flat)
    return known[id(node)]


def _json(text: str, name: str) -> _Read:
    """JSON by its own rules (escapes, numbers, tabs); lines as YAML finds them, which reads nearly all of it."""
    import json

    import yaml

    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(name, [Problem("", f"not valid JSON: {error.msg}", error.lineno)]) from None
    except (ValueError, RecursionError):
        raise _bad(name, [Problem("", "lists and mappings lie too deep within each other, or a number is too long")]) from None
    try:
        _, lines, twice = _yaml(re.sub(r"\\u[dD][89a-fA-F]..", r"\\u0020", text.replace("\t", " ")), name)
    except (RequestError, yaml.YAMLError):
        return content, {}, []
    return content, lines, twice


def _mark(node: Any, place: tuple[Any, ...], lines: dict[tuple[Any, ...], int], twice: list[Problem]) -> None:
    import yaml

    if node is None or len(place) > 8:
        return
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused when it is built
            inner, line = (*place, key.value), key.start_mark.line + 1
            if inner in lines and key.value != "<<":
                twice.append(Problem(_shown(inner), f"is given twice, first in line {lines[inner]}", line))
            _mark(value, inner, lines, twice)
            lines[inner] = line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*place, index), lines, twice)


def _toml(text: str, name: str) -> _Read:
    """TOML; its parser tells no places, so lines are found by walking tables and keys."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        what = str(error)[: found.start()].strip() if found else str(error)
        raise _bad(name, [Problem("", what, int(found[1]) if found else None)]) from None
    except RecursionError:
        raise _bad(name, [Problem("", "lists and mappings lie too deep within each other")]) from None
    lines: dict[tuple[Any, ...], int] = {(): 1}
    table: tuple[Any, ...] = ()
    counts: dict[tuple[Any, ...], int] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("[["):
            key = tuple(line.strip("[]# ").split("."))
            counts[key] = counts.get(key, -1) + 1
            table = (*key, counts[key])
            lines[table] = number
        elif line.startswith("["):
            path = [part.strip() for part in line.split("]")[0].strip("[ ").split(".")]
            owner = (path[0],)
            table = (path[0], counts[owner], *path[1:]) if owner in counts else tuple(path)
            lines[table] = number
        elif "=" in line and not line.startswith("#"):
            lines[(*table, line.split("=")[0].strip().strip('"'))] = number
    return content, lines, []
