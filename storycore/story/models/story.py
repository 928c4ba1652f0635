"""Stories: what is written, in which style and state, with its earlier versions."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, Field, NonNegativeInt, ValidationInfo, field_validator

from storycore.story.models.values import Id, Moment, Tags, new_id, now

__all__ = [
    "GenerationMetrics",
    "Story",
    "StoryMetrics",
    "StoryStatus",
    "StoryStyle",
    "StorySummary",
    "StoryVersion",
    "count_words",
]


class StoryStatus(StrEnum):
    """Where a story stands."""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class StoryStyle(StrEnum):
    """The form of a story."""

    SHORT_POST = "short_post"
    LONG_POST = "long_post"
    BLOG_POST = "blog_post"
    THREAD = "thread"
    NEWSLETTER = "newsletter"
    SCRIPT = "script"


class GenerationMetrics(BaseModel):
    """How a story was generated.

    Args:
        model: which model wrote it.
        seconds: how long it took.
        prompt_tokens, completion_tokens: what it consumed.
        cost: in US dollars.
    """

    model: str = ""
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0
    cost: Decimal | None = None

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class StoryVersion(BaseModel):
    """What a story was before a revision.

    Args:
        revision: its number, from 1.
        replaced_at: when the next one took its place.
        note: why.
    """

    revision: int = Field(ge=1)
    title: str
    content: str
    word_count: NonNegativeInt
    replaced_at: Moment
    note: str = ""


class StoryMetrics(BaseModel):
    """How a story is received, read from the counters of a ``Story``."""

    views: int
    likes: int
    shares: int
    comments: int


def count_words(text: str) -> int:
    """How many words a text has, as separated by white space."""
    return len(text.split())


class Story(BaseModel):
    """A story.

    Args:
        revision: the number of the present content, from 1.
        versions: what was before, oldest first.
        word_count: of the content; follows it.
        generation: how it was generated, if it was.
        views, likes, shares, comments: counters, changed by ``add_metrics``.
        template_id: the template that it was made from.
        content_ids: the contents that it draws on.
        published_at: when it was published first.
    """

    story_id: Id = Field(default_factory=new_id)
    user_id: Id
    session_id: Id | None = None
    title: str = Field(default="", max_length=500)
    content: str = Field(min_length=1)
    word_count: NonNegativeInt = Field(default=0, validate_default=True)
    style: StoryStyle = StoryStyle.SHORT_POST
    status: StoryStatus = StoryStatus.DRAFT
    tags: Tags = Field(default_factory=set)
    language: str = "en"
    template_id: Id | None = None
    content_ids: list[Id] = Field(default_factory=list)
    generation: GenerationMetrics | None = None
    revision: int = Field(default=1, ge=1)
    versions: list[StoryVersion] = Field(default_factory=list)
    views: NonNegativeInt = 0
    likes: NonNegativeInt = 0
    shares: NonNegativeInt = 0
    comments: NonNegativeInt = 0
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)
    published_at: Moment | None = None

    @field_validator("word_count")
    @classmethod
    def _of_content(cls, given: int, info: ValidationInfo) -> int:
        content = info.data.get("content")
        return given if content is None else count_words(content)

    @property
    def metrics(self) -> StoryMetrics:
        """The counters together."""
        return StoryMetrics(**{name: getattr(self, name) for name in StoryMetrics.model_fields})


class StorySummary(BaseModel):
    """A story in a list: everything but its text."""

    story_id: Id
    user_id: Id
    session_id: Id | None
    title: str
    word_count: int
    style: StoryStyle
    status: StoryStatus
    tags: Tags
    views: int
    likes: int
    shares: int
    comments: int
    created_at: Moment
    updated_at: Moment
    published_at: Moment | None
