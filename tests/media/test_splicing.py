"""Cutting and joining without encoding (S6): the packets are the same bytes, the pictures the same pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reelwright.errors import RequestError
from reelwright.media import sound, splicing
from reelwright.media.decode import open_video
from reelwright.media.encode import Encoding, save
from reelwright.types import SAMPLE_RATE, Chunk, Frame, Video, VideoSpec

SPEC = VideoSpec(96, 64, Fraction(25), 150, True)


def film(path: Path, shade: int, spec: VideoSpec = SPEC, encoding: Encoding | None = None) -> Path:
    """A clip whose brightness tells its frame, with a tone."""
    y, x = np.mgrid[0 : spec.height, 0 : spec.width]

    def frames() -> list[Frame]:
        made = []
        for index in range(spec.frames):
            frame = Frame.filled(spec.width, spec.height, shade)
            frame.y[:] = np.clip(shade + index + (x + y) // 8, 16, 235)
            made.append(frame)
        return made

    def tone() -> Chunk:
        t = np.arange(spec.samples) / SAMPLE_RATE
        return np.repeat(0.2 * np.sin(2 * np.pi * 440 * t)[:, None], 2, axis=1).astype(np.float32)

    save(Video(spec, iter(frames()), iter([tone()]) if spec.audio else None), path, encoding)
    return path


def pixels(path: Path) -> np.ndarray:
    with open_video(path, audio=False) as video:
        return np.stack([frame.y.copy() for frame in video.frames])


def payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_alike_files_are_joined_packet_by_packet(tmp_path: Path) -> None:
    parts = [film(tmp_path / f"{name}.mp4", shade) for name, shade in (("a", 30), ("b", 60), ("c", 20))]
    assert splicing.alike(parts)
    assert splicing.join(parts, tmp_path / "all.mp4")
    assert payloads(tmp_path / "all.mp4") == [payload for part in parts for payload in payloads(part)]
    assert np.array_equal(pixels(tmp_path / "all.mp4"), np.concatenate([pixels(part) for part in parts]))
    assert abs(sound.duration(tmp_path / "all.mp4") - 18) < 0.05


@pytest.mark.parametrize(
    "other", [SPEC.but(width=128), SPEC.but(fps=Fraction(30)), SPEC.but(audio=False)], ids=["size", "rate", "sound"]
)
def test_unlike_files_are_not(tmp_path: Path, other: VideoSpec) -> None:
    parts = [film(tmp_path / "a.mp4", 30), film(tmp_path / "b.mp4", 60, other)]
    assert not splicing.alike(parts)
    assert not splicing.join(parts, tmp_path / "all.mp4")
    assert not (tmp_path / "all.mp4").exists()


def test_a_cut_begins_at_the_key_frame_and_ends_where_it_was_told(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", 20)
    assert splicing.cut(whole, tmp_path / "part.mp4", 2.5, 5.0) == pytest.approx(2.0)  # key frames stand every two seconds
    assert np.array_equal(pixels(tmp_path / "part.mp4"), pixels(whole)[50:125])
    assert set(payloads(tmp_path / "part.mp4")) <= set(payloads(whole))
    assert abs(sound.duration(tmp_path / "part.mp4") - 3) < 0.1


def test_a_cut_of_nothing_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", 20)
    with pytest.raises(RequestError, match="nothing lies between"):
        splicing.cut(whole, tmp_path / "part.mp4", 4.5, 1.0)
    with pytest.raises(RequestError, match="cannot be copied"):
        splicing.cut(whole, tmp_path / "part.webm", 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]
