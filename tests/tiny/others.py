"""Tiny pipelines of families that come with one class each."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import diffusers
import torch
from diffusers import (
    AllegroTransformer3DModel,
    AutoencoderKLAllegro,
    AutoencoderKLCosmos,
    AutoencoderKLMagvit,
    AutoencoderKLWan,
    ConfigMixin,
    CosmosTransformer3DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EasyAnimateTransformer3DModel,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeliosScheduler,
    HeliosTransformer3DModel,
    Kandinsky5Transformer3DModel,
    LatteTransformer3DModel,
    ModelMixin,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers import transformer_cosmos
from diffusers.utils import is_torchvision_available
from tests.tiny.hunyuan import video_vae
from tests.tiny.sd import picture_vae
from tests.tiny.seeded import dezero, seeded
from tests.tiny.text_clip import clip_text, clip_tokenizer
from tests.tiny.text_llama import qwen, qwen_first, qwen_tokenizer, trained_words
from tests.tiny.text_t5 import t5_encoder, t5_tokenizer, umt5_encoder
from tests.tiny.variant import Variant
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

TEXT = 32
HEADS, HEAD = 2, 12
INNER = HEADS * HEAD


def wan_vae() -> AutoencoderKLWan:
    """Wan's video VAE, which others use too; it has a mean and a spread for each of its 16 channels, so they stay 16."""
    return AutoencoderKLWan(base_dim=4, num_res_blocks=1, temperal_downsample=[False, True, True]).eval()


def build_latte() -> Any:
    """Latte: a picture VAE, a transformer that also guesses the variance, so twice the channels come out."""
    with seeded():
        made = LatteTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=HEAD,
            in_channels=4,
            out_channels=8,
            num_layers=1,
            cross_attention_dim=INNER,
            attention_bias=True,
            sample_size=8,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            caption_channels=TEXT,
            video_length=4,
        )
        return diffusers.LattePipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=t5_encoder(TEXT),
            vae=picture_vae(),
            transformer=dezero(made).eval(),
            scheduler=DDIMScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False),
        )


def build_allegro() -> Any:
    """Allegro; its VAE decodes tiles only, of 24 frames and `sample_size` px, and only with tiling on."""
    with seeded():
        made = AllegroTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=HEAD,
            num_layers=1,
            cross_attention_dim=INNER,
            sample_height=16,
            sample_width=16,
            sample_frames=6,
            caption_channels=TEXT,
            interpolation_scale_h=1.0,
            interpolation_scale_w=1.0,
            interpolation_scale_t=1.0,
        )
        vae = AutoencoderKLAllegro(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=128)
        vae.enable_tiling()
        return diffusers.AllegroPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=t5_encoder(TEXT),
            vae=vae.eval(),
            transformer=dezero(made).eval(),
            scheduler=EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        )


def build_easyanimate() -> Any:
    """EasyAnimate 5.1: Qwen2-VL for the text."""
    with seeded():
        made = EasyAnimateTransformer3DModel(
            num_attention_heads=HEADS,
            # 16 is the smallest that the rotary positions of three axes can be cut from
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            patch_size=2,
            sample_width=4,
            sample_height=4,
            num_layers=2,
            mmdit_layers=1,
            time_embed_dim=8,
            text_embed_dim=TEXT,
        )
        vae = AutoencoderKLMagvit(
            latent_channels=4, block_out_channels=[8, 8, 16, 16], layers_per_block=1, norm_num_groups=4, spatial_group_norm=False
        )
        return diffusers.EasyAnimatePipeline(
            vae=vae.eval(),
            text_encoder=qwen_first(TEXT),
            tokenizer=qwen_tokenizer(),
            transformer=dezero(made).eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(),
        )


def build_kandinsky() -> Any:
    """Kandinsky 5: Qwen2.5-VL and CLIP for the text, HunyuanVideo's VAE."""
    with seeded():
        made = Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            in_text_dim=TEXT,
            in_text_dim2=24,
            time_dim=16,
            out_visual_dim=4,
            model_dim=INNER,
            ff_dim=INNER * 2,
            num_text_blocks=1,
            num_visual_blocks=1,
            axes_dims=(4, 4, 4),
        )
        return diffusers.Kandinsky5T2VPipeline(
            transformer=dezero(made).eval(),
            vae=video_vae(),
            text_encoder=qwen(TEXT),
            tokenizer=qwen_tokenizer(),
            text_encoder_2=clip_text(24),
            tokenizer_2=clip_tokenizer(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        )


@cache
def _gemma_words() -> str:
    """A tokenizer as JSON that knows the words of the instruction which Sana-Video puts before each prompt."""
    asked = inspect.signature(SanaVideoPipeline.__call__).parameters["complex_human_instruction"].default
    trained = trained_words(["\n".join(asked)], ["<pad>", "<eos>", "<bos>", "<unk>"], "")
    # the pipeline takes the first token of the text apart: it has to be the mark of a beginning
    trained.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return trained.to_str()


def gemma() -> dict[str, Any]:
    """The text model of Sana-Video and its tokenizer."""
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_gemma_words()), model_max_length=2048, **marks)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=TEXT,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return {"tokenizer": tokenizer, "text_encoder": Gemma2Model(config).eval()}


def build_sana() -> Any:
    """Sana-Video with linear attention and Wan's VAE."""
    with seeded():
        made = SanaVideoTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=HEAD,
            num_layers=1,
            num_cross_attention_heads=HEADS,
            cross_attention_head_dim=HEAD,
            cross_attention_dim=INNER,
            caption_channels=TEXT,
            rope_max_seq_len=64,
        )
        return diffusers.SanaVideoPipeline(
            **gemma(),
            vae=wan_vae(),
            transformer=dezero(made).eval(),
            scheduler=DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=8.0, prediction_type="flow_prediction"),
        )


def build_helios() -> Any:
    """Helios: chunks of nine latent frames, with what came before at three scales."""
    with seeded():
        made = HeliosTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=HEAD,
            text_dim=TEXT,
            freq_dim=16,
            ffn_dim=32,
            num_layers=2,
            rope_dim=(4, 4, 4),
        )
        return diffusers.HeliosPipeline(
            tokenizer=t5_tokenizer(),
            text_encoder=umt5_encoder(TEXT),
            vae=wan_vae(),
            scheduler=HeliosScheduler(stages=1, stage_range=[0, 1], gamma=1 / 3),
            transformer=dezero(made).eval(),
        )


class Unchecked(ModelMixin, ConfigMixin):
    """In place of NVIDIA's guardrail, a package of its own, without which the pipeline does not start: lets all pass."""

    @register_to_config
    def __init__(self) -> None:
        """Models have at least one weight."""
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def check_text_safety(self, text: str) -> bool:
        """Whether `text` may be used: it may."""
        return True

    def check_video_safety(self, video: Any) -> Any:
        """`video` without what must not be seen: as it is."""
        return video


class Transforms:
    """What Cosmos's transformer calls of torchvision's module of this name, which is not installed here."""

    class InterpolationMode:
        """The one way of resizing that is asked for."""

        NEAREST = "nearest"

    class functional:  # noqa: N801 - torchvision's name
        """The module of functions."""

        @staticmethod
        def resize(picture: torch.Tensor, size: list[int], interpolation: str) -> torch.Tensor:
            """`picture` at `size`."""
            return torch.nn.functional.interpolate(picture, size=size, mode=interpolation)


def build_cosmos() -> Any:
    """Cosmos 1: T5 for the text, a VAE that shrinks eight times each way."""
    if not is_torchvision_available():
        transformer_cosmos.transforms = Transforms
    with seeded():
        made = CosmosTransformer3DModel(
            num_attention_heads=HEADS,
            attention_head_dim=16,
            num_layers=2,
            mlp_ratio=2.0,
            text_embed_dim=TEXT,
            adaln_lora_dim=4,
            max_size=(4, 16, 16),
        )
        vae = AutoencoderKLCosmos(
            encoder_block_out_channels=(8, 8, 8, 8),
            decode_block_out_channels=(8, 8, 8, 8),
            attention_resolutions=(),
            num_layers=1,
        )
        return diffusers.CosmosTextToWorldPipeline(
            text_encoder=t5_encoder(TEXT),
            tokenizer=t5_tokenizer(),
            transformer=dezero(made).eval(),
            vae=vae.eval(),
            scheduler=EDMEulerScheduler(),
            safety_checker=Unchecked().eval(),
        )


VARIANTS: dict[str, Variant] = {
    # Its positions along time are a table that is added whole: frames are as many as in it (or one): no step.
    "latte": Variant(build_latte, "LattePipeline", (), (64, 64), frames=4, given=4, step=0, offset=4),
    "allegro": Variant(build_allegro, "AllegroPipeline", (), (128, 128), 24, 24, step=16, offset=24, size_step=8),
    # without one it fails: it expects a list of them
    "easyanimate": Variant(build_easyanimate, "EasyAnimatePipeline", call={"negative_prompt": ""}),
    "kandinsky5_t2v": Variant(build_kandinsky, "Kandinsky5T2VPipeline", loras=True),
    # the resolutions that it would otherwise choose from are those of the real models
    "sana_video": Variant(build_sana, "SanaVideoPipeline", size_step=32, call={"use_resolution_binning": False}, loras=True),
    "helios": Variant(build_helios, "HeliosPipeline", (), frames=33, given=33, step=33, offset=0, loras=True),
    "cosmos1": Variant(build_cosmos, "CosmosTextToWorldPipeline", (), (64, 64), step=8),
}
