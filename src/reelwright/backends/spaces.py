"""Hugging Face Spaces as models: any of them by name, free, with its queue, progress and cancel (M8, M9).

A Space is a stranger's program. It gets the prompt and the pictures of a shot, and no token unless its owner is trusted
(REELWRIGHT_TRUSTED_SPACES); what it gives is fetched from its own address by the guarded fetcher.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reelwright import settings
from reelwright.backends.hosted.arguments import values
from reelwright.backends.hosted.call import Call, Finished
from reelwright.backends.hosted.refusals import refusal
from reelwright.backends.hosted.results import conformed, fetched
from reelwright.backends.space.binding import STILL, Bindings, Endpoint, arguments, best, guessed, key_of, plain
from reelwright.backends.space.client import Talk
from reelwright.backends.space.hub import Hub, named, wire_to
from reelwright.catalog import Card, Shot
from reelwright.errors import MissingExtra, RequestError, TooLarge, Unavailable, Unsupported
from reelwright.fetching import Fetcher
from reelwright.media import moves
from reelwright.run import LocalRun, Run
from reelwright.types import Role, Video

_MOST_UPLOAD = 100 * 1024**2
"""Bytes of an input file that is sent to a Space."""


class Spaces:
    """The backend of cards whose `source` is a Space."""

    def __init__(self, wanted: settings.Settings | None = None) -> None:
        self.settings = wanted or settings.current()

    def check(self, card: Card) -> None:
        """Raises MissingExtra without gradio_client, Unsupported if the card names no Space, Unavailable if it says why not."""
        if steps := card.settings.get("steps_to_take"):
            raise Unavailable(f"{card.title} cannot be had as a Space", hint=" ".join(steps), retryable=False, model=card.id)
        named(card.source)
        if importlib.util.find_spec("gradio_client") is None:
            raise MissingExtra("Spaces are asked through gradio_client", hint="pip install 'reelwright[spaces]'")

    def close(self) -> None:
        """Each shot has a session of its own."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """Wake the Space, order, wait and fetch. Raises RateLimited, Refused, BackendError, TimedOut, Cancelled ..."""
        self.check(shot.card)
        source = named(shot.card.source)
        token = token_for(source, self.settings)
        deadline = time.monotonic() + self.settings.request_timeout
        host = Hub(token).awake(source, run, deadline)
        talk = Talk(source, host, token)
        try:
            roles = frozenset(given.role for given in shot.inputs)
            bindings = Bindings(source, self.settings.cache_folder.expanduser())
            binding = bindings.of(shot.card.settings, talk.endpoints, roles, run.note)
            sent = arguments(binding, values(shot, given(shot, run)), run.note)
            url = talk.made(binding.endpoint.name, sent, run, deadline)
            path = run.scratch / f"{shot.fingerprint[:16]}.mp4"
            self._fetched(url, host, token, path, run)
        finally:
            talk.close()
        return conformed(path, shot, run)

    def _fetched(self, url: str, host: str, token: str | None, path: Path, run: Run) -> None:
        """The result from the Space's own address; from another one only if it is allowed."""
        most, name = self.settings.max_video_file_size, urlsplit(url).hostname
        if name != urlsplit(host).hostname and name not in self.settings.allow_hosts:
            raise RequestError(
                f"the Space gives its result at {name}, which is not its own address",
                hint="If you know that address, allow it with REELWRIGHT_ALLOW_HOSTS.",
            )
        own = token is not None and urlsplit(url)[:2] == urlsplit(host)[:2]  # a private Space shows its files to its owner only
        fetched(
            Finished(call=Call("GET", url)) if own else Finished(url=url),
            path,
            wire_to(host, token),
            Fetcher(self.settings.allow_hosts),
            most=most,
            seconds=max(60.0, self.settings.request_timeout),
            refused=lambda answer: refusal("the Space", answer),
            still_wanted=lambda: run.step(0, 1, "fetch"),
        )
        run.step(1, 1, "fetch")


def token_for(source: str, known: settings.Settings) -> str | None:
    """The Hugging Face token for a Space whose owner, or which itself, is trusted; None for all others."""
    trusted = {each.lower() for each in known.trusted_spaces}
    owner = source.partition("/")[0].lower()
    return known.secret("hf_token") if owner in trusted or source.lower() in trusted else None


def given(shot: Shot, run: Run) -> dict[str, Any]:
    """The shot's inputs by role, as gradio_client uploads them. Raises TooLarge."""
    from gradio_client import handle_file

    made: dict[str, Any] = {}
    for each in shot.inputs:
        path = run.fetch(each.ref).absolute()
        if (size := path.stat().st_size) > _MOST_UPLOAD:
            raise TooLarge(
                f"{path.name} has {size // 1024**2} MB; Spaces get at most {_MOST_UPLOAD // 1024**2}",
                hint="Make it smaller.",
                most=_MOST_UPLOAD,
            )
        made.setdefault(each.role.value, handle_file(str(path)))
    return made


# ---- a card for any Space


def card_of_space(name: str, known: settings.Settings) -> dict[str, Any]:
    """The content of a card for a Space, read from its own API: what it takes, its defaults, and the binding, held by its hash.

    `name`: owner/name, spaces/owner/name, or the address of its page. It is woken if it sleeps. Raises NotFound, Unsupported ...
    """
    source = named(name)
    token = token_for(source, known)
    host = Hub(token).awake(source, LocalRun(), time.monotonic() + known.request_timeout)
    talk = Talk(source, host, token)
    talk.close()
    sets = [frozenset(), frozenset({Role.FIRST_FRAME}), frozenset({Role.FIRST_FRAME, Role.LAST_FRAME}), frozenset({Role.SOURCE})]
    found = {roles: endpoint for roles in sets if (endpoint := best(talk.endpoints, roles)) is not None}
    if not found:
        raise Unsupported(
            f"the Space {source} has no endpoint that makes a clip from a prompt or a picture",
            hint=f"It has {', '.join(talk.endpoints) or 'none'}. A card of your own can name one in settings.endpoint.",
            space=source,
        )
    main = next(iter(found.values()))
    binds = {endpoint.name: guessed(endpoint) for endpoint in found.values()}
    tasks = {"first_frame": "image-to-video", "first_frame+last_frame": "keyframes", "source": "video-to-video"}
    return {
        "id": f"spaces/{source}",
        "title": source,
        "family": "space",
        "backend": "spaces",
        "source": source,
        "licence": "see its page",
        "price": "free",
        "task": [tasks.get(key_of(roles), "text-to-video") for roles in found],
        "accepts": [sorted(roles) for roles in found],
        **_shape(main),
        "options": _options(main),
        "sources": [f"sizes, frames, options: the API of the Space {source}, when this card was made"],
        "settings": {
            "endpoint": {key_of(roles): endpoint.name for roles, endpoint in found.items()},
            "bind": binds,
            "schema_hash": {endpoint.name: endpoint.bound(binds[endpoint.name]) for endpoint in found.values()},
        },
    }


def _shape(endpoint: Endpoint) -> dict[str, Any]:
    """Sizes, frames and rate from the parameters' defaults and ends; where the Space tells none, the usual ones."""
    bound = {template: endpoint.parameter(name) for name, template in guessed(endpoint).items() if isinstance(template, str)}

    def default(template: str, otherwise: float) -> float:
        each = bound.get(template)
        return each.default if each is not None and isinstance(each.default, int | float) else otherwise

    def end(template: str, which: str, otherwise: float) -> float:
        each = bound.get(template)
        told = getattr(each, which, None)
        return otherwise if told is None else told

    width, height = (max(64, round(default(side, usual)) // 2 * 2) for side, usual in (("{width}", 832), ("{height}", 480)))
    step = next(each for each in (32, 16, 8, 4, 2) if width % each == 0 and height % each == 0)
    least = max(16, min(width, height, int(max(end("{width}", "least", 64), end("{height}", "least", 64)))))
    most = min(8192, max(width, height, int(min(end("{width}", "most", 4096), end("{height}", "most", 4096)))))
    fps = min(240.0, max(1.0, default("{fps}", 16.0)))
    frames, longest = (round(default("{frames}", 0)), round(end("{frames}", "most", 0)))
    if not frames:
        frames = round(default("{seconds}", 5.0) * fps)
        longest = round(end("{seconds}", "most", 0) * fps)
    frames = max(1, frames)
    return {
        "sizes": {"native": [[width, height]], "step": step, "least": least, "most": most},
        "frames": {"default": frames, "most": max(frames, longest)},
        "fps": {"default": fps},
    }


_TAKEN: tuple[tuple[str, str, str], ...] = (
    ("steps", "Steps", "Denoising steps: more take longer and settle detail."),
    ("guidance", "Guidance", "How closely the prompt is followed."),
)


def _options(endpoint: Endpoint) -> Mapping[str, Any]:
    """The options that the endpoint has a parameter for, with its own defaults and ends."""
    bound = {template: endpoint.parameter(name) for name, template in guessed(endpoint).items() if isinstance(template, str)}
    made: dict[str, Any] = {}
    for name, title, description in _TAKEN:
        each = bound.get(f"{{{name}}}")
        if each is not None and isinstance(each.default, int | float):
            number: Callable[[float], float] = round if name == "steps" else float
            ends = {key: number(end) for key, end in (("minimum", each.least), ("maximum", each.most)) if end is not None}
            kind = "integer" if name == "steps" else "number"
            made[name] = {"title": title, "description": description, "type": kind, "default": number(each.default), **ends}
    camera = bound.get("{camera}")
    if camera is not None:
        theirs = {plain(str(choice)) for choice in camera.choices}
        ours = [move for move in moves.MOVES if plain(move) in theirs or (move == "static" and theirs & STILL)]
        if ours:
            made["camera"] = {"title": "Camera", "description": "The camera's move.", "type": "string", "enum": ours}
    return made
