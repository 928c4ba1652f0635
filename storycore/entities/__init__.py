"""Entities: plain pydantic models, declared once, kept by any entity store."""

from __future__ import annotations

from storycore.entities.addresses import KeyLike
from storycore.entities.changes import ChangeStream, EntityChange
from storycore.entities.collections import Collected, Collection
from storycore.entities.declaration import Entity, entity
from storycore.entities.explanations import Explanation
from storycore.entities.intents import Pending
from storycore.entities.listing import Listing
from storycore.entities.query import Query
from storycore.entities.repository import Repository
from storycore.entities.soft_deletion import SoftDelete
from storycore.entities.templates import Index, Key, Sharded, part
from storycore.entities.uniqueness import Unique
from storycore.entities.unit import Unit
from storycore.entities.upgrading import UpgradeFailure, UpgradeReport
from storycore.entities.writing import Upserted

__all__ = [
    "ChangeStream",
    "Collected",
    "Collection",
    "Entity",
    "EntityChange",
    "Explanation",
    "Index",
    "Key",
    "KeyLike",
    "Listing",
    "Pending",
    "Query",
    "Repository",
    "Sharded",
    "SoftDelete",
    "Unique",
    "Unit",
    "UpgradeFailure",
    "UpgradeReport",
    "Upserted",
    "entity",
    "part",
]
