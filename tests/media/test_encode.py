"""Videos become files that players take, whole or not at all (S3, S6, J6): every codec, colours, sync, failures, a full disk."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, flat, numbered, psnr, scene, tone

from reelwright.errors import Cancelled, MediaError, RequestError, Unsupported
from reelwright.media.decode import open_video
from reelwright.media.encode import CODECS, Encoding, save
from reelwright.types import SAMPLE_RATE, Chunk, Frame, Video, VideoSpec

BOUNDS = {"h264": 38, "h265": 36, "av1": 34, "vp9": 34, "prores": 42, "gif": 27, "webp": 34}
PAIRS = [(codec.name, ending) for codec in CODECS.values() for ending in codec.endings]


@pytest.mark.parametrize(("codec", "ending"), PAIRS)
def test_what_is_written_comes_back(tmp_path: Path, codec: str, ending: str) -> None:
    path = tmp_path / f"film{ending}"
    notes = save(film(12, fps=20, audio=True), path, Encoding(codec=codec))
    with open_video(path) as video:
        silent = codec in ("gif", "webp")
        assert (video.spec.width, video.spec.height, video.spec.fps, video.spec.frames) == (96, 64, 20, 12)
        assert video.spec.audio != silent
        assert any("no sound" in note for note in notes) == silent
        worst = min(psnr(frame.buffer, scene(i).buffer) for i, frame in enumerate(video.frames))
    assert worst > BOUNDS[codec]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("codec", "ending"), [pair for pair in PAIRS if pair[1] in (".mp4", ".webm", ".mov", ".gif", ".webp")])
@pytest.mark.parametrize(("width", "height", "frames"), [(66, 34, 1), (854, 34, 2), (16, 16, 3)])
def test_small_and_short(tmp_path: Path, codec: str, ending: str, width: int, height: int, frames: int) -> None:
    """Sides that are no multiple of 4, and films shorter than the encoder's look-ahead."""
    path = tmp_path / f"film{ending}"
    save(film(frames, width=width, height=height, audio=True), path, Encoding(codec=codec))
    if (codec, frames) == ("webp", 1):
        with pytest.raises(MediaError) as caught:
            open_video(path)
        assert "still picture" in caught.value.hint
        return
    with open_video(path) as video:
        seen = list(video.frames)
    assert len(seen) == frames
    assert (seen[0].width, seen[0].height) == (width, height)
    assert min(psnr(frame.buffer, scene(i, width, height).buffer) for i, frame in enumerate(seen)) > BOUNDS[codec] - 6


@pytest.mark.parametrize(("codec", "ending"), PAIRS)
def test_red_stays_red(tmp_path: Path, codec: str, ending: str) -> None:
    """Each kind of file is read with the colour matrix that it was written with."""
    path = tmp_path / f"film{ending}"
    save(film(2, draw=lambda i, w, h: Frame.of(flat(255 - 60 * i, 0, 0, w, h))), path, Encoding(codec=codec))
    with open_video(path) as video:
        frame = next(video.frames)
    assert [round(float(plane.mean())) for plane in frame.planes] == pytest.approx([63, 102, 240], abs=3)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_tags_times_and_key_frames(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"film{ending}"
    save(film(73, fps=12), path, Encoding(metadata={"title": "Tide"}))
    with av.open(str(path)) as container:
        assert container.metadata["title"] == "Tide"
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.colorspace, context.color_range) == (1, 1)
        if ending != ".webm":
            assert (context.color_primaries, context.color_trc) == (1, 1)
        pictures = list(container.decode(stream))
        times = [picture.pts * picture.time_base for picture in pictures]
        keys = [index for index, picture in enumerate(pictures) if picture.key_frame]
    assert len(times) == 73
    assert times[0] == 0
    assert max(abs(time - Fraction(i, 12)) for i, time in enumerate(times)) <= Fraction(1, 1000) * (ending in (".mkv", ".webm"))
    assert keys[0] == 0
    assert max(np.diff([*keys, 73])) <= 24


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".m4v"])
def test_index_stands_before_the_pictures(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"film{ending}"
    save(film(3, audio=True), path)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm"])
def test_sound_stands_where_the_picture_does(tmp_path: Path, ending: str) -> None:
    """A click that starts at frame k is heard at k / fps."""
    beats = [0, 6, 17, 36]

    def clicks(samples: int) -> Chunk:
        wave = np.zeros((samples, 2), np.float32)
        for k in beats:
            at = k * SAMPLE_RATE // 24
            wave[at : at + 480] = 0.8 * np.sin(np.arange(480) * 0.7)[:, None]
        return wave

    path = tmp_path / f"film{ending}"
    save(film(48, audio=True, sound=clicks), path)
    with open_video(path) as video:
        assert video.samples is not None
        heard = np.concatenate(list(video.samples))[:, 0]
    wanted = clicks(len(heard))[:, 0]
    for k in beats:
        at = k * SAMPLE_RATE // 24
        reach = range(-min(at, 480), 481)
        match = [float(heard[at + shift : at + shift + 480] @ wanted[at : at + 480]) for shift in reach]
        assert abs(reach[int(np.argmax(match))]) <= 48, k


def test_average_bitrate(tmp_path: Path) -> None:
    grain = np.random.default_rng(0)

    def noisy(index: int, width: int, height: int) -> Frame:
        frame = scene(index, width, height)
        frame.y[:] = np.clip(frame.y + grain.normal(0, 12, frame.y.shape), 16, 235)
        return frame

    path = tmp_path / "film.mp4"
    save(film(240, width=160, height=96, draw=noisy), path, Encoding(bitrate=300, rate="average"))
    assert path.stat().st_size * 8 / 10 / 1000 == pytest.approx(300, rel=0.2)
    capped = tmp_path / "capped.mp4"
    save(film(240, width=160, height=96, draw=noisy), capped, Encoding(bitrate=300))
    assert capped.stat().st_size * 8 / 10 / 1000 < 360


def test_hardware_or_a_note(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    notes = save(film(5), path, Encoding(hardware=True))
    with open_video(path) as video:
        assert len(list(video.frames)) == 5
    # True on machines with and without an encoder: which one served is told exactly if it was the software.
    with av.open(str(path)) as container:
        made_by = container.streams.video[0].metadata.get("encoder", "libx264")
    assert any("libx264" in note for note in notes) == ("libx264" in made_by)


@pytest.mark.parametrize("name", ["film.txt", "film", "film.mp3", "film.avi"])
def test_unknown_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unsupported) as caught:
        save(film(2), tmp_path / name)
    assert ".mp4" in caught.value.hint


@pytest.mark.parametrize(("codec", "ending"), [("vp9", ".mp4"), ("h264", ".webm"), ("prores", ".mp4"), ("gif", ".mkv")])
def test_codecs_in_files_that_cannot_hold_them(tmp_path: Path, codec: str, ending: str) -> None:
    with pytest.raises(Unsupported) as caught:
        save(film(2), tmp_path / f"film{ending}", Encoding(codec=codec))
    assert CODECS[codec].endings[0] in caught.value.hint


def test_encodings_are_held_when_made() -> None:
    with pytest.raises(Unsupported, match="divx"):
        Encoding(codec="divx")
    for wrong in ({"bitrate": 1}, {"audio_bitrate": 9000}, {"threads": 0}):
        with pytest.raises(RequestError):
            Encoding(**wrong)


class Broken(Exception):
    """What a source of frames may raise."""


class _Watched:
    """A video's stream that tells whether it was closed."""

    def __init__(self, given: Iterator[object]) -> None:
        self.given, self.closed = given, False

    def __iter__(self) -> _Watched:
        return self

    def __next__(self) -> object:
        return next(self.given)

    def close(self) -> None:
        self.closed = True


def _breaking(frames: int | None, samples: int | None) -> Video:
    """A long video whose frames or samples break off with an error."""

    def pictures() -> Iterator[Frame]:
        for index in range(200):
            if index == frames:
                raise Broken("the model fell over")
            yield numbered(index % 40)

    def sounds() -> Iterator[Chunk]:
        for index in range(400):
            if index == samples:
                raise Broken("the voice fell over")
            yield tone(1000)

    upstream = Video(VideoSpec(96, 64, Fraction(24), 1), iter(()))
    return Video(VideoSpec(96, 64, Fraction(24), 200, True), _Watched(pictures()), _Watched(sounds()), (upstream,))


def _cancel(done: int, total: int) -> None:
    if done == 20:
        raise Cancelled


@pytest.mark.parametrize(
    ("make", "step", "error"),
    [
        (lambda: _breaking(20, None), None, Broken),
        (lambda: _breaking(0, None), None, Broken),
        (lambda: _breaking(None, 30), None, Broken),
        (lambda: _breaking(None, 0), None, Broken),
        (lambda: _breaking(None, None), _cancel, Cancelled),
    ],
    ids=["frames", "first frame", "sound", "first sound", "cancelled"],
)
@pytest.mark.parametrize("there", [False, True], ids=["new", "over another"])
def test_failures_leave_nothing(
    tmp_path: Path,
    make: Callable[[], Video],
    step: Callable[[int, int], None] | None,
    error: type[BaseException],
    there: bool,
) -> None:
    path = tmp_path / "film.mp4"
    if there:
        path.write_bytes(b"what was there")
    video = make()
    with pytest.raises(error):
        save(video, path, step=step)
    assert [entry.name for entry in tmp_path.iterdir()] == (["film.mp4"] if there else [])
    assert not there or path.read_bytes() == b"what was there"
    assert video.frames.closed
    assert video.samples.closed
    assert video.upstream[0].closed
    assert not [thread for thread in threading.enumerate() if thread.name == "encoder"]


def test_a_wrong_ending_closes_the_video(tmp_path: Path) -> None:
    video = _breaking(None, None)
    with pytest.raises(Unsupported):
        save(video, tmp_path / "film.txt")
    assert video.closed


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    save(film(9), tmp_path / "film.mp4", step=lambda done, total: told.append((done, total)))
    assert told == [(i, 9) for i in range(1, 10)]


_FULL_DISK = """
import resource, sys, threading
sys.path.insert(0, {here!r})
from pathlib import Path
import numpy as np
from films import film
from reelwright.errors import DiskFull
from reelwright.media.encode import Encoding, save
from reelwright.types import Frame
random = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
noise = lambda i, w, h: Frame(random.integers(16, 235, (h * 3 // 2, w), np.uint8))
path = Path(sys.argv[1])
try:
    save(film({frames}, width=160, height=96, draw=noise, audio={audio}), path, Encoding(codec={codec!r}))
except DiskFull as error:
    assert error.hint
    assert not list(path.parent.iterdir()), list(path.parent.iterdir())
    assert not [thread for thread in threading.enumerate() if thread.name == "encoder"]
    print("full")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file-size limits are POSIX")
@pytest.mark.parametrize(
    ("name", "codec", "limit", "frames", "audio"),
    [
        ("film.mp4", "h264", 200_000, 60, True),
        ("film.mp4", "h264", 20_000, 60, False),
        ("film.mkv", "h264", 200_000, 60, True),
        ("film.webm", "vp9", 100_000, 40, False),
        ("film.gif", "gif", 100_000, 30, False),
        ("film.webp", "webp", 30_000, 30, False),
        ("film.mp4", "h264", 1_000, 2, False),
    ],
)
def test_full_disk(tmp_path: Path, name: str, codec: str, limit: int, frames: int, audio: bool) -> None:
    """A file-size limit stands in for a full disk: the same call fails the same way."""
    script = _FULL_DISK.format(here=str(Path(__file__).parent), limit=limit, frames=frames, audio=audio, codec=codec)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / name)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "full", done.stderr[-2000:]
