"""HDR files (PQ, HLG) look right in SDR (S6): whites, greys, hues."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from films import write

from reelwright.media.decode import open_video
from reelwright.media.tonemap import table
from reelwright.types import Frame


def _hdr(path: Path, transfer: int, coded: tuple[float, float, float]) -> Frame:
    """One colour of coded R'G'B' (0..1, BT.2020) through a 10-bit HEVC file."""
    red, green, blue = coded
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    planes = (luma * 876 + 64, (blue - luma) / 1.8814 * 896 + 512, (red - luma) / 1.4746 * 896 + 512)
    picture = av.VideoFrame(96, 64, "yuv420p10le")
    for plane, value in zip(picture.planes, planes, strict=True):
        plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
    picture.colorspace, picture.color_trc, picture.color_primaries = 9, transfer, 9
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    options = {"x265-params": "log-level=error:qp=2:bframes=0"}
    write(path, [picture], codec="libx265", pixels="yuv420p10le", tags=tags, options=options)
    with open_video(path) as video:
        return next(video.frames)


def _pq(nits: float) -> float:
    p = (nits / 10000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * p) / (1 + 18.6875 * p)) ** 78.84375)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_greys(tmp_path: Path, transfer: int) -> None:
    """Reference white (203 cd/m2) stays bright, what is brighter is still told apart, darker greys are not lifted, no tint."""
    levels = [0.0, 20, 50, 100, 203, 400, 800, 1000]
    # HLG of a 1000 cd/m2 display: light = 1000 * scene ** 1.2
    scene_light = (np.array(levels) / 1000) ** (1 / 1.2)
    hlg = np.where(
        scene_light <= 1 / 12,
        np.sqrt(3 * scene_light),
        0.17883277 * np.log(np.maximum(12 * scene_light - 0.28466892, 1e-9)) + 0.55991073,
    )
    coded = [_pq(nits) for nits in levels] if transfer == 16 else [float(value) for value in hlg]
    seen = [_hdr(tmp_path / f"{i}.mp4", transfer, (value,) * 3) for i, value in enumerate(coded)]
    lumas = [float(frame.y.mean()) for frame in seen]
    assert lumas == sorted(lumas)
    assert min(np.diff(lumas)) >= 2
    assert lumas[0] <= 18
    assert 190 < lumas[4] < 220
    assert lumas[7] > 228
    sdr_100 = 16 + 219 * (100 / 203 * 0.9) ** (1 / 2.4)
    assert abs(lumas[3] - sdr_100) < 6
    for frame in seen:
        assert abs(float(frame.u.mean()) - 128) <= 2
        assert abs(float(frame.v.mean()) - 128) <= 2


@pytest.mark.parametrize("nits", [30, 100, 203])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_hdr_colours_keep_their_hue(tmp_path: Path, nits: float, which: int) -> None:
    linear_709 = np.full(3, nits * 0.2)
    linear_709[which] = nits
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    coded = tuple(_pq(float(value)) for value in to_2020 @ linear_709)
    rgb = _hdr(tmp_path / "hue.mp4", 16, coded).rgb[32, 48].astype(float)
    others = [i for i in range(3) if i != which]
    assert int(rgb.argmax()) == which
    assert abs(rgb[others[0]] - rgb[others[1]]) < 12
    assert 0.4 < ((rgb[others].mean() / rgb[which]) ** 2.4) / 0.2 < 1.6


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_the_table_is_smooth_and_grows(transfer: int) -> None:
    """Along the greys no step is backwards and none stands out; white of the brightest display is white."""
    cube = table(transfer, 65).reshape(65, 65, 65, 3)
    greys = np.array([cube[i, i, i] for i in range(65)])
    assert np.ptp(greys, axis=1).max() < 0.004
    steps = np.diff(greys[:, 1])
    assert (steps >= 0).all()
    assert np.abs(np.diff(steps[4:])).max() < 0.02
    assert greys[-1].min() > 0.99
    assert greys[0].max() == 0
