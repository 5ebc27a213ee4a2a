"""Commands of a server: serve, worker, jobs, keys."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelwright.cli import desk, report, weigh

if TYPE_CHECKING:
    from reelwright.client import JobStatus
    from reelwright.workers import Post

jobs = typer.Typer(help="Jobs of this installation: list, show, cancel, retry ...", no_args_is_help=False)
keys = typer.Typer(help="API keys of the server: list, new, revoke.", no_args_is_help=False)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (serve, worker, submit, batch):
        app.command()(command)
    app.add_typer(jobs, name="jobs")
    app.add_typer(keys, name="keys")


def _posts(lanes: str | None, processes: int) -> tuple[Post, ...]:
    from reelwright.doctor import gpu_memory
    from reelwright.workers import Post, posts

    if lanes is None:
        return posts(gpu_memory())
    asked = tuple(lane.strip() for lane in lanes.split(",") if lane.strip())
    return tuple(Post(f"{asked[0]}-{index}" if processes > 1 else asked[0], asked) for index in range(processes))


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's own need API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    workers: Annotated[bool, typer.Option(help="Start workers too.")] = True,
    require_key: Annotated[bool, typer.Option(help="Ask for API keys on this machine's own address too.")] = False,
) -> None:
    """Run the HTTP API, with workers beside it."""
    import uvicorn

    from reelwright.errors import RequestError
    from reelwright.server.app import create_app
    from reelwright.workers import Supervisor

    shop = desk.workshop()
    shop.logged()
    inward = host in _LOOPBACK
    known = shop.ledger.keys()
    if not inward and all(key.revoked_at is not None for key in known):
        raise RequestError(
            f"a server on {host} can be reached by others, and there is no API key",
            hint="Make one: `reel keys new NAME`. Or listen on 127.0.0.1.",
            field="host",
        )
    app = create_app(shop, open_to_all=inward and not require_key)
    config = uvicorn.Config(
        app,
        host,
        port,
        ws_per_message_deflate=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
        server_header=False,
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    supervisor = Supervisor(shop, _posts(None, 1) if workers else ())  # without workers it still takes back what others lost
    supervisor.start()
    report.say(f"Reelwright listens on http://{host}:{port}  (API: http://{host}:{port}/docs)")
    try:
        server.run()
    finally:
        supervisor.stop()


def worker(
    lanes: Annotated[str | None, typer.Option(help="Lanes to serve, such as cpu,gpu.24; by the GPUs here if unset.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Workers to start for these lanes.")] = 1,
) -> None:
    """Run workers that take jobs from the store (REELWRIGHT_STORE), beside a server or on another machine."""
    import signal

    from reelwright.workers import Supervisor

    shop = desk.workshop()
    shop.logged()
    supervisor = Supervisor(shop, _posts(lanes, processes))
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    supervisor.start()
    report.say("Workers run; Ctrl-C stops them and gives their jobs back.")
    try:
        done.wait()
    finally:
        supervisor.stop()


def submit(
    board: Annotated[Path, typer.Argument(help="A storyboard.")],
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
) -> None:
    """Queue a storyboard's film for the workers; its files are uploaded as assets."""
    from reelwright.storyfile import load

    job = desk.desk().submit(load(board), board.parent, priority)
    report.give({"job": job.id, "state": job.state}, f"{job.id}  {job.state}")


def batch(
    file: Annotated[Path, typer.Argument(help="Requests as .jsonl, .csv, or .json with `requests` or a `matrix`.")],
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
) -> None:
    """Queue many clips from a file, all or none."""
    from reelwright.errors import MissingAsset, RequestError

    if not file.is_file():
        raise MissingAsset(f"there is no file {file}", hint="Check the path.", file=file.name)
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(f"{file.name} is not UTF-8 text", hint="Save it as UTF-8.") from None
    job = desk.desk().batch(text, file.suffix.lower(), priority)
    report.give({"batch": job.id, "state": job.state}, f"{job.id}  {job.state}")


# ---- jobs


def _row(job: JobStatus) -> tuple[Any, ...]:
    share = f"{job.progress:.0%}" if job.state in ("running", "done") or job.progress else None
    made = None
    if job.created_at is not None:
        made = datetime.fromisoformat(job.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return job.id, job.kind, job.model, job.state, share, job.priority, job.attempt, made, (job.error or {}).get("message")


@jobs.callback(invoke_without_command=True)
def list_jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only waiting, queued, running, done, failed or cancelled ones.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """List jobs, newest first."""
    if context.invoked_subcommand is not None:
        return
    found = desk.desk().jobs(state, limit)
    columns = ("Id", "Kind", "Model", "State", "Done", "Priority", "Attempt", "Made", "Error")
    report.table("Jobs", columns, [_row(job) for job in found])


_JobId = Annotated[str, typer.Argument(help="A job's id.")]


@jobs.command()
def show(job: _JobId) -> None:
    """Show everything about a job, with what happened to it."""
    import json
    from dataclasses import asdict

    known = desk.desk()
    content = {**asdict(known.job(job)), "events": known.events(job)}
    report.give(content, json.dumps(content, indent=2, ensure_ascii=False, default=str))


@jobs.command()
def cancel(job: _JobId) -> None:
    """Stop a job: at once if it waits, within a step if it runs."""
    _said(desk.desk().cancel(job))


@jobs.command()
def retry(job: _JobId) -> None:
    """Queue a failed or cancelled job again; finished scenes are kept."""
    _said(desk.desk().retry(job))


@jobs.command()
def hold(job: _JobId) -> None:
    """Pause a job that has not begun."""
    _said(desk.desk().hold(job))


@jobs.command()
def release(job: _JobId) -> None:
    """Let a paused job go on."""
    _said(desk.desk().hold(job, False))


@jobs.command()
def priority(job: _JobId, value: Annotated[int, typer.Argument(min=-100, max=100)]) -> None:
    """Change what goes first: higher before lower."""
    _said(desk.desk().prioritise(job, value))


@jobs.command()
def delete(job: _JobId) -> None:
    """Forget a job that has ended."""
    desk.desk().delete(job)
    report.give({"job": job, "deleted": True}, f"{job}  deleted")


@jobs.command()
def fetch(job: _JobId, output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the film.")]) -> None:
    """Write a finished job's film to a file."""
    path = desk.desk().fetch(job, output)
    report.give({"path": str(path)}, str(path))


def _said(job: JobStatus) -> None:
    report.give({"job": job.id, "state": job.state, "held": job.held, "priority": job.priority}, f"{job.id}  {job.state}")


# ---- keys


@keys.callback(invoke_without_command=True)
def list_keys(context: typer.Context) -> None:
    """List the keys, without the keys themselves."""
    if context.invoked_subcommand is not None:
        return
    known = desk.desk().keys()
    names = ("id", "name", "owner", "scopes", "expires_at", "revoked_at", "used_at")
    rows = [tuple(", ".join(key[name]) if name == "scopes" else key[name] for name in names) for key in known]
    report.table("Keys", ("Id", "Name", "Owner", "Scopes", "Expires", "Revoked", "Used"), rows)


keys.command("set")(weigh.set_key)


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    owner: Annotated[str | None, typer.Option(help="Whose jobs and files it sees; the name if unset.")] = None,
    scope: Annotated[str, typer.Option(help="read, write, or admin.")] = "write",
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; never if unset.")] = None,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Jobs at once.")] = None,
    gpu_seconds: Annotated[float | None, typer.Option(min=0, help="Seconds of work a day.")] = None,
    gigabytes: Annotated[float | None, typer.Option(min=0, help="GB of files.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Calls a minute.")] = None,
) -> None:
    """Make a key. It is shown this once."""
    from reelwright.errors import RequestError

    if scope not in ("read", "write", "admin"):
        raise RequestError(f"there is no scope {scope!r}", hint="Choose one of read, write, admin.", field="scope")
    size = None if gigabytes is None else round(gigabytes * 1e9)
    limits = {"jobs": max_jobs, "seconds": gpu_seconds, "bytes": size, "requests": requests}
    wanted = {"name": name, "owner": owner, "scope": scope, "days": days, "limits": limits}
    made = desk.desk().new_key(wanted)
    content = {"id": made["id"], "key": made["key"], "owner": made["owner"], "scope": scope}
    report.give(content, f"{made['key']}\nIt is not kept; copy it now.")


@keys.command()
def revoke(key: Annotated[str, typer.Argument(help="A key's id.")]) -> None:
    """Make a key worthless at once."""
    desk.desk().revoke(key)
    report.give({"id": key, "revoked": True}, f"{key}  revoked")
