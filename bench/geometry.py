"""How true a camera is: blobs are found in every frame and compared with where the move should have put them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from work import STILL, boxes, zoompan

from reelwright.media.camera import over_still
from reelwright.media.moves import Camera
from reelwright.types import VideoSpec

_SIZE, _FRAMES, _REACH = (1280, 720), 90, 18


@dataclass(frozen=True)
class Error:
    """Px: root mean square of the position error, of its second difference from frame to frame, and its mean."""

    rms: float
    jitter: float
    bias: float


def blobs() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Soft dots on black as RGB, and their centres in px, none of them on a whole pixel."""
    random = np.random.default_rng(0)
    centres = [
        (x + random.uniform(-8, 8), y + random.uniform(-8, 8)) for x in range(420, 1600, 150) for y in range(260, 900, 120)
    ]
    picture = np.zeros(STILL[::-1], np.float32)
    for x, y in centres:
        left, top = int(x) - 30, int(y) - 30
        yy, xx = np.mgrid[top : top + 61, left : left + 61]
        picture[top : top + 61, left : left + 61] += np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 32)
    grey = np.clip(picture * 220 + 16, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), centres


def ours(move: str) -> Error:
    """Reelwright's camera."""
    picture, centres = blobs()
    spec = VideoSpec(*_SIZE, Fraction(30), _FRAMES)
    return _error(move, [frame.y for frame in over_still(picture, Camera(move), spec)], centres)


def zoompans(binary: str, move: str, folder: Path) -> Error:
    """FFmpeg's zoompan, on the same picture with the same path."""
    picture, centres = blobs()
    still = folder / "blobs.png"
    cv2.imwrite(str(still), picture)
    size = f"{_SIZE[0]}x{_SIZE[1]}"
    filters = (
        f"scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,zoompan={zoompan(move, _FRAMES)}:d={_FRAMES}:s={size}:fps=30"
    )
    command = [binary, "-v", "error", "-i", str(still), "-vf", filters, "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    raw = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    return _error(move, list(raw.reshape(-1, *_SIZE[::-1])), centres)


def _error(move: str, frames: list[np.ndarray], centres: list[tuple[float, float]]) -> Error:
    width, height = _SIZE
    views = np.array(boxes(move, _FRAMES, 30.0, STILL, _SIZE))
    steps = (views[:, 2] - views[:, 0]) / width
    grid = np.arange(2 * _REACH + 1)
    tracks = np.full((len(centres), len(frames), 2), np.nan)
    for track, centre in zip(tracks, centres, strict=True):
        for i, frame in enumerate(frames):
            x, y = ((np.array(centre) + 0.5 - views[i, :2]) / steps[i] - 0.5).tolist()
            if not (30 < x < width - 30 and 30 < y < height - 30):
                continue
            left, top = int(x) - _REACH, int(y) - _REACH
            mass = frame[top : top + len(grid), left : left + len(grid)].astype(np.float64)
            mass = np.clip(mass - mass.min() - 2, 0, None)
            track[i] = (mass.sum(0) @ grid / mass.sum() + left - x, mass.sum(1) @ grid / mass.sum() + top - y)
    second = np.diff(tracks, n=2, axis=1)
    return Error(float(np.sqrt(np.nanmean(tracks**2))), float(np.sqrt(np.nanmean(second**2))), float(np.nanmean(tracks)))


if __name__ == "__main__":
    print(json.dumps({move: vars(ours(move)) for move in ("zoom-in", "pan-right", "dolly-in")}, indent=1))
