"""Users: who writes, what they prefer, and what they have done so far."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, JsonValue, NonNegativeInt, StringConstraints, ValidationInfo
from pydantic import field_validator as validator

from storycore.story.models.story import StoryStyle
from storycore.story.models.values import Id, Moment, Tags, new_id, now

__all__ = ["User", "UserPreferences", "UserRole", "UserStatistics"]

_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)*")


def _as_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("an email address has one @ with something on both sides and no spaces")
    return text.lower()


Email: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_as_email)]
Username: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\S+$", min_length=1, max_length=64)]


class UserRole(StrEnum):
    """What a user may do."""

    GUEST = "guest"
    REGISTERED = "registered"
    PREMIUM = "premium"
    ADMIN = "admin"


class UserPreferences(BaseModel):
    """How a user likes to work.

    Args:
        style: the usual style of a new story.
        language: a BCP 47 tag.
        timezone: an IANA name.
        notifications: whether to send any.
        topics: what the user likes to write about.
        custom: whatever an application adds.
    """

    style: StoryStyle | None = None
    language: str = "en"
    timezone: str = "UTC"
    notifications: bool = True
    topics: Tags = Field(default_factory=set)
    custom: dict[str, JsonValue] = Field(default_factory=dict)


class UserStatistics(BaseModel):
    """What a user has done so far, read from the counters of a ``User``."""

    stories_created: int
    stories_published: int
    sessions_started: int
    total_words: int
    total_tokens: int


class User(BaseModel):
    """A user.

    Args:
        email: kept in lower case; everybody but a guest has one.
        username: without spaces.
        stories_created, stories_published, sessions_started, total_words, total_tokens: counters, changed by
            ``update_stats``.
        created_at, updated_at: set by the store.
    """

    user_id: Id = Field(default_factory=new_id)
    username: Username
    role: UserRole = UserRole.REGISTERED
    email: Email | None = Field(default=None, validate_default=True)
    display_name: str | None = Field(default=None, max_length=200)
    is_active: bool = True
    preferences: UserPreferences = Field(default_factory=UserPreferences)
    stories_created: NonNegativeInt = 0
    stories_published: NonNegativeInt = 0
    sessions_started: NonNegativeInt = 0
    total_words: NonNegativeInt = 0
    total_tokens: NonNegativeInt = 0
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)
    last_seen_at: Moment | None = None

    @validator("email")
    @classmethod
    def _email_unless_guest(cls, email: str | None, info: ValidationInfo) -> str | None:
        if email is None and info.data.get("role") is not UserRole.GUEST:
            raise ValueError("only a guest has no email address")
        return email

    @property
    def statistics(self) -> UserStatistics:
        """The counters together."""
        return UserStatistics(**{name: getattr(self, name) for name in UserStatistics.model_fields})
