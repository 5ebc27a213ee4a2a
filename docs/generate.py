"""Writes docs/reference and the README's table of models from the code, so that they cannot say anything else.

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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import annotated_types as at

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference"
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

TASKS = {
    "text-to-video": "Text to video",
    "image-to-video": "Image to video",
    "video-to-video": "Video to video",
    "keyframes": "Between given frames, and keyframes with a camera",
    "control": "Guided by a control video",
    "animate": "A character that follows a video",
    "upscale": "Upscaling",
    "text-to-image": "Pictures",
}
"""What models are for -> how the reference calls it, in its order; a task that is not here comes after them."""

LOCAL = ("command", "diffusers", "keyframes", "placeholder")
"""Backends that work on the person's own machine."""

MACHINES = (
    ("No GPU: 8 cores, 32 GB of RAM", "cpu", 0, 32),
    ("8 GB: RTX 4060, 32 GB of RAM", "RTX 4060", 8, 32),
    ("12 GB: RTX 3060, 32 GB of RAM", "RTX 3060", 12, 32),
    ("16 GB: RTX 4080, 64 GB of RAM", "RTX 4080", 16, 64),
    ("24 GB: RTX 4090, 64 GB of RAM", "RTX 4090", 24, 64),
    ("32 GB: RTX 5090, 64 GB of RAM", "RTX 5090", 32, 64),
    ("48 GB: RTX 6000 Ada, 128 GB of RAM", "RTX 6000 Ada", 48, 128),
)
"""Heading, device, GB of its memory and of RAM of the machines for which the reference predicts."""


def cards_shipped() -> list[Any]:
    """The cards of this package, newest status first and by family."""
    from reelwright import plugins
    from reelwright.catalog import card_from

    shipped = [card_from(content, origin) for origin, content in plugins.card_files() if origin.startswith("reelwright.")]
    order = {"current": 0, "legacy": 1, "retired": 2}
    return sorted(shipped, key=lambda card: (order[card.status], card.family, card.params_b or 0, card.id))


def memory_or_place(card: Any) -> str:
    """GB of VRAM that a local model takes; where another one runs, and its price."""
    if card.vram_gb and card.vram_gb[1]:
        return "{:g}, better {:g} GB".format(*card.vram_gb)
    return "none" if card.instant else ", ".join(each for each in (card.backend, card.price) if each)


def longest(card: Any) -> str:
    """The longest clip that a model makes at once."""
    seconds = card.frames.most / card.fps.default
    return "picture" if card.frames.most == 1 else "any" if seconds > 3600 else f"{seconds:.1f} s".replace(".0 s", " s")


def models() -> str:
    """The models, from their cards."""
    shipped = cards_shipped()
    head = (
        "id", "model", "size", "fps", "longest", "params", "VRAM", "licence", "commercial", "quality", "speed", "best for",
        "status",
    )  # fmt: skip

    def row(card: Any) -> tuple[object, ...]:
        return (
            code(card.id),
            card.title,
            "{} x {}".format(*card.sizes.native[0]),
            f"{card.fps.default:g}" if card.frames.most > 1 else "",
            longest(card),
            f"{card.params_b:.2g} B" if card.params_b else "",
            memory_or_place(card),
            card.licence,
            "yes" if card.commercial else "no",
            card.quality,
            card.speed,
            ", ".join(card.best_for),
            card.status,
        )

    tasks = [*TASKS, *sorted({task for card in shipped for task in card.task} - TASKS.keys())]
    parts = []
    for task in tasks:
        if able := [row(card) for card in shipped if task in card.task]:
            parts += [f"## {TASKS.get(task, task)}", f"`reel models --task {task} --all`", table(head, able)]
    return page(
        "Models",
        f"{len(shipped)} cards. `reel models` prints them for the machine it runs on, `reel models show ID` all of one card, "
        "with the source of each figure. [What fits](fit.md) predicts what they need; [local models](../howto/local-models.md) "
        "says how to run them.",
        "`size`, `fps`: what the model was trained for first; other sizes are moved to the nearest that it can make. "
        "`longest`: at once; models that go on from a picture make [longer clips](../howto/long-clips-and-prompt-schedules.md). "
        "`params`: of the denoiser, in billions. `VRAM`: the least that was published or is estimated, and what it runs well "
        "with; for a model that does not run on your machine, where it runs and its price. `commercial`: no where the licence "
        "forbids it, or sets a limit on revenue, users or countries; read the licence. `quality` and `speed`: 1 (least) to 5, "
        "classes and no measurements. `legacy`: there is a better one of its kind. A model stands in the table of each task "
        "that it has.",
        *parts,
        *_works_from(shipped),
        *_elsewhere(shipped),
        *_options_of(shipped),
    )


def _works_from(shipped: list[Any]) -> list[str]:
    """Which inputs each model can work from, and what can be put on it."""
    marks = (("loras", "LoRA"), ("audio", "sound"), ("continues", "longer clips"))
    rows = (
        (
            code(card.id),
            "; ".join(works_from(card.accepts)),
            ", ".join(name for field, name in marks if getattr(card, field)),
            ", ".join(code(name) for name in (card.source, *card.also) if name),
        )
        for card in shipped
    )
    return [
        "## Inputs and names",
        (
            "An input is given as `--image FILE` (the first frame) or `--input ROLE=FILE`. `longer clips`: it goes on from a "
            "picture, so a clip may be longer than it makes at once. A name in the last column means the model too; of several "
            "with one name, the plainest."
        ),
        table(("id", "works from", "takes or makes", "also called"), rows),
    ]


def _elsewhere(shipped: list[Any]) -> list[str]:
    """The models that are not run through Diffusers."""
    keyframes = [card for card in shipped if card.backend == "keyframes"]
    commands = [card for card in shipped if card.backend == "command"]
    rows = (
        (
            code(card.id),
            " ".join(card.settings.get("steps_to_take", ())),
            ", ".join(card.settings.get("also_served_by", ())),
        )
        for card in commands
    )
    counted = Counter(card.backend for card in shipped)
    away = ", ".join(f"{code(name)} ({count})" for name, count in sorted(counted.items()) if name not in LOCAL)
    made = ", ".join(f"{code(card.id)} (by {code(card.settings['picture'])})" for card in keyframes)
    return [
        "## Not run through Diffusers",
        (
            f"`placeholder` draws and needs no model. {made}: a picture of each scene, and a camera that moves over it. Those "
            "below have no Diffusers pipeline and run "
            "[in an environment of their own](../howto/models-in-their-own-environment.md); without it they end in the error "
            "`unavailable`, which says the same steps."
            + (f" Backends of models elsewhere, and how many: {away}." if away else "")
        ),
        table(("id", "steps", "also served by"), rows),
    ]


def _options_of(shipped: list[Any]) -> list[str]:
    """The options: those of every local model, then those of each, equal ones in one row."""
    from reelwright.catalog.card import shared_options

    head = ("option", "values", "default", "what it is")

    def cells(name: str, schema: Mapping[str, Any]) -> tuple[str, ...]:
        said = " ".join(str(schema[key]).rstrip(".") + "." for key in ("title", "description") if key in schema)
        return code(name), kind_of_option(schema), code(json.dumps(schema["default"])) if "default" in schema else "", said

    shared = shared_options("diffusers")
    found: dict[tuple[str, ...], list[str]] = {}
    for card in shipped:
        for name, schema in card.options.items():
            if name not in shared_options(card.backend):
                found.setdefault(cells(name, schema), []).append(code(card.id))
    own = sorted((*row, ", ".join(ids)) for row, ids in found.items())
    how = ((*cells(name, schema), "" if schema.get("x-how") else "yes") for name, schema in shared.items())
    return [
        "## Options of every local model",
        (
            "Given as `--option NAME=VALUE`, or in a scene's `options`. None is set unless you set it. The last column: whether "
            "the result becomes another one, which is made and kept beside the first."
        ),
        table((*head, "changes pixels"), how),
        "## Options of each model",
        table((*head, "models"), own),
    ]


def fit_tables() -> str:
    """What local models will need on machines of several sizes, as the planner predicts it."""
    from reelwright.backends.local.preflight import LOSSY
    from reelwright.catalog.fit import LADDER

    plans = ((code(plan.name), "no" if plan.exact else "yes", "yes" if plan in LOSSY else "") for plan in (*LADDER, *LOSSY))
    parts = []
    for heading, device, vram, ram in MACHINES:
        parts += [f"## {heading}", *_predicted(device, vram, ram)]
    return page(
        "What fits",
        "**Predictions, not measurements.** These tables are computed by the planner that also chooses before each run "
        "(`reelwright.catalog.fit`), from each card's figures, with all of the memory free. They were not measured on these "
        "machines. Your own machine corrects them with each run; `reel models --fits` and `reel models show ID` print yours.",
        "A clip is the model's own: its first size, its default length and steps. Time is for one clip with the model in place; "
        "loading and the first download come on top. Plans are tried in this order, and the first that fits is taken; those "
        "in the last column only if you [allow them](../howto/low-memory.md).",
        table(("plan", "may change pixels", "has to be allowed"), plans),
        *parts,
    )


def _predicted(device: str, vram: float, ram: float) -> list[str]:
    """The tables of one machine: what fits, and what would if it were smaller."""
    from reelwright.backends.local import hardware
    from reelwright.backends.local.preflight import ladder
    from reelwright.catalog import fit

    if device == "cpu":
        machine = fit.Machine("cpu", "CPU", 0, 0, ram, ram, 0.035 * 8)
    else:
        machine = fit.Machine("cuda", device, vram, vram, ram, ram, hardware.sustained(device), True)
    rows, smaller, never = [], [], []
    for card in cards_shipped():
        if card.backend != "diffusers" or card.status != "current":
            continue
        work = fit.work_of(card, *card.sizes.native[0], card.frames.default, {})
        found = fit.choose(card, work, machine, plans=ladder({}, machine))
        if found.best is not None:
            rows.append((found.best.seconds, card, work, found.best))
        elif (less := fit.nearest(card, work, machine)) is not None:
            smaller.append((code(card.id), clip_of(card, work), clip_of(card, less)))
        else:
            never.append(code(card.id))
    on_gpu = ("GPU memory",) if vram else ()
    made = [
        table(
            ("id", "clip", "plan", *on_gpu, "RAM" if vram else "memory", "time", "quality"),
            (
                (
                    code(card.id), clip_of(card, work), best.plan.name, *((f"{best.vram_gb:.1f} GB",) if vram else ()),
                    f"{best.ram_gb if vram else best.ram_gb + best.vram_gb:.0f} GB", duration(seconds), card.quality,
                )
                for seconds, card, work, best in sorted(rows, key=lambda each: (each[0], each[1].id))
            ),
        )
    ]  # fmt: skip
    if smaller:
        made += [
            "Not at their own size, but smaller or shorter:",
            table(("id", "its own clip", "the nearest that fits"), smaller),
        ]
    return [*made, f"Not at all: {', '.join(never)}." if never else ""]


def clip_of(card: Any, work: Any) -> str:
    """Size and length of a clip in words."""
    size = f"{work.width} x {work.height}"
    return size if work.frames == 1 else f"{size}, {work.frames / card.fps.default:.1f} s"


def duration(seconds: float) -> str:
    """A time to two digits or so."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
        if seconds < 36000
        else f"{seconds / 3600:.0f} h"
    )


def short_models() -> str:
    """The README's table: a few models, each the one to begin with for something."""
    chosen = {
        "wan-2.1-1.3b": "a first model", "ltx-video-2b-distilled": "speed", "animatediff-lightning": "small GPUs, styles",
        "wan-2.2-ti2v-5b": "the balance", "framepack": "long clips from a picture", "ltx-2": "picture and sound together",
        "hunyuan-video-1.5": "quality", "wan-2.2-t2v-a14b": "the best quality",
    }  # fmt: skip
    known = {card.id: card for card in cards_shipped()}
    rows = (
        (
            code(name),
            purpose,
            f"{card.sizes.native[0][0]} x {card.sizes.native[0][1]}, {card.fps.default:g} fps",
            f"{card.vram_gb[0]:g} GB, better {card.vram_gb[1]:g}",
            card.licence,
        )
        for name, purpose in chosen.items()
        for card in (known[name],)
    )
    kinds = sum(card.backend == "diffusers" for card in known.values())
    return f"{len(known)} cards, {kinds} of them run through Diffusers. A few to begin with:\n\n" + table(
        ("id", "for", "makes", "VRAM", "licence"), rows
    )


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
    "fit.md": fit_tables,
    "library.md": library,
    "models.md": models,
    "quality-presets.md": presets,
    "settings.md": settings,
    "storyboard.md": storyboard,
    "storyboard.schema.json": schema,
    "transitions.md": transitions,
}

BLOCKS: dict[str, dict[str, Callable[[], str]]] = {"README.md": {"models": short_models}}
"""Pages of which only a block is written: what stands between `<!-- generated: NAME -->` and `<!-- end -->`."""


def with_blocks(name: str) -> str:
    """The page with its blocks written anew; raises ValueError if one has no place."""
    text = (ROOT / name).read_text("utf-8")
    for block, write in BLOCKS[name].items():
        before, opening, rest_of_page = text.partition(f"<!-- generated: {block} -->\n")
        _, closing, after = rest_of_page.partition("<!-- end -->\n")
        if not opening or not closing:
            raise ValueError(f"{name} has no place for {block}")
        text = f"{before}{opening}\n{write()}\n\n{closing}{after}"
    return text


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    os.environ["REELWRIGHT_HOME"] = tempfile.gettempdir() + "/reelwright-docs"  # what a person has set does not show
    made = {name: text for name, text in ((name, write()) for name, write in PAGES.items()) if text is not None}
    if "--check" not in arguments:
        REFERENCE.mkdir(exist_ok=True)
        for name, text in made.items():
            (REFERENCE / name).write_text(text, "utf-8")
        for name in BLOCKS:
            (ROOT / name).write_text(with_blocks(name), "utf-8")
        return 0
    here = {path.name: path.read_text("utf-8") for path in REFERENCE.iterdir()} if REFERENCE.is_dir() else {}
    stale = sorted(name for name in made.keys() | here.keys() if made.get(name) != here.get(name))
    stale = [f"docs/reference/{name}" for name in stale]
    stale += [name for name in BLOCKS if with_blocks(name) != (ROOT / name).read_text("utf-8")]
    for name in stale:
        print(f"{name} differs from the code; `make docs` writes it anew", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
