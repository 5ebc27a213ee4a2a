"""Commands that only look: what there is, what a file is, how this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reelwright.cli import desk, report


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (moves, effects, transitions, probe, doctor, clean, schema):
        app.command()(command)


def moves() -> None:
    """List the camera moves."""
    from reelwright.media.moves import MOVES

    report.table(
        "Camera moves", ("Name", "What it does", "In a prompt"), [(m.name, m.description, m.phrase) for m in MOVES.values()]
    )


def effects() -> None:
    """List the effects and grades."""
    from reelwright.media.grade import EFFECTS

    report.table(
        "Effects", ("Name", "What it does", "In a prompt"), [(e.name, e.description, e.phrase) for e in EFFECTS.values()]
    )


def transitions() -> None:
    """List the transitions."""
    from reelwright.media.transitions import TRANSITIONS

    report.table(
        "Transitions", ("Name", "What it does", "Seconds"), [(t.name, t.description, t.seconds) for t in TRANSITIONS.values()]
    )


def probe(file: Annotated[Path, typer.Argument(help="A video, sound or picture file.")]) -> None:
    """Say what a media file is."""
    from reelwright.media.probe import probe as look

    facts = look(file).json()
    shown = {key: value for key, value in facts.items() if value not in (None, {}) and key != "metadata"}
    report.give(facts, "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in shown.items()))


def doctor() -> None:
    """Check this machine: versions, codecs, fonts, GPU, disk, cache."""
    from reelwright.doctor import examine

    there = desk.client()
    if there is not None:
        rows = [(found["name"], found["state"], found["detail"]) for found in there.machine()]
    else:
        rows = [(finding.name, finding.state, finding.detail) for finding in examine()]
    report.table("This machine", ("What", "State", "Detail"), rows)


def clean(
    everything: Annotated[bool, typer.Option("--all", help="Remove every kept result of this machine's cache.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and why.")] = False,
    days: Annotated[float | None, typer.Option(min=0, help="A server's files older than this go too.")] = None,
    files: Annotated[int | None, typer.Option(min=0, help="Each owner keeps so many files of a server.")] = None,
    gigabytes: Annotated[float | None, typer.Option(min=0, help="Each owner keeps so many GB of a server's files.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's files.")] = None,
) -> None:
    """Remove kept results that are over the limit, and a server's files by its policy; pinned and needed files stay."""
    from reelwright.studio import Studio

    studio = Studio()
    gone = studio.results.trim(0 if everything else None, dry=dry)
    usage = studio.results.usage()
    verb = "would be removed" if dry else "removed"
    lines = [f"{len(gone)} results {verb}; {usage.files} are there ({usage.size / 1e6:.1f} of {usage.limit / 1e6:.0f} MB)."]
    content: dict[str, Any] = {"removed": [path.name for path in gone], "dry_run": dry, "kept": usage.files, "bytes": usage.size}
    if studio.settings.store or (studio.settings.data_folder.expanduser() / "reelwright.db").exists():
        from reelwright.cleaning import Policy, sweep

        usual = Policy.of(studio.settings)
        size = usual.size if gigabytes is None else round(gigabytes * 1e9)
        policy = Policy(usual.days if days is None else days, usual.files if files is None else files, size, owner)
        swept = sweep(desk.workshop(), policy, dry=dry)
        content["swept"] = [vars(each) for each in swept]
        lines += [f"{each.what} {each.name} ({each.size / 1e6:.1f} MB): {each.why}" for each in swept]
        lines.append(f"{len(swept)} of the server's things {verb} ({sum(each.size for each in swept) / 1e6:.1f} MB).")
    report.give(content, "\n".join(lines))


def schema() -> None:
    """Print the JSON Schema of storyboards, for editors and other programs."""
    import json

    from reelwright.storyboard import schema as made

    report.give(made(), json.dumps(made(), indent=2, ensure_ascii=False))
