"""The short way in: a function for a clip, one for a film, and the high-level call of the guide (J11).

All of them block; from async code use `agenerate_video`, or `asyncio.to_thread` around any other.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from reelwright import catalog
from reelwright.errors import RequestError
from reelwright.media import splicing
from reelwright.media.decode import open_video
from reelwright.media.encode import Encoding
from reelwright.request import PRESETS, GenerationRequest, Input
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings
from reelwright.storyboard import FINAL, Scene, Storyboard, TransitionSpec
from reelwright.storyfile import load
from reelwright.studio import Result, Studio, spec_json
from reelwright.types import Frame, Role

Cancel = threading.Event | Callable[[], bool]


def _studio(settings: Settings | None) -> Studio:
    return Studio() if settings is None else Studio(settings)


def generate(
    prompt: str = "",
    output: str | Path | None = None,
    *,
    model: str | None = None,
    image: str | Path | None = None,
    camera: str | None = None,
    effect: str | Sequence[str] | None = None,
    quality: str | None = None,
    encoding: Encoding | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_preview: Callable[[Frame], None] | None = None,
    cancel: Cancel | None = None,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Result:
    """One clip from a prompt, a picture, or both.

    `output`: a file (in the output folder, named after the prompt, by default). `quality`: a preset for size and rate.
    `fields`: others of GenerationRequest, such as `seconds`, `fps`, `width`, `height`, `seed`, `negative`. Raises
    RequestError (what was asked for), Unavailable, BackendError, MediaError; Cancelled if `cancel` is set meanwhile.
    """
    studio = _studio(settings)
    request = asked(prompt, model, image, camera, effect, quality, options, fields)
    run = LocalRun(on_progress, on_preview, cancel)
    return studio.generate(request, place(output, prompt, studio.settings.output_folder), encoding, run)


def asked(
    prompt: str,
    model: str | None,
    image: str | Path | None,
    camera: str | None,
    effect: str | Sequence[str] | None,
    quality: str | None,
    options: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
) -> GenerationRequest:
    """The request that the arguments of `generate` mean; raises RequestError."""
    given = dict(fields)
    if quality is not None:
        preset = PRESETS.get(quality)
        if preset is None:
            raise RequestError(f"there is no quality {quality!r}", hint=f"Choose one of {', '.join(PRESETS)}.", field="quality")
        given = {"width": preset.width, "height": preset.height, "fps": float(preset.fps)} | given
    chosen = dict(options or {})
    if camera is not None:
        chosen["camera"] = camera
    if effect is not None:
        chosen["effect"] = [effect] if isinstance(effect, str) else list(effect)
    inputs = () if image is None else (Input(Role.FIRST_FRAME, str(image)),)
    return GenerationRequest(prompt, model, inputs=tuple(given.pop("inputs", ())) + inputs, options=chosen, **given)


def render(
    board: Storyboard | str | Path,
    output: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    encoding: Encoding | None = None,
    profile: str = FINAL,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_preview: Callable[[Frame], None] | None = None,
    cancel: Cancel | None = None,
) -> Result:
    """A storyboard, or the file of one, as a film.

    `output`: a file (beside the storyboard, or in the output folder, by default). `folder`: where the files that it
    names are (the storyboard's folder). `profile`: "draft", "final", or one of its own. Raises BadStoryboard with every
    fault, and what `generate` raises.
    """
    studio = _studio(settings)
    run = LocalRun(on_progress, on_preview, cancel)
    if isinstance(board, Storyboard):
        path = place(output, board.title or "film", studio.settings.output_folder)
        return studio.render(board, path, Path(folder or "."), encoding, run, profile)
    file = Path(board)
    path = Path(output) if output is not None else file.with_suffix(".mp4")
    return studio.render(load(file), path, Path(folder) if folder is not None else file.parent, encoding, run, profile)


def generate_video(
    prompt: str | Sequence[str],
    video_type: str = "multi_frame",
    quality: Literal["draft", "standard", "high", "premium"] = "high",
    transition: str = "crossfade",
    duration_per_frame: Annotated[float, Interval(gt=0)] = 3.0,
    use_ai_generation: bool = True,
    *,
    model: str | None = None,
    num_inference_steps: Annotated[int, Interval(ge=1, le=1000)] | None = None,
    guidance_scale: Annotated[float, Interval(ge=1, le=20)] | None = None,
    camera: str | None = None,
    effect: str | Sequence[str] = (),
    seed: int | None = None,
    sound: str | None = None,
    output: str | Path | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """A film from one prompt or several, one scene each, joined by a transition; returns what was made.

    `duration_per_frame`: seconds a scene. `use_ai_generation`: False draws placeholders whatever model is set.
    `num_inference_steps` (1..1000) and `guidance_scale` (1..20) go to models that know them; a note tells if one does
    not. `sound`: a file, or the mood of a synthesised bed. The dictionary has `file_path`, `duration`, `resolution`,
    `width`, `height`, `fps`, `num_frames`, `num_scenes`, `file_size`, `quality`, `transition`, `model`, `notes`,
    `manifest`. Raises what `render` raises.
    """
    prompts = hold(prompt, video_type, quality, num_inference_steps, guidance_scale)
    studio = _studio(settings)
    run = LocalRun(on_progress, None, cancel)
    card = (
        catalog.find(model or studio.settings.default_text_to_video_model) if use_ai_generation else catalog.find("placeholder")
    )
    if use_ai_generation and card.id == "placeholder":
        run.note("No video model is set (DEFAULT_TEXT_TO_VIDEO_MODEL); the scenes are drawn placeholders.")
    steps = num_inference_steps or studio.settings.video_inference_steps
    options, notes = known_options(card.title, card.options, {"steps": steps, "guidance": guidance_scale})
    for note in notes:
        run.note(note)
    board = one_each(prompts, quality, transition, duration_per_frame, card.id, options, camera, effect, seed, sound)
    result = studio.render(board, place(output, prompts[0], studio.settings.output_folder), Path(), None, run)
    return described(result, board)


def one_each(
    prompts: Sequence[str],
    quality: Literal["draft", "standard", "high", "premium"],
    transition: str,
    seconds: float,
    model: str | None,
    options: Mapping[str, Any],
    camera: str | None,
    effect: str | Sequence[str],
    seed: int | None,
    sound: str | None,
) -> Storyboard:
    """A storyboard with a scene for each prompt, all alike; raises BadStoryboard, RequestError."""
    effects = (effect,) if isinstance(effect, str) else tuple(effect)
    move = camera or "static"
    scenes = tuple(Scene(text, seconds=seconds, camera=move, effect=effects, options=options) for text in prompts)
    going = _fitting(transition, seconds, len(scenes), float(PRESETS[quality].fps))
    return Storyboard(scenes, quality=quality, model=model, seed=seed, transition=going, sound=sound)


def hold(prompt: str | Sequence[str], video_type: str, quality: str, steps: int | None, guidance: float | None) -> Sequence[str]:
    """The prompts of `generate_video`; raises RequestError for values that no film can be made of."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(isinstance(text, str) and text.strip() for text in prompts):
        raise RequestError("a prompt is needed", hint="Say what is to be seen.", field="prompt")
    if video_type not in ("multi_frame", "single_frame"):
        raise RequestError(f"video_type is multi_frame or single_frame, not {video_type!r}", field="video_type")
    if quality not in PRESETS:
        raise RequestError(f"there is no quality {quality!r}", hint=f"Choose one of {', '.join(PRESETS)}.", field="quality")
    for name, value, least, most in (("num_inference_steps", steps, 1, 1000), ("guidance_scale", guidance, 1, 20)):
        if value is not None and not least <= value <= most:
            raise RequestError(f"{name} must lie between {least} and {most}, not {value}", field=name)
    return prompts


def known_options(title: str, known: Collection[str], wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Of the wanted options those that the model takes, and notes that tell of the others."""
    given = {name: value for name, value in wanted.items() if value is not None}
    notes = [f"{title} has no {name}; the value was left out." for name in given if name not in known]
    return {name: value for name, value in given.items() if name in known}, notes


def described(result: Result, board: Storyboard) -> dict[str, Any]:
    """What the callers of `generate_video` expect to know of a film."""
    spec = spec_json(result.spec)
    return {
        "file_path": str(result.path),
        "duration": spec["seconds"],
        "resolution": f"{spec['width']}x{spec['height']}",
        "width": spec["width"],
        "height": spec["height"],
        "fps": float(result.spec.fps),
        "num_frames": spec["frames"],
        "file_size": result.path.stat().st_size,
        "notes": list(result.notes),
        "manifest": result.manifest,
        "num_scenes": len(board.scenes),
        "quality": board.quality,
        "transition": getattr(board.transition, "name", board.transition),
        "model": board.model,
    }


async def agenerate_video(prompt: str | Sequence[str], **given: Any) -> dict[str, Any]:
    """`generate_video` in a thread, for async code; if the task is cancelled, so is the work."""
    stop, own = threading.Event(), given.pop("cancel", None)
    asked = getattr(own, "is_set", own)
    given["cancel"] = lambda: stop.is_set() or (asked is not None and bool(asked()))
    try:
        return await asyncio.to_thread(lambda: generate_video(prompt, **given))
    except asyncio.CancelledError:
        stop.set()
        raise


def _fitting(name: str, seconds: float, scenes: int, fps: float) -> TransitionSpec:
    """The transition at its usual length, shorter if scenes are too short for it."""
    from reelwright.media import transitions

    usual = transitions.find(name).seconds
    most = seconds / 2.5 if scenes > 2 else seconds / 1.5
    if round(seconds * fps) < 3:  # no frame to spare
        return TransitionSpec("cut")
    return TransitionSpec(name, min(usual, round(most, 3)))


def place(output: str | Path | None, title: str, folder: Path) -> Path:
    """The file named, or a new one in the output folder, called after the title."""
    if output is not None:
        return Path(output)
    name = "-".join(re.findall(r"[^\W_]+", title.lower())[:8])[:60] or "film"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"the output folder {folder} cannot be made: {error.strerror}",
            hint="Set REELWRIGHT_OUTPUT_FOLDER, or name a file.",
        ) from None
    path, number = folder / f"{name}.mp4", 2
    while path.exists():
        path, number = folder / f"{name}-{number}.mp4", number + 1
    return path


def join(
    files: Sequence[str | Path],
    output: str | Path,
    transition: str = "cut",
    seconds: float | None = None,
    size: str | None = None,
    *,
    encoding: Encoding | None = None,
    settings: Settings | None = None,
    run: LocalRun | None = None,
) -> Result:
    """Videos of any size, rate and sound as one; size and rate are the first one's, unless `size` ("1280x720") is given.

    Raises RequestError, MissingAsset, MediaError, and BadStoryboard for a transition that is longer than a clip.
    """
    if not files:
        raise RequestError("there is nothing to join", hint="Name two videos or more.")
    paths = [Path(file).resolve() for file in files]
    with open_video(paths[0], audio=False) as video:
        spec = video.spec
    going = TransitionSpec(transition, seconds)
    if going.name == "cut" and size is None and encoding is None and splicing.join(paths, Path(output)):
        with open_video(Path(output)) as joined:
            note = "The videos are alike and were joined without encoding them again."
            return Result(Path(output), joined.spec, {}, (note,), made=0)
    size = size or f"{spec.width}x{spec.height}"
    board = Storyboard(tuple(Scene(clip=str(path)) for path in paths), size=size, fps=float(spec.fps), transition=going)
    return _studio(settings).render(board, Path(output), Path(), encoding, run)
