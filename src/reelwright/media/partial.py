"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelwright.errors import DiskFull, RequestError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
"""This machine, within the names of partial files: process numbers mean nothing on another one that shares the folder."""
_NAME = re.compile(r"^\..+\.(\d+)-([0-9a-f]{6})-[0-9a-f]{8}\.part(\.[A-Za-z0-9]+)?$")
_FORGOTTEN = 7 * 24 * 3600
"""Seconds after which a partial file of another machine is swept too."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends well and removed when it does not.

    Partial files of processes that were killed are swept from the folder first. Raises RequestError if the folder is
    missing or read-only, DiskFull if there is no room.
    """
    folder = path.parent
    if not folder.is_dir():
        raise RequestError(f"the folder {folder} does not exist", hint="Create it first, or choose another place with -o.")
    if path.is_dir():
        raise RequestError(f"{path} is a folder", hint="Name a file in it.")
    if not os.access(folder, os.W_OK):
        raise RequestError(f"the folder {folder} cannot be written to", hint="Choose another place with -o.")
    sweep(folder)
    part = folder / f".{path.stem[:40]}.{os.getpid()}-{HOST}-{uuid.uuid4().hex[:8]}.part{path.suffix}"
    try:
        with disk_errors(path):
            yield part
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Errors of a full disk, a quota or a file-size limit become DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"there is no room left to write {path.name}",
                hint="Free some space (see `reel doctor`) and run the same command again: finished scenes are kept.",
                file=path.name,
            ) from error
        raise


def sweep(folder: Path) -> int:
    """Remove partial files that nobody is writing: this machine's, if their process ended; others', if a week old."""
    removed = 0
    for entry in folder.glob(".*.part*"):
        match = _NAME.match(entry.name)
        if match is None:
            continue
        with contextlib.suppress(OSError):
            if alive(int(match[1])) if match[2] == HOST else time.time() - entry.stat().st_mtime < _FORGOTTEN:
                continue
            entry.unlink()
            removed += 1
    return removed


def alive(pid: int) -> bool:
    """Whether a process of this number runs here."""
    if os.name == "nt":  # signal 0 would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
