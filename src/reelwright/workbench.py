"""A worker's bench: the store, the blobs and the studio of one installation, and jobs done with them."""

from __future__ import annotations

import io
import mimetypes
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from pydantic import TypeAdapter

from reelwright import logs, plugins
from reelwright.catalog import find as card_of
from reelwright.errors import BackendError, DiskFull, ReelwrightError, RequestError, Unavailable
from reelwright.jobs.asking import ORDERED, Instead
from reelwright.jobs.blobs import Blobs, open_blobs
from reelwright.jobs.costs import StorePurse
from reelwright.jobs.database import Database, Transaction
from reelwright.jobs.ledger import Ledger, StoredAsset
from reelwright.jobs.results import locked
from reelwright.jobs.rows import Job, LeaseLost
from reelwright.jobs.shelf import Shelf
from reelwright.jobs.store import Store
from reelwright.jobs.worker import JobRun, Outcome
from reelwright.media.decode import first_frame
from reelwright.media.encode import Encoding
from reelwright.media.stills import save_picture
from reelwright.request import GenerationRequest
from reelwright.settings import Settings, current
from reelwright.storyboard import Storyboard, by_other, with_other
from reelwright.storyfile import validated
from reelwright.studio import Result, Studio
from reelwright.types import Frame

GENERATE, PICTURE, FILM, SCENE, BATCH, LOAD = "generate", "picture", "film", "scene", "batch", "load"
"""Kinds of jobs: a clip of a request, one picture of it, a storyboard's film, one scene of it, many clips, a model to be
brought into memory."""
REQUEST = TypeAdapter(GenerationRequest)
_SPARE = 500 * 1024**2
"""Bytes that have to be free before a job starts."""
PREVIEW = 512
"""px, the longer side of a preview."""
_PREVIEW_S = 0.5


class Workbench:
    """The store, the blobs and the studio of one installation. `migrate` brings the database to this version's form."""

    def __init__(self, settings: Settings | None = None, *, migrate: bool = True) -> None:
        self.settings = settings or current()
        self.database = Database(self.settings.store_url)
        if migrate:
            self.database.migrate()
        self.store = Store(self.database, lease=self.settings.lease)
        self.ledger, self.shelf = Ledger(self.store), Shelf(self.store)
        self.folder = self.settings.data_folder.expanduser()
        self.blobs: Blobs = open_blobs(self.settings.blobs_url, self.settings.cache_folder / "blobs")
        self.studio = Studio(self.settings, anything=False)
        self._shown: dict[str, float] = {}

    def logged(self) -> None:
        """Have this process log as the settings say, without the secrets that they hold."""
        own = self.settings
        logs.hide(*own.secrets, *([str(self.database.url.password)] if self.database.url.password else []))
        logs.set_up(own.log)

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    def studio_with(self, defaults: Mapping[str, str] | None = None) -> Studio:
        """The studio with these default models (now's if None); jobs carry those of the time when they were ordered."""
        defaults = self.shelf.defaults() if defaults is None else defaults
        if not defaults:
            return self.studio
        names = {f"default_{task.replace('-', '_')}_model": model for task, model in defaults.items()}
        return Studio(self.settings.model_copy(update=names), anything=False)

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
        picture.thumbnail((PREVIEW, PREVIEW))
        picture.save(made, "JPEG", quality=80)
        with suppress(LeaseLost):  # the next step tells the work
            self.store.show(job, made.getvalue())

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
            LOAD: self._load,
        }.get(job.kind)  # fmt: skip
        if doing is None:
            raise RequestError(f"this version knows no job of kind {job.kind!r}", hint="Update the worker.")
        run.purse = StorePurse(self.store, self.settings)
        outcome = doing(job, run)
        if cost := run.memory.get("cost"):
            outcome.result["cost"] = list(cost.values())
        return outcome

    def _generate(self, job: Job, run: JobRun) -> Outcome:
        request = REQUEST.validate_python(job.content["request"])
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            given = job.content.get("instead")
            instead = Instead(*given) if given else None
            made = self.studio_with(job.content.get("defaults", {})).generate(request, *_file(job, scratch), run, instead)
            return self._picture(job, made) if job.kind == PICTURE else self._outcome(job, made)

    def _batch(self, job: Job, _run: JobRun) -> Outcome:
        return Outcome(dict(job.content))

    def _film(self, job: Job, run: JobRun) -> Outcome:
        board, instead = self._brought(job)
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            path, encoding = _file(job, scratch)
            studio = self.studio_with(job.content.get("defaults", {}))
            made = studio.render(board, path, None, encoding, run, instead=instead)
            return self._outcome(job, made)

    def _scene(self, job: Job, run: JobRun) -> Outcome:
        (board, instead), index = self._brought(job), int(job.content["scene"])
        studio = self.studio_with(job.content.get("defaults", {}))
        try:
            made = studio.make_scene(board, index, run, instead)
        except (BackendError, Unavailable) as error:
            again = error.retryable and job.attempt < job.max_attempts
            if isinstance(error, DiskFull) or again or ORDERED in error.details:
                raise
            return self._stand_in(board, index, studio, run, error, instead)
        return self._scene_outcome(made)

    def _scene_outcome(self, made: tuple[str, Path] | None, **facts: Any) -> Outcome:
        if made is None:
            return Outcome(facts)
        key, path = made
        return Outcome({"key": key, "digest": self.blobs.put(path).digest, **facts})

    def _stand_in(
        self, board: Storyboard, index: int, studio: Studio, run: JobRun, error: ReelwrightError, instead: Mapping[int, Instead]
    ) -> Outcome:
        """The scene by the first model of the fallback that can make it; the film's job uses that one then (M14)."""
        failed, before = studio.model_of(board, index), instead.get(index)
        asked = before.asked if before else failed
        for name in studio.fallback:
            if name in (failed, asked):
                continue
            stand_in = "the placeholder" if name == "placeholder" else name
            why = f"Scene {board.name(index)}: {failed} failed ({error.message}); {stand_in} stands in for it."
            other, gone = with_other(board, index, name)
            why = " ".join(part for part in (before.why if before else "", why, gone) if part)
            try:
                made = studio.make_scene(other, index, run, {**instead, index: Instead(asked, why)})
            except (BackendError, Unavailable, RequestError) as other:
                if ORDERED in other.details:
                    raise
                run.note(f"{name} cannot stand in: {other.message}.")
                continue
            run.note(why)
            return self._scene_outcome(made, served=name, scene=index, asked=asked, why=why)
        raise error

    def _load(self, job: Job, run: JobRun) -> Outcome:
        """Bring a model into this worker's memory, for shots to come (M16)."""
        card = card_of(str(job.content["model"]))
        backend = plugins.make_backend(card.backend, self.settings)
        warm = getattr(backend, "warm", None)
        if warm is not None:
            warm(card, run)
        return Outcome({"model": card.id, "loaded": warm is not None})

    def _brought(self, job: Job) -> tuple[Storyboard, dict[int, Instead]]:
        """A job's storyboard with the models that served, and instead of which ones.

        Scenes that other machines made, and that it needs, are put where this one keeps its own.
        """
        board = validated(job.content["storyboard"])
        instead = {int(index): Instead(*each) for index, each in job.content.get("instead", {}).items()}
        served = {}
        for made in self._needed(job):
            if "served" in made:
                index = int(made["scene"])
                served[index] = str(made["served"])
                instead[index] = Instead(str(made.get("asked", self.studio.model_of(board, index))), str(made["why"]))
            if made.get("key") and self.studio.results.find(made["key"], ".mp4") is None:
                place = self.blobs.path(made["digest"])
                self.studio.results.make(made["key"], ".mp4", lambda part, place=place: shutil.copyfile(place, part))  # type: ignore[misc]  # bound at once
        return served_by(board, served), instead

    def _needed(self, job: Job) -> list[dict[str, Any]]:
        """The results of all jobs that a job rests on, near and far: a scene starts from one that starts from another."""
        left, seen, made = [job.id], {job.id}, []
        while left:
            for need in self.store.needs(left.pop()):
                if need not in seen:
                    seen.add(need)
                    left.append(need)
                    made.append(self.store.get(need).result or {})
        return made

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
        poster = made.path.with_name("poster.jpg")
        with ThreadPoolExecutor(1) as beside:  # the poster is drawn while the film is hashed and copied
            drawn = beside.submit(lambda: save_picture(first_frame(made.path), poster, min(PREVIEW, spec.width)))
            film = self._kept(made.path, job.owner, f"{job.id}{made.path.suffix}", None, job.id, facts)
        rows = [film]
        with suppress(ReelwrightError):
            drawn.result()
            rows.append(self._kept(poster, job.owner, f"{job.id}.jpg", "image/jpeg", job.id, {}))

        def also(connection: Transaction) -> None:
            for row in rows:
                self.ledger.add(row, connection)

        result = {
            "asset": film.id, "thumbnail": rows[-1].id if len(rows) > 1 else None, "bytes": film.size, **facts,
            "frames": spec.frames, "audio": spec.audio, "made": made.made, "reused": made.reused, "manifest": made.manifest,
        }  # fmt: skip
        return Outcome(result, also)


def served_by(board: Storyboard, models: Mapping[int, str]) -> Storyboard:
    """The storyboard with other models for some scenes, without what was meant for the first ones."""
    scenes = tuple(by_other(scene, models[index])[0] if index in models else scene for index, scene in enumerate(board.scenes))
    return replace(board, scenes=scenes)


def _file(job: Job, folder: Path) -> tuple[Path, Encoding]:
    """The file that a job is to write, and how."""
    how = dict(job.content.get("file", {"crf": 2} if job.kind == PICTURE else {}))
    return folder / f"film{how.pop('ending', '.mp4')}", Encoding(**how)
