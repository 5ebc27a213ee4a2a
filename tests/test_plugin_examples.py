"""The examples of custom models keep the contract of backends, come in by the door of plug-ins, and stay small (M7)."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import runpy
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from reelwright import catalog, generate, plugins
from reelwright.catalog import Card
from reelwright.errors import Unavailable
from reelwright.media.decode import open_video
from reelwright.testing import BackendContract

PLUGINS = Path(__file__).parent.parent / "examples" / "plugins"
PAGE = Path(__file__).parent.parent / "docs" / "howto" / "custom-models.md"
MOST_LINES = 60
"""Of a backend's module: adding a model is not much work."""

KINDS = {
    "pytorch": ("ripples", "make_weights.py", ("torch", "safetensors")),
    "onnx": ("tides", "make_graph.py", ("onnx", "onnxruntime")),
    "tensorflow": ("dunes", "make_graph.py", ("onnx", "onnxruntime")),
}
"""An example's folder -> its model, what writes its weights, and what has to be installed."""

each = pytest.mark.parametrize("kind", KINDS)


def put_in(folder: Path, site: Path, patch: pytest.MonkeyPatch) -> None:
    """What `pip install --editable` leaves behind: the folder on the path, and a .dist-info with the entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    patch.syspath_prepend(str(folder))
    patch.syspath_prepend(str(site))


def forget() -> None:
    plugins.backends.cache_clear()
    catalog.card.cards.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: Callable[[str], None]) -> Iterator[Callable[[str], Path]]:
    """Install an example as pip would; returns the file with its weights, which its own script has made."""

    def make(kind: str) -> Path:
        model, script, needed = KINDS[kind]
        for package in needed:
            if importlib.util.find_spec(package) is None:
                absent(package)
        put_in(PLUGINS / kind, tmp_path / "site", monkeypatch)
        forget()
        made: Path = runpy.run_path(str(PLUGINS / kind / script))["make"](tmp_path / "models" / f"{model}.file")
        return made

    yield make
    monkeypatch.undo()
    forget()


class Plugin(BackendContract):
    """The contract, for a model whose weights lie where the test has put them."""

    kind: ClassVar[str] = ""
    weights: Path

    @pytest.fixture(autouse=True)
    def installed(self, install: Callable[[str], Path]) -> None:
        self.weights = install(self.kind)

    def card(self) -> Card:
        return dataclasses.replace(catalog.find(KINDS[self.kind][0]), source=str(self.weights))


class TestPytorch(Plugin):
    kind = "pytorch"


class TestOnnx(Plugin):
    kind = "onnx"


class TestTensorflow(Plugin):
    kind = "tensorflow"


@each
def test_a_backend_is_small(kind: str) -> None:
    """M7."""
    module = PLUGINS / kind / KINDS[kind][0] / "backend.py"
    assert len(module.read_text("utf-8").splitlines()) <= MOST_LINES


@each
def test_a_film_is_made_with_it(
    kind: str, install: Callable[[str], Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the entry point to a file, the weights at the place that the shipped card names."""
    weights, model = install(kind), KINDS[kind][0]
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Path(catalog.find(model).source).expanduser()
    place.parent.mkdir(parents=True, exist_ok=True)
    weights.rename(place)
    generate("Waves at dawn", tmp_path / "made.mp4", model=model, width=128, height=72, seconds=0.5)
    with open_video(tmp_path / "made.mp4") as video:
        frames = list(video.frames)
        assert (video.spec.width, video.spec.height, len(frames)) == (128, 72, 12)
    assert frames[0].y.std() > 5


@each
def test_without_its_weights_it_says_how_to_get_them(kind: str, install: Callable[[str], Path], tmp_path: Path) -> None:
    install(kind)
    card = dataclasses.replace(catalog.find(KINDS[kind][0]), source=str(tmp_path / "nothing.here"))
    with pytest.raises(Unavailable) as caught:
        plugins.backend_class(card.backend)().check(card)
    assert "nothing.here" in caught.value.hint
    assert "python" in caught.value.hint


def shown(mark: str) -> dict[str, str]:
    """Blocks of the how-to by what follows `mark` in the comment before them."""
    text = PAGE.read_text("utf-8")
    return dict(re.findall(rf"^<!-- {mark}: ([^>]+) -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", ["pytorch/ripples", "onnx/tides"])
def test_the_page_shows_what_is_shipped(name: str) -> None:
    """Code in the how-to is the code of the examples, to the letter."""
    folder = (PLUGINS / name).parent
    shipped = [path for pattern in ("*.py", "*/backend.py", "*/cards/*") for path in folder.glob(pattern)]
    assert len(shipped) == 3
    blocks = shown("file")
    assert [path for path in shipped if blocks.get(path.relative_to(folder).as_posix()) != path.read_text("utf-8")] == []


def test_the_page_shows_the_lines_by_which_the_converted_graph_differs() -> None:
    tides, dunes = ((PLUGINS / name / "backend.py").read_text("utf-8") for name in ("onnx/tides", "tensorflow/dunes"))
    excerpt = shown("not run")["lines of examples/plugins/tensorflow/dunes/backend.py"].splitlines()
    assert [line for line in excerpt if line not in dunes.splitlines()] == []
    own = set(dunes.splitlines()) - set(tides.replace("Tides", "Dunes").replace("tides", "dunes").splitlines())
    assert [line for line in own if line not in excerpt and "hint" not in line and '"""' not in line] == []


@each
def test_what_it_imports_is_what_it_asks_for(kind: str) -> None:
    project = tomllib.loads((PLUGINS / kind / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    text = "".join(path.read_text("utf-8") for path in (PLUGINS / kind / KINDS[kind][0]).glob("*.py"))
    third = set(re.findall(r"^ *(?:import|from) (torch|safetensors|onnxruntime|onnx|reelwright)\b", text, re.MULTILINE))
    assert asked == third
