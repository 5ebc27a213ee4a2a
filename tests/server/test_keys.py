"""API keys over HTTP: made once, shown once, scoped, revoked (J7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    shop = Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))
    _, admin = shop.ledger.new_key("root", ("admin",))
    with TestClient(create_app(shop, open_to_all=False), raise_server_exceptions=False) as made:
        made.headers["X-API-Key"] = admin
        yield made


def test_a_key_is_made_used_and_revoked(client: TestClient) -> None:
    made = client.post("/api/keys", json={"name": "ann", "days": 1, "limits": {"jobs": 2}}).json()
    assert (made["owner"], made["scopes"], made["limits"]) == ("ann", ["write"], {"jobs": 2})
    own = {"X-API-Key": made["key"]}
    assert client.get("/api/jobs", headers=own).status_code == 200
    assert client.get("/api/keys", headers=own).json()["error"] == "forbidden"
    assert made["key"] not in client.get("/api/keys").text
    assert client.delete(f"/api/keys/{made['id']}").json()["revoked"] is True
    assert client.get("/api/jobs", headers=own).status_code == 401
    assert client.delete("/api/keys/key_none").json()["error"] == "not_found"


@pytest.mark.parametrize(
    "wanted", [{}, {"name": ""}, {"name": "a", "scope": "god"}, {"name": "a", "days": -1}, {"name": "a", "x": 1}]
)
def test_a_key_that_cannot_be_is_refused(client: TestClient, wanted: dict[str, object]) -> None:
    assert client.post("/api/keys", json=wanted).status_code == 422


def test_the_machine_is_shown_to_administrators(client: TestClient) -> None:
    findings = client.get("/api/machine").json()["findings"]
    assert {finding["state"] for finding in findings} <= {"ok", "missing", "warning"}
