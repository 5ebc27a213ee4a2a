import tracemalloc

import numpy as np
import pytest

from reelwright.errors import RequestError
from reelwright.media.bed import MOODS, bed
from reelwright.media.loudness import measure
from reelwright.types import SAMPLE_RATE


def played(*arguments, **options) -> np.ndarray:
    return np.concatenate([np.zeros((0, 2), np.float32), *bed(*arguments, **options)])


@pytest.fixture(scope="module", params=MOODS)
def music(request) -> np.ndarray:
    return played(40, 7, request.param)


class TestBed:
    def test_level_and_peaks(self, music):
        found = measure(iter([music]))
        assert found.true_peak_db < -3
        assert -26 < found.integrated_lufs < -16
        assert np.abs(music.mean(axis=0)).max() < 1e-3  # no offset

    def test_has_bass_middle_and_top_but_no_rumble(self, music):
        power = np.square(np.abs(np.fft.rfft(music.mean(axis=1))))
        hertz = np.fft.rfftfreq(len(music), 1 / SAMPLE_RATE)

        def share(low: float, high: float) -> float:
            return 10 * np.log10(power[(hertz >= low) & (hertz < high)].sum() / power.sum())

        assert share(0, 25) < -35
        assert share(40, 200) > -15
        assert share(200, 1000) > -6
        assert -30 < share(1000, 4000) < -3

    def test_no_clicks_at_the_borders_of_pieces(self, music):
        bend = np.abs(np.diff(music, 2, axis=0)).max(axis=1)
        borders = [bend[at - 4 : at + 4].max() for at in range(2 * SAMPLE_RATE, len(music), 2 * SAMPLE_RATE)]
        assert max(borders) < 0.5 * bend.max() + 1e-3
        assert bend.max() < 0.05  # a click of 5 % would show

    def test_is_wide_and_balanced(self, music):
        left, right = music[SAMPLE_RATE * 5 :].T
        assert 0.3 < np.corrcoef(left, right)[0, 1] < 0.9
        assert abs(10 * np.log10(np.mean(left**2) / np.mean(right**2))) < 2.5

    def test_the_sound_goes_on_all_the_time(self, music):
        seconds = music[2 * SAMPLE_RATE :].reshape(-1, SAMPLE_RATE // 2 * 2)
        assert np.sqrt(np.square(seconds).mean(axis=1)).min() > 0.01


def test_the_same_seed_is_the_same_music():
    one, again, other = played(6, 1), played(6, 1), played(6, 2)
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 0.05
    assert np.array_equal(played(4.5, 1)[: 4 * SAMPLE_RATE], one[: 4 * SAMPLE_RATE])


def test_tempo_changes_it():
    assert not np.array_equal(played(6, 1, tempo=60), played(6, 1, tempo=120))


@pytest.mark.parametrize("seconds", [0, 0.001, 1.5, 2, 2.00001, 7.77])
def test_length_is_exact(seconds):
    assert played(seconds).shape == (round(seconds * SAMPLE_RATE), 2)


def test_memory_does_not_grow():
    def peak(seconds: float) -> int:
        tracemalloc.start()
        for _ in bed(seconds, 3, "bright"):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # fills the caches of tones
    assert peak(120) < peak(30) + (24 << 20)


def test_what_cannot_be():
    with pytest.raises(RequestError, match="mood"):
        bed(3, mood="angry")
    with pytest.raises(RequestError):
        bed(3, tempo=1000)
    with pytest.raises(RequestError):
        bed(-1)
