"""Packets moved without loss (S6, S1): unchanged films are copied, segments join into one."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from films import film, grey, number, numbered, scene, tone, write

from reelwright.errors import MediaError
from reelwright.media.copying import Segments
from reelwright.media.decode import open_video
from reelwright.media.edit import silent, trim
from reelwright.media.encode import Encoding, save
from reelwright.types import Frame


def packets(path: Path, kind: str = "video") -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


def frames(path: Path) -> list[np.ndarray]:
    with open_video(path) as video:
        return [frame.buffer.copy() for frame in video.frames]


def test_an_unchanged_film_is_copied(clip: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.mkv", tmp_path / "back.mp4"
    save(open_video(clip), there, Encoding(metadata={"title": "Tide"}))
    save(open_video(there), back)
    assert packets(clip) == packets(there) == packets(back)
    assert packets(clip, "audio") == packets(there, "audio") == packets(back, "audio")
    assert all(np.array_equal(a, b) for a, b in zip(frames(clip), frames(back), strict=True))
    with av.open(str(back)) as container:
        assert container.metadata["title"] == "Tide"
        pts = sorted(packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size)
    assert max(abs(time - pts[0] - Fraction(i, 24)) for i, time in enumerate(pts)) <= Fraction(1, 1000)  # Matroska counts in ms
    assert back.read_bytes().index(b"moov") < back.read_bytes().index(b"mdat")


def test_a_film_is_copied_onto_itself(clip: Path) -> None:
    before = packets(clip)
    save(open_video(clip), clip)
    assert packets(clip) == before


def test_what_was_changed_is_encoded(clip: Path, tmp_path: Path) -> None:
    changes = {
        "trimmed": trim(open_video(clip), 0, 1),
        "slower": open_video(clip, fps=Fraction(12)),
        "mute": silent(open_video(clip)),
    }
    for name, video in changes.items():
        wanted = video.spec
        save(video, path := tmp_path / f"{name}.mp4")
        assert packets(path) != packets(clip)
        with open_video(path) as made:
            assert made.spec == wanted
    save(open_video(clip), path := tmp_path / "small.mp4", Encoding(bitrate=200))
    assert packets(path) != packets(clip)


def test_a_kind_that_cannot_hold_it_is_encoded(clip: Path, tmp_path: Path) -> None:
    save(open_video(clip), path := tmp_path / "clip.webm")
    with open_video(path) as video:
        assert [number(frame) for frame in video.frames] == list(range(48))
        assert video.spec.audio


@pytest.mark.parametrize(
    ("source", "codec", "sound", "target"),
    [
        ("a.avi", "mpeg4", "libmp3lame", "b.mp4"),
        ("a.ts", "libx264", "aac", "b.mp4"),
        ("a.mkv", "libx264", "libmp3lame", "b.mov"),
        ("a.flv", "libx264", "aac", "b.m4v"),
        ("a.webm", "libvpx-vp9", "libopus", "b.mp4"),
        ("a.h264", "libx264", None, "b.mp4"),
    ],
)
def test_copies_across_kinds_of_files(tmp_path: Path, source: str, codec: str, sound: str | None, target: str) -> None:
    """Whether by packets or by encoding again, the film is the same."""
    options = {"bf": "2"} if codec != "libvpx-vp9" else {"deadline": "realtime", "cpu-used": "8"}
    write(tmp_path / source, (grey(i) for i in range(48)), codec=codec, options=options, sound=sound, seconds=2)
    save(open_video(tmp_path / source), tmp_path / target)
    with open_video(tmp_path / target) as video:
        seen = [number(frame) for frame in video.frames]
        assert len(seen) == 48
        assert np.abs(np.array(seen) - np.arange(48)).max() <= (codec == "mpeg4")
        assert video.spec.audio == (sound is not None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, target])


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("speed", ["drawn", "filmed"])
def test_segments_join(tmp_path: Path, ending: str, speed: str) -> None:
    lengths = [30, 1, 2, 49, 3, 1]
    encoding = Encoding(speed=speed)
    paths, wanted, start = [], [], 0
    for place, count in enumerate(lengths):

        def draw(index: int, width: int, height: int, start: int = start) -> Frame:
            return scene(start + index, width, height)

        save(film(count, draw=draw), path := tmp_path / f"segment{place}.mp4", encoding)
        paths.append(path)
        wanted += frames(path)
        start += count
    whole = tmp_path / f"whole{ending}"
    sound = tone(round(start / 24 * 48000))
    Segments(iter(paths), Fraction(24)).write(whole, iter([sound[:50000], sound[50000:]]), encoding)
    got = frames(whole)
    assert len(got) == sum(lengths)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    with av.open(str(whole)) as container:
        given = [packet for packet in container.demux(video=0) if packet.size]
        timed = [packet for packet in given if packet.dts is not None]  # Matroska stores no decoding times
        assert all(b.dts > a.dts for a, b in itertools.pairwise(timed))
        assert all(packet.pts >= packet.dts for packet in timed)
        assert len(timed) == len(given) or ending == ".mkv"
        times = sorted(packet.pts * packet.time_base for packet in given)
    assert max(abs(time - Fraction(i, 24)) for i, time in enumerate(times)) <= (Fraction(1, 1000) if ending == ".mkv" else 0)
    with open_video(whole) as video:
        assert video.samples is not None
        heard = np.concatenate(list(video.samples))
    assert len(heard) == len(sound)
    assert np.abs(heard[2000:-2000] - sound[2000:-2000]).max() < 0.05


def test_segments_of_other_settings_are_refused(tmp_path: Path) -> None:
    save(film(5), tmp_path / "a.mp4", Encoding(speed="drawn"))
    save(film(5), tmp_path / "b.mp4", Encoding(speed="veryslow"))
    whole = tmp_path / "whole.mp4"
    with pytest.raises(MediaError, match="other settings") as caught:
        Segments(iter([tmp_path / "a.mp4", tmp_path / "b.mp4"]), Fraction(24)).write(whole, None, Encoding())
    assert caught.value.hint
    assert not whole.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_segment_is_told(tmp_path: Path) -> None:
    save(film(5, draw=lambda i, w, h: numbered(i, w, h)), tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:400])
    with pytest.raises(MediaError):
        Segments(iter([tmp_path / "a.mp4", tmp_path / "b.mp4"]), Fraction(24)).write(tmp_path / "c.mp4", None, Encoding())
    assert len(list(tmp_path.iterdir())) == 2
