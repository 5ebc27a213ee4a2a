"""Where a Space answers, and waking it: asked of the hub, which is HF_ENDPOINT where that is set."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from reelwright.backends.hosted.call import Answer, Call
from reelwright.backends.hosted.refusals import refusal
from reelwright.backends.hosted.wire import Breaker, Wire, paused
from reelwright.errors import NotFound, ProviderFailed, ReelwrightError, TimedOut, Unavailable, Unsupported
from reelwright.run import Run

_READY = ("RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING")
_ASLEEP = ("SLEEPING", "STOPPED")
_WORDS = {
    "SLEEPING": "it sleeps",
    "STOPPED": "it has stopped",
    "BUILDING": "it is being built",
    "APP_STARTING": "it starts",
}
_BROKEN = {
    "NO_APP_FILE": "has no app",
    "CONFIG_ERROR": "is set up wrongly",
    "BUILD_ERROR": "could not be built",
    "RUNTIME_ERROR": "has crashed",
    "PAUSED": "is paused by its owner",
    "DELETING": "is being deleted",
}
_BREAKERS: dict[str, Breaker] = {}
_FIRST_S, _MOST_S = 2.0, 10.0
"""Seconds between looks at a Space that wakes."""


def named(text: str) -> str:
    """owner/name of a Space, from that, from spaces/owner/name, or from its page's address. Raises Unsupported."""
    plain = re.sub(r"^(https?://huggingface\.co/)?(spaces/)?", "", text.strip()).rstrip("/")
    if not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", plain, re.ASCII) or ".." in plain:
        raise Unsupported(f"{text!r} does not name a Space", hint="Spaces are named owner/name.")
    return plain


class Hub:
    """The hub, as far as Spaces go. `token` is sent to it alone."""

    def __init__(self, token: str | None) -> None:
        base = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._wire = Wire(
            "Hugging Face", base, lambda: headers, _BREAKERS.setdefault(base, Breaker("Hugging Face")), (token or "",)
        )

    def awake(self, source: str, run: Run, deadline: float) -> str:
        """The address at which a Space answers, once it does. Raises NotFound, Unavailable (it is broken), TimedOut ..."""
        run.step(0, 1, "look up")
        told = self._asked(f"api/spaces/{source}", source)
        host = told.get("host")
        if told.get("sdk") == "static" or told.get("disabled") or not host:
            raise Unsupported(f"the Space {source} has no app that could be asked", hint="Choose another one.", space=source)
        host = str(host).rstrip("/") + "/"
        stage, attempt = _stage(told.get("runtime")), 0
        while stage not in _READY:
            if stage in _BROKEN:
                why = (told.get("runtime") or {}).get("errorMessage") or ""
                raise Unavailable(
                    f"the Space {source} {_BROKEN[stage]}{f': {str(why)[:200]}' if why else ''}",
                    hint="Only its owner can mend that. Duplicate it on Hugging Face, or choose another model.",
                    retryable=False,
                    space=source,
                )
            if stage in _ASLEEP:
                _knock(host)
            _pause(
                paused(attempt, first=_FIRST_S, most=_MOST_S),
                deadline,
                run,
                f"waking {source}: {_WORDS.get(stage, 'it is not there yet')}",
            )
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"the Space {source} did not wake in time", hint="Raise REQUEST_TIMEOUT, or try again later.", space=source
                )
            attempt += 1
            try:
                stage = _stage(runtime := self._asked(f"api/spaces/{source}/runtime", source))
                told = {"runtime": runtime}
            except ReelwrightError as error:
                if not error.retryable:
                    raise
        return host

    def _asked(self, path: str, source: str) -> Mapping[str, Any]:
        answer = self._wire.send(Call("GET", path))
        if answer.status in (401, 403, 404):  # the hub tells strangers of a private Space what it tells them of none
            raise NotFound(
                f"there is no Space {source}, or it is private",
                hint="For a private one, set HF_TOKEN and name its owner in REELWRIGHT_TRUSTED_SPACES.",
                space=source,
            )
        return _table(answer)


def _table(answer: Answer) -> Mapping[str, Any]:
    if answer.status >= 400:
        raise refusal("Hugging Face", answer)
    if not isinstance(answer.json, dict):
        raise ProviderFailed("Hugging Face answered with something that is not JSON", provider="Hugging Face")
    return answer.json


def _stage(runtime: Any) -> str:
    """A Space without a runtime is an old answer of the hub's: it is asked, and tells for itself."""
    return str((runtime or {}).get("stage") or "RUNNING")


def wire_to(host: str, token: str | None, timeout: float = 60.0) -> Wire:
    """Calls of a Space itself, with the token if it is trusted with it."""
    headers = {"X-HF-Authorization": f"Bearer {token}"} if token else {}
    return Wire("the Space", host, lambda: headers, Breaker("the Space"), (token or "",), timeout)


def _knock(host: str) -> None:
    """A Space that sleeps is woken by a visit; what it answers to that does not matter."""
    try:
        wire_to(host, None, timeout=10.0).send(Call("GET", ""))
    except ReelwrightError:
        return


def _pause(seconds: float, deadline: float, run: Run, stage: str) -> None:
    end = min(deadline, time.monotonic() + seconds)
    while True:
        run.step(0, 1, stage)
        if (left := end - time.monotonic()) <= 0:
            return
        time.sleep(min(0.2, left))
