"""Weights that are the same each time, and not zero where a zero would hide an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Torch's CPU generator restarts at `seed` inside and is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def dezero(module: Module, spread: float = 0.2, seed: int = 1) -> Module:
    """Give random values to the all-zero parameters of `module` through which an input passes; returns `module`.

    Many models start such layers (gates, last projections, position tables) at zero, so that untrained they do nothing.
    """
    with seeded(seed), torch.no_grad():
        for name, weight in module.named_parameters():
            # A bias only adds a constant: at zero it hides nothing.
            if not name.endswith("bias") and not weight.any():
                weight.normal_(0.0, spread)
    return module


def louder(module: Module, gains: Mapping[str, float]) -> Module:
    """Multiply the parameters of `module` whose name contains a key of `gains` by its value; returns `module`.

    Layers start so small that what a few of them carry, a prompt above all, drowns in what passes beside them.
    """
    with torch.no_grad():
        for name, weight in module.named_parameters():
            for part, gain in gains.items():
                if part in name:
                    weight.mul_(gain)
    return module
