"""Tiny CogVideoX pipelines: the 2B, 5B and 1.5 kinds, text, image, video and control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXFunControlPipeline,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    CogVideoXVideoToVideoPipeline,
)
from tests.tiny.seeded import dezero, louder, seeded
from tests.tiny.text_t5 import t5_encoder, t5_tokenizer
from tests.tiny.variant import Variant

TEXT_WIDTH = 32
TOKENS = 226


def _vae(scaling: float, inverted: bool) -> AutoencoderKLCogVideoX:
    """The autoencoder: four blocks, so 8 times smaller in space, 4 times in time."""
    with seeded(31):
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 12, 16),
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=2,
            temporal_compression_ratio=4,
            sample_height=48,
            sample_width=48,
            scaling_factor=scaling,
            invert_scale_latents=inverted,
        )
    return vae.eval()


def _transformer(**more: Any) -> CogVideoXTransformer3DModel:
    """The denoiser; `more` goes to its constructor. A latent of 32 x 32 px is 4 x 4, which is what it was made for."""
    # CogVideoX 1.5 cuts its positions from a table for the largest size, here 128 x 128 px.
    side = 16 if "patch_size_t" in more else 4
    with seeded(32):
        transformer = CogVideoXTransformer3DModel(
            num_attention_heads=3,
            attention_head_dim=16,
            time_embed_dim=12,
            text_embed_dim=TEXT_WIDTH,
            num_layers=2,
            sample_width=side,
            sample_height=side,
            sample_frames=9,
            temporal_compression_ratio=4,
            max_text_seq_length=TOKENS,
            **more,
        )
    # 226 text tokens, nearly all padding: without this a prompt is hardly heard.
    return louder(dezero(transformer), {"attn1.to_v": 2.0, "attn1.to_out.0.weight": 2.0}).eval()


def _builder(pipeline: type[Any], kind: str = "2b", **more: Any) -> Callable[[], Any]:
    """A builder of a `pipeline`; `kind` is "2b" (fixed positions), "5b" (rotary) or "15" (rotary, two frames a patch)."""

    def build() -> Any:
        tokenizer = t5_tokenizer()
        shape = dict(more)
        if kind != "2b":
            shape["use_rotary_positional_embeddings"] = True
        if kind == "15":
            shape |= {"patch_size_t": 2, "patch_bias": False}
        # The control pipeline has no call for the DPM solver's longer step.
        plain = kind == "2b" or pipeline is CogVideoXFunControlPipeline
        scheduler = CogVideoXDDIMScheduler if plain else CogVideoXDPMScheduler
        return pipeline(
            tokenizer=tokenizer,
            text_encoder=t5_encoder(TEXT_WIDTH, tokenizer),
            vae=_vae(1.15258426 if kind == "2b" else 0.7, inverted=kind == "15"),
            transformer=_transformer(**shape),
            scheduler=scheduler(
                beta_schedule="scaled_linear",
                beta_start=0.00085,
                beta_end=0.012,
                clip_sample=False,
                prediction_type="v_prediction",
                rescale_betas_zero_snr=True,
                set_alpha_to_one=True,
                snr_shift_scale=3.0 if kind == "2b" else 1.0,
                timestep_spacing="trailing",
            ),
        )

    return build


def _variant(pipeline: type[Any], kind: str, *roles: str, **more: Any) -> Variant:
    """A variant of CogVideoX. Its frames are 8k+1: the autoencoder works on pairs of latent frames after the first.

    With an even count of them, as 13 frames give, each pair counts in full, and 16 frames come back.
    """
    return Variant(_builder(pipeline, kind, **more), pipeline.__name__, roles, step=8, loras=True)


VARIANTS: dict[str, Variant] = {
    "cogvideox_t2v": _variant(CogVideoXPipeline, "2b"),
    "cogvideox_5b": _variant(CogVideoXPipeline, "5b"),
    "cogvideox_15": _variant(CogVideoXPipeline, "15"),
    # As the 5B model: the picture beside the noise, and a table of learned positions besides the rotary ones, which
    # holds one size only, 32 x 32 px.
    "cogvideox_i2v": _variant(
        CogVideoXImageToVideoPipeline, "5b", "first_frame", in_channels=32, use_learned_positional_embeddings=True
    ),
    "cogvideox_i2v15": _variant(CogVideoXImageToVideoPipeline, "15", "first_frame", in_channels=32, ofs_embed_dim=12),
    "cogvideox_v2v": _variant(CogVideoXVideoToVideoPipeline, "2b", "source"),
    "cogvideox_fun": _variant(CogVideoXFunControlPipeline, "5b", "control", in_channels=32),
}
