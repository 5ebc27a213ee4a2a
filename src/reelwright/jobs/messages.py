"""Celery as the messenger: a message says that a lane has work, and nothing else. Lost or doubled ones do no harm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from reelwright.errors import MissingExtra, RequestError

LOG = logging.getLogger("reelwright.messages")

WAKE = "reelwright.wake"
"""The name of the task: claim one job of a lane and do it."""

# Settings under which a long job survives what happens to brokers; each was tried with kill -9, FLUSHDB and restarts.
SETTINGS: dict[str, Any] = {
    "imports": ("reelwright.dispatch",),  # where children find the task
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,  # harmless: a message for a job that cannot be claimed finds nothing
    "task_ignore_result": True,  # the store has the results
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_concurrency": 1,
    "worker_pool": "prefork",
    "worker_pool_start_method": "spawn",  # CUDA wants it
    "worker_soft_shutdown_timeout": 30,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # a broker's restart must not end a long render
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 2,
    "task_publish_retry": False,  # a call must not hang while the broker is down; the supervisor announces again
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_queue": "cpu",
    "broker_transport_options": {
        "visibility_timeout": 86_400,  # leases bring lost jobs back, not the broker
        "queue_order_strategy": "priority",
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
}


def celery_app(url: str) -> Any:
    """A Celery application for `celery+redis://host:port/db`; raises RequestError, MissingExtra."""
    if not url.startswith("celery+"):
        raise RequestError(
            "the queue is Celery over a broker", hint="Set REELWRIGHT_QUEUE to celery+redis://HOST:PORT/0.", field="queue"
        )
    try:
        from celery import Celery
    except ModuleNotFoundError as error:
        raise MissingExtra("this queue needs Celery", hint="pip install 'reelwright[scale]'") from error
    app = Celery("reelwright", broker=url.removeprefix("celery+"))
    app.conf.update(SETTINGS)
    return app


class Messenger:
    """Tells workers that lanes have work."""

    def __init__(self, url: str) -> None:
        self._app = celery_app(url)

    def announce(self, lanes: Mapping[str, int]) -> None:
        """So many messages for each lane; a broker that is away is only logged, for the jobs are safe in the store."""
        for lane, count in lanes.items():
            for _ in range(count):
                try:
                    self._app.send_task(WAKE, (lane,), queue=lane)
                except Exception as error:  # noqa: BLE001  kombu passes on whatever its transports raise
                    LOG.warning("lane %s could not be announced: %s", lane, error)
                    return
