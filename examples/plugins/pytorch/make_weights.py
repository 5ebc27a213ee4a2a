"""Write weights for the network: python make_weights.py FILE. Where this draws numbers, your own training would end."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from ripples.network import Generator
from safetensors.torch import save_file


def make(path: Path) -> Path:
    """Write them to `path`; the same each time."""
    torch.manual_seed(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(Generator().state_dict(), path)
    return path


if __name__ == "__main__":
    print(f"wrote {make(Path(sys.argv[1]).expanduser())}")
