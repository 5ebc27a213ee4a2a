"""The door through which models come in: entry points for backends and for folders of cards.

The built-in ones use it too. A plug-in package declares

    [project.entry-points."reelwright.backends"]
    mine = "my_package:MyBackend"          # a class with check, generate and close
    [project.entry-points."reelwright.cards"]
    mine = "my_package"                    # a package with a folder `cards` of TOML files
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any

from reelwright.errors import MissingExtra, RequestError
from reelwright.settings import Settings, config_folder


@cache
def backends() -> dict[str, EntryPoint]:
    """Every installed backend by name, not loaded."""
    return {point.name: point for point in entry_points(group="reelwright.backends")}


def backend_class(name: str) -> type:
    """The class of a backend; raises RequestError for an unknown name, MissingExtra if its dependencies are absent."""
    points = backends()
    if name not in points:
        raise RequestError(f"no backend is called {name!r}", hint=f"Installed: {', '.join(sorted(points)) or 'none'}.")
    try:
        loaded = points[name].load()
    except ImportError as error:
        raise MissingExtra(
            f"the backend {name!r} needs {error.name or 'a package'} that is not installed",
            hint=f"Install it: pip install 'reelwright[{name}]'.",
            backend=name,
        ) from error
    if not isinstance(loaded, type):
        raise RequestError(f"the entry point {name!r} does not name a class", hint=f"It names {points[name].value}.")
    return loaded


def make_backend(name: str, settings: Settings) -> Any:
    """A backend of this name, with these settings if its class takes any (`wanted`). Raises as `backend_class` does."""
    cls = backend_class(name)
    return cls(settings) if "wanted" in inspect.signature(cls).parameters else cls()


def card_files() -> Iterator[tuple[str, dict[str, Any]]]:
    """(origin, content) of each card: installed packages first, then the person's own folder, which may replace them."""
    for point in sorted(entry_points(group="reelwright.cards"), key=lambda point: (point.name != "builtin", point.name)):
        folder = files(point.value).joinpath("cards")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".toml"):
                yield f"{point.value}/{entry.name}", tomllib.loads(entry.read_text("utf-8"))
    own = config_folder() / "cards"
    for path in sorted(own.glob("*.toml")) if own.is_dir() else ():
        try:
            yield str(path), tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RequestError(f"the card {path.name} is not valid TOML: {error}", hint=f"It lies in {own}.") from None
