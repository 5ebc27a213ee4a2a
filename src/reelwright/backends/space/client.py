"""The talk with one Space, over gradio_client: its API, an order, its queue and progress, and what goes wrong.

An order cannot be taken up again after a crash: Gradio ends what belongs to a session when the session's connection does, and
gives no result to another one. Spaces are free, so it is ordered again.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from reelwright.backends.hosted.refusals import is_policy
from reelwright.backends.space.binding import Endpoint, endpoints
from reelwright.errors import (
    BackendError,
    Cancelled,
    MissingExtra,
    ProviderFailed,
    RateLimited,
    ReelwrightError,
    Refused,
    TimedOut,
    Unsupported,
)
from reelwright.run import Run

_LOOK_S = 0.1
_TIMEOUT_S = 60.0
"""Seconds without a word from a Space; its queue says something every 15."""
_FILMS = (".mp4", ".webm", ".mov", ".mkv", ".m4v", ".avi", ".gif", ".webp")
_QUOTA = re.compile(
    r"(gpu|daily|zerogpu|compute).{0,40}(quota|limit)|exceeded your|no gpu (is|was|are)|quota.{0,20}exceeded|too many requests",
    re.IGNORECASE,
)


class _Threads:
    """Runs each piece of work in a thread that does not hold up the end of this program, as gradio_client's own do."""

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            future.set_running_or_notify_cancel()
            try:
                future.set_result(work(*given))
            except BaseException as error:  # noqa: BLE001  whoever waits for the result gets it
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def shutdown(self, wait: bool = False) -> None:
        """Nothing is held."""


@dataclass
class _Shown:
    """Progress as it is told: within a stage it never goes back, whatever the Space's bars do."""

    run: Run
    stages: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How many units each stage has, and the share of it that was reached."""

    def step(self, share: float, total: int, stage: str) -> None:
        total, reached = self.stages.setdefault(stage, (max(1, total), 0.0))
        self.stages[stage] = total, max(reached, min(1.0, share))
        self.run.step(round(self.stages[stage][1] * total), total, stage)


class Talk:
    """A connection to a Space. Raises MissingExtra, ProviderFailed, RateLimited, Unsupported (it wants a login)."""

    def __init__(self, source: str, host: str, token: str | None) -> None:
        self.source = source
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # the argument alone does not turn it off
        with self._told():
            self._client = _client_class()(
                host,
                token=token or False,  # None would be whatever login lies on this machine
                verbose=False,
                download_files=False,
                analytics_enabled=False,
                httpx_kwargs={"timeout": _TIMEOUT_S},
            )
            threads = _Threads()
            self._client.executor = self._client.helper_executor = self._client.stream_executor = threads
            info = self._client.view_api(return_format="dict", print_info=False)
        self.endpoints: dict[str, Endpoint] = endpoints(info)

    def made(self, endpoint: str, arguments: Mapping[str, Any], run: Run, deadline: float) -> str:
        """Order, wait, and give the address of the result. Raises what went wrong, TimedOut, Cancelled."""
        shown = _Shown(run)
        shown.step(0, 1, "queue")
        with self._told():
            job = self._client.submit(**arguments, api_name=endpoint)
        try:
            while not job.done():
                self._show(job.status(), shown)
                if time.monotonic() > deadline:
                    raise TimedOut(
                        f"the Space {self.source} did not finish in time",
                        hint="Raise REQUEST_TIMEOUT, choose another model, or duplicate the Space.",
                        space=self.source,
                    )
                time.sleep(_LOOK_S)
            run.step(0, 1, "fetch")
        except (Cancelled, TimedOut):
            self._stop(job, endpoint, run)
            raise
        with self._told():
            result = job.result(timeout=_TIMEOUT_S)
        return self._address(result)

    def close(self) -> None:
        """End the session, and with it what it still has in the queue."""
        client = self._client
        client.close()
        with client.pending_lock:
            for messages in client.pending_messages_per_event.values():
                messages.append(None)  # or those who wait for the next one would do so for ever

    def _show(self, status: Any, shown: _Shown) -> None:
        if status.log and status.log[1] == "warning":
            shown.run.note(f"{self.source}: {words_of(status.log[0])}")
        bars = [each for each in status.progress_data or () if each.length or each.progress is not None]
        if bars:
            bar = bars[-1]
            share = bar.index / bar.length if bar.length and bar.index is not None else bar.progress or 0.0
            shown.step(share, int(bar.length or 100), (words_of(bar.desc or "")[:60] or "run").lower())
        elif status.code.name == "IN_QUEUE" and status.rank is not None:
            about = f", about {status.eta:.0f} s" if status.eta else ""
            shown.step(0, 1, f"number {status.rank + 1} in the queue{about}")
        else:
            shown.step(0, 1, "run" if status.code.name in ("PROCESSING", "ITERATING", "PROGRESS", "LOG") else "queue")

    def _stop(self, job: Any, endpoint: str, run: Run) -> None:
        known = self._client.config.get("dependencies", ())
        kinds: Mapping[str, Any] = next((each.get("types", {}) for each in known if f"/{each.get('api_name')}" == endpoint), {})
        at_work = job.status().code.name in ("PROCESSING", "PROGRESS", "ITERATING", "LOG")
        if at_work and not kinds.get("generator"):
            run.note(f"The Space {self.source} cannot stop what it has begun: it goes on to its end, and so does your GPU time.")
        done = threading.Thread(target=_quietly, args=(job.cancel,), daemon=True)  # a Space that hangs must not hang a cancel
        done.start()
        done.join(5.0)

    def _address(self, result: Any) -> str:
        found = sorted(_files(result), key=lambda each: not _is_film(each))
        if not found:
            raise ProviderFailed(
                f"the Space {self.source} finished and gave no clip", retryable=False, space=self.source, provider="spaces"
            )
        url = found[0].get("url")
        return str(url) if url else f"{self._client.src_prefixed}file={quote(str(found[0].get('path')))}"

    def _told(self) -> _Telling:
        return _Telling(self.source)


class _Telling:
    """What gradio_client raises, as errors of ours."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ReelwrightError):
            raise failure(self.source, error) from error
        if error is not None and type(error).__name__ == "CancelledError":  # nobody here has cancelled
            raise ProviderFailed(f"the Space {self.source} broke off", space=self.source, provider="spaces") from error


def failure(source: str, error: Exception) -> ReelwrightError:
    """An exception of gradio_client's as one of ours. By name: the errors of its versions lie in different places."""
    kind, text = type(error).__name__, words_of(str(error))
    facts: dict[str, Any] = {"space": source, "provider": "spaces"}
    if kind == "QueueError":
        return RateLimited(
            f"the queue of {source} is full", hint="Try again in a minute, or choose another model.", after=60.0, **facts
        )
    if (after := _after(text)) is not None:
        facts["after"] = after
    if kind == "TooManyRequestsError" or (kind != "HTTPStatusError" and _QUOTA.search(text)):
        return RateLimited(
            f"{source}: {text}",
            hint="Free GPU time is a few minutes a day, more for those who are known: set HF_TOKEN and name the Space's owner in "
            "REELWRIGHT_TRUSTED_SPACES. Or choose another model.",
            **facts,
        )
    if kind == "AppError" and "has raised an exception but has not enabled" in text:
        return BackendError(
            f"{source} failed and does not tell why", hint="Try the same on its page, or choose another model.", **facts
        )
    if kind in ("AppError", "ValidationError"):
        if is_policy(text):
            return Refused(f"{source} refuses this by its policy: {text}", hint="Word the prompt in another way.", **facts)
        return BackendError(f"{source}: {text}", **facts)
    if kind == "AuthenticationError":
        return Unsupported(f"the Space {source} wants a login", hint="Choose another one.", **facts)
    if kind in ("ImportError", "ModuleNotFoundError"):
        return MissingExtra("Spaces are asked through gradio_client", hint="pip install 'reelwright[spaces]'")
    return ProviderFailed(f"the Space {source} broke off: {kind}{f': {text}' if text else ''}", **facts)


def words_of(text: str) -> str:
    """A message without its HTML, on one line, short."""
    return " ".join(re.sub(r"<[^>]*>", "", text).split())[:300]


def _after(text: str) -> float | None:
    """The seconds in "Try again in 1:30:00"."""
    if found := re.search(r"in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", text):
        days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return None


def _files(result: Any) -> Iterator[Mapping[str, Any]]:
    """All files in a result, however deep."""
    if isinstance(result, Mapping):
        if isinstance(result.get("url") or result.get("path"), str):
            yield result
        else:
            for each in result.values():
                yield from _files(each)
    elif isinstance(result, list | tuple):
        for each in result:
            yield from _files(each)


def _is_film(file: Mapping[str, Any]) -> bool:
    names = (urlsplit(str(file.get("url") or "")).path, str(file.get("path") or ""), str(file.get("orig_name") or ""))
    return str(file.get("mime_type") or "").startswith("video/") or any(name.lower().endswith(_FILMS) for name in names)


def _quietly(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001  whatever a Space answers to a cancel changes nothing here
        return


def is_prefix(text: str) -> bool:
    """Whether it is a path at a Space's own address."""
    return len(text) <= 200 and re.fullmatch(r"(?!//)/?[\w.-]*(/[\w.-]+)*/?", text) is not None


def _client_class() -> Any:
    """gradio_client's Client, held to the Space's own address: a Space's configuration could send it anywhere else."""
    from gradio_client import Client

    class Held(Client):  # type: ignore[misc]  # it ships no types
        def _get_config(self) -> dict[str, Any]:
            config: dict[str, Any] = super()._get_config()
            if not is_prefix(str(config.get("api_prefix") or "")):
                raise ValueError("it names an address that is not its own")
            return config

    return Held
