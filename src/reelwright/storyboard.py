"""A film as data: scenes, transitions, titles, sound. YAML, TOML and JSON of one schema (S1-S4, S7)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len, MaxLen, MinLen

from reelwright.errors import RequestError
from reelwright.media import grade, transitions
from reelwright.media.bed import MOODS
from reelwright.media.decode import keep_rate
from reelwright.media.letters import LetterStyle
from reelwright.media.moves import Camera
from reelwright.request import PRESETS, Input, Lora
from reelwright.types import hold

VERSION = 1
"""The schema's version; `version` in a file."""
MAX_SCENES = 10_000
PREVIOUS = "previous"
"""As an image: the last frame of the scene before."""
_SIZE = re.compile(r"^\s*(\d{2,5})\s*[x×*]\s*(\d{2,5})\s*$")
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


@dataclass(frozen=True)
class TransitionSpec:
    """How a scene goes over into the next: a name, and its length in seconds (the transition's usual one if None)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    name: str = "cut"
    seconds: Annotated[float, Interval(ge=0, le=30)] | None = None

    def __post_init__(self) -> None:
        hold(self)
        object.__setattr__(self, "name", transitions.find(self.name).name)

    def frames(self, fps: Fraction) -> int:
        """Its length in frames; a cut has none."""
        kind = transitions.find(self.name)
        seconds = kind.seconds if self.seconds is None else self.seconds
        return 0 if kind.name == "cut" else max(1, round(Fraction(str(seconds)) * fps))


@dataclass(frozen=True)
class Title:
    """A title over a scene's start: `seconds` on screen (the whole scene if None), after `delay`; fades in and out."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    text: Annotated[str, MinLen(1), MaxLen(2000)]
    seconds: Annotated[float, Interval(gt=0, le=3600)] | None = None
    delay: Annotated[float, Interval(ge=0, le=3600)] = 0.0
    style: LetterStyle | None = None

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Profile:
    """How a film is made in one go of several, such as a draft: other models, another quality (M15).

    `model`: for every scene; `models`: for scenes by their names (ids, or numbers from 1). `quality`, `size`, `fps`: of the
    film. `options`: of every scene, beside its own.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    model: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    quality: Literal["draft", "standard", "high", "premium"] | None = None
    size: str | None = None
    fps: Annotated[float, Interval(ge=1, le=240)] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


DRAFT, FINAL = "draft", "final"
"""Profiles that every storyboard has: drawn scenes in draft quality, and the film as it is written."""


@dataclass(frozen=True)
class Scene:
    """One scene.

    It shows a `clip` (a video file), or what a model makes of `prompt` and, if given, an `image` (a picture file,
    "previous" for the last frame of the scene before, or "scene:ID" for that of another). `seconds`: its length,
    transitions included; a clip's own length by default, else 3. `start`: where in the clip it begins. `camera`,
    `effect`: names, or a camera with strength and easing. `transition`: into the next scene; the film's by default.
    `title`, `caption`: text over it. `narration`: a sound file heard from its start. `mute`: leave out the clip's sound.
    `inputs`: what else the model works from, such as a `last_frame`, a `control` or a `reference`. `loras`: on top of the film's.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    prompt: Annotated[str, MaxLen(20_000)] = ""
    id: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    negative: Annotated[str, MaxLen(20_000)] | None = None
    model: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    seconds: Annotated[float, Interval(gt=0, le=86_400)] | None = None
    image: Annotated[str, MinLen(1), MaxLen(4096)] | None = None
    clip: Annotated[str, MinLen(1), MaxLen(4096)] | None = None
    start: Annotated[float, Interval(ge=0, le=360_000)] = 0.0
    camera: Camera | str = field(default_factory=Camera)
    effect: tuple[str, ...] | str = ()
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    transition: TransitionSpec | str | None = None
    title: Title | str | None = None
    caption: Annotated[str, MaxLen(2000)] | None = None
    narration: Annotated[str, MinLen(1), MaxLen(4096)] | None = None
    mute: bool = False
    inputs: Annotated[tuple[Input, ...], MaxLen(32)] = ()
    loras: Annotated[tuple[Lora, ...], MaxLen(8)] = ()

    def __post_init__(self) -> None:
        hold(self)
        if self.id is not None and not re.fullmatch(_NAME, self.id):
            raise RequestError(
                f"a scene's id is made of letters, digits, dots, dashes and underscores, not {self.id!r}", field="id"
            )
        if self.clip is not None and self.image is not None:
            raise RequestError("a scene shows either a clip or an image", hint="Leave one out.", field="clip")
        if self.clip is None and self.image is None and not self.prompt.strip():
            raise RequestError("a scene needs a prompt, an image or a clip", hint="Say what is to be seen.", field="prompt")
        if isinstance(self.camera, str):
            object.__setattr__(self, "camera", Camera(self.camera))
        names = (self.effect,) if isinstance(self.effect, str) else self.effect
        object.__setattr__(self, "effect", tuple(grade.find(name).name for name in names))
        if isinstance(self.transition, str):
            object.__setattr__(self, "transition", TransitionSpec(self.transition))
        if isinstance(self.title, str):
            object.__setattr__(self, "title", Title(self.title) if self.title.strip() else None)

    @property
    def effects(self) -> tuple[str, ...]:
        """The names of its effects."""
        return tuple(self.effect)

    @property
    def move(self) -> Camera:
        """Its camera."""
        assert isinstance(self.camera, Camera)
        return self.camera


@dataclass(frozen=True)
class SoundTrack:
    """Sound under the whole film: a `file`, or a synthesised `bed` of a mood.

    `gain`: dB. `fade_in`, `fade_out`: seconds. `start`: seconds into the file. `loop`: begin again if it is too short.
    `duck`: dB by which it goes down under narration (0: not at all). `loudness`: LUFS of the finished film; None leaves
    it as mixed.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    file: Annotated[str, MinLen(1), MaxLen(4096)] | None = None
    bed: str | None = None
    gain: Annotated[float, Interval(ge=-60, le=24)] = 0.0
    fade_in: Annotated[float, Interval(ge=0, le=60)] = 0.5
    fade_out: Annotated[float, Interval(ge=0, le=60)] = 2.0
    start: Annotated[float, Interval(ge=0, le=360_000)] = 0.0
    loop: bool = True
    duck: Annotated[float, Interval(ge=-60, le=0)] = -12.0
    loudness: Annotated[float, Interval(ge=-40, le=-5)] | None = -16.0

    def __post_init__(self) -> None:
        hold(self)
        if (self.file is None) == (self.bed is None):
            raise RequestError("a sound track has a file or a bed", hint=f"Moods of beds: {', '.join(MOODS)}.", field="file")
        if self.bed is not None and self.bed not in MOODS:
            raise RequestError(f"there is no bed {self.bed!r}", hint=f"Choose one of {', '.join(MOODS)}.", field="bed")


@dataclass(frozen=True)
class Storyboard:
    """A film.

    `quality`: draft, standard, high or premium, which set size, rate and bitrate; `size` ("1280x720") and `fps` override
    it. `model`, `seed`, `transition`, `negative`: for every scene that has none of its own. `sound`: under the film.
    `references`: pictures of who or what is to look the same in every scene, for models that take them; `loras`: for every
    scene whose model takes them.
    `profiles`: ways to make it by name; there is always a "draft" and a "final".
    `letters`, `titles`: style of captions and of titles. `subtitles`: an SRT or WebVTT file burned in over the film.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  pydantic reads it from the class

    scenes: Annotated[tuple[Scene, ...], Len(1, MAX_SCENES)]
    version: Literal[1] = 1
    title: Annotated[str, MaxLen(500)] = ""
    quality: Literal["draft", "standard", "high", "premium"] | None = None
    size: str | None = None
    fps: Annotated[float, Interval(ge=1, le=240)] | None = None
    model: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    negative: Annotated[str, MaxLen(20_000)] = ""
    seed: Annotated[int, Interval(ge=0, lt=2**53)] | None = None
    transition: TransitionSpec | str = field(default_factory=TransitionSpec)
    sound: SoundTrack | str | None = None
    letters: LetterStyle = field(default_factory=LetterStyle)
    titles: LetterStyle = field(
        default_factory=lambda: LetterStyle(size=0.1, weight="bold", position="center", outline=0.0, shadow=0.8, max_lines=3)
    )
    subtitles: Annotated[str, MinLen(1), MaxLen(4096)] | None = None
    references: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(4096)], ...], MaxLen(16)] = ()
    loras: Annotated[tuple[Lora, ...], MaxLen(8)] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hold(self)
        if self.preset not in PRESETS:
            raise RequestError(
                f"there is no quality {self.quality!r}", hint=f"Choose one of {', '.join(PRESETS)}.", field="quality"
            )
        if isinstance(self.transition, str):
            object.__setattr__(self, "transition", TransitionSpec(self.transition))
        if isinstance(self.sound, str):
            beds = self.sound.removeprefix("bed:")
            object.__setattr__(self, "sound", SoundTrack(bed=beds) if beds in MOODS else SoundTrack(file=self.sound))
        width, height = self.dimensions
        if width % 2 or height % 2 or not (16 <= width <= 8192 and 16 <= height <= 8192):
            raise RequestError(f"a film's sides are even numbers of pixels from 16 to 8192, not {self.size}", field="size")
        ids = [scene.id for scene in self.scenes if scene.id is not None]
        if len(ids) != len(set(ids)):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise RequestError(f"two scenes have the id {twice!r}", field="scenes")
        self._hold_references()
        self._hold_transitions()

    @property
    def preset(self) -> str:
        """The quality preset that applies."""
        return self.quality or "standard"

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height in px."""
        if self.size is None:
            preset = PRESETS[self.preset]
            return preset.width, preset.height
        match = _SIZE.match(self.size)
        if match is None:
            raise RequestError(f"size is written 1280x720, not {self.size!r}", field="size")
        return int(match[1]), int(match[2])

    @cached_property
    def rate(self) -> Fraction:
        """Frames per second."""
        return PRESETS[self.preset].fps if self.fps is None else keep_rate(self.fps)

    def going(self, index: int) -> TransitionSpec:
        """The transition after scene `index`; the last one has none."""
        if index >= len(self.scenes) - 1:
            return TransitionSpec("cut")
        own = self.scenes[index].transition or self.transition
        assert isinstance(own, TransitionSpec)
        return own

    def name(self, index: int) -> str:
        """A scene's id, or its number (from 1)."""
        return self.scenes[index].id or str(index + 1)

    def source_of(self, index: int) -> int | None:
        """The scene whose last frame this one starts from."""
        image = self.scenes[index].image
        if image == PREVIOUS:
            return index - 1
        if image is not None and image.startswith("scene:"):
            wanted = image.removeprefix("scene:")
            return self._indices.get(wanted)
        return None

    def model_of(self, index: int, defaults: tuple[str, str]) -> str:
        """The model that scene `index` asks for; `defaults`: for text, and for an image."""
        scene = self.scenes[index]
        return scene.model or self.model or defaults[1 if scene.image is not None or scene.inputs else 0]

    @cached_property
    def _indices(self) -> dict[str, int]:
        numbered = {str(index + 1): index for index in range(len(self.scenes))}
        return numbered | {scene.id: index for index, scene in enumerate(self.scenes) if scene.id is not None}

    def _hold_references(self) -> None:
        for index, scene in enumerate(self.scenes):
            if scene.image == PREVIOUS and index == 0:
                raise RequestError("the first scene has no previous one", field="scenes.0.image")
            if scene.image is not None and scene.image.startswith("scene:") and self.source_of(index) is None:
                raise RequestError(f"there is no scene {scene.image.removeprefix('scene:')!r}", field=f"scenes.{index}.image")
        done: set[int] = set()
        for first in range(len(self.scenes)):
            seen: dict[int, None] = {}
            here: int | None = first
            while here is not None and here not in done:
                if here in seen:
                    chain = list(seen)
                    circle = " → ".join(self.name(i) for i in [*chain[chain.index(here) :], here])
                    raise RequestError(f"scenes start from each other in a circle: {circle}", field=f"scenes.{here}.image")
                seen[here] = None
                here = self.source_of(here)
            done.update(seen)

    def _hold_transitions(self) -> None:
        """No transition may be longer than the scenes that it joins; clips of unknown length are held at render time."""
        before = 0
        for index, scene in enumerate(self.scenes):
            after = self.going(index).frames(self.rate)
            if scene.seconds is not None or scene.clip is None:
                frames = max(1, round(Fraction(str(scene.seconds or 3.0)) * self.rate))
                if before + after > frames:
                    raise RequestError(
                        f"scene {self.name(index)} lasts {float(frames / self.rate):.2f} s, less than its transitions "
                        f"({float((before + after) / self.rate):.2f} s)",
                        hint="Make the scene longer or the transitions shorter.",
                        field=f"scenes.{index}.transition",
                    )
            before = after


def by_other(scene: Scene, model: str) -> tuple[Scene, str]:
    """The scene by another model, without what was meant for the first one; and what that was, in words."""
    gone = [f"the option {name}" for name in sorted(scene.options)]
    gone += [f"the LoRA {lora.ref}" for lora in scene.loras] + [f"the {given.role.value}" for given in scene.inputs]
    return replace(scene, model=model, options={}, loras=(), inputs=()), ", ".join(gone)


def with_other(board: Storyboard, index: int, model: str) -> tuple[Storyboard, str]:
    """The storyboard with scene `index` by another model, and a note on what was left out ("" if nothing)."""
    scene, gone = by_other(board.scenes[index], model)
    note = f"Scene {board.name(index)} is made by {model} without {gone}." if gone else ""
    return replace(board, scenes=(*board.scenes[:index], scene, *board.scenes[index + 1 :])), note


def profiled(board: Storyboard, name: str) -> Storyboard:
    """The storyboard as a profile makes it; raises RequestError for a name that it does not have.

    Scenes of another model lose what was meant for the first one.
    """
    profile = board.profiles.get(name)
    if profile is None:
        if name == FINAL:
            return board
        if name != DRAFT:
            names = ", ".join(sorted({DRAFT, FINAL, *board.profiles}))
            raise RequestError(f"there is no profile {name!r}", hint=f"There are: {names}.", field="profile")
        profile = Profile(model="placeholder", quality=None if board.size else "draft")
    scenes = []
    for index, scene in enumerate(board.scenes):
        model = profile.models.get(board.name(index), profile.model)
        if scene.clip is None and model is not None and model != (scene.model or board.model):
            scene = replace(by_other(scene, model)[0], options=dict(profile.options))
        elif profile.options:
            scene = replace(scene, options={**scene.options, **profile.options})
        scenes.append(scene)
    changed = {key: each for key in ("quality", "size", "fps") if (each := getattr(profile, key)) is not None}
    return replace(board, scenes=tuple(scenes), **changed)


def schema() -> dict[str, Any]:
    """The JSON Schema of a storyboard file."""
    from pydantic import TypeAdapter

    made = TypeAdapter(Storyboard).json_schema(mode="validation")
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = f"Reelwright storyboard, version {VERSION}"
    return made


def plain(board: Storyboard) -> dict[str, Any]:
    """The storyboard as JSON values, without what is left at its default; loading it again gives the same film."""
    from pydantic import TypeAdapter

    content: dict[str, Any] = TypeAdapter(Storyboard).dump_python(board, mode="json", exclude_defaults=True)
    content.setdefault("version", VERSION)
    return content


def dump(board: Storyboard, path: Path) -> None:
    """Write the storyboard as YAML or JSON, by the file's ending."""
    content = plain(board)
    if path.suffix.lower() == ".json":
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    else:
        import yaml

        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=110)
    path.write_text(text, "utf-8")
