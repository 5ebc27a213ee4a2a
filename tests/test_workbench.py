"""Orders as jobs with models that count: routes, stand-ins and chains over several jobs (M14, M15, J1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import making
import pytest
from making import Counting, counting, picture

from reelwright import catalog
from reelwright.errors import Conflict, RequestError, TimedOut, UnknownModel
from reelwright.jobs.rows import Job
from reelwright.jobs.worker import Worker
from reelwright.request import GenerationRequest, Input, Lora
from reelwright.run import LocalRun, Run
from reelwright.settings import load
from reelwright.storyboard import Profile, Scene, Storyboard, profiled
from reelwright.studio import Studio
from reelwright.types import Role, Video
from reelwright.workers import GPU_TIERS, posts
from reelwright.workshop import Workshop

__all__ = ["counting"]

pytestmark = pytest.mark.usefixtures("counting")


def shop_in(folder: Path, **settings: Any) -> Workshop:
    return Workshop(load(data_folder=folder / "data", cache_folder=folder / "cache", workers=1, **settings))


def work(shop: Workshop, job: Job) -> Job:
    """All queued jobs, by one worker; the job as it ended."""
    worker = Worker(shop.store, "w", ("cpu", "net"), shop.perform, find=shop.find)
    clock, later = shop.store.clock, 0
    shop.store.clock = lambda: clock() + later
    for later in range(0, 1000, 100):  # noqa: B007  read by the clock: what is tried again waits a while before
        while worker.once():
            pass
    return shop.store.get(job.id)


def board(*scenes: Scene, **fields: Any) -> Storyboard:
    return Storyboard(scenes, **{"size": "160x90", "fps": 24, "model": "counter", **fields})


def served(job: Job) -> list[tuple[str, str]]:
    assert job.result is not None, job.error
    return [(scene["asked"], scene["served"]) for scene in job.result["manifest"]["scenes"]]


def install(monkeypatch: pytest.MonkeyPatch, *cards: dict[str, Any]) -> None:
    """Cards beside those of the counting model."""
    monkeypatch.setattr(making, "CARDS", [*making.CARDS, *cards])
    catalog.card.cards.cache_clear()


# ---- auto


def test_auto_is_routed_once_for_all_attempts(tmp_path: Path) -> None:
    shop = shop_in(tmp_path, routes=("counter",))
    assert shop.estimate(GenerationRequest("one", "auto"), "local")[0].card.id == "counter"
    job = shop.generate(GenerationRequest("one", "auto", seconds=1, options={"steps": 3}))
    assert job.content["request"]["model"] == job.model == "counter"
    assert job.content["request"]["options"] == {"steps": 3}
    done = work(shop, job)
    assert served(done) == [("auto", "counter")]
    assert any("Routed to Counter" in note for note in done.notes)


def test_a_films_auto_is_routed_when_it_is_ordered(tmp_path: Path) -> None:
    shop = shop_in(tmp_path, routes=("counter",))
    job = shop.film(board(Scene("one", seconds=1), Scene("two", seconds=1, image="previous"), model="auto"))
    parts = shop.store.list(parent=job.id)
    for each in (job, *parts):
        assert [scene["model"] for scene in each.content["storyboard"]["scenes"]] == ["counter", "counter"]
    later = shop_in(tmp_path, routes=("placeholder",))  # an attempt after this one is not routed elsewhere
    assert served(work(later, job)) == [("auto", "counter"), ("auto", "counter")]


def test_a_model_that_cannot_be_used_has_its_stand_in_in_the_job(tmp_path: Path) -> None:
    shop = shop_in(tmp_path, fallback=("counter", "placeholder"))
    job = shop.generate(GenerationRequest("one", "gone", seconds=1, options={"sparkle": 1, "steps": 3}))
    assert job.content["request"]["model"] == "counter"
    done = work(shop, job)
    assert served(done) == [("gone", "counter")]
    assert any("gone cannot be used" in note for note in done.notes)


# ---- orders that are alive


def ordering(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """This model's provider took the order, and does not answer in time."""
    plain = Counting.generate

    def generate(self: Counting, shot: catalog.Shot, run: Run) -> Video:
        if shot.card.id != model:
            return plain(self, shot, run)
        run.remember(hosted={**run.memory.get("hosted", {}), shot.fingerprint[:16]: {"intent": "x"}})
        raise TimedOut("too late", retryable=False)

    monkeypatch.setattr(Counting, "generate", generate)


def test_nothing_stands_in_while_an_order_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M14, M20: it is waited for by the next attempt; a stand-in would cost twice."""
    ordering(monkeypatch, "down")
    film = board(Scene("one", seconds=1, model="down"))
    with pytest.raises(TimedOut):
        Studio(load(cache_folder=tmp_path / "here")).render(film, tmp_path / "a.mp4", run=LocalRun())
    shop = shop_in(tmp_path)
    job = work(shop, shop.film(film))
    (scene,) = shop.store.list(parent=job.id)
    assert (scene.state, scene.error and scene.error["error"]) == ("failed", TimedOut.code)
    assert scene.memory["hosted"]


def test_nor_does_another_one_while_a_stand_ins_order_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordering(monkeypatch, "full")
    shop = shop_in(tmp_path, fallback=("full", "placeholder"))
    job = work(shop, shop.film(board(Scene("one", seconds=1, model="buggy"))))
    assert job.state == "failed"


def test_an_order_that_was_fetched_is_not_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip's first section came; its second one failed for good."""
    plain = Counting.generate

    def generate(self: Counting, shot: catalog.Shot, run: Run) -> Video:
        if shot.card.id == "stiff":
            key = shot.fingerprint[:16]
            run.remember(hosted={**run.memory.get("hosted", {}), key: {}}, cost={**run.memory.get("cost", {}), key: {}})
            if shot.input(Role.FIRST_FRAME):
                run.remember(hosted={each: {} for each in run.memory["hosted"] if each != key})
                raise TimedOut("too late", retryable=False)
        return plain(self, shot, run)

    monkeypatch.setattr(Counting, "generate", generate)
    made = Studio(load(cache_folder=tmp_path)).render(board(Scene("one", seconds=5, model="stiff")), tmp_path / "a.mp4")
    assert made.manifest["scenes"][0]["served"] == "placeholder"


def test_a_stand_in_that_refuses_the_request_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Counting.generate

    def generate(self: Counting, shot: catalog.Shot, run: Run) -> Video:
        if shot.card.id == "full":
            raise RequestError("not this one")
        return plain(self, shot, run)

    monkeypatch.setattr(Counting, "generate", generate)
    studio = Studio(load(cache_folder=tmp_path, fallback=("full", "counter")))
    made = studio.render(board(Scene("one", seconds=1, model="down")), tmp_path / "a.mp4")
    assert made.manifest["scenes"][0]["served"] == "counter"
    with pytest.raises(RequestError, match="not this one"):
        studio.render(board(Scene("one", seconds=1, model="full")), tmp_path / "b.mp4")


# ---- chains


def test_a_chain_over_jobs_goes_on_from_the_stand_in(tmp_path: Path) -> None:
    """M14: the third scene's job knows what became of the first; the film tells what was asked and what served."""
    shop = shop_in(tmp_path)
    scenes = (
        Scene("one", seconds=1, model="down", options={"steps": 3}),
        Scene("two", seconds=1, image="previous"),
        Scene("three", seconds=1, image="previous"),
    )
    done = work(shop, shop.film(board(*scenes, transition="cut"), None))
    assert served(done) == [("down", "placeholder"), ("counter", "counter"), ("counter", "counter")]
    first = done.result["manifest"]["scenes"][0]  # type: ignore[index]  # `served` has held it
    assert "the provider is down" in first["why"]
    assert "without the option steps" in first["why"]
    assert any("the placeholder stands in" in note for note in done.notes)


def test_a_chain_over_jobs_goes_through_a_drawn_scene(tmp_path: Path) -> None:
    shop = shop_in(tmp_path)
    scenes = (
        Scene("one", seconds=1),
        Scene("two", seconds=1, image="previous", model="placeholder"),
        Scene("three", seconds=1, image="previous"),
    )
    job = shop.film(board(*scenes))
    (last, first) = sorted(shop.store.list(parent=job.id), key=lambda each: -each.content["scene"])
    assert shop.store.needs(last.id) == (first.id,)
    assert served(work(shop, job)) == [("counter", "counter"), ("placeholder", "placeholder"), ("counter", "counter")]


def test_a_draft_goes_on_from_a_scene_that_is_final(tmp_path: Path) -> None:
    """M15."""
    studio = Studio(load(cache_folder=tmp_path))
    first, second = Scene("one", seconds=1), Scene("two", seconds=1, image="previous")
    studio.render(board(first), tmp_path / "one.mp4")
    draft = studio.render(board(first, second), tmp_path / "draft.mp4", profile="draft")
    assert [scene["served"] for scene in draft.manifest["scenes"]] == ["counter", "placeholder"]


# ---- what was meant for another model


def test_a_stand_in_gets_nothing_that_was_meant_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRAs of the film and of the scene, inputs and options; a note says so."""
    taking = {"loras": True, "accepts": [[], ["first_frame"], ["last_frame"]]}
    install(monkeypatch, making._card("first", settings={"fails": "provider"}, **taking), making._card("next", loras=True))
    picture(tmp_path / "p.png")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    lora = (Lora(str(tmp_path / "x.safetensors")),)
    scene = Scene("one", seconds=1, model="first", options={"steps": 3}, inputs=(Input(Role.LAST_FRAME, "p.png"),), loras=lora)
    studio = Studio(load(cache_folder=tmp_path / "cache", fallback=("next",)))
    made = studio.render(board(scene, loras=lora), tmp_path / "a.mp4", tmp_path)
    (told,) = made.manifest["scenes"]
    assert (told["asked"], told["served"]) == ("first", "next")
    assert (told["shot"]["loras"], told["shot"]["inputs"], told["shot"]["options"]) == ([], [], {"steps": 20})
    assert any("without the option steps, the LoRA" in note and "the last_frame" in note for note in made.notes)
    shop = shop_in(tmp_path / "shop", fallback=("next",))
    monkeypatch.setattr("reelwright.workshop.hold_references", lambda _board: None)
    plain = board(Scene("one", seconds=1, model="first", options={"steps": 3}), loras=lora)
    monkeypatch.setattr(Workshop, "finder", lambda _self, _owner: lambda ref: Path(ref))
    assert served(work(shop, shop.film(plain))) == [("first", "next")]


def test_a_profiles_model_gets_nothing_that_was_meant_for_the_first(tmp_path: Path) -> None:
    scene = Scene("one", model="x", options={"a": 1}, inputs=(Input(Role.LAST_FRAME, "p.png"),), loras=(Lora("a/b"),))
    (other,) = profiled(board(scene, profiles={"quick": Profile("counter", options={"steps": 2})}), "quick").scenes
    assert (other.model, other.options, other.inputs, other.loras) == ("counter", {"steps": 2}, (), ())
    drawn = Studio(load(cache_folder=tmp_path)).render(board(scene), tmp_path / "a.mp4", profile="draft")
    assert "Scene 1 is made by placeholder without the option a, the LoRA a/b, the last_frame." in drawn.notes


# ---- workers, LoRAs, pictures, cards


def test_every_tier_is_served_by_somebody() -> None:
    tiers = {f"gpu.{tier}" for tier in GPU_TIERS}
    for gpus in ((), (6.0,), (23.6,), (7.9, 23.6, 23.6)):
        made = posts(gpus)
        assert tiers <= {lane for post in made for lane in post.lanes}, gpus
        assert len({post.label for post in made}) == len(made)
    small, large = posts((7.9, 23.6))[1:]
    assert (small.lanes, "gpu.80" in large.lanes) == (("gpu.8",), True)


def test_an_installed_lora_is_used_on_a_server(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, making._card("adaptable", loras=True))
    (home / "loras").mkdir()
    (home / "loras" / "ink.safetensors").write_bytes(b"ink")
    shop = shop_in(tmp_path)
    job = shop.generate(GenerationRequest("one", "adaptable", seconds=1, loras=(Lora("ink"),)))
    assert work(shop, job).state == "done"
    film = shop.film(board(Scene("two", seconds=1, model="adaptable", loras=(Lora("ink"),))))
    assert served(work(shop, film)) == [("adaptable", "adaptable")]


def stills(name: str, model: str) -> dict[str, Any]:
    content = making._card(name, backend="keyframes", settings={"picture": model}, accepts=[[]])
    return {**content, "options": {"camera": {"type": "string", "default": "static"}}}


def test_a_picture_that_fails_is_drawn_and_not_kept_as_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M2: a frame that fails becomes a placeholder frame, and the result says so; the next time the model is asked again."""
    install(monkeypatch, stills("stills", "down"))
    studio = Studio(load(cache_folder=tmp_path))
    for _ in range(2):
        made = studio.generate(GenerationRequest("one", "stills", seconds=1), tmp_path / "a.mp4")
        assert [(each["asked"], each["served"]) for each in made.manifest["scenes"]] == [("stills", "placeholder")]
        assert any("the provider is down" in note and "placeholder stands in" in note for note in made.notes)
    assert Counting.made == ["one", "one"]


def test_a_picture_is_made_once_by_the_settings_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, stills("stills", "counter"))
    studio = Studio(load(cache_folder=tmp_path / "cache"))
    for camera in ("pan left", "zoom in"):
        request = GenerationRequest("one", "stills", seconds=1, options={"camera": camera})
        assert studio.generate(request, tmp_path / "a.mp4").manifest["scenes"][0]["served"] == "stills"
    assert Counting.made == ["one"]
    assert len(list((tmp_path / "cache" / "pictures").rglob("*.png"))) == 1


def test_a_card_is_not_added_under_a_name_that_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reelwright.cli.models import add

    monkeypatch.setattr("reelwright.backends.describing.content_of", lambda *_: making._card("mine"))
    with pytest.raises(Conflict, match="a card placeholder already"):
        add("owner/name", "placeholder")
    assert not (home / "cards").exists()
    add("owner/name", None)
    assert (home / "cards" / "mine.toml").is_file()


def test_no_model_has_an_empty_name() -> None:
    with pytest.raises(UnknownModel):
        catalog.find("")
