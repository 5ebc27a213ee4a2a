"""A provider on this machine: a server that speaks its protocol, orders nothing, and fails as it is told to.

    class Mine(StandIn):
        def answer(self, call):
            if call.method == "POST":
                return {"id": self.ordered(call)}
            ...

`reelwright.testing_hosted.HostedContract` drives it.
"""

from __future__ import annotations

import json
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from reelwright.media.encode import Encoding, save
from reelwright.types import Frame, Video, VideoSpec

State = Literal["queued", "running", "done", "failed", "refused", "stopped", "strange"]
SIZE, FRAMES, FPS = 64, 8, 8
"""Of the video that stand-ins give."""


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not that."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Said:
    """An answer other than 200 with JSON."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refused(Exception):
    def __init__(self, said: Said) -> None:
        self.said = said


@cache
def video() -> bytes:
    """A small video: a second of flat frames that grow lighter."""
    spec = VideoSpec(SIZE, SIZE, Fraction(FPS), FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        save(Video(spec, (Frame.filled(SIZE, SIZE, y=40 + 20 * i) for i in range(FRAMES))), path, Encoding(crf=4))
        return path.read_bytes()


class StandIn(ABC):
    """Subclasses answer as the provider does; what goes wrong is set here.

    `polls`: how often `state` says that it is at work; `ends`: how it ends then ("strange" and "running" never do). `busy`: so
    many orders are answered with 429, `faults`: so many questions with 500. `made`: the result; `kind`: its content type;
    `moved`: where its address leads instead. `orders`, `stops`, `calls`: what came.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.polls, self.busy, self.faults = 1, 0, 0
        self.ends: State = "done"
        self.made, self.kind, self.moved = video(), "video/mp4", ""
        self.elsewhere = ""
        """The address of another server, for answers that name addresses to ask at."""
        self.orders: list[Received] = []
        self.stops: list[str] = []
        self.calls: list[Received] = []
        self._asked: dict[str, int] = {}
        self._once: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _door(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @abstractmethod
    def answer(self, call: Received) -> Any:
        """JSON for 200, bytes, or Said."""

    def authorised(self, call: Received) -> bool:
        """Whether the key came; override where it is not a bearer token."""
        return call.headers.get("authorization", "").split(" ")[-1] == self.key

    def ordered(self, call: Received, once: str | None = None) -> str:
        """Take an order, and return its id: the same for the same idempotency key `once`. It may be refused for haste."""
        with self._lock:
            if self.busy > 0:
                self.busy -= 1
                raise _Refused(Said(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}))
            if once is not None and once in self._once:
                return self._once[once]
            self.orders.append(call)
            name = f"op-{len(self.orders)}"
            if once is not None:
                self._once[once] = name
            return name

    def state(self, name: str) -> State:
        """How an operation stands; it may fail to say."""
        with self._lock:
            if self.faults > 0:
                self.faults -= 1
                raise _Refused(Said(503, {"error": {"message": "we are sorry"}}))
            if name in self.stops:
                return "stopped"
            if name not in {f"op-{number}" for number in range(1, len(self.orders) + 1)}:
                raise _Refused(Said(404, {"error": {"message": "there is none"}}))
            asked = self._asked[name] = self._asked.get(name, 0) + 1
            return self.ends if asked > self.polls else "queued" if asked == 1 else "running"

    def stopped(self, name: str) -> None:
        """An operation is to stop."""
        with self._lock:
            self.stops.append(name)

    @property
    def url(self) -> str:
        """Where results lie, without a key."""
        return f"{self.address}/made/film.mp4"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def said(self, call: Received) -> Said:
        """The whole answer, for a request."""
        self.calls.append(call)
        if call.path.startswith("/made/"):
            if "authorization" in call.headers:
                return Said(400, {"error": "a key came where none belongs"})
            if self.moved:
                return Said(302, b"", {"Location": self.moved})
            return Said(200, self.made, {"Content-Type": self.kind})
        if not self.authorised(call):
            return Said(401, {"error": {"message": f"wrong key: {' '.join(call.headers.values())}"}})
        try:
            answer = self.answer(call)
        except _Refused as refused:
            return refused.said
        return answer if isinstance(answer, Said) else Said(200, answer)


def _door(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: given[0] for name, given in parse_qs(parts.query).items()}
            headers = {name.lower(): given for name, given in self.headers.items()}
            said = server.said(Received(self.command, parts.path, query, headers, body))
            content = said.content if isinstance(said.content, bytes) else json.dumps(said.content).encode()
            self.send_response(said.status)
            kind = "application/octet-stream" if isinstance(said.content, bytes) else "application/json"
            for name, given in {"Content-Type": kind, "Content-Length": str(len(content)), **said.headers}.items():
                self.send_header(name, given)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815  as http.server names them

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Door
