"""M14, M15: the model `auto`, routes under limits of time and money; profiles of a storyboard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from making import Counting, counting

from reelwright.backends.local import hardware
from reelwright.catalog.fit import Machine
from reelwright.errors import RequestError, Unavailable
from reelwright.jobs.routing import Route, routes
from reelwright.manifest import read
from reelwright.request import GenerationRequest
from reelwright.settings import Settings, load
from reelwright.storyboard import Profile, Scene, Storyboard, profiled
from reelwright.studio import Studio

__all__ = ["counting"]  # a fixture


def settings(folder: Path, *wanted: str) -> Settings:
    return load(cache_folder=folder / "cache", data_folder=folder / "data", routes=wanted)


def test_routes_are_read(tmp_path: Path) -> None:
    known = settings(tmp_path, "wan-2.1-1.3b under 300 s", "fal/x under 60s under 0.5 usd", "placeholder")
    assert routes(known) == (Route("wan-2.1-1.3b", 300.0), Route("fal/x", 60.0, 0.5), Route("placeholder"))
    with pytest.raises(RequestError, match="no route"):
        routes(settings(tmp_path, "a b c"))
    with pytest.raises(RequestError, match="no routes are set"):
        routes(settings(tmp_path))


@pytest.mark.parametrize(
    ("machine", "served"),
    [
        (Machine("cuda", "NVIDIA H100", 80, 79, 128, 120, 400.0), "wan-2.1-1.3b"),
        (Machine("cuda", "NVIDIA T4", 16, 15.5, 64, 60, 25.0), "placeholder"),
        (Machine("cpu", "CPU, 2 cores", 0, 0, 24, 20, 0.07), "placeholder"),
    ],
)
def test_the_machine_decides_which_route_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: Machine, served: str
) -> None:
    """Local if it fits and takes under five minutes, else the next one."""
    monkeypatch.setattr(hardware, "glance", lambda wanted=None: machine)
    known = settings(tmp_path, "wan-2.1-1.3b under 300 s", "placeholder")
    shot, _ = Studio(known).shot(GenerationRequest("a lake at dawn", served))
    assert shot.card.id == served
    from reelwright.jobs.routing import routed

    card, told = routed(GenerationRequest("a lake at dawn"), known, lambda card: None)
    assert card.id == served
    assert card.title in told[0]


def test_no_route_says_what_kept_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from reelwright.jobs.routing import routed

    monkeypatch.setattr(hardware, "glance", lambda wanted=None: Machine("cpu", "CPU", 0, 0, 8, 6, 0.07))
    with pytest.raises(Unavailable, match=r"not wan-2.1-14b: .*GB.*not svd: "):
        routed(GenerationRequest("a lake"), settings(tmp_path, "wan-2.1-14b", "svd"), lambda card: None)


def board(**changes: object) -> Storyboard:
    scenes = (Scene("one", seconds=1, model="counter"), Scene("two", id="b", seconds=1, model="counter"))
    return Storyboard(scenes, size="128x64", fps=24, transition="cut", **changes)  # type: ignore[arg-type]  # fields by name


def test_a_profile_changes_models_and_quality() -> None:
    own = board(profiles={"quick": Profile(models={"b": "placeholder"}, fps=12)})
    quick = profiled(own, "quick")
    assert [scene.model for scene in quick.scenes] == ["counter", "placeholder"]
    assert quick.fps == 12
    assert [scene.model for scene in profiled(own, "draft").scenes] == ["placeholder", "placeholder"]
    assert profiled(own, "final") == own
    with pytest.raises(RequestError, match="no profile 'best'"):
        profiled(own, "best")


def test_a_draft_is_drawn_at_once_and_what_is_final_already_stands_in_it(counting: type[Counting], tmp_path: Path) -> None:
    """M15: draft here, finals scene by scene; one word on the command line."""
    studio = Studio(settings(tmp_path))
    first = studio.render(board(), tmp_path / "draft.mp4", profile="draft")
    assert counting.made == []
    assert {scene["served"] for scene in first.manifest["scenes"]} == {"placeholder"}
    one_done = replace(board(), scenes=(board().scenes[0],))
    studio.render(one_done, tmp_path / "one.mp4")
    assert len(counting.made) == 1
    again = studio.render(board(), tmp_path / "draft.mp4", profile="draft")
    assert len(counting.made) == 1, "a draft asks no model"
    assert [scene["served"] for scene in again.manifest["scenes"]] == ["counter", "placeholder"]
    final = studio.render(board(), tmp_path / "film.mp4")
    assert len(counting.made) == 2, "only the scene that was missing"
    assert [scene["served"] for scene in read(final.path)["scenes"]] == ["counter", "counter"]
