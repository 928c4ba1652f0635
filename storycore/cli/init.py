"""``storycore init``: create what the profile needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import click

from storycore.cli.options import Common, common_options

__all__ = ["init"]


@click.command()
@common_options
@click.option("--dry-run", is_flag=True, help="Only say what would be created.")
@click.option("--warm/--no-warm", default=True, help="Read the templates into the cache.")
def init(common: Common, dry_run: bool, warm: bool) -> None:
    """Create what the profile needs: folders, tables, indexes. Doing it twice changes nothing."""
    from storycore.cli.output import print_json

    actions, warmed = asyncio.run(_init(common, dry_run=dry_run, warm=warm))
    if common.as_json:
        return print_json({"dry_run": dry_run, "actions": actions, "warmed": warmed})
    return _show(actions, warmed, dry_run=dry_run)


async def _init(common: Common, *, dry_run: bool, warm: bool) -> tuple[Mapping[str, Sequence[str]], int]:
    async with common.open() as store:
        if dry_run:
            return {str(name): (await port.ensure(dry_run=True)).actions for name, port in store.ports.items()}, 0
        report = await store.init(warm_cache=warm)
        return report.actions, report.warmed


def _show(actions: Mapping[str, Sequence[str]], warmed: int, *, dry_run: bool) -> None:
    from storycore.cli.output import escape, show

    lines = [f"[bold]{port}[/]  {escape(action)}" for port, done in actions.items() for action in done]
    show(*(lines or ["Nothing is missing." if dry_run else "Nothing was missing."]))
    if warmed:
        show(f"{warmed} templates are in the cache.")
