"""What a server no longer has to keep: old files by an owner's policy, bytes that nothing names, traces of what has ended."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reelwright.jobs.ledger import StoredAsset
from reelwright.settings import Settings
from reelwright.workshop import Workshop

_GRACE_S = 3600.0
"""Bytes that were written or named again so lately are left, for their row may still be on its way."""
_TRACES_S = 30 * 86_400.0
"""Events and deliveries of what ended so long ago go."""


@dataclass(frozen=True)
class Policy:
    """What each owner keeps at most: files of so many days, so many files, so many bytes; None where unlimited.

    Pinned files stay, as do those that storyboards or unfinished jobs name; the oldest of the others go first.
    """

    days: float | None = None
    files: int | None = None
    size: int | None = None
    owner: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The operator's."""
        size = None if settings.keep_gb is None else round(settings.keep_gb * 1e9)
        return cls(settings.keep_days, settings.keep_files, size)


@dataclass(frozen=True)
class Gone:
    """Something that went, or would: `what` it is, its name, its bytes, and why."""

    what: str
    name: str
    size: int
    owner: str | None
    why: str


def sweep(shop: Workshop, policy: Policy, *, dry: bool = False) -> tuple[Gone, ...]:
    """Clean by a policy; returns what went (or, if `dry`, would go)."""
    going = tuple(_assets(shop, policy))
    dropped = {asset.id: asset for asset, _ in going}
    found = [Gone("file", asset.name, asset.size, asset.owner, why) for asset, why in going]
    if not dry:
        shop.ledger.drop(dropped)
    named = shop.ledger.digests(without=frozenset(dropped) if dry else frozenset())
    for blob in shop.blobs.all():
        fresh = blob.at > time.time() - _GRACE_S
        if blob.digest in named or fresh:
            continue
        found.append(Gone("bytes", blob.digest[:12], blob.size, None, "nothing names them"))
        if not dry:
            shop.blobs.delete(blob.digest)
            _forget_copies(shop, blob.digest)
    found += _leftovers(shop, dry)
    if not dry:
        shop.blobs.tidy()
        shop.ledger.forget_traces(_TRACES_S)
    return tuple(found)


def _assets(shop: Workshop, policy: Policy) -> Iterator[tuple[StoredAsset, str]]:
    """The assets that go, each with the reason."""
    now = shop.store.clock()
    busy = shop.ledger.in_use()
    kept: dict[str, tuple[int, int]] = {}
    for asset in shop.ledger.every(policy.owner):  # newest first
        if asset.pinned or asset.id in busy:
            continue
        count, size = kept.get(asset.owner, (0, 0))
        if asset.expires_at is not None and asset.expires_at <= now:
            yield asset, "it has expired"
        elif policy.days is not None and asset.created_at < now - policy.days * 86_400:
            yield asset, f"it is older than {policy.days:g} days"
        elif policy.files is not None and count >= policy.files:
            yield asset, f"{asset.owner} has more than {policy.files} files"
        elif policy.size is not None and size + asset.size > policy.size:
            yield asset, f"{asset.owner} has more than {policy.size / 1e9:g} GB"
        else:
            kept[asset.owner] = count + 1, size + asset.size


def _leftovers(shop: Workshop, dry: bool) -> Iterator[Gone]:
    """Uploads that broke off with their server."""
    for place in sorted((shop.folder / "uploads").glob("upload-*")):
        if place.stat().st_mtime < time.time() - 24 * _GRACE_S:
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            yield Gone("upload", place.name, size, None, "it broke off")
            if not dry:
                shutil.rmtree(place, ignore_errors=True)


def _forget_copies(shop: Workshop, digest: str) -> None:
    """What this machine made of a blob for its own use."""
    for pattern in (f"inputs/{digest}*", f"thumbnails/{digest}*"):
        for path in Path(shop.settings.cache_folder).glob(pattern):
            path.unlink(missing_ok=True)
