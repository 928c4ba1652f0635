"""Backups in a bucket with Object Lock: retention bears with what is locked, and goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import storycore
from storycore.app import Store


@pytest.fixture
async def store(server: Mapping[str, Any], tmp_path: Any) -> AsyncIterator[Store]:
    """A store that keeps only its newest backup, in a bucket whose blobs can be locked."""
    bucket = {"adapter": "s3", **server, "bucket": "storycore-locked", "versions": True, "lock": True}
    backup = {
        "ports": ["entities"],
        "passphrase": "correct horse battery",
        **{f"keep_{rule}": 0 for rule in ("daily", "weekly", "monthly")},
        "keep_last": 1,
    }
    place = {**bucket, "prefix": f"{tmp_path.name}/"}
    async with storycore.open("memory", overrides={"blobs": place, "backup": backup}) as store:
        await store.init(enable_backups=True)
        yield store


async def test_a_locked_backup_stays_until_its_lock_ends(store: Store) -> None:
    """It is kept with the reason, and so is what it builds on; an older one goes, and a later prune takes the rest."""
    made = [(await store.backups.create("manual", full=full)).manifest for full in (True, True, False, True)]
    old, full, locked, newest = (each.id for each in made)
    await store.blobs.lock(f"backups/{locked}/key.json", datetime.now(UTC) + timedelta(days=1))
    done = await store.backups.prune()
    assert (sorted(done.kept), done.removed) == (sorted([newest, locked, full]), [old])
    assert any("locked until" in reason for reason in done.kept[locked])
    assert (await store.backups.verify(locked, level="full")).is_whole
