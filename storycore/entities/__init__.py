"""Entities: plain pydantic models, declared once, kept by any entity store."""

from __future__ import annotations

from storycore.entities.declaration import Entity, entity
from storycore.entities.listing import Listing
from storycore.entities.repository import KeyLike, Repository
from storycore.entities.templates import Index, Key, part

__all__ = ["Entity", "Index", "Key", "KeyLike", "Listing", "Repository", "entity", "part"]
