"""``storycore upgrade``: bring stored records to the form that the declarations give now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.entities.upgrading import UpgradeReport

__all__ = ["upgrade"]


@click.command()
@click.argument("kinds", metavar="[KIND]...", nargs=-1)
@common_options
@click.option("--dry-run", is_flag=True, help="Only count what is outdated; nothing is written.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Rewrite no more records than this in a second.")
@click.option("--resume", metavar="PLACE", help="Go on where an upgrade was interrupted; its progress told the place.")
def upgrade(common: Common, kinds: tuple[str, ...], dry_run: bool, rate: float | None, resume: str | None) -> int:
    """Bring stored records to the form that the declarations give now: schema, promoted fields, index keys.

    Without KIND all that is known. It is safe beside live traffic, and running it again changes nothing. Exit status 3
    when some records could not be read or written; the others are done.
    """
    from storycore.cli.failures import PARTIAL
    from storycore.cli.output import print_json

    found = asyncio.run(_upgrade(common, kinds, dry_run=dry_run, per_second=rate, resume=resume))
    if common.as_json:
        print_json(_as_dict(found, dry_run=dry_run))
    else:
        _show(found, dry_run=dry_run)
    return PARTIAL if found.failed or found.lost else 0


async def _upgrade(common: Common, kinds: tuple[str, ...], **options: Any) -> UpgradeReport:
    from storycore.cli.access import repository_of
    from storycore.cli.progress import upgrade_progress

    async with common.open() as store:
        entities = [repository_of(store, kind).entity for kind in kinds]
        return await store.upgrade(*entities, progress=upgrade_progress(), **options)


def _as_dict(found: UpgradeReport, *, dry_run: bool) -> dict[str, object]:
    counts = {name: getattr(found, name) for name in ("checked", "outdated", "rewritten", "lost", "failed", "freed")}
    failures = [
        {"kind": failure.kind, "pk": failure.key.pk, "sk": failure.key.sk, "error": failure.error.as_dict()}
        for failure in found.failures
    ]
    return {"dry_run": dry_run, **counts, "failures": failures}


def _show(found: UpgradeReport, *, dry_run: bool) -> None:
    from storycore.cli.output import counted, escape, show

    done = "" if dry_run else f", {found.rewritten} rewritten"
    lines = [f"{counted(found.checked, 'records')}: {found.outdated} outdated{done}"]
    if found.freed:
        lines.append(f"{found.freed} unique values that nobody held {'would be' if dry_run else 'were'} freed")
    if found.lost:
        lines.append(f"[yellow]{found.lost} were changed by others all the while;[/] run it again")
    lines += [
        f"[red]failed[/] {escape(failure.kind)} ({escape(failure.key.pk)}, {escape(failure.key.sk)}): "
        f"{escape(failure.error.message)}"
        for failure in found.failures
    ]
    if found.failed > len(found.failures):
        lines.append(f"… and {found.failed - len(found.failures)} more")
    show(*lines)
