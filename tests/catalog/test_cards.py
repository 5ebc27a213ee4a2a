"""Every card that is shipped: figures with sources, defaults on their own grid, settings that Diffusers can bind (M4-M6, M12)."""

from __future__ import annotations

import inspect
import tomllib
from importlib.resources import files
from typing import Any

import pytest

from reelwright.catalog import Card, card_from, resolve
from reelwright.catalog.card import shared_options
from reelwright.catalog.shot import checked
from reelwright.request import GenerationRequest, Input

CARDS: dict[str, Card] = {
    entry.name.removesuffix(".toml"): card_from(tomllib.loads(entry.read_text("utf-8")), entry.name)
    for entry in sorted(files("reelwright.catalog").joinpath("cards").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".toml")
}
LOCAL = ("diffusers", "command", "keyframes")
"""Backends whose models run here: their cards have figures of memory and the options of a sampler. Others need neither."""
MODELS = {name: card for name, card in CARDS.items() if card.backend in ("diffusers", "command")}
DIFFUSERS = {name: card for name, card in MODELS.items() if card.backend == "diffusers"}

STATUSES = {"current", "legacy", "retired"}
TASKS = {
    "text-to-video", "image-to-video", "video-to-video", "text-to-image", "keyframes", "control", "animate", "upscale",
}  # fmt: skip
SETTINGS = {
    "pipeline", "dtype", "full", "call", "names", "scheduler", "components", "drop", "weights", "latent", "denoiser",
    "decode_frames", "tiled", "schedule", "extra_frames", "scale", "ip_adapter", "preview_decoder",
}  # fmt: skip
SOURCED = ("vram_gb", "licence", "commercial", "sizes", "frames", "params_b", "quality", "speed")
NAMED = {
    "M4": (
        "ltx-video-2b-0.9", "ltx-video-2b-0.9.5", "ltx-video-2b-0.9.6", "wan-2.1-1.3b", "wan-2.1-14b", "wan-2.2-t2v-a14b",
        "wan-2.2-ti2v-5b", "mochi-1", "hunyuan-video", "cogvideox-2b", "cogvideox-5b", "cogvideox-1.5-5b", "open-sora-2",
        "modelscope-1.7b", "zeroscope-576w", "zeroscope-xl", "animatediff", "text2video-zero", "videocrafter2", "show-1",
    ),
    "M5": (
        "svd", "svd-xt", "svd-xt-1.1", "wan-2.1-i2v-720p", "wan-2.1-i2v-720p-turbo", "ltx-video-2b-0.9",
        "cogvideox-1.5-5b-i2v", "i2vgen-xl", "dynamicrafter", "seine",
    ),
    "M6": (
        "animatediff-v2v", "animatediff-controlnet", "cogvideox-5b-v2v", "wan-2.1-vace-1.3b", "wan-2.1-vace-14b",
        "ltx-video-2b-0.9.5",
    ),
    "M2": ("stable-diffusion-1.5", "sdxl"),
}  # fmt: skip
MEANT = {
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale", "max_guidance_scale"),
    "guidance_2": ("guidance_scale_2",),
    "frames": ("num_frames", "video_length", "frames", "segment_frame_length"),
    "first_frame": ("image", "cond_image", "conditions"),
    "last_frame": ("last_image", "conditions"),
    "keyframe": ("conditions",),
    "reference": ("reference_images", "ip_adapter_image", "ref_image"),
    "source": ("video",),
    "mask": ("mask",),
    "control": ("control_video", "conditioning_frames", "pose_video"),
}
"""The parameters that a pipeline may have for an option or a role, as the Diffusers backend finds them by meaning."""


def each(of: dict[str, Card]) -> Any:
    return pytest.mark.parametrize("card", of.values(), ids=of)


def pipelines(card: Card) -> dict[str, str]:
    """The pipeline of each set of roles that the card accepts."""
    table = card.settings["pipeline"]
    sets = ["+".join(sorted(roles)) or "prompt" for roles in card.accepts]
    return dict.fromkeys(sets, table) if isinstance(table, str) else {name: table[name] for name in sets}


def denoiser(card: Card) -> float:
    """Billions of parameters that one step runs through: one expert, if there are two."""
    weights = card.settings["weights"]
    return weights.get("transformer", 0) + weights.get("unet", 0) + weights.get("motion_adapter", 0)


@each(CARDS)
def test_a_card_lies_under_its_own_name(card: Card) -> None:
    assert CARDS[card.id.replace("/", "-")] is card
    assert card.status in STATUSES


def test_no_name_is_taken_twice() -> None:
    names = [name for card in CARDS.values() for name in (card.id, *card.also)]
    assert len(names) == len(set(names))


@each(MODELS)
def test_every_figure_has_a_source(card: Card) -> None:
    """M12: a figure is given with where it comes from; what is arithmetic or an estimate says so."""
    groups = [line.partition(":")[0] for line in card.sources]
    for figure in SOURCED:
        assert any(figure in group for group in groups), f"{card.id}: nothing says where {figure} comes from"
    for figure in ("ram_gb", "disk_gb"):
        assert getattr(card, figure) is None or any(figure in group for group in groups)
    assert card.revision == "" or any("revision" in group for group in groups)


@each(MODELS)
def test_figures_are_complete_and_in_order(card: Card) -> None:
    """M12: what `reel models`, fit and fallback read is there."""
    assert card.vram_gb
    assert 0 < card.vram_gb[0] <= card.vram_gb[1]
    assert card.params_b
    assert card.task
    assert set(card.task) <= TASKS
    assert card.best_for
    assert card.source
    assert card.deterministic
    assert card.audio == (card.id == "ltx-2")


@each(CARDS)
def test_defaults_lie_on_their_own_grid(card: Card) -> None:
    for size in card.sizes.native:
        assert card.sizes.nearest(*size) == size
    assert card.frames.nearest(card.frames.default) == card.frames.default
    assert card.frames.nearest(card.frames.most) == card.frames.most or card.id == "placeholder"
    assert card.frames.least <= card.frames.default <= card.frames.most


@each(CARDS)
def test_the_defaults_of_options_pass_their_own_schema(card: Card) -> None:
    for name, schema in card.options.items():
        assert schema["title"]
        if "default" in schema:
            checked(name, schema["default"], schema)
    if card.backend != "placeholder":
        assert all(schema["description"] for schema in card.options.values())
    if card.backend in LOCAL and card.params_b:  # the pictures of keyframes may be made elsewhere
        assert card.options["steps"]["type"] == "integer"
        assert {"steps", "guidance"} <= {name for name, schema in card.options.items() if "default" in schema}


@each(CARDS)
def test_a_plain_request_resolves(card: Card) -> None:
    """A prompt, and the inputs of each accepted set: nothing else is asked for, so nothing needs telling."""
    for roles in card.accepts:
        inputs = tuple(Input(role, f"{role}.png") for role in sorted(roles))
        shot, notes = resolve(GenerationRequest(prompt="A boat", inputs=inputs), card, lambda ref: f"digest of {ref}")
        assert (shot.width, shot.height) == card.sizes.native[0]
        assert shot.frames == card.frames.default
        assert notes == ()


@pytest.mark.parametrize("row", NAMED)
def test_every_model_that_was_asked_for_has_a_card(row: str) -> None:
    """M2, M4, M5, M6."""
    assert [name for name in NAMED[row] if name not in MODELS] == []


@each(DIFFUSERS)
def test_the_settings_are_those_that_the_backend_knows(card: Card) -> None:
    assert set(card.settings) <= SETTINGS
    assert {"pipeline", "weights", "latent"} <= set(card.settings)
    assert card.settings["dtype"] in ("bfloat16", "float16")
    assert set(card.settings["latent"]) == {"spatial", "temporal", "patch", "patch_t"}
    assert {"width", "passes"} <= set(card.settings["denoiser"]) <= {"width", "passes", "layers", "at_once"}
    assert ("layers" in card.settings["denoiser"]) == ("transformer" in card.settings["weights"])  # a UNet's vary in width
    assert card.sizes.step % (card.settings["latent"]["spatial"] * card.settings["latent"]["patch"]) == 0
    assert all({"class", "source"} <= set(part) for part in card.settings.get("components", {}).values())
    if isinstance(card.settings["pipeline"], dict):
        assert set(card.settings["pipeline"]) == set(pipelines(card))


@each(DIFFUSERS)
def test_the_parameters_are_those_of_the_denoiser(card: Card) -> None:
    assert card.params_b == pytest.approx(denoiser(card), rel=0.15)


@each({name: card for name, card in MODELS.items() if card.backend == "command"})
def test_a_model_without_a_pipeline_says_what_to_do(card: Card) -> None:
    assert 2 <= len(card.settings["steps_to_take"]) <= 4
    assert any("card of your own" in step for step in card.settings["steps_to_take"])
    assert card.settings["also_served_by"]


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@each(DIFFUSERS)
def test_diffusers_has_the_classes_and_their_parameters(diffusers: Any, card: Card) -> None:
    """M3: options, roles and arguments that a card names reach the pipeline."""
    settings = card.settings
    names = settings.get("names", {})
    own = {name: schema for name, schema in card.options.items() if name not in shared_options(card.backend)}
    taken: dict[str, set[str]] = {}
    for roles, name in pipelines(card).items():
        cls = getattr(diffusers, name)
        taken[roles] = set(inspect.signature(cls.__call__).parameters)
        assert set(settings.get("call", {})) <= taken[roles], f"{name} has no parameter for one of call"
        assert any(frames in taken[roles] for frames in MEANT["frames"]) or "source" in roles or card.frames.most == 1
        for role in () if roles == "prompt" else roles.split("+"):
            assert taken[roles] & {names.get(role, role), *MEANT.get(role, ())}, f"{name} has no parameter for {role}"
        made = set(inspect.signature(cls.__init__).parameters)
        assert set(settings.get("components", {})) | set(settings.get("drop", ())) <= made
        assert set(settings["weights"]) <= made
        if "guider" in made:
            taken[roles].add("guidance")  # set on that component
        assert card.previews == ("callback_on_step_end" in taken[roles])
        assert not card.loras or hasattr(cls, "load_lora_weights")
    for option, schema in own.items():  # one with a default is always set, so that every pipeline must take it
        wanted = {names[option]} if option in names else {option, *MEANT.get(option, ())}
        takers = [bool(wanted & parameters) for parameters in taken.values()]
        assert all(takers) if "default" in schema else any(takers), f"{card.id} has a pipeline without {option}"
    for part in (settings.get("scheduler"), *settings.get("components", {}).values()):
        assert part is None or hasattr(diffusers, part["class"]) or part["class"].startswith("Siglip")
    if "scheduler" in settings:
        known = inspect.signature(getattr(diffusers, settings["scheduler"]["class"]).__init__).parameters
        assert set(settings["scheduler"]) - {"class"} <= set(known)
