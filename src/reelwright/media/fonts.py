"""Finding font files that cover a text.

Most texts are Latin, and then one or two files are opened; the whole machine is searched only for a character that no
preferred font has.
"""

from __future__ import annotations

import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reelwright.errors import MediaError
from reelwright.media.writing import LATIN, Script, clusters, invisible, script_of, tongue

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Weight = Literal["light", "regular", "bold"]
Run = tuple[str, "FontFile | None"]

_WEIGHTS: dict[Weight, int] = {"light": 300, "regular": 400, "bold": 700}
_SUFFIXES = frozenset({".ttf", ".otf", ".ttc", ".otc"})
_STRIKES = (109, 136, 128, 160, 96, 72, 64, 48, 40, 32, 20, 16)
"""Pixel sizes at which bitmap emoji fonts come; FreeType opens those at no other."""

_NO_LETTERS = frozenset({"lastresort", "lastresorthe", "lastresorthere", "adobeblank", "adobeblank2", "notosansblank"})
"""Fonts that claim every character and draw boxes or nothing."""


# ---- one file


class _Facts(NamedTuple):
    covered: frozenset[int]
    colour: bool
    axes: tuple[tuple[str, float, float, float], ...]
    names: frozenset[str]


_BROKEN = _Facts(frozenset(), False, (), frozenset())


@dataclass(frozen=True)
class FontFile:
    """One face in a font file. `path` None means the Latin font that is built into Pillow.

    `index` is the face's place in a collection (.ttc), `weight` 100..900 what a variable font is set to.
    """

    path: Path | None
    index: int = 0
    weight: int = 400

    @property
    def colour(self) -> bool:
        """Whether its glyphs bring their own colours (emoji)."""
        return _facts(self.path, self.index).colour

    def covers(self, text: str) -> bool:
        """Whether it has a glyph for every visible character of `text`; False for a font that cannot be read."""
        covered = _facts(self.path, self.index).covered
        return bool(covered) and all(ord(char) in covered or invisible(char) for char in text)

    def load(self, px: float) -> FreeTypeFont:
        """The font for drawing at `px` pixels an em; a bitmap font comes at a size of its own (`.size`). Raises OSError."""
        return _open(self.path, self.index, self.weight, px)


BUILT_IN = FontFile(None)
"""The Latin font in Pillow: the last resort of a machine without fonts."""


@lru_cache(maxsize=256)
def _open(path: Path | None, index: int, weight: int, px: float) -> FreeTypeFont:
    from PIL import ImageFont

    if path is None:
        stored = ImageFont.load_default(px)
        if not isinstance(stored, ImageFont.FreeTypeFont):
            raise OSError("Pillow was built without FreeType")
        return ImageFont.truetype(io.BytesIO(stored.font_bytes), px)  # as loaded there it knows no direction
    for size in (px, *_STRIKES):
        try:
            font = ImageFont.truetype(path, size, index)
            break
        except OSError as error:
            if "pixel size" not in str(error):
                raise
    else:
        raise OSError(f"no usable size in {path}")
    axes = _facts(path, index).axes
    if any(tag == "wght" for tag, *_ in axes):
        font.set_variation_by_axes([min(max(weight, low), high) if tag == "wght" else start for tag, low, start, high in axes])
    return font


@cache
def _facts(path: Path | None, index: int) -> _Facts:
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    try:
        stored: Any = path.open("rb") if path else io.BytesIO(_open(None, 0, 400, 16).font_bytes)
        with stored, TTFont(stored, fontNumber=index, lazy=True) as font:
            colour = any(table in font for table in ("CBDT", "sbix", "COLR"))
            layers = getattr(font["COLR"], "table", None) if "COLR" in font else None
            if layers is not None and not layers.BaseGlyphRecordCount and "CBDT" not in font and "sbix" not in font:
                return _BROKEN  # COLR version 1 only: FreeType alone cannot paint its gradients
            axes = tuple((a.axisTag, a.minValue, a.defaultValue, a.maxValue) for a in font["fvar"].axes) if "fvar" in font else ()
            names = frozenset(_key(name) for nid in (1, 4, 16) if (name := font["name"].getDebugName(nid)))
            covered = frozenset(font["cmap"].getBestCmap() or ())
        if path is not None and not any(_opens(ImageFont.truetype, path, size, index) for size in (20, *_STRIKES)):
            return _BROKEN
    except Exception:  # noqa: BLE001 - a broken file fails in any way at all inside fontTools; it must only be passed over
        return _BROKEN
    return _Facts(covered, colour, axes, names)


def _opens(opener: Any, *how: Any) -> bool:
    try:
        opener(*how)
    except OSError:
        return False
    return True


# ---- names of files

_WINDOWS = {
    "arialbd": ("arial", 700),
    "segoeuib": ("segoeui", 700),
    "segoeuil": ("segoeui", 300),
    "msyhbd": ("msyh", 700),
    "msyhl": ("msyh", 300),
    "tahomabd": ("tahoma", 700),
    "verdanab": ("verdana", 700),
    "malgunbd": ("malgun", 700),
    "meiryob": ("meiryo", 700),
    "yugothb": ("yugoth", 700),
    "yugothm": ("yugoth", 500),
    "yugothr": ("yugoth", 400),
    "nirmalab": ("nirmala", 700),
}
_HEAVY = {"thin": 100, "extralight": 200, "ultralight": 200, "semilight": 350, "light": 300, "regular": 400, "book": 400}
_HEAVY |= {"normal": 400, "roman": 400, "medium": 500, "semibold": 600, "demibold": 600, "demi": 600, "extrabold": 800}
_HEAVY |= {"ultrabold": 800, "bold": 700, "black": 900, "heavy": 900}
_WORD = re.compile(f"({'|'.join(sorted(_HEAVY, key=len, reverse=True))}|italic|oblique|variablefont|variable|vf)$")


class _Named(NamedTuple):
    family: str
    weight: int
    upright: bool


def _key(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


@cache
def _named(name: str) -> _Named:
    """Family, weight and slant as a file's or face's name tells them: "DejaVuSans-BoldOblique" has all three."""
    key = _key(re.sub(r"\[.*?\]|_wght|_opsz|,wght", "", name))
    if key in _WINDOWS:
        return _Named(*_WINDOWS[key], True)
    weight, upright = 400, True
    while (word := _WORD.search(key)) and word.start():
        key = key[: word.start()]
        weight = _HEAVY.get(word[1], weight)
        upright = upright and word[1] not in ("italic", "oblique")
    return _Named(key, weight, upright)


@cache
def _faces(path: Path) -> tuple[str, ...]:
    """The full names of the faces in a collection, by index."""
    from fontTools.ttLib import TTCollection

    try:
        with path.open("rb") as stored, TTCollection(stored, lazy=True) as collection:
            return tuple(font["name"].getDebugName(4) or "" for font in collection.fonts)
    except Exception:  # noqa: BLE001 - as in _facts
        return ("",)


# ---- all files


class Fonts:
    """The font files in some folders, searched with their subfolders; earlier folders win. Missing folders are empty ones."""

    def __init__(self, folders: Iterable[Path | str]) -> None:
        self.files = tuple(dict.fromkeys(path for folder in folders for path in _walk(Path(folder))))
        self._families: dict[str, list[Path]] = {}
        for path in self.files:
            self._families.setdefault(_named(path.stem).family, []).append(path)
        self._known: dict[tuple[str, str, int, FontFile | None], FontFile | None] = {}

    def find(self, family: str, weight: Weight = "regular") -> FontFile | None:
        """The font of a family by its name ("Noto Sans") or by a path to its file; None where no such name is here.

        Raises MediaError if `family` is a path and the file is not there or not a font.
        """
        path = Path(family).expanduser()
        if path.suffix.lower() in _SUFFIXES or "/" in family or os.sep in family:
            font = FontFile(path, _face(path, "", _WEIGHTS[weight]), _WEIGHTS[weight])
            if not _facts(path, font.index).covered:
                raise MediaError(f"{family} is not a font that can be read", hint="Give a .ttf, .otf or .ttc file.")
            return font
        key = _key(family)
        named = self._families.get(key) or [p for p in self.files if key in _facts(p, 0).names]
        return next(self._best(named, "", _WEIGHTS[weight]), None)

    def choose(self, text: str, weight: Weight = "regular", family: str | None = None) -> list[Run]:
        """`text` in runs of one font each, None where no font has the characters; clusters stay whole.

        `family` as for `find`; it comes first, and other fonts fill what it lacks. Raises MediaError as `find` does.
        """
        wanted = self.find(family, weight) if family else None
        forms = tongue(text)
        runs: list[Run] = []
        font: FontFile | None = None
        for cluster in clusters(text):
            font = self._pick(cluster, forms, _WEIGHTS[weight], wanted, font)
            if runs and runs[-1][1] == font:
                runs[-1] = (runs[-1][0] + cluster, font)
            else:
                runs.append((cluster, font))
        return runs

    def missing(self, text: str, family: str | None = None) -> str:
        """The characters of `text` that no font has, each once, in order."""
        return lacking(self.choose(text, family=family))

    def _pick(self, cluster: str, forms: str, weight: int, wanted: FontFile | None, last: FontFile | None) -> FontFile | None:
        script = script_of(cluster)
        # Spaces, digits and marks look best in the letters beside them; but never take an emoji font's digits.
        neutral = script is LATIN and unicodedata.category(cluster[0])[0] in "ZPCNS"
        if neutral and last is not None and not last.colour and last.covers(cluster):
            return last
        key = (cluster, forms, weight, wanted)
        if key not in self._known:
            fonts = self._candidates(script, forms, weight, wanted)
            self._known[key] = next((font for font in fonts if font.covers(cluster)), None)
        return self._known[key]

    def _candidates(self, script: Script, forms: str, weight: int, wanted: FontFile | None) -> Iterator[FontFile]:
        if wanted is not None:
            yield wanted
        for stem in dict.fromkeys((*script.families, *LATIN.families)):
            yield from self._best(self._families.get(stem, ()), forms, weight)
        yield from self._best(self.files, forms, weight)
        yield BUILT_IN

    def _best(self, paths: Iterable[Path], forms: str, weight: int) -> Iterator[FontFile]:
        def distance(path: Path) -> tuple[bool, bool, int]:
            name = _named(path.stem)
            return "mono" in name.family, not name.upright, abs(name.weight - weight)

        for path in sorted(paths, key=distance):
            if _named(path.stem).family not in _NO_LETTERS:
                yield FontFile(path, _face(path, forms, weight), weight)


def _walk(folder: Path) -> list[Path]:
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower() in _SUFFIXES)


def _face(path: Path, forms: str, weight: int) -> int:
    """Which face of a collection: the nearest weight, and for Chinese, Japanese and Korean the letter forms of the text."""
    if path.suffix.lower() not in (".ttc", ".otc"):
        return 0

    def distance(index: int) -> tuple[bool, bool, int, bool]:
        name = _named(faces[index])
        return "mono" in name.family, not name.upright, abs(name.weight - weight), not name.family.endswith(forms)

    faces = _faces(path)
    return min(range(len(faces)), key=distance)


def folders() -> tuple[Path, ...]:
    """Where this machine keeps fonts; those in `REELWRIGHT_FONTS` come first."""
    home, own = Path.home(), [Path(part) for part in os.environ.get("REELWRIGHT_FONTS", "").split(os.pathsep) if part]
    if sys.platform == "darwin":
        return (*own, home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts"))
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "Microsoft/Windows/Fonts"
        return (*own, local, Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts")
    shared = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "fonts"
    return (*own, shared, home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts"))


def machine() -> Fonts:
    """The fonts of this machine. Its folders are listed once; fonts installed later are seen by the next process."""
    return _of_folders(folders())


@lru_cache(maxsize=4)
def _of_folders(places: tuple[Path, ...]) -> Fonts:
    return Fonts(places)


def choose(text: str, weight: Weight = "regular", family: str | None = None) -> list[Run]:
    """As `Fonts.choose`, with the fonts of this machine."""
    return machine().choose(text, weight, family)


def missing(text: str) -> str:
    """The characters of `text` that no font of this machine has, each once, in order."""
    return machine().missing(text)


def lacking(runs: Iterable[Run]) -> str:
    """The characters in runs without a font, each once, in order."""
    return "".join(dict.fromkeys(char for run, font in runs if font is None for char in run if not invisible(char)))


def missing_note(chars: str) -> str:
    """A sentence on characters that no font has, with what to install; empty for an empty text."""
    if not chars:
        return ""
    shown = " ".join(char if char.isprintable() else f"U+{ord(char):04X}" for char in chars[:12]) + (" …" if chars[12:] else "")
    packages = dict.fromkeys(script_of(char).package for char in chars if unicodedata.category(char) not in ("Co", "Cn", "Cs"))
    install = f" (on Debian: apt-get install {' '.join(packages)})" if packages else ""
    return f"No font on this machine has these characters: {shown}. Install a font for them{install}."
