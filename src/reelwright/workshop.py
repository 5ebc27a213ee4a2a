"""Orders become jobs, and jobs become files that are kept: the store, the blobs and the studio in one place.

The command line and the server take orders here; workers, in whatever process they live, do them here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelwright.catalog import Shot, find
from reelwright.errors import RequestError
from reelwright.fetching import Fetcher
from reelwright.jobs.database import Transaction
from reelwright.jobs.ledger import CalledBefore, StoredAsset
from reelwright.jobs.messages import Messenger
from reelwright.jobs.rows import Job, NewJob, new_id
from reelwright.jobs.webhooks import Webhooks
from reelwright.media.decode import spread
from reelwright.media.encode import Encoding
from reelwright.media.stills import save_picture, sheet
from reelwright.references import hold_references, with_assets
from reelwright.request import GenerationRequest
from reelwright.settings import Settings
from reelwright.storyboard import Storyboard, plain
from reelwright.workbench import BATCH, FILM, GENERATE, LOAD, REQUEST, SCENE, Workbench

TEXT, IMAGE = "text-to-video", "image-to-video"
"""Tasks that have a default model."""
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


class Workshop(Workbench):
    """A bench where orders are taken."""

    def __init__(self, settings: Settings | None = None, *, migrate: bool = True) -> None:
        super().__init__(settings, migrate=migrate)
        self.webhooks = Webhooks(self.store)
        self.on_order: Callable[[], None] | None = None
        """Called when there is new work."""
        self._messenger = Messenger(self.settings.queue) if self.settings.queue else None

    def announce(self, older_than: float = 3600.0) -> None:
        """Tell workers of queued jobs that they were never told of, or not for so many seconds.

        Without a broker they look themselves, and those of this process's supervisor are told to look now.
        """
        if self.on_order is not None:
            self.on_order()
        if self._messenger is not None:
            self._messenger.announce(self.store.undispatched(older_than))

    # ---- orders

    def defaults(self) -> dict[str, str]:
        """The model that is taken for a task if a request names none: what was set for this installation, else the settings'."""
        own = self.settings
        known = {TEXT: own.default_text_to_video_model, IMAGE: own.default_image_to_video_model}
        return {**known, **self.shelf.defaults()}

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
        if foreign := [lora.ref for lora in request.loras if not lora.installed]:
            raise RequestError(
                f"the LoRA {foreign[0][:200]!r} is not installed on this server",
                hint="Whoever runs it puts LoRAs into the folder `loras` of its configuration.",
                field="loras",
            )
        request, shot, _, instead = self.studio_with(defaults).settled(request, self.finder(order.owner))
        content: dict[str, Any] = {"request": REQUEST.dump_python(request, mode="json", exclude_defaults=True)}
        content |= {"defaults": defaults, **({"instead": [instead.asked, instead.why]} if instead else {})}
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
        about: dict[str, Any] = {"storyboard": plain(made_of.board), "defaults": defaults}
        if made_of.instead:
            about["instead"] = {str(index): [each.asked, each.why] for index, each in made_of.instead.items()}
        root = new_id("job")
        scenes: dict[int, NewJob] = {}
        for index in made_of.order:
            shot = made_of.shots[index]
            if shot is None:
                continue
            source = board.source_of(index)
            while source is not None and source not in scenes:  # a drawn scene starts from one that a job makes
                source = board.source_of(source)
            needs = () if source is None else (scenes[source].id,)
            scenes[index] = NewJob(
                SCENE, {"scene": index, **about}, shot.lane, shot.card.id, order.owner, order.priority,
                needs, root, self.studio.estimate(shot)[0],
            )  # fmt: skip
        film = NewJob(
            FILM, {**about, **order.content}, "cpu", None, order.owner, order.priority, tuple(job.id for job in scenes.values()),
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

    def load(self, model: str, order: Order | None = None) -> Job:
        """Order that a worker brings a model into memory. Raises UnknownModel."""
        order = order or Order(priority=10)
        card = find(model)
        size = card.sizes.native[0]
        shot = Shot(card, "", "", *size, Fraction(str(card.fps.default)), card.frames.default, 0)
        return self._submit([NewJob(LOAD, {"model": card.id}, shot.lane, card.id, order.owner, order.priority)], order)

    def deliver(self) -> bool:
        """Call one webhook that is to be called; False if none is."""
        fetcher = Fetcher(self.settings.allow_hosts)
        return self.webhooks.deliver(lambda url, body, headers: fetcher.post(url, body, headers))

    # ---- files

    def uploaded(self, board: Storyboard, folder: Path, owner: str) -> Storyboard:
        """The storyboard with every file that it names stored as an asset; raises MissingAsset."""
        return with_assets(board, folder, lambda path: self.keep(path, owner).id)

    def spritesheet(self, asset: StoredAsset) -> Path:
        """A JPEG of twelve pictures of a video, evenly spread; made once."""
        place = self.settings.cache_folder / "thumbnails" / f"{asset.digest}-sheet.jpg"
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            save_picture(sheet(spread(self.file(asset), _SHEET)), place)
        return place
