"""A storyboard for other programs: clips, stills, a contact sheet, captions, an editor's timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelwright.errors import MissingExtra, RequestError, UnknownModel, Unsupported
from reelwright.media import captions
from reelwright.media.captions import Caption
from reelwright.media.decode import open_video
from reelwright.media.partial import whole
from reelwright.media.stills import every, save_picture, sheet
from reelwright.run import LocalRun
from reelwright.storyboard import PREVIOUS, Scene, Storyboard
from reelwright.studio import Plan, Studio

TIMELINES = {".otio": "otio_json", ".edl": "cmx_3600", ".fcpxml": "fcpx_xml"}
"""OpenTimelineIO's adapters by file ending."""


def export(
    board: Storyboard, to: Path, folder: Path, run: LocalRun | None = None, studio: Studio | None = None
) -> tuple[Path, ...]:
    """Write what `to` names, and return the files.

    A folder gets everything: the film, `clips/`, `stills/`, `sheet.png`, `captions.srt` and `timeline.otio`. A file gets
    what its ending says: .otio, .edl, .fcpxml (with the clips beside it), .srt or .vtt, .png (a contact sheet). `folder`
    is where the storyboard's files are. Raises Unsupported, MissingExtra (timelines), and what rendering raises.
    """
    studio, run = studio or Studio(), run or LocalRun()
    run.folder = folder
    ending = to.suffix.lower()
    writers: dict[str, Callable[[], tuple[Path, ...]]] = {
        **dict.fromkeys((".srt", ".vtt"), lambda: _captions(board, studio, folder, to)),
        **dict.fromkeys((".png", ".jpg", ".webp"), lambda: _sheet(board, studio, folder, to, run)),
        **dict.fromkeys(TIMELINES, lambda: _timeline(board, studio, folder, to, run)),
        "": lambda: _everything(board, studio, folder, to, run),
    }
    if ending not in writers:
        raise Unsupported(
            f"nothing is exported to {ending}", hint=f"Name a folder, or one of {', '.join(filter(None, writers))}."
        )
    if ending and not to.parent.is_dir():
        raise RequestError(f"the folder {to.parent} does not exist", hint="Create it first, or choose another place.")
    try:
        return writers[ending]()
    finally:
        run.close()


def _everything(board: Storyboard, studio: Studio, folder: Path, to: Path, run: LocalRun) -> tuple[Path, ...]:
    _folder(to)
    film = studio.render(board, to / "film.mp4", folder, run=run).path
    written = [film]
    stills = to / "stills"
    _folder(stills)
    for index, clip in enumerate(clips := _clips(board, studio, folder, to / "clips", run)):
        with open_video(clip, audio=False) as video:
            path = stills / f"{clip.stem}.png"
            save_picture(next(frame for _, frame in every(video, 1)).rgb, path)
        written += [clip, path]
        run.step(index + 1, len(clips), "stills")
    written += _sheet(board, studio, folder, to / "sheet.png", run)
    if any(scene.caption for scene in board.scenes):
        written += _captions(board, studio, folder, to / "captions.srt")
    try:
        return (*written, *_timeline(board, studio, folder, to / "timeline.otio", run))
    except MissingExtra as error:
        run.note(str(error))
        return tuple(written)


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"the folder {path} cannot be made: {error.strerror}", hint="Choose another place.") from None


def _clips(board: Storyboard, studio: Studio, folder: Path, to: Path, run: LocalRun) -> list[Path]:
    """Each scene as a file of its own, at its full length, without letters over it."""
    _folder(to)
    made = []
    for index, scene in enumerate(board.scenes):
        path = to / f"{index + 1:03d}-{board.name(index)}.mp4"
        if board.source_of(index) is not None:  # it needs the scenes that it hangs on; they are made with it and cut off
            path = _out_of_chain(board, index, studio, folder, path, run)
        else:
            options = (
                {"scene": index + 1, **scene.options} if scene.clip is None and _numbered(board, index, studio) else scene.options
            )
            alone = replace(scene, transition=None, title=None, caption=None, options=options)
            quiet = replace(board, scenes=(alone,), sound=None, subtitles=None)
            studio.render(quiet, path, folder, run=LocalRun(on_progress=run.on_progress, cancel=run.cancel))
        made.append(path)
    return made


def _numbered(board: Storyboard, index: int, studio: Studio) -> bool:
    from reelwright.catalog import find

    scene, set_ = board.scenes[index], studio.settings
    usual = set_.default_text_to_video_model if scene.image is None else set_.default_image_to_video_model
    model = scene.model or board.model or usual
    try:
        return scene.clip is None and "scene" in find(model).options
    except UnknownModel:  # a folder, a hub id or `auto`: none of them writes numbers into its pictures
        return False


def _out_of_chain(board: Storyboard, index: int, studio: Studio, folder: Path, path: Path, run: LocalRun) -> Path:
    from reelwright.media import edit
    from reelwright.media.encode import save
    from reelwright.storyboard import TransitionSpec

    chained, here = [index], board.source_of(index)
    while here is not None:
        chained.append(here)
        here = board.source_of(here)
    scenes: list[Scene] = []
    for place in reversed(chained):
        scene = board.scenes[place]
        options = {"scene": place + 1, **scene.options} if _numbered(board, place, studio) else scene.options
        image = PREVIOUS if scenes else scene.image
        cut = TransitionSpec("cut")
        scenes.append(replace(scene, image=image, transition=cut, title=None, caption=None, narration=None, options=options))
    part = replace(board, scenes=tuple(scenes), sound=None, subtitles=None)
    chain = path.with_name(f"{path.stem}-chain.mp4")
    try:
        made = studio.render(part, chain, folder, run=LocalRun(on_progress=run.on_progress, cancel=run.cancel))
        plan = studio.plan(part, folder)
        save(edit.trim(open_video(chain), made.spec.seconds - Fraction(plan.scenes[-1].frames) / made.spec.fps), path)
    finally:
        chain.unlink(missing_ok=True)
        chain.with_name(f"{chain.name}.json").unlink(missing_ok=True)
    return path


def _starts(board: Storyboard, plan: Plan) -> list[Fraction]:
    """When each scene begins, in seconds of the film."""
    made, here = [], Fraction(0)
    for index, scene in enumerate(plan.scenes):
        made.append(here / plan.spec.fps)
        here += scene.frames - board.going(index).frames(plan.spec.fps)
    return made


def _captions(board: Storyboard, studio: Studio, folder: Path, to: Path) -> tuple[Path, ...]:
    """The scenes' captions, and the film's subtitles, as a caption file."""
    plan = studio.plan(board, folder)
    texts = [
        Caption(float(start), float(start + Fraction(scene.frames) / plan.spec.fps), caption)
        for start, scene, caption in zip(_starts(board, plan), plan.scenes, (each.caption for each in board.scenes), strict=True)
        if caption
    ]
    if board.subtitles:
        texts += captions.read(folder / board.subtitles)
    captions.write(sorted(texts, key=lambda text: text.start), to)
    return (to,)


def _sheet(board: Storyboard, studio: Studio, folder: Path, to: Path, run: LocalRun) -> tuple[Path, ...]:
    """One picture of each scene, side by side."""
    made = studio.render(board, run.scratch / "film.mp4", folder, run=replace(run))
    plan = studio.plan(board, folder)
    middles = [
        start + Fraction(scene.frames, 2) / plan.spec.fps for start, scene in zip(_starts(board, plan), plan.scenes, strict=True)
    ]
    frames = []
    with open_video(made.path, audio=False) as video:
        from reelwright.media import edit

        here = 0
        for middle in middles:
            place = min(made.spec.frames - 1, round(middle * made.spec.fps))
            edit.skip(video.frames, place - here)
            frames.append(next(video.frames))
            here = place + 1
    save_picture(sheet(frames, columns=min(4, max(1, round(len(frames) ** 0.5)))), to)
    return (to,)


def _timeline(board: Storyboard, studio: Studio, folder: Path, to: Path, run: LocalRun) -> tuple[Path, ...]:
    """The film as an editor's timeline over the scenes' clips: in and out points, transitions, names."""
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise MissingExtra("timelines need OpenTimelineIO", hint="Install it: pip install 'reelwright[timeline]'.") from error
    clips = _clips(board, studio, folder, to.parent / "clips", run)
    plan = studio.plan(board, folder)
    rate = float(plan.spec.fps)
    time = otio.opentime.RationalTime
    timeline = otio.schema.Timeline(name=board.title or to.stem)
    track = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    before = 0
    for index, (path, scene) in enumerate(zip(clips, plan.scenes, strict=True)):
        shared = board.going(index).frames(plan.spec.fps)
        # A transition lies over the cut: each clip gives half of it.
        first, last = before - before // 2, scene.frames - shared // 2
        media = otio.schema.ExternalReference(
            target_url=path.relative_to(to.parent).as_posix(),
            available_range=otio.opentime.TimeRange(time(0, rate), time(scene.frames, rate)),
        )
        clip = otio.schema.Clip(
            name=scene.name,
            media_reference=media,
            source_range=otio.opentime.TimeRange(time(first, rate), time(last - first, rate)),
        )
        clip.metadata["reelwright"] = {"prompt": board.scenes[index].prompt, "model": scene.model or "clip"}
        track.append(clip)
        if shared:
            going = otio.schema.Transition(
                name=board.going(index).name,
                transition_type=otio.schema.TransitionTypes.SMPTE_Dissolve,
                in_offset=time(shared - shared // 2, rate),
                out_offset=time(shared // 2, rate),
            )
            track.append(going)
        before = shared
    with whole(to) as part:
        _write(otio, timeline, part, TIMELINES[to.suffix.lower()])
    return (to, *clips)


def _write(otio: Any, timeline: Any, path: Path, adapter: str) -> None:
    try:
        otio.adapters.write_to_file(timeline, str(path), adapter_name=adapter)
    except otio.exceptions.NoKnownAdapterForExtensionError as error:
        raise MissingExtra("this timeline needs an adapter", hint="Install it: pip install 'reelwright[timeline]'.") from error
