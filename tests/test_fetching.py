"""Addresses from outside, and the tricks by which they would reach inside (J7)."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reelwright.errors import ProviderFailed, ReelwrightError, RequestError, TimedOut, TooLarge
from reelwright.fetching import Fetcher, public

SEEN: list[tuple[str, dict[str, str]]] = []


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        SEEN.append((self.path, dict(self.headers)))
        status, headers, body = {
            "/a": (200, {}, b"hello"),
            "/hop": (302, {"Location": "/a"}, b""),
            "/inside": (302, {"Location": "http://inside.example/a"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/large": (200, {}, b"x" * 5000),
            "/lies": (200, {"Content-Length": "999999999"}, b""),
        }.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Set-Cookie": "a=b", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        SEEN.append((self.rfile.read(int(self.headers["Content-Length"])).decode(), dict(self.headers)))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def known(host: str, _port: int) -> list[str]:
    """Names of these tests: one that is allowed to be here, one of the outside, one of the inside."""
    return {"studio.example": ["127.0.0.1"], "outside.example": ["93.184.215.14"], "inside.example": ["10.0.0.7"]}[host]


@pytest.fixture
def fetcher() -> Fetcher:
    SEEN.clear()
    return Fetcher(allow=("studio.example",), resolve=known)


def test_what_is_there_comes_without_cookies_or_credentials(fetcher: Fetcher, port: int, tmp_path: Path) -> None:
    at = f"http://studio.example:{port}"
    assert fetcher.fetch(f"{at}/hop#x", tmp_path / "a", most=100) == f"{at}/a"
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert [path for path, _ in SEEN] == ["/hop", "/a"]
    assert all(headers["Host"] == f"studio.example:{port}" for _, headers in SEEN)
    assert not {"Cookie", "Authorization"} & set(SEEN[1][1])
    assert fetcher.post(f"{at}/hook", b"body", {"X": "1"}) == 204
    assert SEEN[-1][0] == "body"


@pytest.mark.parametrize(
    ("path", "error"),
    [("/inside", RequestError), ("/file", RequestError), ("/loop", RequestError), ("/large", TooLarge), ("/lies", TooLarge),
     ("/none", ProviderFailed)],
)  # fmt: skip
def test_redirects_are_looked_at_anew_and_sizes_are_held(
    fetcher: Fetcher, port: int, tmp_path: Path, path: str, error: type[ReelwrightError]
) -> None:
    with pytest.raises(error):
        fetcher.fetch(f"http://studio.example:{port}{path}", tmp_path / "a", most=1000)
    assert not any(path == "/a" for path, _ in SEEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://localhost./", "http://[::1]/", "http://0.0.0.0/", "http://0/",
        "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.0.1.:80/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://[fe80::1]/", "http://[fc00::1]/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/",
        "http://100.64.0.1/", "http://169.254.169.254/latest/meta-data/", "http://224.0.0.1/", "http://255.255.255.255/",
        "file:///etc/passwd", "ftp://outside.example/", "gopher://outside.example/", "//outside.example/", "outside.example",
        "http://user:secret@93.184.215.14/", "http://93.184.215.14:22/", "http://93.184.215.14:6379/", "http://", "http:///a",
        "http://a b/", "http://outside.example\r\nHost: x/", "http://outside.example:99999/", "http://[::1", "",
        "http://１２７.０.０.１/", "http://ⓛocalhost/",
    ],
)  # fmt: skip
def test_tricks_to_reach_the_inside_fail(url: str, tmp_path: Path) -> None:
    with pytest.raises(ReelwrightError) as raised:
        Fetcher().fetch(url, tmp_path / "a", most=1000, seconds=2)
    assert not isinstance(raised.value, TimedOut)
    assert not (tmp_path / "a").exists()


def test_a_name_that_changes_its_mind_is_asked_once(port: int, tmp_path: Path) -> None:
    """DNS rebinding: first public, then this machine; and one that stands for both at once."""
    asked: list[str] = []

    def turning(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    SEEN.clear()
    Fetcher(allow=("turning.example",), resolve=turning).fetch(f"http://turning.example:{port}/a", tmp_path / "a", most=100)
    assert (asked, len(SEEN)) == (["turning.example"], 1)
    with pytest.raises(RequestError):
        Fetcher(resolve=lambda *_: ["93.184.215.14", "127.0.0.1"]).checked("both.example", 80)


def test_networks_are_allowed_by_the_operator_only() -> None:
    assert Fetcher(allow=("10.0.0.0/8",), resolve=known).checked("inside.example", 80) == "10.0.0.7"
    with pytest.raises(RequestError):
        Fetcher(allow=("192.168.0.0/16",), resolve=known).checked("inside.example", 80)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111"])
def test_the_public_internet_is_public(address: str) -> None:
    assert public(ipaddress.ip_address(address))
