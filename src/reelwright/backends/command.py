"""Models that live in an environment of their own: a program that is told what to make and writes a file (M4, M7).

For models without a Diffusers pipeline, whose packages do not go together with these. A person's own card names the command:

    [settings]
    command = ["/opt/open-sora/.venv/bin/python", "/opt/open-sora/reel_worker.py"]

The program gets one line of JSON on its standard input: `model`, `source`, `prompt`, `negative`, `width`, `height`, `fps`,
`frames`, `seed`, `options`, `inputs` (role, path, strength, at), `loras` (path, weight) and `output`, the file to write. It may
print lines of JSON, `{"step": 3, "steps": 50}`, `{"note": "..."}` or `{"error": "..."}`, and ends with 0 when the file is there.
"""

from __future__ import annotations

import json
import math
import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import AliasChoices

from reelwright import logs, settings
from reelwright.catalog import Card, Shot
from reelwright.errors import BackendError, MediaError, MissingAsset, Unavailable, Unsupported
from reelwright.media import edit
from reelwright.media.decode import open_video, spoken
from reelwright.run import Run
from reelwright.types import Video

_GRACE_S = 5.0
"""How long a program that is told to stop may take."""
_LOOK_S = 0.2
"""How long a cancel may go unheard while the program says nothing."""
_KEPT_LINES = 20
_SHOWN_LINES = 3
_LONGEST_LINE = 65_536
"""Bytes; of a longer line only the end is kept."""
_OURS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""What would draw another Python into our own environment."""


@dataclass
class _Heard:
    """What the program has said so far."""

    done: int = 0
    total: int = 1
    error: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    def hear(self, line: str, run: Run) -> None:
        """Take one line: an order of the protocol, or words that are kept in case that it fails."""
        told = _parsed(line)
        if "note" in told:
            run.note(logs.clean(str(told["note"])))
        elif "error" in told:
            self.error = str(told["error"])
        elif "step" in told:
            self.total = max(self.total, _count(told.get("steps"), self.total))
            self.done = max(self.done, min(self.total, _count(told["step"], self.done)))
        elif line.strip():
            self.lines.append(line.strip()[:500])


class Command:
    """The backend of cards with a command. A card without one is told how to get there."""

    def check(self, card: Card) -> None:
        """Raises Unavailable with the steps to take if the card names no command, Unsupported if that is not a list."""
        command = card.settings.get("command")
        if command is None:
            steps = card.settings.get("steps_to_take", ())
            also = card.settings.get("also_served_by", ())
            raise Unavailable(
                f"{card.title} has no Diffusers pipeline and runs in an environment of its own, which is not set up here",
                hint=" ".join([*steps, *([f"It is also served by: {', '.join(also)}."] if also else [])])
                or "See docs/howto/models-in-their-own-environment.md.",
                retryable=False,
                model=card.id,
            )
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise Unsupported(f"the command of {card.id} is not a list of words", model=card.id)

    def close(self) -> None:
        """Each shot has its own process."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """Run the program to its end. Raises Cancelled (it is stopped), BackendError (it failed; its last lines tell why)."""
        self.check(shot.card)
        output = run.scratch / f"{shot.fingerprint[:16]}.mp4"
        output.unlink(missing_ok=True)  # of an earlier try
        run.step(0, 1, "make")
        process = _started(shot, run, output)
        assert process.stdout is not None
        heard = _Heard()
        try:
            _follow(process, heard, run)
        finally:
            _stopped(process)
            process.stdout.close()
        if process.returncode != 0 or heard.error:
            why = logs.clean(heard.error or " ".join(list(heard.lines)[-_SHOWN_LINES:]) or "it said nothing")
            lines = [logs.clean(line) for line in heard.lines]
            raise BackendError(f"{shot.card.title} {_ending(process.returncode)}: {why}", model=shot.card.id, last_lines=lines)
        if not output.is_file():
            raise BackendError(
                f"{shot.card.title} ended well and wrote no file",
                hint=f"It should write {output.name}, which the order names as `output`.",
                model=shot.card.id,
            )
        run.step(heard.total, heard.total, "make")
        return _as_asked(output, shot, run)


def _started(shot: Shot, run: Run, output: Path) -> subprocess.Popen[bytes]:
    """The program, at the head of a process group of its own; its order lies in a file, so that handing it in cannot block."""
    command = shot.card.settings["command"]
    order = output.with_suffix(".json")
    order.write_text(json.dumps(_order(shot, run, output)) + "\n", "utf-8")
    left_out = {*_OURS, *_keys()}
    surroundings = {name: value for name, value in os.environ.items() if name.upper() not in left_out} | {"PYTHONUNBUFFERED": "1"}
    try:
        with order.open("rb") as given:
            return subprocess.Popen(  # noqa: S603  the command is from the person's own card
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
                cwd=run.scratch,
                env=surroundings,
            )
    except (OSError, ValueError) as error:  # ValueError: a word with a null byte
        raise Unavailable(
            f"{command[0]} cannot be started: {getattr(error, 'strerror', None) or error}",
            hint=f"Correct `command` in the card of {shot.card.id}; programs are named by their full path.",
            retryable=False,
            model=shot.card.id,
        ) from None


def _keys() -> set[str]:
    """The names of variables with keys, passwords and the like, which are none of the program's business."""
    names = {"REELWRIGHT_STORE", "OPENAI_COMPATIBLE_KEY", "REELWRIGHT_OPENAI_COMPATIBLE_KEY"}
    for name, each in settings.Settings.model_fields.items():
        if "SecretStr" in str(each.annotation):
            aliases = each.validation_alias.choices if isinstance(each.validation_alias, AliasChoices) else ()
            names |= {f"REELWRIGHT_{name}".upper(), name.upper(), *(str(alias).upper() for alias in aliases)}
    return names


def _order(shot: Shot, run: Run, output: Path) -> dict[str, Any]:
    return {
        "model": shot.card.id, "source": shot.card.source,
        "prompt": shot.prompt, "negative": shot.negative, "width": shot.width, "height": shot.height, "fps": float(shot.fps),
        "frames": shot.frames, "seed": shot.seed, "options": dict(shot.options), "output": str(output.absolute()),
        "inputs": [
            {"role": given.role.value, "path": str(run.fetch(given.ref).absolute()), "strength": given.strength, "at": given.at}
            for given in shot.inputs
        ],
        "loras": [{"path": _lora(lora.ref, run), "weight": lora.weight} for lora in shot.loras],
    }  # fmt: skip


def _lora(ref: str, run: Run) -> str:
    try:
        return str(run.fetch(ref).absolute())
    except MissingAsset:
        return ref  # the name that a hub knows it by


def _follow(process: subprocess.Popen[bytes], heard: _Heard, run: Run) -> None:
    """Carry what the program says to the run until it has ended. Raises Cancelled."""
    told = time.monotonic()
    for line in _lines(process):
        before = (heard.done, heard.total)
        heard.hear(line, run)
        if (heard.done, heard.total) != before or time.monotonic() - told >= _LOOK_S:
            run.step(heard.done, heard.total, "make")
            told = time.monotonic()
    while process.poll() is None:  # it has closed its output and works on
        run.step(heard.done, heard.total, "make")
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LOOK_S)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Its output line by line as it comes, and an empty line when there was none for a while."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if not selector.select(0 if ended else _LOOK_S):
                if ended:  # something that it started holds its output open
                    break
                yield ""
                continue
            piece = process.stdout.read(_LONGEST_LINE)
            if not piece:
                break
            *whole, rest = re.split(rb"[\r\n]+", rest + piece)
            rest = rest[-_LONGEST_LINE:]
            yield from (line.decode("utf-8", "replace") for line in whole)
    yield rest.decode("utf-8", "replace")


def _parsed(line: str) -> dict[str, Any]:
    """A line of the protocol; nothing for any other."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _count(value: Any, otherwise: int) -> int:
    return max(0, int(value)) if isinstance(value, int | float) and math.isfinite(value) else otherwise


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with {code}" if code else "failed"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _stopped(process: subprocess.Popen[bytes]) -> None:
    """The program and all that it started, ended: asked first, then killed."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_S)
    _signal(process, signal.SIGKILL)  # also what it has left behind
    process.wait()


def _signal(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the second of processes that have ended
        os.killpg(process.pid, sign)


def _as_asked(path: Path, shot: Shot, run: Run) -> Video:
    """The file at the shot's size, rate and length; what had to be changed is told."""
    title = shot.card.title
    try:
        video = open_video(path, audio=shot.card.audio)
    except MediaError as error:
        raise BackendError(f"{title} wrote a file that is no video: {error.message}", model=shot.card.id) from None
    made = video.spec
    other_rate = abs(made.fps / shot.fps - 1) > 0.001
    if (made.width, made.height, made.frames) != (shot.width, shot.height, shot.frames) or other_rate:
        wanted = f"{shot.frames} of {shot.width}x{shot.height} at {float(shot.fps):.5g}"
        run.note(
            f"{title} made {made.frames} frames of {made.width}x{made.height} at {float(made.fps):.5g} a second, not {wanted}."
        )
    if made.frames == shot.frames and video.samples is None:  # each frame is meant, whatever the file says of their rate
        video = Video(made.but(fps=shot.fps), video.frames, None, (video,))
    video = edit.fit(edit.at_rate(video, shot.fps), shot.width, shot.height)
    seconds = shot.frames / shot.fps
    video = edit.trim(edit.hold(video, seconds), 0, seconds)
    if shot.card.audio and video.samples is None:
        run.note(f"{title} made no sound.")
        video = edit.with_sound(video, spoken(video))
    return video
