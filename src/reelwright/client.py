"""A Reelwright server from Python: the library's calls, done elsewhere, and the server's jobs."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import TypeAdapter

from reelwright.errors import Cancelled
from reelwright.films import Cancel, asked, described, hold, known_options, one_each, place
from reelwright.media.encode import Encoding
from reelwright.references import with_assets
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings, current
from reelwright.storyboard import FINAL, Storyboard, plain, profiled
from reelwright.storyfile import load
from reelwright.studio import Result
from reelwright.types import Role, VideoSpec
from reelwright.wire import Wire, error_of

_LOOKS_S = (0.1, 1.0)
"""Shortest and longest pause between two looks at a job."""
_REQUEST: TypeAdapter[GenerationRequest] = TypeAdapter(GenerationRequest)


@dataclass(frozen=True)
class JobStatus:
    """A job of a server as it stood when it was read.

    `progress`: 0..1; `step` of `steps` within `stage`; `eta_seconds`, `estimate_seconds`: seconds or None. `state`: waiting,
    queued, running, done, failed or cancelled. `error`: an error body. Times are ISO 8601.
    """

    id: str
    kind: str
    state: str
    model: str | None = None
    held: bool = False
    priority: int = 0
    progress: float = 0.0
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    estimate_seconds: float | None = None
    attempt: int = 0
    parent: str | None = None
    notes: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    result: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """From a server's JSON; what this version does not know is left out."""
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in content.items() if name in known}
        return cls(**{**values, "notes": tuple(values.get("notes") or ())})

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in ("done", "failed", "cancelled")


@dataclass
class Client:
    """A server. `server`: its address (REELWRIGHT_SERVER by default); `key`: an API key (REELWRIGHT_API_KEY), if it asks for one.

    `timeout`: seconds until an answer begins. Raises the errors that the library raises, Unavailable if nobody answers,
    MissingExtra without httpx2. Use it in a `with`, or call `close`.
    """

    server: str | None = None
    key: str | None = field(default=None, repr=False)
    timeout: float = 60.0
    settings: Settings = field(default_factory=current)

    def __post_init__(self) -> None:
        secret = self.key or (self.settings.api_key.get_secret_value() if self.settings.api_key else None)
        self._wire = Wire(self.server or self.settings.server, secret, self.timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connections go."""
        self._wire.close()

    # ---- the library's calls

    def generate(
        self,
        prompt: str = "",
        output: str | Path | None = None,
        *,
        model: str | None = None,
        image: str | Path | None = None,
        camera: str | None = None,
        effect: str | Sequence[str] | None = None,
        quality: str | None = None,
        encoding: Encoding | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: Cancel | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Result:
        """One clip from a prompt, a picture, or both, as `reelwright.generate`; pictures are uploaded."""
        request = asked(prompt, model, image, camera, effect, quality, options, more)
        path = place(output, prompt, self.settings.output_folder)
        return self._made(self.start(request, 0, _file(path, encoding)), path, on_progress, cancel)

    def render(
        self,
        board: Storyboard | str | Path,
        output: str | Path | None = None,
        *,
        folder: str | Path | None = None,
        encoding: Encoding | None = None,
        profile: str = FINAL,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """A storyboard, or the file of one, as a film, as `reelwright.render`; what it names is uploaded."""
        if isinstance(board, Storyboard):
            path, loaded, where = place(output, board.title or "film", self.settings.output_folder), board, Path(folder or ".")
        else:
            file = Path(board)
            path = Path(output) if output is not None else file.with_suffix(".mp4")
            loaded, where = load(file), Path(folder) if folder is not None else file.parent
        return self._made(self.submit(profiled(loaded, profile), where, 0, _file(path, encoding)), path, on_progress, cancel)

    def generate_video(
        self,
        prompt: str | Sequence[str],
        video_type: str = "multi_frame",
        quality: Literal["draft", "standard", "high", "premium"] = "high",
        transition: str = "crossfade",
        duration_per_frame: float = 3.0,
        use_ai_generation: bool = True,
        *,
        model: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        camera: str | None = None,
        effect: str | Sequence[str] = (),
        seed: int | None = None,
        sound: str | None = None,
        output: str | Path | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, Any]:
        """A film from one prompt or several, as `reelwright.generate_video`."""
        prompts = hold(prompt, video_type, quality, num_inference_steps, guidance_scale)
        chosen = model if use_ai_generation else "placeholder"
        wanted = {"steps": num_inference_steps, "guidance": guidance_scale}
        options: dict[str, Any] = {}
        notes: list[str] = []
        if any(value is not None for value in wanted.values()):
            card = self.model(chosen or self.default_model("text-to-video"))
            options, notes = known_options(card["title"], card["options"], wanted)
        board = one_each(prompts, quality, transition, duration_per_frame, chosen, options, camera, effect, seed, sound)
        output = place(output, prompts[0], self.settings.output_folder)
        made = described(self.render(board, output, on_progress=on_progress, cancel=cancel), board)
        return {**made, "notes": [*notes, *made["notes"]]}

    # ---- jobs

    def start(self, request: GenerationRequest, priority: int = 0, file: Mapping[str, Any] | None = None) -> JobStatus:
        """Queue a clip; files that the request names are uploaded. `file`: ending, codec, bitrate, hardware, where wanted."""
        content: dict[str, Any] = _REQUEST.dump_python(request, mode="json", exclude_defaults=True)
        run = LocalRun()
        if request.inputs:
            content["inputs"] = [self._input(given, run) for given in request.inputs]
        return self._ordered("/api/jobs", content, priority, file)

    def _input(self, given: Input, run: LocalRun) -> dict[str, Any]:
        ref = given.ref if given.ref.startswith("asset_") else self.upload(run.fetch(given.ref))["id"]
        return {"role": Role(given.role).value, "ref": ref, "strength": given.strength, "at": given.at}

    def submit(
        self, board: Storyboard, folder: Path | None = None, priority: int = 0, file: Mapping[str, Any] | None = None
    ) -> JobStatus:
        """Queue a storyboard's film; files that it names, from `folder` on, are uploaded. `file`: as in `start`."""
        sent = with_assets(board, folder or Path(), lambda path: str(self.upload(path)["id"]))
        return self._ordered("/api/storyboards/render", plain(sent), priority, file)

    def _ordered(self, path: str, content: Mapping[str, Any], priority: int, file: Mapping[str, Any] | None) -> JobStatus:
        return JobStatus.of(self._wire.post(path, dict(content), priority=priority or None, **(file or {})))

    def batch(self, text: str, ending: str, priority: int = 0) -> JobStatus:
        """Queue many clips, all or none: a text of JSON lines (".jsonl"), CSV (".csv") or JSON (".json")."""
        kinds = {".jsonl": "application/jsonl", ".csv": "text/csv"}
        kind = kinds.get(ending, "application/json")
        return JobStatus.of(self._wire.send("/api/batch", text.encode(), kind, priority=priority or None))

    def jobs(self, state: str | None = None, limit: int = 50) -> list[JobStatus]:
        """Jobs, newest first."""
        found: list[JobStatus] = []
        after = None
        while len(found) < limit:
            asked_for = {"state": state, "after": after, "limit": min(200, limit - len(found))}
            page = self._wire.get("/api/jobs", **asked_for)
            found += [JobStatus.of(each) for each in page["jobs"]]
            if not page["more"] or not found:
                break
            after = found[-1].id
        return found

    def job(self, job: str) -> JobStatus:
        """A job; raises NotFound."""
        return JobStatus.of(self._wire.get(_at("/api/jobs", job)))

    def events(self, job: str) -> list[dict[str, Any]]:
        """What happened to a job, oldest first."""
        found: list[dict[str, Any]] = self._wire.get(f"{_at('/api/jobs', job)}/events")["events"]
        return found

    def cancel(self, job: str) -> JobStatus:
        """Stop a job: at once if it waits, within a step if it runs."""
        return self._told(job, "cancel")

    def retry(self, job: str) -> JobStatus:
        """Queue a failed or cancelled job again; finished scenes are kept."""
        return self._told(job, "retry")

    def hold(self, job: str, held: bool = True) -> JobStatus:
        """Pause a job that has not begun, or let it go on."""
        return self._told(job, "hold" if held else "release")

    def prioritise(self, job: str, priority: int) -> JobStatus:
        """Change what goes first: higher before lower, -100..100."""
        return JobStatus.of(self._wire.post(f"{_at('/api/jobs', job)}/priority", {"priority": priority}))

    def delete(self, job: str) -> None:
        """Forget a job that has ended."""
        self._wire.delete(_at("/api/jobs", job))

    def _told(self, job: str, what: str) -> JobStatus:
        return JobStatus.of(self._wire.post(f"{_at('/api/jobs', job)}/{what}"))

    def wait(self, job: str, on_progress: Callable[[Progress], None] | None = None, cancel: Cancel | None = None) -> JobStatus:
        """A job when it is done.

        If `cancel` is set meanwhile, it is stopped and Cancelled is raised; so it is if someone else stops it. Raises the
        job's own error if it fails.
        """
        wanted = LocalRun(cancel=cancel)
        pause, began, seen = _LOOKS_S[0], time.monotonic(), None
        while True:
            if wanted.cancelled:
                self.cancel(job)
                raise Cancelled
            status = self.job(job)
            if status.state == "done":
                return status
            if status.state == "cancelled":
                raise Cancelled
            if status.state == "failed":
                raise error_of(status.error or {})
            now = (status.stage, status.step, status.state)
            if on_progress is not None and now != seen:
                on_progress(_progress(status, time.monotonic() - began))
            pause = _LOOKS_S[0] if now != seen else min(_LOOKS_S[1], pause * 1.3)
            seen = now
            _sleep(pause, wanted)

    def fetch(self, job: str, output: str | Path) -> Path:
        """Write a finished job's film to a file; raises Conflict if it has none."""
        return self._wire.download(f"{_at('/api/jobs', job)}/result", Path(output))

    def keys(self) -> list[dict[str, Any]]:
        """The server's API keys, without the keys themselves; for administrators."""
        found: list[dict[str, Any]] = self._wire.get("/api/keys")["keys"]
        return found

    def new_key(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make an API key: `name`, and where wanted `owner`, `scope`, `days`, `limits`; its `key` is in this answer only."""
        made: dict[str, Any] = self._wire.post("/api/keys", dict(wanted))
        return made

    def revoke(self, key: str) -> None:
        """Make an API key worthless at once."""
        self._wire.delete(_at("/api/keys", key))

    # ---- files, models, and what will happen

    def upload(self, path: str | Path, kind: str | None = None) -> dict[str, Any]:
        """Store a file as an asset: its `id`, media type, size, and what it is."""
        file = Path(path)
        kind = kind or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        made: dict[str, Any] = self._wire.upload("/api/assets", file, kind)
        return made

    def models(self, task: str | None = None) -> list[dict[str, Any]]:
        """The server's models, as cards."""
        found: list[dict[str, Any]] = self._wire.get("/api/models", task=task)["models"]
        return found

    def model(self, model: str) -> dict[str, Any]:
        """A model's card; raises UnknownModel."""
        found: dict[str, Any] = self._wire.get(_at("/api/models", model))
        return found

    def loaded(self) -> list[dict[str, Any]]:
        """The models in the memory of the server's workers."""
        found: list[dict[str, Any]] = self._wire.get("/api/models/loaded")["loaded"]
        return found

    def load(self, model: str) -> JobStatus:
        """Have a worker bring a model into memory; for administrators."""
        return JobStatus.of(self._wire.post("/api/models/load", {"model": model}))

    def unload(self, model: str | None = None) -> list[str]:
        """Have workers let go of a model, or of all; the ids of those that are held."""
        found: list[str] = self._wire.post("/api/models/unload", {"model": model})["unloading"]
        return found

    def default_model(self, task: str) -> str:
        """The model that the server takes for a task if none is named."""
        return str(self._wire.get("/api/models/defaults")[task])

    def estimate(self, request: GenerationRequest) -> dict[str, Any]:
        """What a request would come to, without making it: size, length, seconds of work with a range, memory, money."""
        content: dict[str, Any] = _REQUEST.dump_python(request, mode="json", exclude_defaults=True)
        found: dict[str, Any] = self._wire.post("/api/estimate", content)
        return found

    def check(self, board: Storyboard, folder: Path | None = None) -> dict[str, Any]:
        """Everything that would stop a storyboard (`problems`), and `warnings`; its files are uploaded."""
        return self._asked_of("check", board, folder)

    def plan(self, board: Storyboard, folder: Path | None = None) -> dict[str, Any]:
        """What rendering a storyboard will make, what is there already, and how long it will take; its files are uploaded."""
        return self._asked_of("plan", board, folder)

    def _asked_of(self, what: str, board: Storyboard, folder: Path | None) -> dict[str, Any]:
        sent = with_assets(board, folder or Path(), lambda path: str(self.upload(path)["id"]))
        found: dict[str, Any] = self._wire.post(f"/api/storyboards/{what}", plain(sent))
        return found

    def machine(self) -> list[dict[str, Any]]:
        """What the server's machine has and what it lacks; for administrators."""
        found: list[dict[str, Any]] = self._wire.get("/api/machine")["findings"]
        return found

    def _made(self, job: JobStatus, path: Path, on_progress: Callable[[Progress], None] | None, cancel: Cancel | None) -> Result:
        try:
            done = self.wait(job.id, on_progress, cancel)
        except KeyboardInterrupt:
            self.cancel(job.id)
            raise
        self.fetch(job.id, path)
        made = done.result or {}
        spec = VideoSpec(made["width"], made["height"], Fraction(made["fps"]), made["frames"], made["audio"])
        return Result(path, spec, made["manifest"], done.notes, made["made"], made["reused"])


def _file(path: Path, encoding: Encoding | None) -> dict[str, Any]:
    """How the server is to write the file, where it is not its usual way."""
    encoding = encoding or Encoding()
    encoding.codec_for(path)
    given = {"codec": encoding.codec, "bitrate": encoding.bitrate, "hardware": encoding.hardware or None}
    return {**given, "ending": path.suffix.lower() if path.suffix.lower() != ".mp4" else None}


def _at(path: str, name: str) -> str:
    return f"{path}/{quote(name, safe='')}"


def _sleep(seconds: float, wanted: LocalRun) -> None:
    """A pause that a cancel cuts short."""
    if isinstance(wanted.cancel, threading.Event):
        wanted.cancel.wait(seconds)
    else:
        time.sleep(seconds)


def _progress(status: JobStatus, elapsed: float) -> Progress:
    stage = status.stage or status.state
    if status.queue_position:
        stage = f"{status.state}, {status.queue_position} ahead"
    if status.steps:
        return Progress(stage, status.step or 0, status.steps, elapsed, status.eta_seconds)
    return Progress(stage, round(status.progress * 100), 100, elapsed, status.eta_seconds)
