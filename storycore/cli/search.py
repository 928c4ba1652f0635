"""``storycore search``: find passages by meaning and by words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.search import Hit, SearchPlan
    from storycore.search.requests import Options

__all__ = ["search"]


@click.command()
@click.argument("query")
@common_options
@click.option(
    "--mode",
    type=click.Choice(["dense", "words", "hybrid"]),
    help="By meaning, by words, or by both; by default both, and by meaning with --min-score.",
)
@click.option("--top-k", type=click.IntRange(1, 10_000), default=5, show_default=True, help="At most so many passages.")
@click.option("--where", metavar="JSON", help="""Only these, for example '{"content_type": "text/html"}'.""")
@click.option("--min-score", type=float, help="Only passages that score at least this; by meaning from -1 to 1.")
@click.option("--namespace", multiple=True, help="Where to look, instead of the profile's own; may be repeated.")
@click.option("--diversity", type=click.FloatRange(0, 1), help="How much results should differ from each other.")
@click.option("--rerank", is_flag=True, help="Have the profile's reranker order the best candidates.")
@click.option("--explain", is_flag=True, help="Show how the search is done and how long each step takes, not its hits.")
def search(common: Common, query: str, explain: bool, **given: Any) -> None:
    """Find the passages that answer QUERY, best first."""
    options = _options(**given)
    if explain:
        return _show_plan(common, asyncio.run(_planned(common, query, options)))
    return _show_hits(common, query, asyncio.run(_found(common, query, options)))


def _options(where: str | None, namespace: tuple[str, ...], **given: Any) -> Options:
    options: Options = {"where": _condition(where), "namespace": namespace or None}
    options.update({name: value for name, value in given.items() if value is not None})  # type: ignore[typeddict-item]  # click has checked them
    return options


async def _found(common: Common, query: str, options: Options) -> list[Hit]:
    async with common.open() as store:
        return await store.search(query, **options)


async def _planned(common: Common, query: str, options: Options) -> SearchPlan:
    async with common.open() as store:
        return await store.search.explain(query, timed=True, **options)


def _show_hits(common: Common, query: str, hits: list[Hit]) -> None:
    from storycore.cli.output import print_json, show
    from storycore.cli.passages import passage

    if common.as_json:
        return print_json({"query": query, "hits": hits})
    return show(*[passage(place, hit) for place, hit in enumerate(hits, 1)] or ["Nothing was found."])


def _show_plan(common: Common, plan: SearchPlan) -> None:
    from storycore.cli.output import escape, print_json, show, table

    if common.as_json:
        return print_json(plan.as_dict())
    made = table("what", "value")
    for name, value in plan.facts():
        made.add_row(escape(name), escape(value))
    return show(made)


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
