"""One shot at one server: ordered once, watched, taken up again, stopped, fetched."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reelwright.backends.comfy import graphs
from reelwright.backends.comfy.client import Away, Server, Standing
from reelwright.backends.comfy.events import Course, Event, Lost, Socket, frame
from reelwright.backends.comfy.faults import refused
from reelwright.backends.comfy.pool import Pool
from reelwright.backends.comfy.results import ENDINGS, film, untagged
from reelwright.backends.hosted.orders import Memory
from reelwright.backends.hosted.results import conformed
from reelwright.catalog import Shot
from reelwright.errors import ProviderFailed, ReelwrightError, TimedOut
from reelwright.media.sniff import HEAD, sniff
from reelwright.run import Run
from reelwright.settings import Settings
from reelwright.types import Video

_TICK_S = 0.2
"""How long a cancel may go unheard."""
_ABSENT = 3
"""How many looks in a row have to miss an order until it is given up."""
_TRIES = 3
_ENDS = ("execution_error", "execution_interrupted", "execution_success")


@dataclass
class Order:
    """An order as it lies in the run's memory. `sent`: the server has said that it has it."""

    prompt: str
    server: str
    at: float
    sent: bool = False


@dataclass(frozen=True)
class Pace:
    """`looks`: seconds between questions to a server that says nothing; `patience`: how long one may be away while it has our
    order."""

    looks: float = 2.0
    patience: float = 60.0


class Work:
    """One shot, from the order to its film."""

    def __init__(self, shot: Shot, run: Run, known: Settings, pace: Pace) -> None:
        self.shot, self.run, self.settings, self.pace = shot, run, known, pace
        self.key = shot.fingerprint[:16]
        self.memory = Memory("comfyui", known.data_folder)
        self.pool = Pool(known.comfy_servers)
        self.template = graphs.graph_of(shot.card)
        self.course = Course(self.template)
        self.order: Order | None = None
        self.server = Server(self.pool.addresses[0])
        self._socket: Socket | None = None
        self._dialled = -math.inf

    def done(self) -> Mapping[str, Any]:
        """The history's entry of the shot's order: a new one, or the one that an earlier attempt began. Raises Cancelled."""
        self.run.step(0, 1, "order")
        before = self._before()
        if before is not None and before.entry is not None:
            return before.entry
        try:
            if before is None:
                self._begin()
            return self._watched()
        finally:
            if self._socket is not None:
                self._socket.close()

    # ---- the order

    def _before(self) -> Standing | None:
        """Where an earlier attempt's order stands; None if there is none to go on with."""
        known = self.memory.known(self.run, self.key)
        if known is None:
            return None
        order = Order(**known)
        server = self.pool.at(order.server)
        if server is None:
            self.run.note(f"The ComfyUI server at {order.server} is no longer named in the settings; another one is asked.")
            return None
        try:
            standing = server.standing(order.prompt)
        except ReelwrightError:
            if not any(isinstance(count, int) for _, count in self.pool.waiting()):
                raise
            self.run.note(f"The ComfyUI server at {order.server} is away; another one is asked.")
            return None
        if standing.state == "absent":
            if order.sent:
                self.run.note(f"The ComfyUI server at {order.server} no longer knows the order; it is asked again.")
            return None
        self.run.note(f"The ComfyUI server at {order.server} was asked before; its answer is waited for.")
        self.order, self.server = order, server
        self._keep(sent=True)
        return standing

    def _begin(self) -> None:
        """Order the shot from the server that makes it soonest."""
        card = self.shot.card
        known = graphs.values(self.shot, {}, "")
        fit = self.pool.pick(card, graphs.filled(self.template, known, ()))
        self.server, prompt = fit.server, str(uuid.uuid4())
        known = graphs.values(self.shot, self._uploaded(), f"reelwright/{prompt}")
        graph = graphs.completed(graphs.filled(self.template, known, graphs.known_names(card)), fit.schema)
        self.order = Order(prompt, self.server.address, time.time())
        self._keep(sent=False)
        self._dial()
        self.run.step(0, 1, "order")
        try:
            answer = self.server.order(graph, prompt)
        except Away:
            self.forget()
            raise
        except (TimedOut, ProviderFailed):  # it may have arrived all the same
            if self.server.standing(prompt).state == "absent":
                self.forget()
                raise
        else:
            if answer.status != 200:
                self.forget()
                raise refused(card, self.server.address, answer)
            if isinstance(answer.json, dict) and isinstance(answer.json.get("prompt_id"), str):
                self.order.prompt = answer.json["prompt_id"]  # old servers make their own
        self._keep(sent=True)

    def _uploaded(self) -> dict[str, str]:
        """The inputs at the server: their names there, by role."""
        names: dict[str, str] = {}
        for number, given in enumerate(self.shot.inputs):
            self.run.step(number, len(self.shot.inputs), "upload")
            if given.role.value in names:
                self.run.note(f"{self.shot.card.title} takes one {given.role.value}; the first one is used.")
                continue
            path = self.run.fetch(given.ref)
            with path.open("rb") as file:
                ending = sniff(file.read(HEAD)).ending
            names[given.role.value] = self.server.upload(path, f"reel-{given.digest[:24]}{ending}")
        if self.shot.inputs:
            self.run.step(len(self.shot.inputs), len(self.shot.inputs), "upload")
        return names

    def _keep(self, *, sent: bool) -> None:
        assert self.order is not None
        self.order.sent = sent
        self.memory.keep(self.run, self.key, asdict(self.order))

    def forget(self) -> None:
        """The order is done with; a later attempt makes a new one."""
        self.order = None
        self.memory.forget(self.run, self.key)

    def stop(self) -> None:
        """Stop the order, as far as the server can be reached."""
        if self.order is not None:
            with suppress(ReelwrightError):
                Server(self.server.address, timeout=5).stop(self.order.prompt)
            self.forget()

    # ---- watching

    def _watched(self) -> Mapping[str, Any]:
        """Watch the order until it is in the history. Raises Cancelled, TimedOut, ProviderFailed."""
        assert self.order is not None
        looked, moved, away, missed = -math.inf, time.monotonic(), None, 0
        at = Standing("pending")
        while True:
            event = self._next()
            now = time.monotonic()
            if event is not None and (event.kind == "picture" or event.data.get("prompt_id") is not None):
                moved = now  # others, such as monitors of the machine, say nothing of the order
            ended = event is not None and self._hear(event)
            if ended or missed or now - looked >= self.pace.looks:
                looked = now
                try:
                    then, at, away = at, self.server.standing(self.order.prompt), None
                except ReelwrightError as error:
                    away = away or now
                    self._waits(error, now - away)
                else:
                    if at.entry is not None:
                        self.run.step(100, 100, "run")
                        return at.entry
                    missed = missed + 1 if at.state == "absent" else 0
                    moved = now if at.state == "pending" or at != then else moved
            self._shown(at)
            if missed >= _ABSENT:
                self._gone()
            if now - moved > self.settings.request_timeout:
                self._late()

    def _next(self) -> Event | None:
        """The next message about the order; waits a moment if there is none."""
        assert self.order is not None
        self._dial()
        event = None
        if self._socket is None:
            time.sleep(_TICK_S)
        else:
            try:
                event = self._socket.next(_TICK_S)
            except Lost:
                self._socket.close()
                self._socket = None
        return event if event is not None and event.data.get("prompt_id") in (None, self.order.prompt) else None

    def _dial(self) -> None:
        """Open the socket, if it is not; after a failure not again at once."""
        if self._socket is None and time.monotonic() - self._dialled > self.pace.looks:
            self._dialled = time.monotonic()
            assert self.order is not None
            with suppress(Lost):
                self._socket = Socket(self.server, self.order.prompt)

    def _hear(self, event: Event) -> bool:
        """Take a message; whether it is time to look at the history.

        That the work has succeeded is said before it stands there; that nothing is executed any more, after it.
        """
        if event.kind == "picture":
            if (shown := frame(event.picture)) is not None:
                self.run.preview(shown)
            return False
        self.course.hear(event)
        return event.kind in _ENDS or (event.kind == "executing" and event.data.get("node") is None)

    def _shown(self, at: Standing) -> None:
        share = self.course.share
        if at.state == "pending" and not share:
            self.run.step(0, 1, f"queue (number {at.position})" if at.position else "queue")
        else:
            self.run.step(round(share * 100), 100, "run")

    def _waits(self, error: ReelwrightError, seconds: float) -> None:
        if seconds > self.pace.patience:
            raise ProviderFailed(
                f"the ComfyUI server at {self.server.address} has been away for {seconds:.0f} s: {error.message}",
                hint="It is asked for the result when this is tried again.",
                server=self.server.address,
            ) from error

    def _gone(self) -> None:
        self.forget()
        raise ProviderFailed(
            f"the ComfyUI server at {self.server.address} no longer knows the order",
            hint="Somebody took it from the queue, or the server was started anew. Try again.",
            server=self.server.address,
        )

    def _late(self) -> None:
        self.stop()
        raise TimedOut(
            f"the ComfyUI server at {self.server.address} said nothing for {self.settings.request_timeout:.0f} s",
            hint="Raise REQUEST_TIMEOUT, or look at the server.",
            server=self.server.address,
        )

    # ---- the film

    def fetched(self, entry: Mapping[str, Any]) -> Video:
        """The film that an entry of the history names, at the shot's size, rate and length."""
        item = film(entry, self.shot.card)
        ending = Path(item["filename"]).suffix.lower()
        raw = self.run.scratch / f"{self.key}-raw{ending if ending in ENDINGS else '.mp4'}"
        self.run.step(0, 1, "fetch")
        for number in range(_TRIES):
            try:
                self.server.download(
                    item, raw, most=self.settings.max_video_file_size, still_wanted=lambda: self.run.step(0, 1, "fetch")
                )
                break
            except ReelwrightError as error:
                if not error.retryable or number == _TRIES - 1:
                    raise
        path = untagged(raw, raw.with_name(f"{self.key}{raw.suffix}"))
        self.run.step(1, 1, "fetch")
        video = conformed(path, self.shot, self.run)
        self.memory.done(self.key)
        if path == raw and video.source is not None:  # its tags must not be copied on
            return Video(video.spec, video.frames, video.samples, (video,))
        return video
