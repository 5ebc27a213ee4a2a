"""Tiny pipelines of the HunyuanVideo family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoFramepackTransformer3DModel,
    HunyuanVideoTransformer3DModel,
)
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_clip import clip_pictures, clip_text, clip_tokenizer
from tests.tiny.text_llama import llama, llama_tokenizer, llava
from tests.tiny.variant import Variant
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

TEXT, POOLED, SEEN = 32, 24, 16
# numbers of a latent pixel
LATENT = 4


def video_vae(widths: tuple[int, ...] = (8, 8, 16, 16), latent: int = LATENT) -> AutoencoderKLHunyuanVideo:
    """A video VAE that shrinks eight times in space and four in time; Kandinsky uses this class too."""
    return AutoencoderKLHunyuanVideo(
        latent_channels=latent, block_out_channels=widths, layers_per_block=1, norm_num_groups=4
    ).eval()


def sizes() -> dict[str, Any]:
    """What all transformers of this family are configured with."""
    return {
        "out_channels": LATENT,
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 1,
        "num_single_layers": 1,
        "num_refiner_layers": 1,
        "mlp_ratio": 2.0,
        "text_embed_dim": TEXT,
        "pooled_projection_dim": POOLED,
        # of the numbers of a head, for time, height and width
        "rope_axes_dim": (4, 4, 4),
    }


def transformer(**changed: Any) -> HunyuanVideoTransformer3DModel:
    """A transformer with one block of each kind."""
    made = HunyuanVideoTransformer3DModel(**(sizes() | {"in_channels": LATENT} | changed))
    return dezero(made).eval()


def framepack_transformer() -> HunyuanVideoFramepackTransformer3DModel:
    """A transformer that also takes what was made before, at three scales, and what a picture model saw."""
    made = HunyuanVideoFramepackTransformer3DModel(
        **sizes(), in_channels=LATENT, has_image_proj=True, image_proj_dim=SEEN, has_clean_x_embedder=True
    )
    return dezero(made).eval()


def siglip(side: int, patch: int, width: int) -> SiglipVisionModel:
    """A SigLIP picture model for pictures of `side` px."""
    config = SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=width * 2,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=patch,
    )
    return SiglipVisionModel(config).eval()


def siglip_pictures(side: int) -> Any:
    """What brings a picture to `side` px for `siglip`."""
    return SiglipImageProcessor(size={"height": side, "width": side})


def parts(denoiser: Any, text: Any) -> dict[str, Any]:
    """What each pipeline of the family has, beside its transformer and its first text model."""
    return {
        "transformer": denoiser,
        "text_encoder": text,
        "tokenizer": llama_tokenizer(),
        "text_encoder_2": clip_text(POOLED),
        "tokenizer_2": clip_tokenizer(),
        "vae": video_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }


def build_text() -> Any:
    """Text to video."""
    with seeded():
        return diffusers.HunyuanVideoPipeline(**parts(transformer(guidance_embeds=True), llama(TEXT)))


def build_picture(**changed: Any) -> Any:
    """Picture to video, with a transformer that differs by `changed`."""
    with seeded():
        made = parts(transformer(**changed), llava(TEXT))
        return diffusers.HunyuanVideoImageToVideoPipeline(**made, image_processor=clip_pictures(48))


def build_concat() -> Any:
    """Picture to video: the picture's latents and a mask beside the noise. Such a pipeline gives four frames fewer."""
    return build_picture(in_channels=LATENT * 2 + 1, guidance_embeds=False, image_condition_type="latent_concat")


def build_replace() -> Any:
    """Picture to video: the first latent frame is the picture's at each step."""
    return build_picture(guidance_embeds=True, image_condition_type="token_replace")


def build_framepack() -> Any:
    """Picture to video in sections, each with what came before it in view."""
    with seeded():
        return diffusers.HunyuanVideoFramepackPipeline(
            **parts(framepack_transformer(), llama(TEXT)),
            image_encoder=siglip(32, 8, SEEN),
            feature_extractor=siglip_pictures(32),
        )


def build_skyreels() -> Any:
    """SkyReels-V1: the picture's latents beside the noise, no mask."""
    with seeded():
        denoiser = transformer(in_channels=LATENT * 2, guidance_embeds=True)
        return diffusers.HunyuanSkyreelsImageToVideoPipeline(**parts(denoiser, llama(TEXT)))


def variant(name: str, build: Callable[[], Any], *roles: str, given: int = 9, **call: Any) -> Variant:
    """A variant of this family, which all know LoRAs."""
    return Variant(build, name, roles, given=given, call=call, loras=True)


VARIANTS: dict[str, Variant] = {
    "hunyuan_t2v": variant("HunyuanVideoPipeline", build_text),
    "hunyuan_i2v": variant("HunyuanVideoImageToVideoPipeline", build_concat, "first_frame", given=5),
    "hunyuan_i2v_replace": variant("HunyuanVideoImageToVideoPipeline", build_replace, "first_frame"),
    # It makes whole sections: nine frames asked for, twelve made and the picture. The real window is nine latent frames.
    "framepack": Variant(
        build_framepack,
        "HunyuanVideoFramepackPipeline",
        ("first_frame",),
        given=13,
        step=9,
        offset=0,
        call={"latent_window_size": 3},
        loras=True,
    ),
    "hunyuan_skyreels_i2v": variant("HunyuanSkyreelsImageToVideoPipeline", build_skyreels, "first_frame"),
}
