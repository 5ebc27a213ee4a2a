"""Results by fingerprint on the local disk: what was made once is found again (J6)."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from reelwright.errors import DiskFull, Unavailable
from reelwright.media.partial import disk_errors, sweep, whole

_SPARE = 200 * 1024**2
"""Bytes that stay free on the disk; below that nothing is started."""


@dataclass(frozen=True)
class Usage:
    """What the results take: files, bytes, and the bytes that may be used."""

    files: int
    size: int
    limit: int


class Results:
    """Files named by the fingerprint of what they hold, in `folder`; `limit` in bytes, 0 keeps nothing after use."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder / "results", limit

    def path(self, key: str, ending: str) -> Path:
        """Where the result of this fingerprint lies, or would."""
        return self.folder / key[:2] / f"{key}{ending}"

    def find(self, key: str, ending: str) -> Path | None:
        """The result, marked as used just now; None if it was never made."""
        path = self.path(key, ending)
        try:
            if path.stat().st_size == 0:  # what a crash of the machine may leave
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:  # a shared, read-only cache is still a cache
            return path if path.is_file() else None
        return path

    def make(self, key: str, ending: str, write: Callable[[Path], None], waiting: Callable[[], None] | None = None) -> Path:
        """The result; if it is not there, `write` makes it at the path it is given.

        Two that want the same result at the same time make it once: the second waits, and calls `waiting` meanwhile,
        which may raise. What breaks off leaves nothing. Raises DiskFull, Unavailable (the folder cannot be written to),
        and whatever `write` raises.
        """
        path = self.path(key, ending)
        if (found := self.find(key, ending)) is not None:
            return found
        with self._locked(path, waiting):
            if (found := self.find(key, ending)) is not None:
                return found
            if shutil.disk_usage(path.parent).free < _SPARE:
                raise DiskFull(
                    f"less than {_SPARE // 2**20} MiB are free in {self.folder}",
                    hint="Free some space, run `reel clean`, or set REELWRIGHT_CACHE_FOLDER to another disk.",
                )
            with whole(path) as part:
                write(part)
        return path

    @contextlib.contextmanager
    def _locked(self, path: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                with disk_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if not os.access(path.parent, os.W_OK):
                        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                    while True:
                        with contextlib.suppress(Timeout):
                            held.enter_context(locked(path.with_suffix(".lock"), 0.2))
                            break
                        if waiting is not None:
                            waiting()
            except OSError as error:
                raise Unavailable(
                    f"results cannot be kept in {self.folder}: {error.strerror or error}",
                    hint="Set REELWRIGHT_CACHE_FOLDER to a folder that can be written to.",
                    retryable=False,
                ) from None
            yield

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.suffix != ".lock" and not path.name.startswith("."):
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
        return sorted(found)

    def usage(self) -> Usage:
        """How much is kept."""
        files = self._files()
        return Usage(len(files), sum(size for _, size, _ in files), self.limit)

    def trim(self, limit: int | None = None, *, dry: bool = False) -> tuple[Path, ...]:
        """Remove the least recently used results until the rest fits; returns what went (or, if `dry`, would go)."""
        limit = self.limit if limit is None else limit
        files = self._files()
        total = sum(size for _, size, _ in files)
        gone = []
        for _, size, path in files:
            if total <= limit:
                break
            total -= size
            gone.append(path)
            if not dry:
                with contextlib.suppress(OSError):  # a cache that only others may write to
                    path.unlink(missing_ok=True)
        if not dry:
            for folder in self.folder.glob("*/"):
                sweep(folder)
            for left in self.folder.glob("*/*.lock"):  # by processes that were killed
                with contextlib.suppress(OSError, Timeout), locked(left, 0):
                    pass
        return tuple(gone)


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file at `path`, waiting so long for it at most; raises filelock.Timeout.

    The file is removed while it is held: who waits for it sees that, and makes a new one.
    """
    with FileLock(path, timeout=seconds, mode=0o644):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
