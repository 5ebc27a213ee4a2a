"""Jobs seen live: WebSocket and server-sent events from a real server (J3)."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import served, working
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from reelwright.jobs.rows import NewJob
from reelwright.settings import load
from reelwright.workshop import Workshop

BOARD = {"size": "640x360", "scenes": [{"prompt": "A red house on a hill", "seconds": 15}]}


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", workers=1))


@pytest.fixture
def address(shop: Workshop) -> Iterator[str]:
    with served(shop) as made:
        yield made


def listening(address: str, query: str = "", **more: Any) -> ClientConnection:
    return connect(f"{address.replace('http', 'ws')}/api/events{query}", compression=None, **more)


def all_of(socket: ClientConnection) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], bytes]]]:
    """Every message until the server closes."""
    texts: list[dict[str, Any]] = []
    pictures: list[tuple[dict[str, Any], bytes]] = []
    for message in socket:
        if isinstance(message, str):
            texts.append(json.loads(message))
        else:
            size = struct.unpack(">I", message[:4])[0]
            pictures.append((json.loads(message[4 : 4 + size]), message[4 + size :]))
    return texts, pictures


def test_a_film_is_seen_from_the_queue_to_its_end_with_pictures(address: str, shop: Workshop) -> None:
    job = httpx2.post(f"{address}/api/storyboards/render", json=BOARD).json()["id"]
    with listening(address, f"?job={job}&until=end") as socket, working(shop):
        texts, pictures = all_of(socket)
    assert [text["type"] for text in (texts[0], texts[-1])] == ["snapshot", "end"]
    assert texts[0]["jobs"][0]["state"] == "queued"
    states = [text["job"] for text in texts[1:-1]]
    assert states[-1]["state"] == "done"
    shares = [state["progress"] for state in states]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) >= 2
    assert pictures
    head, picture = pictures[0]
    assert (head["job"], picture[:3]) == (job, b"\xff\xd8\xff")
    numbers = [head["number"] for head, _ in pictures]
    assert numbers == sorted(set(numbers))


def test_the_same_is_told_as_server_sent_events(address: str, shop: Workshop) -> None:
    job = httpx2.post(f"{address}/api/storyboards/render", json=BOARD).json()["id"]
    seen = []
    with working(shop), httpx2.stream("GET", f"{address}/api/events?job={job}&until=end", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen += [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    assert (seen[0], seen[-1], set(seen[1:-1])) == ("snapshot", "end", {"job"})
    assert httpx2.get(f"{address}/api/events?job=job_none").status_code == 404


def test_owners_see_their_own_jobs_and_strangers_nothing(shop: Workshop) -> None:
    _, ann = shop.ledger.new_key("ann", ("read",))
    _, bob = shop.ledger.new_key("bob", ("read",))
    with served(shop, open_to_all=False) as address:
        (mine,) = shop.store.submit([NewJob("generate", {}, owner="ann")])
        for query, headers in (("", {}), ("?key=reel_x", {}), (f"?job={mine.id}", {"X-API-Key": bob})):
            with pytest.raises(InvalidStatus) as refused:
                listening(address, query, additional_headers=headers)
            assert refused.value.response.status_code == 403
        with listening(address, f"?key={ann}") as first, listening(address, "", additional_headers={"X-API-Key": bob}) as other:
            assert [job["id"] for job in json.loads(first.recv(5))["jobs"]] == [mine.id]
            assert json.loads(other.recv(5))["jobs"] == []
            (second,) = shop.store.submit([NewJob("generate", {}, owner="bob")])
            assert json.loads(other.recv(10))["job"]["id"] == second.id
            shop.store.cancel(mine.id)
            while json.loads(first.recv(10))["job"]["state"] != "cancelled":
                pass


def test_pages_of_other_sites_may_not_listen(address: str) -> None:
    with pytest.raises(InvalidStatus):
        listening(address, origin="http://evil.example")  # type: ignore[arg-type]  # a plain text
    with listening(address, origin=address) as socket:  # type: ignore[arg-type]  # likewise
        assert json.loads(socket.recv(5))["type"] == "snapshot"


def test_a_listener_who_sleeps_misses_states_and_costs_no_memory(address: str, shop: Workshop) -> None:
    (job,) = shop.store.submit([NewJob("generate", {})])
    claimed = shop.store.claim("w", ["cpu"])
    assert claimed is not None
    with listening(address, f"?job={job.id}", max_queue=1) as socket:
        assert json.loads(socket.recv(5))["type"] == "snapshot"
        for number in range(60):
            shop.store.beat(claimed, {"stage": "render", "done": number, "total": 100})
            shop.store.show(claimed, b"\xff\xd8\xff" + bytes(200_000))
            threading.Event().wait(0.02)
        shop.store.finish(claimed, {})
        states, pictures = [], 0
        while not states or states[-1] != "done":
            message = socket.recv(20)
            if isinstance(message, str):
                states.append(json.loads(message)["job"]["state"])
            else:
                pictures += 1
    assert len(states) < 60
    assert 1 <= pictures < 60


def test_two_hundred_listen_and_all_hear_the_end(address: str, shop: Workshop) -> None:
    (job,) = shop.store.submit([NewJob("generate", {})])
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening(address, f"?job={job.id}&until=end")) for _ in range(200)]
        claimed = shop.store.claim("w", ["cpu"])
        assert claimed is not None
        shop.store.finish(claimed, {})
        for socket in sockets:
            texts, _ = all_of(socket)
            assert texts[-1]["type"] == "end"
            assert texts[-2]["job"]["state"] == "done"


def test_a_server_that_stops_lets_its_listeners_go(shop: Workshop) -> None:
    with ExitStack() as stack:
        with served(shop) as address:
            socket = stack.enter_context(listening(address))
            socket.recv(5)
        with pytest.raises(ConnectionClosed):
            socket.recv(10)


def told(address: str, query: str, last: str | None = None, most: int = 100) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, kind and content of server-sent events, until there are so many or the stream ends."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    headers = {} if last is None else {"Last-Event-ID": last}
    fields: dict[str, str] = {}
    with httpx2.stream("GET", f"{address}/api/events{query}", headers=headers, timeout=60) as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            fields[name] = value
            if not line and "data" in fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
                fields = {}
            if len(found) == most:
                break
    return found


def test_who_comes_back_goes_on_where_they_were(address: str, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reelwright.server.events._OVERLAP_S", 0.2)
    (before,) = shop.store.submit([NewJob("generate", {})])
    threading.Event().wait(0.5)
    ((first, kind, content),) = told(address, "", most=1)
    assert (kind, [job["id"] for job in content["jobs"]]) == ("snapshot", [before.id])
    threading.Event().wait(0.5)
    (ended,) = shop.store.submit([NewJob("generate", {})])
    shop.store.cancel(ended.id)  # a snapshot tells of jobs that have not ended
    threading.Event().wait(0.5)  # what changed a moment before may come twice
    ((then, kind, content),) = told(address, "", first, most=1)
    assert (kind, content["id"], content["state"]) == ("job", ended.id, "cancelled")
    threading.Event().wait(0.5)
    shop.store.cancel(before.id)
    ((last, kind, content),) = told(address, "", then, most=1)
    assert (kind, content["id"], content["state"]) == ("job", before.id, "cancelled")
    assert float(first) < float(then) < float(last)
    assert [kind for _, kind, _ in told(address, "", "nonsense", most=1)] == ["snapshot"]
    assert [kind for _, kind, _ in told(address, "", "1.0", most=1)] == ["snapshot"], "too long ago"


def test_each_event_has_its_id_and_after_the_end_there_is_nothing(address: str, shop: Workshop) -> None:
    (job,) = shop.store.submit([NewJob("generate", {})])
    claimed = shop.store.claim("w", ["cpu"])
    assert claimed is not None
    query = f"?job={job.id}&until=end"
    (first,) = told(address, query, most=1)
    shop.store.finish(claimed, {})
    rest = told(address, query, first[0])
    assert [kind for _, kind, _ in rest] == ["job", "end"]
    assert rest[0][2]["state"] == "done"
    assert httpx2.get(f"{address}/api/events{query}", headers={"Last-Event-ID": rest[-1][0]}).status_code == 204


def test_a_page_on_another_port_of_this_machine_is_another_site(address: str) -> None:
    body = {"prompt": "A boat"}
    port = int(address.rpartition(":")[2])
    for origin in (
        f"http://127.0.0.1:{port + 1}", "http://127.0.0.1", "http://127.0.0.1:99999999", "null", f"http://localhost:{port}",
        "https://127.0.0.1",
    ):  # fmt: skip
        assert httpx2.post(f"{address}/api/estimate", json=body, headers={"Origin": origin}).status_code == 403, origin
    assert httpx2.post(f"{address}/api/estimate", json=body, headers={"Origin": address}).status_code == 200
    for host, origin in (
        ("localhost", "http://localhost"),
        ("localhost", "https://localhost:443"),
        ("localhost:80", "http://localhost"),
    ):
        given = {"Origin": origin, "Host": host}
        assert httpx2.post(f"{address}/api/estimate", json=body, headers=given).status_code == 200, given
