"""Questions that documents of any kind should answer, made from their own headings and titles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storycore.app import Store

__all__ = ["questions_of"]

_QUESTIONS = 5
_LOOKED_AT = 40
_PASSAGES = 10


async def questions_of(store: Store, sources: Sequence[str]) -> list[str]:
    """A question about a heading, or else the title, of each of up to five documents.

    Args:
        sources: the documents' names as ingestion gave them.
    """
    headings: dict[str, None] = {}
    for source in _spread(sources, _LOOKED_AT):
        if heading := await _heading(store, source):
            headings.setdefault(heading)
        if len(headings) == _QUESTIONS:
            break
    return [f"What is said about {heading}?" for heading in headings]


def _spread(sources: Sequence[str], count: int) -> Sequence[str]:
    """At most ``count`` of the sources, taken from all over the list."""
    return sources[:: max(1, len(sources) // count)]


async def _heading(store: Store, source: str) -> str:
    """The first heading below the title, or the title, of a document; empty when it has neither."""
    page = await store.contents.by_source(source, limit=_PASSAGES)
    sections = [content.section.rpartition(" > ")[2] for content in page.items if " > " in content.section]
    titles = [content.title for content in page.items]
    return next((text for text in [*sections, *titles] if text), "")
