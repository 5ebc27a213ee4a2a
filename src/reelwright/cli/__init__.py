"""The command line. Nothing heavy is imported until a command needs it: `reel --help` answers at once."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

import typer

from reelwright.cli import comfy, desk, edit, look, make, models, report, serve, weigh

app = typer.Typer(
    name="reel",
    help="Reelwright: storyboards become films, with any video model or none.",
    epilog="Every command takes --json: one JSON object on standard output, errors as JSON on standard error.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (make, weigh, edit, look, serve):
    group.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(comfy.app, name="comfy")


def _version(wanted: bool) -> None:
    if wanted:
        from reelwright import __version__

        typer.echo(f"reelwright {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(  # noqa: ARG001  its callback answers
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
    server: str | None = typer.Option(
        None, "--server", help="A server's address that does the work; REELWRIGHT_SERVER if unset."
    ),
) -> None:
    """Options of every command."""
    desk.server = server


def main(arguments: list[str] | None = None) -> None:
    """The console command: runs, reports errors, and exits with the code of their class (docs/reference/errors.md)."""
    given = sys.argv[1:] if arguments is None else arguments
    words = [word for word in given if word != "--json"]
    report.as_json = len(words) != len(given)
    report.stopped.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    code = _run(words)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _quiet()
    raise SystemExit(code)


def _stop(_number: int, _frame: Any) -> None:
    report.stopped.set()  # an exception can get lost in a callback out of C; the next step of the work sees this
    raise KeyboardInterrupt


def _run(words: list[str]) -> int:
    from reelwright.errors import Cancelled, ReelwrightError

    try:
        code = app(words, prog_name="reel", standalone_mode=False)
        if code == Cancelled.exit_code:  # typer's own answer to Ctrl-C
            raise Cancelled
    except typer.Exit as end:
        if end.exit_code == Cancelled.exit_code:
            return _stopped()
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort, Cancelled):
        return _stopped()
    except ReelwrightError as error:
        report.failure(error)
        return error.exit_code
    except BrokenPipeError:  # `reel models | head`
        _quiet()
        return 0
    except OSError as error:
        return _unforeseen(error)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's errors: a wrong option or argument
            said = error.format_message()
            if said:
                known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
                where = f"reel {words[0]}" if words and words[0] in known else "reel"
                report.problem(f"{said} See `{where} --help`.", "usage")
            return 2
        raise
    return code if isinstance(code, int) else 0


def _stopped() -> int:
    from reelwright.errors import Cancelled

    report.problem("Stopped. Nothing was left half done; finished scenes are kept.", "cancelled")
    return Cancelled.exit_code


def _quiet() -> None:
    """Nobody listens any more: what is left in the buffers goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _unforeseen(error: OSError) -> int:
    """A file or folder that cannot be used, said plainly."""
    from reelwright.errors import DiskFull, ReelwrightError, RequestError

    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kind: type[ReelwrightError] = DiskFull if full else RequestError
    where = f": {error.filename}" if error.filename else ""
    failed = kind(f"{error.strerror or error}{where}", hint="Free some space." if full else "Check the path and its rights.")
    report.failure(failed)
    return failed.exit_code
