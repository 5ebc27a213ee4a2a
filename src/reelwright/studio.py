"""The one place where everything is put together: requests and storyboards in, films out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
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
from reelwright.jobs.direction import Direction, order
from reelwright.jobs.measured import Speeds
from reelwright.jobs.perform import Rendered, in_segments, render, segment_settings, settled, side_by_side
from reelwright.jobs.results import Results
from reelwright.jobs.takes import DRAWN_PACE, Planned, Takes
from reelwright.media import fonts
from reelwright.media.copying import copy_whole
from reelwright.media.encode import Encoding
from reelwright.request import PRESETS, GenerationRequest
from reelwright.run import FoundRun, LocalRun
from reelwright.storyboard import FINAL, Storyboard, TransitionSpec, plain, profiled
from reelwright.types import VideoSpec

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
    or None; `estimate`: seconds that putting the film together will take."""

    order: tuple[int, ...]
    shots: tuple[Shot | None, ...]
    estimate: float


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
        self, request: GenerationRequest, output: Path, encoding: Encoding | None = None, run: LocalRun | None = None
    ) -> Result:
        """What a model makes of the request, written to `output`.

        The model is the request's, or the default for text or image. Raises what resolving and the backend raise.
        """
        run = run or LocalRun()
        output = Path(output)
        encoding = encoding or Encoding()
        encoding.codec_for(output)
        _hold_place(output)
        takes = self._takes(run, film=False)
        try:
            model = request.model or self._defaults()[1 if request.inputs else 0]

            first, instead = takes.usable(model, request)

            def with_card(card: catalog.Card) -> Planned:
                as_asked = card is first and not instead  # another model is not asked for what only that one knows
                known = {name: each for name, each in request.options.items() if as_asked or name in (*card.options, "camera")}
                return takes.of_request(self._filled(replace(request, options=known), card), card, None, "1", {})

            planned = takes.made(with_card(first), with_card)
            if instead:
                planned = replace(planned, asked=model, notes=(*planned.notes, *instead))
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

    def _defaults(self) -> tuple[str, str]:
        return self.settings.default_text_to_video_model, self.settings.default_image_to_video_model

    def shot(self, request: GenerationRequest, find: Callable[[str], Path] | None = None) -> tuple[Shot, tuple[str, ...]]:
        """What a request comes to, with notes on what was adapted; `find` turns an input's reference into a file.

        Nothing is made. Raises what resolving raises: UnknownModel, Unsupported, RequestError, MissingAsset.
        """
        takes = self._takes(FoundRun(finder=find), film=False)
        try:
            card = takes.card(request.model or self._defaults()[1 if request.inputs else 0])
            planned = takes.of_request(self._filled(request, card), card, None, "1", {})
            assert planned.shot is not None
            return planned.shot, planned.notes
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
            board = self._filled_board(board)
            direction = Direction(board, takes, run, self._defaults())
            if problems := direction.problems():
                raise BadStoryboard(problems[0], hint=" ".join(problems[1:]), problems=list(problems))
            planned = direction.planned()
            film = direction.film(planned)
            shots = tuple(None if scene.shot is None or scene.drawn else scene.shot for scene in planned)
            pixels = film.width * film.height * film.spec.frames
            return Orders(tuple(order(board)), shots, self.speeds.estimate("film", pixels, DRAWN_PACE)[0])
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
    ) -> Result:
        """The storyboard as a film, written to `output`; files that it names are looked for from `folder`.

        `profile`: one of its ways to be made; in a draft, scenes that are final already stand as they are.

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
            board = self._filled_board(profiled(board, profile))
            direction = Direction(board, takes, run, self._defaults(), final)
            planned = direction.planned()
            direction.film(planned)  # what would stop the film stops it before a model works
            direction.make(planned)
            film = direction.film(planned)
            for scene in planned:
                for note in scene.notes:
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

    def make_scene(self, board: Storyboard, index: int, run: LocalRun) -> tuple[str, Path] | None:
        """Have a model make one scene of a storyboard, as `render` would; its key and where it is kept.

        None if nothing of it has to be kept: a clip, or a scene of an instant model. Raises what the model raises.
        """
        takes = self._takes(run, film=False)
        try:
            board = self._filled_board(board)
            direction = Direction(board, takes, run, self._defaults())
            planned = direction.planned()
            scene, source = planned[index], board.source_of(index)
            if scene.shot is None or scene.drawn:
                return None
            if source is not None:
                planned[source].last_frame()
            scene.make()
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
    return json.loads(json.dumps(content))  # type: ignore[no-any-return]  # plain values only


def _request_json(request: GenerationRequest, model: str) -> dict[str, Any]:
    content: dict[str, Any] = _REQUEST.dump_python(replace(request, model=model), mode="json")
    return {name: value for name, value in content.items() if value not in (None, "", [], {})}
