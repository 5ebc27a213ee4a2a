"""HDR pictures (PQ, HLG; BT.2020) brought to SDR BT.709 through a 33-point colour table that FFmpeg interpolates.

PQ: SMPTE ST 2084. HLG: BT.2100-2. Reference white 203 cd/m2: BT.2408. Below half of white little changes; above it a
Reinhard shoulder of the same slope leads to full white at 1,000 cd/m2. It acts on the largest of R, G, B, so hues stay.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

_WHITE, _PEAK = 203.0, 1000.0
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
_TICK = Fraction(1, 1000)  # a graph wants one; no filter here looks at the time
TRANSFERS = {16: "PQ", 18: "HLG"}
"""FFmpeg's numbers of the transfer functions that need it."""


def _pq(v: NDArray[np.float64]) -> NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = v ** (1 / m2)
    return np.asarray(10000 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1))


def _hlg(v: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
    luma = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(_PEAK * np.maximum(luma, 1e-6)[..., None] ** 0.2 * scene)  # OOTF with gamma 1.2


def table(transfer: int, points: int = 33) -> NDArray[np.float64]:
    """The colour table, shape (points**3, 3), red running fastest: coded BT.2020 to coded BT.709, both 0..1."""
    steps = np.linspace(0, 1, points)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    coded = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    light = (_pq(coded) if TRANSFERS[transfer] == "PQ" else _hlg(coded)) / _WHITE
    brightest = np.maximum(light.max(axis=1, keepdims=True), 1e-6)
    knee, slope, peak = 0.5, 0.9, _PEAK / _WHITE
    above, left = np.maximum(brightest - knee, 0) / (peak - knee), 1 - slope * knee
    bend = slope * (peak - knee) / left  # of a shoulder that starts with the slope of the line
    mapped = np.where(brightest < knee, brightest * slope, slope * knee + left * bend * above / (1 + (bend - 1) * above))
    linear = np.clip((light * np.minimum(mapped, 1) / brightest) @ _TO_709.T, 0, 1)
    return np.asarray(linear ** (1 / 2.4))


@cache
def _cube(transfer: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="reelwright-lut-"))
    import atexit
    import shutil

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in table(transfer))
    path = folder / "hdr.cube"
    path.write_text(f"LUT_3D_SIZE 33\n{rows}\n")
    return path


class ToneMap:
    """Turns HDR frames into SDR ones (gbrp, full range)."""

    def __init__(self, transfer: int) -> None:
        self._path = _cube(transfer)
        self._graph: Graph | None = None
        self._size = (0, 0)

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in SDR RGB."""
        rgb = frame.reformat(
            format="gbrp16le",
            src_colorspace=Colorspace.BT2020,
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )
        if self._graph is None or self._size != (rgb.width, rgb.height):
            self._graph, self._size = Graph(), (rgb.width, rgb.height)
            source = self._graph.add_buffer(width=rgb.width, height=rgb.height, format=rgb.format, time_base=_TICK)
            lut = self._graph.add("lut3d", file=str(self._path), interp="tetrahedral")
            out = self._graph.add("format", "gbrp")
            self._graph.link_nodes(source, lut, out, self._graph.add("buffersink")).configure()
        rgb.pts, rgb.time_base = 0, _TICK
        self._graph.push(rgb)
        made = self._graph.pull()
        assert isinstance(made, av.VideoFrame)
        return made
