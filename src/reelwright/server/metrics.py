"""What a server counts, in Prometheus' text form, and the line it logs of each call."""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelwright.jobs.timings import Timings
from reelwright.logs import facts
from reelwright.server.auth import Admin
from reelwright.server.problems import unforeseen
from reelwright.workshop import Workshop

LOG = logging.getLogger("reelwright.access")
ROUTER = APIRouter(tags=["administration"])

_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 43_200)


class Meters:
    """The counters of one application."""

    def __init__(self, workshop: Workshop, watcher: Any) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("reelwright_http_requests", "Calls.", ("method", "route", "status"), registry=self.registry)
        self.seconds = Histogram(
            "reelwright_http_seconds", "Seconds until a call was answered.", ("method", "route"), buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.waits = Histogram(
            "reelwright_job_wait_seconds", "Seconds from when a job was queued, or queued again, to its start.", ("lane",),
            buckets=_JOB_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.runs = Histogram(
            "reelwright_job_run_seconds", "Seconds of an attempt at a job, and how it ended.", ("lane", "kind", "end"),
            buckets=_JOB_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.registry.register(_State(workshop, watcher))
        self._timings, self._lock = Timings(workshop.store), threading.Lock()

    def text(self) -> bytes:
        """Everything, with what happened to jobs since the last time."""
        with self._lock:  # two that ask at once count nothing twice
            waits, runs = self._timings.news()
        for wait in waits:
            self.waits.labels(wait.lane).observe(wait.seconds)
        for run in runs:
            self.runs.labels(run.lane, run.kind, run.end).observe(run.seconds)
        return generate_latest(self.registry)


class _State(Collector):
    """What is read from the store when someone asks."""

    def __init__(self, workshop: Workshop, watcher: Any) -> None:
        self._shop, self._watcher = workshop, watcher

    def collect(self) -> Iterator[Metric]:
        store = self._shop.store
        jobs = GaugeMetricFamily("reelwright_jobs", "Jobs.", labels=("lane", "state"))
        for (lane, state), number in store.count().items():
            jobs.add_metric((lane, state), number)
        yield jobs
        known = store.vitals()
        for name, text in (
            ("oldest_queued_seconds", "Seconds that the oldest queued job waits."), ("workers", "Workers that are at a job."),
            ("bytes_stored", "Bytes of all assets."),
        ):  # fmt: skip
            yield GaugeMetricFamily(f"reelwright_{name}", text, value=known[name])
        yield GaugeMetricFamily("reelwright_listeners", "Listeners to live events.", value=len(self._watcher.mailboxes))
        yield GaugeMetricFamily(
            "reelwright_pictures_dropped", "Previews that slow listeners missed.", value=self._watcher.dropped
        )


@ROUTER.get("/metrics", operation_id="metrics", response_class=Response)
def metrics(request: Request, _: Admin) -> Response:
    """Counters for Prometheus."""
    return Response(request.app.state.meters.text(), media_type=CONTENT_TYPE_LATEST)


class Access:
    """ASGI middleware: gives each call an id, counts it, logs it. What is in a query may be a key, so it is not logged."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request = given if _ID.match(given) else uuid.uuid4().hex
        began, begun, status = time.monotonic(), False, 500

        async def sent(message: Message) -> None:
            nonlocal begun, status
            if message["type"] == "http.response.start":
                begun = True
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request.encode())]
            await send(message)

        with facts(request=request):
            try:
                await self._app(scope, receive, sent)
            except Exception:
                LOG.exception("%s %s failed", scope["method"], scope["path"])
                if begun:
                    raise
                await unforeseen(scope["path"])(scope, receive, sent)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                spent = time.monotonic() - began
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._meters.calls.labels(method, route, status).inc()
                self._meters.seconds.labels(method, route).observe(spent)
                LOG.info("%s %s %d", scope["method"], scope["path"], status, extra={"seconds": round(spent, 4)})
