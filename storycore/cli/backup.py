"""``storycore backup``: make backups, look at them, prove them, and let old ones go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from storycore.cli.exports import export
from storycore.cli.options import Common, FilledPath, common_options

if TYPE_CHECKING:
    from storycore.backup.archive import Listing
    from storycore.backup.erasing import Erased
    from storycore.backup.manifest import Kind, Manifest
    from storycore.backup.outcomes import Created, Pruned, Rotated
    from storycore.backup.recorder import Sealed
    from storycore.backup.verifying import Level, Verification
    from storycore.ports.key_providers import KeyProvider

__all__ = ["backup"]

_KINDS = ("manual", "daily", "weekly", "monthly")
_LEVELS = ("manifest", "sample", "full", "restore")
_NOT_MADE = (
    "Interrupted. No backup was made. What could not be removed any more goes with a later `storycore backup prune`."
)
_NOT_FOUND_OUT = "Interrupted. Nothing was found out of the backup."


@click.group()
def backup() -> None:
    """Make backups of the profile's entities, vectors, blobs and events, prove them, and let old ones go."""


backup.add_command(export)


@backup.command()
@click.argument("kind", type=click.Choice(_KINDS), default="manual")
@common_options
@click.option("--full", is_flag=True, help="Make a full backup where an increment would do.")
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
def create(common: Common, kind: str, full: bool, dry_run: bool) -> None:
    """Make a backup; an increment over the newest one where that is worth it. Beside live traffic, of one moment.

    Interrupted, it leaves nothing that counts as a backup.
    """
    if dry_run:
        return _tell_plan(common, cast("Kind", kind), full=full)
    with _interrupted_as(_NOT_MADE):
        made = asyncio.run(_create(common, cast("Kind", kind), full=full))
    return _tell_made(common, made)


@backup.command()
@common_options
def record(common: Common) -> None:
    """Seal what has changed since the last time, so that any second up to now can be restored with --at.

    Run it every minute or so. Where a backup is needed first, it is made; a gap is told when it appears.
    """
    from storycore.cli.output import counted, escape, print_json, show

    done = asyncio.run(_recorded(common))
    if common.as_json:
        return print_json({"recorded": done})
    until = f"every second up to {done.until:%Y-%m-%d %H:%M:%S} UTC can be restored"
    return show(
        f"{counted(done.changes, 'changes')} sealed behind {escape(done.series)}; {until}.",
        *([f"[yellow]lost[/] {escape(done.gap)}"] if done.gap else []),
    )


@backup.command("list")
@common_options
def list_(common: Common) -> int:
    """List backups, the newest state first. Exit status 1 when the manifest of one is damaged."""
    from storycore.cli.failures import FAILED
    from storycore.cli.output import escape, human_bytes, print_json, show, table

    found, verified = asyncio.run(_listed(common))
    if common.as_json:
        print_json({"backups": found.manifests, "damaged": found.damaged, "verified": verified})
        return FAILED if found.damaged else 0
    made = table("backup", "as of (UTC)", "items", "size", "verified")
    made.columns[0].no_wrap = True
    for each in found.manifests:
        size, at = human_bytes(each.size_bytes), f"{each.as_of:%Y-%m-%d %H:%M}"
        made.add_row(
            each.id, at, str(each.items), f"{size}{'' if each.is_full else ' more'}", verified.get(each.id, "no")
        )
    lines = [f"[red]damaged[/] {escape(id_)}: {escape(why)}" for id_, why in found.damaged.items()]
    show(made if found.manifests else "There is no backup yet; `storycore backup create` makes one.", *lines)
    return FAILED if found.damaged else 0


@backup.command()
@click.argument("backup_id", metavar="BACKUP", default="latest")
@common_options
def show(common: Common, backup_id: str) -> None:
    """Show what a backup consists of; without BACKUP the latest."""
    from storycore.cli.output import escape, human_bytes, print_json, table
    from storycore.cli.output import show as print_all

    found = asyncio.run(_shown(common, backup_id))
    if common.as_json:
        return print_json(found)
    made = table("port", "items", "size", "objects", "state")
    for port, content in found.ports.items():
        size = sum(each.size_bytes for each in content.objects)
        made.add_row(port, str(content.items), human_bytes(size), str(len(content.objects)), content.consistency)
    what = "full" if found.parent is None else f"an increment over {found.parent}"
    head = f"[bold]{escape(found.id)}[/]: {what}, of the store {escape(found.store)}, as of {_moment(found)}"
    return print_all(head, made)


@backup.command()
@click.argument("backup_id", metavar="BACKUP", default="latest")
@common_options
@click.option("--level", type=click.Choice(_LEVELS), default="full", show_default=True, help="How far to look.")
def verify(common: Common, backup_id: str, level: str) -> int:
    """Look whether a backup can be restored; without BACKUP the latest. Exit status 1 when something is lost.

    `manifest` looks whether every object is there, `sample` reads some, `full` reads all, and `restore` restores into
    an empty store in a temporary folder and compares.
    """
    from storycore.cli.failures import FAILED
    from storycore.cli.output import counted, escape, print_json, show

    with _interrupted_as(_NOT_FOUND_OUT):
        found = asyncio.run(_verified(common, backup_id, cast("Level", level)))
    if common.as_json:
        print_json({"is_whole": found.is_whole, "verification": found})
    else:
        what = "is whole" if found.is_whole else "[red]is damaged[/]"
        objects, entries = counted(found.objects, "objects"), counted(found.entries, "entries")
        show(
            f"{escape(found.backup)} {what}: {objects} looked at, {entries} read.",
            *(f"[red]lost[/] {escape(problem)}" for problem in found.problems),
            *([f"[yellow]retention does not learn of this:[/] {escape(found.unkept)}"] if found.unkept else []),
        )
    return 0 if found.is_whole else FAILED


@backup.command()
@common_options
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Remove it.")
def prune(common: Common, dry_run: bool, yes: bool) -> None:
    """Remove the backups that the profile's retention does not keep, and what unfinished ones left.

    What a kept backup builds on stays, and so does the newest verified one with all that it builds on.
    """
    from storycore.cli.output import escape, print_json, show

    if not (dry_run or yes):
        raise click.UsageError("This removes backups: --yes does it, --dry-run only says which.")
    found = asyncio.run(_pruned(common, dry_run=dry_run))
    if common.as_json:
        return print_json({"dry_run": dry_run, "pruned": found})
    would = "would be " if dry_run else ""
    return show(
        *(f"kept {escape(id_)}: {escape(', '.join(why))}" for id_, why in found.kept.items()),
        *(f"{would}removed {escape(id_)}" for id_ in found.removed),
        *(f"{would}swept {escape(id_)}, which was never finished" for id_ in found.swept),
        *(f"[yellow]left alone[/] {escape(id_)}: {escape(why)}" for id_, why in found.unread.items()),
        *(f"[yellow]not removed[/] {escape(id_)}: {escape(why)}" for id_, why in found.refused.items()),
        f"{len(found.kept)} kept, {len(found.removed)} {would}removed.",
    )


@backup.command()
@common_options
@click.option("--new", is_flag=True, help="Make one although there are backups, which it does not open.")
def key(common: Common, new: bool) -> None:
    """Make the key file of the profile's backups where there is none, or say where the key is."""
    from storycore.cli.output import escape, print_json, show

    identity, notice = asyncio.run(_key(common, anew=new))
    if common.as_json:
        return print_json({"key": identity, "made": bool(notice), "notice": notice})
    return show(escape(notice or f"Backups are sealed with the {identity}."))


@backup.command()
@common_options
@click.option("--key-file", type=FilledPath(path_type=Path), help="Seal with this file; made where there is none.")
@click.option(
    "--passphrase", metavar="REFERENCE", help="Seal with a passphrase: secret://env/NAME, secret://file/PATH."
)
@click.option("--dry-run", is_flag=True, help="Only say which backups there are to seal.")
def rotate(common: Common, key_file: Path | None, passphrase: str | None, dry_run: bool) -> None:
    """Seal the keys of all backups with another key; their contents stay as they are. Can be repeated.

    Afterwards set `backup.key_file` or `backup.passphrase` in the profile to the new one.
    """
    from storycore.cli.output import counted, escape, print_json, show

    if (key_file is None) == (passphrase is None):
        raise click.UsageError("Name the new key: --key-file PATH or --passphrase REFERENCE.")
    new = None if dry_run else _new_key(key_file, passphrase)
    done = asyncio.run(_rotated(common, new))
    if common.as_json:
        return print_json({"dry_run": dry_run, "rotated": list(done.backups), "left": dict(done.left)})
    would = "would be " if dry_run else ""
    setting = "backup.passphrase" if key_file is None else "backup.key_file"
    backups = counted(len(done.backups), "backups")
    return show(
        f"{backups} {would}sealed with the new key; it belongs into the profile's {setting}.",
        *(f"[yellow]left as it is[/] {escape(id_)}: {escape(why)}" for id_, why in done.left.items()),
    )


@backup.command()
@click.argument("user", metavar="USER")
@common_options
@click.option("--dry-run", is_flag=True, help="Only say which backups and recordings hold something of the user's.")
@click.option("--yes", is_flag=True, help="Destroy the key.")
def erase(common: Common, user: str, dry_run: bool, yes: bool) -> None:
    """Destroy the key of USER, so that nothing of USER's comes out of any backup or recording. Can be repeated.

    Delete USER in the store first: what is still there comes into later backups again. Needs `backup.owner_keys`.
    """
    from storycore.cli.output import print_json

    if not (dry_run or yes):
        raise click.UsageError("This cannot be undone: --yes does it, --dry-run only says what it concerns.")
    found = asyncio.run(_erased(common, user, dry_run=dry_run))
    if common.as_json:
        return print_json({"dry_run": dry_run, "erased": found})
    return _tell_erased(found, dry_run=dry_run)


@contextmanager
def _interrupted_as(message: str) -> Iterator[None]:
    """What Ctrl-C means for what does not go on where it stopped."""
    try:
        yield
    except KeyboardInterrupt as exc:
        raise KeyboardInterrupt(message) from exc


def _moment(manifest: Manifest) -> str:
    return f"{manifest.as_of:%Y-%m-%d %H:%M:%S} UTC"


def _new_key(key_file: Path | None, passphrase: str | None) -> KeyProvider:
    from storycore.backup.keys import KeyFile, Passphrase, new_key_file
    from storycore.plugins import Plugins
    from storycore.profiles import revealed

    if key_file is not None:
        return KeyFile(key_file) if key_file.exists() else new_key_file(key_file)
    return Passphrase(str(revealed(passphrase, path="--passphrase", plugins=Plugins())))


def _tell_plan(common: Common, kind: Kind, *, full: bool) -> None:
    from storycore.cli.output import print_json, show

    parent, reason = asyncio.run(_planned(common, kind, full=full))
    if common.as_json:
        return print_json({"dry_run": True, "parent": parent, "reason": reason})
    what = f"A full backup would be made: {reason}." if parent is None else f"An increment over {parent} would be made."
    return show(what)


def _tell_made(common: Common, made: Created) -> None:
    from storycore.cli.output import escape, human_bytes, print_json, show

    manifest = made.manifest
    if common.as_json:
        return print_json({"backup_id": made.backup_id, "created": made})
    what = "an increment" if manifest.parent else f"full ({made.reason})" if made.reason else "full"
    fuzzy = [port for port, content in manifest.ports.items() if content.consistency == "fuzzy" and content.items]
    size = f"{manifest.items} items, {human_bytes(manifest.size_bytes)}"
    lines = [f"[bold]{escape(manifest.id)}[/]: {escape(what)}, as of {_moment(manifest)}, {size}"]
    if fuzzy:
        lines.append(f"{', '.join(fuzzy)}: as each item was when it was read, for they tell no changes")
    return show(*lines, *(f"[yellow]{escape(notice)}[/]" for notice in made.notices))


def _tell_erased(found: Erased, *, dry_run: bool) -> None:
    from storycore.cli.output import counted, escape, show

    user, would = escape(repr(found.owner)), "would not be" if dry_run else "is not"
    concerned = f"{counted(len(found.backups), 'backups')} and {counted(len(found.recordings), 'recordings')}"
    said = (
        f"What {concerned} hold of {user} {would} readable any more." if found.had_key else f"No key of {user} is left."
    )
    kept = f"{len(found.unsealed)} were made without keys of users and stay as they are: {', '.join(found.unsealed)}"
    show(
        said,
        *([f"[yellow]{escape(kept)}; retention removes them.[/]"] if found.unsealed else []),
        *(f"[yellow]not looked into[/] {escape(id_)}: {escape(why)}" for id_, why in found.unread.items()),
    )


async def _erased(common: Common, user: str, *, dry_run: bool) -> Erased:
    async with common.open() as store:
        return await store.backups.erase(user, dry_run=dry_run)


async def _create(common: Common, kind: Kind, *, full: bool) -> Created:
    from storycore.cli.progress import backup_progress

    with backup_progress() as progress:
        async with common.open() as store:
            return await store.backups.create(kind, full=full, progress=progress)


async def _recorded(common: Common) -> Sealed:
    async with common.open() as store:
        return await store.backups.record()


async def _planned(common: Common, kind: Kind, *, full: bool) -> tuple[str | None, str]:
    async with common.open() as store:
        return await store.backups.plan_create(kind, full=full)


async def _listed(common: Common) -> tuple[Listing, dict[str, str]]:
    async with common.open() as store:
        found = await store.backups.list()
        return found, await store.backups.verified([each.id for each in found.manifests])


async def _shown(common: Common, backup_id: str) -> Manifest:
    async with common.open() as store:
        return await store.backups.show(backup_id)


async def _verified(common: Common, backup_id: str, level: Level) -> Verification:
    from storycore.cli.progress import backup_progress

    with backup_progress() as progress:
        async with common.open() as store:
            return await store.backups.verify(backup_id, level=level, progress=progress)


async def _pruned(common: Common, *, dry_run: bool) -> Pruned:
    async with common.open() as store:
        return await store.backups.prune(dry_run=dry_run)


async def _key(common: Common, *, anew: bool) -> tuple[str, str]:
    async with common.open() as store:
        return store.backups.key_identity, await store.backups.provide_key(anew=anew)


async def _rotated(common: Common, new: KeyProvider | None) -> Rotated:
    from storycore.backup.outcomes import Rotated

    async with common.open() as store:
        if new is None:
            return Rotated([each.id for each in (await store.backups.list()).manifests])
        return await store.backups.rotate(new)
