"""Stories, by user, state and session, with their revisions and their readers' counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from storycore.entities import Repository
from storycore.ports.environment import Environment
from storycore.ports.pages import Cursor, Page, Pages
from storycore.story.collection import Collection
from storycore.story.models import Story, StoryStatus, StorySummary, StoryVersion
from storycore.story.models.story import count_words

__all__ = ["Stories"]

_KEPT_VERSIONS = 10


class Stories(Collection[Story]):
    """The stories of a store.

    Args:
        repository: keeps them.
        env: tells the time.
    """

    def __init__(self, repository: Repository[Story], env: Environment) -> None:
        super().__init__(repository)
        self._env = env

    async def save(self, instance: Story) -> Story:
        """Store a story whole, with its words counted again, and the time if it is published for the first time.

        Raises:
            VersionConflict: somebody else changed it since it was loaded; load it again.
            InvalidArgument, TooLarge: it cannot be stored.
        """
        self._complete(instance)
        return await super().save(instance)

    async def save_batch(self, instances: Iterable[Story]) -> int:
        """Store any number of stories, each like ``save``; returns how many."""
        stories = list(instances)
        for story in stories:
            self._complete(story)
        return await super().save_batch(stories)

    async def update(self, id: str, changes: Mapping[str, object]) -> Story:  # noqa: A002 - the domain's own word
        """Set some fields of a stored story, whatever its version, and return it.

        Raises:
            NotFound: there is no such story.
            InvalidArgument: a field is unknown, or the result is not valid.
        """
        return await self.repository.modify(id, lambda story: {**self._publication(story, changes), **changes})

    async def by_user(
        self,
        user_id: str,
        *,
        status: StoryStatus | None = None,
        limit: int = 20,
        cursor: Cursor | str | None = None,
    ) -> Page[Story]:
        """A user's stories, in one state or all, newest first."""
        if status is None:
            return await self.repository.by_user.page(user_id=user_id, limit=limit, cursor=cursor, reverse=True)
        return await self.repository.by_user_and_status.page(
            user_id=user_id, status=status, limit=limit, cursor=cursor, reverse=True
        )

    async def by_status(
        self, status: StoryStatus, *, limit: int = 20, cursor: Cursor | str | None = None
    ) -> Page[Story]:
        """All stories in one state, newest first."""
        return await self.repository.by_status.page(status=status, limit=limit, cursor=cursor, reverse=True)

    async def by_session(self, session_id: str, *, limit: int = 20, cursor: Cursor | str | None = None) -> Page[Story]:
        """The stories that came out of a session, newest first."""
        return await self.repository.by_session.page(session_id=session_id, limit=limit, cursor=cursor, reverse=True)

    def summaries(self, user_id: str, *, status: StoryStatus | None = None) -> Pages[StorySummary]:
        """A user's stories without their text, newest first; no text is read."""
        if status is None:
            return self.repository.by_user.project(StorySummary).iterate(user_id=user_id, reverse=True)
        return self.repository.by_user_and_status.project(StorySummary).iterate(
            user_id=user_id, status=status, reverse=True
        )

    async def update_status(self, story_id: str, status: StoryStatus) -> Story:
        """Move a story to another state; the first time it is published is remembered.

        Raises:
            NotFound: there is no such story.
        """
        return await self.update(story_id, {"status": status})

    async def revise(self, story_id: str, content: str, *, title: str | None = None, note: str = "") -> Story:
        """Give a story new content and keep what it was before, of the last ten revisions.

        Args:
            note: why, kept with the old version.

        Raises:
            NotFound: there is no such story.
            InvalidArgument: the content is empty.
        """

        def revised(story: Story) -> dict[str, object]:
            old = StoryVersion(
                revision=story.revision,
                title=story.title,
                content=story.content,
                word_count=story.word_count,
                replaced_at=self._env.clock.now(),
                note=note,
            )
            return {
                "content": content,
                "title": story.title if title is None else title,
                "revision": story.revision + 1,
                "versions": [*story.versions, old][-_KEPT_VERSIONS:],
            }

        return await self.repository.modify(story_id, revised)

    async def add_metrics(self, story_id: str, amounts: Mapping[str, int]) -> Story:
        """Add to the readers' counters in one atomic step: ``{"views": 1}``.

        Raises:
            NotFound: there is no such story.
            InvalidArgument: a name is not a counter's, or a counter would fall below 0.
        """
        return await self.repository.count(story_id, amounts)

    def _complete(self, story: Story) -> None:
        if isinstance(story.content, str):
            story.word_count = count_words(story.content)
        if story.status == StoryStatus.PUBLISHED and story.published_at is None:
            story.published_at = self._env.clock.now()

    def _publication(self, story: Story, changes: Mapping[str, object]) -> Mapping[str, object]:
        is_published = changes.get("status", story.status) == StoryStatus.PUBLISHED
        return {"published_at": self._env.clock.now()} if is_published and story.published_at is None else {}
