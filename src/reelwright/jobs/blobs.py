"""Bytes at rest, named by their SHA-256: in a folder, or in an S3 bucket."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from reelwright.errors import DiskFull, MissingAsset, MissingExtra, RequestError, Unavailable
from reelwright.media.partial import sweep, whole

_CHUNK = 1 << 20
_PART = 16 << 20
"""Bytes of a part of an upload to S3."""


@dataclass(frozen=True)
class Blob:
    """A stored blob: its SHA-256, its bytes, and when it was last written, in seconds since 1970."""

    digest: str
    size: int
    at: float


class Blobs(Protocol):
    """Where blobs lie. The same bytes are kept once; a digest is 64 hexadecimal digits."""

    def put(self, path: Path) -> Blob:
        """Store a file's content; raises DiskFull, Unavailable."""

    def path(self, digest: str) -> Path:
        """A local file with the content; raises MissingAsset."""

    def url(self, digest: str, seconds: int, kind: str, name: str) -> str | None:
        """An address from which anyone may read it for so long; None if there is none and it has to be served from `path`."""

    def has(self, digest: str) -> bool:
        """Whether it is there."""

    def delete(self, digest: str) -> None:
        """Remove it; nothing happens if it is not there."""

    def all(self) -> Iterator[Blob]:
        """Every blob."""

    def tidy(self) -> None:
        """Remove what processes that were killed left half written."""


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_blobs(url: str, cache: Path) -> Blobs:
    """`file:///folder` or `s3://bucket/prefix?endpoint=http://host:port`; `cache` is where S3 objects are read from.

    `&public=http://host:port` names the S3 server as those who fetch films see it, `&public=no` sends no one there.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        return DiskBlobs(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return S3Blobs(parts.netloc, parts.path.strip("/"), cache, asked.get("endpoint"), asked.get("public"))
    raise RequestError(
        "blobs are kept in a folder or an S3 bucket",
        hint="Set REELWRIGHT_BLOBS to file:///FOLDER or s3://BUCKET/PREFIX.",
        field="blobs",
    )


def _checked(digest: str) -> str:
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise MissingAsset(f"there is no blob {digest[:80]!r}")
    return digest


class DiskBlobs:
    """Blobs in a folder, spread over 256 others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _place(self, digest: str) -> Path:
        return self._folder / _checked(digest)[:2] / digest[2:]

    def put(self, path: Path) -> Blob:
        """As in Blobs."""
        digest = digest_of(path)
        place = self._place(digest)
        with suppress(FileNotFoundError):
            os.utime(place)  # named again: cleaning leaves it for a while
        if not place.is_file():
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with whole(place) as part:
                    shutil.copyfile(path, part)
                    _synced(part)
            except (OSError, RequestError) as error:
                raise DiskFull(f"{path.name} cannot be stored: {error}", hint="Free some space.") from error
        stat = place.stat()
        return Blob(digest, stat.st_size, stat.st_mtime)

    def path(self, digest: str) -> Path:
        """As in Blobs."""
        place = self._place(digest)
        if not place.is_file():
            raise MissingAsset(f"there is no blob {digest}", digest=digest)
        return place

    def url(self, digest: str, seconds: int, kind: str, name: str) -> None:  # noqa: ARG002  files are served from `path`
        """As in Blobs."""
        return

    def has(self, digest: str) -> bool:
        """As in Blobs."""
        return self._place(digest).is_file()

    def delete(self, digest: str) -> None:
        """As in Blobs."""
        self._place(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[Blob]:
        """As in Blobs."""
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            for place in sorted(folder.glob("[0-9a-f]*")):
                stat = place.stat()
                yield Blob(folder.name + place.name, stat.st_size, stat.st_mtime)

    def tidy(self) -> None:
        """As in Blobs."""
        for folder in self._folder.glob("[0-9a-f][0-9a-f]"):
            sweep(folder)


def _synced(path: Path) -> None:
    """Its bytes are on the disk before its name says so."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


class S3Blobs:
    """Blobs in a bucket of S3 or a server that speaks its protocol; credentials from the environment, as boto3 finds them."""

    def __init__(self, bucket: str, prefix: str, cache: Path, endpoint: str | None = None, public: str | None = None) -> None:
        try:
            import boto3
            from boto3.s3.transfer import TransferConfig
            from botocore.config import Config
        except ModuleNotFoundError as error:
            raise MissingExtra("S3 needs boto3", hint="pip install 'reelwright[scale]'") from error
        patient = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=5, read_timeout=60)
        self._client: Any = boto3.client("s3", endpoint_url=endpoint, config=patient)
        self._public: Any = None  # signs addresses; another name for the same server is another signature
        if public != "no":
            self._public = self._client if public is None else boto3.client("s3", endpoint_url=public, config=patient)
        self._transfer = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART)
        self._bucket, self._prefix, self._cache = bucket, f"{prefix}/" if prefix else "", DiskBlobs(cache)

    def _name(self, digest: str) -> str:
        return f"{self._prefix}{_checked(digest)[:2]}/{digest[2:]}"

    def put(self, path: Path) -> Blob:
        """As in Blobs."""
        digest = digest_of(path)
        if not self._fresh(digest):  # sent again, cleaning leaves it for a while
            with _reached():
                self._client.upload_file(str(path), self._bucket, self._name(digest), Config=self._transfer)
        with _reached():
            head = self._client.head_object(Bucket=self._bucket, Key=self._name(digest))
        return Blob(digest, head["ContentLength"], head["LastModified"].timestamp())

    def path(self, digest: str) -> Path:
        """As in Blobs."""
        if not self._cache.has(digest):
            if not self.has(digest):
                raise MissingAsset(f"there is no blob {digest}", digest=digest)
            place = self._cache._place(digest)
            part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with _reached():
                    self._client.download_file(self._bucket, self._name(digest), str(part), Config=self._transfer)
                if digest_of(part) != digest:
                    raise Unavailable(f"blob {digest} came back with other bytes", hint="Try again; look at the S3 server.")
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        return self._cache.path(digest)

    def url(self, digest: str, seconds: int, kind: str, name: str) -> str | None:
        """As in Blobs."""
        if self._public is None:
            return None
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
        asked = {
            "Bucket": self._bucket,
            "Key": self._name(digest),
            "ResponseContentType": kind,
            "ResponseContentDisposition": f'inline; filename="{plain}"',
        }
        made: str = self._public.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return made

    def has(self, digest: str) -> bool:
        """As in Blobs."""
        from botocore.exceptions import ClientError

        with _reached():
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._name(digest))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return False
                raise
        return True

    def _fresh(self, digest: str) -> bool:
        """Whether it is there and was written within half an hour."""
        from botocore.exceptions import ClientError

        with _reached():
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._name(digest))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return False
                raise
        return bool(head["LastModified"].timestamp() > time.time() - 1800)

    def delete(self, digest: str) -> None:
        """As in Blobs."""
        with _reached():
            self._client.delete_object(Bucket=self._bucket, Key=self._name(digest))
        self._cache.delete(digest)

    def all(self) -> Iterator[Blob]:
        """As in Blobs."""
        with _reached():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix):
                for found in page.get("Contents", ()):
                    digest = found["Key"].removeprefix(self._prefix).replace("/", "")
                    yield Blob(digest, found["Size"], found["LastModified"].timestamp())

    def tidy(self) -> None:
        """As in Blobs; S3 keeps nothing half written, this machine's copies may be."""
        self._cache.tidy()


class _reached:  # noqa: N801  it reads as a verb: with _reached()
    """An S3 server that does not answer, or refuses, is an error with advice."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, BotoCoreError | ClientError | Boto3Error):
            raise Unavailable(
                f"the S3 store cannot be used: {type(error).__name__}", hint="Check its address, its bucket and the credentials."
            ) from error
