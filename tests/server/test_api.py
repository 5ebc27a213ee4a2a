"""The HTTP API over real jobs (J2, J7, J9, J12)."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import frames_of
from PIL import Image
from starlette.testclient import TestClient

from reelwright.jobs.worker import Worker
from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", max_video_file_size=200_000))
    yield made
    made.close()


@pytest.fixture
def worker(shop: Workshop) -> Iterator[Worker]:
    made = Worker(shop.store, "w", ["cpu"], shop.perform, find=shop.find, preview=shop.preview)
    thread = threading.Thread(target=made.work)
    thread.start()
    yield made
    made.stopping.set()
    thread.join()


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop), raise_server_exceptions=False) as made:
        yield made


def picture() -> bytes:
    kept = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(kept, "PNG")
    return kept.getvalue()


def test_the_guides_first_call_makes_a_file(client: TestClient, worker: Worker, tmp_path: Path) -> None:
    answer = client.post(
        "/api/video/text-to-video", json={"prompt": "A beautiful sunset over mountains", "duration": 1, "fps": 24}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "a.mp4").write_bytes(answer.content)
    assert len(frames_of(tmp_path / "a.mp4")) == 24


def test_the_guides_second_call_moves_over_a_picture(client: TestClient, worker: Worker, tmp_path: Path) -> None:
    form = {"prompt": "cinematic camera movement", "fps": "8", "duration": "1"}
    answer = client.post("/api/video/image-to-video", data=form, files={"image": ("../../x.jpg", picture())})
    assert answer.status_code == 200, answer.text
    (tmp_path / "a.mp4").write_bytes(answer.content)
    assert len(frames_of(tmp_path / "a.mp4")) == 8


def test_a_job_is_queued_watched_and_fetched_in_ranges(client: TestClient, shop: Workshop, worker: Worker) -> None:
    made = client.post("/api/video/generate", json={"prompt": "A boat at sea", "duration": 1})
    assert made.status_code == 202
    job = made.json()["job_id"]
    while client.get(f"/api/video/status/{job}").json()["status"] != "done":
        pass
    part = client.get(f"/api/jobs/{job}/result", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    what = [each["what"] for each in client.get(f"/api/jobs/{job}/events").json()["events"]]
    assert what == ["submitted", "queued", "started", "done"]
    assert str(shop.folder) not in client.get(f"/api/jobs/{job}").text


def test_a_call_that_is_repeated_makes_one_job(client: TestClient) -> None:
    same = {"headers": {"Idempotency-Key": "k"}, "json": {"prompt": "A boat at sea"}}
    first, second = (client.post("/api/jobs", **same).json() for _ in range(2))  # type: ignore[arg-type]  # plain values
    assert first["id"] == second["id"]
    other = client.post("/api/jobs", headers={"Idempotency-Key": "k"}, json={"prompt": "Another boat"})
    assert (other.status_code, other.json()["error"]) == (409, "conflict")
    assert len(client.get("/api/jobs").json()["jobs"]) == 1


def test_jobs_are_held_cancelled_retried_and_deleted(client: TestClient) -> None:
    job = client.post("/api/jobs", json={"prompt": "A boat at sea"}).json()["id"]
    assert client.post(f"/api/jobs/{job}/hold").json()["held"] is True
    assert client.post(f"/api/jobs/{job}/release").json()["held"] is False
    assert client.delete(f"/api/jobs/{job}").status_code == 409
    assert client.post(f"/api/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/jobs/{job}/retry").json()["state"] == "queued"
    client.post(f"/api/jobs/{job}/cancel")
    assert client.delete(f"/api/jobs/{job}").json()["deleted"] is True
    assert client.get(f"/api/jobs/{job}").status_code == 404


def test_a_storyboard_becomes_a_film_and_names_no_files(client: TestClient, worker: Worker) -> None:
    board = {"size": "160x90", "scenes": [{"prompt": "A red house on a hill", "seconds": 1}, {"prompt": "The sea", "seconds": 1}]}
    job = client.post("/api/storyboards/render", json=board).json()["id"]
    while (found := client.get(f"/api/jobs/{job}").json())["state"] not in ("done", "failed"):
        pass
    assert found["result"]["frames"] == 60
    for scene in ({"image": "/etc/passwd"}, {"clip": "../x.mp4"}, {"prompt": "x", "narration": "file:///a.wav"}):
        answer = client.post("/api/storyboards/render", json={"scenes": [scene]})
        assert (answer.status_code, answer.json()["error"]) == (422, "bad_storyboard")


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"prompt": " "}, 422, "invalid_request"),
        ({"prompt": "x", "model": "nobody/none"}, 404, "model_not_found"),
        ({"prompt": "x", "duration": -1}, 422, "invalid_request"),
        ({"prompt": "x", "output_path": "/tmp/x"}, 422, "invalid_request"),
    ],
)
def test_wrong_calls_have_one_kind_of_answer(client: TestClient, asked: dict[str, object], status: int, code: str) -> None:
    answer = client.post("/api/video/generate", json=asked)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert {"error", "message", "details", "timestamp"} <= set(answer.json())


def test_what_is_no_picture_or_too_large_is_refused(client: TestClient) -> None:
    wrong = client.post("/api/video/animate", files={"image": ("a.png", b"GIF89a nonsense")})
    assert (wrong.status_code, wrong.json()["error"]) == (422, "unsupported")
    broken = client.post("/api/video/animate", files={"image": ("a.png", picture()[:60])})
    assert (broken.status_code, broken.json()["error"]) == (422, "bad_media")
    large = client.post("/api/video/animate", files={"image": ("a.png", b"x" * 2_000_000)})
    assert (large.status_code, large.json()["error"]) == (413, "too_large")


def test_pages_of_other_sites_and_other_names_are_refused(client: TestClient) -> None:
    """DNS rebinding and cross-site calls."""
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403
    crossed = client.post("/api/jobs", json={"prompt": "x"}, headers={"Origin": "http://evil.example"})
    assert (crossed.status_code, crossed.json()["error"]) == (403, "forbidden")
    assert client.get("/ready").json()["status"] == "ok"
    assert client.get("/nowhere").json()["error"] == "not_found"
