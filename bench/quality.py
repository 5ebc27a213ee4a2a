"""How much of the picture a file still holds: SSIM of luma, against lossless frames and against a finer rendering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from work import MOVES, Work

_STEP = 5
"""Every fifth frame is looked at: no divisor of a group of pictures, so all kinds of frames are met."""
_KR_KB = {"709": (0.2126, 0.0722), "601": (0.299, 0.114)}


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two luma planes, 11x11 Gaussian windows of 1.5 px, as in Wang et al. 2004."""
    x, y = a.astype(np.float32), b.astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    made = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(made[5:-5, 5:-5].mean())


def luma(path: Path, step: int = _STEP) -> Iterator[np.ndarray]:
    """Every `step`-th frame's luma as it is in the file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index % step == 0:
                plane = frame.planes[0]
                yield np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].copy()  # type: ignore[call-overload]  # a plane is a buffer


def encoded(path: Path, lossless: Path) -> float:
    """SSIM of a file against the uncompressed frames of the same renderer: what encoding took away."""
    return float(np.mean([ssim(a, b) for a, b in zip(luma(path), luma(lossless), strict=True)]))


def shown(path: Path, reference: Sequence[np.ndarray]) -> float:
    """SSIM of a file against the reference, above the caption: what the camera and encoding took away together."""
    scores = []
    for plane, ideal in zip(luma(path), reference, strict=True):
        rows = plane.shape[0] * 4 // 5
        scores.append(ssim(plane[:rows], ideal[:rows]))
    return float(np.mean(scores))


def reference(work: Work, matrix: str = "709") -> list[np.ndarray]:
    """The same work drawn slowly and well: cubic, four samples a pixel, in floating point; without the caption.

    `matrix` is how luma is made: moviepy writes BT.601.
    """
    kr, kb = _KR_KB[matrix]
    weights = np.float32([kb, 1 - kr - kb, kr]) * 219 / 255  # OpenCV's order is BGR
    planes = [cv2.imread(str(still)).astype(np.float32) @ weights + 16 for still in work.stills]
    boxes = [work.boxes(index) for index in range(len(MOVES))]
    length, shared = work.scene_frames, work.overlap
    made = []
    for frame in range(0, work.frames, _STEP):
        scene = min(len(MOVES) - 1, frame // (length - shared))
        place = frame - scene * (length - shared)
        drawn = _view(planes[scene], boxes[scene][place], work)
        if scene and place < shared:
            part = (place + 1) / (shared + 1)
            before = _view(planes[scene - 1], boxes[scene - 1][place + length - shared], work)
            drawn = before * (1 - part) + drawn * part
        made.append(drawn)
    return made


def _view(plane: np.ndarray, box: tuple[float, float, float, float], work: Work, fine: int = 2) -> np.ndarray:
    width, height = work.preset.width * fine, work.preset.height * fine
    sx, sy = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    matrix = np.array([[sx, 0, box[0] + sx / 2 - 0.5], [0, sy, box[1] + sy / 2 - 0.5]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(plane, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(large, (work.preset.width, work.preset.height), interpolation=cv2.INTER_AREA)
