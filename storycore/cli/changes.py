"""``storycore changes``: what happens to entities."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.entities.changes import EntityChange

__all__ = ["changes"]


@click.command()
@click.argument("kinds", metavar="[KIND]...", nargs=-1)
@common_options
@click.option("--follow", is_flag=True, help="Go on as things happen; with --json one document a line.")
@click.option("--from", "start", default="oldest", show_default=True, help="'oldest', 'latest' or a change's position.")
@click.option("--group", metavar="NAME", help="Remember under this name how far it was shown, and go on there.")
def changes(common: Common, kinds: tuple[str, ...], follow: bool, start: str, group: str | None) -> None:
    """Show what happened to entities, as far back as the store keeps it, oldest first. Without KIND of all kinds."""
    from storycore.cli.output import print_json

    found = asyncio.run(_shown(common, kinds, follow=follow, start=start, group=group))
    if common.as_json and not follow:
        print_json({"changes": found})


async def _shown(common: Common, kinds: tuple[str, ...], *, follow: bool, **options: Any) -> list[dict[str, object]]:
    """Show the changes one by one, or collect them where they make one document."""
    from storycore.cli.access import repository_of

    collected: list[dict[str, object]] = []
    async with common.open() as store:
        entities = [repository_of(store, kind).entity for kind in kinds] or None
        async with store.changes(kinds=entities, wait=follow, **options) as stream:
            async for change in stream:
                if common.as_json and not follow:
                    collected.append(_as_dict(change))
                else:
                    _show(change, as_json=common.as_json)
    return collected


def _as_dict(change: EntityChange[Any]) -> dict[str, object]:
    return {
        "at": change.at,
        "kind": change.kind,
        "action": change.action,
        "pk": change.key.pk,
        "sk": change.key.sk,
        "version": change.version,
        "position": change.position,
    }


def _show(change: EntityChange[Any], *, as_json: bool) -> None:
    import orjson

    from storycore.cli.output import escape, show

    if as_json:
        click.echo(orjson.dumps(_as_dict(change), option=orjson.OPT_UTC_Z).decode())
    else:
        key = escape(f"({change.key.pk}, {change.key.sk})")
        show(f"{change.at.isoformat(timespec='seconds')} {change.kind} {change.action} {key} version {change.version}")
