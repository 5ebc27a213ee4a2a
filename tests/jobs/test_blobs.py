"""Blobs in a folder and in S3, one contract (J6)."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from reelwright.errors import DiskFull, MissingAsset, RequestError
from reelwright.jobs.blobs import Blobs, open_blobs


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server over loopback."""
    import boto3
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="films")
    yield f"s3://films/reel?endpoint={endpoint}"
    server.stop()
    patch.undo()


@pytest.fixture(params=["file", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    url = (tmp_path / "blobs").as_uri() if request.param == "file" else request.getfixturevalue("s3")
    return open_blobs(url, tmp_path / "cache")


def test_the_same_bytes_are_kept_once_and_come_back(blobs: Blobs, tmp_path: Path) -> None:
    given = tmp_path / "a.bin"
    given.write_bytes(b"0123456789")
    made = blobs.put(given)
    assert blobs.put(given).digest == made.digest
    assert [each.digest for each in blobs.all()] == [made.digest]
    assert (made.size, blobs.path(made.digest).read_bytes(), blobs.has(made.digest)) == (10, b"0123456789", True)
    address = blobs.url(made.digest, 60, "text/plain", 'ä "x".txt')
    if address is not None:
        asked = urllib.request.Request(address, headers={"Range": "bytes=2-4"})
        with urllib.request.urlopen(asked) as answer:
            assert (answer.status, answer.read()) == (206, b"234")
    blobs.delete(made.digest)
    blobs.delete(made.digest)
    assert not blobs.has(made.digest)
    with pytest.raises(MissingAsset):
        blobs.path(made.digest)


def test_an_s3_server_is_shown_as_outsiders_see_it_or_not_at_all(s3: str, tmp_path: Path) -> None:
    given = tmp_path / "a.bin"
    given.write_bytes(b"0123456789")
    outside = open_blobs(f"{s3}&public=http://films.example:9000", tmp_path / "cache")
    address = outside.url(outside.put(given).digest, 60, "text/plain", "a.txt")
    assert address is not None
    assert address.startswith("http://films.example:9000/films/reel/")
    hidden = open_blobs(f"{s3}&public=no", tmp_path / "cache")
    assert hidden.url(hidden.put(given).digest, 60, "text/plain", "a.txt") is None


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "0" * 63, "G" * 64])
def test_only_digests_name_blobs(blobs: Blobs, digest: str) -> None:
    with pytest.raises(MissingAsset):
        blobs.path(digest)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reelwright.jobs.blobs.shutil.copyfile", full)
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    with pytest.raises(DiskFull):
        open_blobs((tmp_path / "blobs").as_uri(), tmp_path).put(tmp_path / "a.bin")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    for url in ("http://host/x", "file://host/x", "s3://"):
        with pytest.raises(RequestError):
            open_blobs(url, tmp_path)
