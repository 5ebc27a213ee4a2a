"""Streams of sound put end to end, over each other and under each other. `sound` offers all of it.

Every stream is an `Iterator[Chunk]` (float32, shape (n, 2), SAMPLE_RATE). Pieces may have any length. Nothing here holds
more than about a second of sound per stream; closing a stream closes what it reads from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reelwright.types import CHANNELS, SAMPLE_RATE, Chunk

BLOCK = 8192
"""Samples in the pieces that are made here (0.17 s)."""

Source = Iterator[Chunk] | Callable[[], Iterator[Chunk]]
"""A stream, or what opens one when it is needed."""

_SEAM = SAMPLE_RATE // 100
_HOP = SAMPLE_RATE // 100
_SPEECH_DB = -45.0


class Reader:
    """Reads a stream in pieces of any size: `take(count)` gives that many samples, fewer only at the end."""

    def __init__(self, samples: Iterable[Chunk]) -> None:
        self._source = samples
        self._samples = iter(samples)
        self._rest = np.empty((0, CHANNELS), np.float32)

    def take(self, count: int) -> Chunk:
        """The next `count` samples, shape (<= count, 2). It may be a view of what the source gave: do not write to it."""
        parts, have = [self._rest], len(self._rest)
        while have < count and (piece := next(self._samples, None)) is not None:
            parts.append(piece)
            have += len(piece)
        held = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._rest = held[count:]
        return held[:count]

    def skip(self, count: int) -> None:
        """Pass over the next `count` samples."""
        while count > 0 and (passed := len(self.take(min(count, BLOCK)))):
            count -= passed

    def pieces(self) -> Iterator[Chunk]:
        """All that is left, a BLOCK at a time."""
        while len(piece := self.take(BLOCK)):
            yield piece

    def close(self) -> None:
        """Close the stream."""
        close(self._source)


def close(samples: object) -> None:
    """Close a stream if it can be closed."""
    closing = getattr(samples, "close", None)
    if closing is not None:
        closing()


def cut(samples: Iterator[Chunk], skip: int, count: int | None) -> Iterator[Chunk]:
    """Without the first `skip` samples, and no more than `count` (None: all). Does not close `samples`."""
    left = count
    for piece in samples:
        if left is not None and left <= 0:
            return
        kept = piece[skip:][:left]
        skip = max(0, skip - len(piece))
        if len(kept):
            left = None if left is None else left - len(kept)
            yield kept


def silence(count: int) -> Iterator[Chunk]:
    """`count` samples of nothing."""
    for at in range(0, count, BLOCK):
        yield np.zeros((min(BLOCK, count - at), CHANNELS), np.float32)


def fit(samples: Iterator[Chunk], count: int) -> Iterator[Chunk]:
    """Exactly `count` samples: cut, or padded with silence. Closes `samples`, also when it is cut."""
    left = count
    try:
        for piece in cut(samples, 0, count):
            left -= len(piece)
            yield piece
    finally:
        close(samples)
    yield from silence(left)


def loop(make: Callable[[], Iterator[Chunk]], count: int) -> Iterator[Chunk]:
    """`count` samples of the stream that `make` opens, over and over, with a 10 ms fade out and in at each seam.

    A source without any samples gives silence.
    """
    return fit(_repeated(make), count)


def _repeated(make: Callable[[], Iterator[Chunk]]) -> Iterator[Chunk]:
    again = False
    while True:
        reader = Reader(make())
        try:
            piece = reader.take(BLOCK)
            if not len(piece):
                return
            if again:
                piece = _ramped(piece, 0, 1)
            while len(following := reader.take(BLOCK)) == BLOCK:
                yield piece
                piece = following
            yield _ramped(np.concatenate([piece, following]), 1, 0)
            again = True
        finally:
            reader.close()


def _ramped(piece: Chunk, first: int, last: int) -> Chunk:
    """With a fade in over its first SEAM samples (`first` 0) or out over its last (`last` 0)."""
    long = min(_SEAM, len(piece) // 2)
    rise = _rise(np.arange(long), long)
    made = piece.copy()
    if not first:
        made[:long] *= rise
    if not last:
        made[len(made) - long :] *= rise[::-1]
    return made


def _rise(at: NDArray[np.int64], length: float) -> NDArray[np.float32]:
    """Equal power: sin over a quarter turn, as a column; samples `at` of a ramp of `length`."""
    share = np.clip((at + 0.5) / max(length, 1), 0, 1)
    curve: NDArray[np.float32] = np.sin(share * (np.pi / 2)).astype(np.float32)[:, None]
    return curve


def gain(samples: Iterator[Chunk], db: float) -> Iterator[Chunk]:
    """Louder or softer by `db` decibels."""
    factor = np.float32(10 ** (db / 20))
    try:
        for piece in samples:
            yield piece * factor
    finally:
        close(samples)


def fade(samples: Iterator[Chunk], count: int, fade_in: float = 0.0, fade_out: float = 0.0) -> Iterator[Chunk]:
    """Fades of `fade_in` and `fade_out` seconds (equal power, a quarter sine) on a stream of `count` samples."""
    at, rising, falling = 0, fade_in * SAMPLE_RATE, fade_out * SAMPLE_RATE
    try:
        for piece in samples:
            where = np.arange(at, at + len(piece))
            if at < rising:
                piece = piece * _rise(where, rising)
            if at + len(piece) > count - falling and falling:
                piece = piece * _rise(count - 1 - where, falling)
            at += len(piece)
            yield piece
    finally:
        close(samples)


def delay(samples: Iterator[Chunk], count: int) -> Iterator[Chunk]:
    """`count` samples later, with silence before; with a negative `count`, without its first samples."""
    try:
        yield from silence(count)
        yield from cut(samples, max(0, -count), None)
    finally:
        close(samples)


def mix(tracks: Sequence[tuple[int, Source]], count: int) -> Iterator[Chunk]:
    """The sum of many streams, `count` samples: each begins at its own sample (negative: its beginning is not heard).

    A track is opened only when it is reached and closed when it ends, so that thousands cost no more than those that
    sound at a time. Nothing limits the sum. Closing it closes the tracks, also those that were not reached.
    """
    waiting = sorted(tracks, key=lambda track: track[0], reverse=True)
    sounding: list[Reader] = []
    try:
        for at in range(0, count, BLOCK):
            size = min(BLOCK, count - at)
            total = np.zeros((size, CHANNELS), np.float32)
            late: dict[Reader, int] = {}
            while waiting and waiting[-1][0] < at + size:
                begin, source = waiting.pop()
                reader = Reader(source() if callable(source) else source)
                sounding.append(reader)
                late[reader] = max(0, begin - at)
                if begin < at:
                    reader.skip(at - begin)
            for reader in tuple(sounding):
                begin = late.get(reader, 0)
                piece = reader.take(size - begin)
                total[begin : begin + len(piece)] += piece
                if len(piece) < size - begin:
                    sounding.remove(reader)
                    reader.close()
            yield total
    finally:
        for stream in (*sounding, *(source for _, source in waiting)):
            close(stream)


def crossfade(a: Iterator[Chunk], b: Iterator[Chunk], length: int) -> Iterator[Chunk]:
    """`a`, then `b`, whose first `length` samples sound together with a's last ones, at equal power.

    Where either is shorter than `length`, they overlap by the shorter one. Holds `length` samples.
    """
    first, second = Reader(a), Reader(b)
    try:
        held = first.take(length)
        while len(piece := first.take(BLOCK)):
            joined = np.concatenate([held, piece])
            yield joined[: len(joined) - length]
            held = joined[len(joined) - length :]
        first.close()
        head = second.take(len(held))
        if len(held) > len(head):
            yield held[: len(held) - len(head)]
        if shared := len(head):
            rise = _rise(np.arange(shared), shared)
            yield held[len(held) - shared :] * rise[::-1] + head * rise
        yield from second.pieces()
    finally:
        first.close()
        second.close()


def duck(
    bed: Iterator[Chunk],
    voice: Iterator[Chunk],
    count: int,
    *,
    down_db: float = -12.0,
    attack: float = 0.08,
    release: float = 0.5,
) -> Iterator[Chunk]:
    """`count` samples of `bed` alone, lowered by `down_db` while `voice` speaks (10 ms of it over -45 dBFS RMS).

    It looks ahead: the bed begins to fall `attack` seconds before a word and is down when the word starts; it rises over
    `release` seconds after the last one. The curve is a raised cosine in decibels. Closes both streams.
    """
    before, after = max(1, round(attack * 100)), max(1, round(release * 100))
    hops = SAMPLE_RATE // _HOP
    music, speech = Reader(bed), Reader(voice)
    within = np.arange(_HOP, dtype=np.float32) / _HOP
    loud = _speaks(speech, hops + before + 1)
    last = -(10**9)  # the latest hop with speech before the first one of `loud`
    try:
        for at in range(0, count, SAMPLE_RATE):
            depth = _depth(loud, last, hops + 1, before, after)
            db = depth[:-1, None] + (depth[1:] - depth[:-1])[:, None] * within
            level = (10 ** (down_db / 20 * db.reshape(-1, 1))).astype(np.float32)
            piece = music.take(min(SAMPLE_RATE, count - at))
            yield piece * level[: len(piece)]
            yield from silence(min(SAMPLE_RATE, count - at) - len(piece))
            spoken = np.flatnonzero(loud[:hops])
            last = (int(spoken[-1]) if len(spoken) else last) - hops
            loud = np.concatenate([loud[hops:], _speaks(speech, hops)])
    finally:
        music.close()
        speech.close()


def _speaks(voice: Reader, hops: int) -> NDArray[np.bool_]:
    """For each of the next `hops` hops, whether it is loud enough to be speech."""
    piece = voice.take(hops * _HOP)
    power = np.zeros(hops * _HOP, np.float32)
    power[: len(piece)] = np.square(np.maximum(np.abs(piece[:, 0]), np.abs(piece[:, 1])))
    heard: NDArray[np.bool_] = power.reshape(hops, _HOP).mean(axis=1) > 10 ** (_SPEECH_DB / 10)
    return heard


def _depth(loud: NDArray[np.bool_], last: int, nodes: int, before: int, after: int) -> NDArray[np.float32]:
    """How far down, 0..1, at the beginning of each of the first `nodes` hops: by the distance to the speech around it."""
    index = np.arange(len(loud))
    ahead = np.minimum.accumulate(np.where(loud, index, 10**9)[::-1])[::-1] - index
    ended = np.maximum.accumulate(np.where(loud, index, last))
    behind = index - 1 - np.concatenate([[last], ended[:-1]])
    near = np.clip(np.maximum(1 - ahead / before, 1 - behind / after), 0, 1)[:nodes]
    shaped: NDArray[np.float32] = (0.5 - 0.5 * np.cos(np.pi * near)).astype(np.float32)
    return shaped
