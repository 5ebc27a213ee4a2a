"""What is measured of Reelwright, one kind of work per process: `child.py KIND JOB.json`; prints wall and CPU as JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from reelwright.media.decode import open_video
from reelwright.media.encode import CODECS, Encoding, picture_stream, save, writing
from reelwright.settings import load
from reelwright.storyboard import Scene, Storyboard, TransitionSpec
from reelwright.studio import Studio
from reelwright.types import VideoSpec


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _timed(do: Callable[[], Any]) -> dict[str, Any]:
    began, before = time.perf_counter(), _cpu()
    do()
    return {"wall": time.perf_counter() - began, "cpu": _cpu() - before}


def encoding(speed: str) -> Encoding:
    """The encoding of a row: `drawn` is the default, `lossless` keeps the frames as they were drawn."""
    return Encoding(speed="ultrafast", crf=0, bitrate=400_000) if speed == "lossless" else Encoding(speed=speed)


def _board(job: dict[str, Any]) -> Storyboard:
    from pydantic import TypeAdapter

    return TypeAdapter(Storyboard).validate_python(job["board"])


def film(job: dict[str, Any]) -> dict[str, Any]:
    """A storyboard through the studio, with nothing kept from before."""
    board, output = _board(job), Path(job["output"])
    with tempfile.TemporaryDirectory() as cache:
        studio = Studio(load(cache_folder=Path(cache)))
        return _timed(lambda: studio.render(board, output, encoding=encoding(job["speed"])))


def floor(job: dict[str, Any]) -> dict[str, Any]:
    """x264 alone: frames that are there already, one encoder with the settings of the row."""
    with open_video(Path(job["frames"]), audio=False) as video:
        spec, pictures = video.spec, [av.VideoFrame.from_numpy_buffer(frame.buffer, "yuv420p") for frame in video.frames]
    wanted, output = replace(encoding(job["speed"]), bitrate=job["bitrate"]), Path(job["output"])

    def write() -> None:
        with writing(output) as container:
            stream = picture_stream(container, spec, CODECS["h264"], wanted, [])
            for index, picture in enumerate(pictures):
                picture.pts, picture.time_base = index, 1 / spec.fps
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))

    return _timed(write)


def clip(job: dict[str, Any]) -> dict[str, Any]:
    """A 4K clip to work with."""
    from reelwright.media.camera import over_still
    from reelwright.media.decode import read_still
    from reelwright.media.moves import Camera

    spec = VideoSpec(3840, 2160, Fraction(30), round(30 * job["seconds"]))
    return _timed(lambda: save(over_still(read_still(Path(job["still"])), Camera("pan-right"), spec), Path(job["output"])))


def crossfade(job: dict[str, Any]) -> dict[str, Any]:
    """Two 4K clips that fade into each other for all but their first and last half second."""
    scene = Scene(clip=job["clip"], mute=True)
    board = Storyboard((scene, scene), size="3840x2160", fps=30, transition=TransitionSpec("crossfade", job["seconds"] - 0.5))
    with tempfile.TemporaryDirectory() as cache:
        studio = Studio(load(cache_folder=Path(cache)))
        return _timed(lambda: studio.render(board, Path(job["output"]), encoding=Encoding(speed="drawn")))


if __name__ == "__main__":
    kinds = {"film": film, "floor": floor, "clip": clip, "crossfade": crossfade}
    print(json.dumps(kinds[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))))
