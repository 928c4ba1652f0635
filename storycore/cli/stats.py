"""``storycore stats``: what is stored where, and how the cache does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import click

from storycore.cli.options import Common, common_options

__all__ = ["stats"]


@click.command()
@common_options
def stats(common: Common) -> None:
    """Show what is stored where, and how the cache does; counts begin when the command does."""

    from storycore.cli.output import escape, print_json, show, table
    from storycore.cli.places import places_table

    found = asyncio.run(_stats(common))
    if common.as_json:
        return print_json(found)
    made = table("what", "value")
    for path, value in _flat({name: value for name, value in found.items() if name != "places"}, ""):
        if value or path.startswith("vectors."):
            made.add_row(escape(path), escape(str(value)))
    return show(places_table(found["places"]), "", made)


async def _stats(common: Common) -> dict[str, Any]:
    from storycore.cli.places import places

    async with common.open() as store:
        return {**await store.stats(), "places": places(store)}


def _flat(value: object, path: str) -> Iterator[tuple[str, object]]:
    """The leaves of a nested mapping, each with its dotted path."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{path}.{name}" if path else str(name))
