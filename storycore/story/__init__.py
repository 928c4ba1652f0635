"""The story domain: users, sessions, stories, templates and contents, and how they are kept.

The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storycore.story.chunk_sink import (
        ContentSink,
    )
    from storycore.story.contents import (
        Contents,
    )
    from storycore.story.declarations import (
        CONTENT,
        DECLARATIONS,
        SESSION,
        STORY,
        TEMPLATE,
        USER,
    )
    from storycore.story.domain import (
        Repositories,
        repositories,
    )
    from storycore.story.models import (
        Content,
        GenerationMetrics,
        Session,
        SessionStatus,
        Story,
        StoryMetrics,
        StoryStatus,
        StoryStyle,
        StorySummary,
        StoryVersion,
        Template,
        Turn,
        User,
        UserPreferences,
        UserRole,
        UserStatistics,
    )
    from storycore.story.sessions import (
        Sessions,
    )
    from storycore.story.stories import (
        Stories,
    )
    from storycore.story.templates import (
        Templates,
    )
    from storycore.story.users import (
        Users,
    )

__all__ = [
    "CONTENT",
    "DECLARATIONS",
    "SESSION",
    "STORY",
    "TEMPLATE",
    "USER",
    "Content",
    "ContentSink",
    "Contents",
    "GenerationMetrics",
    "Repositories",
    "Session",
    "SessionStatus",
    "Sessions",
    "Stories",
    "Story",
    "StoryMetrics",
    "StoryStatus",
    "StoryStyle",
    "StorySummary",
    "StoryVersion",
    "Template",
    "Templates",
    "Turn",
    "User",
    "UserPreferences",
    "UserRole",
    "UserStatistics",
    "Users",
    "repositories",
]

_HOMES = {
    "CONTENT": "declarations",
    "Content": "models",
    "ContentSink": "chunk_sink",
    "Contents": "contents",
    "DECLARATIONS": "declarations",
    "GenerationMetrics": "models",
    "Repositories": "domain",
    "SESSION": "declarations",
    "STORY": "declarations",
    "Session": "models",
    "SessionStatus": "models",
    "Sessions": "sessions",
    "Stories": "stories",
    "Story": "models",
    "StoryMetrics": "models",
    "StoryStatus": "models",
    "StoryStyle": "models",
    "StorySummary": "models",
    "StoryVersion": "models",
    "TEMPLATE": "declarations",
    "Template": "models",
    "Templates": "templates",
    "Turn": "models",
    "USER": "declarations",
    "User": "models",
    "UserPreferences": "models",
    "UserRole": "models",
    "UserStatistics": "models",
    "Users": "users",
    "repositories": "domain",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
