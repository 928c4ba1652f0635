"""How the story domain is stored: every access pattern as a key or an index.

Each entity lies under its id alone, so that an id is all one needs to read or change it. A partition that would take
all writes of a kind is spread over shards, for one takes a thousand writes of 1 KB a second (DynamoDB: partitions).
"""

from __future__ import annotations

from typing import Any

from storycore.entities import Entity, Index, Key, Sharded, Unique, entity, part
from storycore.story.models import Content, Session, Story, Template, User

__all__ = ["CONTENT", "DECLARATIONS", "SESSION", "STORY", "TEMPLATE", "USER"]

_TIMESTAMPS = ("created_at", "updated_at")
_LISTS_OF_USER = ("user:{user_id}",)
_LONGEST_IN_RECORD = 256 * 1024

USER = entity(
    User,
    kind="user",
    key=Key(pk=("user", part.user_id), sk=("user",)),
    indexes=[
        Index("by_email", slot=1, pk=("user-email", part.email), sk=("user",)),
        Index("by_username", slot=2, pk=("user-name", part.username), sk=("user",)),
        Index("by_role", slot=3, pk=("user-role", part.role, Sharded(4, by=part.user_id)), sk=(part.created_at,)),
        Index("everyone", slot=4, pk=("users", Sharded(4, by=part.user_id)), sk=(part.created_at,)),
    ],
    unique=[Unique("email"), Unique("username", fold="casefold")],
    promoted=("user_id", "username", "email", "role", "is_active", "created_at"),
    counters=("stories_created", "stories_published", "sessions_started", "total_words", "total_tokens"),
    timestamps=_TIMESTAMPS,
)

SESSION = entity(
    Session,
    kind="session",
    key=Key(pk=("session", part.session_id), sk=("session",)),
    indexes=[
        Index("by_user", slot=1, pk=("user-sessions", part.user_id), sk=(part.created_at,)),
        Index(
            "by_status",
            slot=2,
            pk=("session-status", part.status, Sharded(8, by=part.session_id)),
            sk=(part.updated_at,),
        ),
    ],
    promoted=("session_id", "user_id", "status", "title", "created_at", "updated_at"),
    ttl="expires_at",
    timestamps=_TIMESTAMPS,
    cache_tags=_LISTS_OF_USER,
)

STORY = entity(
    Story,
    kind="story",
    key=Key(pk=("story", part.story_id), sk=("story",)),
    indexes=[
        Index("by_user", slot=1, pk=("user-stories", part.user_id), sk=(part.created_at,)),
        Index("by_user_and_status", slot=2, pk=("user-stories", part.user_id, part.status), sk=(part.created_at,)),
        Index(
            "by_status", slot=3, pk=("story-status", part.status, Sharded(8, by=part.story_id)), sk=(part.created_at,)
        ),
        Index("by_session", slot=4, pk=("session-stories", part.session_id), sk=(part.created_at,)),
    ],
    promoted=(
        "story_id",
        "user_id",
        "session_id",
        "title",
        "word_count",
        "style",
        "status",
        "tags",
        *_TIMESTAMPS,
        "published_at",
    ),
    counters=("views", "likes", "shares", "comments"),
    timestamps=_TIMESTAMPS,
    cache_tags=_LISTS_OF_USER,
    spill=_LONGEST_IN_RECORD,
)

TEMPLATE = entity(
    Template,
    kind="template",
    key=Key(pk=("template", part.template_id), sk=("template",)),
    indexes=[
        Index("by_style", slot=1, pk=("template-style", part.style), sk=(part.name,)),
        Index("everything", slot=2, pk=("templates", Sharded(2, by=part.template_id)), sk=(part.name,)),
    ],
    promoted=("template_id", "name", "style", "is_active"),
    counters=("uses",),
    timestamps=_TIMESTAMPS,
)

CONTENT = entity(
    Content,
    kind="content",
    key=Key(pk=("content", part.content_id), sk=("content",)),
    indexes=[
        Index("by_source", slot=1, pk=("content-source", part.source), sk=(part.ordinal,)),
        Index(
            "by_type",
            slot=2,
            pk=("content-type", part.content_type, Sharded(4, by=part.content_id)),
            sk=(part.created_at,),
        ),
        Index(
            "by_source_type",
            slot=3,
            pk=("content-source-type", part.source_type, Sharded(4, by=part.content_id)),
            sk=(part.created_at,),
        ),
    ],
    promoted=("content_id", "source", "title", "content_type", "source_type", "ordinal", "embedding_id"),
    timestamps=_TIMESTAMPS,
    spill=_LONGEST_IN_RECORD,
)

DECLARATIONS: tuple[Entity[Any], ...] = (USER, SESSION, STORY, TEMPLATE, CONTENT)  # of five models
"""All entities of the domain."""
