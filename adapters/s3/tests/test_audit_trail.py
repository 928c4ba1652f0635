"""An audit trail in a bucket: written, read back, pruned around a lock, and every change past storycore found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import storycore
from storycore.story import User

BUCKET = "storycore-locked"


async def test_a_trail_lives_in_a_bucket(server: Mapping[str, Any], raw: Any, tmp_path: Path) -> None:
    """Several writers share it; the bucket's owner cannot change it unseen; what is locked goes later."""
    bucket = {"adapter": "s3", **server, "bucket": BUCKET, "versions": True, "lock": True}
    place = {**bucket, "prefix": f"{tmp_path.name}/"}
    overrides = {"blobs": place, "audit": {"enabled": True, "key": "6b" * 32, "actor": "test"}}

    async def write(name: str) -> None:
        async with storycore.open("memory", overrides=overrides) as store:
            await store.users.save(User(email=f"{name}@example.com", username=name))

    async with storycore.open("memory", overrides=overrides) as store:
        await store.init()
    await asyncio.gather(*map(write, ("ada", "bob", "eve")))
    async with storycore.open("memory", overrides=overrides) as reader:
        assert (await reader.audit.verify()).is_whole
        found = [each.action async for each in reader.audit.records(action="entities.write")]
        assert len(found) == 3
        listed = past(raw, tmp_path.name)
        held = raw.get_object(Bucket=BUCKET, Key=listed[-1])
        content, metadata = held["Body"].read(), held["Metadata"]
        changed = content.replace(b'"test"', b'"evil"', 1)
        for body in (changed, content):
            raw.put_object(Bucket=BUCKET, Key=listed[-1], Body=body, Metadata=metadata)
            assert (await reader.audit.verify()).is_whole == (body == content)
        locked = (await reader.blobs.entries("audit/chains/")).blobs[0].key
        await reader.blobs.lock(locked, datetime.now(UTC) + timedelta(days=1))
        done = await reader.audit.prune(datetime.now(UTC))
        assert (list(done.refused), "locked" in done.refused[locked]) == ([locked], True)
        assert (await reader.audit.verify()).is_whole
        assert listed[0] in past(raw, tmp_path.name)
        assert listed[-1] not in past(raw, tmp_path.name)


def past(raw: Any, folder: str) -> list[str]:
    """The batches of a trail, as they lie in the bucket."""
    listed = raw.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder}/audit")["Contents"]
    return [each["Key"] for each in listed if "chains" in each["Key"]]
