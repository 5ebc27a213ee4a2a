"""T5 and UMT5: a tokenizer made in memory and encoders of a few thousand weights."""

from __future__ import annotations

import string
from typing import Any

from tests.tiny.seeded import seeded
from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

LINES = (
    "a an the and of in on over under with by at to from red blue green white black golden small big old young quiet bright",
    "dog cat fox bird horse fish child woman man robot boat train car house tree forest river sea sky moon sun city street",
    "runs walks jumps flies sails sleeps turns looks slow fast night day morning rain snow wind fire light camera pans zooms",
)
WORDS = [word for line in LINES for word in line.split()]

CHARACTERS = string.ascii_letters + string.digits + string.punctuation


def t5_tokenizer() -> T5Tokenizer:
    """A T5 tokenizer that knows `WORDS` whole and spells out the rest, so that no two prompts become the same ids."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = [(f"▁{word}", -4.0) for word in WORDS]
    # Letters cost more than words: the model of SentencePiece takes the cheapest way through the text.
    letters = [(letter, -8.0) for letter in CHARACTERS]
    return T5Tokenizer(vocab=special + words + letters, extra_ids=0)


def _sizes(width: int, vocab_from: Any) -> dict[str, Any]:
    """What both kinds of encoder are configured with."""
    tokenizer = vocab_from if vocab_from is not None else t5_tokenizer()
    return {
        "vocab_size": len(tokenizer),
        "d_model": width,
        "d_kv": 8,
        "d_ff": 2 * width,
        "num_heads": 3,
        "num_layers": 2,
        "relative_attention_num_buckets": 10,
        "relative_attention_max_distance": 40,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu",
    }


def t5_encoder(width: int = 32, vocab_from: Any = None) -> T5EncoderModel:
    """A T5 encoder in eval mode, `width` wide, for the ids of `vocab_from` (a tokenizer; `t5_tokenizer()` if None)."""
    with seeded(11):
        return T5EncoderModel(T5Config(**_sizes(width, vocab_from))).eval()


def umt5_encoder(width: int = 32, vocab_from: Any = None) -> UMT5EncoderModel:
    """Like `t5_encoder`, of the kind that the Wan family uses (each layer has its own position table)."""
    with seeded(12):
        return UMT5EncoderModel(UMT5Config(**_sizes(width, vocab_from))).eval()
