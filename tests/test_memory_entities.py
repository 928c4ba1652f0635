"""The reference entity store keeps the EntityStore contract."""

from __future__ import annotations

from storycore.testing.entities import EntityStoreSuite


class TestMemoryEntities(EntityStoreSuite):
    """The EntityStore contract in memory."""

    adapter = "memory"
