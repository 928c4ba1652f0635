"""The part of the demonstration that saves, publishes, lists and reads stories."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from storycore.cli.demonstration import samples
from storycore.cli.demonstration.outcome import Listed, Read, Stories
from storycore.ports.conditions import ANY
from storycore.ports.lifecycle import PortName
from storycore.story import Story, StoryStatus

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.ports.pages import Page

__all__ = ["tell_stories"]

_PAGE = 3


async def tell_stories(store: Store) -> Stories:
    """Save users, sessions, templates and stories, publish one, list them in several ways, and read one twice."""
    saved = await _save(store)
    published = await _publish(store)
    return Stories(
        saved=saved,
        published=published.title,
        exported=await _export(store, published),
        listings=await _listings(store),
        reads=await _read_twice(store),
    )


async def _save(store: Store) -> dict[str, int]:
    users, sessions, templates = samples.users(), samples.sessions(), samples.templates()
    for user in users:
        await store.users.save(user)
    for session in sessions:
        await store.sessions.save(session)
    for template in templates:
        await store.templates.save(template)
    stories = samples.stories()
    await store.stories.save_batch(stories)
    mine = [story for story in stories if story.user_id == samples.WRITER]
    words = sum(story.word_count for story in mine)
    await store.users.update_stats(samples.WRITER, {"stories_created": len(mine), "total_words": words})
    return {"users": len(users), "sessions": len(sessions), "templates": len(templates), "stories": len(stories)}


async def _publish(store: Store) -> Story:
    story = await store.stories.update_status(samples.PUBLISHED, StoryStatus.PUBLISHED)
    await store.users.update_stats(story.user_id, {"stories_published": 1})
    await store.events.track("story_published", user_id=story.user_id, properties={"story_id": story.story_id})
    return story


async def _export(store: Store, story: Story) -> str:
    text = f"# {story.title}\n\n{story.content}\n"
    info = await store.blobs.put(f"stories/{story.story_id}.md", text.encode(), when=ANY, content_type="text/markdown")
    return info.key


async def _listings(store: Store) -> list[Listed]:
    first = await store.stories.by_user(samples.WRITER, limit=_PAGE)
    second = await store.stories.by_user(samples.WRITER, limit=_PAGE, cursor=first.cursor)
    drafts = await store.stories.by_status(StoryStatus.DRAFT, limit=10)
    published = await store.stories.by_user(samples.WRITER, status=StoryStatus.PUBLISHED, limit=10)
    return [
        _listed(f"by {samples.WRITER}, newest first, page 1", first),
        _listed(f"by {samples.WRITER}, page 2, from the cursor", second),
        _listed("drafts of everybody", drafts),
        _listed(f"published by {samples.WRITER}", published),
    ]


def _listed(what: str, page: Page[Any]) -> Listed:
    return Listed(what, [story.title for story in page.items], page.cursor)


async def _read_twice(store: Store) -> list[Read]:
    """Read the story that has just been changed: the change has taken it out of the cache."""
    return [await _read(store), await _read(store)]


async def _read(store: Store) -> Read:
    before = store.cache.stats().total
    begun = time.perf_counter()
    await store.stories.get(samples.PUBLISHED)
    took = (time.perf_counter() - begun) * 1000
    after = store.cache.stats().total
    if after.memory_hits > before.memory_hits:
        tier = "cache (memory)"
    elif after.shared_hits > before.shared_hits:
        tier = f"cache ({store.profile.port(PortName.CACHE).adapter})"
    else:
        tier = f"store ({store.profile.port(PortName.ENTITIES).adapter})"
    return Read(tier, round(took, 3))
