"""Commands about models: what there is, what fits here, which one to take, and what is in memory (M12, M13, M16)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from reelwright.cli import desk, report

if TYPE_CHECKING:
    from reelwright.backends.local.preflight import Standing
    from reelwright.catalog import Card


class _Named(TyperGroup):
    """A group in which a word that is no command is a model to show: `reel models placeholder`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As click's."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(help="List the models; show, pick, add, load and unload them.", invoke_without_command=True, cls=_Named)


@app.callback()
def models(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only models for this: text-to-video, image-to-video, lora ...")] = None,
    fits: Annotated[bool, typer.Option("--fits", help="Only those that run on this machine, with how.")] = False,
    max_vram: Annotated[float | None, typer.Option(help="Only those that need at most so many GB of VRAM.")] = None,
    licence: Annotated[str | None, typer.Option(help="commercial, or a part of a licence's name.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Legacy and retired models too.")] = False,
) -> None:
    """List the models."""
    if context.invoked_subcommand is not None:
        return
    from reelwright.catalog.choosing import matching

    found = matching(task=task, max_vram=max_vram, licence=licence, everything=all_ or task is not None)
    standing = _standings() if fits else {}
    rows = []
    for card in found:
        how = standing.get(card.id)
        if fits and (how is None or how.state in ("no", "other")):
            continue
        rows.append(
            (
                card.id, card.title, ", ".join(card.task), f"{card.sizes.native[0][0]}x{card.sizes.native[0][1]}",
                f"{card.fps.default:g}", _longest(card), f"{card.params_b:g}" if card.params_b else None,
                f"{card.vram_gb[0]:g}-{card.vram_gb[1]:g}" if card.vram_gb and card.vram_gb[1] else None,
                "●" * card.quality, "●" * card.speed, card.licence, ", ".join(card.best_for),
                *((_here(how),) if fits and how is not None else ()),
            )
        )  # fmt: skip
    columns = ("Id", "Title", "Tasks", "Size", "fps", "Longest", "Params B", "VRAM GB", "Quality", "Speed", "Licence", "Best for")
    report.table("Models", (*columns, *(("Runs here",) if fits else ())), rows)


def _longest(card: Card) -> str | None:
    """Seconds of the longest clip made at once."""
    seconds = card.frames.most / card.fps.default
    return None if seconds > 3600 else "picture" if card.frames.most == 1 else f"{seconds:.0f} s"


def _standings() -> dict[str, Any]:
    from reelwright.backends.local.preflight import standings
    from reelwright.catalog import cards
    from reelwright.settings import current

    return {each.card.id: each for each in standings(cards(), current())}


@app.command()
def show(model: Annotated[str, typer.Argument(help="A model's id, a folder, a file or a hub id.")]) -> None:
    """Show all of a model's card, and what it would need on this machine."""
    import json

    from pydantic import TypeAdapter

    from reelwright.backends.local import preflight
    from reelwright.catalog import Card, cards
    from reelwright.settings import current

    card = desk.any_card(model)
    content = TypeAdapter(Card).dump_python(card, mode="json")
    stands = next(each for each in preflight.standings({**cards(), card.id: card}, current()) if each.card.id == card.id)
    if stands.need is not None:
        content["here"] = {"plan": stands.need.plan.name, "vram_gb": round(stands.need.vram_gb, 1), "why": stands.why}
    filled = {key: value for key, value in content.items() if value not in (None, "", [], {}, ())}
    report.give(
        content, "\n".join(f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in filled.items())
    )


def _here(standing: Standing) -> str:
    """How a model runs on this machine, and how long a clip of it takes."""
    if standing.need is None:
        return "nothing needed"
    seconds = standing.need.seconds
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
    return f"{standing.need.plan.name}, about {time} ({standing.need.sure})"


@app.command()
def pick(
    wish: Annotated[str, typer.Option("--for", help="fast, quality, photorealism, low-memory, text on screen, long ...")],
    task: Annotated[str, typer.Option(help="What it is to do.")] = "text-to-video",
    count: Annotated[int, typer.Option(min=1, max=20, help="How many.")] = 3,
) -> None:
    """Recommend models for a wish, best first, among those that run on this machine."""
    from reelwright.catalog.choosing import picked

    standing = _standings()
    able = {name for name, each in standing.items() if each.state in ("resident", "offload", "none")}
    late = {name for name, each in standing.items() if each.state == "slow"}
    found = picked(wish, task, able) + picked(wish, task, late)
    rows = [(card.id, card.title, reason, _here(standing[card.id])) for card, reason in found[:count]]
    report.table(f"For {wish}", ("Id", "Title", "Why", "Runs here"), rows)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="A hub id, a folder or a file.")],
    name: Annotated[str | None, typer.Option("--id", help="The id that the card gets.")] = None,
) -> None:
    """Write a card for a model, made from what its files say, into your folder of cards; look it over and correct it."""
    import tomli_w

    from reelwright import catalog
    from reelwright.backends.describing import content_of
    from reelwright.errors import Conflict
    from reelwright.media.partial import whole
    from reelwright.settings import config_folder, current

    content = content_of(str(Path(model).resolve()) if Path(model).exists() else model, current())
    content["id"] = name or content["id"]
    catalog.card_from(content, model)
    path = config_folder() / "cards" / f"{content['id'].replace('/', '-')}.toml"
    if path.exists() or any(content["id"] in (card.id, *card.also) for card in catalog.cards().values()):
        where = f"Remove {path}, or choose" if path.exists() else "Choose"
        raise Conflict(f"there is a card {content['id']} already", hint=f"{where} another --id.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_text(tomli_w.dumps(_without_none(content)), "utf-8")
    report.give({"id": content["id"], "path": str(path)}, f"{path}\nLook it over: licence, sizes, what it is best for.")


def _without_none(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value


@app.command()
def convert(file: Annotated[Path, typer.Argument(help="A .bin, .pt, .pth or .ckpt file that you trust.")]) -> None:
    """Write a pickled file's tensors as safetensors; nothing else in it is read, and no code of it runs."""
    from reelwright.backends.local.weights import convert as converted
    from reelwright.errors import MissingAsset

    if not file.is_file():
        raise MissingAsset(f"there is no file {file}", ref=str(file))
    made = converted(file)
    report.give({"path": str(made)}, str(made))


@app.command()
def loaded() -> None:
    """List the models in the memory of this machine's (or the server's) workers."""
    names = ("model", "plan", "device", "gb", "idle_seconds", "busy", "worker")
    rows = [tuple(each[name] for name in names) for each in desk.desk().loaded()]
    report.table("In memory", ("Model", "Plan", "Device", "GB", "Idle s", "Busy", "Worker"), rows, names)


@app.command()
def load(model: Annotated[str, typer.Argument(help="A model's id.")]) -> None:
    """Have a worker bring a model into memory before it is needed."""
    job = desk.desk().load(model)
    report.give({"job": job.id, "state": job.state}, f"{job.id} will load {model}")


@app.command()
def unload(model: Annotated[str | None, typer.Argument(help="A model's id; all if left out.")] = None) -> None:
    """Have workers let go of a model, or of all; those at work go when they are done."""
    gone = desk.desk().unload(model)
    report.give({"unloading": gone}, f"unloading {', '.join(gone)}" if gone else "nothing of it is in memory")
