"""A synthesised music bed: soft chords, a plucked figure and a bass, in a room, from nothing but a mood and a seed.

Everything is additive synthesis, planned bar by bar from (seed, bar), so that any length streams in bounded memory and the
same seed is the same music.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reelwright.errors import RequestError
from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk

Mono = NDArray[np.float32]

_BLOCK = 2 * SAMPLE_RATE
_FFT = 1 << 18  # holds a block and the room's answer to it
_ROOM = _FFT - _BLOCK  # samples of reverberation: 3.4 s
_TABLE = 1 << 14
_TOP = 0.68  # full scale of the soft clip: -3.3 dBFS
_FULLNESS = (1.0, 1.25, 0.7, 1.3, 0.5)  # of one section of 8 bars after another
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


@dataclass(frozen=True)
class _Mood:
    """A mood's music: `tempo` in beats a minute, `chords` as scale degrees, one a bar (4 beats), one progression a row.

    `density` is the chance of a pluck on each half beat, `bright` (0..1) how open the pads are, `pulse` bass notes a bar.
    """

    tempo: float
    scale: tuple[int, ...]
    chords: tuple[tuple[int, ...], ...]
    tones: tuple[int, ...]
    density: float
    bright: float
    pulse: int
    octave: int = 0


_MOODS = {
    "calm": _Mood(66, _MAJOR, ((0, 5, 3, 4), (0, 3, 5, 3), (3, 0, 5, 4)), (0, 2, 4, 8), 0.34, 0.6, 1),
    "warm": _Mood(78, _MAJOR, ((0, 5, 1, 4), (3, 4, 2, 5), (0, 2, 3, 4)), (0, 2, 4, 6), 0.45, 0.7, 2),
    "bright": _Mood(104, _MAJOR, ((0, 4, 5, 3), (0, 3, 4, 3), (3, 4, 0, 5)), (0, 2, 4, 8), 0.72, 1.0, 4, 12),
    "wistful": _Mood(70, _MINOR, ((0, 5, 2, 6), (0, 3, 5, 4), (5, 6, 0, 2)), (0, 2, 4, 8), 0.4, 0.6, 1),
    "tense": _Mood(92, _MINOR, ((0, 0, 5, 5), (0, 1, 0, 5), (0, 5, 3, 4)), (0, 2, 4, 1), 0.22, 0.5, 8, -12),
}
MOODS = tuple(_MOODS)
"""The moods that `bed` knows."""


@dataclass(frozen=True)
class _Note:
    """One note: `start` and `length` in samples, `pan` -1..1, `kind` "pad", "pluck" or "bass"."""

    kind: str
    start: int
    length: int
    hertz: float
    level: float
    pan: float


def bed(seconds: float, seed: int = 0, mood: str = "calm", tempo: float | None = None) -> Iterator[Chunk]:
    """`seconds` of quiet music in one of MOODS, about -20 LUFS, peaks under -3 dBFS, without a fade at either end.

    `tempo` in beats a minute, 40..160 (None: the mood's own). The same arguments give the same music, and a longer bed
    begins like a shorter one. Raises RequestError.
    """
    if mood not in _MOODS:
        raise RequestError(f"there is no mood {mood!r}", hint=f"Choose one of {', '.join(MOODS)}.")
    if seconds < 0 or (tempo is not None and not 40 <= tempo <= 160):
        raise RequestError("a bed lasts 0 seconds or more, at 40 to 160 beats a minute")
    return _played(round(seconds * SAMPLE_RATE), abs(seed), _MOODS[mood], tempo or _MOODS[mood].tempo)


def _played(count: int, seed: int, mood: _Mood, tempo: float) -> Iterator[Chunk]:
    room, ringing = _room(seed), np.zeros((_ROOM, CHANNELS), np.float32)
    bar = round(240 / tempo * SAMPLE_RATE)
    notes: list[_Note] = []
    planned = 0
    for at in range(0, count, _BLOCK):
        while planned * bar < at + _BLOCK + SAMPLE_RATE:  # notes may come a little before their bar
            notes += _bar(seed, planned, bar, mood)
            planned += 1
        notes = [note for note in notes if note.start + note.length > at]
        dry = np.zeros((_BLOCK, CHANNELS), np.float32)
        sent = np.zeros(_BLOCK, np.float32)
        for note in notes:
            if note.start < at + _BLOCK:
                _add(note, at, dry, sent, mood.bright)
        answer = np.fft.irfft(np.fft.rfft(sent, _FFT)[:, None] * room, _FFT, axis=0).astype(np.float32)
        answer[:_ROOM] += ringing
        ringing = answer[_BLOCK:]
        made = (dry + answer[:_BLOCK])[: count - at]
        yield _TOP * np.tanh(made / _TOP)


def _bar(seed: int, number: int, bar: int, mood: _Mood) -> list[_Note]:
    """The notes that begin in one bar. Sections of 8 bars differ in progression and in how much is played."""
    whole = np.random.default_rng([seed, 1])
    key = int(whole.integers(-5, 6))
    order = whole.permutation(len(mood.chords))
    section, rng = number // 8, np.random.default_rng([seed, 2, number])
    degree = mood.chords[order[(0, 0, 1, 0, 2)[section % 5] % len(order)]][number % 4]
    start, beat = number * bar, bar / 8
    fullness = _FULLNESS[section % 5]
    soft = 0.045 * fullness**0.4
    tones = sorted({_folded(mood, key, degree + tone) for tone in mood.tones})
    notes = [
        _Note("pad", start, bar + 2 * SAMPLE_RATE, _hertz(t), soft, (i / (len(tones) - 1) - 0.5) * 1.4)
        for i, t in enumerate(tones)
    ]
    root = _pitch(mood, key, degree) - 24
    root += 12 if root < 33 else -12 if root >= 45 else 0
    if number:  # a bar of chords alone first
        for step in range(mood.pulse):
            level = 0.1 if step == 0 else 0.05
            notes.append(_Note("bass", start + step * bar // mood.pulse, bar // mood.pulse, _hertz(root), level, 0.0))
    if number >= 2:
        full = mood.density * fullness
        for step in range(8):
            if rng.random() < full * (1.3 if step % 4 == 0 else 1.0):
                tone = tones[int(rng.integers(len(tones)))] + 12 + mood.octave * (rng.random() < 0.6)
                when = start + round(step * beat + rng.normal(0, 0.004) * SAMPLE_RATE)
                notes += _echoed(when, _hertz(tone), 0.085 + 0.06 * rng.random(), rng.uniform(-0.6, 0.6), beat)
    return notes


def _echoed(when: int, hertz: float, level: float, pan: float, beat: float) -> list[_Note]:
    """A plucked note and two echoes, three half beats apart, from alternate sides."""
    length = int(2.2 * SAMPLE_RATE)
    return [
        _Note("pluck", when + round(3 * beat * turn), length, hertz, level * 0.38**turn, pan if turn % 2 == 0 else -pan)
        for turn in range(3)
    ]


def _pitch(mood: _Mood, key: int, degree: int) -> int:
    """The MIDI number of a degree of the scale, counted from the C below the middle one plus `key`."""
    octave, step = divmod(degree, len(mood.scale))
    return 48 + key + 12 * octave + mood.scale[step]


def _folded(mood: _Mood, key: int, degree: int) -> int:
    """The pitch moved by octaves into 55..66, so that chords follow each other in small steps."""
    return (_pitch(mood, key, degree) - 55) % 12 + 55


def _hertz(pitch: float) -> float:
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def _add(note: _Note, at: int, dry: Chunk, sent: Mono, bright: float) -> None:
    """Add the part of a note that lies in the block at sample `at` to the dry sound and to what the room hears."""
    first, last = max(note.start, at), min(note.start + note.length, at + _BLOCK)
    here, part = slice(first - at, last - at), slice(first - note.start, last - note.start)
    angle = (note.pan + 1) * np.pi / 4
    left, right = note.level * np.float32(np.cos(angle)), note.level * np.float32(np.sin(angle))
    if note.kind == "pad":
        where = np.arange(part.start, part.stop)
        one, other = _pad(note, where, 1.0015, bright), _pad(note, where, 0.9985, bright)
        dry[here, 0] += one * left + other * right * np.float32(0.5)
        dry[here, 1] += other * right + one * left * np.float32(0.5)
        sent[here] += (one + other) * np.float32(note.level * 0.5)
        return
    heard = _pluck(note.hertz)[part] if note.kind == "pluck" else _bass(note, part)
    dry[here, 0] += heard * left
    dry[here, 1] += heard * right
    if note.kind == "pluck":
        sent[here] += heard * np.float32(note.level * 0.8)


def _pad(note: _Note, where: NDArray[np.int64], detune: float, bright: float) -> Mono:
    """A soft string tone whose colour drifts over some ten seconds; it swells for 1.6 s and dies away over the last 2 s."""
    dull, open_ = _tables()
    cycles = where * (note.hertz * detune / SAMPLE_RATE) + note.hertz * detune % 1
    index = (cycles * _TABLE).astype(np.int64) & (_TABLE - 1)
    seconds = ((where + note.start) / SAMPLE_RATE).astype(np.float32)
    colour = np.float32(bright) * (0.5 + 0.5 * np.sin(seconds * np.float32(0.55 * detune) + np.float32(note.hertz)))
    swell = np.clip(where / (1.6 * SAMPLE_RATE), 0, 1) * np.clip((note.length - where) / (2 * SAMPLE_RATE), 0, 1)
    shaped: Mono = np.sin(swell.astype(np.float32) * np.float32(np.pi / 2)) * (dull[index] + colour * open_[index])
    return shaped


@lru_cache(maxsize=1)
def _tables() -> tuple[Mono, Mono]:
    """One cycle each: the low partials of a soft saw, and the higher ones that opening its filter adds."""
    phase = np.arange(_TABLE) * (2 * np.pi / _TABLE)
    partials = [np.sin(n * phase + n * n) / n**1.3 for n in range(1, 13)]
    return sum(partials[:3], np.zeros(_TABLE)).astype(np.float32), sum(partials[3:], np.zeros(_TABLE)).astype(np.float32)


@lru_cache(maxsize=64)
def _pluck(hertz: float) -> Mono:
    """A kalimba-like tone: partials that die away the faster the higher they are."""
    t = np.arange(int(2.2 * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(
        a * np.exp(-t * d) * np.sin(2 * np.pi * hertz * m * t)
        for m, a, d in ((1, 1, 2.6), (2, 0.4, 4), (3, 0.2, 6), (5, 0.16, 9), (8, 0.06, 16))
    )
    shaped: Mono = (tone * np.clip(t / 0.004, 0, 1) * np.clip((2.2 - t) / 0.3, 0, 1)).astype(np.float32)
    return shaped


def _bass(note: _Note, part: slice) -> Mono:
    t = np.arange(part.start, part.stop) / SAMPLE_RATE
    end = note.length / SAMPLE_RATE
    turn = 2 * np.pi * note.hertz * t
    shape = np.clip(t / 0.03, 0, 1) * np.clip((end - t) / 0.12, 0, 1) * np.exp(-t * 0.7)
    tone: Mono = (shape * (np.sin(turn) + 0.35 * np.sin(2 * turn) + 0.1 * np.sin(3 * turn))).astype(np.float32)
    return tone


def _room(seed: int) -> NDArray[np.complex64]:
    """The spectrum of a room's answer, shape (_FFT / 2 + 1, 2): noise that dies away over 3 s, its own on each side."""
    rng = np.random.default_rng([seed, 3])
    t = np.arange(_ROOM) / SAMPLE_RATE
    shape = np.exp(-t * 2.3) * np.clip(t / 0.02, 0, 1) * np.clip((t[-1] - t) / 0.5, 0, 1)
    answer = rng.standard_normal((_ROOM, CHANNELS)) * shape[:, None]
    spectrum = np.fft.rfft(answer, _FFT, axis=0)
    hertz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)[:, None]
    band = (hertz / 150) ** 2 / (1 + (hertz / 150) ** 2) / (1 + (hertz / 3500) ** 2)
    spectrum *= band * 0.5 / np.sqrt(np.square(answer).sum(axis=0))
    return spectrum.astype(np.complex64)
