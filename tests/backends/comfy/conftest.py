"""A stand-in ComfyUI server, and a real one where REELWRIGHT_TEST_COMFYUI names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_making import NOISE, REAL
from comfy_standin import Comfy

from reelwright import catalog
from reelwright.run import LocalRun


@pytest.fixture(autouse=True)
def registered(home: Path) -> Iterator[Path]:
    """The workflow without models is registered, and nothing is left of other tests' cards."""
    catalog.card.cards.cache_clear()
    folder = home / "graphs"
    folder.mkdir()
    (folder / "noise.json").write_text(json.dumps(NOISE))
    yield folder
    catalog.card.cards.cache_clear()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scratch folders of runs are the test's, and stay: frames are read from them after a run is out of sight."""

    def folder(run: LocalRun) -> Path:
        found = tmp_path / f"scratch-{id(run)}"
        run.__dict__.setdefault("kept", runs).append(run)  # so that no other gets its id
        found.mkdir(exist_ok=True)
        return found

    runs: list[LocalRun] = []
    monkeypatch.setattr(LocalRun, "scratch", property(folder))


@pytest.fixture
def comfy() -> Iterator[Comfy]:
    made = Comfy()
    yield made
    made.close()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def another() -> Iterator[Callable[..., Comfy]]:
    """More servers."""
    made: list[Comfy] = []

    def start(**faults: Any) -> Comfy:
        made.append(Comfy(**faults))
        return made[-1]

    yield start
    for each in made:
        if not each.ended:
            each.close()
        shutil.rmtree(each.folder, ignore_errors=True)


@pytest.fixture
def address(comfy: Comfy) -> str:
    """A server that runs the workflow without models: the real one, if there is one."""
    return REAL or comfy.address
