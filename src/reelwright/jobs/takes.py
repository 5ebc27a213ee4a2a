"""Scenes become takes: files are opened, models are asked, and what they made is kept by its fingerprint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelwright import plugins
from reelwright.backends.describing import described
from reelwright.backends.sections import Sections
from reelwright.catalog import Card, Shot, find, resolve
from reelwright.catalog.shot import digest, fingerprint
from reelwright.compose import Samples, Take
from reelwright.errors import (
    BackendError,
    Cancelled,
    DiskFull,
    ReelwrightError,
    RequestError,
    TooLarge,
    Unavailable,
    UnknownModel,
)
from reelwright.jobs.asking import ORDERED, Instead, alive, options_of, orders, with_references
from reelwright.jobs.measured import Speeds
from reelwright.jobs.results import Results
from reelwright.jobs.routing import AUTO, routed
from reelwright.media import camera, edit, grade, sound
from reelwright.media.decode import open_video
from reelwright.media.encode import Encoding, save
from reelwright.media.stills import save_picture
from reelwright.request import GenerationRequest, Input
from reelwright.run import LocalRun
from reelwright.settings import Settings, config_folder, current
from reelwright.storyboard import Scene, Storyboard, with_other
from reelwright.types import Chunk, Role, Video, VideoSpec

KEPT = Encoding(codec="h264", speed="veryfast", crf=12)
"""How a model's clips are kept: nothing is seen of the loss, and films are encoded from them."""
DRAWN_PACE = 0.006
"""Seconds per million pixels of an animatic on two cores, until this machine has been measured."""


@dataclass(frozen=True)
class Planned:
    """A scene with everything decided: its take, and what is told about it.

    `asked`, `served`: model ids, None for clips. `shot` is None for clips. `drawn`: made while the film is encoded.
    `ready`: nothing of it has to be generated first. `why`: why another model serves than the one that was asked for.
    """

    name: str
    take: Take
    asked: str | None
    served: str | None
    shot: Shot | None
    drawn: bool
    ready: bool
    make: Callable[[], None]
    last_frame: Callable[[], Path]
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    why: str = ""

    def told(self, instead: Instead | None) -> Planned:
        """The same, telling that another model was asked for."""
        if instead is None:
            return self
        return replace(self, asked=instead.asked, why=instead.why, notes=(*self.notes, instead.why))


class Takes:
    """Plans and makes takes for films of one size and rate.

    `fallback`: models that serve, in this order, when the one that was asked for fails (M14). `largest`: bytes of an input.
    `anything`: whether a model may be a folder, a file or a hub id that has no card.
    """

    def __init__(
        self,
        results: Results,
        speeds: Speeds,
        run: LocalRun,
        *,
        fallback: Sequence[str] = ("placeholder",),
        largest: float = float("inf"),
        anything: bool = True,
        known: Settings | None = None,
    ) -> None:
        self._results, self._speeds, self._run, self._largest = results, speeds, run, largest
        self._fallback, self._anything, self._settings = tuple(fallback), anything, known or current()
        self._chosen = set(self._fallback) != {"placeholder"}  # a mistyped name is told, unless somebody chose what serves then
        # Drawn takes are read by several threads, within the film's own progress: their steps only ask for a cancel.
        self._quiet = replace(run, on_progress=None)
        self._backends: dict[str, Any] = {}
        self._digests: dict[str, str] = {}

    def close(self) -> None:
        """Let the models go."""
        for backend in self._backends.values():
            backend.close()
        self._backends.clear()

    def card(self, name: str) -> Card:
        """The card of this id; of a folder, a file or a hub id without one, a card made on the fly. Raises UnknownModel."""
        try:
            return find(name)
        except UnknownModel:
            if not self._anything or not ("/" in name or "\\" in name or Path(name).exists()):
                raise
        return described(name, self._settings)

    def usable(self, name: str, request: GenerationRequest) -> tuple[Card, tuple[str, ...]]:
        """The card of this name, `auto` being one of the routes; if it has none, or its model cannot be used at all, the first
        of the fallback that was set, with a note. Raises what `card` and the backend's check raise if none was set."""
        if name == AUTO:
            return routed(request, self._settings, self.backend)
        try:
            card = self.card(name)
            self.backend(card)
            return card, ()
        except (UnknownModel, BackendError, Unavailable) as error:
            for other in self._fallback if self._chosen else ():
                with suppress(RequestError, BackendError, Unavailable):
                    card = self.card(other)
                    self.backend(card)
                    return card, (f"{name} cannot be used ({error.message}); {card.id} stands in for it.",)
            raise

    def backend(self, card: Card) -> Any:
        """The card's backend, checked; loaded on first use."""
        if card.backend not in self._backends:
            self._backends[card.backend] = Sections(plugins.make_backend(card.backend, self._settings))
        backend = self._backends[card.backend]
        backend.check(card)
        return backend

    def digest(self, ref: str) -> str:
        """SHA-256 of an input's content, computed once."""
        if ref not in self._digests:
            own = Path(ref).parent == config_folder() / "loras"  # one that is installed is no asset of anybody
            path = Path(ref) if own else self._run.fetch(ref)
            if not own and path.stat().st_size > self._largest:
                size, most = path.stat().st_size / 1e6, self._largest / 1e6
                raise TooLarge(
                    f"{path.name} has {size:.1f} MB, more than the {most:.1f} MB that are taken",
                    hint="Make it smaller, or raise MAX_VIDEO_FILE_SIZE.",
                    ref=ref,
                )
            self._digests[ref] = digest(path)
        return self._digests[ref]

    # ---- a request

    def of_request(
        self, request: GenerationRequest, card: Card, spec: VideoSpec | None, name: str, made: dict[str, str]
    ) -> Planned:
        """A take of what a model makes; of the film's `spec`, or as the model makes it if None.

        `made`: digests of inputs that do not exist yet (last frames of other scenes), by reference.
        """
        shot, notes = resolve(request, card, lambda ref: made.get(ref) or self.digest(ref))
        self.backend(card)
        own = VideoSpec(shot.width, shot.height, shot.fps, shot.frames, card.audio)
        spec = spec or own
        key = fingerprint([shot.fingerprint, spec.width, spec.height, str(spec.fps), spec.frames])
        inputs = {given.ref: given.digest for given in shot.inputs if given.ref not in made}
        if card.instant:
            as_drawn = (own.width, own.height, own.fps, own.frames) == (spec.width, spec.height, spec.fps, spec.frames)
            take = Take(lambda: edit.conform(self._generate(shot), spec), spec.frames, key, skips=as_drawn)

            def last() -> Path:
                return self._last_frame(key, lambda: self._generate(_unlabelled(shot)))

            return Planned(name, take, card.id, card.id, shot, True, True, _nothing, last, notes, inputs)
        kept = self._results.path(shot.fingerprint, ".mp4")
        heard: Samples | None = (lambda: sound.decode(kept)) if card.audio else None
        take = Take(lambda: edit.conform(open_video(kept, audio=False), spec), spec.frames, key, heard)
        ready = self._results.find(shot.fingerprint, ".mp4") is not None
        return Planned(
            name,
            take,
            card.id,
            card.id,
            shot,
            False,
            ready,
            lambda: self._make(shot),
            lambda: self._last_frame(key, take.open),
            notes,
            inputs,
        )

    def _generate(self, shot: Shot) -> Video:
        run = self._quiet if shot.card.instant else self._run
        video: Video = self.backend(shot.card).generate(shot, run)
        return video

    def _still_wanted(self) -> None:
        if self._run.cancelled:
            raise Cancelled

    def _make(self, shot: Shot) -> None:
        """Have the model make the shot, unless it was made before."""

        def write(part: Path) -> None:
            began = time.monotonic()
            try:
                save(self._generate(shot), part, KEPT, lambda done, total: self._run.step(done, total, "encode"))
            except (ReelwrightError, OSError):
                raise
            except Exception as error:  # a model's own failure, whatever it is called there
                raise BackendError(f"{type(error).__name__}: {error}", model=shot.card.id) from error
            self._speeds.learn(shot.card.id, shot.width * shot.height * shot.frames, time.monotonic() - began)

        self._results.make(shot.fingerprint, ".mp4", write, self._still_wanted)

    def _last_frame(self, key: str, start: Callable[[], Video]) -> Path:
        def write(part: Path) -> None:
            with start() as video:
                edit.skip(video.frames, video.spec.frames - 1)
                save_picture(next(video.frames).rgb, part)

        return self._results.make(fingerprint([key, "last frame"]), ".png", write)

    # ---- a storyboard's scene

    def of_scene(
        self,
        board: Storyboard,
        index: int,
        earlier: Mapping[int, Planned],
        models: tuple[str, str],
        film: VideoSpec | None = None,
        stands_in: bool = False,
    ) -> Planned:
        """A take of scene `index`; `earlier` holds the scenes it may start from, `models` the defaults (text, image).

        `film`: what the take is brought to, if that is not the storyboard's own size and rate. `stands_in`: the scene's model
        is not the one that was asked for, for which the film's LoRAs were meant.
        """
        scene, (width, height) = board.scenes[index], board.dimensions
        narration = self._narration(scene)
        if scene.clip is not None:
            return self._of_clip(board, index, scene, narration)
        seconds = Fraction(str(scene.seconds or 3.0))
        spec = film or VideoSpec(width, height, board.rate, max(1, round(seconds * board.rate)))
        source = board.source_of(index)
        made: dict[str, str] = {}
        ref = scene.image
        if source is not None:
            before = earlier[source]
            ref = str(self._results.path(fingerprint([before.take.key, "last frame"]), ".png"))
            made = {ref: f"last frame of {before.take.key}"}
        inputs = (() if ref is None else (Input(Role.FIRST_FRAME, ref),)) + scene.inputs
        model = board.model_of(index, models)
        asked = GenerationRequest(
            prompt=scene.prompt, negative=board.negative if scene.negative is None else scene.negative,
            width=width, height=height, seconds=float(seconds), fps=float(board.rate),
            seed=board.seed if scene.seed is None else scene.seed, inputs=inputs, loras=scene.loras, options=scene.options,
        )  # fmt: skip
        card, instead = self.usable(model, asked)
        if instead and model != AUTO:
            other, gone = with_other(board, index, card.id)
            planned = self.of_scene(other, index, earlier, models, film, True)
            return planned.told(Instead(model, f"{instead[0]} {gone}".strip()))
        inputs, told = with_references(inputs, board, card)
        loras = (*(board.loras if card.loras and not stands_in else ()), *scene.loras)
        request = replace(asked, inputs=inputs, loras=loras, options=options_of(board, index, card))
        planned = self.of_request(request, card, spec, board.name(index), made)
        planned = replace(planned, notes=(*planned.notes, *told)).told(Instead(model, instead[0]) if instead else None)
        return self._with(planned, narration, scene.narration)

    def _with(self, planned: Planned, narration: Samples | None, ref: str | None) -> Planned:
        if narration is None or ref is None:
            return planned
        inputs = {**planned.inputs, ref: self.digest(ref)}
        return replace(planned, take=replace(planned.take, narration=narration), inputs=inputs)

    def _narration(self, scene: Scene) -> Samples | None:
        if scene.narration is None:
            return None
        path = self._run.fetch(scene.narration)
        sound.duration(path)  # a file without sound is found out now, not after the pictures are made
        return lambda: sound.decode(path)

    def _of_clip(self, board: Storyboard, index: int, scene: Scene, narration: Samples | None) -> Planned:
        """A take of an existing video: trimmed, slowed, fitted, moved over and graded."""
        assert scene.clip is not None
        path, (width, height) = self._run.fetch(scene.clip), board.dimensions
        pace = grade.pace(scene.effects)
        with open_video(path, fps=board.rate) as video:
            whole, audible = video.spec, video.spec.audio and not scene.mute
        rest = whole.seconds - Fraction(str(scene.start))
        if rest * whole.fps < Fraction(1, 2):
            raise RequestError(
                f"{scene.clip} lasts {float(whole.seconds):.2f} s and cannot start at {scene.start:g} s", field="start"
            )
        length = Fraction(str(scene.seconds)) if scene.seconds is not None else rest / Fraction(str(pace))
        spec = VideoSpec(width, height, board.rate, max(1, round(length * board.rate)))
        shown = float(min(rest, length * Fraction(str(pace))))

        def start() -> Video:
            video = edit.trim(open_video(path, fps=board.rate, audio=False), scene.start, scene.start + shown)
            video = edit.hold(edit.retime(video, pace), spec.seconds)
            video = edit.fit(video, width, height)
            return edit.exactly(grade.graded(camera.over_clip(video, scene.move), scene.effects), spec)

        def heard() -> Iterator[Chunk]:
            samples = sound.decode(path, scene.start, shown)
            return samples if pace == 1 else sound.retime(samples, pace)

        given = [self.digest(scene.clip), scene.start, shown, repr(scene.move), scene.effects]
        facts = [*given, width, height, str(board.rate), spec.frames]
        take = Take(start, spec.frames, fingerprint(facts), heard if audible else None)
        notes: tuple[str, ...] = ()
        if length > rest / Fraction(str(pace)) + Fraction(1, 2) / board.rate:
            notes = (f"The clip of scene {board.name(index)} is shorter than the scene; its last picture is held.",)
        planned = Planned(
            board.name(index), take, None, None, None, True, True, _nothing,
            lambda: self._last_frame(take.key, start), notes, {scene.clip: self.digest(scene.clip)},
        )  # fmt: skip
        return self._with(planned, narration, scene.narration)

    def attempt(self, planned: Planned) -> None:
        """Have its model make it. An error says in its details if an order of it is alive elsewhere, or may be."""
        before = orders(self._run.memory)
        try:
            planned.make()
        except (BackendError, Unavailable) as error:
            if planned.shot is not None and alive(planned.shot, before, self._run.memory):
                error.details[ORDERED] = True
            raise

    def made(self, planned: Planned, again: Callable[[Card], Planned], last: Sequence[str] = ()) -> Planned:
        """The scene once its model has made it, or the first model of the fallback that can; notes tell which and why.

        `last`: models after the fallback. Raises the last error if none can. What is wrong with the request itself, or with
        the disk, is no reason to go on, nor is an order that may still come to something.
        """
        tried, notes, current = {planned.served}, list[str](), planned
        while True:
            try:
                self.attempt(current)
                if not notes:
                    return current
                why = " ".join((*([planned.why] if planned.why else ()), *notes))
                return replace(current, asked=planned.asked, why=why, notes=(*current.notes, *notes))
            except (BackendError, Unavailable, RequestError) as error:
                theirs = isinstance(error, RequestError) and not isinstance(error, UnknownModel) and current is planned
                if isinstance(error, DiskFull) or theirs or ORDERED in error.details:
                    raise
                following = self._next((*self._fallback, *last), tried, again)
                if following is None:
                    raise
                stand_in = "the placeholder" if following.served == "placeholder" else following.served
                notes.append(f"Scene {planned.name}: {current.served} failed ({error.message}); {stand_in} stands in for it.")
                current = following

    def _next(self, names: Sequence[str], tried: set[str | None], again: Callable[[Card], Planned]) -> Planned | None:
        """The next of these models that can be asked for this scene at all."""
        for name in names:
            if name in tried:
                continue
            tried.add(name)
            try:
                return again(self.card(name))
            except (RequestError, Unavailable) as error:
                self._run.note(f"{name} cannot stand in: {error.message}.")
        return None


def _nothing() -> None:
    """Nothing has to be made."""


def _unlabelled(shot: Shot) -> Shot:
    """The shot without letters, for a scene that goes on from its last frame."""
    return replace(shot, options={**shot.options, "labels": "off"}) if "labels" in shot.options else shot
