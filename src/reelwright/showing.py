"""Jobs, events, keys as JSON, the same from the HTTP API and from the command line; nothing of this machine's paths."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reelwright.jobs.ledger import Key, Ledger
from reelwright.jobs.rows import Job
from reelwright.jobs.store import Store
from reelwright.workbench import FILM


def at(time: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601, in UTC."""
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(store: Store, job: Job) -> dict[str, Any]:
    """A job as JSON; nothing of this machine's paths."""
    return {
        "id": job.id, "kind": job.kind, "model": job.model, "state": job.state, "held": job.held, "priority": job.priority,
        **(_film_progress(store, job) if job.kind == FILM else _progress(job)),
        "queue_position": store.ahead(job) if job.state == "queued" else None,
        "estimate_seconds": job.estimate, "attempt": job.attempt, "parent": job.parent, "notes": job.notes, "error": job.error,
        "created_at": at(job.created_at), "started_at": at(job.started_at), "finished_at": at(job.finished_at),
        "result": job.result, "result_url": f"/api/jobs/{job.id}/result" if (job.result or {}).get("asset") else None,
        "thumbnail_url": f"/api/jobs/{job.id}/thumbnail" if (job.result or {}).get("thumbnail") else None,
    }  # fmt: skip


def _progress(job: Job) -> dict[str, Any]:
    progress = job.progress or {}
    total = progress.get("total") or 0
    share = 1.0 if job.state == "done" else min(1.0, progress.get("done", 0) / total) if total else 0.0
    eta = progress.get("eta") if job.state == "running" else None
    return {
        "progress": round(share, 4), "stage": progress.get("stage"), "step": progress.get("done"), "steps": total or None,
        "eta_seconds": eta,
    }  # fmt: skip


def _film_progress(store: Store, film: Job) -> dict[str, Any]:
    """How far a film is with its scenes: each weighs what it was estimated to take, as does putting them together."""
    own = _progress(film)
    parts = () if film.state == "done" else store.list(parent=film.id, limit=10_000, newest=False)
    if not parts:
        return own
    weighed = [(part.estimate or 1.0, _progress(part)) for part in parts]
    last = film.estimate or 1.0
    whole = sum(weight for weight, _ in weighed) + last
    share = (sum(weight * each["progress"] for weight, each in weighed) + last * own["progress"]) / whole
    if film.state == "running":
        return {**own, "progress": round(share, 4)}
    known = [each["eta_seconds"] for _, each in weighed if each["eta_seconds"] is not None]
    waiting = sum(part.estimate or 0.0 for part in parts if part.state in ("waiting", "queued"))
    return {
        "progress": round(share, 4), "stage": "scenes", "step": sum(part.state == "done" for part in parts),
        "steps": len(parts), "eta_seconds": round(sum(known) + waiting + last, 1) if known else None,
    }  # fmt: skip


def events(store: Store, job: str, after: int = 0) -> list[dict[str, Any]]:
    """What happened to a job after an event's number, oldest first."""
    return [{"number": each.number, "at": at(each.at), "what": each.what, **each.facts} for each in store.events(job, after)]


def key(key: Key) -> dict[str, Any]:
    """An API key, without the key itself."""
    times = {name: at(getattr(key, name)) for name in ("created_at", "expires_at", "revoked_at", "used_at")}
    return {"id": key.id, "name": key.name, "owner": key.owner, "scopes": list(key.scopes), "limits": key.limits, **times}


def make_key(
    ledger: Ledger,
    now: float,
    *,
    name: str,
    owner: str | None = None,
    scope: str = "write",
    days: float | None = None,
    limits: Mapping[str, Any] | None = None,
) -> tuple[Key, str]:
    """A new key of an owner (its name's if unset), for so many days; and the key itself."""
    given = {each: value for each, value in (limits or {}).items() if value is not None}
    expires = None if days is None else now + days * 86_400
    return ledger.new_key(owner or name, (scope,), name=name, expires_at=expires, **given)
