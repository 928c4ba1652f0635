"""``storycore get``: show one entity."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from storycore.cli.options import Common, common_options

__all__ = ["get"]


@click.command()
@click.argument("kind")
@click.argument("id_", metavar="ID")
@common_options
def get(common: Common, kind: str, id_: str) -> None:
    """Show one entity. KIND is user, session, story, template, content, or a kind that a plugin declares."""

    from storycore.cli.output import escape, print_json, show, table

    found = asyncio.run(_get(common, kind, id_))
    if common.as_json:
        return print_json({"kind": kind, "item": found})
    made = table("field", "value")
    for name, value in found.items():
        made.add_row(name, escape("" if value is None else str(value)))
    return show(made)


async def _get(common: Common, kind: str, id_: str) -> dict[str, Any]:
    from storycore.cli.access import repository_of
    from storycore.errors import NotFound

    async with common.open() as store:
        repository = repository_of(store, kind)
        found = await repository.find(id_)
        if found is None:
            raise NotFound(f"There is no {kind} with the id {id_!r}, or it has expired.")
        plain: dict[str, Any] = found.model_dump(mode="json")
        return plain
