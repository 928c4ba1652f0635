"""``storycore restore``: bring a state back, whole or in part, here or into another profile."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from storycore.cli.exports import import_
from storycore.cli.options import Common, Moment, common_options

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.backup.outcomes import Restored
    from storycore.backup.restoring import Mode, OnConflict, PortChanges, Selection

__all__ = ["restore"]

F = TypeVar("F", bound=Callable[..., Any])

_PORTS = ("blobs", "entities", "vectors", "events")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is to be restored, and where."""

    backup_id: str | None
    at: datetime | None
    into: str | None
    into_dir: str | None
    kinds: tuple[str, ...]
    ports: tuple[str, ...]
    user: str | None

    @property
    def source(self) -> dict[str, Any]:
        """Which backup, as the service is asked."""
        return {"id_": self.backup_id or "latest", "at": self.at}

    def selection(self) -> Selection:
        """Which part of it."""
        from storycore.backup.restoring import Selection

        return Selection(
            ports=frozenset(self.ports) or None, kinds=frozenset(self.kinds) or None, user=self.user or None
        )

    @asynccontextmanager
    async def target(self) -> AsyncIterator[Store | None]:
        """The store that receives; ``None``: the one that was backed up."""
        if self.into is None and self.into_dir is None:
            yield None
            return
        async with Common(False, self.into, self.into_dir).open() as store:
            yield store


def _wish_options(function: F) -> F:
    """Add the options that say what is restored and where, handed over together as the second argument."""

    @functools.wraps(function)
    def wrapper(common: Common, **options: Any) -> Any:
        wish = {name: options.pop(name) for name in _Wish.__dataclass_fields__}
        return function(common, _Wish(**wish), **options)

    for option in (
        click.option("--backup", "backup_id", metavar="BACKUP", help="Which one; the latest when nothing is said."),
        click.option("--at", type=Moment(), metavar="MOMENT", help="The state of a moment: 2026-11-22T14:03:07Z."),
        click.option("--into", metavar="PROFILE", help="Another profile that receives, instead of this one."),
        click.option("--into-dir", metavar="FOLDER", help="The folder of the local layer that receives."),
        click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Only this kind: story, user …"),
        click.option("--port", "ports", type=click.Choice(_PORTS), multiple=True, help="Only this port."),
        click.option("--user", metavar="USER", help="Only what belongs to this user."),
    ):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]  # the options change the signature that click sees, not the caller's


@click.group()
def restore() -> None:
    """Bring a backed-up state back, whole or in part, into this profile or another one."""


restore.add_command(import_)


@restore.command()
@common_options
@_wish_options
def plan(common: Common, wish: _Wish) -> None:
    """Compare a backup with the store that would receive it; nothing is written."""
    _tell_plan(common, wish, *asyncio.run(_plan(common, wish)))


@restore.command()
@common_options
@_wish_options
@click.option(
    "--mode",
    type=click.Choice(["new", "merge", "replace"]),
    default="new",
    show_default=True,
    help="Into an empty store; beside what is there; or instead of it.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["fail", "skip", "overwrite"]),
    default="fail",
    show_default=True,
    help="What to do with an item that is there already, when merging.",
)
@click.option("--dry-run", is_flag=True, help="The same as `plan`.")
@click.option("--yes", is_flag=True, help="Overwrite or remove what is there.")
def run(common: Common, wish: _Wish, mode: str, on_conflict: str, dry_run: bool, yes: bool) -> None:
    """Write a backup's state into a store. Run it again when it was interrupted: it completes.

    What is not in the backup is only removed with --mode replace, and only within what --kind, --port and --user name.
    """
    if dry_run:
        return _tell_plan(common, wish, *asyncio.run(_plan(common, wish)))
    if (mode == "replace" or on_conflict == "overwrite") and not yes:
        raise click.UsageError("This overwrites or removes what is there: --yes does it, --dry-run says what.")
    done = asyncio.run(_run(common, wish, cast("Mode", mode), cast("OnConflict", on_conflict)))
    return _tell_done(common, wish, done, skips=on_conflict == "skip")


async def _plan(common: Common, wish: _Wish) -> tuple[str, datetime, dict[str, PortChanges]]:
    async with common.open() as store, wish.target() as target:
        backup_id, as_of = await store.backups.reached(**wish.source)
        changes = await store.backups.plan_restore(**wish.source, into=target, selection=wish.selection())
        return backup_id, as_of, changes


async def _run(common: Common, wish: _Wish, mode: Mode, on_conflict: OnConflict) -> Restored:
    from storycore.cli.progress import backup_progress

    with backup_progress() as progress:
        async with common.open() as store, wish.target() as target:
            return await store.backups.restore(
                **wish.source,
                into=target,
                selection=wish.selection(),
                mode=mode,
                on_conflict=on_conflict,
                progress=progress,
            )


def _tell_plan(common: Common, wish: _Wish, backup_id: str, as_of: datetime, found: dict[str, PortChanges]) -> None:
    from storycore.cli.output import escape, print_json, show, table

    if common.as_json:
        return print_json({"plan": found, "backup": backup_id, "as_of": as_of})
    made = table("port", "kind", "added", "replaced", "unchanged", "not in the backup")
    for port, changes in found.items():
        counts = (changes.added, changes.replaced, changes.unchanged, changes.removed)
        for kind in sorted({name for count in counts for name in count}):
            made.add_row(port, escape(kind), *(str(count.get(kind, 0)) for count in counts))
    return show(
        *([made] if made.row_count else _nothing_meant(wish)),
        f"The state of {as_of:%Y-%m-%d %H:%M:%S} UTC, from {escape(backup_id)}.",
        *_nearest(wish, as_of),
        "What is not in the backup goes with --mode replace, and stays otherwise.",
    )


def _nothing_meant(wish: _Wish) -> list[str]:
    """That nothing is of what was asked for, which often is a mistyped name."""
    from storycore.cli.output import escape

    said = [*(f"kind {each!r}" for each in wish.kinds), *([f"user {wish.user!r}"] if wish.user else [])]
    return [f"[yellow]The backup holds nothing of {escape(' or '.join(said))}.[/]" if said else "It holds nothing."]


def _nearest(wish: _Wish, as_of: datetime) -> list[str]:
    """That a moment which was asked for is not reached."""
    if wish.at is None or as_of >= wish.at:
        return []
    return ["[yellow]That is the nearest state before the moment that was asked for: nothing later was recorded.[/]"]


def _tell_done(common: Common, wish: _Wish, done: Restored, *, skips: bool) -> None:
    from storycore.cli.output import counted, escape, print_json, show

    if common.as_json:
        return print_json({"restored": done})
    counts = ", ".join(counted(count, port) for port, count in done.written.items())
    return show(
        f"The state of {done.as_of:%Y-%m-%d %H:%M:%S} UTC, from {escape(done.backup)}: {counts} written.",
        *_nearest(wish, done.as_of),
        *([] if skips or any(done.written.values()) else _nothing_meant(wish)),
        *(f"left out: {counted(count, port)} of users who were erased" for port, count in done.erased.items()),
        *(f"[yellow]left out: all {port}, for the receiving store has no such port[/]" for port in done.without),
        *(f"[yellow]{escape(notice)}[/]" for notice in done.notices),
    )
