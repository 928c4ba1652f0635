"""``storycore health``: ask every port whether it can serve."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.ports.lifecycle import Health

__all__ = ["health"]


@click.command()
@common_options
@click.option("--deep", is_flag=True, help="Also check the integrity of what is stored; may take long.")
def health(common: Common, deep: bool) -> int:
    """Ask every port whether it can serve; exit status 1 when one cannot."""

    from storycore.cli.output import escape, print_json, show, table

    found = asyncio.run(_health(common, deep=deep))
    well = all(each.ok for each in found.values())
    if common.as_json:
        print_json({"ok": well, "health": found})
        return 0 if well else 1
    made = table("port", "state", "ms", "detail")
    for name, each in found.items():
        state = "[green]ok[/]" if each.ok else "[red]fails[/]"
        made.add_row(name, state, f"{each.latency_ms:.1f}", escape(each.detail))
    show(made)
    return 0 if well else 1


async def _health(common: Common, *, deep: bool) -> dict[str, Health]:
    async with common.open() as store:
        return await store.health(deep=deep)
