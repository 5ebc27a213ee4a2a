"""Who may call what: a matrix made from the OpenAPI document, so that a new route cannot forget it (J7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop

OPEN = {"/health", "/ready"}
ONLY_READ = {"estimate", "check_storyboard", "plan_storyboard"}
"""Calls that send something and change nothing."""
ADMINS_ONLY = {"pause_queue", "resume_queue", "set_default_models"}
BOARD = {"scenes": [{"prompt": "The sea", "seconds": 1}], "size": "160x90"}
BODIES: dict[str, Any] = {
    "prioritise_job": {"priority": 1}, "remake_scene": {}, "replace_storyboard": BOARD, "remix_video": {"prompt": "x"},
}  # fmt: skip
"""What a route needs before it looks for whose thing it is about."""


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop, open_to_all=False), raise_server_exceptions=False) as made:
        yield made


def key(shop: Workshop, owner: str, scope: str, **more: Any) -> dict[str, str]:
    return {"X-API-Key": shop.ledger.new_key(owner, (scope,), **more)[1]}


def test_every_route_asks_for_a_key_and_shows_nobody_what_is_anothers(
    shop: Workshop, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reelwright.server.limits._GUESSES", 10_000)
    ann, reader = key(shop, "ann", "write"), key(shop, "ann", "read")
    bob, admin = key(shop, "bob", "write"), key(shop, "root", "admin")
    late = key(shop, "ann", "write", expires_at=1.0)
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    job = client.post("/api/jobs", json={"prompt": "x"}, headers=ann).json()["id"]
    names = {
        "job": job, "job_id": job, "other": job,
        "video_id": "video_" + job.removeprefix("job_"), "scene": "0", "character": "char_none",
        "key": "key_none", "model": "placeholder",
        "webhook": "hook_none",
        "asset": client.post("/api/assets", content=(tmp_path / "a.srt").read_bytes(), headers=ann).json()["id"],
        "storyboard": client.post("/api/storyboards", json=BOARD, headers=ann).json()["id"],
    }  # fmt: skip
    seen = 0
    for path, methods in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]  # an application
        if path in OPEN:
            continue
        url = path.replace("{model:path}", "{model}").format(**names)
        for method, operation in methods.items():
            where = (method, path)

            def call(who: dict[str, str], method: str = method, url: str = url, name: str = operation["operationId"]) -> Any:
                return client.request(method, url, headers=who, json=BODIES.get(name))

            for stranger in ({}, {"Authorization": "Bearer reel_x"}, late):
                assert call(stranger).status_code == 401, where
            admins_only = operation["tags"] == ["administration"] or operation["operationId"].endswith(
                ("_queue", "_default_models")
            )
            if admins_only and operation["operationId"] != "get_default_models":
                assert call(ann).status_code == 403, where
            elif method != "get" and operation["operationId"] not in ONLY_READ:
                assert call(reader).status_code == 403, where
            if {"{job}", "{job_id}", "{asset}", "{storyboard}", "{video_id}"} & set(path.split("/")):
                assert call(bob).status_code == 404, where
            seen += 1
    assert seen > 40
    for path in ("/api/jobs", "/api/assets", "/api/storyboards"):
        (listed,) = [value for value in client.get(path, headers=bob).json().values() if isinstance(value, list)]
        assert listed == []
        (listed,) = [value for value in client.get(path, headers=admin).json().values() if isinstance(value, list)]
        assert len(listed) == 1


def test_a_form_is_not_read_before_its_sender_is_known(client: TestClient) -> None:
    def forever() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        raise AssertionError("the body was read")

    sent = client.post("/api/video/animate", content=forever(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert sent.status_code == 401
