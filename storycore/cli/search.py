"""``storycore search``: find passages by meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.search import Hit

__all__ = ["search"]


@click.command()
@click.argument("query")
@common_options
@click.option("--top-k", type=click.IntRange(1, 10_000), default=5, show_default=True, help="At most so many passages.")
@click.option("--where", metavar="JSON", help="""Only these, for example '{"content_type": "text/html"}'.""")
@click.option("--min-score", type=float, help="Only passages that score at least this, from -1 to 1.")
def search(common: Common, query: str, top_k: int, where: str | None, min_score: float | None) -> None:
    """Find the passages nearest in meaning to QUERY, best first."""
    from storycore.cli.output import print_json, show
    from storycore.cli.passages import passage

    condition = _condition(where)
    hits = asyncio.run(_search(common, query, top_k, condition, min_score))
    if common.as_json:
        return print_json({"query": query, "hits": hits})
    return show(*[passage(place, hit) for place, hit in enumerate(hits, 1)] or ["Nothing was found."])


async def _search(
    common: Common, query: str, top_k: int, where: Mapping[str, object] | None, min_score: float | None
) -> list[Hit]:
    async with common.open() as store:
        return await store.search(query, top_k=top_k, where=where, min_score=min_score)


def _condition(text: str | None) -> Mapping[str, object] | None:
    import json

    from storycore.errors import InvalidFilter

    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidFilter(f"--where is not JSON: {exc}.") from exc
    if not isinstance(value, dict):
        raise InvalidFilter("--where is a JSON object.")
    return value
