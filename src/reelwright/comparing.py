"""The same prompt by several models, side by side; and the one that is kept (S10)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reelwright.errors import BackendError, NotFound, ReelwrightError, RequestError
from reelwright.media.beside import beside
from reelwright.media.decode import open_video, spread
from reelwright.media.encode import save
from reelwright.media.partial import whole
from reelwright.media.stills import save_picture, sheet

_STILLS = 4
"""Pictures of each clip on the contact sheet."""
_LIST = "compare.json"

Make = Callable[[str, Path], Any]
"""Makes the clip of a model at a path; gives a Result."""


@dataclass(frozen=True)
class Contender:
    """A model's clip in a comparison: its file (None if it failed), its notes, or why it failed."""

    model: str
    file: str | None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of comparing: the film side by side, the contact sheet, and the contenders in order."""

    folder: Path
    film: Path
    sheet: Path
    contenders: tuple[Contender, ...]


def compare(models: Sequence[str], folder: Path, make: Make, prompt: str, told: Callable[[str], None]) -> Comparison:
    """Have each model make its clip into `folder`, then put them side by side with their names.

    One that fails is left out, with its reason; raises BackendError if all fail, RequestError for fewer than two models.
    """
    if len(set(models)) < 2:
        raise RequestError("two models or more are compared", hint="Name each with -m.", field="model")
    folder.mkdir(parents=True, exist_ok=True)
    contenders = []
    for model in dict.fromkeys(models):
        path = folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', model).strip('-')}.mp4"
        try:
            result = make(model, path)
            contenders.append(Contender(model, path.name, tuple(result.notes)))
        except ReelwrightError as error:
            told(f"{model} failed: {error}")
            contenders.append(Contender(model, None, error=str(error)))
    there = [each for each in contenders if each.file is not None]
    if not there:
        raise BackendError(f"none of {len(contenders)} models made it: {contenders[0].error}", models=list(models))
    files = [folder / str(each.file) for each in there]
    film, stills = folder / "compare.mp4", folder / "compare.jpg"
    save(beside([open_video(path, audio=False) for path in files], [each.model for each in there]), film)
    pictures = [frame for path in files for frame in spread(path, _STILLS)]
    save_picture(sheet(pictures, columns=_STILLS), stills)
    with whole(folder / _LIST) as part:
        content = {"prompt": prompt, "contenders": [asdict(each) for each in contenders]}
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")
    return Comparison(folder, film, stills, tuple(contenders))


def pick(folder: Path, winner: str, output: Path | None = None, *, only: bool = False) -> Path:
    """Keep the winner of a comparison: a model, or its number from 1; copied to `output` (beside the folder by default).

    `only`: the other clips go. Raises NotFound if there was no such comparison or contender.
    """
    try:
        content = json.loads((folder / _LIST).read_text("utf-8"))
        contenders = [Contender(**{**each, "notes": tuple(each["notes"])}) for each in content["contenders"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFound(f"{folder} holds no comparison", hint="Make one: reel compare PROMPT -m A -m B.") from None
    there = [each for each in contenders if each.file is not None]
    number = int(winner) if winner.isdigit() else 0
    chosen = there[number - 1] if 1 <= number <= len(there) else next((each for each in there if each.model == winner), None)
    if chosen is None or chosen.file is None:
        names = ", ".join(f"{place} {each.model}" for place, each in enumerate(there, 1))
        raise NotFound(f"{winner} is not among them", hint=f"There are: {names}.")
    path = output or folder.with_name(f"{folder.name}.mp4")
    with whole(path) as part:
        shutil.copyfile(folder / chosen.file, part)
    manifest = folder / f"{chosen.file}.json"
    if manifest.is_file():
        shutil.copyfile(manifest, path.with_name(f"{path.name}.json"))
    with whole(folder / _LIST) as part:
        part.write_text(json.dumps({**content, "picked": chosen.model}, ensure_ascii=False, indent=1), "utf-8")
    if only:
        for each in there:
            if each is not chosen and each.file is not None:
                (folder / each.file).unlink(missing_ok=True)
    return path
