"""What a server says while it works: its socket, its pictures, and how far it has come."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from reelwright.backends.comfy.client import Server
from reelwright.errors import MissingExtra
from reelwright.types import Frame

_LARGEST = 32 * 1024**2
"""Bytes of one message."""
_LARGEST_PICTURE = 4096
"""Pixels a side of a preview."""
_WEIGHTS = (("Sampler", 20.0), ("Upscale", 10.0), ("VAEDecode", 3.0))
"""How long nodes of these kinds take beside others."""


class Lost(Exception):
    """The socket is gone, or could not be opened; the work goes on without it."""


@dataclass(frozen=True)
class Event:
    """A message: its kind ("executing", "progress" ...; "picture" for a preview), its data, and the picture's bytes."""

    kind: str
    data: Mapping[str, Any]
    picture: bytes = b""


class Socket:
    """A connection for one client's messages. Opened before the order, so that none is missed. Raises Lost."""

    def __init__(self, server: Server, client: str) -> None:
        try:
            from websockets.sync.client import connect
        except ModuleNotFoundError as error:
            raise MissingExtra("ComfyUI's progress needs websockets", hint="pip install 'reelwright[comfyui]'") from error
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(
                    f"{server.socket}?clientId={client}",
                    proxy=None,
                    open_timeout=5,
                    close_timeout=0.1,  # nothing is lost by hanging up
                    ping_interval=None,  # a server that is busy answers late; it is asked over HTTP as well
                    max_size=_LARGEST,
                )
            )
            # Pictures come with their prompt's id then. Servers that do not know it pass over it.
            self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        except Exception as error:  # it can fail as HTTP, as TLS, as a socket and as a protocol
            self.close()
            raise Lost(str(error)) from error

    def next(self, seconds: float) -> Event | None:
        """The next message, or None if there was none for so long. Raises Lost."""
        try:
            said = self._socket.recv(timeout=seconds)
        except TimeoutError:
            return None
        except Exception as error:  # as above
            raise Lost(str(error)) from error
        return parsed(said)

    def close(self) -> None:
        """Hang up."""
        with suppress(Exception):
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def parsed(said: str | bytes) -> Event | None:
    """A message as an event; None for what is of no use."""
    if isinstance(said, bytes):
        return _picture(said)
    try:
        told = json.loads(said)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("type"), str):
        return None
    return Event(told["type"], told["data"] if isinstance(told.get("data"), dict) else {})


def _picture(said: bytes) -> Event | None:
    """Type 1: a format and a picture. Type 4: the length of a JSON object, that, and a picture. Big-endian numbers of 4 bytes."""
    kind, second = int.from_bytes(said[:4], "big"), int.from_bytes(said[4:8], "big")
    if kind == 1:
        return Event("picture", {}, said[8:])
    if kind != 4:
        return None
    try:
        about = json.loads(said[8 : 8 + second])
    except ValueError:
        return None
    return Event("picture", about if isinstance(about, dict) else {}, said[8 + second :])


def frame(picture: bytes) -> Frame | None:
    """A preview as a frame; None if it is no picture, or an absurd one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture), formats=("JPEG", "PNG", "WEBP")) as found:
            if max(found.size) > _LARGEST_PICTURE:
                return None
            return Frame.of(np.asarray(found.convert("RGB"), np.uint8))
    except (OSError, ValueError, SyntaxError):  # SyntaxError: Pillow, about broken PNG
        return None


class Course:
    """How far a graph has come, 0..1, from the messages about its nodes; it never goes back."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._weights = {name: _weight(str(node["class_type"])) for name, node in graph.items()}
        self._parts: dict[str, float] = {}
        self._at = ""
        self._share = 0.0

    @property
    def share(self) -> float:
        """0..1."""
        made = sum(self._weights[name] * part for name, part in self._parts.items() if name in self._weights)
        self._share = max(self._share, min(1.0, made / sum(self._weights.values())))
        return self._share

    def hear(self, event: Event) -> None:
        """Take a message."""
        data = event.data
        if event.kind == "execution_cached":
            self._parts |= {str(name): 1.0 for name in data.get("nodes") or ()}
        elif event.kind == "executed":
            self._parts[str(data.get("node"))] = 1.0
        elif event.kind == "executing":
            if self._at:
                self._parts[self._at] = 1.0
            self._at = str(data.get("node") or "")
        elif event.kind == "progress":
            self._come(str(data.get("node") or self._at), data)
        elif event.kind == "progress_state":
            for name, each in (data.get("nodes") or {}).items():
                if isinstance(each, dict):
                    self._come(name, {"value": 1, "max": 1} if each.get("state") == "finished" else each)

    def _come(self, name: str, told: Mapping[str, Any]) -> None:
        value, most = told.get("value"), told.get("max")
        if isinstance(value, int | float) and isinstance(most, int | float) and most > 0:
            self._parts[name] = max(self._parts.get(name, 0.0), min(1.0, max(0.0, value / most)))


def _weight(kind: str) -> float:
    return next((weight for word, weight in _WEIGHTS if word in kind and not kind.endswith(("Select", "Loader"))), 1.0)
