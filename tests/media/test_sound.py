import os
import threading
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reelwright.errors import MediaError, MissingAsset, RequestError, Unsupported
from reelwright.media import sound
from reelwright.types import SAMPLE_RATE, Chunk, Frame

CLICKS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)

# suffix, codec, sample format, rate: containers and codecs that people bring
KINDS = [
    (".wav", "pcm_s16le", "s16", 48_000),
    (".wav", "pcm_u8", "u8", 48_000),
    (".wav", "pcm_f32le", "flt", 96_000),
    (".flac", "flac", "s16", 44_100),
    (".m4a", "aac", "fltp", 48_000),
    (".mov", "aac", "fltp", 44_100),
    (".mp3", "libmp3lame", "fltp", 44_100),
    (".mp3", "libmp3lame", "fltp", 48_000),
    (".ogg", "libopus", "flt", 48_000),
    (".webm", "libopus", "flt", 48_000),
    (".mkv", "aac", "fltp", 48_000),
]


def write(
    path: Path, left_right: np.ndarray, codec: str = "pcm_f32le", form: str = "flt", rate: int = 48_000, layout: str = "stereo"
) -> Path:
    """A sound file from samples of shape (n, channels) at `rate`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.format = form
        data = np.ascontiguousarray(left_right, np.float32)
        for at in range(0, len(data), 4096):
            frame = av.AudioFrame.from_ndarray(data[at : at + 4096].reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def clicks(rate: int, seconds: float = 3.0) -> np.ndarray:
    made = np.zeros((int(rate * seconds), 2), np.float32)
    for second in CLICKS:
        made[int(second * rate) :][: rate // 6000] = 0.9
    return made


def joined(samples: Iterator[Chunk]) -> np.ndarray:
    return np.concatenate([np.zeros((0, 2), np.float32), *samples])


def tone(seconds: float, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    one = level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    return np.stack([one, one], axis=1).astype(np.float32)


def pieces(data: np.ndarray, size: int = 3333) -> Iterator[Chunk]:
    for at in range(0, len(data), size):
        yield data[at : at + size].astype(np.float32)


class Watched:
    """A stream that counts how often it was closed and how much was read."""

    def __init__(self, data: np.ndarray, size: int = 3333) -> None:
        self.inner, self.closed, self.read = pieces(data, size), 0, 0

    def __iter__(self) -> "Watched":
        return self

    def __next__(self) -> Chunk:
        piece = next(self.inner)
        self.read += len(piece)
        return piece

    def close(self) -> None:
        self.closed += 1


class TestDecode:
    @pytest.mark.parametrize(("suffix", "codec", "form", "rate"), KINDS)
    def test_clicks_are_where_they_were(self, tmp_path, suffix, codec, form, rate):
        heard = joined(sound.decode(write(tmp_path / f"c{suffix}", clicks(rate), codec, form, rate)))
        assert heard.dtype == np.float32
        assert abs(len(heard) - 3 * SAMPLE_RATE) <= (400 if suffix == ".mkv" else 1)  # Matroska does not tell of AAC's padding
        loud = np.abs(heard[:, 0])
        for second in CLICKS:
            near = max(0, int(second * SAMPLE_RATE) - 4000)
            assert abs(near + int(np.argmax(loud[near : near + 8000])) - second * SAMPLE_RATE) < 0.001 * SAMPLE_RATE

    @pytest.mark.parametrize(("suffix", "codec", "form", "rate"), KINDS)
    def test_a_part_is_the_same_as_in_the_whole(self, tmp_path, suffix, codec, form, rate):
        t = np.arange(rate * 5) / rate
        sweep = 0.4 * np.sin(2 * np.pi * (200 * t + 150 * t * t))  # no noise: AAC's decoder replaces that by its own
        path = write(tmp_path / f"n{suffix}", np.stack([sweep, -sweep], axis=1), codec, form, rate)
        whole, part, tail = joined(sound.decode(path)), joined(sound.decode(path, 3.217, 0.5)), joined(sound.decode(path, 3.217))
        begin = round(3.217 * SAMPLE_RATE)
        assert len(part) == 24_000
        assert np.array_equal(part, tail[:24_000])
        slack = 48 if suffix in (".webm", ".mkv") else 0  # their timestamps are whole milliseconds
        errors = [np.abs(part - whole[begin + off :][: len(part)]).max() for off in range(-slack, slack + 1)]
        assert min(errors) < 0.02
        assert abs(sound.duration(path) - len(whole) / SAMPLE_RATE) <= (slack + 0.01) / SAMPLE_RATE

    def test_mono_keeps_its_level_on_both_sides(self, tmp_path):
        path = write(tmp_path / "m.wav", np.full((4800, 1), 0.5), layout="mono")
        assert np.allclose(joined(sound.decode(path)), 0.5, atol=1e-6)

    @pytest.mark.parametrize(
        ("channel", "left", "right"), [(0, 0.8, 0), (1, 0, 0.8), (2, 0.566, 0.566), (4, 0.566, 0), (5, 0, 0.566)]
    )
    def test_surround_keeps_every_voice(self, tmp_path, channel, left, right):
        six = np.zeros((48_000, 6))
        six[:, channel] = 0.8
        heard = joined(sound.decode(write(tmp_path / "s.wav", six, layout="5.1")))
        assert len(heard) == 48_000
        assert heard[24_000] == pytest.approx((left, right), abs=0.002)

    def test_loud_surround_is_limited_and_not_clipped(self, tmp_path):
        one = 0.95 * np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000)
        heard = joined(sound.decode(write(tmp_path / "s.wav", np.repeat(one[:, None], 6, axis=1), layout="5.1")))
        assert np.abs(heard).max() <= 1
        assert np.mean(np.abs(heard[48_000:]) > 0.99) < 0.1  # a clipped sine of 2.3 times full scale would be there 70 %

    def test_a_films_sound_starts_with_its_first_picture(self, tmp_path):
        path = tmp_path / "film.mkv"
        with av.open(str(path), "w") as container:
            film = container.add_stream("libx264", rate=10, width=64, height=64, pix_fmt="yuv420p")
            track = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
            for number in range(20):
                frame = av.VideoFrame.from_ndarray(Frame.filled(64, 64).buffer, format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(film.encode(frame))
            container.mux(film.encode(None))
            for at in range(0, 48_000, 4800):  # begins half a second later
                frame = av.AudioFrame.from_ndarray(np.full((1, 9600), 9000, np.int16), format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, at + 24_000, Fraction(1, 48_000)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        heard = joined(sound.decode(path))
        assert len(heard) == 72_000
        assert not heard[:23_900].any()
        assert heard[24_100:].all()
        assert joined(sound.decode(path, 0.25, 0.5)).shape == (24_000, 2)

    def test_a_hole_in_the_timestamps_is_silence(self, tmp_path):
        path = tmp_path / "hole.mkv"
        with av.open(str(path), "w") as container:
            track = container.add_stream("pcm_s16le", rate=48_000, layout="stereo")
            for at in (*range(0, 48_000, 4800), *range(96_000, 144_000, 4800)):
                frame = av.AudioFrame.from_ndarray(np.full((1, 9600), 9000, np.int16), format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
        heard = joined(sound.decode(path))
        assert len(heard) == 144_000
        assert heard[:47_900].all()
        assert not heard[48_100:95_900].any()
        assert heard[96_100:].all()

    @pytest.mark.parametrize(
        ("suffix", "codec", "form"), [(".wav", "pcm_s16le", "s16"), (".mp3", "libmp3lame", "fltp"), (".flac", "flac", "s16")]
    )
    def test_a_file_that_breaks_off_gives_what_there_is(self, tmp_path, suffix, codec, form):
        path = write(tmp_path / f"b{suffix}", tone(6), codec, form)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        heard = joined(sound.decode(path))
        assert 2.4 * SAMPLE_RATE < len(heard) < 3.3 * SAMPLE_RATE
        assert sound.duration(path) == pytest.approx(len(heard) / SAMPLE_RATE)

    def test_damaged_packets_are_passed_over(self, tmp_path):
        path = write(tmp_path / "d.m4a", tone(6), "aac", "fltp")
        raw = bytearray(path.read_bytes())
        at = raw.index(b"mdat") + len(raw) // 3
        raw[at : at + 3000] = os.urandom(3000)
        path.write_bytes(raw)
        assert abs(len(joined(sound.decode(path))) - 6 * SAMPLE_RATE) < 0.5 * SAMPLE_RATE
        assert np.abs(joined(sound.decode(path, 5.0))).mean() == pytest.approx(0.5 * 2 / np.pi, rel=0.05)

    @pytest.mark.parametrize("content", [b"", os.urandom(5000), b"hello, this is no sound\n" * 50, b"RIFF\0\0\0\0WAVE"])
    def test_what_is_no_sound_fails_at_the_call(self, tmp_path, content):
        path = tmp_path / "bad.mp3"
        path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            sound.decode(path)
        assert "bad.mp3" in caught.value.message
        assert str(tmp_path) not in str(caught.value)
        assert caught.value.hint
        with pytest.raises(MediaError):
            sound.duration(path)

    def test_a_playlist_opens_nothing_else(self, tmp_path):
        write(tmp_path / "secret.wav", tone(1))
        playlist = tmp_path / "list.m3u8"
        playlist.write_text("#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n")
        with pytest.raises(MediaError):
            sound.decode(playlist)

    def test_a_silent_film_has_no_sound(self, tmp_path):
        path = tmp_path / "mute.mp4"
        with av.open(str(path), "w") as container:
            film = container.add_stream("libx264", rate=10, width=64, height=64, pix_fmt="yuv420p")
            container.mux(film.encode(av.VideoFrame.from_ndarray(Frame.filled(64, 64).buffer, format="yuv420p")))
            container.mux(film.encode(None))
        with pytest.raises(MediaError, match="no sound"):
            sound.decode(path)

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(MissingAsset):
            sound.decode(tmp_path / "none.wav")
        with pytest.raises(MissingAsset):
            sound.decode(tmp_path)
        with pytest.raises(RequestError):
            sound.decode(write(tmp_path / "t.wav", tone(0.1)), -1)

    def test_past_the_end_is_empty(self, tmp_path):
        path = write(tmp_path / "t.wav", tone(3))
        assert len(joined(sound.decode(path, 10))) == 0
        assert len(joined(sound.decode(path, 1, 0))) == 0

    def test_names_that_look_like_addresses(self, tmp_path):
        path = write(tmp_path / "plain.wav", tone(0.2)).rename(tmp_path / "http:é %d 音.wav")
        assert len(joined(sound.decode(path))) == 9600

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
    def test_closing_early_closes_the_file(self, tmp_path):
        path = write(tmp_path / "t.wav", tone(5))

        def opened() -> int:
            return sum(os.path.realpath(name) == str(path) for name in Path("/proc/self/fd").iterdir())

        fresh, begun = sound.decode(path), sound.decode(path)
        next(begun)
        assert opened() == 2
        fresh.close()
        begun.close()
        assert opened() == 0

    def test_a_long_file_stays_small_in_memory(self, tmp_path):
        def hour() -> Iterator[Chunk]:
            block = tone(1.0)
            for _ in range(300):
                yield block

        path = tmp_path / "long.wav"
        tracemalloc.start()
        sound.save(hour(), path)
        for _ in sound.fade(sound.limit(sound.decode(path)), 300 * SAMPLE_RATE, 1, 1):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20


class TestShaping:
    def test_silence(self):
        assert joined(sound.silence(20_001)).shape == (20_001, 2)
        assert list(sound.silence(0)) == []

    @pytest.mark.parametrize("count", [0, 1, 5000, 9600, 30_000])
    def test_fit(self, count):
        source = Watched(tone(0.2))
        made = joined(sound.fit(source, count))
        assert len(made) == count
        assert np.array_equal(made[:9600], tone(0.2)[:count])
        assert not made[9600:].any()
        assert source.closed == 1

    def test_a_loop_has_no_clicks(self):
        steady = np.full((10_000, 2), 0.8, np.float32)
        made = joined(sound.loop(lambda: pieces(steady), 45_000))
        assert made.shape == (45_000, 2)
        assert np.abs(np.diff(made[:, 0])).max() < 0.01
        assert made[0, 0] == pytest.approx(0.8)
        assert made[15_000, 0] == pytest.approx(0.8)
        assert np.abs(made[9_990:10_010]).max() < 0.1

    def test_a_loop_of_very_little_or_nothing(self):
        assert len(joined(sound.loop(lambda: pieces(np.ones((3, 2))), 100))) == 100
        assert not joined(sound.loop(lambda: iter(()), 100)).any()

    def test_gain(self):
        assert joined(sound.gain(pieces(tone(0.1)), -6.0206)) == pytest.approx(tone(0.1) / 2, abs=1e-5)

    def test_fades_are_quarter_sines(self):
        made = joined(sound.fade(pieces(np.ones((48_000, 2))), 48_000, 0.25, 0.5))[:, 0]
        assert made[6000] == pytest.approx(np.sqrt(0.5), abs=1e-3)
        assert made[0] < 0.001
        assert made[-1] < 0.001
        assert np.all(made[12_000:24_000] == 1)
        assert made[36_000] == pytest.approx(np.sqrt(0.5), abs=1e-3)

    def test_no_fade_changes_nothing(self):
        assert np.array_equal(joined(sound.fade(pieces(tone(0.1)), 4800)), tone(0.1))

    def test_delay(self):
        assert np.array_equal(joined(sound.delay(pieces(tone(0.1)), 100)), np.pad(tone(0.1), ((100, 0), (0, 0))))
        assert np.array_equal(joined(sound.delay(pieces(tone(0.1)), -100)), tone(0.1)[100:])


class TestMix:
    def test_sums_at_the_right_samples(self):
        rng = np.random.default_rng(1)
        parts = [
            (int(rng.integers(-500, 30_000)), rng.normal(0, 0.1, (int(rng.integers(0, 20_000)), 2)).astype(np.float32))
            for _ in range(20)
        ]
        expected = np.zeros((40_000, 2), np.float64)
        for start, data in parts:
            kept = data[max(0, -start) :]
            at = max(0, start)
            expected[at : at + len(kept)] += kept[: 40_000 - at]
        tracks = [(start, pieces(data, int(rng.integers(1, 5000)))) for start, data in parts]
        assert np.allclose(joined(sound.mix(tracks, 40_000)), expected, atol=1e-5)

    def test_opens_late_and_closes_early(self):
        streams: list[Watched] = []
        open_now: list[int] = []

        def make() -> Iterator[Chunk]:
            streams.append(Watched(tone(0.1)))
            return streams[-1]

        for number, _ in enumerate(sound.mix([(i * 9600, make) for i in range(100)], 960_000)):
            open_now.append(len(streams) - sum(s.closed for s in streams))
            assert len(streams) <= (number + 1) * 8192 // 9600 + 1
        assert len(streams) == 100
        assert max(open_now) <= 2

    def test_closing_closes_all(self):
        tracks = [Watched(tone(1)) for _ in range(3)]
        mixed = sound.mix([(0, tracks[0]), (100, tracks[1]), (900_000, tracks[2])], 960_000)
        next(mixed)
        mixed.close()
        assert [t.closed for t in tracks] == [1, 1, 1]

    def test_a_failing_track_closes_the_others(self):
        def broken() -> Iterator[Chunk]:
            raise MediaError("no")

        other = Watched(tone(1))
        with pytest.raises(MediaError):
            joined(sound.mix([(0, other), (10_000, broken)], 48_000))
        assert other.closed == 1


class TestCrossfade:
    def test_holds_the_power(self):
        rng = np.random.default_rng(2)
        a, b = rng.normal(0, 0.1, (30_000, 2)), rng.normal(0, 0.1, (40_000, 2))
        made = joined(sound.crossfade(pieces(a), pieces(b), 20_000))
        assert len(made) == 50_000
        assert made[:10_000] == pytest.approx(a[:10_000], abs=1e-6)
        assert made[30_000:] == pytest.approx(b[20_000:], abs=1e-6)
        for at in range(10_000, 30_000, 4000):
            assert made[at : at + 4000].std() == pytest.approx(0.1, rel=0.06)

    @pytest.mark.parametrize(
        ("first", "second", "length", "total"),
        [(100, 5000, 480, 5000), (5000, 100, 480, 5000), (0, 10, 5, 10), (10, 0, 5, 10), (10, 10, 0, 20)],
    )
    def test_short_streams_overlap_by_what_there_is(self, first, second, length, total):
        assert len(joined(sound.crossfade(pieces(np.ones((first, 2))), pieces(np.ones((second, 2))), length))) == total

    def test_reads_only_a_little_ahead(self):
        a, b = Watched(tone(10)), Watched(tone(10))
        both = sound.crossfade(a, b, 4800)
        next(both)
        assert a.read < 25_000
        assert b.read == 0
        both.close()
        assert a.closed
        assert b.closed


class TestDuck:
    def lowered(self, voice: np.ndarray, seconds: float = 6.0, **how: float) -> np.ndarray:
        count = int(seconds * SAMPLE_RATE)
        made = joined(sound.duck(pieces(np.ones((count, 2))), pieces(voice), count, **how))
        assert len(made) == count
        return 20 * np.log10(made[:, 0])

    def test_is_down_when_speech_starts_and_up_after(self):
        voice = np.concatenate([np.zeros((96_000, 2)), tone(1.0), np.zeros((144_000, 2))])
        db = self.lowered(voice)
        assert np.all(db[:91_000] > -0.1)
        assert db[96_000:144_000] == pytest.approx(-12, abs=0.01)
        assert -11.9 < db[150_000] < -0.5
        assert np.all(db[144_000 + 25_000 :] > -0.1)
        assert np.abs(np.diff(db)).max() < 0.02  # no step

    def test_falls_and_rises_over_block_borders_and_with_a_short_voice(self):
        for begin in (47_500, 48_000, 48_500, 0):
            voice = np.concatenate([np.zeros((begin, 2)), tone(0.98)])
            db = self.lowered(voice, 4.0, down_db=-20)
            assert np.all(db[begin : begin + 46_000] < -19.9)
            assert np.abs(np.diff(db)).max() < 0.03
            assert db[-1] > -0.1

    def test_soft_noise_is_no_speech(self):
        assert np.all(self.lowered(tone(6, level=0.004)) > -0.01)  # -51 dBFS

    def test_a_bed_that_ends_is_silence(self):
        made = joined(sound.duck(pieces(tone(0.5)), pieces(tone(2)), 96_000))
        assert len(made) == 96_000
        assert not made[24_000:].any()


class TestFilters:
    @pytest.mark.parametrize("factor", [0.1, 0.25, 0.5, 0.8, 1.0, 1.7, 2.0, 6.0])
    def test_retime_keeps_the_pitch(self, factor):
        made = joined(sound.retime(pieces(tone(6, 1000)), factor))
        assert len(made) == round(6 * SAMPLE_RATE / factor)
        spectrum = np.abs(np.fft.rfft(made[:, 0]))
        assert np.argmax(spectrum) * SAMPLE_RATE / len(made) == pytest.approx(1000, rel=0.005)
        with pytest.raises(RequestError):
            sound.retime(pieces(tone(1)), 0)

    @pytest.mark.parametrize("factor", [0.25, 0.5, 2.0])
    def test_retime_puts_events_where_they_belong(self, factor):
        data = np.zeros((6 * SAMPLE_RATE, 2), np.float32)
        data[3 * SAMPLE_RATE :] = tone(3)
        made = np.abs(joined(sound.retime(pieces(data), factor))[:, 0])
        assert np.argmax(made > 0.1) / SAMPLE_RATE * factor == pytest.approx(3, abs=0.04)

    @pytest.mark.parametrize("true_peak", [False, True])
    def test_limit_holds_the_ceiling_and_the_place(self, true_peak):
        data = np.random.default_rng(3).normal(0, 0.1, (96_000, 2)).astype(np.float32)
        data[[0, 40_000, 95_999]] = 2.5
        made = joined(sound.limit(pieces(data), -3.0, true_peak))
        assert len(made) == len(data)
        assert np.abs(made).max() <= 10 ** (-3 / 20)
        quiet = slice(60_000, 80_000)
        assert made[quiet] == pytest.approx(data[quiet], abs=1e-6 if not true_peak else 0.3)
        lags = [float(np.vdot(data[quiet], made[60_000 + k : 80_000 + k])) for k in range(-3, 4)]
        assert int(np.argmax(lags)) == 3

    def test_limit_leaves_soft_sound_alone(self):
        assert joined(sound.limit(pieces(tone(1)))) == pytest.approx(tone(1), abs=1e-6)


class TestWaveform:
    def test_draws_what_is_there(self):
        data = np.concatenate([tone(1, level=0.1), tone(1, level=0.8), np.zeros((48_000, 2))])
        made = sound.waveform(pieces(data), 4 * SAMPLE_RATE, 400, 100, (255, 200, 0), (10, 10, 20))
        assert made.shape == (100, 400, 3)
        assert made.dtype == np.uint8
        lit = np.any(made != (10, 10, 20), axis=2).sum(axis=0)
        assert np.all(np.abs(lit[105:195] - 94) <= 2)
        assert np.all(np.abs(lit[5:95] - 12) <= 2)
        assert np.all(lit[200:] <= 2)
        assert tuple(made[50, 150]) == (255, 200, 0)

    def test_fewer_samples_than_columns_and_none(self):
        assert sound.waveform(pieces(tone(0.001)), 48, 200, 40, (255, 255, 255), (0, 0, 0)).any(axis=(0, 2)).all()
        assert sound.waveform(iter(()), 0, 20, 10, (255, 255, 255), (0, 0, 0)).shape == (10, 20, 3)

    def test_pieces_of_any_size_give_the_same(self):
        data = np.random.default_rng(4).normal(0, 0.2, (50_000, 2)).astype(np.float32)
        one, other = (sound.waveform(pieces(data, size), 50_000, 333, 80, (255, 255, 255), (0, 0, 0)) for size in (50_000, 77))
        assert np.abs(one.astype(int) - other).max() <= 1


class TestSave:
    @pytest.mark.parametrize("suffix", [".wav", ".flac", ".m4a", ".mp3", ".ogg", ".opus"])
    def test_comes_back_as_it_was(self, tmp_path, suffix):
        path = tmp_path / f"out{suffix}"
        data = np.concatenate([tone(1, 440, 0.4), tone(1, 880, 0.2)])
        sound.save(pieces(data), path)
        assert sorted(tmp_path.iterdir()) == [path]
        heard = joined(sound.decode(path))
        assert abs(len(heard) - len(data)) <= 1
        error = heard[1000:95_000] - data[1000:95_000]
        assert np.sqrt(np.square(error).mean()) < (1e-6 if suffix in (".wav", ".flac") else 0.02)

    @pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
    def test_leaves_nothing_behind_when_it_fails(self, tmp_path, kind):
        closed = threading.Event()

        def broken() -> Iterator[Chunk]:
            try:
                yield tone(0.5)
                assert list(tmp_path.glob(".*.part*"))
                raise kind
            finally:
                closed.set()

        path = tmp_path / "out.flac"
        path.write_bytes(b"the old one")
        with pytest.raises(kind):
            sound.save(broken(), path)
        assert path.read_bytes() == b"the old one"
        assert list(tmp_path.iterdir()) == [path]
        assert closed.is_set()

    def test_unknown_kinds(self, tmp_path):
        with pytest.raises(Unsupported, match=r"out\.txt"):
            sound.save(iter(()), tmp_path / "out.txt")

    def test_no_sound_at_all(self, tmp_path):
        with pytest.raises(RequestError, match="no sound"):
            sound.save(iter(()), tmp_path / "out.wav")
        assert list(tmp_path.iterdir()) == []
