"""The model `auto`: the first of the operator's routes that can make a request in the time and for the money allowed (M15).

REELWRIGHT_ROUTES="wan-2.1-1.3b under 300 s, fal/wan-2.2 under 1 usd, placeholder"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from reelwright.backends.local import preflight
from reelwright.catalog import Card, Shot, find, resolve
from reelwright.errors import BackendError, RequestError, Unavailable
from reelwright.request import GenerationRequest
from reelwright.settings import Settings

AUTO = "auto"
_ROUTE = re.compile(
    r"(?P<model>\S+)(?:\s+under\s+(?P<seconds>\d+(?:\.\d+)?)\s*s)?(?:\s+under\s+(?P<usd>\d+(?:\.\d+)?)\s*usd)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Route:
    """A model, and what it may take at most: seconds of work, US dollars a clip."""

    model: str
    seconds: float | None = None
    usd: float | None = None


def routes(known: Settings) -> tuple[Route, ...]:
    """The operator's routes; raises RequestError that shows a wrong one."""
    if not known.routes:
        raise RequestError(
            "no routes are set for the model `auto`",
            hint='Set REELWRIGHT_ROUTES, as in "wan-2.1-1.3b under 300 s, placeholder".',
            field="model",
        )
    made = []
    for text in known.routes:
        match = _ROUTE.fullmatch(text.strip())
        if match is None:
            raise RequestError(f"{text!r} is no route", hint="Write MODEL [under SECONDS s] [under MONEY usd].", field="routes")
        limits = [None if match[name] is None else float(match[name]) for name in ("seconds", "usd")]
        made.append(Route(match["model"], *limits))
    return tuple(made)


def routed(request: GenerationRequest, known: Settings, usable: Callable[[Card], object]) -> tuple[Card, tuple[str, ...]]:
    """The card of the first route that can make the request, with a note on why; `usable` raises if a backend cannot serve.

    Raises Unavailable, with what kept each route from it, if none can.
    """
    reasons: list[str] = []
    for route in routes(known):
        try:
            card = find(route.model)
            backend = usable(card)
            shot = resolve(request, card, lambda ref: ref)[0]
            why = _against(route, shot, known, backend)
        except (RequestError, BackendError, Unavailable) as error:
            why = error.message
        if why is None:
            told = f" ({'; '.join(reasons)})" if reasons else ""
            return card, (f"Routed to {card.title}{told}.",)
        reasons.append(f"not {route.model}: {why}")
    raise Unavailable(f"no route can make this: {'; '.join(reasons)}", hint="Loosen REELWRIGHT_ROUTES.", retryable=False)


def _against(route: Route, shot: Shot, known: Settings, backend: object) -> str | None:
    """What speaks against a route for a shot; None if nothing does."""
    if shot.card.backend == "diffusers":
        found = preflight.verdict(shot.card, (shot.width, shot.height), shot.frames, shot.options, known)
        if found.best is None:
            return found.why
        if route.seconds is not None and found.best.seconds > route.seconds:
            return f"it would take about {found.best.seconds:.0f} s, more than {route.seconds:.0f}"
    price = getattr(backend, "price", None)
    if route.usd is not None and callable(price):
        usd = price(shot)
        if usd is None:
            return "its price is not known"
        if usd > route.usd:
            return f"it would cost {usd:.2f} USD, more than {route.usd:.2f}"
    return None
