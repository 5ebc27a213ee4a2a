"""Rates and quotas: of a key, an owner, an address (J7)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))


def client(shop: Workshop, **limits: Any) -> TestClient:
    _, secret = shop.ledger.new_key("ann", ("write",), **limits)
    return TestClient(create_app(shop, open_to_all=False), headers={"X-API-Key": secret}, raise_server_exceptions=False)


def test_a_key_calls_so_many_times_a_minute_and_is_told_what_is_left(shop: Workshop) -> None:
    with client(shop, requests=3) as ann:
        left = [ann.get("/api/jobs").headers["RateLimit"].split(";")[1] for _ in range(3)]
        assert left == ["r=2", "r=1", "r=0"]
        answer = ann.get("/api/jobs")
        assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert ann.get("/health").status_code == 200
        assert ann.get("/v1/videos").json()["error"]["type"] == "rate_limit_error"


def test_guesses_at_keys_are_few(shop: Workshop) -> None:
    with client(shop) as ann:
        statuses = [ann.get("/api/jobs", headers={"X-API-Key": f"reel_{number}"}).status_code for number in range(40)]
        assert ann.get("/api/jobs").status_code == 200
    assert statuses[:30] == [401] * 30
    assert set(statuses[30:]) == {429}


def test_an_owner_has_so_many_jobs_at_once_however_they_are_made(shop: Workshop) -> None:
    with client(shop, jobs=2) as ann:
        first = ann.post("/api/jobs", json={"prompt": "a"}).json()["id"]
        assert ann.post("/v1/videos", json={"prompt": "a"}).status_code == 200
        board = {"scenes": [{"prompt": "a"}]}
        for path, sent in (
            ("/api/jobs", {"prompt": "b"}), ("/api/video/generate", {"prompt": "b"}), ("/api/storyboards/render", board),
            ("/api/batch", {"requests": [{"prompt": "b"}]}),
        ):  # fmt: skip
            answer = ann.post(path, json=sent)
            assert (answer.status_code, answer.json()["error"]) == (429, "quota_exceeded"), path
        assert ann.post("/v1/videos", json={"prompt": "a"}).json()["error"]["code"] == "quota_exceeded"
        ann.post(f"/api/jobs/{first}/cancel")
        assert ann.post("/api/jobs", json={"prompt": "c"}).status_code == 202
    assert len(shop.store.list()) == 3


def test_two_calls_at_once_do_not_both_take_the_last_place(shop: Workshop) -> None:
    with client(shop, jobs=1) as ann:
        came: list[int] = []
        post = lambda: came.append(ann.post("/api/jobs", json={"prompt": "a"}).status_code)  # noqa: E731  short
        threads = [threading.Thread(target=post) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(came) == [202, 429, 429, 429, 429, 429]


def test_a_days_work_is_counted_with_what_is_asked_for(shop: Workshop) -> None:
    with client(shop, seconds=1.0) as ann:
        small = ann.post("/api/jobs", json={"prompt": "a", "seconds": 0.2, "width": 160, "height": 90})
        large = ann.post("/api/jobs", json={"prompt": "a", "seconds": 500, "width": 1920, "height": 1080})
    assert (small.status_code, large.status_code, large.json()["error"]) == (202, 429, "quota_exceeded")
    assert len(shop.store.list()) == 1


def test_a_server_without_keys_counts_by_address(tmp_path: Path) -> None:
    shop = Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", requests_per_minute=2))
    app = create_app(shop)
    with TestClient(app) as one, TestClient(app, client=("127.0.0.9", 1), headers={"Authorization": "Bearer any"}) as other:
        statuses = [one.get("/api/jobs").status_code for _ in range(21)]
        assert statuses == [200] * 20 + [429]
        answer = one.post("/api/jobs", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert one.get("/health").status_code == 200
        assert other.get("/api/jobs").headers["RateLimit"].split(";")[1] == "r=19"
    assert shop.store.list() == ()
