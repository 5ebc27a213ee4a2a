"""Orders become jobs, and jobs become files that are kept: the store, the blobs and the studio in one place.

The command line and the server take orders here; workers, in whatever process they live, do them here.
"""

from __future__ import annotations

import io
import mimetypes
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from pydantic import TypeAdapter

from reelwright import logs
from reelwright.catalog import Shot
from reelwright.errors import DiskFull, ReelwrightError, RequestError
from reelwright.fetching import Fetcher
from reelwright.jobs.blobs import Blobs, open_blobs
from reelwright.jobs.database import Database, Transaction
from reelwright.jobs.ledger import CalledBefore, Ledger, StoredAsset
from reelwright.jobs.messages import Messenger
from reelwright.jobs.results import locked
from reelwright.jobs.rows import Job, LeaseLost, NewJob, new_id
from reelwright.jobs.shelf import Shelf
from reelwright.jobs.store import Store
from reelwright.jobs.webhooks import Webhooks
from reelwright.jobs.worker import JobRun, Outcome
from reelwright.media.decode import first_frame, spread
from reelwright.media.encode import Encoding
from reelwright.media.stills import save_picture, sheet
from reelwright.references import hold_references, with_assets
from reelwright.request import GenerationRequest
from reelwright.settings import Settings, current
from reelwright.storyboard import Storyboard, plain
from reelwright.storyfile import validated
from reelwright.studio import Result, Studio
from reelwright.types import Frame

GENERATE, PICTURE, FILM, SCENE, BATCH = "generate", "picture", "film", "scene", "batch"
"""Kinds of jobs: a clip of a request, one picture of it, a storyboard's film, one scene of it, many clips."""
_REQUEST = TypeAdapter(GenerationRequest)
TEXT, IMAGE = "text-to-video", "image-to-video"
"""Tasks that have a default model."""
_SPARE = 500 * 1024**2
"""Bytes that have to be free before a job starts."""
_PREVIEW = 512
"""px, the longer side of a preview."""
_PREVIEW_S = 0.5
_SHEET = 12


@dataclass(frozen=True)
class Order:
    """Who wants a job, how urgently, and what was said about the call.

    `call`: (key, digest of the body) of a call that must not make a second job when it is repeated.
    """

    owner: str = "local"
    priority: int = 0
    call: tuple[str, str] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that go into the job's content, for whoever took the order."""
    encoding: Encoding = field(default_factory=Encoding)
    ending: str = ".mp4"
    limits: Mapping[str, Any] = field(default_factory=dict)
    """What the owner may at most, as in Ledger.admit."""

    def __post_init__(self) -> None:
        self.encoding.codec_for(Path(f"film{self.ending}"))

    @property
    def content(self) -> dict[str, Any]:
        """What of it goes into a job's content."""
        how = {name: value for name, value in vars(self.encoding).items() if value != getattr(Encoding(), name)}
        file = {"ending": self.ending, **how} if how or self.ending != ".mp4" else {}
        return {**self.about, **({"file": file} if file else {})}


class Workshop:
    """The store, the blobs and the studio of one installation. `migrate` brings the database to this version's form."""

    def __init__(self, settings: Settings | None = None, *, migrate: bool = True) -> None:
        self.settings = settings or current()
        self.database = Database(self.settings.store_url)
        if migrate:
            self.database.migrate()
        self.store = Store(self.database, lease=self.settings.lease)
        self.ledger, self.shelf = Ledger(self.store), Shelf(self.store)
        self.webhooks = Webhooks(self.store)
        self.folder = self.settings.data_folder.expanduser()
        self.blobs: Blobs = open_blobs(self.settings.blobs_url, self.settings.cache_folder / "blobs")
        self.studio = Studio(self.settings)
        self._shown: dict[str, float] = {}
        self.on_order: Callable[[], None] | None = None
        """Called when there is new work."""
        self._messenger = Messenger(self.settings.queue) if self.settings.queue else None

    def logged(self) -> None:
        """Have this process log as the settings say, without the secrets that they hold."""
        own = self.settings
        secrets = [each.get_secret_value() for each in (own.hf_token, own.openai_api_key, own.api_key) if each is not None]
        logs.hide(*secrets, *([str(self.database.url.password)] if self.database.url.password else []))
        logs.set_up(own.log)

    def announce(self, older_than: float = 3600.0) -> None:
        """Tell workers of queued jobs that they were never told of, or not for so many seconds.

        Without a broker they look themselves, and those of this process's supervisor are told to look now.
        """
        if self.on_order is not None:
            self.on_order()
        if self._messenger is not None:
            self._messenger.announce(self.store.undispatched(older_than))

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    # ---- orders

    def defaults(self) -> dict[str, str]:
        """The model that is taken for a task if a request names none: what was set for this installation, else the settings'."""
        own = self.settings
        known = {TEXT: own.default_text_to_video_model, IMAGE: own.default_image_to_video_model}
        return {**known, **self.shelf.defaults()}

    def studio_with(self, defaults: Mapping[str, str] | None = None) -> Studio:
        """The studio with these default models (now's if None); jobs carry those of the time when they were ordered."""
        defaults = self.shelf.defaults() if defaults is None else defaults
        if not defaults:
            return self.studio
        names = {f"default_{task.replace('-', '_')}_model": model for task, model in defaults.items()}
        return Studio(self.settings.model_copy(update=names))

    def estimate(self, request: GenerationRequest, owner: str) -> tuple[Shot, tuple[str, ...], float, bool, bool]:
        """What a request comes to: its shot, notes, seconds of work, whether these were measured, whether it is there already."""
        studio = self.studio_with()
        for given in request.inputs:
            self.ledger.asset(given.ref, owner)
        shot, notes = studio.shot(request, self.finder(owner))
        cached = not shot.card.instant and studio.results.find(shot.fingerprint, ".mp4") is not None
        return shot, notes, *studio.estimate(shot), cached

    def generate(self, request: GenerationRequest, order: Order | None = None, kind: str = GENERATE) -> Job:
        """Order a clip, or a picture (`kind`).

        Raises what resolving raises: UnknownModel, Unsupported, RequestError, MissingAsset.
        """
        order = order or Order()
        return self._submit([self._clip(request, order, self.shelf.defaults(), kind=kind)], order)

    def _clip(
        self, request: GenerationRequest, order: Order, defaults: dict[str, str], parent: str | None = None, kind: str = GENERATE
    ) -> NewJob:
        for given in request.inputs:
            self.ledger.asset(given.ref, order.owner)  # an asset, and no file of this machine
        shot, _ = self.studio_with(defaults).shot(request, self.finder(order.owner))
        content = {"request": _REQUEST.dump_python(request, mode="json", exclude_defaults=True), "defaults": defaults}
        return NewJob(
            kind, {**content, **order.content}, shot.lane, shot.card.id, order.owner, order.priority, parent=parent,
            estimate=self.studio.estimate(shot)[0],
        )  # fmt: skip

    def batch(self, requests: Sequence[GenerationRequest], order: Order) -> Job:
        """Order many clips, all or none; the job that this returns is done at once, they are its parts.

        Raises RequestError that names each request (from 1) that cannot be made.
        """
        root, defaults = (
            NewJob(BATCH, {"jobs": len(requests)}, owner=order.owner, priority=order.priority, estimate=0.0),
            self.shelf.defaults(),
        )
        parts, problems = [], []
        for number, request in enumerate(requests, 1):
            try:
                parts.append(self._clip(request, order, defaults, root.id))
            except RequestError as error:
                problems.append(f"request {number}: {error.message}")
        if problems:
            raise RequestError(problems[0], hint="Nothing was queued.", problems=problems)
        return self._submit([root, *parts], order)

    def film(self, board: Storyboard, order: Order | None = None) -> Job:
        """Order a film: a job for each scene that a model has to make, and one that puts the film together.

        Raises BadStoryboard with everything that would stop it.
        """
        order = order or Order()
        hold_references(board)
        defaults = self.shelf.defaults()
        made_of = self.studio_with(defaults).orders(board, self.finder(order.owner))
        content = {"storyboard": plain(board), "defaults": defaults, **order.content}
        root = new_id("job")
        scenes: dict[int, NewJob] = {}
        for index in made_of.order:
            shot = made_of.shots[index]
            if shot is None:
                continue
            source = board.source_of(index)
            needs = (scenes[source].id,) if source in scenes else ()
            part = {"scene": index, "storyboard": plain(board), "defaults": defaults}
            scenes[index] = NewJob(
                SCENE, part, shot.lane, shot.card.id, order.owner, order.priority,
                needs, root, self.studio.estimate(shot)[0],
            )  # fmt: skip
        film = NewJob(
            FILM, content, "cpu", None, order.owner, order.priority, tuple(job.id for job in scenes.values()),
            estimate=made_of.estimate, id=root,
        )  # fmt: skip
        return self._submit([film, *scenes.values()], order)

    def _submit(self, jobs: list[NewJob], order: Order) -> Job:
        made = self._submitted(jobs, order)
        self.announce()
        return made

    def _submitted(self, jobs: list[NewJob], order: Order) -> Job:
        if order.call is not None and (before := self.ledger.replay(order.owner, *order.call)) is not None:
            return self.store.get(before)

        def also(connection: Transaction) -> None:
            if order.call is not None:
                self.ledger.note_call(connection, order.owner, *order.call, jobs[0].id)
            self.ledger.admit(connection, order.owner, order.limits)

        try:
            return self.store.submit(jobs, also)[0]
        except CalledBefore:
            assert order.call is not None
            first = self.ledger.replay(order.owner, *order.call)
            assert first is not None
            return self.store.get(first)

    def deliver(self) -> bool:
        """Call one webhook that is to be called; False if none is."""
        fetcher = Fetcher(self.settings.allow_hosts)
        return self.webhooks.deliver(lambda url, body, headers: fetcher.post(url, body, headers))

    # ---- files

    def keep(
        self, path: Path, owner: str, *, name: str | None = None, kind: str | None = None, job: str | None = None, **facts: Any
    ) -> StoredAsset:
        """Store a file as an asset of an owner."""
        made = self._kept(path, owner, name, kind, job, facts)
        return self.ledger.add(made)

    def _kept(
        self, path: Path, owner: str, name: str | None, kind: str | None, job: str | None, facts: dict[str, Any]
    ) -> StoredAsset:
        blob = self.blobs.put(path)
        name = name or path.name
        kind = kind or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return StoredAsset(blob.digest, kind, blob.size, name, owner, job, facts=facts)

    def uploaded(self, board: Storyboard, folder: Path, owner: str) -> Storyboard:
        """The storyboard with every file that it names stored as an asset; raises MissingAsset."""
        return with_assets(board, folder, lambda path: self.keep(path, owner).id)

    def file(self, asset: StoredAsset) -> Path:
        """A local file with an asset's bytes. Its name ends as the asset's does, for those who go by that."""
        place = self.blobs.path(asset.digest)
        ending = Path(asset.name).suffix.lower()
        linked = self.settings.cache_folder / "inputs" / f"{asset.digest}{ending}"
        if not linked.is_file():
            linked.parent.mkdir(parents=True, exist_ok=True)
            with locked(linked.with_suffix(".lock"), 60):
                if not linked.is_file():
                    part = linked.with_suffix(".part")
                    shutil.copyfile(place, part)
                    part.replace(linked)
        return linked

    def spritesheet(self, asset: StoredAsset) -> Path:
        """A JPEG of twelve pictures of a video, evenly spread; made once."""
        place = self.settings.cache_folder / "thumbnails" / f"{asset.digest}-sheet.jpg"
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            save_picture(sheet(spread(self.file(asset), _SHEET)), place)
        return place

    def finder(self, owner: str) -> Callable[[str], Path]:
        """What turns references to an owner's assets into files."""
        return lambda ref: self.file(self.ledger.asset(ref, owner))

    def preview(self, job: Job, frame: Frame) -> None:
        """Keep a picture of a job's result so far, not more often than twice a second."""
        now = time.monotonic()
        if now - self._shown.get(job.id, -1.0) < _PREVIEW_S:
            return
        self._shown = {job.id: now}  # a worker does one job at a time
        made = io.BytesIO()
        picture = Image.fromarray(frame.rgb)
        picture.thumbnail((_PREVIEW, _PREVIEW))
        picture.save(made, "JPEG", quality=80)
        with suppress(LeaseLost):  # the next step tells the work
            self.store.show(job, made.getvalue())

    # ---- what workers do

    def find(self, job: Job, ref: str) -> Path:
        """The file behind a reference of a job."""
        return self.finder(job.owner)(ref)

    def perform(self, job: Job, run: JobRun) -> Outcome:
        """Do a job."""
        free = shutil.disk_usage(self.settings.cache_folder if self.settings.cache_folder.exists() else Path.home()).free
        if free < _SPARE:
            raise DiskFull(f"less than {_SPARE // 2**20} MiB are free", hint="Free some space, or run `reel clean`.")
        doing = {
            GENERATE: self._generate, PICTURE: self._generate, FILM: self._film, SCENE: self._scene, BATCH: self._batch,
        }.get(job.kind)  # fmt: skip
        if doing is None:
            raise RequestError(f"this version knows no job of kind {job.kind!r}", hint="Update the worker.")
        return doing(job, run)

    def _generate(self, job: Job, run: JobRun) -> Outcome:
        request = _REQUEST.validate_python(job.content["request"])
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            made = self.studio_with(job.content.get("defaults", {})).generate(request, *_file(job, scratch), run)
            return self._picture(job, made) if job.kind == PICTURE else self._outcome(job, made)

    def _batch(self, job: Job, _run: JobRun) -> Outcome:
        return Outcome(dict(job.content))

    def _film(self, job: Job, run: JobRun) -> Outcome:
        board = validated(job.content["storyboard"])
        self._bring(job)
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            path, encoding = _file(job, scratch)
            made = self.studio_with(job.content.get("defaults", {})).render(board, path, None, encoding, run)
            return self._outcome(job, made)

    def _scene(self, job: Job, run: JobRun) -> Outcome:
        board = validated(job.content["storyboard"])
        self._bring(job)
        made = self.studio_with(job.content.get("defaults", {})).make_scene(board, int(job.content["scene"]), run)
        if made is None:
            return Outcome({})
        key, path = made
        return Outcome({"key": key, "digest": self.blobs.put(path).digest})

    def _bring(self, job: Job) -> None:
        """Scenes that other machines made are put where this one keeps its own."""
        for need in self.store.needs(job.id):
            made = self.store.get(need).result or {}
            if made.get("key") and self.studio.results.find(made["key"], ".mp4") is None:
                place = self.blobs.path(made["digest"])
                self.studio.results.make(made["key"], ".mp4", lambda part, place=place: shutil.copyfile(place, part))  # type: ignore[misc]  # bound at once

    def _picture(self, job: Job, made: Result) -> Outcome:
        """The first picture of what was made, as a file of its own."""
        path = made.path.with_suffix(".png")
        save_picture(first_frame(made.path), path)
        facts = {"width": made.spec.width, "height": made.spec.height}
        row = self._kept(path, job.owner, f"{job.id}.png", "image/png", job.id, facts)

        def also(connection: Transaction) -> None:
            self.ledger.add(row, connection)

        return Outcome({"asset": row.id, "bytes": row.size, **facts, "manifest": made.manifest}, also)

    def _outcome(self, job: Job, made: Result) -> Outcome:
        spec = made.spec
        facts = {"width": spec.width, "height": spec.height, "fps": str(spec.fps), "seconds": round(float(spec.seconds), 3)}
        film = self._kept(made.path, job.owner, f"{job.id}{made.path.suffix}", None, job.id, facts)
        rows = [film]
        poster = made.path.with_name("poster.jpg")
        with suppress(ReelwrightError):
            save_picture(first_frame(made.path), poster, min(_PREVIEW, spec.width))
            rows.append(self._kept(poster, job.owner, f"{job.id}.jpg", "image/jpeg", job.id, {}))

        def also(connection: Transaction) -> None:
            for row in rows:
                self.ledger.add(row, connection)

        result = {
            "asset": film.id, "thumbnail": rows[-1].id if len(rows) > 1 else None, "bytes": film.size, **facts,
            "frames": spec.frames, "audio": spec.audio, "made": made.made, "reused": made.reused, "manifest": made.manifest,
        }  # fmt: skip
        return Outcome(result, also)


def _file(job: Job, folder: Path) -> tuple[Path, Encoding]:
    """The file that a job is to write, and how."""
    how = dict(job.content.get("file", {"crf": 2} if job.kind == PICTURE else {}))
    return folder / f"film{how.pop('ending', '.mp4')}", Encoding(**how)
