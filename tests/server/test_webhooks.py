"""Webhooks: delivered whatever breaks, verified by OpenAI's SDK, never into the inside (J7, J12)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from serving import working
from starlette.testclient import TestClient

from reelwright.errors import ProviderFailed
from reelwright.jobs.webhooks import Webhooks
from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workers import Supervisor
from reelwright.workshop import Workshop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openai import InvalidWebhookSignatureError, OpenAI


class Receiver(BaseHTTPRequestHandler):
    heard: list[tuple[dict[str, str], bytes]] = []
    answers: list[int] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Receiver.heard, Receiver.answers = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", allow_hosts="127.0.0.1"))


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop), raise_server_exceptions=False) as made:
        yield made


def test_the_end_of_a_video_is_told_and_the_sdk_verifies_it(client: TestClient, shop: Workshop, address: str) -> None:
    made = client.post("/api/webhooks", json={"url": address}).json()
    assert "secret" not in client.get("/api/webhooks").json()["webhooks"][0]
    supervisor = Supervisor(shop, ())
    supervisor.start()
    with working(shop):
        done = client.post("/v1/videos", json={"prompt": "A boat", "seconds": "1", "size": "160x90"}).json()["id"]
        cancelled = client.post("/v1/videos", json={"prompt": "A boat", "seconds": "400"}).json()
        client.post(f"/api/jobs/{cancelled['job']}/cancel")
        while len(Receiver.heard) < 2:
            threading.Event().wait(0.05)
    supervisor.stop()
    with OpenAI(api_key="any", webhook_secret=made["secret"]) as sdk:
        events = {event.data.id: event.type for event in (sdk.webhooks.unwrap(body, head) for head, body in Receiver.heard)}  # type: ignore[union-attr]  # any event
        assert events == {done: "video.completed", cancelled["id"]: "video.failed"}
        head, body = Receiver.heard[0]
        with pytest.raises(InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(body + b" ", head)
        with pytest.raises(InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(body, {**head, "webhook-id": "evt_other"})


def test_a_delivery_is_tried_again_with_the_same_id_until_it_is_heard(shop: Workshop, address: str) -> None:
    now = [1000.0]
    shop.store.clock = lambda: now[0]
    hooks = Webhooks(shop.store)
    shop.webhooks = hooks
    delivery = hooks.try_out(hooks.add("local", address).id)
    Receiver.answers = [500, 404, 200]
    waits = []
    while any(each["due_at"] is not None for each in hooks.deliveries(hooks.all()[0].id)):
        if not shop.deliver():
            waits.append(1)
            now[0] += 1.0
    assert {head["webhook-id"] for head, _ in Receiver.heard} == {delivery}
    assert len(Receiver.heard) == 3
    assert len(waits) == 35  # 5 s, then 30 s
    assert not shop.deliver()


def test_a_delivery_is_given_up_after_a_day(shop: Workshop) -> None:
    now = [1000.0]
    shop.store.clock = lambda: now[0]
    hooks = Webhooks(shop.store)
    hooks.try_out(hooks.add("local", "http://127.0.0.1/").id)

    def broken(*_: object) -> int:
        raise ProviderFailed("nobody is there")

    attempts = 0
    while now[0] < 10 * 86_400:
        attempts += hooks.deliver(broken)
        now[0] += 3600
    assert attempts == 9
    assert hooks.deliveries(hooks.all()[0].id)[0]["said"] == "nobody is there"


def test_what_was_begun_and_not_ended_is_begun_again(shop: Workshop) -> None:
    """A crash between taking a delivery and hearing the answer."""
    now = [1000.0]
    shop.store.clock = lambda: now[0]
    hooks = Webhooks(shop.store)
    hooks.try_out(hooks.add("local", "http://127.0.0.1/").id)

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hooks.deliver(crash)
    assert not hooks.deliver(lambda *_: 200)
    now[0] += 61
    assert hooks.deliver(lambda *_: 200)
    now[0] += 1e6
    assert not hooks.deliver(lambda *_: 200)


@pytest.mark.parametrize("url", ["ftp://a.example/", "http://user:pass@a.example/", "nonsense", "http://a.example:22/"])
def test_addresses_that_may_not_be_called_are_refused(client: TestClient, url: str) -> None:
    assert client.post("/api/webhooks", json={"url": url}).status_code == 422


def test_nobody_is_called_inside_the_network(tmp_path: Path, address: str) -> None:
    shop = Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache"))
    hook = shop.webhooks.add("local", address)
    shop.webhooks.try_out(hook.id)
    assert shop.deliver()
    assert Receiver.heard == []
    assert "may not be called" in shop.webhooks.deliveries(hook.id)[0]["said"]


def test_owners_have_their_own(shop: Workshop) -> None:
    ann, bob = ({"X-API-Key": shop.ledger.new_key(name, ("write",))[1]} for name in ("ann", "bob"))
    with TestClient(create_app(shop, open_to_all=False)) as client:
        made = client.post("/api/webhooks", json={"url": "https://a.example/"}, headers=ann).json()["id"]
        assert client.get("/api/webhooks", headers=bob).json()["webhooks"] == []
        assert client.delete(f"/api/webhooks/{made}", headers=bob).status_code == 404
        assert client.get(f"/api/webhooks/{made}/deliveries", headers=bob).status_code == 404
        client.post(f"/api/webhooks/{made}/test", headers=ann)
        assert len(client.get(f"/api/webhooks/{made}/deliveries", headers=ann).json()["deliveries"]) == 1
        assert client.delete(f"/api/webhooks/{made}", headers=ann).json()["deleted"] is True
