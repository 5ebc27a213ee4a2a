"""Writes docs/reference from the code, so that it cannot say anything else.

`python docs/generate.py` writes, `python docs/generate.py --check` fails and names each file that differs.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import os
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import annotated_types as at

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTICE = "<!-- Written by docs/generate.py from the code; `make docs` writes it anew. -->"


def page(title: str, *parts: str) -> str:
    """A page of Markdown."""
    return "\n\n".join([f"# {title}", NOTICE, *(part for part in parts if part)]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    made = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join([made[0], "|" + " --- |" * len(lines[0]), *made[1:]])


def code(text: object) -> str:
    """As code, or nothing."""
    return f"`{text}`" if str(text) else ""


def first_line(thing: object) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def rest(thing: object) -> str:
    """A docstring after its first paragraph, on one line."""
    return " ".join(" ".join((inspect.getdoc(thing) or "").split("\n\n")[1:]).split())


# Tables of names


def camera_moves() -> str:
    """The camera moves."""
    from reelwright.media import moves

    rows = ((code(move.name), move.description, move.phrase, aliases(moves._ALIASES, move.name)) for move in moves.MOVES.values())
    return page(
        "Camera moves",
        "A move is named in a scene's `camera`, in `--camera`, or in the option `camera`. Case, spaces and underscores do "
        "not matter. A model that has no camera control is told the words of the third column.",
        table(("name", "what it does", "words for a model", "also called"), rows),
        "A camera in full has these fields.",
        fields_of(moves.Camera),
    )


def aliases(known: Mapping[str, str], name: str) -> str:
    """Other names for a name."""
    return ", ".join(code(other) for other, meant in known.items() if meant == name)


def effects() -> str:
    """The effects."""
    from reelwright.media import grade

    rows = (
        (code(effect.name), effect.description, effect.phrase, aliases(getattr(grade, "_ALIASES", {}), effect.name))
        for effect in grade.EFFECTS.values()
    )
    return page(
        "Effects",
        "Effects are named in a scene's `effect` (one or a list) or in `--effect`, which may be given more than once. They are "
        "applied in the order in which they are named.",
        table(("name", "what it does", "words for a model", "also called"), rows),
    )


def transitions() -> str:
    """The transitions."""
    from reelwright.media import transitions as known

    rows = (
        (code(each.name), each.description, f"{each.seconds:g} s" if each.seconds else "", aliases(known._ALIASES, each.name))
        for each in known.TRANSITIONS.values()
    )
    return page(
        "Transitions",
        "A transition is named in a scene's or a storyboard's `transition`, or in `--transition`. It takes its length from "
        "both clips, so a film is shorter than its scenes by its transitions. Sound crossfades with the picture.",
        table(("name", "what it does", "usual length", "also called"), rows),
    )


def codecs() -> str:
    """The codecs."""
    from reelwright.media.encode import CODECS, Encoding

    rows = (
        (
            code(codec.name),
            ", ".join(map(code, codec.endings)),
            code(codec.encoders[-1]),
            ", ".join(map(code, codec.encoders[:-1])),
            code(codec.pixel_format),
            codec.crf if codec.crf is not None else "",
            code(codec.audio or "") or "no sound",
        )
        for codec in CODECS.values()
    )
    return page(
        "Codecs",
        "The ending of a file chooses its codec: the first one below that has the ending, VP9 for `.webm`. `--codec` names "
        "another.",
        table(("name", "endings", "encoder", "hardware, where asked for", "pixels", "quality (CRF)", "sound"), rows),
        "## How a file is written",
        rest(Encoding),
        fields_of(Encoding),
    )


def presets() -> str:
    """The quality presets."""
    from reelwright.request import PRESETS

    rows = (
        (code(name), f"{preset.width} x {preset.height}", f"{float(preset.fps):g}", f"{preset.bitrate} kbit/s")
        for name, preset in PRESETS.items()
    )
    return page(
        "Quality presets",
        "A preset sets size, frame rate and the ceiling of the bitrate. `size` and `fps` in a storyboard override it.",
        table(("name", "size", "frames per second", "bitrate"), rows),
    )


# Models


def models() -> str:
    """The models, from their cards."""
    from reelwright import plugins
    from reelwright.catalog import card_from

    shipped = [card_from(content, origin) for origin, content in plugins.card_files() if origin.startswith("reelwright.")]
    head = ("id", "title", "works from", "makes", "licence", "VRAM", "quality", "speed", "best for")
    rows = (
        (
            code(card.id),
            card.title,
            " or ".join(works_from(card.accepts)),
            f"{card.sizes.native[0][0]} x {card.sizes.native[0][1]}, {card.fps.default:g} fps",
            card.licence,
            f"{card.vram_gb[0]:g} GB, better {card.vram_gb[1]:g}" if card.vram_gb and card.vram_gb[1] else "none needed",
            f"{card.quality} of 5",
            f"{card.speed} of 5",
            ", ".join(card.best_for),
        )
        for card in shipped
    )
    parts = []
    for card in shipped:
        options = (
            (
                code(name),
                kind_of_option(schema),
                code(json.dumps(schema["default"])) if "default" in schema else "",
                " ".join(str(schema[key]).rstrip(".") + "." for key in ("title", "description") if key in schema),
            )
            for name, schema in card.options.items()
        )
        parts += [f"## Options of {card.title}", table(("option", "values", "default", "what it is"), options)]
    return page("Models", "`reel models` prints this table for the machine it runs on.", table(head, rows), *parts)


def works_from(accepts: Iterable[frozenset[Any]]) -> list[str]:
    """Sets of input roles in words."""
    return [" and ".join(sorted(role.value for role in roles)).replace("_", " ") or "a prompt alone" for roles in accepts]


def kind_of_option(schema: Mapping[str, Any]) -> str:
    """The values of an option in words."""
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    kind = str(schema.get("type", ""))
    if kind == "array":
        return f"list of {schema.get('items', {}).get('type', 'value')}s"
    if "minimum" in schema and "maximum" in schema:
        return f"{kind}, {schema['minimum']} to {schema['maximum']}"
    return kind


# Fields of dataclasses


def words(hint: Any) -> str:
    """A type annotation as a person reads it, bounds and all."""
    if typing.get_origin(hint) is typing.Annotated:
        inner, *rules = typing.get_args(hint)
        return ", ".join([words(inner), *(bound for rule in rules for bound in bounds(rule))])
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(each) for each in inner if each is not type(None))
    if origin is typing.Literal:
        return ", ".join(code(value) for value in inner)
    if origin is tuple:
        return f"list of {words(inner[0])}"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    plain = {str: "text", float: "number", int: "whole number", bool: "true or false", Any: "anything"}
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


def bounds(rule: Any) -> list[str]:
    """A bound in words."""
    if isinstance(rule, at.Len):
        return [f"{rule.min_length} to {rule.max_length} long"]
    if isinstance(rule, at.Interval):
        low = f"over {rule.gt}" if rule.gt is not None else f"{rule.ge}" if rule.ge is not None else ""
        high = f"under {rule.lt}" if rule.lt is not None else f"{rule.le}" if rule.le is not None else ""
        return [f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"]
    named = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under"}
    return [f"{text} {getattr(rule, name)}" for name, text in named.items() if hasattr(rule, name)]


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default of a field."""
    if field.default is not dataclasses.MISSING:
        return "" if field.default is None or field.default == "" else shown(field.default)
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return shown(made) if made else ""
    return "**required**"


def shown(value: Any) -> str:
    """A default as it is written in a file."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = [
            f"{field.name}: {json.dumps(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if field.init and getattr(value, field.name) not in (field.default, None)
        ]
        return code("{" + ", ".join(changed) + "}") if changed else "as below"
    return code(json.dumps(list(value) if isinstance(value, tuple) else value, default=str)) if value != () else ""


def fields_of(cls: type) -> str:
    """A table of a dataclass's fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    said = attribute_docs(cls)
    head = ["field", "value", "default", *(["what it is"] if said else [])]
    rows = (
        [code(field.name), words(hints[field.name]), default_of(field), said.get(field.name, "")][: len(head)]
        for field in dataclasses.fields(cls)
        if field.init and not field.name.startswith("_")
    )
    return table(head, rows)


def storyboard() -> str:
    """The fields of a storyboard file."""
    from reelwright.media.letters import LetterStyle
    from reelwright.media.moves import Camera
    from reelwright.storyboard import Scene, SoundTrack, Storyboard, Title, TransitionSpec

    parts: list[str] = []
    for cls in (Storyboard, Scene, Camera, TransitionSpec, Title, SoundTrack, LetterStyle):
        parts += [f"## {cls.__name__}", first_line(cls), rest(cls), fields_of(cls)]
    return page(
        "Storyboard",
        "A storyboard is a YAML, TOML or JSON file with the fields of `Storyboard`. A field that is not listed here is an "
        "error. `reel check` names every fault with its line. The same rules as JSON Schema, for editors: "
        "[storyboard.schema.json](storyboard.schema.json), also printed by `reel schema`.",
        "Where a field takes a name or more than a name (`camera`, `transition`, `title`, `sound`), the name alone is the "
        "short way to write it. Paths start at the storyboard's folder.",
        *parts,
    )


def schema() -> str:
    """The JSON Schema of a storyboard."""
    from reelwright.storyboard import schema as made

    return json.dumps(made(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


# Settings


def settings() -> str:
    """The settings."""
    from pydantic import AliasChoices

    from reelwright.settings import Settings

    said = attribute_docs(Settings)
    rows = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [f"REELWRIGHT_{name.upper()}"]
        meaning = said.get(name, "") or ("A secret; it is never shown or written." if "Secret" in str(field.annotation) else "")
        if field.default_factory is not None:
            default = "the platform's place for it"
        else:
            default = code(field.default) if field.default is not None else ""
        limits = ", ".join(bound for rule in field.metadata for bound in bounds(rule))
        rows.append((code(name), ", ".join(code(each) for each in names if each != name), default, limits, meaning))
    return page(
        "Settings",
        "Read from first to last: arguments, environment variables, a `.env` file in the working folder, `reelwright.toml` in "
        "the working folder, `reelwright.toml` in the person's configuration folder, defaults. `REELWRIGHT_HOME` names one "
        "folder for configuration and cache together. In a file, the name in the first column is used.",
        table(("name", "environment", "default", "limits", "what it is"), rows),
    )


def attribute_docs(cls: type) -> dict[str, str]:
    """The texts under a class's attributes."""
    body = typing.cast("ast.ClassDef", ast.parse(inspect.getsource(cls)).body[0]).body
    found = {}
    for before, after in itertools.pairwise(body):
        text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(text, str):
            found[before.target.id] = " ".join(text.split())
    return found


# Errors


def errors() -> str:
    """The tree of errors."""
    from reelwright.errors import Cancelled, ReelwrightError

    rows: list[tuple[object, ...]] = []

    def walk(cls: type[ReelwrightError], depth: int) -> None:
        again = "yes" if cls.retryable else ""
        indent = "&nbsp;&nbsp;" * 2 * depth
        rows.append((indent + code(cls.__name__), code(cls.code), cls.status, cls.exit_code, again, first_line(cls)))
        for below in cls.__subclasses__():
            if below.__module__ == cls.__module__:
                walk(below, depth + 1)

    walk(ReelwrightError, 0)
    rows.append((code("Cancelled"), "", "", Cancelled.exit_code, "", first_line(Cancelled) + " It is a BaseException."))
    return page(
        "Errors",
        "Every failure that Reelwright foresees is one of these. The command line prints the message and what to do next, and "
        "leaves with the exit code; the same class has the same code everywhere.",
        table(("class", "code", "HTTP", "exit", "may succeed later", "meaning"), rows),
        'As JSON: `{"error": code, "message": ..., "details": {...}, "timestamp": ...}`. `details.hint` says what to do next.',
    )


# The command line


def command_line() -> str | None:
    """The commands; None while there is no command line."""
    from reelwright import cli

    app = getattr(cli, "app", None)
    if app is None:
        return None
    import typer

    group: Any = typer.main.get_command(app() if inspect.isfunction(app) else app)
    parts = [part for name, command in sorted(group.commands.items()) for part in command_parts(f"reel {name}", command)]
    return page(
        "Command line",
        "`reel` and `reelwright` are the same program. Every command takes `--json`: one JSON object on standard output, errors "
        "as JSON on standard error. Exit codes: 0 done, 130 stopped by Ctrl-C, others by class of [error](errors.md).",
        *parts,
    )


def command_parts(name: str, command: Any) -> list[str]:
    """A command and those below it."""
    if command.hidden:
        return []
    usage, rows = [name], []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        if parameter.param_type_name == "argument":
            shown_name = (parameter.metavar or parameter.name.upper()).strip("[]")
            usage.append(shown_name if parameter.required else f"[{shown_name}]")
        else:
            shown_name = ", ".join([*parameter.opts, *parameter.secondary_opts])
            if parameter.required:
                usage.append(f"{parameter.opts[0]} {parameter.name.upper()}")
        default = parameter.default
        plain = default if isinstance(default, (str, int, float)) and not isinstance(default, bool) else ""
        given = "**required**" if parameter.required else code(plain)
        rows.append((code(shown_name), given, " ".join((getattr(parameter, "help", "") or "").split())))
    made = [f"## {name}", " ".join((command.help or "").split()), code(" ".join(usage)) if rows else ""]
    if rows:
        made.append(table(("argument or option", "default", "what it is"), rows))
    for below, inner in sorted(getattr(command, "commands", {}).items()):
        made += command_parts(f"{name} {below}", inner)
    return made


# The library


def library() -> str | None:
    """The public names; None while one of them is missing."""
    import reelwright

    parts: list[str] = []
    for name in reelwright.__all__:
        try:
            thing = getattr(reelwright, name)
        except (ImportError, AttributeError):
            return None
        if name.startswith("__"):
            continue
        signature = ""
        if inspect.isfunction(thing):
            signature = f"```text\n{name}({signature_of(thing)})\n```"
        said = inspect.cleandoc(thing.__doc__ or "")
        parts += [f"## {name}", signature, said]
    return page("Library", "The names of the package `reelwright`. Each is loaded on first use.", *parts)


def signature_of(function: Callable[..., Any]) -> str:
    """The parameters of a function, one a line."""
    lines, kinds = [], inspect.Parameter
    named_only = False
    for parameter in inspect.signature(function).parameters.values():
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        if parameter.kind is kinds.KEYWORD_ONLY and not named_only:
            lines.append("    *,")
            named_only = True
        hint = str(parameter.annotation).strip("'").replace('"', "")
        default = "" if parameter.default is kinds.empty else f" = {parameter.default!r}"
        lines.append(f"    {stars}{parameter.name}: {hint}{default},")
    return "\n".join(["", *lines, ""])


PAGES: dict[str, Callable[[], str | None]] = {
    "camera-moves.md": camera_moves,
    "codecs.md": codecs,
    "command-line.md": command_line,
    "effects.md": effects,
    "errors.md": errors,
    "library.md": library,
    "models.md": models,
    "quality-presets.md": presets,
    "settings.md": settings,
    "storyboard.md": storyboard,
    "storyboard.schema.json": schema,
    "transitions.md": transitions,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    os.environ["REELWRIGHT_HOME"] = tempfile.gettempdir() + "/reelwright-docs"  # what a person has set does not show
    made = {name: text for name, text in ((name, write()) for name, write in PAGES.items()) if text is not None}
    if "--check" not in arguments:
        REFERENCE.mkdir(exist_ok=True)
        for name, text in made.items():
            (REFERENCE / name).write_text(text, "utf-8")
        return 0
    here = {path.name: path.read_text("utf-8") for path in REFERENCE.iterdir()} if REFERENCE.is_dir() else {}
    stale = sorted(name for name in made.keys() | here.keys() if made.get(name) != here.get(name))
    for name in stale:
        print(f"docs/reference/{name} differs from the code; `make docs` writes it anew", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
