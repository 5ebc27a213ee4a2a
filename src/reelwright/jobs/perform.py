"""A film is rendered into a file: missing segments side by side, then everything copied together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from reelwright.compose import Film, Segment
from reelwright.errors import Cancelled
from reelwright.jobs.measured import Speeds
from reelwright.jobs.results import Results
from reelwright.manifest import facts, versions
from reelwright.media.copying import Segments
from reelwright.media.encode import CODECS, Encoding, save
from reelwright.run import Run
from reelwright.types import Frame, Video, VideoSpec

_LARGE = 1920 * 1088
"""px; of larger pictures one segment is rendered at a time, for an encoder holds dozens of them."""


_SHOWN_S = 0.7
"""Seconds between two previews."""


@dataclass(frozen=True)
class Rendered:
    """How many segments a film has, and how many of them were there already."""

    segments: int
    reused: int


def in_segments(path: Path, encoding: Encoding) -> bool:
    """Whether a film in this file is made of segments: software H.264 with quality in charge of the rate."""
    return encoding.codec_for(path) is CODECS["h264"] and not encoding.hardware and encoding.rate == "capped"


def side_by_side(spec: VideoSpec, wanted: int | None) -> int:
    """How many segments are rendered at the same time."""
    return wanted or (1 if spec.width * spec.height > _LARGE else max(1, min(8, os.cpu_count() or 1)))


def settled(encoding: Encoding, spec: VideoSpec, workers: int) -> Encoding:
    """The encoding with its number of threads set, which x264's bits depend on."""
    cores = os.cpu_count() or 2
    most = 8 if spec.width * spec.height > _LARGE else 16
    if encoding.bitrate is not None and encoding.threads is None:
        # x264 keeps a ceiling (VBV) by what its other threads have made so far: with two threads or more the same film
        # comes out as other bytes now and then. Segments side by side keep the cores busy instead.
        return replace(encoding, threads=1)
    return replace(encoding, threads=encoding.threads or max(1, min(most, -(-cores * 3 // (2 * workers)))))


def segment_settings(encoding: Encoding) -> list[object]:
    """What a segment's bits depend on beside its pictures."""
    known = versions()
    chosen = {name: value for name, value in facts(encoding).items() if name != "audio_bitrate"}
    return [chosen, known["av"], known["libavcodec"], known["opencv"]]


def render(
    film: Film, path: Path, encoding: Encoding, results: Results, speeds: Speeds, run: Run, workers: int | None
) -> Rendered:
    """Write the film to `path`; segments that were rendered before are taken from `results`.

    Raises Cancelled within a frame's time of a cancel; `path` then is as it was.
    """
    if not in_segments(path, encoding):
        samples = film.sound()
        video = Video(film.spec, _Shown(run).passing(film.frames()), samples() if samples else None)
        with _one_thread_each():
            for note in save(video, path, encoding, lambda done, total: run.step(done, total, "render")):
                run.note(note)
        return Rendered(1, 0)
    count = side_by_side(film.spec, workers)
    encoding = settled(encoding, film.spec, count)
    segments = film.segments(segment_settings(encoding))
    missing = [segment for segment in segments if results.find(segment.key, ".mp4") is None]
    samples = film.sound()
    with _one_thread_each():
        frames = {each.key: each.spec.frames for each in missing}
        work = _Work(film, segments, replace(encoding, metadata={}), results, run, sum(frames.values()))
        with work.paths(count) as paths:
            began = time.monotonic()
            Segments(paths, film.fps).write(path, samples() if samples else None, encoding)
    pixels = film.width * film.height * work.total
    speeds.learn("film", pixels, time.monotonic() - began)
    return Rendered(len(segments), len(segments) - len(frames))


class _Work:
    """The segments of one film being rendered in threads that report to one run."""

    def __init__(
        self, film: Film, segments: tuple[Segment, ...], encoding: Encoding, results: Results, run: Run, total: int
    ) -> None:
        self._film, self._segments, self._encoding = film, segments, encoding
        self._results, self._run, self.total = results, run, total
        self._done, self._lock, self._stop = 0, threading.Lock(), threading.Event()
        self._shown = _Shown(run)

    @contextmanager
    def paths(self, workers: int) -> Iterator[Iterator[Path]]:
        """The segments' files in order, each as soon as it is there; leaving early stops the work."""
        pool = ThreadPoolExecutor(workers, thread_name_prefix="segment")
        futures = {index: pool.submit(self._render, self._segments[index]) for index in _started(len(self._segments))}
        try:
            yield self._in_order([futures[index] for index in sorted(futures)])
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _in_order(self, futures: list[Future[Path]]) -> Iterator[Path]:
        for future in futures:
            yield future.result()

    def _render(self, segment: Segment) -> Path:
        if self._stop.is_set():
            raise Cancelled

        def write(part: Path) -> None:
            video = segment.open()
            video.frames = self._shown.passing(video.frames)
            save(video, part, self._encoding, self._step)

        return self._results.make(segment.key, ".mp4", write, self._still_wanted)

    def _still_wanted(self) -> None:
        if self._stop.is_set() or getattr(self._run, "cancelled", False):
            raise Cancelled

    def _step(self, _done: int, _total: int) -> None:
        if self._stop.is_set():
            raise Cancelled
        with self._lock:
            self._done += 1
            self._run.step(min(self._done, self.total), self.total, "render")


class _Shown:
    """Shows a picture of what is being rendered now and then, whichever thread has one."""

    def __init__(self, run: Run) -> None:
        self._run, self._due, self._lock = run, 0.0, threading.Lock()

    def passing(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames as they come."""
        for frame in frames:
            if time.monotonic() >= self._due and self._lock.acquire(blocking=False):
                try:
                    self._due = time.monotonic() + _SHOWN_S
                    self._run.preview(frame)
                finally:
                    self._lock.release()
            yield frame


def _started(count: int) -> Iterator[int]:
    """The order in which segments are begun: two scenes at a time, so that one's picture is prepared beside another's."""
    for first in range(0, count, 4):
        yield from (index for index in (first, first + 2, first + 1, first + 3) if index < count)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV in one thread: its own would fight with the encoder's for the cores."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
