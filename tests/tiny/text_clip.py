"""Tiny CLIP parts: a tokenizer that needs no files, text models with few weights, and the picture side."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

START, END = "<|startoftext|>", "<|endoftext|>"
# 256 byte symbols, the same with the end-of-word mark, and the two marks around a text
VOCABULARY = 514


def byte_symbols() -> list[str]:
    """The 256 printable characters by which byte-level tokenizers (GPT-2, CLIP, Qwen) write bytes, in byte order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def clip_tokenizer(length: int = 77) -> CLIPTokenizer:
    """A CLIP tokenizer without merges: one token for each byte."""
    symbols = byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), START, END]
    return CLIPTokenizer(vocab={word: place for place, word in enumerate(words)}, merges=[], model_max_length=length)


def text_config(width: int, projection: int, layers: int = 2) -> CLIPTextConfig:
    """What both CLIP text models are made of; the ids of the marks have to be those of `clip_tokenizer`."""
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 2,
        projection_dim=projection,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
    )


def clip_text(width: int = 32) -> CLIPTextModel:
    """A CLIP text model whose tokens are `width` numbers."""
    return CLIPTextModel(text_config(width, width)).eval()


def clip_text_projected(width: int = 32, projection: int = 32) -> CLIPTextModelWithProjection:
    """The second text model of SDXL: `width` numbers for each token, `projection` for the text as a whole."""
    return CLIPTextModelWithProjection(text_config(width, projection)).eval()


def clip_vision_config(side: int, patch: int, width: int, projection: int) -> CLIPVisionConfig:
    """What a CLIP picture model is made of, `side` and `patch` in px."""
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=width * 2,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        patch_size=patch,
    )


def clip_vision(side: int = 224, patch: int = 56, width: int = 32, projection: int = 32) -> CLIPVisionModelWithProjection:
    """A CLIP picture model for pictures of `side` px; some pipelines resize to 224 px whatever the model says."""
    return CLIPVisionModelWithProjection(clip_vision_config(side, patch, width, projection)).eval()


def clip_pictures(side: int = 224) -> Any:
    """What brings a picture to `side` px for `clip_vision`."""
    size = {"height": side, "width": side}
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size)
