"""Tiny pipelines of HunyuanVideo-1.5."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Transformer3DModel,
)
from tests.tiny.hunyuan import siglip, siglip_pictures
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_llama import qwen_text, qwen_tokenizer
from tests.tiny.variant import Variant
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

TEXT, GLYPHS, SEEN = 32, 16, 16
LATENT = 4


def transformer(task: str) -> HunyuanVideo15Transformer3DModel:
    """A transformer of one block; a width of 2048 in one of its projections is fixed, which makes most of its weights."""
    made = HunyuanVideo15Transformer3DModel(
        # noise, the picture's latents and a mask
        in_channels=LATENT * 2 + 1,
        out_channels=LATENT,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=TEXT,
        text_embed_2_dim=GLYPHS,
        image_embed_dim=SEEN,
        rope_axes_dim=(4, 4, 4),
        # px of a square of the area that the pipeline aims at when it is told no size
        target_size=32,
        task_type=task,
    )
    return dezero(made).eval()


def video_vae() -> AutoencoderKLHunyuanVideo15:
    """A video VAE that shrinks sixteen times in space, four in time."""
    return AutoencoderKLHunyuanVideo15(
        latent_channels=LATENT,
        block_out_channels=(8, 8, 8, 8, 8),
        layers_per_block=1,
    ).eval()


def glyph_text() -> T5EncoderModel:
    """The ByT5 encoder, which reads what a prompt puts in quotation marks."""
    tokenizer = ByT5Tokenizer()
    sizes = {"d_model": GLYPHS, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), dropout_rate=0.0, **sizes)).eval()


def parts(task: str) -> dict[str, Any]:
    """What both pipelines have."""
    return {
        "transformer": transformer(task),
        "text_encoder": qwen_text(TEXT),
        "tokenizer": qwen_tokenizer(),
        "text_encoder_2": glyph_text(),
        "tokenizer_2": ByT5Tokenizer(),
        "vae": video_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "guider": ClassifierFreeGuidance(guidance_scale=6.0),
    }


def build_text() -> Any:
    """Text to video."""
    with seeded():
        return diffusers.HunyuanVideo15Pipeline(**parts("t2v"))


def build_picture() -> Any:
    """Picture to video; the pipeline counts on 729 picture tokens, 27 x 27 patches."""
    with seeded():
        return diffusers.HunyuanVideo15ImageToVideoPipeline(
            **parts("i2v"), image_encoder=siglip(54, 2, SEEN), feature_extractor=siglip_pictures(54)
        )


VARIANTS: dict[str, Variant] = {
    "hunyuan15_t2v": Variant(build_text, "HunyuanVideo15Pipeline"),
    "hunyuan15_i2v": Variant(build_picture, "HunyuanVideo15ImageToVideoPipeline", ("first_frame",)),
}
