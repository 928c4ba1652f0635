"""``storycore health``: ask every port whether it can serve."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.health import HealthReport

__all__ = ["health"]


@click.command()
@common_options
@click.option(
    "--level",
    type=click.Choice(["live", "ready", "detail"]),
    default="detail",
    show_default=True,
    help="How far to look: whether the program answers, whether the required ports serve, or everything.",
)
@click.option("--deep", is_flag=True, help="Also check the integrity of what is stored; may take long.")
def health(common: Common, level: str, deep: bool) -> int:
    """Ask every port whether it can serve, by a read and by a write that leaves nothing.

    Exit status 1 when one cannot; with --level ready only when one that the profile requires cannot.
    """

    from storycore.cli.output import escape, print_json, show, table
    from storycore.health import State

    if deep and level != "detail":
        raise click.UsageError("--deep goes with --level detail alone.")
    found = asyncio.run(_health(common, level, deep=deep))
    well = found.state is State.OK or (level == "ready" and found.state is State.DEGRADED)
    if common.as_json:
        print_json({"ok": well, "level": level, "state": found.state, "health": dict(found)})
        return 0 if well else 1
    made = table("part", "state", "ms", "detail")
    for name, each in found.items():
        mood = "[green]ok[/]" if each.ok else "[red]fails[/]" if name in found.required else "[yellow]fails[/]"
        made.add_row(name, mood, f"{each.latency_ms:.1f}", escape(each.detail))
    show(made)
    return 0 if well else 1


async def _health(common: Common, level: str, *, deep: bool) -> HealthReport:
    async with common.open() as store:
        return await store.health(level, deep=deep)
