"""A storyboard is directed: its scenes planned, made in the right order, and cut together into a film."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

from reelwright import catalog
from reelwright.compose import Cut, Film, Samples, Words, synthesised
from reelwright.errors import MissingAsset, ReelwrightError
from reelwright.jobs.asking import Instead
from reelwright.jobs.takes import Planned, Takes
from reelwright.media import captions, sound
from reelwright.media.decode import first_frame
from reelwright.media.letters import set_type
from reelwright.run import LocalRun
from reelwright.storyboard import Scene, Storyboard, Title, with_other
from reelwright.types import VideoSpec


@dataclass(frozen=True)
class Direction:
    """What one storyboard is made with: `models` are the defaults for text and for an image.

    `final`: the same film as it will be in the end; scenes of it that are made already stand in this one (M15).
    `instead`: scenes whose models in `board` are others than were asked for.
    """

    board: Storyboard
    takes: Takes
    run: LocalRun
    models: tuple[str, str]
    final: Storyboard | None = None
    instead: Mapping[int, Instead] = field(default_factory=dict)

    def planned(self) -> list[Planned]:
        """Every scene with everything decided; raises what a scene cannot be planned for, with its name."""
        found: dict[int, Planned] = {}
        final = {} if self.final is None else self._final(self.final)
        for index in order(self.board):  # what starts from a final scene starts from that one's last frame
            with _about(self.board, index):
                found[index] = final[index] if index in final else self._scene(index, found)
        return [found[index] for index in range(len(self.board.scenes))]

    def _scene(self, index: int, earlier: Mapping[int, Planned]) -> Planned:
        """A take of scene `index` of this film."""
        instead = self.instead.get(index)
        planned = self.takes.of_scene(self.board, index, earlier, self.models, stands_in=instead is not None)
        return planned.told(instead)

    def _final(self, final: Storyboard) -> dict[int, Planned]:
        """The scenes that a model has made for the final film already, at this film's size and rate."""
        width, height = self.board.dimensions
        planned: dict[int, Planned] = {}
        for index in order(final):
            seconds = Fraction(str(final.scenes[index].seconds or 3.0))
            spec = VideoSpec(width, height, self.board.rate, max(1, round(seconds * self.board.rate)))
            with suppress(ReelwrightError, KeyError):
                planned[index] = self.takes.of_scene(final, index, planned, self.models, spec)
        return {index: each for index, each in planned.items() if each.ready and not each.drawn and each.shot is not None}

    def _instead(self, index: int, planned: Sequence[Planned], card: catalog.Card) -> Planned:
        """The same scene with another model, without what was meant for the first; a note says what that was."""
        board, gone = with_other(self.board, index, card.id)
        made = self.takes.of_scene(board, index, dict(enumerate(planned)), self.models, stands_in=True)
        return replace(made, notes=(*made.notes, gone)) if gone else made

    def make(self, planned: list[Planned]) -> None:
        """Have models make what they have to, each start frame before the scene that it is for; `planned` is changed."""
        replaced: set[int] = set()
        for index in by_model(order(self.board), self.board, planned):
            with _about(self.board, index):
                source = self.board.source_of(index)
                if source is not None:
                    if source in replaced:  # it starts from another frame than was planned
                        planned[index] = self._scene(index, {source: planned[source]})
                        replaced.add(index)
                    planned[source].last_frame()
                before = planned[index]
                planned[index] = self.takes.made(before, partial(self._instead, index, planned))
                if planned[index] is not before:
                    replaced.add(index)

    def film(self, planned: Sequence[Planned]) -> Film:
        """The scenes on one timeline, with letters and sound."""
        board, (width, height) = self.board, self.board.dimensions
        cuts = tuple(
            Cut(scene.take, board.going(index), _words(board.scenes[index], board, scene.take.frames), scene.name)
            for index, scene in enumerate(planned)
        )
        subtitles = captions.read(self.run.fetch(board.subtitles)) if board.subtitles else ()
        film = Film(cuts, width, height, board.rate, subtitles=subtitles, letters=board.letters)
        track = board.sound
        if track is None or isinstance(track, str):
            return film
        if track.bed is not None:
            opened: Samples = synthesised(track.bed, float(film.spec.seconds), board.seed or 0)
            return replace(film, track=replace(track, loop=False), track_sound=opened)
        assert track.file is not None
        path = self.run.fetch(track.file)
        sound.duration(path)
        return replace(film, track=track, track_sound=lambda: sound.decode(path, track.start))

    def problems(self) -> tuple[str, ...]:
        """Everything that would stop the film beyond its form: missing files, unknown models, options out of range."""
        board, found = self.board, []
        earlier: dict[int, Planned] = {}
        for index in order(board):
            try:
                earlier[index] = self._scene(index, earlier)
            except ReelwrightError as error:
                found.append(f"Scene {board.name(index)}: {error}")
            except KeyError:
                continue  # it starts from a scene that has a problem of its own
        found += [*self._bad_pictures(), *self._bad_fonts()]
        for ref in [ref for ref in (getattr(board.sound, "file", None), board.subtitles) if ref is not None]:
            try:
                path = self.run.fetch(ref)
                _ = captions.read(path) if ref == board.subtitles else sound.duration(path)
            except ReelwrightError as error:
                found.append(str(error))
        return tuple(found)

    def _bad_pictures(self) -> Iterator[str]:
        """Pictures that are there and cannot be read."""
        for index, scene in enumerate(self.board.scenes):
            if scene.image is not None and self.board.source_of(index) is None:
                with suppress(MissingAsset):
                    path = self.run.fetch(scene.image)
                    try:
                        first_frame(path)
                    except ReelwrightError as error:
                        yield f"Scene {self.board.name(index)}: {error}"

    def _bad_fonts(self) -> Iterator[str]:
        """Fonts that are there and cannot be read."""
        own = (scene.title.style for scene in self.board.scenes if isinstance(scene.title, Title))
        for style in dict.fromkeys((self.board.letters, self.board.titles, *own)):
            if style is not None and style.font is not None:
                try:
                    set_type("a", 320, 180, style)
                except ReelwrightError as error:
                    yield str(error)


@contextmanager
def _about(board: Storyboard, index: int) -> Iterator[None]:
    """Errors in here name the scene."""
    try:
        yield
    except ReelwrightError as error:
        raise error.about(f"Scene {board.name(index)}") from None


def order(board: Storyboard) -> list[int]:
    """Scene numbers such that each comes after the one whose last frame it starts from."""
    done: dict[int, None] = {}
    for index in range(len(board.scenes)):
        chain: list[int] = []
        here: int | None = index
        while here is not None and here not in done:
            chain.append(here)
            here = board.source_of(here)
        done.update(dict.fromkeys(reversed(chain)))
    return list(done)


def by_model(indices: Sequence[int], board: Storyboard, planned: Sequence[Planned]) -> Iterator[int]:
    """The same order with scenes of one model after one another, as far as start frames allow: a model is loaded once."""
    left, done = list(indices), set[int]()
    last: str | None = None
    while left:
        ready = [index for index in left if (source := board.source_of(index)) is None or source in done]
        following = next((index for index in ready if planned[index].served == last and not planned[index].ready), ready[0])
        last = planned[following].served
        left.remove(following)
        done.add(following)
        yield following


def _words(scene: Scene, board: Storyboard, frames: int) -> tuple[Words, ...]:
    """The letters over a scene: its title for as long as it is to stand, its caption throughout."""
    made = []
    if isinstance(scene.title, Title):
        first = min(frames - 1, round(Fraction(str(scene.title.delay)) * board.rate))
        length = frames - first if scene.title.seconds is None else round(Fraction(str(scene.title.seconds)) * board.rate)
        made.append(Words(scene.title.text, scene.title.style or board.titles, first, max(1, min(length, frames - first)), True))
    if scene.caption:
        made.append(Words(scene.caption, board.letters, 0, frames))
    return tuple(made)
