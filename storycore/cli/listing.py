"""``storycore list``: list entities, by index and page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from storycore.cli.options import Common, common_options

if TYPE_CHECKING:
    from pydantic import BaseModel

    from storycore.entities import Repository
    from storycore.ports.pages import Page

__all__ = ["list_"]

_COLUMNS: Mapping[str, Sequence[str]] = {
    "user": ("user_id", "username", "email", "role"),
    "session": ("session_id", "user_id", "status", "expires_at"),
    "story": ("story_id", "user_id", "status", "style", "title"),
    "template": ("template_id", "name", "style"),
    "content": ("content_id", "source", "title"),
}
_MOST_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class _Listing:
    """What was asked for."""

    kind: str
    parts: Sequence[str]
    named: Mapping[str, str | None]
    index: str | None
    limit: int
    cursor: str | None
    order: str | None


@click.command("list")
@click.argument("kind")
@click.argument("parts", metavar="[NAME=VALUE]...", nargs=-1)
@common_options
@click.option("--by", "index", metavar="INDEX", help="Which index; by default the one that fits the values given.")
@click.option("--user", metavar="ID", help="The same as user_id=ID.")
@click.option("--status", metavar="STATUS", help="The same as status=STATUS.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--cursor", help="Go on where a page with the same values ended, or back.")
@click.option("--order", type=click.Choice(["asc", "desc"]), help="By default newest first, names from A to Z.")
def list_(common: Common, kind: str, user: str | None, status: str | None, **options: Any) -> None:
    """List entities of a KIND: user, session, story, template, content, or one that a plugin declares.

    Values choose the index: `storycore list story --user u1 --status published`, `storycore list user role=premium`.
    Without values the whole store is walked, in no particular order.
    """
    from storycore.cli.output import print_json

    page = asyncio.run(_page(common, _Listing(kind, named={"user_id": user, "status": status}, **options)))
    if common.as_json:
        items = [item.model_dump(mode="json") for item in page.items]
        return print_json({"kind": kind, "items": items, "cursor": page.cursor, "previous": page.previous})
    return _show(kind, page)


async def _page(common: Common, asked: _Listing) -> Page[Any]:
    from storycore.cli.access import chosen_index, is_by_time, parts_from, repository_of

    async with common.open() as store:
        repository = repository_of(store, asked.kind)
        parts = parts_from(repository.entity, asked.parts, asked.named)
        index = asked.index or chosen_index(repository.entity, parts)
        if index is None:
            return await _walked(repository, asked)
        listing = repository.index(index)
        falling = asked.order == "desc" if asked.order else is_by_time(repository.entity, index, parts)
        return await listing.page(limit=asked.limit, cursor=asked.cursor, reverse=falling, **parts)


async def _walked(repository: Repository[Any], asked: _Listing) -> Page[Any]:
    """The first instances of a walk through the whole store, where no index lists them all."""
    from storycore.errors import InvalidCursor
    from storycore.ports.pages import Page

    if asked.cursor is not None:
        raise InvalidCursor("A listing without values has no pages; give the values that the cursor was made with.")
    items: list[Any] = []
    async for item in repository.scan():
        items.append(item)
        if len(items) == asked.limit:
            break
    return Page(items)


def _show(kind: str, page: Page[Any]) -> None:
    from storycore.cli.output import escape, show, table

    if not page.items:
        return show("None.")
    columns = _columns(kind, page.items[0])
    made = table(*columns)
    made.columns[0].no_wrap = True  # an id that is cut in two cannot be copied
    for item in page.items:
        plain = item.model_dump(mode="json")
        made.add_row(*(escape("" if plain[name] is None else str(plain[name])) for name in columns))
    show(made)
    if page.cursor is not None:
        click.echo(f"More: the same command with --cursor {page.cursor}")
    return None


def _columns(kind: str, item: BaseModel) -> list[str]:
    """The columns of a known kind, or the first plain fields of another."""
    fields = type(item).model_fields
    known = [name for name in _COLUMNS.get(kind.removesuffix("s"), ()) if name in fields]
    plain = [name for name in fields if not isinstance(getattr(item, name), (list, dict, tuple, set, frozenset))]
    return known or plain[:_MOST_COLUMNS]
