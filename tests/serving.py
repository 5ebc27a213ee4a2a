"""A real server on loopback, with a worker, for tests that need one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from reelwright.jobs.worker import Worker
from reelwright.server.app import create_app
from reelwright.workshop import Workshop


@contextmanager
def served(shop: Workshop, port: int = 0, *, open_to_all: bool = True) -> Iterator[str]:
    """The API over a workshop, on a port of this machine; gives its address."""
    config = uvicorn.Config(
        create_app(shop, open_to_all=open_to_all), "127.0.0.1", port, log_level="warning", ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            threading.Event().wait(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def working(shop: Workshop, lanes: tuple[str, ...] = ("cpu",)) -> Iterator[Worker]:
    """A worker of a workshop, in a thread."""
    worker = Worker(shop.store, "w", lanes, shop.perform, find=shop.find, preview=shop.preview)
    thread = threading.Thread(target=worker.work)
    thread.start()
    try:
        yield worker
    finally:
        worker.stopping.set()
        thread.join()
