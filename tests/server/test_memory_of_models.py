"""M16, J4: models are loaded, listed and unloaded over HTTP, in the memory of a worker with a real tiny pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from serving import served
from starlette.testclient import TestClient

from reelwright import catalog, plugins, settings
from reelwright.backends.local.residency import RESIDENTS
from reelwright.client import Client
from reelwright.jobs.residents import Keeper, Residents
from reelwright.jobs.worker import Worker
from reelwright.server.app import create_app
from reelwright.settings import Settings, load
from reelwright.workshop import Workshop

pytest.importorskip("diffusers")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """An installation whose only real model is a tiny LTX."""
    from tests.tiny.ltx import VARIANTS

    from reelwright.backends.local.discovery import content_of

    monkeypatch.setenv("REELWRIGHT_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    VARIANTS["ltx_t2v"].build().save_pretrained(tmp_path / "ltx")
    content: dict[str, Any] = content_of(str(tmp_path / "ltx"), settings.current())
    content |= {"id": "tiny", "sizes": {"native": [[64, 64]], "step": 32, "least": 32}, "vram_gb": [0, 0]}
    (tmp_path / "home" / "cards").mkdir(parents=True)
    (tmp_path / "home" / "cards" / "tiny.toml").write_text(tomli_w.dumps(_plain(content)))
    catalog.card.cards.cache_clear()
    made = Workshop(load())
    yield made
    RESIDENTS.unload()
    made.close()
    settings.current.cache_clear()
    catalog.card.cards.cache_clear()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def working(shop: Workshop) -> tuple[Worker, Keeper]:
    worker = Worker(shop.store, "w", ("cpu",), shop.perform, find=shop.find, warm=RESIDENTS.models)
    return worker, Keeper(shop.store, "w")


def test_load_list_and_unload(shop: Workshop) -> None:
    client = TestClient(create_app(shop, open_to_all=True))
    worker, keeper = working(shop)
    assert client.get("/api/models/loaded").json() == {"loaded": []}
    job = client.post("/api/models/load", json={"model": "tiny"}).json()
    assert job["kind"] == "load"
    assert worker.once()
    keeper.once()
    (held,) = client.get("/api/models/loaded").json()["loaded"]
    assert (held["model"], held["plan"], held["worker"], held["busy"]) == ("tiny", "resident", "w", False)
    made = client.post("/api/jobs", json={"prompt": "a lake", "model": "tiny", "seconds": 0.3, "options": {"steps": 2}}).json()
    assert worker.once()
    assert client.get(f"/api/jobs/{made['id']}").json()["state"] == "done"
    assert len(RESIDENTS.loaded()) == 1, "the one that was loaded served it"
    assert client.post("/api/models/unload", json={"model": "tiny"}).json() == {"unloading": ["tiny"]}
    keeper.once()
    assert RESIDENTS.loaded() == []
    assert client.get("/api/models/loaded").json() == {"loaded": []}
    assert client.post("/api/models/load", json={"model": "nobody"}).json()["error"] == "model_not_found"


def test_a_busy_model_goes_when_it_is_done(shop: Workshop) -> None:
    worker, keeper = working(shop)
    shop.load("tiny")
    worker.once()
    keeper.once()
    (held,) = RESIDENTS.loaded()
    with held.lock:
        time.sleep(0.01)
        Residents(shop.store).wish_gone(None)
        keeper.once()
        assert RESIDENTS.loaded() == [held]
    keeper.once()
    assert RESIDENTS.loaded() == []


def test_the_client_and_the_command_line_speak_of_the_same(shop: Workshop) -> None:
    worker, keeper = working(shop)
    with served(shop) as address:
        client = Client(address)
        loading = client.load("tiny")
        thread = threading.Thread(target=worker.once)
        thread.start()
        assert client.wait(loading.id).state == "done"
        thread.join()
        keeper.once()
        assert [each["model"] for each in client.loaded()] == ["tiny"]
        assert client.unload() == ["tiny"]
        client.close()


def test_an_estimate_says_how_it_fits(shop: Workshop) -> None:
    """J5: seconds, memory and the plan, before anything is made."""
    client = TestClient(create_app(shop, open_to_all=True))
    told = client.post("/api/estimate", json={"prompt": "a lake", "model": "tiny", "seconds": 0.3}).json()
    assert told["fit"]["fits"] is True
    assert told["fit"]["plan"] == "resident"
    assert told["fit"]["sure"] == "computed"
    big = client.post("/api/estimate", json={"prompt": "a lake", "model": "wan-2.2-t2v-a14b"}).json()
    assert big["fit"]["why"]
    assert big["estimate_seconds"] > 60


def test_a_server_shows_no_folder_of_its_machine(shop: Workshop, tmp_path: Path) -> None:
    client = TestClient(create_app(shop, open_to_all=True))
    assert client.get("/api/models/tiny").json()["source"] == ""
    assert str(tmp_path) not in client.get("/api/models").text


def test_a_server_takes_no_model_by_its_path(shop: Workshop, tmp_path: Path) -> None:
    """J7: a client names cards, never a folder of the server or a repository to be fetched; the same for LoRAs."""
    client = TestClient(create_app(shop, open_to_all=True))
    (tmp_path / "ltx").rename(tmp_path / "other")
    for model in (str(tmp_path / "other"), "owner/name", "../other"):
        answer = client.post("/api/jobs", json={"prompt": "a lake", "model": model})
        assert answer.status_code == 404, model
        assert answer.json()["error"] == "model_not_found"
    lora = client.post("/api/jobs", json={"prompt": "a lake", "model": "tiny", "loras": [{"ref": "/etc/passwd.safetensors"}]})
    assert lora.status_code == 422
    assert "not installed on this server" in lora.json()["message"]


def test_a_wish_does_not_touch_what_is_loaded_after_it(shop: Workshop) -> None:
    """M16: who loads a model again after an unload keeps it, also in a worker that hears of that wish only now."""
    worker, keeper = working(shop)
    Residents(shop.store).wish_gone("tiny")
    time.sleep(0.01)
    shop.load("tiny")
    worker.once()
    keeper.once()
    assert RESIDENTS.models() == ("tiny",)
    time.sleep(0.01)
    Residents(shop.store).wish_gone("tiny")
    keeper.once()
    assert RESIDENTS.models() == ()


def test_a_model_is_loaded_with_the_workers_own_settings(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    made = plugins.make_backend

    def noted(name: str, known: Settings) -> Any:
        seen.append(known)
        return made(name, known)

    monkeypatch.setattr(plugins, "make_backend", noted)
    worker, _ = working(shop)
    shop.load("tiny")
    worker.once()
    assert seen == [shop.settings]
