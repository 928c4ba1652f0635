"""Contents, by source and type."""

from __future__ import annotations

from storycore.ports.pages import Cursor, Page
from storycore.story.collection import Collection
from storycore.story.models import Content

__all__ = ["Contents"]


class Contents(Collection[Content]):
    """The contents of a store."""

    async def by_source(self, source: str, *, limit: int = 100, cursor: Cursor | str | None = None) -> Page[Content]:
        """The pieces of one source in their order."""
        return await self.repository.by_source.page(source=source, limit=limit, cursor=cursor)

    async def by_type(
        self, content_type: str, *, limit: int = 100, cursor: Cursor | str | None = None
    ) -> Page[Content]:
        """The pieces of sources of one form, for example ``"markdown"``, newest first."""
        return await self.repository.by_type.page(content_type=content_type, limit=limit, cursor=cursor, reverse=True)

    async def by_source_type(
        self, source_type: str, *, limit: int = 100, cursor: Cursor | str | None = None
    ) -> Page[Content]:
        """The pieces of sources of one kind, for example ``"news"``, newest first."""
        return await self.repository.by_source_type.page(
            source_type=source_type, limit=limit, cursor=cursor, reverse=True
        )

    async def delete_source(self, source: str) -> int:
        """Remove all pieces of one source; returns how many there were.

        Raises:
            PartialFailure: some could not be removed; do it again.
        """
        pieces = self.repository.by_source.iterate(source=source)
        return await self.repository.delete_batch([piece.content_id async for piece in pieces])
