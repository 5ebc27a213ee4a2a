"""Tiny LTX-2 pipelines: video with sound from text, pictures or conditions; latent upscaling."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2ConditionPipeline,
    LTX2ImageToVideoPipeline,
    LTX2LatentUpsamplePipeline,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from tests.tiny.seeded import dezero, louder, seeded
from tests.tiny.variant import Variant
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, GemmaTokenizer

LATENT = 8
TEXT_WIDTH = 24
TEXT_LAYERS = 2
MEL_BINS = 16
AUDIO_LATENT = 4
AUDIO_WIDTH = AUDIO_LATENT * MEL_BINS // 4
"""Channels of a sound latent as the denoiser sees it: mel bands, four times fewer, times channels."""


def gemma_tokenizer() -> GemmaTokenizer:
    """A Gemma tokenizer that spells: each printable ASCII character is a token."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_letters, *string.digits, *string.punctuation]
    return GemmaTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], padding_side="left")


def _text_encoder(vocabulary: int) -> Gemma3ForConditionalGeneration:
    """Gemma 3 with two layers and a vision tower that no test looks through."""
    with seeded(61):
        config = Gemma3Config(
            text_config={
                "vocab_size": vocabulary,
                "hidden_size": TEXT_WIDTH,
                "intermediate_size": 40,
                "num_hidden_layers": TEXT_LAYERS,
                "num_attention_heads": 3,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "max_position_embeddings": 1024,
                "sliding_window": 64,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 20,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
            },
            mm_tokens_per_image=4,
            # The ids for pictures must be in the vocabulary too.
            boi_token_index=4,
            eoi_token_index=4,
            image_token_index=4,
            initializer_range=0.3,
        )
        return dezero(Gemma3ForConditionalGeneration(config)).eval()


def _connectors() -> LTX2TextConnectors:
    """What turns the hidden states of all of Gemma's layers into a prompt for the picture and one for the sound."""
    with seeded(62):
        connectors = LTX2TextConnectors(
            caption_channels=TEXT_WIDTH,
            text_proj_in_factor=TEXT_LAYERS + 1,
            video_connector_num_attention_heads=3,
            video_connector_attention_head_dim=8,
            video_connector_num_layers=1,
            video_connector_num_learnable_registers=16,
            audio_connector_num_attention_heads=3,
            audio_connector_attention_head_dim=8,
            audio_connector_num_layers=1,
            audio_connector_num_learnable_registers=16,
        )
    return dezero(connectors).eval()


def _vae() -> AutoencoderKLLTX2Video:
    """The autoencoder of the picture: 32 times smaller in space, 8 times in time; channels double on the way."""
    with seeded(63):
        vae = AutoencoderKLLTX2Video(
            latent_channels=LATENT,
            block_out_channels=(8, 8, 16, 32),
            decoder_block_out_channels=(8, 16, 32),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1),
            patch_size=4,
            # Diffusers would count one halving too many in each direction.
            spatial_compression_ratio=32,
            temporal_compression_ratio=8,
        )
    return vae.eval()


def _audio_parts() -> dict[str, Any]:
    """The autoencoder of the sound and the vocoder, which makes 240 samples of 24 kHz from a column of 160 of 16 kHz."""
    with seeded(64):
        audio = AutoencoderKLLTX2Audio(
            base_channels=AUDIO_WIDTH,
            ch_mult=(1, 1, 2),
            num_res_blocks=1,
            latent_channels=AUDIO_LATENT,
            mel_bins=MEL_BINS,
            resolution=32,
        )
        vocoder = LTX2Vocoder(
            in_channels=2 * MEL_BINS,
            hidden_channels=32,
            upsample_kernel_sizes=[16, 15, 8, 8],
            upsample_factors=[6, 5, 4, 2],
            resnet_kernel_sizes=[3, 5],
            resnet_dilations=[[1, 2], [1, 2]],
        )
    return {"audio_vae": dezero(audio).eval(), "vocoder": dezero(vocoder).eval()}


def _transformer() -> LTX2VideoTransformer3DModel:
    """The denoiser of both picture and sound."""
    with seeded(65):
        transformer = LTX2VideoTransformer3DModel(
            in_channels=LATENT,
            out_channels=LATENT,
            num_attention_heads=3,
            attention_head_dim=16,
            cross_attention_dim=48,
            audio_in_channels=AUDIO_WIDTH,
            audio_out_channels=AUDIO_WIDTH,
            audio_num_attention_heads=3,
            audio_attention_head_dim=8,
            audio_cross_attention_dim=24,
            num_layers=2,
            caption_channels=TEXT_WIDTH,
        )
    return louder(dezero(transformer), {"attn2.norm_q": 3.0, "attn2.to_out.0.weight": 6.0}).eval()


def _builder(pipeline: type[Any]) -> Callable[[], Any]:
    """A builder of a `pipeline` with all of LTX-2's parts."""

    def build() -> Any:
        tokenizer = gemma_tokenizer()
        return pipeline(
            tokenizer=tokenizer,
            text_encoder=_text_encoder(len(tokenizer)),
            connectors=_connectors(),
            vae=_vae(),
            transformer=_transformer(),
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_shift=0.95,
                max_shift=2.05,
                base_image_seq_len=1024,
                max_image_seq_len=4096,
                shift_terminal=0.1,
            ),
            **_audio_parts(),
        )

    return build


def _upsample() -> LTX2LatentUpsamplePipeline:
    """The latent upscaler: twice as wide and high. Its norms have 32 groups, so no fewer channels."""
    with seeded(66):
        upsampler = LTX2LatentUpsamplerModel(in_channels=LATENT, mid_channels=32, num_blocks_per_stage=1)
    return LTX2LatentUpsamplePipeline(vae=_vae(), latent_upsampler=dezero(upsampler).eval())


def _variant(pipeline: type[Any], *roles: str) -> Variant:
    """A variant that gives picture and sound."""
    return Variant(_builder(pipeline), pipeline.__name__, roles, size=(64, 64), step=8, size_step=32, loras=True, audio=True)


VARIANTS: dict[str, Variant] = {
    "ltx2_t2v": _variant(LTX2Pipeline),
    "ltx2_i2v": _variant(LTX2ImageToVideoPipeline, "first_frame"),
    "ltx2_condition": _variant(LTX2ConditionPipeline, "first_frame"),
    "ltx2_upsample": Variant(
        _upsample, "LTX2LatentUpsamplePipeline", ("source",), size=(64, 64), step=8, size_step=32, prompt=False
    ),
}
