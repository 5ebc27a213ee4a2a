"""Orders become jobs, and jobs become files that are kept: the store, the blobs and the studio in one place.

The command line and the server take orders here; workers, in whatever process they live, do them here.
"""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from reelwright.errors import BadStoryboard, DiskFull, ReelwrightError, RequestError
from reelwright.jobs.blobs import Blobs, open_blobs
from reelwright.jobs.database import Database, Transaction
from reelwright.jobs.ledger import Ledger, StoredAsset
from reelwright.jobs.messages import Messenger
from reelwright.jobs.results import locked
from reelwright.jobs.rows import Job, NewJob, new_id
from reelwright.jobs.store import Store
from reelwright.jobs.worker import JobRun, Outcome
from reelwright.media.decode import first_frame
from reelwright.media.encode import Encoding
from reelwright.media.stills import save_picture
from reelwright.references import with_assets
from reelwright.request import GenerationRequest
from reelwright.settings import Settings, current
from reelwright.storyboard import Storyboard, Title, plain
from reelwright.storyfile import validated
from reelwright.studio import Result, Studio
from reelwright.types import Frame

GENERATE, FILM, SCENE = "generate", "film", "scene"
"""Kinds of jobs: a clip of a request, a storyboard's film, one scene of it."""
_SPARE = 500 * 1024**2
"""Bytes that have to be free before a job starts."""
_PREVIEW = 512
"""px, the longer side of a preview."""


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
        self.ledger = Ledger(self.store)
        self.folder = self.settings.data_folder.expanduser()
        self.blobs: Blobs = open_blobs(self.settings.blobs_url, self.settings.cache_folder / "blobs")
        self.studio = Studio(self.settings)
        self._messenger = Messenger(self.settings.queue) if self.settings.queue else None

    def announce(self, older_than: float = 3600.0) -> None:
        """Tell workers of queued jobs that they were never told of, or not for so many seconds.

        Without a broker they look themselves.
        """
        if self._messenger is not None:
            self._messenger.announce(self.store.undispatched(older_than))

    def close(self) -> None:
        """Let the database go."""
        self.database.close()

    # ---- orders

    def generate(self, request: GenerationRequest, order: Order | None = None) -> Job:
        """Order a clip; raises what resolving raises: UnknownModel, Unsupported, RequestError, MissingAsset."""
        order = order or Order()
        shot, _ = self.studio.shot(request, self._finder(order.owner))
        content = {"request": TypeAdapter(GenerationRequest).dump_python(request, mode="json", exclude_defaults=True)}
        seconds, _ = self.studio.estimate(shot)
        new = NewJob(
            GENERATE, {**content, **order.content}, shot.lane, shot.card.id, order.owner, order.priority, estimate=seconds
        )
        return self._submit([new], order)

    def film(self, board: Storyboard, order: Order | None = None) -> Job:
        """Order a film: a job for each scene that a model has to make, and one that puts the film together.

        Raises BadStoryboard with everything that would stop it.
        """
        order = order or Order()
        hold_references(board)
        made_of = self.studio.orders(board, self._finder(order.owner))
        content = {"storyboard": plain(board), **order.content}
        root = new_id("job")
        scenes: dict[int, NewJob] = {}
        for index in made_of.order:
            shot = made_of.shots[index]
            if shot is None:
                continue
            source = board.source_of(index)
            needs = (scenes[source].id,) if source in scenes else ()
            scenes[index] = NewJob(
                SCENE, {"scene": index, "storyboard": plain(board)}, shot.lane, shot.card.id, order.owner, order.priority,
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
        if order.call is None:
            return self.store.submit(jobs)[0]
        key, body = order.call
        if (before := self.ledger.replay(order.owner, key, body)) is not None:
            return self.store.get(before)

        def note(connection: Transaction) -> None:
            self.ledger.note_call(connection, order.owner, key, body, jobs[0].id)

        return self.store.submit(jobs, note)[0]

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

    def _finder(self, owner: str) -> Callable[[str], Path]:
        return lambda ref: self.file(self.ledger.asset(ref, owner))

    def preview_place(self, job: str) -> Path:
        """Where the last preview of a job lies."""
        return self.folder / "previews" / f"{job}.jpg"

    def preview(self, job: Job, frame: Frame) -> None:
        """Keep a picture of a job's result so far."""
        place = self.preview_place(job.id)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.stem}.part.jpg")
        save_picture(frame.rgb, part, min(_PREVIEW, frame.width))
        part.replace(place)

    # ---- what workers do

    def find(self, job: Job, ref: str) -> Path:
        """The file behind a reference of a job."""
        return self._finder(job.owner)(ref)

    def perform(self, job: Job, run: JobRun) -> Outcome:
        """Do a job."""
        free = shutil.disk_usage(self.settings.cache_folder if self.settings.cache_folder.exists() else Path.home()).free
        if free < _SPARE:
            raise DiskFull(f"less than {_SPARE // 2**20} MiB are free", hint="Free some space, or run `reel clean`.")
        try:
            return {GENERATE: self._generate, FILM: self._film, SCENE: self._scene}[job.kind](job, run)
        except KeyError:
            raise RequestError(f"this version knows no job of kind {job.kind!r}", hint="Update the worker.") from None

    def _generate(self, job: Job, run: JobRun) -> Outcome:
        request = TypeAdapter(GenerationRequest).validate_python(job.content["request"])
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            made = self.studio.generate(request, *_file(job, scratch), run)
            return self._outcome(job, made)

    def _film(self, job: Job, run: JobRun) -> Outcome:
        board = validated(job.content["storyboard"])
        self._bring(job)
        with TemporaryDirectory(prefix="reelwright-") as made_in:
            scratch = Path(made_in)
            path, encoding = _file(job, scratch)
            made = self.studio.render(board, path, None, encoding, run)
            return self._outcome(job, made)

    def _scene(self, job: Job, run: JobRun) -> Outcome:
        board = validated(job.content["storyboard"])
        self._bring(job)
        made = self.studio.make_scene(board, int(job.content["scene"]), run)
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
    how = dict(job.content.get("file", {}))
    return folder / f"film{how.pop('ending', '.mp4')}", Encoding(**how)


def hold_references(board: Storyboard) -> None:
    """Raise BadStoryboard if a storyboard from outside names files of this machine: it may name assets only."""
    problems = [f"{where}: {ref[:200]!r} is not an asset" for where, ref in _references(board) if not ref.startswith("asset_")]
    fonts = [style.font for style in _styles(board) if style is not None and style.font is not None]
    problems += [f"the font {font[:200]!r} is a file" for font in fonts if "/" in font or "\\" in font or "." in font]
    if problems:
        raise BadStoryboard(problems[0], hint="Upload the file and name the asset.", problems=problems)


def _references(board: Storyboard) -> Iterator[tuple[str, str]]:
    for index, scene in enumerate(board.scenes):
        where = f"scene {board.name(index)}"
        if scene.image is not None and board.source_of(index) is None:
            yield where, scene.image
        for ref in (scene.clip, scene.narration):
            if ref is not None:
                yield where, ref
    for ref in (getattr(board.sound, "file", None), board.subtitles):
        if ref is not None:
            yield "the film", ref


def _styles(board: Storyboard) -> Iterator[Any]:
    yield from (board.letters, board.titles)
    yield from (scene.title.style for scene in board.scenes if isinstance(scene.title, Title))
