"""The one place where everything is put together: requests and storyboards in, films out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from reelwright import catalog, manifest, settings
from reelwright.backends.local import preflight
from reelwright.catalog import Shot
from reelwright.compose import Cut, Film
from reelwright.errors import BadStoryboard, MediaError, RequestError
from reelwright.jobs.asking import Instead
from reelwright.jobs.direction import Direction, order
from reelwright.jobs.measured import Speeds
from reelwright.jobs.perform import Rendered, in_segments, render, segment_settings, settled, side_by_side
from reelwright.jobs.results import Results
from reelwright.jobs.routing import AUTO
from reelwright.jobs.takes import DRAWN_PACE, Planned, Takes
from reelwright.media import fonts
from reelwright.media.copying import copy_whole
from reelwright.media.encode import Encoding
from reelwright.request import PRESETS, GenerationRequest
from reelwright.run import FoundRun, LocalRun
from reelwright.storyboard import FINAL, Storyboard, TransitionSpec, by_other, plain, profiled
from reelwright.types import Role, VideoSpec

_REQUEST = TypeAdapter(GenerationRequest)


@dataclass(frozen=True)
class Result:
    """A file that was made.

    `path` where it is; `spec` its size, rate and length; `manifest` what it was made from; `notes` what the person
    should know; `made` and `reused`: segments rendered now, and found from before.
    """

    path: Path
    spec: VideoSpec
    manifest: dict[str, Any]
    notes: tuple[str, ...] = ()
    made: int = 1
    reused: int = 0


@dataclass(frozen=True)
class ScenePlan:
    """What will happen to a scene: `state` is "drawn", "kept" (made before), "make" (a model works) or "clip"."""

    name: str
    model: str | None
    state: str
    seconds: float
    frames: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What rendering a storyboard will do.

    `estimate`: seconds of work; `measured`: whether it rests on this machine's own speed throughout. `segments` in
    all, `reused` of them are there already.
    """

    title: str
    spec: VideoSpec
    scenes: tuple[ScenePlan, ...]
    segments: int
    reused: int
    estimate: float
    measured: bool
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        content = asdict(self)
        content["spec"] = spec_json(self.spec)
        return content


@dataclass(frozen=True)
class Orders:
    """The scenes of a film in the order of their making, and for each (by its number) the shot that a model has to make,
    or None; `estimate`: seconds that putting the film together will take. `board`: with the models that serve, and `instead`
    of which ones."""

    order: tuple[int, ...]
    shots: tuple[Shot | None, ...]
    estimate: float
    board: Storyboard
    instead: Mapping[int, Instead]


def spec_json(spec: VideoSpec) -> dict[str, Any]:
    """A spec as JSON values."""
    return {
        "width": spec.width,
        "height": spec.height,
        "fps": str(spec.fps),
        "frames": spec.frames,
        "seconds": round(float(spec.seconds), 3),
        "audio": spec.audio,
    }


@dataclass
class Studio:
    """Makes clips and films with the settings it is given.

    `anything`: whether a model may be named by a folder, a file or a hub id; a server only serves what has a card.
    """

    settings: settings.Settings = field(default_factory=settings.current)
    anything: bool = True

    def __post_init__(self) -> None:
        folder = self.settings.cache_folder
        self.results = Results(folder, round(self.settings.cache_limit_gb * 1e9))
        self.speeds = Speeds(folder)

    # ---- one clip

    def generate(
        self,
        request: GenerationRequest,
        output: Path,
        encoding: Encoding | None = None,
        run: LocalRun | None = None,
        instead: Instead | None = None,
    ) -> Result:
        """What a model makes of the request, written to `output`.

        The model is the request's, or the default for text or image; `instead` of which one, if that was settled before.
        Raises what resolving and the backend raise.
        """
        run = run or LocalRun()
        output = Path(output)
        encoding = encoding or Encoding()
        encoding.codec_for(output)
        _hold_place(output)
        takes = self._takes(run, film=False)
        try:
            model = request.model or self._defaults()[1 if request.inputs else 0]

            first, told = takes.usable(model, request)
            if told:
                instead = Instead(model if instead is None else instead.asked, told[0])

            def with_card(card: catalog.Card) -> Planned:
                as_asked = card is first and (not told or model == AUTO)
                own = request if as_asked else _for_other(request, card)
                return takes.of_request(self._filled(own, card), card, None, "1", {})

            frames_only = ("placeholder",) if first.backend == "keyframes" else ()  # a frame that fails is drawn (M2)
            planned = takes.made(with_card(first).told(instead), with_card, frames_only)
            assert planned.shot is not None
            shot = planned.shot
            film = Film((Cut(planned.take, TransitionSpec()),), shot.width, shot.height, shot.fps)
            content = {"kind": "clip", "request": _request_json(request, model), "inputs": self._relative(planned.inputs, run)}
            for note in planned.notes:
                run.note(note)
            if not planned.drawn and encoding == Encoding() and in_segments(output, encoding):
                kept = self.results.path(shot.fingerprint, ".mp4")
                return self._finish(film, output, encoding, run, content, [planned], request.prompt, kept)
            rated = self._rated(encoding, film.spec, planned.drawn)
            return self._finish(film, output, rated, run, content, [planned], request.prompt)
        finally:
            takes.close()
            run.close()

    def _takes(self, run: LocalRun, *, film: bool = True) -> Takes:
        if isinstance(run, FoundRun):
            run.own = self.results.folder
        chain = self.fallback if film else self.settings.fallback
        largest = self.settings.max_video_file_size
        return Takes(self.results, self.speeds, run, fallback=chain, largest=largest, anything=self.anything, known=self.settings)

    @property
    def fallback(self) -> tuple[str, ...]:
        """The models that serve a film's scene when its own fails."""
        return tuple(dict.fromkeys((*self.settings.fallback, "placeholder")))

    def _filled(self, request: GenerationRequest, card: catalog.Card) -> GenerationRequest:
        """The request with the operator's defaults and limits."""
        if request.seconds is not None and request.seconds > self.settings.max_video_duration:
            raise RequestError(
                f"a clip lasts at most {self.settings.max_video_duration:g} s, not {request.seconds:g}",
                hint="Make it shorter, use several scenes, or raise MAX_VIDEO_DURATION.",
                field="seconds",
            )
        fps = request.fps if request.fps is not None else self.settings.video_frame_rate
        options, steps = dict(request.options), self.settings.video_inference_steps
        if steps is not None and "steps" in card.options:
            options.setdefault("steps", steps)
        width, height = request.width, request.height
        if width is None and height is None and "video_quality_preset" in self.settings.model_fields_set:
            preset = PRESETS[self.settings.video_quality_preset]
            width, height = preset.width, preset.height
            fps = float(preset.fps) if fps is None else fps
        return replace(request, fps=fps, width=width, height=height, options=options)

    def _filled_board(self, board: Storyboard) -> Storyboard:
        """The storyboard with the operator's quality and rate where it names none."""
        changes: dict[str, Any] = {}
        if board.quality is None and board.size is None and "video_quality_preset" in self.settings.model_fields_set:
            changes["quality"] = self.settings.video_quality_preset
        if board.fps is None and board.quality is None and self.settings.video_frame_rate is not None:
            changes["fps"] = self.settings.video_frame_rate
        return replace(board, **changes) if changes else board

    def model_of(self, board: Storyboard, index: int) -> str:
        """The model that a scene asks for."""
        return board.model_of(index, self._defaults())

    def _defaults(self) -> tuple[str, str]:
        return self.settings.default_text_to_video_model, self.settings.default_image_to_video_model

    def shot(self, request: GenerationRequest, find: Callable[[str], Path] | None = None) -> tuple[Shot, tuple[str, ...]]:
        """What a request comes to, with notes on what was adapted; `find` turns an input's reference into a file.

        Nothing is made. Raises what resolving raises: UnknownModel, Unsupported, RequestError, MissingAsset.
        """
        return self.settled(request, find)[1:3]

    def settled(
        self, request: GenerationRequest, find: Callable[[str], Path] | None = None
    ) -> tuple[GenerationRequest, Shot, tuple[str, ...], Instead | None]:
        """As `shot`; and the request of the model that serves it, with what was asked for if that is another one."""
        takes = self._takes(FoundRun(finder=find), film=False)
        try:
            model = request.model or self._defaults()[1 if request.inputs else 0]
            card, told = takes.usable(model, request)
            if told:
                request = replace(request if model == AUTO else _for_other(request, card), model=card.id)
            planned = takes.of_request(self._filled(request, card), card, None, "1", {})
            instead = Instead(model, told[0]) if told else None
            assert planned.shot is not None
            return request, planned.shot, planned.told(instead).notes, instead
        finally:
            takes.close()

    def estimate(self, shot: Shot) -> tuple[float, bool]:
        """Seconds that a shot will take, and whether that rests on measurements of this machine."""
        pixels = shot.width * shot.height * shot.frames
        if shot.card.instant or self.results.find(shot.fingerprint, ".mp4") is not None:
            return self.speeds.estimate("film", pixels, DRAWN_PACE)
        return self._modelled(shot)

    def _modelled(self, shot: Shot) -> tuple[float, bool]:
        """Seconds that a model will take: as measured here, else as computed from its card for this machine's device."""
        pixels = shot.width * shot.height * shot.frames
        guess = preflight.of_shot(shot, self.settings).seconds if shot.card.backend == "diffusers" else 2.0 * pixels / 1e6
        return self.speeds.estimate(shot.card.id, pixels, guess * 1e6 / pixels)

    # ---- a film

    def orders(self, board: Storyboard, find: Callable[[str], Path] | None = None) -> Orders:
        """What a storyboard's film is made of, in the order in which scenes have to be made.

        Nothing is made. Raises BadStoryboard with everything that would stop it.
        """
        run = FoundRun(finder=find)
        takes = self._takes(run)
        try:
            direction = Direction(self._filled_board(board), takes, run, self._defaults())
            if problems := direction.problems():
                raise BadStoryboard(problems[0], hint=" ".join(problems[1:]), problems=list(problems))
            planned = direction.planned()
            film = direction.film(planned)
            shots = tuple(None if scene.shot is None or scene.drawn else scene.shot for scene in planned)
            pixels = film.width * film.height * film.spec.frames
            instead = {i: Instead(each.asked or "", each.why) for i, each in enumerate(planned) if each.why}
            scenes = list(board.scenes)
            for i, each in instead.items():
                served = str(planned[i].served)
                scenes[i] = replace(scenes[i], model=served) if each.asked == AUTO else by_other(scenes[i], served)[0]
            board = replace(board, scenes=tuple(scenes))
            estimate = self.speeds.estimate("film", pixels, DRAWN_PACE)[0]
            return Orders(tuple(order(board)), shots, estimate, board, instead)
        finally:
            takes.close()

    def render(
        self,
        board: Storyboard,
        output: Path,
        folder: Path | None = None,
        encoding: Encoding | None = None,
        run: LocalRun | None = None,
        profile: str = FINAL,
        instead: Mapping[int, Instead] | None = None,
    ) -> Result:
        """The storyboard as a film, written to `output`; files that it names are looked for from `folder`.

        `profile`: one of its ways to be made; in a draft, scenes that are final already stand as they are.
        `instead`: scenes whose models are others than were asked for.

        Scenes and segments that were made before are used again. Raises BadStoryboard, MissingAsset, MediaError and
        what models raise; a model that fails is replaced by the placeholder, and a note says so.
        """
        run = run or LocalRun()
        run.folder = folder or Path()
        output = Path(output)
        encoding = encoding or Encoding()
        encoding.codec_for(output)
        _hold_place(output)
        takes = self._takes(run)
        try:
            final = None if profile == FINAL else self._filled_board(board)
            written_board, board = board, self._filled_board(profiled(board, profile))
            direction = Direction(board, takes, run, self._defaults(), final, instead or {})
            planned = direction.planned()
            direction.film(planned)  # what would stop the film stops it before a model works
            direction.make(planned)
            film = direction.film(planned)
            for note in (*_lost(written_board, board), *(note for scene in planned for note in scene.notes)):
                run.note(note)
            written = "".join(dict.fromkeys(c for cut in film.cuts for word in cut.words for c in word.text))
            if lacking := fonts.missing(written + "".join(dict.fromkeys(c for text in film.subtitles for c in text.text))):
                run.note(fonts.missing_note(lacking))
            inputs = self._relative({ref: known for scene in planned for ref, known in scene.inputs.items()}, run)
            content = {"kind": "film", "storyboard": plain(board), "inputs": {**inputs, **self._other_inputs(board, takes)}}
            drawn = all(scene.drawn for scene in planned)
            rated = self._rated(encoding, film.spec, drawn, board)
            return self._finish(film, output, rated, run, content, planned, board.title)
        finally:
            takes.close()
            run.close()

    def make_scene(
        self, board: Storyboard, index: int, run: LocalRun, instead: Mapping[int, Instead] | None = None
    ) -> tuple[str, Path] | None:
        """Have a model make one scene of a storyboard, as `render` would; its key and where it is kept.

        None if nothing of it has to be kept: a clip, or a scene of an instant model. Raises what the model raises.
        """
        takes = self._takes(run, film=False)
        try:
            board = self._filled_board(board)
            direction = Direction(board, takes, run, self._defaults(), instead=instead or {})
            planned = direction.planned()
            scene, source = planned[index], board.source_of(index)
            if scene.shot is None or scene.drawn:
                return None
            chain: list[Planned] = []
            while source is not None:
                chain.append(planned[source])
                source = board.source_of(source) if planned[source].drawn else None  # what is kept has its last frame in it
            for each in reversed(chain):
                each.last_frame()
            takes.attempt(scene)
            for note in scene.notes:
                run.note(note)
            return scene.shot.fingerprint, self.results.path(scene.shot.fingerprint, ".mp4")
        finally:
            takes.close()
            run.close()

    def plan(
        self,
        board: Storyboard,
        folder: Path | None = None,
        ending: str = ".mp4",
        find: Callable[[str], Path] | None = None,
        profile: str = FINAL,
    ) -> Plan:
        """What rendering would do, without doing it; `find` turns references into files, if they are no files themselves."""
        run = FoundRun(folder=folder or Path(), finder=find)
        takes = self._takes(run)
        try:
            final = None if profile == FINAL else self._filled_board(board)
            board = self._filled_board(profiled(board, profile))
            direction = Direction(board, takes, run, self._defaults(), final)
            planned = direction.planned()
            film = direction.film(planned)
        finally:
            takes.close()
        encoding = self._rated(Encoding(), film.spec, all(scene.drawn for scene in planned), board)
        missing, count = film.spec.frames, 1
        reused = 0
        if in_segments(Path(f"film{ending}"), encoding):
            encoding = settled(encoding, film.spec, side_by_side(film.spec, self.settings.workers))
            segments = film.segments(segment_settings(encoding))
            left = [segment for segment in segments if self.results.find(segment.key, ".mp4") is None]
            missing, count, reused = sum(each.spec.frames for each in left), len(segments), len(segments) - len(left)
        estimate, measured = self.speeds.estimate("film", film.width * film.height * missing, DRAWN_PACE)
        for scene in planned:
            if not scene.ready and scene.shot is not None:
                seconds, known = self._modelled(scene.shot)
                estimate, measured = estimate + seconds, measured and known
        scenes = tuple(_scene_plan(scene, film.fps) for scene in planned)
        return Plan(board.title, film.spec, scenes, count, reused, estimate, measured, self.advice(board))

    def advice(self, board: Storyboard) -> tuple[str, ...]:
        """Warnings that do not stop a film: vague prompts, each with its scene."""
        from reelwright.request import advice

        return tuple(f"Scene {board.name(i)}: {text}" for i, scene in enumerate(board.scenes) for text in advice(scene.prompt))

    def check(self, board: Storyboard, folder: Path | None = None, find: Callable[[str], Path] | None = None) -> tuple[str, ...]:
        """Everything that would stop the film beyond its form: missing files, unknown models, options out of range."""
        run = FoundRun(folder=folder or Path(), finder=find)
        takes = self._takes(run)
        try:
            return Direction(board, takes, run, self._defaults()).problems()
        finally:
            takes.close()

    def _rated(self, encoding: Encoding, spec: VideoSpec, drawn: bool, board: Storyboard | None = None) -> Encoding:
        """The encoding with the preset's bitrate as its ceiling, or one that goes with the number of pixels."""
        if encoding.bitrate is None and encoding.rate == "capped":
            plain_preset = board is not None and board.size is None and board.fps is None
            if plain_preset and board is not None:
                bitrate = PRESETS[board.preset].bitrate
            else:  # three quarters of a power: twice the pixels need less than twice the bits
                bitrate = round(3000 * (spec.width * spec.height * float(spec.fps) / (1280 * 720 * 30)) ** 0.75)
            encoding = replace(encoding, bitrate=max(100, bitrate))
        return encoding if drawn or encoding.speed != "drawn" else replace(encoding, speed="filmed")

    def _relative(self, inputs: dict[str, str], run: LocalRun) -> dict[str, str]:
        return {ref: known for ref, known in inputs.items() if (run.folder / ref).is_file()}

    def _other_inputs(self, board: Storyboard, takes: Takes) -> dict[str, str]:
        refs = [getattr(board.sound, "file", None), board.subtitles]
        return {ref: takes.digest(ref) for ref in refs if ref is not None}

    def _finish(
        self,
        film: Film,
        output: Path,
        encoding: Encoding,
        run: LocalRun,
        content: dict[str, Any],
        planned: Sequence[Planned],
        title: str,
        kept: Path | None = None,
    ) -> Result:
        """Render the film with its manifest inside and beside it.

        `kept`: a file that is the film already; its packets are copied, for a second encoding would cost time and quality.
        """
        content |= {
            "spec": spec_json(film.spec),
            "encoding": manifest.facts(encoding),
            "scenes": [_scene_json(scene) for scene in planned],
            "versions": manifest.versions(),
            "notes": list(run.notes),
        }
        encoding = replace(encoding, metadata={**manifest.tags(content, title[:200]), **encoding.metadata})
        if kept is not None and copy_whole(kept, output, encoding):
            rendered = Rendered(1, 0)
        else:
            rendered = render(film, output, encoding, self.results, self.speeds, run, self.settings.workers)
        content["notes"] = list(run.notes)
        # Only beside: how long it took and what it cost does not belong to the film, which is the same each time.
        content |= {name: run.memory[name] for name in ("work", "cost") if run.memory.get(name)}
        if content["inputs"]:  # only beside: the film itself is the same wherever it lies
            content["folder"] = _way(output.parent, run.folder)
        manifest.write(content, output)
        self.results.trim()
        return Result(output, film.spec, content, tuple(run.notes), rendered.segments - rendered.reused, rendered.reused)

    def again(self, path: Path, output: Path, run: LocalRun | None = None) -> Result:
        """Make the file at `path` anew from its manifest; raises MediaError (none), MissingAsset (inputs gone or changed)."""
        from reelwright.storyfile import validated

        content = manifest.read(path)
        folder = manifest.folder(content, path)
        manifest.hold_inputs(content, folder)
        from pydantic import ValidationError

        try:
            encoding = Encoding(**{name: value for name, value in content["encoding"].items() if name != "threads"})
            board = validated(content["storyboard"]) if content["kind"] == "film" else None
            request = _REQUEST.validate_python(content["request"]) if board is None else None
        except (KeyError, TypeError, ValidationError) as error:
            raise MediaError(f"the manifest of {path.name} is damaged: {error}", file=path.name) from None
        if board is not None:
            return self.render(board, output, folder, encoding, run)
        assert request is not None
        run = run or LocalRun()
        run.folder = folder
        return self.generate(request, output, encoding, run)


def _hold_place(output: Path) -> None:
    """Find out before the work whether its result can be written."""
    if output.is_dir():
        raise RequestError(f"{output} is a folder", hint="Name a file in it.", field="output")
    if not output.parent.is_dir():
        hint = "Create it first, or choose another place with -o."
        raise RequestError(f"the folder {output.parent} does not exist", hint=hint, field="output")
    if not os.access(output.parent, os.W_OK):
        raise RequestError(
            f"the folder {output.parent} cannot be written to", hint="Choose another place with -o.", field="output"
        )


def _for_other(request: GenerationRequest, card: catalog.Card) -> GenerationRequest:
    """The request without what only the model knows that it was meant for."""
    known = {name: each for name, each in request.options.items() if name in (*card.options, "camera", "effect")}
    roles = frozenset(given.role for given in request.inputs)
    first = tuple(given for given in request.inputs if given.role is Role.FIRST_FRAME)
    inputs = request.inputs if card.takes(roles) or not request.prompt.strip() else first
    return replace(request, options=known, loras=(), inputs=inputs)


def _lost(before: Storyboard, after: Storyboard) -> Iterator[str]:
    """Notes on what scenes lose because a profile has other models make them."""
    for index, (own, other) in enumerate(zip(before.scenes, after.scenes, strict=True)):
        if own.model != other.model and other.model is not None and (gone := by_other(own, other.model)[1]):
            yield f"Scene {after.name(index)} is made by {other.model} without {gone}."


def _way(start: Path, end: Path) -> str:
    """The way from folder to folder; the whole path if there is none (another drive)."""
    try:
        return Path(os.path.relpath(end.resolve(), start.resolve())).as_posix()
    except ValueError:
        return end.resolve().as_posix()


def _scene_plan(scene: Planned, fps: Fraction) -> ScenePlan:
    state = "clip" if scene.shot is None else "drawn" if scene.drawn else "kept" if scene.ready else "make"
    return ScenePlan(scene.name, scene.asked, state, round(float(scene.take.frames / fps), 3), scene.take.frames, scene.notes)


def _scene_json(scene: Planned) -> dict[str, Any]:
    content: dict[str, Any] = {"name": scene.name, "frames": scene.take.frames, "key": scene.take.key}
    if scene.shot is not None:
        content |= {"asked": scene.asked, "served": scene.served, "fingerprint": scene.shot.fingerprint, "shot": scene.shot.facts}
        content |= {"why": scene.why} if scene.why else {}
    return json.loads(json.dumps(content))  # type: ignore[no-any-return]  # plain values only


def _request_json(request: GenerationRequest, model: str) -> dict[str, Any]:
    content: dict[str, Any] = _REQUEST.dump_python(replace(request, model=model), mode="json")
    return {name: value for name, value in content.items() if value not in (None, "", [], {})}
