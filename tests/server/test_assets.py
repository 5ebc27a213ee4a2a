"""Files over HTTP: streamed in, examined in a process of their own, streamed out (J6, J7)."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import clip, picture, wav
from PIL import Image
from starlette.testclient import TestClient

from reelwright.server.app import create_app
from reelwright.settings import load
from reelwright.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(load(data_folder=tmp_path / "data", cache_folder=tmp_path / "cache", max_video_file_size=3_000_000))


@pytest.fixture
def client(shop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(shop), raise_server_exceptions=False) as made:
        yield made


def test_files_are_known_by_their_content_and_come_back_in_ranges(client: TestClient, shop: Workshop, tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", 24)
    content = (tmp_path / "a.mp4").read_bytes()
    made = client.post("/api/assets", params={"name": "../../etc/boat.exe"}, content=content).json()
    assert (made["name"], made["type"], made["size"]) == ("boat.mp4", "video/mp4", len(content))
    assert (made["width"], made["height"], made["seconds"]) == (160, 90, pytest.approx(1, abs=0.1))
    url = made["url"]
    whole = client.get(url)
    assert whole.content == content
    part = client.get(url, headers={"Range": "bytes=4-7", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ftyp", f"bytes 4-7/{len(content)}")
    assert client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert not list((shop.folder / "uploads").iterdir())
    assert client.get("/api/assets").json()["assets"][0]["id"] == made["id"]


@pytest.mark.parametrize("form", [False, True])
def test_pictures_and_sounds_are_taken_as_a_body_or_a_form(client: TestClient, tmp_path: Path, form: bool) -> None:
    picture(tmp_path / "a.png")
    wav(tmp_path / "b.wav")
    for name, kind in (("a.png", "image/png"), ("b.wav", "audio/wav")):
        content = (tmp_path / name).read_bytes()
        sent = {"files": {"file": (name, content)}} if form else {"content": content, "params": {"name": name}}
        made = client.post("/api/assets", **sent)  # type: ignore[arg-type]  # plain values
        assert made.status_code == 201, made.text
        assert (made.json()["type"], made.json()["name"]) == (kind, name)


def test_thumbnails_are_small_pictures_that_are_made_once(client: TestClient, shop: Workshop, tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", 12)
    made = client.post("/api/assets", content=(tmp_path / "a.mp4").read_bytes()).json()
    for _ in range(2):
        answer = client.get(f"/api/assets/{made['id']}/thumbnail", params={"width": 100})
        assert Image.open(io.BytesIO(answer.content)).size == (128, 72)
    assert len(list((shop.settings.cache_folder / "thumbnails").glob("*.jpg"))) == 1
    wav(tmp_path / "b.wav")
    sound = client.post("/api/assets", content=(tmp_path / "b.wav").read_bytes()).json()
    assert client.get(f"/api/assets/{sound['id']}/thumbnail").json()["error"] == "unsupported"


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any number of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "unsupported"),
        (b"MZ this is a program" * 50, 422, "unsupported"),
        (b"\x89PNG\r\n\x1a\n" + b"nonsense" * 100, 422, "bad_media"),
        (b"\x00\x00\x00\x20ftypisom" + b"\0" * 4000, 422, "bad_media"),
        (bomb(60_000, 60_000), 413, "too_large"),
        (b"1\n00:00:00,000 --> 00:00:01,000\n\xff\xfe\n", 422, "unsupported"),
        (b"\x00\x00\x00\x20ftypisom" + b"\0" * 3_100_000, 413, "too_large"),
    ],
)
def test_what_is_no_file_of_use_is_refused_and_leaves_nothing(
    client: TestClient, shop: Workshop, content: bytes, status: int, code: str
) -> None:
    answer = client.post("/api/assets", content=content)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert client.get("/api/assets").json()["assets"] == []
    assert list(shop.blobs.all()) == []
    assert not (shop.folder / "uploads").exists() or not list((shop.folder / "uploads").iterdir())
    assert client.get("/health").status_code == 200


def test_a_decoder_that_crashes_takes_nothing_with_it(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.setattr("reelwright.media.apart.sys.executable", "/bin/false")
    answer = client.post("/api/assets", content=(tmp_path / "a.png").read_bytes())
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_media")


def test_an_owners_bytes_are_counted_while_they_come(shop: Workshop, tmp_path: Path) -> None:
    _, secret = shop.ledger.new_key("ann", ("write",), bytes=40_000)
    wav(tmp_path / "a.wav", seconds=0.1)
    small = (tmp_path / "a.wav").read_bytes()
    with TestClient(create_app(shop, open_to_all=False), headers={"X-API-Key": secret}) as client:
        assert client.post("/api/assets", content=small).status_code == 201
        answer = client.post("/api/assets", content=small + b"\0" * 40_000)
        assert (answer.status_code, answer.json()["error"]) == (429, "quota_exceeded")
        assert answer.json()["details"]["left"] == 40_000 - len(small)


def test_files_are_pinned_and_deleted(client: TestClient, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    asset = client.post("/api/assets", content=(tmp_path / "a.png").read_bytes()).json()["id"]
    assert client.post(f"/api/assets/{asset}/pin").json()["pinned"] is True
    assert client.post(f"/api/assets/{asset}/unpin").json()["pinned"] is False
    assert client.delete(f"/api/assets/{asset}").json()["deleted"] is True
    assert client.get(f"/api/assets/{asset}").json()["error"] == "asset_not_found"
