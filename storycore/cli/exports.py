"""``storycore backup export`` and ``storycore restore import``: entities in the layouts of other programs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from storycore.cli.options import Common, Moment, common_options

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.backup.outcomes import ExportCreated, ExportVerified, Imported
    from storycore.backup.restoring import Mode, OnConflict, PortChanges, Selection

__all__ = ["export", "import_"]

_FORMAT = click.option(
    "--format", "layout", metavar="FORMAT", default="dynamodb-json", show_default=True, help="As a plugin names it."
)
_KINDS = click.option("--kind", "kinds", metavar="KIND", multiple=True, help="Only this kind: story, user …")
_USER = click.option("--user", metavar="USER", help="Only what belongs to this user.")


@click.command("export")
@click.argument("backup_id", metavar="BACKUP", default="latest")
@common_options
@_FORMAT
@click.option(
    "--to", metavar="PLACE", required=True, help="A folder, or the URL of a blob store: s3://bucket?prefix=x/"
)
@click.option("--at", type=Moment(), metavar="MOMENT", help="The state of a moment: 2026-11-22T14:03:07Z.")
@_KINDS
@_USER
@click.option("--dry-run", is_flag=True, help="Only say which state would be exported.")
def export(common: Common, backup_id: str, to: str, dry_run: bool, **options: Any) -> None:
    """Write a backup's entities in the layout of another program, not encrypted; without BACKUP the latest.

    `dynamodb-json` is what DynamoDB's export to S3 writes and its import from S3 takes. Run it again when it was
    interrupted: until it is finished nothing there counts as an export.
    """
    from storycore.cli.output import escape, print_json, show

    wish = {"id_": backup_id, "at": options["at"]}
    if dry_run:
        backup, as_of = asyncio.run(_reached(common, wish))
        if common.as_json:
            return print_json({"dry_run": True, "backup": backup, "as_of": as_of})
        return show(f"The entities of {as_of:%Y-%m-%d %H:%M:%S} UTC, from {escape(backup)}, would be exported.")
    selection = _selection(options["kinds"], options["user"])
    return _tell_exported(common, to, asyncio.run(_export(common, wish, to, options["layout"], selection)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """Which export is to be imported, and where."""

    place: str
    layout: str
    name: str | None
    bodies: str | None
    into: str | None
    into_dir: str | None
    kinds: tuple[str, ...]
    user: str | None

    @property
    def source(self) -> dict[str, Any]:
        """Which export, as the service is asked."""
        return {"source": self.place, "format": self.layout, "name": self.name, "bodies": self.bodies}

    async def target(self, stack: AsyncExitStack) -> Store | None:
        """The store that receives; ``None``: the profile's own."""
        if self.into is None and self.into_dir is None:
            return None
        return await stack.enter_async_context(Common(False, self.into, self.into_dir).open())


@click.command("import")
@click.argument("place", metavar="PLACE")
@common_options
@_FORMAT
@click.option("--name", metavar="EXPORT", help="Which of several exports that lie there.")
@click.option(
    "--bodies", metavar="PLACE", help="Where long bodies lie, unless beside the export or in the store's blobs."
)
@click.option("--into", metavar="PROFILE", help="Another profile that receives, instead of this one.")
@click.option("--into-dir", metavar="FOLDER", help="The folder of the local layer that receives.")
@_KINDS
@_USER
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
    help="What to do with an entity that is there already, when merging.",
)
@click.option("--verify", is_flag=True, help="Only read it all, and name what is lost. Exit status 1 when anything is.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--yes", is_flag=True, help="Overwrite or remove what is there.")
def import_(common: Common, mode: str, on_conflict: str, verify: bool, dry_run: bool, yes: bool, **options: Any) -> int:
    """Write the entities of an export into a store: PLACE is a folder, or the URL of a blob store.

    Every file is compared with the export's manifest before anything of it is written. Run it again when it was
    interrupted: it completes. An export of changes goes over the state before them: --mode merge --on-conflict
    overwrite.
    """
    wish = _Wish(**options)
    if verify:
        return _tell_verified(common, asyncio.run(_verified(common, wish)))
    if dry_run:
        _tell_plan(common, asyncio.run(_planned(common, wish)))
        return 0
    if (mode == "replace" or on_conflict == "overwrite") and not yes:
        raise click.UsageError("This overwrites or removes what is there: --yes does it, --dry-run says what.")
    done = asyncio.run(_imported(common, wish, cast("Mode", mode), cast("OnConflict", on_conflict)))
    _tell_imported(common, done)
    return 0


def _selection(kinds: tuple[str, ...], user: str | None) -> Selection:
    from storycore.backup.restoring import Selection

    return Selection(kinds=frozenset(kinds) or None, user=user or None)


async def _reached(common: Common, wish: dict[str, Any]) -> tuple[str, datetime]:
    async with common.open() as store:
        return await store.backups.reached(**wish)


async def _export(common: Common, wish: dict[str, Any], to: str, layout: str, selection: Selection) -> ExportCreated:
    from storycore.cli.progress import backup_progress

    with backup_progress() as progress:
        async with common.open() as store:
            return await store.backups.exports.create(
                **wish, to=to, format=layout, selection=selection, progress=progress
            )


async def _verified(common: Common, wish: _Wish) -> ExportVerified:
    async with common.open() as store:
        return await store.backups.exports.verify(**wish.source)


async def _planned(common: Common, wish: _Wish) -> dict[str, PortChanges]:
    async with common.open() as store, AsyncExitStack() as stack:
        return await store.backups.exports.plan_restore(
            **wish.source, into=await wish.target(stack), selection=_selection(wish.kinds, wish.user)
        )


async def _imported(common: Common, wish: _Wish, mode: Mode, on_conflict: OnConflict) -> Imported:
    from storycore.cli.progress import backup_progress

    with backup_progress() as progress:
        async with common.open() as store, AsyncExitStack() as stack:
            return await store.backups.exports.restore(
                **wish.source,
                into=await wish.target(stack),
                selection=_selection(wish.kinds, wish.user),
                mode=mode,
                on_conflict=on_conflict,
                progress=progress,
            )


def _tell_exported(common: Common, to: str, made: ExportCreated) -> None:
    from storycore.backup.outside import shown
    from storycore.cli.output import counted, escape, print_json, show

    if common.as_json:
        return print_json({"exported": made})
    entities, files = counted(made.records, "entities"), counted(made.files, "files")
    return show(
        f"[bold]{escape(made.name)}[/] in {escape(shown(to))}: {entities} in {files}, as of "
        f"{made.as_of:%Y-%m-%d %H:%M:%S} UTC, from {escape(made.backup)}. They are not encrypted.",
        *([f"{counted(made.bodies, 'long bodies')} beside it under spill/"] if made.bodies else []),
        *([f"left out: {counted(made.erased, 'entities')} of users who were erased"] if made.erased else []),
        *(f"[yellow]left out: all {port}, for an export is of entities alone[/]" for port in made.without),
    )


def _tell_verified(common: Common, found: ExportVerified) -> int:
    from storycore.cli.failures import FAILED
    from storycore.cli.output import counted, escape, print_json, show

    if common.as_json:
        print_json({"is_whole": found.is_whole, "verification": found})
    else:
        what = "is whole" if found.is_whole else "[red]is damaged[/]"
        lost = (f"[red]lost[/] {escape(problem)}" for problem in found.problems)
        show(f"{escape(found.name)} {what}: {counted(found.records, 'entities')} read.", *lost)
    return 0 if found.is_whole else FAILED


def _tell_plan(common: Common, found: dict[str, PortChanges]) -> None:
    from storycore.cli.output import escape, print_json, show, table

    if common.as_json:
        return print_json({"plan": found})
    made = table("kind", "added", "replaced", "unchanged", "not in the export")
    for changes in found.values():
        counts = (changes.added, changes.replaced, changes.unchanged, changes.removed)
        for kind in sorted({name for count in counts for name in count}):
            made.add_row(escape(kind), *(str(count.get(kind, 0)) for count in counts))
    return show(made, "What is not in the export goes with --mode replace, and stays otherwise.")


def _tell_imported(common: Common, done: Imported) -> None:
    from storycore.cli.output import escape, print_json, show

    if common.as_json:
        return print_json({"imported": done})
    return show(f"The state of {done.as_of:%Y-%m-%d %H:%M:%S} UTC, from {escape(done.name)}: {done.written} written.")
