"""Tiny pipelines with UNets that look along time: Stable Video Diffusion, ModelScope, I2VGenXL."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers import (
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    EulerDiscreteScheduler,
    I2VGenXLUNet,
    UNet3DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from tests.tiny.sd import TEXT, ddim, picture_vae
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_clip import clip_pictures, clip_text, clip_tokenizer, clip_vision
from tests.tiny.variant import Variant

# Stable Video Diffusion's blocks hard-code 32 groups
WIDTHS = (32, 64)
# it tells the UNet frame rate, motion and noise of the picture as three numbers, each spread over so many
SPREAD = 8


def svd_unet() -> UNetSpatioTemporalConditionModel:
    """Stable Video Diffusion's UNet: noise and the picture's latents in."""
    made = UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        addition_time_embed_dim=SPREAD,
        projection_class_embeddings_input_dim=3 * SPREAD,
        layers_per_block=1,
        cross_attention_dim=TEXT,
        num_attention_heads=(2, 4),
        num_frames=4,
    )
    return dezero(made).eval()


def svd_vae() -> AutoencoderKLTemporalDecoder:
    """Stable Video Diffusion's VAE, whose decoder looks along time; four stages, three of which halve."""
    made = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, sample_size=64
    )
    return made.eval()


def build_svd() -> Any:
    """Picture to video without a text."""
    with seeded():
        return diffusers.StableVideoDiffusionPipeline(
            vae=svd_vae(),
            # the pipeline resizes to 224 px whatever the model says
            image_encoder=clip_vision(side=224, patch=56, projection=TEXT),
            unet=svd_unet(),
            scheduler=EulerDiscreteScheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                prediction_type="v_prediction",
                use_karras_sigmas=True,
                sigma_min=0.002,
                sigma_max=700.0,
                timestep_type="continuous",
                timestep_spacing="leading",
                steps_offset=1,
            ),
            feature_extractor=clip_pictures(),
        )


def film_sizes() -> dict[str, Any]:
    """What ModelScope's UNet and I2VGenXL's are configured with."""
    return {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
        "cross_attention_dim": TEXT,
        "norm_num_groups": 4,
    }


def film_parts() -> dict[str, Any]:
    """What ModelScope's pipelines have; the last of the convolutions along time are zeros at first."""
    return {
        "vae": picture_vae(),
        "text_encoder": clip_text(TEXT),
        "tokenizer": clip_tokenizer(),
        "unet": dezero(UNet3DConditionModel(**film_sizes(), attention_head_dim=4)).eval(),
        "scheduler": ddim(),
    }


def build_text() -> Any:
    """ModelScope's text to video."""
    with seeded():
        return diffusers.TextToVideoSDPipeline(**film_parts())


def build_changed() -> Any:
    """ModelScope's video to video."""
    with seeded():
        return diffusers.VideoToVideoSDPipeline(**film_parts())


def build_i2vgenxl() -> Any:
    """Picture and text to video."""
    with seeded():
        return diffusers.I2VGenXLPipeline(
            vae=picture_vae(),
            text_encoder=clip_text(TEXT),
            tokenizer=clip_tokenizer(),
            image_encoder=clip_vision(side=224, patch=56, projection=TEXT),
            feature_extractor=clip_pictures(),
            unet=dezero(I2VGenXLUNet(**film_sizes(), attention_head_dim=2)).eval(),
            scheduler=DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False, set_alpha_to_one=False),
        )


def variant(build: Any, name: str, *roles: str, **more: Any) -> Variant:
    """A variant that makes any number of frames."""
    return Variant(build, name, roles, (64, 64), frames=4, given=4, step=1, size_step=8, **more)


VARIANTS: dict[str, Variant] = {
    "svd": variant(build_svd, "StableVideoDiffusionPipeline", "first_frame", prompt=False),
    "t2vsd": variant(build_text, "TextToVideoSDPipeline"),
    "v2vsd": variant(build_changed, "VideoToVideoSDPipeline", "source"),
    # its default, one, fails with transformers 5 (diffusers issue 14124)
    "i2vgenxl": variant(build_i2vgenxl, "I2VGenXLPipeline", "first_frame", call={"clip_skip": None}),
}
