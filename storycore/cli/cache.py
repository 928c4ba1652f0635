"""``storycore cache``: what the shared tier holds, why a key is as it is, and how to empty or fill it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from storycore.caching import Inspection

__all__ = ["cache"]


@click.group()
def cache() -> None:
    """Look into the cache that all processes share, empty it, or fill it."""


@cache.command()
@common_options
def stats(common: Common) -> None:
    """Show where the cache is, whether it answers, and how many values it holds, by what their keys begin with."""
    from storycore.cli.output import escape, print_json, show, table

    found = asyncio.run(_stats(common))
    if common.as_json:
        return print_json(found)
    made = table("keys begin with", "values")
    for head, count in sorted(found["values"].items()):
        made.add_row(escape(head), str(count))
    health = "answers" if found["ok"] else f"[red]does not answer[/]: {escape(found['detail'])}"
    return show(f"{found['adapter']} {escape(found['place'])} {health}", made)


@cache.command()
@click.argument("key")
@common_options
def explain(common: Common, key: str) -> int:
    """Explain what lies under KEY, as `Region.key` gives it, without the namespace. Exit status 1 when nothing does."""
    from storycore.cli.output import escape, print_json, show, table

    found = asyncio.run(_explained(common, key))
    facts = {"key": key, "held": False} if found is None else {"held": True, **found.as_dict()}
    if common.as_json:
        print_json(facts)
    else:
        made = table("what", "value")
        for name, value in facts.items():
            if value is not None:
                made.add_row(name, escape(str(value)))
        show(made)
    return 1 if found is None else 0


@cache.command()
@click.argument("key", required=False)
@common_options
@click.option("--tag", metavar="TAG", help="Outdate everything that carries this tag.")
@click.option("--all", "everything", is_flag=True, help="Remove all values of the namespace.")
def invalidate(common: Common, key: str | None, tag: str | None, everything: bool) -> None:
    """Remove the value under KEY, or what carries a tag, or all; loads under way do not bring it back.

    Other processes may serve their copies in memory for some seconds more, see the documentation on caching.
    """
    from storycore.cli.output import print_json, show
    from storycore.errors import Unavailable

    if (key is not None) + (tag is not None) + everything != 1:
        raise click.UsageError("Say what to invalidate: a KEY, --tag TAG, or --all.")
    if not everything and not (key or tag):
        raise click.UsageError("What to invalidate is empty; say a KEY or a TAG, or --all.")
    if not asyncio.run(_invalidated(common, key, tag)):
        raise Unavailable("The cache did not confirm the invalidation; run the command again.")
    if common.as_json:
        return print_json({"key": key, "tag": tag, "all": everything, "confirmed": True})
    return show("Done.")


@cache.command()
@click.argument("kinds", metavar="[KIND]...", nargs=-1)
@common_options
@click.option("--plan", "is_plan", is_flag=True, help="Only count what would be read; nothing is filled.")
def warm(common: Common, kinds: tuple[str, ...], is_plan: bool) -> None:
    """Read entities into the cache, so that the first requests find them; without KIND, the templates."""
    from storycore.cli.output import escape, print_json, show

    found = asyncio.run(_warmed(common, kinds or ("template",), is_plan=is_plan))
    if common.as_json:
        return print_json({"plan": is_plan, "records": found})
    what = "would be read" if is_plan else "are in the cache"
    return show(*(f"{escape(kind)}: {count} {what}" for kind, count in found.items()))


async def _stats(common: Common) -> dict[str, Any]:
    from storycore.ports.lifecycle import PortName

    async with common.open() as store:
        port = store.ports[PortName.CACHE]
        await port.open()
        health = await port.health()
        facts = {"adapter": port.info.adapter, "place": port.info.place, "ok": health.ok, "detail": health.detail}
        return {
            **facts,
            "namespace": store.profile.namespace,
            "values": await store.cache.census() if health.ok else {},
        }


async def _explained(common: Common, key: str) -> Inspection | None:
    async with common.open() as store:
        return await store.cache.inspect(key)


async def _invalidated(common: Common, key: str | None, tag: str | None) -> bool:
    async with common.open() as store:
        if key is not None:
            return await store.cache.invalidate_keys(key)
        return await (store.cache.clear() if tag is None else store.cache.invalidate_tags(tag))


async def _warmed(common: Common, kinds: tuple[str, ...], *, is_plan: bool) -> dict[str, int]:
    from storycore.cli.access import repository_of
    from storycore.cli.progress import warming_progress

    async with common.open() as store:
        names = [repository_of(store, kind).entity.kind for kind in kinds]
        return await store.warm_records(names, plan=is_plan, progress=warming_progress())
