"""What the command line says: results, tables, errors, progress; for people, for pipes, or as JSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelwright.errors import ReelwrightError
    from reelwright.run import LocalRun, Progress
    from reelwright.studio import Result

as_json = False
"""Set by `--json`."""
stopped = threading.Event()
"""Set by Ctrl-C; every run is cancelled by it."""


def say(text: str) -> None:
    """A line for a person; nothing in JSON mode."""
    if not as_json:
        print(text)  # noqa: T201  the command line's own output


def give(content: Mapping[str, Any], text: str) -> None:
    """A result: the JSON object, or the text."""
    if as_json:
        print(json.dumps(content, ensure_ascii=False, default=str))  # noqa: T201  likewise
    else:
        print(text)  # noqa: T201  likewise


def problem(text: str, code: str) -> None:
    """An error on standard error."""
    line = json.dumps({"error": code, "message": text}, ensure_ascii=False) if as_json else text
    print(line, file=sys.stderr)  # noqa: T201  likewise


def failure(error: ReelwrightError) -> None:
    """A foreseen error on standard error."""
    if as_json:
        print(json.dumps(error.body(), ensure_ascii=False, default=str), file=sys.stderr)  # noqa: T201  likewise
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text("Error: ", style="bold red") + Text(error.message))
    if error.hint:
        console.print(Text(error.hint, style="dim"))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], names: Sequence[str] | None = None) -> None:
    """A table, or a JSON list of objects named by `names` (the columns in lower case by default)."""
    if as_json:
        keys = names or [column.lower().replace(" ", "_") for column in columns]
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], ensure_ascii=False, default=str))  # noqa: T201  likewise
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold")
    for row in rows:
        made.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a pipe has no width; do not cut its lines
    console.print(made)


def result(made: Result) -> None:
    """A file that was made, and its notes."""
    from reelwright.studio import spec_json

    spec = spec_json(made.spec)
    size = made.path.stat().st_size
    content = {"path": str(made.path), "size": size, **spec, "notes": made.notes, "made": made.made, "reused": made.reused}
    lines = [f"Note: {note}" for note in made.notes]
    again = f", {made.reused} of {made.made + made.reused} parts from before" if made.reused else ""
    facts = f"{spec['width']}x{spec['height']}, {float(made.spec.fps):g} fps, {spec['seconds']:g} s, {size / 1e6:.1f} MB{again}"
    give(content, "\n".join([*lines, f"{made.path}  ({facts})"]))


@contextmanager
def working(title: str) -> Iterator[LocalRun]:
    """A run whose progress is shown: a bar on a terminal, lines when piped, nothing in JSON mode."""
    from reelwright.run import LocalRun

    if as_json:
        yield LocalRun(cancel=stopped)
    elif sys.stderr.isatty():
        with _bar(title) as shown:
            yield LocalRun(on_progress=shown, cancel=stopped)
    else:
        yield LocalRun(on_progress=_Lines(title), cancel=stopped)


@contextmanager
def _bar(title: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    facts = TextColumn("{task.fields[rate]:>5.0f} fps"), TimeRemainingColumn(compact=True)
    with Bar(*columns, *facts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, rate=0.0)
        stage, began, first = "", time.monotonic(), 0

        def show(progress: Progress) -> None:
            nonlocal stage, began, first
            if stage != progress.stage:
                stage, began, first = progress.stage, time.monotonic(), progress.done
            spent = time.monotonic() - began
            rate = (progress.done - first) / spent if spent > 0.2 else 0.0
            bar.update(task, total=progress.total, completed=progress.done, description=f"{title}: {progress.stage}", rate=rate)

        yield show


class _Lines:
    """Progress as lines: one a tenth, and at most one every two seconds."""

    def __init__(self, title: str) -> None:
        self._title, self._stage, self._tenth, self._at = title, "", -1, 0.0

    def __call__(self, progress: Progress) -> None:
        tenth, now = int(progress.fraction * 10), time.monotonic()
        if progress.stage == self._stage and (tenth == self._tenth or (now - self._at < 2 and progress.done < progress.total)):
            return
        self._stage, self._tenth, self._at = progress.stage, tenth, now
        eta = f", about {progress.eta:.0f} s left" if progress.eta else ""
        line = f"{self._title}: {progress.stage} {progress.done}/{progress.total}{eta}"
        print(line, file=sys.stderr)  # noqa: T201  likewise
