"""Templates, by style and name."""

from __future__ import annotations

from storycore.ports.pages import Cursor, Page
from storycore.story.collection import Collection
from storycore.story.models import StoryStyle, Template

__all__ = ["Templates"]


class Templates(Collection[Template]):
    """The templates of a store."""

    async def list(self, *, limit: int = 50, cursor: Cursor | str | None = None) -> Page[Template]:
        """All templates by name."""
        return await self.repository.everything.page(limit=limit, cursor=cursor)

    async def by_style(
        self, style: StoryStyle, *, limit: int = 50, cursor: Cursor | str | None = None
    ) -> Page[Template]:
        """The templates of one style by name."""
        return await self.repository.by_style.page(style=style, limit=limit, cursor=cursor)

    async def warm(self) -> int:
        """Read every template once, which fills a cache in front of the store; returns how many there are."""
        ids = [template.template_id async for template in self.repository.everything.iterate()]
        found = await self.repository.get_many(ids)
        return sum(template is not None for template in found)

    async def count_use(self, template_id: str) -> Template:
        """Count one more use, in one atomic step.

        Raises:
            NotFound: there is no such template.
        """
        return await self.repository.count(template_id, {"uses": 1})
