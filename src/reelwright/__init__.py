"""Reelwright: storyboards become films, with any video model or none.

The names below are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "agenerate_video": "reelwright.films",
    "generate": "reelwright.films",
    "generate_video": "reelwright.films",
    "join": "reelwright.films",
    "render": "reelwright.films",
    "Cancelled": "reelwright.errors",
    "ReelwrightError": "reelwright.errors",
    "Card": "reelwright.catalog",
    "Client": "reelwright.client",
    "Encoding": "reelwright.media.encode",
    "Frame": "reelwright.types",
    "GenerationRequest": "reelwright.request",
    "Input": "reelwright.request",
    "JobStatus": "reelwright.client",
    "Progress": "reelwright.run",
    "Result": "reelwright.studio",
    "Role": "reelwright.types",
    "Scene": "reelwright.storyboard",
    "Settings": "reelwright.settings",
    "Storyboard": "reelwright.storyboard",
    "Studio": "reelwright.studio",
    "Video": "reelwright.types",
}

__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:
    from reelwright.catalog import Card as Card
    from reelwright.client import Client as Client
    from reelwright.client import JobStatus as JobStatus
    from reelwright.errors import Cancelled as Cancelled
    from reelwright.errors import ReelwrightError as ReelwrightError
    from reelwright.films import agenerate_video as agenerate_video
    from reelwright.films import generate as generate
    from reelwright.films import generate_video as generate_video
    from reelwright.films import join as join
    from reelwright.films import render as render
    from reelwright.media.encode import Encoding as Encoding
    from reelwright.request import GenerationRequest as GenerationRequest
    from reelwright.request import Input as Input
    from reelwright.run import Progress as Progress
    from reelwright.settings import Settings as Settings
    from reelwright.storyboard import Scene as Scene
    from reelwright.storyboard import Storyboard as Storyboard
    from reelwright.studio import Result as Result
    from reelwright.studio import Studio as Studio
    from reelwright.types import Frame as Frame
    from reelwright.types import Role as Role
    from reelwright.types import Video as Video


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'reelwright' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
