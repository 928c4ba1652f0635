"""``storycore explain``: what a listing asks of the store, and what it costs in production."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.entities import Explanation

__all__ = ["explain"]


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked for."""

    kind: str
    parts: Sequence[str]
    index: str | None
    limit: int
    item_bytes: int
    matches: float | None
    native: bool


@click.command()
@click.argument("kind")
@click.argument("parts", metavar="[NAME=VALUE]...", nargs=-1)
@common_options
@click.option("--by", "index", metavar="INDEX", help="Which index; by default the one that fits the values given.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How long a page is.")
@click.option(
    "--item-bytes", type=click.IntRange(1, 409_600), default=1024, show_default=True, help="How large a record is."
)
@click.option(
    "--matches",
    type=click.FloatRange(0, 1, min_open=True),
    help="Which share of the records a filter would let through; without it there is no filter.",
)
@click.option("--native/--no-native", default=True, help="Whether the store is opened and asked for its own account.")
def explain(common: Common, **options: Any) -> None:
    """Explain what a page of a listing asks of the store, and what it costs in production. Reads no records.

    `storycore explain story user_id=u1 --limit 50`, `storycore explain user role=premium --item-bytes 600`.
    """
    from storycore.cli.output import print_json

    told = asyncio.run(_explained(common, _Question(**options)))
    if common.as_json:
        return print_json(told.as_dict())
    return _show(told)


async def _explained(common: Common, asked: _Question) -> Explanation:
    from storycore.cli.access import chosen_index, parts_from, repository_of
    from storycore.errors import InvalidArgument

    async with common.open() as store:
        repository = repository_of(store, asked.kind)
        parts = parts_from(repository.entity, asked.parts, {})
        index = asked.index or chosen_index(repository.entity, parts)
        if index is None:
            raise InvalidArgument(f"Which {asked.kind}? Give values, or an index that needs none with --by.")
        return (
            await repository.query(index, **parts)
            .limit(asked.limit)
            .explain(item_bytes=asked.item_bytes, matches=asked.matches, native=asked.native)
        )


def _show(told: Explanation) -> None:
    from storycore.cli.output import escape, show, table

    made = table("what", "value")
    for name, value in _facts(told).items():
        made.add_row(name, escape(value))
    show(made, *(escape(note) for note in told.notes))


def _facts(told: Explanation) -> Mapping[str, str]:
    import orjson

    first = told.plans[0]
    shards = f" and {len(told.plans) - 1} more" if len(told.plans) > 1 else ""
    return {
        "index": f"{told.index} (slot {first.slot})" if first.slot else "the table",
        "partition": first.pk + shards,
        "from": first.low or "the first",
        "below": first.high or "the end",
        "records": str(told.records),
        "requests": str(told.requests),
        "read units": f"{told.read_units:g}",
        **{f"assumed {name}": f"{value:g}" for name, value in told.assumed.items()},
        **({} if told.native is None else {"the store": orjson.dumps(told.native).decode()}),
    }
