"""What is predicted for real models on real machines: orders that must hold, and figures that others published (J4, J5, M13)."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.resources import files

import pytest

from reelwright.backends.local.preflight import LOSSY
from reelwright.catalog import Card, card_from, fit
from reelwright.catalog.fit import LADDER, Correction, Machine, Need, Plan, Work

ALL = [
    card_from(tomllib.loads(entry.read_text("utf-8")), entry.name)
    for entry in files("reelwright.catalog").joinpath("cards").iterdir()
    if entry.name.endswith(".toml")
]
CARDS: dict[str, Card] = {card.id: card for card in ALL if card.backend == "diffusers"}


def _gpu(vram: float, ram: float = 64.0, tflops: float = 100.0) -> Machine:
    return Machine("cuda", f"{vram:g} GB", vram, vram, ram, ram, tflops, fp8=True)


def _cpu(ram: float) -> Machine:
    return Machine("cpu", "CPU", ram_gb=ram, free_ram_gb=ram * 0.9, tflops=0.3)


GPUS = [_gpu(vram) for vram in (8, 12, 16, 24, 48, 80)]
CPUS = [_cpu(ram) for ram in (8, 16, 64)]
MACHINES = {
    **{machine.name: machine for machine in GPUS},
    **{f"{machine.ram_gb:g} GB of RAM": machine for machine in CPUS},
    "24 GB, little RAM": _gpu(24, ram=8),
}
FACTOR = 2.5
"""A prediction is taken for right within this, up and down."""


def _native(card: Card) -> Work:
    return fit.work_of(card, *card.sizes.native[0], card.frames.default, {})


def _need(card: Card, plan: Plan, machine: Machine, work: Work | None = None, correction: Correction | None = None) -> Need:
    return fit.need(card, work or _native(card), plan, machine, None, correction)


@pytest.fixture(params=sorted(CARDS))
def card(request: pytest.FixtureRequest) -> Card:
    """Each card that is run here."""
    return CARDS[request.param]


# ---- what must hold for any model on any machine


def test_more_frames_more_pixels_and_more_steps_never_need_less(card: Card) -> None:
    work = _native(card)
    for machine in (_gpu(24), _cpu(64)):
        for plan in LADDER:
            before = None
            for share in (0.25, 0.5, 1, 2, 4):
                frames = replace(work, frames=max(1, round(work.frames * share)))
                wider = replace(work, width=round(work.width * share), height=round(work.height * share))
                longer = replace(work, steps=max(1, round(work.steps * share)))
                now = [_need(card, plan, machine, each) for each in (frames, wider, longer)]
                for smaller, larger in zip(before or now, now, strict=True):
                    assert larger.vram_gb >= smaller.vram_gb
                    assert larger.ram_gb >= smaller.ram_gb
                    assert larger.seconds >= smaller.seconds
                before = now


def test_needs_are_numbers_that_make_sense(card: Card) -> None:
    for machine in MACHINES.values():
        for plan in (*LADDER, *LOSSY):
            need = _need(card, plan, machine)
            assert 0.05 < need.vram_gb < 1000
            assert 0.5 < need.ram_gb < 500
            assert 0 < need.seconds < 1e8
            assert need.sure == "computed"


def test_plans_that_fit_come_in_the_order_of_the_ladder(card: Card) -> None:
    for machine in MACHINES.values():
        verdict = fit.choose(card, _native(card), machine)
        places = [LADDER.index(need.plan) for need in verdict.needs]
        assert places == sorted(places)
        assert all(need.fits(machine) for need in verdict.needs)
        assert verdict.best is (verdict.needs[0] if verdict.needs else None)
        if machine.shared:
            assert not {need.plan.offload for need in verdict.needs} & {"model", "group"}, "they save nothing there"


def test_the_ladder_prefers_plans_that_change_no_pixel() -> None:
    exact = [plan.exact for plan in LADDER]
    assert exact == sorted(exact, reverse=True)
    assert not any(plan.exact for plan in LOSSY)
    assert len({plan.name for plan in LADDER}) == len(LADDER)


def test_each_kind_of_offload_takes_less_of_the_card_than_the_one_before(card: Card) -> None:
    machine = _gpu(80)
    for tiled in (False, True):
        resident, model, group = (_need(card, Plan(kind, tiled), machine) for kind in ("none", "model", "group"))
        assert resident.vram_gb >= model.vram_gb >= group.vram_gb
        assert resident.seconds <= model.seconds
        assert resident.seconds <= group.seconds
        disk = _need(card, Plan("disk", tiled), machine)
        assert disk.ram_gb <= group.ram_gb
        assert disk.seconds >= group.seconds
    assert _need(card, Plan(tiled=True), machine).vram_gb <= _need(card, Plan(), machine).vram_gb


def test_a_bigger_machine_never_fits_less(card: Card) -> None:
    work = _native(card)
    for line in (GPUS, CPUS, [_gpu(24, ram) for ram in (4, 8, 16, 32, 64)]):
        before: set[str] = set()
        for machine in line:
            now = {need.plan.name for need in fit.choose(card, work, machine).needs}
            assert before <= now
            before = now


def test_every_model_fits_the_largest_card_and_says_with_how_much(card: Card) -> None:
    verdict = fit.choose(card, _native(card), _gpu(80, ram=256))
    assert verdict.best is not None
    assert f"{verdict.best.vram_gb:.1f} GB" in verdict.why


def test_the_card_s_least_memory_is_enough_with_some_plan(card: Card) -> None:
    """`vram_gb[0]` of a card is what others say is the least; the plans here, lossy ones too, reach it at the native size, or
    a smaller picture does."""
    assert card.vram_gb is not None
    least = _gpu(max(card.vram_gb[0], 6) * 1.1, ram=128)
    work, plans = _native(card), (*LADDER, *LOSSY)
    assert fit.choose(card, work, least, plans=plans).needs or fit.nearest(card, work, least, plans=plans) is not None


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_fp8_halves_the_denoiser_or_better(card: Card, kind: str) -> None:
    machine = _gpu(80) if kind == "cuda" else _cpu(64)
    weights = {name: size for name, size in card.settings["weights"].items() if name.startswith(("transformer", "unet"))}
    saved = _need(card, Plan(), machine).vram_gb - _need(card, Plan(precision="fp8"), machine).vram_gb
    assert saved == pytest.approx(sum(weights.values()) * (1 if kind == "cuda" else 3))  # 2 bytes to 1, or 4 to 1


def test_corrections_scale_what_is_predicted_and_make_it_measured(card: Card) -> None:
    machine = _cpu(64)  # a CPU has no context of its own to be added
    plain = _need(card, Plan(), machine)
    corrected = _need(card, Plan(), machine, None, Correction(1.5, 3.0, 2))
    assert corrected.vram_gb == pytest.approx(plain.vram_gb * 1.5)
    assert corrected.seconds == pytest.approx(plain.seconds * 3)
    assert corrected.sure == "measured"
    unused = _need(card, Plan(), machine, None, Correction(1.5, 3.0, 0))
    assert unused == plain


def test_a_correction_counts_for_its_own_plan_only() -> None:
    card = CARDS["wan-2.1-1.3b"]
    machine = _gpu(24)
    assert fit.choose(card, _native(card), machine).best is not None
    verdict = fit.choose(card, _native(card), machine, None, {"resident": Correction(4.0, 1.0, 3)})
    assert verdict.needs[0].plan == Plan("model")
    assert verdict.needs[0].sure == "computed"


def test_what_would_fit_really_fits_and_is_smaller(card: Card) -> None:
    for machine in MACHINES.values():
        work = _native(card)
        found = fit.nearest(card, work, machine)
        if found is None:
            continue
        assert fit.choose(card, found, machine).needs
        assert found != work
        assert card.sizes.nearest(found.width, found.height) == (found.width, found.height)
        assert card.frames.nearest(found.frames) == found.frames
        assert found.frames <= work.frames or found.width * found.height <= work.width * work.height


def test_the_verdict_says_the_reason(card: Card) -> None:
    for machine in MACHINES.values():
        verdict = fit.choose(card, _native(card), machine)
        if verdict.best is None:
            assert card.title in verdict.why
            assert verdict.closest.plan.name in verdict.why or "RAM" in verdict.why
            assert "are free" in verdict.why
            assert not verdict.closest.fits(machine)
        else:
            assert verdict.why.startswith(verdict.best.plan.name)
            assert verdict.best.sure in verdict.why
            if verdict.best.plan != LADDER[0]:
                assert "resident would take" in verdict.why


def test_want_of_ram_is_told_as_such() -> None:
    card = CARDS["wan-2.1-14b"]
    verdict = fit.choose(card, _native(card), _gpu(80, ram=4))
    assert verdict.best is None
    assert "of RAM" in verdict.why
    assert "4.0 GB are free" in verdict.why


def test_weights_from_the_files_go_before_those_of_the_card() -> None:
    card = CARDS["wan-2.1-1.3b"]
    machine, work = _gpu(80), _native(card)
    small = fit.need(card, work, Plan(), machine, {"transformer": 0.1, "vae": 0.1})
    assert small.vram_gb < _need(card, Plan(), machine).vram_gb
    assert small.sure == "computed"
    unknown = replace(card, settings={name: value for name, value in card.settings.items() if name != "weights"})
    assert fit.need(unknown, work, Plan(), machine).sure == "guessed"


def test_a_cpu_counts_everything_in_float32_once() -> None:
    """What the card keeps in float32 on a GPU is not doubled again."""
    card = CARDS["wan-2.1-i2v-480p"]
    tiny = Work(16, 16, 1, 1)
    assert _need(card, Plan(), _cpu(64), tiny).vram_gb == pytest.approx(sum(card.settings["weights"].values()) * 4, rel=0.01)


# ---- what others published (notes/peers.md, section 6)

H100, H200 = _gpu(80, 256, 400), _gpu(140, 256, 400)
A100, RTX4090 = _gpu(80, 256, 150), _gpu(24, 128, 125)


MEMORY = [
    ("wan-2.1-1.3b", (832, 480, 17), Plan(), 18.4, "SGLang, perf_baselines/h100.json"),
    ("wan-2.1-1.3b", (832, 480, 81), Plan(), 18.4, "the same, and little depends on the length"),
    ("wan-2.1-i2v-480p", (832, 480, 81), Plan(), 71, "official repository on an H200, LightX2V's table"),
    ("wan-2.1-i2v-480p", (832, 480, 81), Plan(), 53, "LightX2V_1 on an H200"),
    ("wan-2.1-i2v-720p", (1280, 720, 81), Plan(), 81, "official repository on an H200"),
    ("wan-2.1-i2v-720p", (1280, 720, 81), Plan(), 65, "LightX2V_1 on an H200"),
    ("wan-2.2-i2v-a14b", (832, 480, 81), Plan(), 80.5, "vLLM-Omni"),
    ("wan-2.2-t2v-a14b", (1280, 720, 81), Plan(), 113, "SGLang, 105.5 GiB reserved"),
    ("wan-2.2-ti2v-5b", (1280, 704, 121), Plan(), 27.4, "SGLang's documentation"),
    ("hunyuan-video", (1280, 720, 129), Plan("none", tiled=True), 60, "README of HunyuanVideo"),
    ("hunyuan-video", (960, 544, 129), Plan("none", tiled=True), 45, "README of HunyuanVideo"),
]
SECONDS = [
    ("wan-2.1-i2v-480p", (832, 480, 81, 1), H100, 9.77, "Diffusers, one step, LightX2V's README"),
    ("wan-2.1-i2v-480p", (832, 480, 81, 40), H200, 366, "official repository, LightX2V's table"),
    ("wan-2.1-i2v-720p", (1280, 720, 81, 40), H200, 974, "official repository, LightX2V's table"),
    ("wan-2.1-i2v-480p", (832, 480, 81, 1), RTX4090, 30.5, "Diffusers, one step on an RTX 4090D"),
    ("wan-2.1-1.3b", (832, 480, 17, 50), H100, 8.1, "SGLang CI, a clip of one second"),
    ("wan-2.1-1.3b", (832, 480, 81, 50), H100, 47.8, "SGLang's documentation, the GPU is not named"),
    ("hunyuan-video", (1280, 720, 129, 50), H100, 1904, "README of HunyuanVideo, a GPU with 80 GB"),
    ("cogvideox-2b", (720, 480, 49, 50), H100, 45, "README of CogVideo"),
    ("cogvideox-2b", (720, 480, 49, 50), A100, 90, "README of CogVideo"),
    ("cogvideox-5b", (720, 480, 49, 50), H100, 90, "README of CogVideo"),
    ("cogvideox-5b", (720, 480, 49, 50), A100, 180, "README of CogVideo"),
    ("cogvideox-1.5-5b", (1360, 768, 81, 50), H100, 550, "README of CogVideo"),
    ("cogvideox-1.5-5b", (1360, 768, 81, 50), A100, 1000, "README of CogVideo"),
    ("wan-2.2-i2v-a14b", (832, 480, 81, 4), H100, 27.6, "vLLM-Omni, four steps without guidance: half of ours"),
]


@pytest.mark.parametrize(("name", "size", "plan", "published", "where"), MEMORY)
def test_memory_agrees_with_what_was_published(
    name: str, size: tuple[int, int, int], plan: Plan, published: float, where: str
) -> None:
    predicted = _need(CARDS[name], plan, H200, Work(*size, 40)).vram_gb
    assert published / FACTOR < predicted < published * FACTOR, where


@pytest.mark.parametrize(("name", "work", "machine", "published", "where"), SECONDS)
def test_seconds_agree_with_what_was_published(
    name: str, work: tuple[int, int, int, int], machine: Machine, published: float, where: str
) -> None:
    predicted = _need(CARDS[name], Plan(), machine, Work(*work)).seconds
    assert published / FACTOR < predicted < published * FACTOR, where


def test_hunyuan_at_720p_does_not_decode_untiled_on_80_gb_and_does_in_tiles() -> None:
    card = CARDS["hunyuan-video"]
    work = Work(1280, 720, 129, 50)
    fitting = {need.plan.name for need in fit.choose(card, work, H100).needs}
    assert fitting
    assert all("tiled" in name for name in fitting)
    assert "resident, tiled" in fitting


def test_ltx_video_runs_on_8_gb_in_less_than_two_minutes() -> None:
    """An RTX 4060 with 8 GB: 720x480, 121 frames in less than a minute (README of LTX-Video)."""
    card = CARDS["ltx-video-2b-distilled"]
    verdict = fit.choose(card, fit.work_of(card, 704, 480, 121, {}), _gpu(8, 32, 25))
    assert verdict.best is not None
    assert verdict.best.seconds < 60 * FACTOR


@pytest.mark.parametrize(("memory", "model"), [(8, "wan-2.1-1.3b"), (12, "ltx-video-2b-0.9.5"), (24, "wan-2.1-i2v-480p")])
def test_tiers_run_the_models_that_are_known_to_run_there(memory: float, model: str) -> None:
    card = CARDS[model]
    assert fit.choose(card, _native(card), _gpu(memory, ram=64)).best is not None
