"""Models that live in an environment of their own: a program that is told what to make and writes a file (M4, M7).

For models without a Diffusers pipeline, whose packages do not go together with these. A person's own card names the command:

    [settings]
    command = ["/opt/open-sora/.venv/bin/python", "/opt/open-sora/reel_worker.py"]

The program gets one line of JSON on its standard input: `prompt`, `negative`, `width`, `height`, `fps`, `frames`, `seed`,
`options`, `inputs` (role, path, strength) and `output`, the file to write. It may print lines of JSON, `{"step": 3, "steps":
50}`, `{"note": "..."}` or `{"error": "..."}`, and ends with 0 when the file is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from reelwright.catalog import Card, Shot
from reelwright.errors import BackendError, MediaError, Unavailable, Unsupported
from reelwright.media import edit
from reelwright.media.decode import open_video
from reelwright.run import Run
from reelwright.types import Video

_GRACE_S = 5.0
"""How long a program that is told to stop may take."""
_KEPT_LINES = 20


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
        order = _order(shot, run, output)
        try:
            process = subprocess.Popen(  # noqa: S603  the command is from the person's own card
                shot.card.settings["command"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                cwd=run.scratch,
            )
        except OSError as error:
            raise Unavailable(
                f"{shot.card.settings['command'][0]} cannot be started: {error.strerror}",
                hint="Correct `command` in the card.",
                retryable=False,
                model=shot.card.id,
            ) from None
        try:
            last = self._followed(process, order, run)
        finally:
            _stopped(process)
        if process.returncode != 0:
            raise BackendError(
                f"{shot.card.title} ended with {process.returncode}: {last or 'it said nothing'}", model=shot.card.id
            )
        if not output.is_file():
            raise BackendError(f"{shot.card.title} ended well and wrote no file", hint=f"It should write {output.name}.")
        return _as_asked(output, shot, run)

    def _followed(self, process: subprocess.Popen[str], order: dict[str, Any], run: Run) -> str:
        """Hand in the order and carry what the program says to the run; returns its last words."""
        lines: SimpleQueue[str | None] = SimpleQueue()
        assert process.stdin is not None
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once; what it printed says why
        said: deque[str] = deque(maxlen=_KEPT_LINES)
        done, total = 0, 1
        while True:
            run.step(done, total, "make")
            try:
                line = lines.get(timeout=0.2)
            except Empty:
                continue
            if line is None:
                process.wait()
                run.step(total, total, "make")
                return " ".join(list(said)[-3:])
            told = _parsed(line)
            if told is None:
                said.append(line.strip())
            elif "note" in told:
                run.note(str(told["note"]))
            elif "error" in told:
                said.append(str(told["error"]))
            elif "step" in told:
                total = max(total, int(told.get("steps", total)))
                done = max(done, min(total, int(told["step"])))


def _order(shot: Shot, run: Run, output: Path) -> dict[str, Any]:
    return {
        "prompt": shot.prompt, "negative": shot.negative, "width": shot.width, "height": shot.height, "fps": float(shot.fps),
        "frames": shot.frames, "seed": shot.seed, "options": dict(shot.options), "output": str(output),
        "inputs": [
            {"role": given.role.value, "path": str(run.fetch(given.ref)), "strength": given.strength} for given in shot.inputs
        ],
    }  # fmt: skip


def _read(stream: IO[str], lines: SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and {"step", "note", "error"} & set(told) else None


def _stopped(process: subprocess.Popen[str]) -> None:
    """The program and all that it started, ended."""
    if process.poll() is None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(timeout=_GRACE_S)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        process.wait()


def _as_asked(path: Path, shot: Shot, run: Run) -> Video:
    """The file at the shot's size, rate and length; what had to be changed is told."""
    try:
        video = open_video(path, audio=shot.card.audio)
    except MediaError as error:
        raise BackendError(f"{shot.card.title} wrote a file that is no video: {error.message}", model=shot.card.id) from None
    made = (video.spec.width, video.spec.height, video.spec.frames)
    if made != (shot.width, shot.height, shot.frames):
        run.note(f"{shot.card.title} made {made[2]} frames of {made[0]}x{made[1]}.")
    video = edit.fit(edit.at_rate(video, shot.fps), shot.width, shot.height)
    video = edit.hold(video, shot.frames / shot.fps)
    return edit.trim(video, 0, shot.frames / shot.fps)
