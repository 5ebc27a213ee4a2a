"""One ComfyUI server over HTTP: what it can do, its queue and history, orders, uploads, downloads.

It has no authentication and trusts whoever can reach it, so that only this machine and private networks are called, at
addresses that the operator named. No redirects, no proxies from the environment, no Origin header.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from reelwright.errors import MissingExtra, ProviderFailed, RequestError, TimedOut, TooLarge, Unavailable
from reelwright.fetching import resolve
from reelwright.media.sniff import HEAD, sniff

_MOST = 64 * 1024**2
"""Bytes of an answer; the schema of a server with many nodes has a few million."""


class Away(Unavailable):
    """The server could not be reached: the request did not leave."""


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the body as JSON (None if it is none) and as text, short."""

    status: int
    json: Any
    text: str


@dataclass(frozen=True)
class Standing:
    """Where a prompt stands: "pending" (number `position`), "running", "done" (with its `entry` of the history), "absent"."""

    state: str
    position: int = 0
    entry: Mapping[str, Any] | None = None


def private(address: str, names: Callable[[str, int], Iterable[str]] = resolve) -> str:
    """The address of a ComfyUI server, without a last slash; raises RequestError unless it is one of this machine or network.

    A name that cannot be resolved now passes: it is found out when it is called.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or 80
    except ValueError:
        raise RequestError("an entry of COMFY_SERVERS is no address", hint="It is like http://127.0.0.1:8188.") from None
    wrong = f"{parts.hostname or 'an entry of COMFY_SERVERS'!r} is no address of a ComfyUI server"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RequestError(wrong, hint="COMFY_SERVERS takes addresses like http://127.0.0.1:8188.")
    if parts.username is not None:
        raise RequestError(wrong, hint="ComfyUI has no passwords; leave it out.")
    try:
        found = [ipaddress.ip_address(each.partition("%")[0]) for each in names(parts.hostname, port)]
    except (OSError, ValueError):
        found = []
    if any(each.is_unspecified or not (each.is_loopback or each.is_private or each.is_link_local) for each in found):
        raise RequestError(
            f"{parts.hostname} is not on this machine or its network, and is not called",
            hint="ComfyUI has no authentication. Reach a distant one through a tunnel, such as ssh -L 8188:127.0.0.1:8188 HOST.",
        )
    return address.rstrip("/")


class Server:
    """A ComfyUI server. `address`: as `private` gives it; `timeout`: seconds until an answer."""

    def __init__(self, address: str, timeout: float = 30.0) -> None:
        self.address = address
        self.timeout = timeout

    @property
    def socket(self) -> str:
        """The address of its socket."""
        return "ws" + self.address.removeprefix("http") + "/ws"

    # ---- what it can do

    def schema(self, classes: Iterable[str] | None = None) -> dict[str, Any]:
        """Inputs and outputs of these classes of nodes (those that the server lacks are left out); of all by default."""
        if classes is None:
            return table(self._good("GET", "/object_info").json)
        found: dict[str, Any] = {}
        for name in sorted(set(classes)):
            answer = self.call("GET", f"/object_info/{quote(name, safe='')}")
            found |= table(answer.json) if answer.status == 200 else {}
        return found

    def stats(self) -> dict[str, Any]:
        """Its version and its devices."""
        return table(self._good("GET", "/system_stats").json)

    # ---- its queue

    def queue(self) -> tuple[list[str], list[str]]:
        """The ids of the prompts that run, and of those that wait, next first."""
        told = table(self._good("GET", "/queue").json)
        running, pending = (
            [item for item in told.get(key) or () if isinstance(item, list) and len(item) > 1]
            for key in ("queue_running", "queue_pending")
        )
        return [str(item[1]) for item in running], [str(item[1]) for item in sorted(pending, key=lambda item: float(item[0]))]

    def standing(self, prompt: str) -> Standing:
        """Where a prompt stands. The queue is asked first: what has left it by then is in the history."""
        running, pending = self.queue()
        if prompt in running:
            return Standing("running")
        if prompt in pending:
            return Standing("pending", len(running) + pending.index(prompt) + 1)
        entry = table(self._good("GET", f"/history/{quote(prompt, safe='')}").json).get(prompt)
        return Standing("done", entry=entry) if isinstance(entry, dict) else Standing("absent")

    def order(self, graph: Mapping[str, Any], prompt: str) -> Answer:
        """Queue a graph under an id of ours, which is its client's too. Any status; raises Away if it surely did not arrive."""
        return self.call("POST", "/prompt", {"prompt": graph, "client_id": prompt, "prompt_id": prompt})

    def stop(self, prompt: str) -> None:
        """Take a prompt from the queue, or interrupt it if it runs: it alone, for others may use the server too."""
        self.call("POST", "/queue", {"delete": [prompt]})
        if prompt in self.queue()[0]:  # a server that does not know targeted interrupts would stop somebody else's
            self.call("POST", "/interrupt", {"prompt_id": prompt})

    # ---- files

    def upload(self, path: Path, name: str) -> str:
        """Hand in a file; returns the name that the server gave it."""
        with path.open("rb") as file:
            kind = sniff(file.read(HEAD)).media_type
            file.seek(0)
            answer = self._sent("POST", "/upload/image", {"data": {"type": "input"}, "files": {"image": (name, file, kind)}})
        if answer.status != 200 or not isinstance(table(answer.json).get("name"), str):
            if answer.status == 413:
                size = path.stat().st_size
                raise TooLarge(f"{self.address} takes no file of {size} bytes", hint="See its option --max-upload-size.")
            raise ProviderFailed(f"{self.address} did not take {name} ({answer.status})", hint=answer.text, retryable=False)
        folder = str(answer.json.get("subfolder") or "")
        return bare(f"{folder}/{answer.json['name']}" if folder else answer.json["name"])

    def download(self, item: Mapping[str, Any], path: Path, *, most: int, still_wanted: Callable[[], None]) -> None:
        """Write a result's file; raises TooLarge, ProviderFailed, Away, and what `still_wanted` raises."""
        httpx = _httpx()
        query = urlencode({key: str(item.get(key) or "") for key in ("filename", "subfolder", "type")})
        size = 0
        try:
            with self._client() as client, client.stream("GET", f"{self.address}/view?{query}") as got:
                if got.status_code != 200:
                    why = f"{self.address} does not give the file that it made ({got.status_code})"
                    raise ProviderFailed(why, retryable=False)
                with path.open("wb") as file:
                    for piece in got.iter_bytes(1024**2):
                        still_wanted()
                        size += len(piece)
                        if size > most:
                            raise TooLarge(f"the result has more than {most} bytes", hint="Raise MAX_VIDEO_FILE_SIZE.")
                        file.write(piece)
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    # ---- calls

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """One call, any status. Raises Away (nothing was sent), TimedOut, ProviderFailed (it broke off)."""
        return self._sent(method, path, {} if body is None else {"json": body})

    def _good(self, method: str, path: str) -> Answer:
        answer = self.call(method, path)
        if answer.status != 200:
            hint = "Is it a ComfyUI server?" if answer.status != 403 else "It refuses callers of this kind; see its settings."
            raise ProviderFailed(f"{self.address} answered {answer.status} to {path.split('?')[0]}", hint=hint)
        return answer

    def _sent(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        httpx = _httpx()
        parts: list[bytes] = []
        try:
            with self._client() as client, client.stream(method, f"{self.address}{path}", **body) as got:
                for piece in got.iter_bytes():
                    parts.append(piece)
                    if sum(map(len, parts)) > _MOST:
                        raise ProviderFailed(f"{self.address} answered with more than {_MOST} bytes", retryable=False)
                status = int(got.status_code)
        except httpx.HTTPError as error:
            raise self._broken(error) from error
        content = b"".join(parts)
        try:
            told = json.loads(content)
        except ValueError:
            told = None
        return Answer(status, told, " ".join(content[:300].decode("utf-8", "replace").split()))

    def _client(self) -> Any:
        httpx = _httpx()
        wait = httpx.Timeout(self.timeout, connect=min(5.0, self.timeout))
        return httpx.Client(timeout=wait, trust_env=False, follow_redirects=False, verify=_trust())

    def _broken(self, error: Exception) -> Away | TimedOut | ProviderFailed:
        httpx = _httpx()
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return Away(f"no ComfyUI server answers at {self.address}", hint="Start it, or correct COMFY_SERVERS.")
        if isinstance(error, httpx.TimeoutException):
            return TimedOut(f"{self.address} does not answer")
        return ProviderFailed(f"{self.address} broke off: {type(error).__name__}")


def bare(name: str) -> str:
    """The name of a file in the server's own folders; raises RequestError if it leads out of them.

    ComfyUI's loaders open absolute paths and `..` as they come, and would hand any file of its machine to the result.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or not name.isprintable() or ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise RequestError(f"{name!r} is not the name of a file in ComfyUI's own folders")
    return name


def table(told: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return told if isinstance(told, dict) else {}


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates, read once: reading them takes longer than most calls."""
    return ssl.create_default_context()


def _httpx() -> Any:
    try:
        import httpx2
    except ModuleNotFoundError as error:
        raise MissingExtra("ComfyUI is called through httpx2", hint="pip install 'reelwright[comfyui]'") from error
    return httpx2
