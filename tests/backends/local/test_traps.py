"""The twenty things that bite in diffusers 0.42 (notes, section 0), each shown not to bite here (M3, J3, S8)."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinies import FILTERS, VARIANTS, Made, Tinies, differ

from reelwright.backends.local import binding, discovery, loading, watching
from reelwright.backends.local.residency import RESIDENTS
from reelwright.catalog import Card, card_from, cards, find
from reelwright.catalog.fit import Plan
from reelwright.errors import BackendError, Cancelled, MissingExtra, Unsupported
from reelwright.run import LocalRun, Progress
from reelwright.settings import Settings

pytestmark = FILTERS

Make = Callable[..., Made]


def in_the_middle(each: Progress) -> bool:
    return each.stage == "denoise" and 0 < each.done < each.total


def copied(tiny: Tinies, name: str, place: Path) -> Path:
    """A copy of a variant's folder that may be changed."""
    shutil.copytree(tiny.folder(name), place)
    return place


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments that each run of a pipeline was called with."""
    seen: list[dict[str, Any]] = []
    bind = binding.bind

    def watched(*given: Any) -> dict[str, Any]:
        seen.append(bind(*given))
        return seen[-1]

    monkeypatch.setattr(binding, "bind", watched)
    return seen


def test_trap_01_a_replaced_component_is_the_one_that_works(tiny: Tinies, make: Make, tmp_path: Path) -> None:
    """The generic loader takes the folder's own in silence, for Wan, whose components are optional."""
    import torch

    pipe = VARIANTS["wan_t2v"].build()
    with torch.no_grad():
        for weight in pipe.transformer.parameters():
            weight.mul_(1.3)
    pipe.save_pretrained(tmp_path / "other")
    base = make(tiny.shot("wan_t2v"))

    def named(place: Path) -> Card:
        wanted = {"class": "WanTransformer3DModel", "source": str(place), "subfolder": "transformer"}
        return tiny.card("wan_t2v", {"components": {"transformer": wanted}})

    assert not differ(make(tiny.shot("wan_t2v", named(tiny.folder("wan_t2v")))), base)
    replaced = make(tiny.shot("wan_t2v", named(tmp_path / "other")))
    assert differ(replaced, base)
    whole = make(tiny.shot("wan_t2v", tiny.card("wan_t2v", source=str(tmp_path / "other"))))
    assert not differ(replaced, whole)


def test_trap_02_a_callback_gives_nothing_back(tiny: Tinies, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """LTX's pipeline for long clips hands out latents in one layout and takes them back in another."""
    monkeypatch.setattr(watching, "_SHOWN_S", 0.0)
    given = {"latents": object()}
    assert watching.Watch(object(), LocalRun(), 2, None)._stepped(None, 0, 0, given) == {}
    shown, unseen = (make(tiny.shot("ltx_long_i2v"), previews=previews) for previews in (True, False))
    assert shown.frames == unseen.frames


@pytest.mark.parametrize("name", ["svd", "animatediff_sparsectrl", "pia", "wan_t2v"])
def test_trap_03_a_cancel_is_an_end(name: str, tiny: Tinies, make: Make) -> None:
    """`pipe._interrupt` lets a pipeline decode what is half done, and three ignore it: here neither steps nor decoding go on."""
    shot = tiny.shot(name, options={"steps": 6})
    with pytest.raises(Cancelled):
        make(shot, stop=lambda each: each.stage == "load")
    (held,) = RESIDENTS.loaded()
    calls = {"denoise": 0, "decode": 0}

    def counted(stage: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            calls[stage] += 1

        return count

    denoiser = getattr(held.pipe, "transformer", None) or held.pipe.unet
    denoiser.register_forward_hook(counted("denoise"))
    held.pipe.vae.decoder.register_forward_hook(counted("decode"))
    with pytest.raises(Cancelled):
        make(shot, stop=in_the_middle)
    assert 1 <= calls["denoise"] <= 2  # one step, in one pass or in two
    assert calls["decode"] == 0


@pytest.mark.parametrize(
    ("name", "cache"),
    [("wan_t2v", "first_block"), ("wan_t2v", "taylor"), ("ltx_t2v", "first_block"), ("cogvideox_t2v", "first_block")],
)
def test_trap_04_a_step_cache_forgets_a_cancelled_run(name: str, cache: str, tiny: Tinies, make: Make) -> None:
    shot = tiny.shot(name, options={"steps": 8, "step_cache": cache})
    first = make(shot)
    (work,) = first.memory["work"].values()
    assert work["step_cache"] == cache
    for stop in (in_the_middle, lambda each: each.stage == "denoise" and each.done == 6):
        with pytest.raises(Cancelled):
            make(shot, stop=stop)
        assert not differ(make(shot), first)
    plain = tiny.shot(name, options={"steps": 8})
    without = make(plain)
    RESIDENTS.unload()
    assert not differ(make(plain), without), "a cache that was taken off leaves a trace"


def test_trap_04_a_step_cache_changes_something(tiny: Tinies, make: Make) -> None:
    with_cache, without = (make(tiny.shot("wan_t2v", options={"steps": 8, **more})) for more in ({"step_cache": "taylor"}, {}))
    assert differ(with_cache, without)


@pytest.mark.parametrize("name", ["hunyuan15_t2v", "hunyuan15_i2v", "i2vgenxl", "t2vsd", "v2vsd", "t2vzero", "t2vzero_sdxl"])
def test_trap_05_progress_without_a_callback(name: str, tiny: Tinies, make: Make) -> None:
    """Some classes have no callback, some the one of long ago: each step is told all the same."""
    import diffusers

    assert "callback_on_step_end" not in binding.parameters(getattr(diffusers, VARIANTS[name].pipeline))
    film = make(tiny.shot(name, options={"steps": 4}))
    done = [each.done for each in film.progress if each.stage == "denoise"]
    assert set(range(3)) <= set(done)
    assert done == sorted(done)


@pytest.mark.parametrize("name", ["ltx2_t2v", "skyreels_df"])
def test_trap_06_schedulers_are_left_alone(name: str, tiny: Tinies, make: Make) -> None:
    """Two families copy theirs, and the copy of a patched one calls the original."""
    import diffusers

    film = make(tiny.shot(name))
    (held,) = RESIDENTS.loaded()
    assert "step" not in vars(held.pipe.scheduler)
    assert type(held.pipe.scheduler) is getattr(diffusers, type(held.pipe.scheduler).__name__)
    assert "progress_bar" not in vars(held.pipe)
    assert [each for each in film.progress if each.stage == "denoise"][-1].done >= 2


@pytest.mark.parametrize(
    ("name", "frames", "given"),
    [("hunyuan_i2v", 9, 5), ("framepack", 9, 13), ("cogvideox_15", 13, 16), ("helios", 9, 33), ("wan_t2v", 8, 9),
     ("mochi_t2v", 8, 7)],
)  # fmt: skip
def test_trap_07_what_a_model_gives_is_made_what_was_promised(
    name: str, frames: int, given: int, tiny: Tinies, make: Make
) -> None:
    """A card with a wrong rule for counts: the film is as long as the shot says, and the difference is told."""
    loose = tiny.card(name, {"extra_frames": 0}, frames={"default": frames, "step": 1, "offset": 0})
    film = make(tiny.shot(name, loose))
    assert film.spec.frames == len(film.frames) == frames
    if given != frames:
        assert f"{loose.title} made {given} frames of {frames}." in film.notes


def test_trap_07_a_size_that_is_rounded_in_silence_is_told(tiny: Tinies, make: Make) -> None:
    """Wan's 5B model makes 32 px of 48 with no more than a line in a log."""
    loose = tiny.card("wan_ti2v5b", sizes={"native": [[32, 48]], "step": 16, "least": 16})
    film = make(tiny.shot("wan_ti2v5b", loose))
    assert (film.spec.width, film.spec.height) == (32, 48)
    assert f"{loose.title} made 32x32, which is fitted to 32x48." in film.notes


@pytest.mark.parametrize(
    ("name", "argument"),
    [("wan_t2v", "num_frames"), ("latte", "video_length"), ("t2vzero", "video_length"), ("sana_video", "frames"),
     ("wan_animate", "segment_frame_length"), ("v2vsd", "video")],
)  # fmt: skip
def test_trap_08_the_count_has_four_names(
    name: str, argument: str, tiny: Tinies, make: Make, bound: list[dict[str, Any]]
) -> None:
    """Or none: then it is the clip's."""
    shot = tiny.shot(name)
    make(shot)
    got = bound[-1][argument]
    assert (len(got) if isinstance(got, list) else got) == shot.frames


@pytest.mark.parametrize("name", ["sd15", "animatediff", "t2vsd", "i2vgenxl"])
def test_trap_09_no_layer_of_clip_is_skipped(name: str, tiny: Tinies, make: Make, bound: list[dict[str, Any]]) -> None:
    """Any other value fails with transformers 5; one class has such a default."""
    make(tiny.shot(name, tiny.card(name, {"call": {}})))
    assert bound[-1]["clip_skip"] is None


def test_trap_10_a_package_that_is_missing_is_named(tiny: Tinies, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchvision some families do not load."""
    import diffusers

    def fail(*_: Any, **__: Any) -> None:
        raise ImportError("CosmosTransformer3DModel requires the Torchvision library but it was not found")

    monkeypatch.setattr(diffusers.WanPipeline, "from_pretrained", fail)
    with pytest.raises(MissingExtra, match="Torchvision"):
        make(tiny.shot("wan_t2v"))
    assert not RESIDENTS.loaded()


def test_trap_11_a_scheduler_can_be_corrected_by_the_card(tiny: Tinies, make: Make, tmp_path: Path) -> None:
    """The condition pipeline of LTX cannot run on the scheduler of LTX 0.9."""
    folder = copied(tiny, "ltx_condition", tmp_path / "old")
    rewritten(folder / "scheduler" / "scheduler_config.json", lambda config: config.update(use_dynamic_shifting=True))
    with pytest.raises(BackendError, match="mu"):
        make(tiny.shot("ltx_condition", tiny.card("ltx_condition", source=str(folder))))
    scheduler = {"class": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": False}
    corrected = tiny.card("ltx_condition", {"scheduler": scheduler}, source=str(folder))
    assert not differ(make(tiny.shot("ltx_condition", corrected)), make(tiny.shot("ltx_condition")))


def test_trap_12_models_that_look_count_512_tokens(tiny: Tinies, known: Settings) -> None:
    """Wan 2.1's image models have the number in their attention; the cards and what is found for a folder say it."""
    found = discovery.card_of(str(tiny.folder("wan_i2v")), known)
    assert found.settings["call"]["max_sequence_length"] == 512
    wan = [card for card in cards().values() if "WanImageToVideoPipeline" in str(card.settings.get("pipeline"))]
    assert wan
    assert all(card.settings["call"]["max_sequence_length"] == 512 for card in wan)


def test_trap_13_allegro_is_decoded_in_tiles(tiny: Tinies, make: Make) -> None:
    """It cannot be otherwise, and makes grey of other sizes: the card has one."""
    film = make(tiny.shot("allegro"))
    (held,) = RESIDENTS.loaded()
    assert held.pipe.vae.use_tiling
    assert len(set(film.frames)) > 1
    assert not any("one colour" in note for note in film.notes)
    card = find("allegro")
    assert card.settings["tiled"] is True
    assert [card.sizes.nearest(*asked) for asked in ((1280, 720), (64, 64))] == [(1280, 720)] * 2


def test_trap_13_grey_is_told(tiny: Tinies, make: Make) -> None:
    """A model that returns one colour without an error does not pass in silence."""
    film = make(tiny.shot("allegro", tiny.card("allegro", sizes={"native": [[64, 64]], "step": 16, "least": 16})))
    assert any("one colour" in note for note in film.notes)


def test_trap_14_a_guardrail_that_is_not_installed_is_named(tiny: Tinies, make: Make, tmp_path: Path) -> None:
    """Cosmos builds its own without being asked."""
    folder = copied(tiny, "cosmos1", tmp_path / "cosmos")
    shutil.rmtree(folder / "safety_checker")
    rewritten(folder / "model_index.json", lambda index: index.pop("safety_checker"))
    with pytest.raises(MissingExtra, match="cosmos_guardrail"):
        make(tiny.shot("cosmos1", tiny.card("cosmos1", source=str(folder))))


def test_trap_15_zero_loads_from_a_folder_of_stable_diffusion(tiny: Tinies, make: Make) -> None:
    """Its list of optional components is empty, and such a folder has no safety checker."""
    card = tiny.card("t2vzero", source=str(tiny.folder("sd15")))
    assert make(tiny.shot("t2vzero", card)).spec.frames == 4


@pytest.mark.parametrize("name", ["cogvideox_t2v", "mochi_t2v"])
def test_trap_16_an_attention_that_would_be_ignored_is_refused(name: str, tiny: Tinies, make: Make) -> None:
    with pytest.raises(Unsupported, match="would ignore the attention _native_math"):
        make(tiny.shot(name, options={"attention": "_native_math"}))
    assert make(tiny.shot(name, options={"attention": "native"})).frames == make(tiny.shot(name)).frames


def attentions(pipe: Any) -> set[str]:
    """The kernels that the layers of a denoiser are set to."""
    found = {getattr(each, "_attention_backend", None) for each in pipe.transformer.attn_processors.values()}
    return {"native" if each is None else str(getattr(each, "value", each)) for each in found}


@pytest.mark.parametrize("name", ["wan_t2v", "ltx_t2v", "hunyuan_t2v"])
def test_trap_16_an_attention_that_is_there_is_used_and_told(name: str, tiny: Tinies, make: Make) -> None:
    film = make(tiny.shot(name, options={"attention": "_native_math"}))
    (work,) = film.memory["work"].values()
    assert work["attention"] == "_native_math"
    (held,) = RESIDENTS.loaded()
    assert "_native_math" in attentions(held.pipe)
    make(tiny.shot(name))
    assert attentions(held.pipe) == {"native"}, "the attention of one shot stays for the next"


@pytest.mark.parametrize("name", ["wan_t2v", "cogvideox_t2v", "sd15"])
@pytest.mark.parametrize("attention", ["sage", "xformers"])
def test_trap_16_an_attention_that_is_not_installed_is_named(name: str, attention: str, tiny: Tinies, make: Make) -> None:
    with pytest.raises((MissingExtra, Unsupported), match="attention"):
        make(tiny.shot(name, options={"attention": attention}))
    make(tiny.shot(name))


@pytest.mark.parametrize("name", ["animatediff", "svd", "t2vsd", "sd15"])
def test_trap_16_unets_have_no_step_cache(name: str, tiny: Tinies, make: Make) -> None:
    with pytest.raises(Unsupported, match="step cache"):
        make(tiny.shot(name, options={"step_cache": "first_block"}))


@pytest.mark.parametrize("name", ["wan_t2v", "ltx_t2v", "cogvideox_t2v", "mochi_t2v", "hunyuan_t2v", "ltx2_t2v"])
def test_trap_16_a_step_cache_works_or_is_refused(name: str, tiny: Tinies, make: Make) -> None:
    """Taylor's changes the film, or the shot is refused: it does not pass in silence."""
    plain = make(tiny.shot(name, options={"steps": 8}))
    try:
        film = make(tiny.shot(name, options={"steps": 8, "step_cache": "taylor"}))
    except Unsupported as refused:
        assert refused.details.get("field") == "step_cache"  # noqa: PT017  either is right
    else:
        assert differ(film, plain)


def test_trap_17_int8_works_through_torchao(tiny: Tinies, make: Make) -> None:
    pytest.importorskip("torchao")
    shot = tiny.shot("wan_t2v", options={"precision": "int8"})
    film = make(shot)
    (work,) = film.memory["work"].values()
    assert "int8" in work["plan"]
    assert differ(film, make(tiny.shot("wan_t2v")))
    assert not differ(make(shot), film)


def test_trap_17_nf4_without_a_gpu_is_told(tiny: Tinies, make: Make) -> None:
    """bitsandbytes wants a GPU, or is not installed at all."""
    with pytest.raises((MissingExtra, Unsupported), match="bitsandbytes"):
        make(tiny.shot("wan_t2v", options={"precision": "nf4"}))


def test_trap_18_types_are_those_of_the_card(tiny: Tinies, known: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """bfloat16 on a GPU, but for what Wan itself and the card's `full` keep in float32; by `dtype`, not its old name."""
    import torch

    card = tiny.card("wan_t2v", {"full": ["vae"], "dtype": "bfloat16"})
    source = loading.locate(card.source, known)
    pipe = loading.load(card, source, "WanPipeline", Plan(), "cuda", known)
    assert pipe.transformer.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert pipe.transformer.condition_embedder.time_embedder.linear_1.weight.dtype == torch.float32
    assert {weight.dtype for weight in pipe.vae.parameters()} == {torch.float32}
    assert {weight.dtype for weight in pipe.text_encoder.parameters()} == {torch.bfloat16}
    on_cpu = loading.load(card, source, "WanPipeline", Plan(), "cpu", known)
    assert {weight.dtype for weight in on_cpu.transformer.parameters()} == {torch.float32}
    assert "deprecated" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["wan_t2v", "sd15"])
def test_trap_19_two_at_once_on_one_model_take_turns(name: str, tiny: Tinies, make: Make) -> None:
    """A pipeline is not safe for threads: the second one waits, and both get what they get alone."""
    card = tiny.card(name)
    shots = [tiny.shot(name, card, seed=seed, options={"steps": 4}) for seed in (1, 2, 3)]
    alone = [make(shot).frames for shot in shots]
    together: dict[int, list[str]] = {}

    def work(index: int) -> None:
        together[index] = make(shots[index]).frames

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(shots))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together.get(index) for index in range(len(shots))] == alone
    assert len(RESIDENTS.loaded()) == 1


@pytest.fixture
def modular(tiny: Tinies, known: Settings, tmp_path: Path) -> Card:
    """The card of a folder that has only a modular index."""
    from diffusers import ModularPipeline

    place = tmp_path / "modular"
    ModularPipeline.from_pretrained(str(tiny.folder("wan_t2v"))).save_pretrained(str(place), overwrite_modular_index=False)
    assert not (place / "model_index.json").exists()
    content = discovery.content_of(str(place), known)
    content["sizes"] = {"native": [[32, 32]], "step": 16, "least": 16}
    return card_from(content)


def test_trap_20_a_modular_pipeline_is_found_out(modular: Card) -> None:
    """What it takes is read from its blocks, its compression from the components that its index names."""
    assert modular.task == ("text-to-video",)
    assert modular.options["steps"]["default"] == 50
    assert (modular.frames.step, modular.frames.offset) == (4, 1)
    assert modular.settings["latent"] == {"spatial": 8, "temporal": 4, "patch": 2, "patch_t": 1}


def test_trap_20_a_modular_pipeline_gives_what_the_classic_one_gives(modular: Card, tiny: Tinies, make: Make) -> None:
    """With a step told each, and a cancel within one."""
    shot = tiny.shot("wan_t2v", modular, seconds=9 / 16, options={"steps": 3})
    film = make(shot)
    assert film.frames == make(tiny.shot("wan_t2v", options={"steps": 3})).frames
    told = [(each.done, each.total) for each in film.progress if each.stage == "denoise"]
    assert {(0, 3), (1, 3), (2, 3), (3, 3)} == set(told)
    assert told == sorted(told)
    assert film.stages[1:] == ["load", "denoise", "decode"]
    for stop in (in_the_middle, lambda each: each.stage == "decode"):
        with pytest.raises(Cancelled):
            make(shot, stop=stop)
        assert make(shot).frames == film.frames
    other = make(tiny.shot("wan_t2v", modular, seconds=9 / 16, prompt="blue boats at night", options={"steps": 3}))
    assert differ(other, film)
