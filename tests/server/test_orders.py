"""Storyboards, models, estimates, batches over HTTP (S1, M12, M16, J2, J5)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import working
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop

BOARD = {
    "title": "Two",
    "size": "640x360",
    "scenes": [{"prompt": "A red house on a hill", "seconds": 2}, {"prompt": "The sea at night", "seconds": 2}],
}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", workers=1))


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop), raise_server_exceptions=False) as made:
        yield made


def ended(client: TestClient, job: str) -> dict[str, Any]:
    while (found := client.get(f"/api/jobs/{job}").json())["state"] not in ("done", "failed", "cancelled"):
        pass
    assert found["state"] == "done", found
    return dict(found)


def test_a_storyboard_is_kept_changed_and_rendered(client: TestClient, shop: Workshop) -> None:
    made = client.post("/api/storyboards", json=BOARD).json()
    assert (made["title"], len(made["content"]["scenes"])) == ("Two", 2)
    changed = client.put(f"/api/storyboards/{made['id']}", json={**BOARD, "title": "Three"}).json()
    assert changed["title"] == client.get(f"/api/storyboards/{made['id']}").json()["title"] == "Three"
    assert [board["id"] for board in client.get("/api/storyboards").json()["storyboards"]] == [made["id"]]
    with working(shop):
        job = client.post(f"/api/storyboards/{made['id']}/render", json={}).json()["id"]
        assert ended(client, job)["result"]["frames"] == 120
    assert client.delete(f"/api/storyboards/{made['id']}").json()["deleted"] is True
    assert client.get(f"/api/storyboards/{made['id']}").status_code == 404


def test_everything_wrong_with_a_storyboard_is_said_at_once(client: TestClient) -> None:
    wrong = {
        "scenes": [{"prompt": "x", "model": "nobody/none"}, {"prompt": "y", "camera": "sideways up"}, {"image": "/etc/passwd"}]
    }
    assert len(client.post("/api/storyboards/check", json=wrong).json()["problems"]) >= 1
    two = {"scenes": [{"prompt": "x", "model": "nobody/none"}, {"prompt": "y", "model": "nobody/other"}]}
    assert len(client.post("/api/storyboards/check", json=two).json()["problems"]) == 2
    assert client.post("/api/storyboards/check", json=BOARD).json()["problems"] == []
    assert client.post("/api/storyboards", json=wrong).json()["error"] == "bad_storyboard"


def test_a_plan_says_what_is_there_and_only_the_scene_that_is_remade_is_made(client: TestClient, shop: Workshop) -> None:
    before = client.post("/api/storyboards/plan", json=BOARD).json()
    assert (before["reused"], before["segments"] > 1, before["estimate"] > 0) == (0, True, True)
    with working(shop):
        film = client.post("/api/storyboards/render", json=BOARD).json()["id"]
        first = ended(client, film)["result"]
        assert client.post("/api/storyboards/plan", json=BOARD).json()["reused"] == before["segments"]
        again = client.post(f"/api/jobs/{film}/scenes/1/remake", json={"prompt": "A forest in the morning"}).json()["id"]
        second = ended(client, again)["result"]
    assert (second["made"], second["reused"]) == (first["made"] // 2, first["made"] // 2)
    assert client.post(f"/api/jobs/{film}/scenes/9/remake", json={}).json()["error"] == "not_found"


def test_a_film_shows_pictures_while_it_is_made(client: TestClient, shop: Workshop) -> None:
    board = {**BOARD, "scenes": [{"prompt": "A red house on a hill", "seconds": 20}]}
    with working(shop):
        job = client.post("/api/storyboards/render", json=board).json()["id"]
        while (answer := client.get(f"/api/jobs/{job}/preview")).status_code == 404:
            pass
        assert Image.open(io.BytesIO(answer.content)).size == (512, 288)
        found = ended(client, job)
    assert (found["progress"], found["thumbnail_url"]) == (1.0, f"/api/jobs/{job}/thumbnail")
    assert client.get(found["thumbnail_url"]).headers["content-type"] == "image/jpeg"


def test_scenes_go_on_from_each_other_and_files_of_the_machine_stay_out_of_reach(client: TestClient, shop: Workshop) -> None:
    scenes = [{"prompt": "A red house", "seconds": 1}, {"prompt": "It snows", "image": "previous", "seconds": 1}]
    with working(shop):
        film = client.post("/api/storyboards/render", json={"size": "160x90", "scenes": scenes}).json()["id"]
        assert ended(client, film)["result"]["frames"] == 60
    (picture,) = (shop.settings.cache_folder / "results").glob("*/*.png")
    for ref in (str(picture), f"{picture.parent}/../../../secret", "/etc/passwd"):
        given = {"prompt": "x", "inputs": [{"role": "first_frame", "ref": ref}]}
        for path in ("/api/jobs", "/api/estimate"):
            assert client.post(path, json=given).json()["error"] == "asset_not_found"
        board = {"scenes": [{"prompt": "x", "image": ref}]}
        assert client.post("/api/storyboards/render", json=board).json()["error"] == "bad_storyboard"


def test_an_estimate_says_what_would_come_of_a_request(client: TestClient, shop: Workshop) -> None:
    asked = {"prompt": "The sea", "seconds": 2, "fps": 24, "width": 321, "height": 181}
    found = client.post("/api/estimate", json=asked).json()
    assert (found["model"], found["frames"], found["width"], found["height"]) == ("placeholder", 48, 320, 180)
    low, high = found["estimate_range"]
    assert low <= found["estimate_seconds"] <= high
    assert any("321" in note for note in found["notes"])
    assert client.post("/api/estimate", json=asked).json()["fingerprint"] == found["fingerprint"]
    assert client.get("/api/jobs").json()["jobs"] == []


def test_models_are_shown_with_their_options_and_a_default_is_set(client: TestClient, shop: Workshop, home: Path) -> None:
    (listed,) = [model for model in client.get("/api/models").json()["models"] if model["id"] == "placeholder"]
    assert listed == client.get("/api/models/placeholder").json()
    assert "camera" in listed["options"]
    assert client.get("/api/models/nobody/none").json()["error"] == "model_not_found"
    assert client.get("/api/models/defaults").json() == {"text-to-video": "placeholder", "image-to-video": "placeholder"}
    assert client.put("/api/models/defaults", json={"text_to_video": "nobody"}).status_code == 404
    shop.shelf.set_defaults({"text-to-video": "nobody"})
    assert client.post("/api/jobs", json={"prompt": "x"}).json()["error"] == "model_not_found"
    assert client.put("/api/models/defaults", json={}).json()["text-to-video"] == "placeholder"
    assert client.post("/api/jobs", json={"prompt": "x"}).status_code == 202


@pytest.mark.parametrize(
    ("kind", "text", "count"),
    [
        (
            "application/jsonl",
            '{"prompt": "A boat", "seconds": 1}\n\n{"prompt": "The sea", "options": {"camera": "pan left"}}\n',
            2,
        ),
        ("text/csv", 'prompt,seconds,options.camera\nA boat,1,pan left\n"The sea, at night",2,\n', 2),
        ("application/json", '{"matrix": {"prompts": ["a", "b"], "seeds": [1, 2, 3]}, "common": {"seconds": 1}}', 6),
        ("application/json", '{"requests": [{"prompt": "a"}], "common": {"seconds": 1}}', 1),
    ],
)
def test_a_batch_is_queued_and_cancelled_as_a_whole(client: TestClient, shop: Workshop, kind: str, text: str, count: int) -> None:
    headers = {"Content-Type": kind, "Idempotency-Key": "k"}
    made = client.post("/api/batch", content=text.encode(), headers=headers)
    assert made.status_code == 202, made.text
    batch = made.json()["id"]
    assert client.post("/api/batch", content=text.encode(), headers=headers).json()["id"] == batch
    assert client.get(f"/api/batch/{batch}").json() == {"id": batch, "jobs": count, "states": {"queued": count}}
    assert len(client.get("/api/jobs", params={"parent": batch}).json()["jobs"]) == count
    client.post(f"/api/jobs/{batch}/cancel")
    assert client.get(f"/api/batch/{batch}").json()["states"] == {"cancelled": count}


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("application/jsonl", '{"prompt": "a"}\n{"prompt": "b", "seconds": -1}\nnonsense', "line 2: seconds"),
        ("text/csv", "prompt,colour\na,red\n", "line 2: colour"),
        ("application/json", '{"matrix": {"prompts": "a"}}', "lists"),
        ("application/json", '{"requests": [{"prompt": "a", "model": "nobody/none"}]}', "request 1"),
        ("application/json", '{"matrix": {"prompts": ["a"], "seeds": ' + str(list(range(10_001))) + "}}", "at most"),
        ("application/jsonl", "", "empty"),
        ("text/plain", "a", "Content-Type"),
    ],
)
def test_a_batch_with_a_fault_queues_nothing(client: TestClient, kind: str, text: str, problem: str) -> None:
    answer = client.post("/api/batch", content=text.encode(), headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert problem in answer.text
    assert client.get("/api/jobs").json()["jobs"] == []


def test_the_queue_is_paused_and_jobs_change_places(client: TestClient, shop: Workshop) -> None:
    first, second = (client.post("/api/jobs", json={"prompt": text, "seconds": 1}).json()["id"] for text in "ab")
    assert client.post(f"/api/jobs/{second}/before/{first}").json()["queue_position"] == 0
    assert client.post(f"/api/jobs/{first}/priority", json={"priority": 3}).json()["queue_position"] == 0
    assert client.post("/api/queue/pause").json()["paused"] is True
    assert shop.store.claim("w", ["cpu"]) is None
    client.post("/api/queue/resume")
    claimed = shop.store.claim("w", ["cpu"])
    assert claimed is not None
    assert claimed.id == first
