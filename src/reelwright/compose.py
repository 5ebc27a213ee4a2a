"""Takes become a film: a timeline, transitions, letters and sound, rendered in segments that can be kept.

A film is cut into segments: each is a part of a scene (short scenes share one) between where the transition into the
scene ends and where the transition out of it ends. Segments are closed groups of pictures with one encoder setting, so a
film is their packets one after another, and a change re-encodes the segments that it touches (docs/decisions/0004).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from reelwright.catalog.shot import fingerprint
from reelwright.errors import BadStoryboard, MediaError, ReelwrightError
from reelwright.media import edit, loudness, sound, transitions
from reelwright.media.bed import bed
from reelwright.media.captions import Caption
from reelwright.media.letters import LetterStyle, fade_opacity, set_type
from reelwright.media.overlay import Overlay
from reelwright.storyboard import SoundTrack, TransitionSpec
from reelwright.types import SAMPLE_RATE, Chunk, Frame, Video, VideoSpec

GROUP = 2
"""Seconds between key frames, and thus the most that a part of a scene has."""
ENGINE = 2
"""Counted up whenever the same film comes out with other pixels; kept segments of older engines are then not used."""

Samples = Callable[[], Iterator[Chunk]]


@dataclass(frozen=True)
class Take:
    """What a scene shows, at the film's size and rate.

    `open` starts it anew each time it is called. `key`: fingerprint of all that its pixels depend on. `heard` opens its
    sound; `narration` what is spoken over it. `skips`: its frames can be passed over without being made.
    """

    open: Callable[[], Video]
    frames: int
    key: str
    heard: Samples | None = None
    narration: Samples | None = None
    skips: bool = False


@dataclass(frozen=True)
class Words:
    """A text over a take from `first` for `frames` frames, fading in and out if `fades`."""

    text: str
    style: LetterStyle
    first: int
    frames: int
    fades: bool = False


@dataclass(frozen=True)
class Cut:
    """A take in its place: the transition that follows it, the words over it, and the scene's name for errors."""

    take: Take
    going: TransitionSpec
    words: tuple[Words, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Segment:
    """A part of the film that is encoded on its own: its fingerprint, its spec, and how to start it."""

    key: str
    spec: VideoSpec
    open: Callable[[], Video]


@dataclass(frozen=True)
class Film:
    """Cuts in order, on one timeline.

    `width`, `height` in px; `subtitles` are burned in over everything, times in seconds of the film.
    """

    cuts: tuple[Cut, ...]
    width: int
    height: int
    fps: Fraction
    track: SoundTrack | None = None
    track_sound: Samples | None = None
    subtitles: tuple[Caption, ...] = ()
    letters: LetterStyle = field(default_factory=LetterStyle)

    def __post_init__(self) -> None:
        before = 0
        for index, cut in enumerate(self.cuts):
            after = self.overlap(index)
            if before + after > cut.take.frames:
                raise BadStoryboard(
                    f"scene {index + 1} lasts {float(cut.take.frames / self.fps):.2f} s, less than its transitions "
                    f"({float((before + after) / self.fps):.2f} s)",
                    hint="Make the scene longer or the transitions shorter.",
                )
            before = after

    def overlap(self, index: int) -> int:
        """Frames that cut `index` shares with the next one."""
        return 0 if index >= len(self.cuts) - 1 else self.cuts[index].going.frames(self.fps)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first frame of each cut's take."""
        made, here = [], 0
        for index, cut in enumerate(self.cuts):
            made.append(here)
            here += cut.take.frames - self.overlap(index)
        return tuple(made)

    @cached_property
    def spec(self) -> VideoSpec:
        """The whole film."""
        frames = self.starts[-1] + self.cuts[-1].take.frames
        audible = self.track is not None or any(cut.take.heard or cut.take.narration for cut in self.cuts)
        return VideoSpec(self.width, self.height, self.fps, frames, audible)

    # ---- pictures

    def segments(self, settings: Any) -> tuple[Segment, ...]:
        """The film in segments; `settings` (JSON values) of the encoder are part of their keys.

        Each has at least a second of whole scenes, or is an equal part of one, of at most two seconds, if that scene's
        frames can be passed over.
        """
        made, first = [], 0
        for index, cut in enumerate(self.cuts):
            begin, end = self._begin(first), self._end(index)
            if end - begin < self.fps and index < len(self.cuts) - 1:
                continue
            parts = max(1, math.ceil((end - begin) / (GROUP * self.fps))) if first == index and cut.take.skips else 1
            marks = [begin + (end - begin) * part // parts for part in range(parts + 1)]
            for one, other in itertools.pairwise(marks):
                spec = VideoSpec(self.width, self.height, self.fps, other - one)
                facts = [ENGINE, settings, self.width, self.height, str(self.fps), self._facts(one, other, first, index)]
                made.append(Segment(fingerprint(facts), spec, _opener(self, one, other, spec)))
            first = index + 1
        return tuple(made)

    def _begin(self, index: int) -> int:
        """The film's first frame after the transition into cut `index`."""
        return self.starts[index] + (self.overlap(index - 1) if index else 0)

    def _end(self, index: int) -> int:
        """The film's first frame after the transition out of cut `index`."""
        return self.starts[index] + self.cuts[index].take.frames

    def _facts(self, begin: int, end: int, first: int, last: int) -> list[Any]:
        """Everything that the pixels of these frames, of cuts `first` to `last`, depend on, as JSON values."""
        facts: list[Any] = []
        for index in range(first, min(last + 2, len(self.cuts))):
            cut, start = self.cuts[index], self.starts[index]
            if start < end:
                words = [
                    [word.text, repr(word.style), word.first, word.frames, word.fades]
                    for word in cut.words
                    if start + word.first < end and start + word.first + word.frames > begin
                ]
                facts.append([cut.take.key, cut.take.frames, start - begin, words])
                if index <= last and self.overlap(index) and self._end(index) - self.overlap(index) < end:
                    facts.append([cut.going.name, self.overlap(index)])
        facts.append([[text.first - begin, text.frames, text.text, repr(text.style)] for text in self._subtitles(begin, end)])
        return facts

    def _subtitles(self, begin: int, end: int) -> list[Words]:
        found = []
        for caption in self.subtitles:
            first, last = round(Fraction(caption.start) * self.fps), round(Fraction(caption.end) * self.fps)
            if first < end and last > begin:
                found.append(Words(caption.text, self.letters, first, max(1, last - first)))
        return found

    def frames(self, begin: int = 0, end: int | None = None) -> Iterator[Frame]:
        """The frames `begin` to `end` (not included; None: to the last) of the film."""
        end, place = self.spec.frames if end is None else end, begin
        over = _Lettering(self._subtitles(begin, end), self)
        for index in range(len(self.cuts)):
            if self._end(index) <= begin or self._begin(index) >= end:
                continue
            start = self.starts[index]
            for frame in self._cut(index, max(begin, self._begin(index)) - start, min(end, self._end(index)) - start):
                over.draw(frame, place)
                place += 1
                yield frame

    def _cut(self, index: int, begin: int, end: int) -> Iterator[Frame]:
        """Frames `begin` to `end` of one cut, the transition out of it drawn where it lies among them."""
        cut, alone = self.cuts[index], self.cuts[index].take.frames - self.overlap(index)
        video = self._open(index)
        following: Video | None = None
        try:
            words = _Lettering(cut.words, self)
            self._skip(video, begin, index)
            for place in range(begin, min(end, alone)):
                frame = self._next(video, index)
                with self._about(index):
                    words.draw(frame, place)
                yield frame
            if end > alone:
                following = self._open(index + 1)
                self._skip(following, max(begin - alone, 0), index + 1)
                draw = transitions.find(cut.going.name).draw
                next_words = _Lettering(self.cuts[index + 1].words, self)
                for place in range(max(begin, alone), end):
                    a, b = self._next(video, index), self._next(following, index + 1)
                    with self._about(index):
                        words.draw(a, place)
                    with self._about(index + 1):
                        next_words.draw(b, place - alone)
                    yield draw(a, b, (place - alone + 1) / (self.overlap(index) + 1))
        finally:
            video.close()
            if following is not None:
                following.close()

    def _open(self, index: int) -> Video:
        with self._about(index):
            return self.cuts[index].take.open()

    def _skip(self, video: Video, count: int, index: int) -> None:
        with self._about(index):
            edit.skip(video.frames, count)

    def _next(self, video: Video, index: int) -> Frame:
        with self._about(index):
            frame = next(video.frames, None)
            if frame is None:
                raise MediaError("it has fewer frames than it should", hint="Export the clip again.")
            return frame

    @contextmanager
    def _about(self, index: int) -> Iterator[None]:
        """Errors in here name the scene, if this is a film of scenes."""
        try:
            yield
        except ReelwrightError as error:
            if not self.cuts[index].name:
                raise
            raise error.about(f"Scene {self.cuts[index].name}") from None

    # ---- sound

    def sound(self) -> Samples | None:
        """How to start the film's sound, or None if it has none."""
        if not self.spec.audio:
            return None
        count = self.spec.samples
        if self.track is not None and self.track.loudness is not None:
            target = self.track.loudness
            return lambda: sound.fit(loudness.normalise(lambda: self._mixed(count), target), count)
        return lambda: sound.fit(sound.limit(self._mixed(count)), count)

    def _at(self, frame: int) -> int:
        return round(frame / self.fps * SAMPLE_RATE)

    def _spoken(self) -> list[tuple[int, Samples]]:
        return [
            (self._at(start), cut.take.narration) for start, cut in zip(self.starts, self.cuts, strict=True) if cut.take.narration
        ]

    def _mixed(self, count: int) -> Iterator[Chunk]:
        tracks: list[tuple[int, Samples]] = list(self._spoken())
        for index, cut in enumerate(self.cuts):
            if cut.take.heard is not None:
                tracks.append((self._at(self.starts[index]), _crossed(self, index, cut.take.heard)))
        if self.track is not None and self.track_sound is not None:
            tracks.append((0, lambda: self._under(count)))
        return sound.mix(tracks, count)

    def _under(self, count: int) -> Iterator[Chunk]:
        """The sound track: looped, set to its level, faded, lowered under what is spoken."""
        track = self.track
        assert track is not None
        assert self.track_sound is not None
        made = sound.loop(self.track_sound, count) if track.loop else sound.fit(self.track_sound(), count)
        made = sound.fade(sound.gain(made, track.gain), count, track.fade_in, track.fade_out)
        if track.duck < 0 and (spoken := self._spoken()):
            made = sound.duck(made, sound.mix(spoken, count), count, down_db=track.duck)
        return made


def _opener(film: Film, begin: int, end: int, spec: VideoSpec) -> Callable[[], Video]:
    return lambda: Video(spec, film.frames(begin, end))


def _crossed(film: Film, index: int, heard: Samples) -> Samples:
    """A take's own sound, crossfaded with its neighbours along the transitions."""
    length = film._at(film.cuts[index].take.frames)
    into = film.overlap(index - 1) / film.fps if index else Fraction(0)
    out = film.overlap(index) / film.fps
    return lambda: sound.fade(sound.fit(heard(), length), length, float(into), float(out))


class _Lettering:
    """Words over frames; each is set once, when it is first seen, and let go when it has been."""

    def __init__(self, words: Sequence[Words], film: Film) -> None:
        self._waiting = sorted(words, key=lambda word: word.first)
        self._shown: list[tuple[Words, Overlay]] = []
        self._film = film

    def draw(self, frame: Frame, index: int) -> None:
        while self._waiting and self._waiting[0].first <= index:
            word = self._waiting.pop(0)
            if word.first + word.frames > index:
                self._shown.append((word, set_type(word.text, self._film.width, self._film.height, word.style)))
        if not self._shown:
            return
        self._shown = [(word, overlay) for word, overlay in self._shown if word.first + word.frames > index]
        for word, overlay in self._shown:
            opacity = fade_opacity(index - word.first, word.frames, float(self._film.fps)) if word.fades else 1.0
            overlay.draw(frame, opacity)


def synthesised(mood: str, seconds: float, seed: int) -> Samples:
    """A bed that need not be looped: it is as long as the film."""
    return lambda: bed(seconds, seed, mood)


def captioned(video: Video, texts: Sequence[Caption], style: LetterStyle) -> Video:
    """The video with captions burned in; their times are seconds of the video."""
    spec = video.spec
    # The film closes its take after the last frame; the sound is still read then, by another thread.
    pictures = Video(spec.but(audio=False), video.frames)
    film = Film(
        (Cut(Take(lambda: pictures, spec.frames, ""), TransitionSpec()),),
        spec.width,
        spec.height,
        spec.fps,
        None,
        None,
        tuple(texts),
        style,
    )
    return Video(spec, film.frames(), video.samples, (video,))
