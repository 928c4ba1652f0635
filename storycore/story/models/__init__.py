"""The models of the story domain: plain pydantic, without a word about storage."""

from __future__ import annotations

from storycore.story.models.content import Content
from storycore.story.models.session import Session, SessionStatus, Turn
from storycore.story.models.story import (
    GenerationMetrics,
    Story,
    StoryMetrics,
    StoryStatus,
    StoryStyle,
    StorySummary,
    StoryVersion,
)
from storycore.story.models.template import Template
from storycore.story.models.user import User, UserPreferences, UserRole, UserStatistics

__all__ = [
    "Content",
    "GenerationMetrics",
    "Session",
    "SessionStatus",
    "Story",
    "StoryMetrics",
    "StoryStatus",
    "StoryStyle",
    "StorySummary",
    "StoryVersion",
    "Template",
    "Turn",
    "User",
    "UserPreferences",
    "UserRole",
    "UserStatistics",
]
