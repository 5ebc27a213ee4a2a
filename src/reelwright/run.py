"""What long work is handed: progress, cancel, preview, notes, memory, inputs, scratch space."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reelwright.errors import Cancelled, MissingAsset
from reelwright.types import Frame


@dataclass(frozen=True)
class Progress:
    """Where a piece of work stands.

    `done` of `total` units within `stage`; `elapsed` and `eta` in seconds, `eta` None until it can be told.
    """

    stage: str
    done: int
    total: int
    elapsed: float
    eta: float | None

    @property
    def fraction(self) -> float:
        """0..1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Run(Protocol):
    """What a backend is given beside the shot."""

    memory: dict[str, Any]
    """What was remembered by an earlier attempt at the same work; JSON values."""

    def step(self, done: int, total: int, stage: str) -> None:
        """Report progress; raises Cancelled if the work is no longer wanted. Call it often."""

    def preview(self, frame: Frame) -> None:
        """Show a picture of the result so far."""

    def note(self, text: str) -> None:
        """Tell the person something about the result, such as a parameter that had to be adapted."""

    def remember(self, **facts: Any) -> None:
        """Keep facts (JSON values) that a later attempt needs, such as a provider's operation id."""

    def fetch(self, ref: str) -> Path:
        """The local file behind an input's reference; raises MissingAsset."""

    @property
    def scratch(self) -> Path:
        """A folder of this run's own; it is removed afterwards."""


@dataclass
class LocalRun:
    """A run in this process: callbacks for progress and previews, an event or a callable for cancel."""

    on_progress: Callable[[Progress], None] | None = None
    on_preview: Callable[[Frame], None] | None = None
    cancel: threading.Event | Callable[[], bool] | None = None
    folder: Path = field(default_factory=Path)
    """Where relative references start."""
    leaving: Callable[[], bool] | None = None
    """Whether a cancel only means that somebody else goes on with the work: what was ordered elsewhere is left running."""
    owner: str = "local"
    """For whom the work is done."""
    notes: list[str] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic, init=False)
    _stage: tuple[str, float, int] = field(default=("", 0.0, 0), init=False)
    _scratch: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted."""
        if isinstance(self.cancel, threading.Event):
            return self.cancel.is_set()
        return self.cancel is not None and bool(self.cancel())

    def step(self, done: int, total: int, stage: str) -> None:
        """Report progress; raises Cancelled."""
        if self.cancelled:
            raise Cancelled
        if self.on_progress is None:
            return
        now = time.monotonic()
        if self._stage[0] != stage:
            self._stage = (stage, now, done)
        _, began, base = self._stage
        made, spent = done - base, now - began
        eta = (total - done) * spent / made if made > 0 and spent > 0.05 else None
        self.on_progress(Progress(stage, done, total, now - self._started, eta))

    def preview(self, frame: Frame) -> None:
        """Show a picture of the result so far."""
        if self.on_preview is not None:
            self.on_preview(frame)

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def remember(self, **facts: Any) -> None:
        """Keep facts for a later attempt."""
        self.memory.update(facts)

    def fetch(self, ref: str) -> Path:
        """The file that `ref` names, relative to `folder`; raises MissingAsset."""
        try:
            path = self.folder / Path(ref).expanduser()
            there = path.is_file()
        except (OSError, RuntimeError):  # a name that is too long, a home that is not known
            there = False
        if not there:
            raise MissingAsset(f"there is no file {ref}", hint="Relative paths start at the storyboard's folder.", ref=ref)
        return path

    @property
    def scratch(self) -> Path:
        """A temporary folder, made on first use."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="reelwright-")
        return Path(self._scratch.name)

    def close(self) -> None:
        """Remove the scratch folder."""
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


@dataclass
class FoundRun(LocalRun):
    """A run whose inputs are found by `finder`, such as assets by their ids; without one, as files.

    `own`: the folder of this program's own results, such as the last frame of a scene, which are files in any case.
    """

    finder: Callable[[str], Path] | None = None
    own: Path | None = None

    def fetch(self, ref: str) -> Path:
        """The file behind a reference; raises MissingAsset."""
        path = Path(ref)
        if self.finder is None or (self.own is not None and path.parent.parent == self.own and ".." not in path.parts):
            return super().fetch(ref)
        return self.finder(ref)
