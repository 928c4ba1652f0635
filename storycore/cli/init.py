"""``storycore init``: create what the profile needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.building import InitReport

__all__ = ["init"]


@click.command()
@common_options
@click.option("--dry-run", is_flag=True, help="Only say what would be created.")
@click.option("--warm/--no-warm", default=True, help="Read the templates into the cache.")
def init(common: Common, dry_run: bool, warm: bool) -> None:
    """Create what the profile needs: folders, tables, indexes, and for backups their place and their key.

    Doing it twice changes nothing.
    """
    from storycore.cli.output import print_json

    report = asyncio.run(_init(common, dry_run=dry_run, warm=warm))
    if common.as_json:
        told = {"actions": report.actions, "differences": report.differences, "warmed": report.warmed}
        return print_json({"dry_run": dry_run, **told})
    return _show(report, dry_run=dry_run)


async def _init(common: Common, *, dry_run: bool, warm: bool) -> InitReport:
    async with common.open() as store:
        if not dry_run:
            return await store.init(warm_cache=warm, enable_backups=store.profile.has_backups)
        from storycore.building import InitReport

        found = {str(name): await port.ensure(dry_run=True) for name, port in store.ports.items()}
        differences = {name: each.differences for name, each in found.items() if each.differences}
        actions = {name: each.actions for name, each in found.items()}
        if store.profile.has_backups:
            actions["backup"] = await store.backups.ensure(dry_run=True)
        return InitReport(actions, differences=differences)


def _show(report: InitReport, *, dry_run: bool) -> None:
    from storycore.cli.output import escape, show

    lines = [f"[bold]{port}[/]  {escape(action)}" for port, done in report.actions.items() for action in done]
    show(*(lines or ["Nothing is missing." if dry_run else "Nothing was missing."]))
    for port, differences in report.differences.items():
        show(*(f"[bold]{port}[/]  differs: {escape(difference)}" for difference in differences))
    if report.warmed:
        show(f"{report.warmed} templates are in the cache.")
