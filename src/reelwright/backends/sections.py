"""Clips longer than a model makes at once, and prompts that change over time (S9): sections that go on from one another.

Each section starts from a frame shortly before the end of the one before, so that both show the same moments for a few frames;
there the colours of the new one are brought to those of the old one, and one is faded into the other. Without that, colours
drift further with each section, since every one of them starts from what the last one made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reelwright.catalog import Card, Shot, ShotInput
from reelwright.errors import RequestError
from reelwright.media.stills import save_picture
from reelwright.run import Run
from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk, Frame, Role, Video, VideoSpec

OVERLAP = 4
"""Frames that two sections share."""
_FIRST = frozenset({Role.FIRST_FRAME})
_MOST_GAIN = 1.5
"""By which contrast is matched at most; a larger difference is no drift but another picture."""


@dataclass(frozen=True)
class Section:
    """A part of a clip: `frames` of it are shown, from frame `start` on; it overlaps the one before by `overlap` frames."""

    start: int
    frames: int
    overlap: int
    prompt: str


def schedule_of(prompt: str, lines: Sequence[str], fps: Fraction) -> list[tuple[int, str]]:
    """(frame, prompt) in order, from lines such as "2.5: a storm comes". Raises RequestError that shows the wrong line."""
    found = {0: prompt}
    for line in lines:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*s?\s*:\s*(\S.*)", line, re.DOTALL)
        if match is None:
            raise RequestError(f"{line[:80]!r} is no part of a schedule", hint="Write SECONDS: PROMPT, as in 2.5: a storm comes.")
        found[round(Fraction(match[1]) * fps)] = match[2].strip()
    return sorted(found.items())


def sections_of(shot: Shot) -> list[Section]:
    """How a shot is cut up; one section if the model makes it at once."""
    prompts = schedule_of(shot.prompt, shot.options.get("schedule", ()), shot.fps)
    ends = [frame for frame, _ in prompts[1:] if frame < shot.frames] + [shot.frames]
    made, start = list[Section](), 0
    for (_, prompt), end in zip(prompts, ends, strict=False):
        while start < end:
            overlap = min(OVERLAP, start)
            length = min(end - start, shot.card.frames.most - overlap)
            made.append(Section(start, length, overlap, prompt))
            start += length
    return made


class Sections:
    """A backend around a backend: long and scheduled shots in sections, all others as they are."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def check(self, card: Card) -> None:
        """As the backend within."""
        self._inner.check(card)

    def close(self) -> None:
        """As the backend within."""
        self._inner.close()

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot, in as many sections as it takes. Raises RequestError if the model cannot go on from a picture."""
        if "schedule" not in shot.options and shot.frames <= shot.card.frames.most:
            return self._whole(shot, run)
        if shot.card.settings.get("schedule") == "native":
            return self._whole(shot, run)
        parts = sections_of(shot)
        if len(parts) > 1 and _FIRST not in shot.card.accepts:
            raise RequestError(
                f"{shot.card.title} cannot go on from a picture, so it makes no clip in sections",
                hint="Choose a model for image-to-video, or use several scenes.",
                field="schedule",
            )
        _hold_inputs(parts, shot, run)
        run.note(f"{shot.card.title} made this in {len(parts)} sections that go on from one another.")
        spec = VideoSpec(shot.width, shot.height, shot.fps, shot.frames)
        if not shot.card.audio:
            return Video(spec, self._joined(parts, shot, run, None))
        # Sound is read beside the pictures, ahead of them now and then: both have to be there first.
        heard = _Heard(parts, spec)
        frames = list(self._joined(parts, shot, run, heard))
        return Video(spec.but(audio=True), iter(frames), iter([heard.samples]))

    def _whole(self, shot: Shot, run: Run) -> Video:
        made: Video = self._inner.generate(shot, run)
        return made

    def _joined(self, parts: Sequence[Section], shot: Shot, run: Run, heard: _Heard | None) -> Iterator[Frame]:
        tail: list[Frame] = []
        for index, part in enumerate(parts):
            inner = self._inner.generate(_section(shot, part, index, tail, run), _Within(run, index, len(parts), tail))
            match: _Colours | None = None
            held: list[Frame] = []
            with inner as video:
                if heard is not None and video.samples is not None:
                    heard.take(index, video.samples)
                for place, frame in enumerate(video.frames):
                    if place >= part.overlap + part.frames:
                        break
                    if index and match is None:
                        match = _Colours(frame, tail[0])
                    if match is not None:
                        match.apply(frame)
                    if place < part.overlap:
                        frame = _mixed(tail[place], frame, (place + 1) / (part.overlap + 1))
                    held.append(frame)
                    # The last few are kept back: the next section fades out of them.
                    last = index == len(parts) - 1
                    while len(held) > (0 if last else OVERLAP):
                        yield held.pop(0)
            tail = held


def _section(shot: Shot, part: Section, index: int, tail: Sequence[Frame], run: Run) -> Shot:
    """The shot of one section: as many frames as the model's rule has for it, starting from the tail's first frame."""
    rule = shot.card.frames
    wanted = part.frames + part.overlap
    frames = rule.nearest(wanted)
    while frames < wanted and frames + rule.step <= rule.most:
        frames += rule.step
    options = {name: value for name, value in shot.options.items() if name != "schedule"}
    ends = part.start + part.frames >= shot.frames
    inputs = tuple(given for given in shot.inputs if ends or given.role is not Role.LAST_FRAME)
    changed = dataclasses.replace(shot, prompt=part.prompt, frames=frames, options=options, inputs=inputs)
    if index == 0:
        return changed
    path = run.scratch / f"section-{index}.png"
    save_picture(tail[0].rgb, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = tuple(given for given in inputs if given.role is not Role.FIRST_FRAME)
    kept = kept if frozenset({Role.FIRST_FRAME, *(given.role for given in kept)}) in shot.card.accepts else ()
    first = ShotInput(Role.FIRST_FRAME, str(path), digest)
    return dataclasses.replace(changed, seed=shot.seed + index, inputs=(first, *kept))


def _hold_inputs(parts: Sequence[Section], shot: Shot, run: Run) -> None:
    """A clip to work from belongs to its own moments: in sections it would be left out after the first. Raises RequestError."""
    if len(parts) < 2:
        return
    moving = {Role.SOURCE, Role.CONTROL, Role.MASK, Role.DRIVING, Role.SPEECH} & {given.role for given in shot.inputs}
    if moving:
        longest = shot.card.frames.most / shot.fps
        raise RequestError(
            f"{shot.card.title} follows a {min(moving)} for {float(longest):.1f} s at most",
            hint="Make it shorter, or cut it into scenes.",
            field="seconds",
        )
    if any(given.role is Role.KEYFRAME for given in shot.inputs):
        raise RequestError("key frames are not placed in sections", hint="Make it shorter, or use scenes.", field="inputs")
    beyond = {given.role for given in shot.inputs} - {Role.FIRST_FRAME, Role.LAST_FRAME}
    if beyond and frozenset({Role.FIRST_FRAME, *beyond}) not in shot.card.accepts:
        run.note(f"{shot.card.title} heeds the {', '.join(sorted(beyond))} in the first section only.")


class _Heard:
    """The sound of all sections on one timeline, faded over where they overlap."""

    def __init__(self, parts: Sequence[Section], spec: VideoSpec) -> None:
        self._parts, self._fps = parts, spec.fps
        self.samples: Chunk = np.zeros((spec.samples, CHANNELS), np.float32)

    def take(self, index: int, samples: Iterator[Chunk]) -> None:
        """The sound of one section."""
        part = self._parts[index]
        first = round((part.start - part.overlap) / self._fps * SAMPLE_RATE)
        end = min(len(self.samples), round((part.start + part.frames) / self._fps * SAMPLE_RATE))
        sound = np.concatenate(list(samples) or [self.samples[:0]])[: end - first]
        fade = min(len(sound), round(part.overlap / self._fps * SAMPLE_RATE))
        if fade:
            share = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
            sound = np.concatenate([self.samples[first : first + fade] * (1 - share) + sound[:fade] * share, sound[fade:]])
        self.samples[first : first + len(sound)] = sound


class _Within:
    """A run of one section of several: its steps count within the whole, and its start frame is a file of this run."""

    def __init__(self, run: Run, index: int, count: int, tail: Sequence[Frame]) -> None:
        self._run, self._index, self._count, self._tail = run, index, count, tail

    def step(self, done: int, total: int, stage: str) -> None:
        """Progress within the whole."""
        words = f"{stage}, section {self._index + 1} of {self._count}"
        self._run.step(done, total, words)

    def fetch(self, ref: str) -> Path:
        """The section's start frame, or what the run knows."""
        path = Path(ref)
        return path if self._tail and path.parent == self._run.scratch else self._run.fetch(ref)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


class _Colours:
    """Brings the colours of one section to those of another: gain and offset of each plane, from frames of one moment."""

    def __init__(self, got: Frame, wanted: Frame) -> None:
        self._tables = []
        for mine, theirs in zip(got.planes, wanted.planes, strict=True):
            spread = float(theirs.std()) / max(1.0, float(mine.std()))
            gain = min(_MOST_GAIN, max(1 / _MOST_GAIN, spread))
            values = (np.arange(256) - float(mine.mean())) * gain + float(theirs.mean())
            self._tables.append(np.clip(np.rint(values), 1, 254).astype(np.uint8))

    def apply(self, frame: Frame) -> None:
        """In place."""
        for plane, table in zip(frame.planes, self._tables, strict=True):
            cv2.LUT(plane, table, dst=plane)


def _mixed(old: Frame, new: Frame, share: float) -> Frame:
    made = Frame.empty(old.width, old.height)
    cv2.addWeighted(old.buffer, 1 - share, new.buffer, share, 0, dst=made.buffer)
    return made
