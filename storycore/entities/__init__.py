"""Entities: plain pydantic models, declared once, kept by any entity store."""

from __future__ import annotations

from storycore.entities.declaration import Entity, entity
from storycore.entities.explaining import Explanation
from storycore.entities.listing import Listing
from storycore.entities.query import Query
from storycore.entities.repository import KeyLike, Repository
from storycore.entities.templates import Index, Key, Sharded, part

__all__ = [
    "Entity",
    "Explanation",
    "Index",
    "Key",
    "KeyLike",
    "Listing",
    "Query",
    "Repository",
    "Sharded",
    "entity",
    "part",
]
