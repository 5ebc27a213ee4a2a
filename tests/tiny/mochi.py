"""A tiny Mochi pipeline."""

from __future__ import annotations

from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_t5 import t5_encoder, t5_tokenizer
from tests.tiny.variant import Variant

TEXT_WIDTH = 32


def _vae() -> AutoencoderKLMochi:
    """The autoencoder: 8 times smaller in space, 6 times in time. Its norms have 32 groups, so no fewer channels."""
    with seeded(41):
        vae = AutoencoderKLMochi(
            encoder_block_out_channels=(32, 32, 32, 32),
            decoder_block_out_channels=(32, 32, 32, 32),
            latent_channels=12,
            layers_per_block=(1, 1, 1, 1, 1),
            add_attention_block=(False, False, False, False, False),
        )
    return vae.eval()


def _transformer() -> MochiTransformer3DModel:
    """The denoiser. Its time embedding has 8 heads whatever its size, hence the text width."""
    with seeded(42):
        transformer = MochiTransformer3DModel(
            num_attention_heads=3,
            attention_head_dim=16,
            num_layers=2,
            pooled_projection_dim=20,
            text_embed_dim=TEXT_WIDTH,
            time_embed_dim=12,
            max_sequence_length=256,
        )
    return dezero(transformer).eval()


def _t2v() -> MochiPipeline:
    """Mochi 1: text to video."""
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = 256
    return MochiPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(TEXT_WIDTH, tokenizer),
        vae=_vae(),
        transformer=_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        force_zeros_for_empty_prompt=True,
    )


VARIANTS: dict[str, Variant] = {
    "mochi_t2v": Variant(_t2v, "MochiPipeline", frames=7, given=7, step=6, loras=True),
}
