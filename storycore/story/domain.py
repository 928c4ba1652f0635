"""The repositories of the story domain, and the function that makes them all over one store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storycore.entities import Entity, Repository
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.story.chunk_sink import ContentSink
from storycore.story.contents import Contents
from storycore.story.declarations import CONTENT, DECLARATIONS, SESSION, STORY, TEMPLATE, USER
from storycore.story.sessions import Sessions
from storycore.story.stories import Stories
from storycore.story.templates import Templates
from storycore.story.users import Users

__all__ = ["Repositories", "repositories"]


@dataclass(frozen=True, slots=True)
class Repositories:
    """One repository per model of the domain."""

    users: Users
    sessions: Sessions
    stories: Stories
    templates: Templates
    contents: Contents

    @property
    def entities(self) -> tuple[Entity[Any], ...]:  # of five models
        """The declarations behind them."""
        return DECLARATIONS

    @property
    def chunk_sink(self) -> ContentSink:
        """Keeps what ingestion cuts among the contents."""
        return ContentSink(self.contents)


def repositories(store: EntityStore, env: Environment, *, cursor_key: bytes) -> Repositories:
    """All repositories of the domain over one store.

    Args:
        store: where everything is kept; borrowed, never closed here.
        env: tells the time.
        cursor_key: signs cursors, at least 16 bytes.

    Raises:
        ConfigError: the cursor key is too short.
    """
    return Repositories(
        users=Users(Repository(USER, store, env, cursor_key=cursor_key)),
        sessions=Sessions(Repository(SESSION, store, env, cursor_key=cursor_key), env),
        stories=Stories(Repository(STORY, store, env, cursor_key=cursor_key), env),
        templates=Templates(Repository(TEMPLATE, store, env, cursor_key=cursor_key)),
        contents=Contents(Repository(CONTENT, store, env, cursor_key=cursor_key)),
    )
