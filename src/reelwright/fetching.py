"""Addresses that come from outside: the one way in which they are called.

A name is resolved once, every address that it stands for is looked at, and the connection goes to the one that was looked
at: a name that changes its mind meanwhile (DNS rebinding) changes nothing. Redirects are followed by the same rules. No
cookies, no credentials, no proxies from the environment.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from reelwright.errors import MissingExtra, ProviderFailed, RequestError, TimedOut, TooLarge

PORTS = frozenset({80, 443, 8080, 8443})
"""Others belong to databases, mail and the like."""
_REDIRECTS = 5
_SAFE = "%/:?@!$&'()*+,;=~-._"
_STEP_S = 10.0
"""Seconds until a connection is there, or another piece comes."""
# Addresses that stand for others, which the standard library takes for public ones.
_DISGUISES = tuple(ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Iterable[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses that a name stands for, as the system says."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def public(address: Address) -> bool:
    """Whether an address is one of the public Internet, and not of this machine, its network, or a disguise of those."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return public(address.ipv4_mapped)
        if any(address in net for net in _DISGUISES) or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


@dataclass
class Fetcher:
    """Calls addresses from outside. `allow`: names and networks that may be called though they are not public.

    `resolve` is replaced by tests. Raises RequestError for what may not be called, ProviderFailed, TimedOut, TooLarge.
    """

    allow: Sequence[str] = ()
    resolve: Resolve = field(default=resolve)

    def fetch(
        self, url: str, output: Path, *, most: int, seconds: float = 60.0, still_wanted: Callable[[], object] = lambda: None
    ) -> str:
        """Write what is at a URL to a file, at most `most` bytes within `seconds`; returns the address that it came from. What
        `still_wanted` raises, which is asked with each piece, ends it."""
        deadline = time.monotonic() + seconds
        for _ in range(_REDIRECTS + 1):
            with self._called("GET", url, {}, None, deadline) as (answer, parts):
                if 300 <= answer.status < 400:
                    url = urljoin(parts.geturl(), _header(answer, b"location"))
                    continue
                if answer.status != 200:
                    raise ProviderFailed(f"{parts.hostname} answered {answer.status}", status=answer.status)
                _save(answer, output, most, deadline, still_wanted)
                return url
        raise RequestError("the address redirects too often", hint="Give the final one.", field="url")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float = 10.0) -> int:
        """Send bytes to a URL; returns the HTTP status. Redirects are not followed."""
        with self._called("POST", url, headers, body, time.monotonic() + seconds) as (answer, _):
            return int(answer.status)

    def check(self, url: str) -> SplitResult:
        """The parts of a URL that may be called, as far as can be told before its name is resolved; raises RequestError."""
        wrong = "this address may not be called"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise RequestError(wrong, hint="It is not a URL.", field="url") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > 4096 or not url.isprintable() or " " in url:
            raise RequestError(wrong, hint="It begins with http:// or https:// and a name.", field="url")
        if parts.username is not None or parts.password is not None:
            raise RequestError(wrong, hint="It must not carry a password.", field="url")
        if port is not None and port not in PORTS and not self._allowed(parts.hostname):
            raise RequestError(wrong, hint=f"Only ports {', '.join(map(str, sorted(PORTS)))} are called.", field="url")
        try:
            name = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        except UnicodeError:
            raise RequestError(wrong, hint="Its name is not one of the Internet.", field="url") from None
        plain = (f"[{name}]" if ":" in name else name) + (f":{port}" if port is not None else "")
        return parts._replace(
            netloc=plain, path=quote(parts.path or "/", safe=_SAFE), query=quote(parts.query, safe=_SAFE), fragment=""
        )

    def _allowed(self, host: str, address: Address | None = None) -> bool:
        for each in self.allow:
            if host.rstrip(".").lower() == each.lower():
                return True
            if address is not None:
                try:
                    if address in ipaddress.ip_network(each):
                        return True
                except ValueError:
                    continue
        return False

    def checked(self, host: str, port: int) -> str:
        """The address to connect to for a name: all that it stands for have to be public, or allowed."""
        try:
            found = [ipaddress.ip_address(each.partition("%")[0]) for each in self.resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            found = []
        if not found:
            raise ProviderFailed(f"there is no host {host[:100]}", hint="Check the address.")
        if not all(public(address) or self._allowed(host, address) for address in found):
            raise RequestError(
                "this address may not be called",
                hint="It lies in a private network; the operator can allow it with REELWRIGHT_ALLOW_HOSTS.",
                field="url",
            )
        return str(found[0])

    @contextmanager
    def _called(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> Iterator[tuple[Any, SplitResult]]:
        try:
            import httpcore2
        except ModuleNotFoundError as error:
            raise MissingExtra("addresses are called through httpx2", hint="pip install 'reelwright[server]'") from error
        parts = self.check(url)
        sent = {"Host": parts.netloc, "User-Agent": "Reelwright", "Accept-Encoding": "identity", **headers}
        if body is not None:
            sent["Content-Length"] = str(len(body))
        step = {name: max(0.1, min(_STEP_S, deadline - time.monotonic())) for name in ("connect", "read", "write", "pool")}
        with httpcore2.ConnectionPool(network_backend=_backend(self), max_connections=1) as pool:
            try:
                with pool.stream(
                    method, parts.geturl(), headers=list(sent.items()), content=body, extensions={"timeout": step}
                ) as answer:
                    yield answer, parts
            except httpcore2.TimeoutException as error:
                raise TimedOut(f"{parts.hostname} does not answer in time", host=parts.hostname) from error
            except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
                raise ProviderFailed(f"{parts.hostname} cannot be reached", host=parts.hostname) from error


def _backend(fetcher: Fetcher) -> Any:
    """The network as a connection pool sees it: names lead to addresses that were looked at."""
    import httpcore2

    class Guarded(httpcore2.SyncBackend):
        def connect_tcp(self, host: str, port: int, *more: Any, **named: Any) -> Any:
            return super().connect_tcp(fetcher.checked(host, port), port, *more, **named)

        def connect_unix_socket(self, *_: Any, **__: Any) -> Any:
            raise RequestError("this address may not be called", field="url")

    return Guarded()


def _header(answer: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in answer.headers if key.lower() == name), "")


def _save(answer: Any, output: Path, most: int, deadline: float, still_wanted: Callable[[], object]) -> None:
    large = f"the file at this address is larger than {most} bytes"
    stated = _header(answer, b"content-length")
    if stated.isdigit() and int(stated) > most:
        raise TooLarge(large, hint="Make it smaller.", most=most)
    size = 0
    with output.open("wb") as file:
        for piece in answer.iter_stream():
            still_wanted()
            size += len(piece)
            if size > most:
                raise TooLarge(large, hint="Make it smaller.", most=most)
            if time.monotonic() > deadline:
                raise TimedOut("the file did not come in time", hint="Upload it instead.")
            file.write(piece)
