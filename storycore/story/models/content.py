"""Contents: pieces of source texts, as they are indexed for search."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, Field, JsonValue, NonNegativeInt, StringConstraints, ValidationInfo, field_validator

from storycore.story.models.values import Id, Label, Moment, Tags, new_id, now

__all__ = ["Content"]

Source: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Content(BaseModel):
    """A piece of a source text.

    Args:
        source: where the text comes from: a path or an address.
        title: of the source.
        content_type: the form of the source, for example ``"markdown"``.
        source_type: what kind of source it is, for example ``"news"``.
        text: the piece itself.
        start: offset of its first character in the source.
        end: offset behind its last character.
        ordinal: its number within the source, from 0.
        section: the headings above it.
        embedding_id: of its vector in the index; ``None`` when it has none yet.
        embedding_model: which model made that vector.
        metadata: whatever the source tells besides.
    """

    content_id: Id = Field(default_factory=new_id)
    source: Source
    title: str = ""
    content_type: Label = "text"
    source_type: Label = "document"
    text: str = Field(min_length=1)
    start: NonNegativeInt = 0
    end: NonNegativeInt = Field(default=0, validate_default=True)
    ordinal: NonNegativeInt = 0
    section: str = ""
    embedding_id: Id | None = None
    embedding_model: str | None = None
    tags: Tags = Field(default_factory=set)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)

    @field_validator("end")
    @classmethod
    def _behind_start(cls, end: int, info: ValidationInfo) -> int:
        start = info.data.get("start", 0)
        if end == 0:
            return int(start) + len(info.data.get("text", ""))
        if end < start:
            raise ValueError(f"the end {end} lies before the start {start}")
        return end
