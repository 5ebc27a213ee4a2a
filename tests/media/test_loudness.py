import math
from collections.abc import Iterator

import numpy as np
import pytest

from reelwright.media.loudness import measure, normalise
from reelwright.media.sound import silence
from reelwright.types import SAMPLE_RATE, Chunk


def tone(db: float, seconds: float, hertz: float = 1000.0, phase: float = 0.0) -> np.ndarray:
    one = 10 ** (db / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE + phase)
    return np.stack([one, one], axis=1).astype(np.float32)


def pieces(data: np.ndarray, size: int = 5000) -> Iterator[Chunk]:
    for at in range(0, len(data), size):
        yield data[at : at + size].astype(np.float32)


def joined(samples: Iterator[Chunk]) -> np.ndarray:
    return np.concatenate(list(samples))


class TestMeasure:
    # EBU Tech 3341, cases 1 to 4: levels in dBFS of a 1 kHz sine with their seconds, and what a meter shows (+-0.1 LU)
    @pytest.mark.parametrize(
        ("parts", "lufs"),
        [
            ([(-23, 20)], -23),
            ([(-33, 20)], -33),
            ([(-36, 10), (-23, 60), (-36, 10)], -23),
            ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ],
    )
    def test_the_cases_of_ebu_tech_3341(self, parts, lufs):
        found = measure(pieces(np.concatenate([tone(db, seconds) for db, seconds in parts])))
        assert found.integrated_lufs == pytest.approx(lufs, abs=0.1)
        assert found.true_peak_db == pytest.approx(-23 if lufs == -23 else lufs, abs=0.1)

    # EBU Tech 3342, cases 1 and 2
    @pytest.mark.parametrize(("levels", "spread"), [((-20, -30), 10), ((-20, -15), 5)])
    def test_the_range_by_ebu_tech_3342(self, levels, spread):
        found = measure(pieces(np.concatenate([tone(db, 20) for db in levels])))
        assert found.range_lu == pytest.approx(spread, abs=1)

    def test_peaks_between_the_samples(self):
        data = tone(-6, 2, 12_000, np.pi / 4) * np.clip(np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE, 0, 1)[:, None]
        assert 20 * np.log10(np.abs(data).max()) == pytest.approx(-9, abs=0.1)
        assert measure(pieces(data)).true_peak_db == pytest.approx(-6, abs=0.5)

    def test_a_peak_in_the_last_moment_counts(self):
        data = tone(-30, 1.05)
        data[-1] = 0.9
        assert measure(pieces(data)).true_peak_db >= 20 * math.log10(0.9) - 0.01

    @pytest.mark.parametrize("samples", [0, 100, 3 * SAMPLE_RATE])
    def test_silence(self, samples):
        found = measure(silence(samples))
        assert found.integrated_lufs == -math.inf
        assert found.true_peak_db == -math.inf
        assert found.range_lu == 0

    def test_too_short_for_a_loudness(self):
        assert measure(pieces(tone(-10, 0.3))).integrated_lufs == -math.inf
        assert measure(pieces(tone(-10, 0.5))).integrated_lufs == pytest.approx(-10, abs=0.1)


class TestNormalise:
    @pytest.mark.parametrize(("level", "target"), [(-40, -16), (-5, -23), (-20, -20)])
    def test_meets_the_target(self, level, target):
        made = joined(normalise(lambda: pieces(tone(level, 3)), target))
        assert len(made) == 3 * SAMPLE_RATE
        assert measure(pieces(made)).integrated_lufs == pytest.approx(target, abs=0.1)

    def test_holds_the_ceiling_between_samples_too(self):
        data = np.random.default_rng(0).normal(0, 0.03, (5 * SAMPLE_RATE, 2))
        data[::9000] = 0.9
        made = joined(normalise(lambda: pieces(data), -16, -1.0))
        found = measure(pieces(made))
        assert len(made) == len(data)
        assert found.true_peak_db <= -0.9
        assert found.integrated_lufs == pytest.approx(-16, abs=1.5)

    def test_the_ceiling_is_that_of_the_wave_and_not_of_its_samples(self):
        swell = np.clip(np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE, 0, 1)[:, None]
        data = tone(-12, 4, 12_000, np.pi / 4) * swell  # its samples stay 3 dB under its peaks
        made = joined(normalise(lambda: pieces(data), 3.0, -1.0))
        assert measure(pieces(made)).true_peak_db == pytest.approx(-1, abs=0.15)

    def test_silence_stays_silence(self):
        assert not joined(normalise(lambda: silence(SAMPLE_RATE))).any()

    def test_hiss_is_not_raised_without_end(self):
        made = joined(normalise(lambda: pieces(tone(-65, 2))))
        assert np.abs(made).max() == pytest.approx(10 ** (-25 / 20), rel=0.01)

    def test_both_passes_are_closed(self):
        closed = 0

        def make() -> Iterator[Chunk]:
            nonlocal closed
            try:
                yield from pieces(tone(-20, 2))
            finally:
                closed += 1

        made = normalise(make, -3.0)
        assert closed == 1
        next(made)
        made.close()
        assert closed == 2
