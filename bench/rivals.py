"""Others doing the same work: moviepy 2 in a Python of its own, and an FFmpeg command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from work import CROSSFADE, MOVES, zoompan

HERE = Path(__file__).parent
_LOSSLESS = ["-preset", "ultrafast", "-qp", "0"]


def moviepy(python: Path | None) -> str | None:
    """Which moviepy that Python has; None without one."""
    if python is None or not python.exists():
        return None
    asked = [str(python), "-c", "from importlib.metadata import version; print(version('moviepy'))"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return said.stdout.strip() or None


def ffmpeg(python: Path | None) -> str | None:
    """An FFmpeg binary with all filters that are needed: the one that moviepy's Python carries, or one of PATH."""
    found = [shutil.which("ffmpeg")]
    if python is not None and python.exists():
        asked = [str(python), "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
        found.insert(0, subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip())
    for binary in filter(None, found):
        filters = subprocess.run([binary, "-hide_banner", "-filters"], capture_output=True, text=True, check=False).stdout
        if all(f" {name} " in filters for name in ("zoompan", "xfade", "drawtext")):
            return binary
    return None


def ffmpeg_version(binary: str) -> str:
    """Its version, as it says it."""
    return subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stdout.split()[2].split("-")[0]


def moviepy_command(python: Path, job: Path, output: Path, way: str, *, lossless: bool = False) -> list[str]:
    """The command that does the work with moviepy in one of its ways."""
    return [str(python), str(HERE / "with_moviepy.py"), str(job), str(output), way, *(["lossless"] if lossless else [])]


def ffmpeg_command(binary: str, job: dict[str, Any], output: Path, *, lossless: bool = False) -> list[str]:
    """The work as one FFmpeg command: each still becomes planes once, zoompan moves over it, xfade joins."""
    size, fps, frames = f"{job['width']}x{job['height']}", job["fps"], job["frames"]
    chains = []
    for index, move in enumerate(MOVES):
        planes = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
        chain = f"[{index}:v]{planes},zoompan={zoompan(move, frames)}:d={frames}:s={size}:fps={fps}"
        if index == job["captioned"]:
            px = job["letter_px"]
            font = f":fontfile='{job['font']}'" if job["font"] else ""
            chain += (
                f",drawtext=text='{job['caption']}'{font}:fontsize={px}:fontcolor=white:borderw={max(1, px // 20)}"
                f":x=(w-tw)/2:y=h*0.95-th"
            )
        chains.append(f"{chain},settb=1/{fps}[s{index}]")
    last = "s0"
    for index in range(1, len(MOVES)):
        offset = index * (frames - job["overlap"]) / fps
        chains.append(f"[{last}][s{index}]xfade=transition=fade:duration={CROSSFADE}:offset={offset}[x{index}]")
        last = f"x{index}"
    tags = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    rate = _LOSSLESS if lossless else ["-preset", "veryfast", *job["rate"], "-movflags", "+faststart"]
    inputs = [part for still in job["stills"] for part in ("-i", still)]
    graph = ["-filter_complex", ";".join(chains), "-map", f"[{last}]", "-pix_fmt", "yuv420p", "-r", str(fps)]
    return [binary, "-v", "error", "-y", *inputs, *graph, "-c:v", "libx264", *rate, *tags, str(output)]
