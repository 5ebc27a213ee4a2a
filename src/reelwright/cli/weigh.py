"""Commands that weigh: models side by side, what was paid, and whose keys are there (S10, J5, J7)."""

from __future__ import annotations

import time
import zlib
from pathlib import Path
from typing import Annotated, Any

import typer

from reelwright.cli import desk, report

keys_of = ("fal_key", "replicate_api_token", "runwayml_api_secret", "openai_api_key", "gemini_api_key", "lumaai_api_key",
           "kling_access_key", "kling_secret_key", "minimax_api_key", "hf_token")  # fmt: skip
"""The settings that hold providers' keys."""
_STEMS = {"google": "gemini", "huggingface": "hf", "huggingface-endpoint": "hf"}
"""How keys begin whose provider has another name."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (compare, pick, costs):
        app.command()(command)


def compare(
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    model: Annotated[list[str], typer.Option("-m", "--model", help="A model of `reel models`; twice or more.")],
    seconds: Annotated[float | None, typer.Option(help="Length.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same for all.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for clips, film and contact sheet.")] = Path(
        "compare"
    ),
) -> None:
    """Make the same clip by several models, and show them side by side."""
    from reelwright.comparing import compare as compared

    fields: dict[str, Any] = {"seed": zlib.crc32(prompt.encode()) if seed is None else seed}
    if seconds is not None:
        fields["seconds"] = seconds

    def make(name: str, path: Path) -> Any:
        with report.working(name) as run:
            return desk.maker().generate(
                prompt, path, model=name, image=image, on_progress=run.on_progress, cancel=run.cancel, **fields
            )

    made = compared(model, output, make, prompt, report.say)
    content = {
        "film": str(made.film), "sheet": str(made.sheet),
        "contenders": [vars(each) | {"notes": list(each.notes)} for each in made.contenders],
    }  # fmt: skip
    there = [each.model for each in made.contenders if each.file is not None]
    numbered = "\n".join(f"  {number} {name}" for number, name in enumerate(there, 1))
    report.give(content, f"{made.film}\n{made.sheet}\n{numbered}\nKeep one: reel pick {output} NUMBER")


def pick(
    folder: Annotated[Path, typer.Argument(help="The folder of a comparison.")],
    winner: Annotated[str, typer.Argument(help="A model, or its number.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where the winner goes.")] = None,
    only: Annotated[bool, typer.Option("--only", help="Remove the other clips.")] = False,
) -> None:
    """Keep the winner of a comparison."""
    from reelwright.comparing import pick as picked

    path = picked(folder, winner, output, only=only)
    report.give({"path": str(path)}, str(path))


def costs(
    days: Annotated[float, typer.Option(min=0, help="Of the last so many days.")] = 30.0,
    owner: Annotated[str | None, typer.Option(help="Only what this owner ordered.")] = None,
) -> None:
    """Show what hosted models cost: each order, estimated and in the end."""
    from reelwright.backends.hosted.purse import FilePurse
    from reelwright.settings import current

    known = current()
    orders = FilePurse(known).orders()
    if known.store or (known.data_folder.expanduser() / "reelwright.db").exists():
        orders += desk.costs()
    since = time.time() - days * 86_400
    shown = [each for each in sorted(orders, key=lambda each: each["at"]) if each["at"] >= since]
    shown = [each for each in shown if owner in (None, each["owner"])]
    rows = [
        (time.strftime("%Y-%m-%d %H:%M", time.localtime(each["at"])), each["provider"], each["model"], each["owner"],
         _money(each.get("estimated")), _money(each["usd"]))
        for each in shown
    ]  # fmt: skip
    names = ("at", "provider", "model", "owner", "estimated_usd", "usd")
    report.table("Orders", ("When", "Provider", "Model", "Owner", "Estimated USD", "USD"), rows, names)
    report.say(f"{sum(each['usd'] or 0.0 for each in shown):.2f} USD in {days:g} days.")


def _money(usd: float | None) -> str | None:
    return None if usd is None else f"{usd:.2f}"


def set_key(
    provider: Annotated[str, typer.Argument(help="fal, replicate, runway, openai, google, luma, kling, minimax, hf.")],
) -> None:
    """Keep a provider's key in the system's keyring. It is asked for, and never an argument."""
    from reelwright.errors import MissingExtra, RequestError, Unavailable

    names = [name for name in keys_of if name == provider or name.startswith(_STEMS.get(provider.lower(), provider.lower()))]
    if not names:
        raise RequestError(f"there is no provider {provider!r}", hint=f"Keys: {', '.join(keys_of)}.", field="provider")
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise MissingExtra(
            "the keyring is not installed", hint="pip install 'reelwright[keyring]', or use the environment."
        ) from None
    for name in names:
        secret = typer.prompt(name.upper(), hide_input=True)
        try:
            keyring.set_password("reelwright", name, secret.strip())
        except KeyringError as error:
            raise Unavailable(
                f"this system's keyring takes no key: {error}",
                hint=f"Set {name.upper()} in the environment or in .env.",
                retryable=False,
            ) from None
    report.give({"set": names}, f"{', '.join(names)} kept in the system's keyring")
