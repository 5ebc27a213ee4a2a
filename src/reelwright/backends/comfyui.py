"""Models on ComfyUI servers: a workflow is filled, queued once, watched, taken up after a crash, and its film fetched (M11).

The id of the order is made here and lies in the run's memory, with the server's address, before the order leaves. After a crash
the server's queue and history say whether it arrived, so that no work is queued twice. A cancel stops this order alone.
"""

from __future__ import annotations

from reelwright import settings
from reelwright.backends.comfy import graphs
from reelwright.backends.comfy.faults import failure
from reelwright.backends.comfy.pool import Pool
from reelwright.backends.comfy.work import Pace, Work
from reelwright.backends.hosted.loop import leaving
from reelwright.catalog import Card, Shot
from reelwright.errors import Cancelled, Unsupported
from reelwright.run import Run
from reelwright.types import Video


class ComfyUI:
    """The backend of cards with a workflow: `settings.graph` names it. `pace`: how often servers are asked."""

    def __init__(self, wanted: settings.Settings | None = None, pace: Pace | None = None) -> None:
        self.settings = wanted or settings.current()
        self.pace = pace or Pace()

    def check(self, card: Card) -> None:
        """Raises Unsupported if the card's workflow is not there or takes no such input, RequestError for a wrong one, or for a
        server's address that is not called. The servers are not asked."""
        graph = graphs.graph_of(card)
        named = {name for _, _, name in graphs.places(graph)}
        needed = {role.value for roles in card.accepts for role in roles}
        if missing := sorted(needed - named):
            raise Unsupported(f"the workflow of {card.title} has no place for {', '.join(missing)}", model=card.id)
        Pool(self.settings.comfy_servers)

    def close(self) -> None:
        """Nothing is held."""

    def generate(self, shot: Shot, run: Run) -> Video:
        """The shot, from the order to the film. Raises Cancelled (its order is stopped), Unavailable (no server answers, or each
        lacks something), OutOfMemory, BackendError, ProviderFailed, TimedOut."""
        self.check(shot.card)
        work = Work(shot, run, self.settings, self.pace)
        try:
            entry = work.done()
            if error := failure(shot.card, work.server.address, entry):
                work.forget()
                raise error
            return work.fetched(entry)
        except (Cancelled, KeyboardInterrupt):
            if not leaving(run):
                work.stop()
            raise
