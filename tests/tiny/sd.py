"""Tiny pipelines of the Stable Diffusion family: pictures, AnimateDiff and what grew out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
)
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_clip import clip_text, clip_text_projected, clip_tokenizer
from tests.tiny.variant import Variant

WIDTHS = (8, 16)
TEXT = 32
# SDXL tells the UNet the sizes as six numbers, each spread over so many, beside the projected text
SPREAD, PROJECTED = 4, 24


def picture_vae() -> AutoencoderKL:
    """A picture VAE that shrinks eight times, as the real ones do: four stages, three of which halve."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    ).eval()


def picture_unet(channels: int = 4) -> UNet2DConditionModel:
    """A UNet as in Stable Diffusion 1.5, two stages."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def xl_unet() -> UNet2DConditionModel:
    """A UNet as in SDXL: two texts side by side, and the sizes and the projected text in its time embedding."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT * 2,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=SPREAD,
        projection_class_embeddings_input_dim=6 * SPREAD + PROJECTED,
        norm_num_groups=4,
    ).eval()


def motion(channels: int | None = None) -> MotionAdapter:
    """The layers that look along time; `channels` (PIA) replaces the UNet's first convolution."""
    adapter = MotionAdapter(
        block_out_channels=WIDTHS,
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        motion_max_seq_length=32,
        conv_in_channels=channels,
    )
    dezero(adapter)
    return adapter.eval()


def pia_motion() -> MotionAdapter:
    """PIA's motion layers, and its first convolution: noise, the picture's latents and a mask, nine channels."""
    return motion(channels=9)


def xl_motion() -> MotionAdapter:
    """The layers that look along time for SDXL, whose middle block has none."""
    adapter = MotionAdapter(
        block_out_channels=WIDTHS,
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        use_motion_mid_block=False,
    )
    dezero(adapter)
    return adapter.eval()


def controlnet() -> ControlNetModel:
    """A ControlNet for `picture_unet`; its convolutions of zeros get values, or it would change nothing."""
    net = ControlNetModel(
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        cross_attention_dim=TEXT,
        attention_head_dim=2,
        norm_num_groups=4,
        # three halvings, as the VAE has
        conditioning_embedding_out_channels=(4, 8, 8, 8),
    )
    dezero(net)
    return net.eval()


def sparse_controlnet() -> SparseControlNetModel:
    """A SparseCtrl net of the kind that sees latents and a mask of which frames are given."""
    net = SparseControlNetModel(
        conditioning_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        cross_attention_dim=TEXT,
        attention_head_dim=2,
        norm_num_groups=4,
        motion_num_attention_heads=2,
        use_simplified_condition_embedding=True,
    )
    dezero(net)
    return net.eval()


def ddim() -> DDIMScheduler:
    """The scheduler of the repositories that AnimateDiff is used with."""
    return DDIMScheduler(
        beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, timestep_spacing="linspace", steps_offset=1
    )


def sd_parts() -> dict[str, Any]:
    """What each pipeline on Stable Diffusion 1.5 has."""
    return {
        "vae": picture_vae(),
        "text_encoder": clip_text(TEXT),
        "tokenizer": clip_tokenizer(),
        "unet": picture_unet(),
        "scheduler": ddim(),
    }


def xl_parts() -> dict[str, Any]:
    """What each pipeline on SDXL has."""
    return {
        "vae": picture_vae(),
        "text_encoder": clip_text(TEXT),
        "text_encoder_2": clip_text_projected(TEXT, PROJECTED),
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(),
        "unet": xl_unet(),
        "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    }


NO_CHECK = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def built(name: str, parts: Callable[[], dict[str, Any]], **more: Any) -> Callable[[], Any]:
    """How to build the pipeline `name` from `parts()` and `more`; what can be called in `more` is."""

    def build() -> Any:
        with seeded():
            made = parts() | {key: value() if callable(value) else value for key, value in more.items()}
            pipe = getattr(diffusers, name)(**made)
        # AnimateDiff puts a new UNet together from its UNet and its motion layers, in training mode
        pipe.unet.eval()
        return pipe

    return build


def lcm() -> LCMScheduler:
    """The scheduler of models that were distilled to few steps."""
    return LCMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012)


def picture(name: str, build: Callable[[], Any], *roles: str) -> Variant:
    """A pipeline that makes one picture."""
    return Variant(build, name, roles, (64, 64), frames=1, given=1, step=1, size_step=8, loras=True)


def film(name: str, build: Callable[[], Any], *roles: str, **call: Any) -> Variant:
    """A pipeline that makes any number of frames, up to what its motion layers know."""
    return Variant(build, name, roles, (64, 64), frames=4, given=4, step=1, size_step=8, call=call, loras=True)


def pictures() -> dict[str, Variant]:
    """The variants that make one picture."""
    plain, changed, guided = "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionControlNetPipeline"
    large = "StableDiffusionXLPipeline"
    return {
        "sd15": picture(plain, built(plain, sd_parts, **NO_CHECK)),
        "sdxl": picture(large, built(large, xl_parts)),
        "sd15_img2img": picture(changed, built(changed, sd_parts, **NO_CHECK), "first_frame"),
        "sd15_controlnet": picture(guided, built(guided, sd_parts, controlnet=controlnet, **NO_CHECK), "control"),
    }


def films() -> dict[str, Variant]:
    """The variants that make frames."""
    plain, large, changed = "AnimateDiffPipeline", "AnimateDiffSDXLPipeline", "AnimateDiffVideoToVideoPipeline"
    guided, both = "AnimateDiffControlNetPipeline", "AnimateDiffVideoToVideoControlNetPipeline"
    sparse, pia = "AnimateDiffSparseControlNetPipeline", "PIAPipeline"
    zero, zero_large = "TextToVideoZeroPipeline", "TextToVideoZeroSDXLPipeline"
    moving = {"motion_adapter": motion}
    few = {"t0": 0, "t1": 1}  # steps between which motion is put in: the defaults, 44 and 47, need 48 steps
    return {
        "animatediff": film(plain, built(plain, sd_parts, **moving)),
        "animatediff_lcm": film(plain, built(plain, sd_parts, scheduler=lcm, **moving)),
        "animatediff_sdxl": film(large, built(large, xl_parts, motion_adapter=xl_motion)),
        "animatediff_v2v": film(changed, built(changed, sd_parts, **moving), "source"),
        "animatediff_controlnet": film(guided, built(guided, sd_parts, controlnet=controlnet, **moving), "control"),
        "animatediff_v2v_controlnet": film(both, built(both, sd_parts, controlnet=controlnet, **moving), "source", "control"),
        "animatediff_sparsectrl": film(sparse, built(sparse, sd_parts, controlnet=sparse_controlnet, **moving), "control"),
        "pia": film(pia, built(pia, sd_parts, motion_adapter=pia_motion), "first_frame"),
        "t2vzero": film(zero, built(zero, sd_parts, **NO_CHECK), **few),
        "t2vzero_sdxl": film(zero_large, built(zero_large, xl_parts, scheduler=ddim), **few),
    }


VARIANTS: dict[str, Variant] = pictures() | films()
