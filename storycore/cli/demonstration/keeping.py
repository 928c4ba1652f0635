"""The last part of the demonstration: a backup, the proof that it can be restored, and a mistake that is undone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from storycore.cli.demonstration import samples
from storycore.cli.demonstration.outcome import Backed
from storycore.errors import ConfigError

if TYPE_CHECKING:
    from storycore.app import Store
    from storycore.backup.outcomes import Created
    from storycore.backup.verifying import Verification

__all__ = ["keep"]


async def keep(store: Store) -> Backed | str:
    """Back up, verify by a restore, delete a story, and bring back the state of the moment before.

    Returns:
        What was done; or, in words, why backups cannot be made here.
    """
    try:
        backups = store.backups
    except ConfigError as exc:
        return exc.message
    begun = time.perf_counter()
    made = await backups.create("manual")
    created = time.perf_counter()
    proof = await backups.verify(made.backup_id, level="restore")
    verified = time.perf_counter()
    return await _undone(store, made, proof, (created - begun, verified - created))


async def _undone(store: Store, made: Created, proof: Verification, seconds: tuple[float, float]) -> Backed:
    """Delete a story and bring it back from the moment before that."""
    from storycore.backup.restoring import Selection

    story = await store.stories.get(samples.DELETED)
    moment = store.env.clock.now()
    await store.stories.delete(story.story_id)
    was_gone = await store.stories.find(story.story_id) is None
    part = Selection(ports=frozenset({"entities"}), kinds=frozenset({"story"}))
    restored = await store.backups.restore(at=moment, selection=part, mode="merge", on_conflict="skip")
    again = await store.stories.find(story.story_id)
    return Backed(
        backup_id=made.backup_id,
        is_full=made.manifest.is_full,
        items={port: content.items for port, content in made.manifest.ports.items()},
        size_bytes=made.manifest.size_bytes,
        seconds=round(seconds[0], 2),
        notices=made.notices,
        is_whole=proof.is_whole,
        verify_seconds=round(seconds[1], 2),
        deleted=story.title,
        was_gone=was_gone,
        moment=moment,
        brought_back=sum(restored.written.values()),
        is_back=again is not None and again.content == story.content,
    )
