"""Where the work is done: on this machine, or on the server that `--server` or REELWRIGHT_SERVER names."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelwright.catalog import Card
    from reelwright.client import Client, JobStatus
    from reelwright.jobs.rows import Job
    from reelwright.storyboard import Storyboard
    from reelwright.workshop import Workshop

server: str | None = None
"""Set by `--server`."""


def client() -> Client | None:
    """The server's client; None if the work is done here."""
    from reelwright.settings import current

    if not (server or current().server):
        return None
    from reelwright.client import Client

    return Client(server)


def maker() -> ModuleType | Client:
    """What has `generate` and `render`, here or there."""
    from reelwright import films

    return client() or films


def any_card(model: str) -> Card:
    """The card of a model's id, or one made on the fly for a folder, a file or a hub id. Raises UnknownModel."""
    from reelwright.catalog import find
    from reelwright.errors import UnknownModel

    try:
        return find(model)
    except UnknownModel:
        if "/" not in model and not Path(model).exists():
            raise
    from reelwright.backends.describing import described
    from reelwright.settings import current

    return described(model, current())


def desk() -> Here | Client:
    """The jobs, here or there."""
    return client() or Here()


def workshop() -> Workshop:
    """The workshop of this machine; raises MissingExtra."""
    from reelwright.errors import MissingExtra

    try:
        from reelwright.workshop import Workshop
    except ModuleNotFoundError as error:
        raise MissingExtra(f"the server needs {error.name}", hint="pip install 'reelwright[server]'") from error
    return Workshop()


def costs() -> list[dict[str, Any]]:
    """Orders from hosted models that this machine's workers made."""
    from reelwright.jobs.costs import StorePurse

    shop = workshop()
    return StorePurse(shop.store, shop.settings).orders()


class Here:
    """The calls of Client that are about jobs, on this machine's own store."""

    def __init__(self) -> None:
        self.shop = workshop()

    def _status(self, job: Job) -> JobStatus:
        from reelwright.client import JobStatus
        from reelwright.showing import shown

        return JobStatus.of(shown(self.shop.store, job))

    def submit(
        self, board: Storyboard, folder: Path | None = None, priority: int = 0, file: Mapping[str, Any] | None = None
    ) -> JobStatus:
        """As Client.submit."""
        from reelwright.media.encode import Encoding
        from reelwright.workshop import Order

        how = dict(file or {})
        ending = how.pop("ending", None) or ".mp4"
        order = Order("local", priority, encoding=Encoding(**how), ending=ending)
        return self._status(self.shop.film(self.shop.uploaded(board, folder or Path(), "local"), order))

    def batch(self, text: str, ending: str, priority: int = 0) -> JobStatus:
        """As Client.batch."""
        from reelwright.batch import parse
        from reelwright.workshop import Order

        return self._status(self.shop.batch(parse(text, ending), Order("local", priority)))

    def jobs(self, state: str | None = None, limit: int = 50) -> list[JobStatus]:
        """As Client.jobs."""
        return [self._status(job) for job in self.shop.store.list(states=(state,) if state else (), limit=limit)]

    def job(self, job: str) -> JobStatus:
        """As Client.job."""
        return self._status(self.shop.store.get(job))

    def events(self, job: str) -> list[dict[str, Any]]:
        """As Client.events."""
        from reelwright.showing import events

        return events(self.shop.store, job)

    def cancel(self, job: str) -> JobStatus:
        """As Client.cancel."""
        return self._status(self.shop.store.cancel(job))

    def retry(self, job: str) -> JobStatus:
        """As Client.retry."""
        made = self.shop.store.retry(job)
        self.shop.announce()
        return self._status(made)

    def hold(self, job: str, held: bool = True) -> JobStatus:
        """As Client.hold."""
        return self._status(self.shop.store.hold(job, held))

    def prioritise(self, job: str, priority: int) -> JobStatus:
        """As Client.prioritise."""
        return self._status(self.shop.store.reprioritise(job, priority))

    def delete(self, job: str) -> None:
        """As Client.delete."""
        self.shop.store.delete(job)

    def fetch(self, job: str, output: str | Path) -> Path:
        """As Client.fetch."""
        from reelwright.errors import Conflict
        from reelwright.media.partial import whole

        found = self.shop.store.get(job)
        made = (found.result or {}).get("asset")
        if made is None:
            raise Conflict(f"job {job} is {found.state} and has no film", hint="`reel jobs show` says how it stands.", job=job)
        with whole(Path(output)) as part:
            shutil.copyfile(self.shop.file(self.shop.ledger.asset(made)), part)
        return Path(output)

    def loaded(self) -> list[dict[str, Any]]:
        """As Client.loaded."""
        from reelwright.jobs.residents import Residents

        return Residents(self.shop.store).known()

    def load(self, model: str) -> JobStatus:
        """As Client.load."""
        return self._status(self.shop.load(model))

    def unload(self, model: str | None = None) -> list[str]:
        """As Client.unload."""
        from reelwright.jobs.residents import Residents

        return Residents(self.shop.store).wish_gone(model)

    def keys(self) -> list[dict[str, Any]]:
        """As Client.keys."""
        from reelwright.showing import key

        known = self.shop.ledger.keys()
        return [key(each) for each in known]

    def new_key(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """As Client.new_key."""
        from reelwright.showing import key, make_key

        made, secret = make_key(self.shop.ledger, self.shop.store.clock(), **wanted)
        return {**key(made), "key": secret}

    def revoke(self, key: str) -> None:
        """As Client.revoke."""
        self.shop.ledger.revoke(key)
