"""Commands that make clips and films."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelwright.cli import desk, report

if TYPE_CHECKING:
    from reelwright.media.encode import Encoding
    from reelwright.request import Input, Lora

Output = Annotated[Path | None, typer.Option("-o", "--output", help="The file to write; its ending chooses the kind.")]
Board = Annotated[Path, typer.Argument(help="A storyboard: YAML, TOML or JSON.")]
CodecName = Annotated[
    str | None, typer.Option(help="h264, h265, av1, vp9, prores, gif or webp; by the file's ending if left out.")
]
Bitrate = Annotated[int | None, typer.Option(help="Ceiling of the bitrate in kbit/s.")]
ProfileName = Annotated[str, typer.Option("--profile", help="How it is made: draft, final, or a profile of its own.")]
Given = Annotated[
    list[str] | None, typer.Option("--input", help="As ROLE=FILE: last_frame, source, control, reference ...; may be repeated.")
]
At = Annotated[list[str] | None, typer.Option(help="A prompt that holds from a time on, as SECONDS: PROMPT; may be repeated.")]
Hardware = Annotated[bool, typer.Option("--hardware", help="Use the machine's video encoder where there is one.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (generate, new, check, plan, render, again, export):
        app.command()(command)


def _encoding(codec: str | None, bitrate: int | None, hardware: bool) -> Encoding:
    from reelwright.media.encode import Encoding

    return Encoding(codec=codec, bitrate=bitrate, hardware=hardware)


def generate(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")] = "",
    model: Annotated[str | None, typer.Option("-m", "--model", help="A model of `reel models`.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    camera: Annotated[str | None, typer.Option(help="A move of `reel moves`.")] = None,
    effect: Annotated[list[str] | None, typer.Option(help="An effect of `reel effects`; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length.")] = None,
    quality: Annotated[str | None, typer.Option(help="draft, standard, high or premium: size and rate.")] = None,
    size: Annotated[str | None, typer.Option(help="As 1280x720.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same clip.")] = None,
    negative: Annotated[str, typer.Option(help="What is not to be seen.")] = "",
    given: Given = None,
    lora: Annotated[list[str] | None, typer.Option(help="A LoRA, as FILE or HUB_ID, with =WEIGHT; may be repeated.")] = None,
    at: At = None,
    option: Annotated[list[str] | None, typer.Option(help="A model's own option, as name=value; may be repeated.")] = None,
    output: Output = None,
    codec: CodecName = None,
    bitrate: Bitrate = None,
    hardware: Hardware = False,
) -> None:
    """Make one clip from a prompt, a picture, or both."""
    from reelwright.request import advice

    width, height = _size(size) if size is not None else (None, None)
    fields: dict[str, Any] = {"seconds": seconds, "fps": fps, "seed": seed, "width": width, "height": height}
    fields = {name: value for name, value in fields.items() if value is not None}
    for warning in advice(prompt) if prompt else ():
        report.say(f"Hint: {warning}")
    with report.working("Generating") as run:
        made = desk.maker().generate(
            prompt,
            output,
            model=model,
            image=image,
            camera=camera,
            effect=effect,
            quality=quality,
            encoding=_encoding(codec, bitrate, hardware),
            on_progress=run.on_progress,
            cancel=run.cancel,
            options=_options(option or []) | ({"schedule": at} if at else {}),
            negative=negative,
            **fields,
            **_works_from(given, lora),
        )
    report.result(made)


def _works_from(given: list[str] | None, lora: list[str] | None) -> dict[str, Any]:
    """Inputs and LoRAs, if there are any."""
    return {"inputs": tuple(map(_input, given or ())), "loras": tuple(map(_lora, lora or ()))}


def _input(text: str) -> Input:
    """ROLE=FILE; raises RequestError."""
    from reelwright.errors import RequestError
    from reelwright.request import Input
    from reelwright.types import Role

    role, equals, ref = text.partition("=")
    if not equals or role not in set(Role):
        raise RequestError(f"an input is written ROLE=FILE, not {text!r}", hint=f"Roles: {', '.join(Role)}.", field="input")
    return Input(Role(role), ref)


def _lora(text: str) -> Lora:
    """FILE or FILE=WEIGHT; raises RequestError."""
    from reelwright.errors import RequestError
    from reelwright.request import Lora

    ref, equals, weight = text.rpartition("=")
    if not equals:
        return Lora(text)
    try:
        return Lora(ref, float(weight))
    except ValueError:
        raise RequestError(f"a LoRA is written FILE=WEIGHT, not {text!r}", field="lora") from None


def _size(text: str) -> tuple[int, int]:
    from reelwright.errors import RequestError

    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise RequestError(f"a size is written 1280x720, not {text!r}", field="size")
    return int(parts[0]), int(parts[1])


def _options(pairs: list[str]) -> dict[str, Any]:
    import json

    from reelwright.errors import RequestError

    made: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RequestError(f"an option is written name=value, not {pair!r}", field="option")
        try:
            made[name.strip()] = json.loads(value)
        except ValueError:
            made[name.strip()] = value
    return made


_NEW = """\
# A storyboard. `reel check FILE` finds mistakes, `reel plan FILE` says what rendering will do, `reel render FILE` does it.
# All fields: docs/reference/storyboard.md, or `reel schema`.
version: 1
title: {title}
quality: standard          # draft, standard, high or premium
transition: crossfade      # between scenes that name none; `reel transitions` lists them
sound: calm                # a synthesised bed (calm, warm, bright, wistful, tense), or a sound file

scenes:
  - prompt: Morning mist drifts over a mountain lake at sunrise, wide aerial shot
    seconds: 4
    camera: dolly in       # `reel moves` lists them
    effect: cinematic      # `reel effects` lists them
    title: {{ text: {title}, seconds: 3 }}

  - prompt: A sailing boat crosses the bay in golden evening light, tracking shot
    seconds: 4
    camera: truck right
    caption: Every journey begins with a breath of wind.

  - prompt: Neon signs glow over a rainy city street at night, slow push in
    seconds: 4
    camera: push in
    transition: fade
"""


def new(
    file: Annotated[Path, typer.Argument(help="The storyboard to write (.yaml).")],
    title: Annotated[str, typer.Option(help="Its title.")] = "My film",
) -> None:
    """Write a storyboard to start from."""
    import json

    from reelwright.errors import RequestError
    from reelwright.media.partial import whole

    if file.suffix.lower() not in (".yaml", ".yml"):
        raise RequestError(f"a storyboard is written as .yaml, not as {file.name}", hint=f"Name it {file.stem}.yaml.")
    if file.exists():
        raise RequestError(f"{file} exists already", hint="Choose another name; it is not overwritten.")
    with whole(file) as part:
        part.write_text(_NEW.format(title=json.dumps(title, ensure_ascii=False)), "utf-8")
    report.give({"path": str(file)}, f"{file}\nNow: reel render {file}")


def check(board: Board) -> None:
    """Say everything that is wrong with a storyboard, and warn of vague prompts."""
    from reelwright.errors import BadStoryboard
    from reelwright.storyfile import load
    from reelwright.studio import Studio

    loaded = load(board)
    if (there := desk.client()) is not None:
        found = there.check(loaded, board.parent)
        problems, warnings = found["problems"], found["warnings"]
    else:
        studio = Studio()
        problems, warnings = list(studio.check(loaded, board.parent)), list(studio.advice(loaded))
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise BadStoryboard(f"{board.name} cannot be rendered:\n{listed}", problems=problems, warnings=warnings)
    lines = [f"Hint: {warning}" for warning in warnings]
    scenes = f"{len(loaded.scenes)} scene{'s' if len(loaded.scenes) != 1 else ''}"
    content = {"file": str(board), "scenes": len(loaded.scenes), "problems": [], "warnings": warnings}
    report.give(content, "\n".join([*lines, f"{board}: {scenes}, no problems."]))


def plan(board: Board, profile: ProfileName = "final") -> None:
    """Say what rendering will make, what is there already, and how long it will take."""
    from reelwright.storyboard import profiled
    from reelwright.storyfile import load
    from reelwright.studio import Studio

    loaded = load(board)
    there = desk.client()
    if there is None:
        made = Studio().plan(loaded, board.parent, profile=profile).json()
    else:
        made = there.plan(profiled(loaded, profile), board.parent)
    if report.as_json:
        report.give(made, "")
        return
    scenes = made["scenes"]
    rows = [
        (scene["name"], scene["model"] or "clip", scene["state"], f"{scene['seconds']:g}", scene["frames"]) for scene in scenes
    ]
    report.table(made["title"] or board.name, ("Scene", "Model", "State", "Seconds", "Frames"), rows)
    for note in dict.fromkeys(note for scene in scenes for note in scene["notes"]):
        report.say(f"Note: {note}")
    for warning in made["warnings"]:
        report.say(f"Hint: {warning}")
    spec = made["spec"]
    where = "on this machine" if there is None else "on the server's machine"
    basis = f"measured {where}" if made["measured"] else "a guess until it has rendered something"
    report.say(
        f"{spec['width']}x{spec['height']}, {float(Fraction(spec['fps'])):g} fps, {spec['seconds']:g} s; {made['reused']} of "
        f"{made['segments']} parts are there already; about {made['estimate']:.1f} s to go ({basis})."
    )


def render(
    board: Board,
    output: Output = None,
    profile: ProfileName = "final",
    codec: CodecName = None,
    bitrate: Bitrate = None,
    hardware: Hardware = False,
) -> None:
    """Render a storyboard to a film; what did not change since the last time is used again."""
    with report.working("Rendering") as run:
        made = desk.maker().render(
            board,
            output,
            encoding=_encoding(codec, bitrate, hardware),
            profile=profile,
            on_progress=run.on_progress,
            cancel=run.cancel,
        )
    report.result(made)


def again(file: Annotated[Path, typer.Argument(help="A film or clip made by Reelwright.")], output: Output = None) -> None:
    """Make a file anew from the manifest that it carries."""
    from reelwright.studio import Studio

    target = output or file.with_name(f"{file.stem}-again{file.suffix}")
    with report.working("Rendering") as run:
        made = Studio().again(file, target, run)
    report.result(made)


def export(
    board: Board,
    to: Annotated[Path, typer.Option("--to", help="A folder for everything, or a file: .otio, .edl, .fcpxml, .srt, .vtt, .png.")],
) -> None:
    """Export a storyboard for other programs: clips, stills, contact sheet, captions, an editor's timeline."""
    from reelwright.exports import export as write
    from reelwright.storyfile import load

    with report.working("Exporting") as run:
        written = write(load(board), to, board.parent, run)
    report.give({"files": [str(path) for path in written]}, "\n".join(map(str, written)))
