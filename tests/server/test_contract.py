"""The OpenAPI document is true: whatever it allows and forbids, no call breaks the server (J7, J9)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Skipped test cases:UserWarning")
FOLDER = tempfile.TemporaryDirectory(prefix="reelwright-")
SHOP = Workshop(load(data_folder=Path(FOLDER.name) / "data", cache_folder=Path(FOLDER.name) / "cache", request_timeout=0.2))
APP = create_app(SHOP)
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)


@schema.include(method_regex="GET|POST|PUT|DELETE").exclude(path_regex="^/api/(events|queue|machine)").parametrize()
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_no_call_breaks_the_server(case: Any) -> None:
    answer = case.call()
    assert answer.status_code != 500, answer.text[:500]
    if answer.status_code >= 400 and "json" in str(answer.headers.get("content-type", "")):
        body = json.loads(answer.content)
        told = body["error"]["code"] if isinstance(body["error"], dict) else body["error"]
        assert told
        assert {"message", "details", "timestamp"} <= set(body)


def test_every_route_is_described() -> None:
    """Each has a name, a summary, and says what it is about."""
    with TestClient(APP) as client:
        document = client.get("/openapi.json").json()
    names = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert operation["tags"], (method, path)
    assert len(names) == len(set(names))
