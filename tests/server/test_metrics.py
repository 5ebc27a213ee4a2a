"""Counters, request ids, logs without secrets, readiness (J7)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import working
from starlette.testclient import TestClient

from reelwright import logs
from reelwright.errors import Unavailable
from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop), raise_server_exceptions=False) as made:
        yield made


def test_what_happened_is_counted(client: TestClient, shop: Workshop) -> None:
    job = client.post("/api/jobs", json={"prompt": "A boat", "seconds": 1, "width": 160, "height": 90}).json()["id"]
    client.get(f"/api/jobs/{job}")
    client.get("/api/jobs/job_none")
    text = client.get("/metrics").text
    assert 'reelwright_jobs{lane="cpu",state="queued"} 1.0' in text
    assert 'reelwright_http_requests_total{method="GET",route="/api/jobs/{job}",status="404"} 1.0' in text
    assert job not in text
    with working(shop):
        while client.get(f"/api/jobs/{job}").json()["state"] != "done":
            pass
    text = client.get("/metrics").text
    assert 'reelwright_jobs{lane="cpu",state="done"} 1.0' in text
    assert 'reelwright_job_wait_seconds_count{lane="cpu"} 1.0' in text
    assert 'reelwright_job_run_seconds_count{end="done",kind="generate",lane="cpu"} 1.0' in text
    assert 'reelwright_job_run_seconds_bucket{end="done",kind="generate",lane="cpu",le="300.0"} 1.0' in text
    assert 'reelwright_job_wait_seconds_count{lane="cpu"} 1.0' in client.get("/metrics").text, "nothing is counted twice"
    stored = next(line for line in text.splitlines() if line.startswith("reelwright_bytes_stored "))
    assert float(stored.split()[1]) > 1000


def test_every_answer_carries_its_id_and_errors_name_it(client: TestClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    made = client.get("/health", headers={"X-Request-ID": "a b\n"}).headers["X-Request-ID"]
    assert len(made) == 32
    wrong = client.get("/api/jobs/job_none", headers={"X-Request-ID": "mine-2"})
    assert wrong.json()["details"]["request_id"] == wrong.headers["X-Request-ID"] == "mine-2"


def test_a_store_that_is_away_is_said_and_not_a_fault(
    client: TestClient, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(shop.store, "count", away)
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert client.get("/health").status_code == 200


def test_a_fault_of_ours_is_one_of_the_same_answers(client: TestClient, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(shop.store, "list", broken)
    answer = client.get("/api/jobs", headers={"X-Request-ID": "r1"})
    assert (answer.status_code, answer.json()["error"], answer.headers["X-Request-ID"]) == (500, "internal_error", "r1")
    assert answer.json()["details"]["request_id"] == "r1"
    assert "secret detail" not in answer.text
    assert client.get("/v1/videos").json()["error"]["type"] == "server_error"


SECRETS = (
    "reel_0123456789abcdefXYZ", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sk-proj-0123456789abcdef", "hf_abcdefghijklmnop",
    "hunter2hunter2", "correct-horse",
)  # fmt: skip


def test_secrets_never_reach_the_logs(caplog: pytest.LogCaptureFixture) -> None:
    logs.hide("correct-horse")
    log = logging.getLogger("reelwright.test")
    texts = [
        "key reel_0123456789abcdefXYZ",
        "Authorization: Bearer sk-proj-0123456789abcdef",
        "signed whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "postgresql://reel:hunter2hunter2@db/reel is away",
        "GET /api/events?key=reel_0123456789abcdefXYZ&job=a",
        "token hf_abcdefghijklmnop",
        "the password is correct-horse",
    ]
    with caplog.at_level(logging.INFO), logs.facts(request="r1"):
        for text in texts:
            log.info(text, extra={"note": text})
        try:
            raise ValueError(texts[0])
        except ValueError:
            log.exception("failed")
    for form in (logs.Lines(), logs.JsonLines()):
        written = "\n".join(form.format(record) for record in caplog.records)
        assert not [secret for secret in SECRETS if secret in written]
    line = json.loads(logs.JsonLines().format(caplog.records[0]))
    assert (line["logger"], line["level"]) == ("reelwright.test", "info")


def test_a_call_and_a_job_are_logged_with_what_they_are_about(
    client: TestClient, shop: Workshop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []
    form = logs.JsonLines()
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lines.append(json.loads(form.format(record))))
    with caplog.at_level(logging.INFO):
        sent = client.post(
            "/api/jobs?key=reel_secret12345", json={"prompt": "A boat", "seconds": 1}, headers={"X-Request-ID": "r9"}
        )
        job = sent.json()["id"]
        with working(shop):
            while client.get(f"/api/jobs/{job}").json()["state"] != "done":
                pass
    call = next(line for line in lines if line.get("request") == "r9")
    assert call["message"] == "POST /api/jobs 202"
    assert any(line.get("job") == job and line.get("owner") == "local" for line in lines)
    assert "reel_secret12345" not in json.dumps(lines)
