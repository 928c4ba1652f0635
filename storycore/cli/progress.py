"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

    from storycore.entities.upgrading import UpgradeReport
    from storycore.ingestion import Progress

__all__ = ["backup_progress", "ingestion_progress", "upgrade_progress", "warming_progress"]

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def ingestion_progress() -> Iterator[Callable[[Progress], None]]:
    """Show how far an ingestion is, as long as the context lasts; gives the function to be told."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lambda now: lines.tell(f"{now.done} of {now.total} documents")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from storycore.cli.output import console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        task = bars.add_task("documents", total=None)
        yield lambda now: bars.update(task, completed=now.done, total=now.total)


def upgrade_progress() -> Callable[[UpgradeReport], None]:
    """The function to be told how far an upgrade is; nobody knows how many records there are."""
    lines = _Lines()
    return lambda now: lines.tell(
        f"{now.checked} records checked, {now.rewritten} rewritten; to go on from here: --resume {now.resume}"
    )


def warming_progress() -> Callable[[int], None]:
    """The function to be told how many records have been read."""
    lines = _Lines()
    return lambda done: lines.tell(f"{done} records read")


@contextmanager
def backup_progress() -> Iterator[Callable[[str, int], None]]:
    """Show how far a backup or a restore is, as long as the context lasts; gives the function to be told.

    Nobody knows how many items there are, so a terminal shows a count and how long it takes.
    """
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lambda what, done: lines.tell(f"{what}: {done} items")
        return
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from storycore.cli.output import console

    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed} items"), TimeElapsedColumn())
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done)

        yield tell


class _Lines:
    """A line at most every few seconds, so that a log tells slow from stuck and stays short."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def tell(self, line: str) -> None:
        """Take note, and print when it is time."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            click.echo(line, err=True)
