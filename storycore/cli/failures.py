"""How a failure is told: one line on stderr, one JSON document on stdout when asked, and the exit status."""

from __future__ import annotations

import json
import os
import sys

import click

from storycore.errors import ConfigError, InvalidArgument, PartialFailure, StorycoreError

__all__ = ["FAILED", "INTERRUPTED", "PARTIAL", "USAGE", "told"]

FAILED = 1
USAGE = 2
PARTIAL = 3
INTERRUPTED = 130
_PIPE_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended."""

_GO_ON = "Interrupted. Run the same command again: it goes on where it stopped."


def told(error: BaseException, *, as_json: bool) -> int:
    """Tell of a failure and return the exit status.

    Raises:
        BaseException: ``error`` itself when it is nobody's mistake but a defect of the program.
    """
    if isinstance(error, BrokenPipeError):
        return _reader_left()
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        said = error.__cause__ if isinstance(error, click.Abort) else error  # click makes the one of the other
        return _say({"code": "interrupted", "message": str(said or "") or _GO_ON}, INTERRUPTED, as_json=as_json)
    if isinstance(error, click.ClickException):
        return _say({"code": "usage", "message": _usage_message(error)}, USAGE, as_json=as_json)
    if isinstance(error, StorycoreError):
        return _say({**error.as_dict(), **_details(error)}, _status(error), as_json=as_json)
    if isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return _say({"code": "os_error", "message": message}, FAILED, as_json=as_json)
    raise error


def _say(details: dict[str, object], status: int, *, as_json: bool) -> int:
    click.echo(f"error: {details['message']}" if status != INTERRUPTED else details["message"], err=True)
    if as_json:
        try:
            click.echo(json.dumps({"error": details}, indent=2))
        except OSError:  # whoever reads has gone, or the disk is full; stderr has been told
            _silence()
    return status


def _status(error: StorycoreError) -> int:
    if isinstance(error, PartialFailure):
        return PARTIAL
    return USAGE if isinstance(error, (ConfigError, InvalidArgument)) else FAILED


def _details(error: StorycoreError) -> dict[str, object]:
    """What an error of the configuration knows beyond its message."""
    named = {name: getattr(error, name, None) for name in ("path", "suggestion", "cure")}
    return {name: value for name, value in named.items() if value}


def _usage_message(error: click.ClickException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    return f"{message} `{context.command_path} --help` shows how it is used." if context else message


def _reader_left() -> int:
    """Whoever read our output has gone."""
    _silence()
    return _PIPE_CLOSED


def _silence() -> None:
    """Say nothing more on stdout, not even at interpreter exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
