"""What came into the bucket past storycore: backups and long bodies take it as anything else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.app import Store
from storycore.backup.restoring import PortChanges
from storycore.errors import Corrupt
from storycore.ports.conditions import ANY
from storycore.story import Story
from storycore.testing.blob_examples import content_of, sent

SHORT, LONG = "uploads/short", "uploads/long"
LONG_BYTES = 100_000
"""An object of its own in a backup."""


@pytest.fixture
async def store(server: Mapping[str, Any], tmp_path: Path) -> AsyncIterator[Store]:
    """A store with its blobs, and so its backups, in a bucket."""
    place = {"adapter": "s3", **server, "bucket": "storycore-foreign", "prefix": f"{tmp_path.name}/"}
    backup = {"ports": ["blobs"], "passphrase": "correct horse battery"}
    async with storycore.open("memory", overrides={"blobs": place, "backup": backup}) as store:
        await store.init(enable_backups=True)
        yield store


async def by_url(store: Store, fill: bytes) -> None:
    """Write both blobs as a browser would."""
    for key, size in ((SHORT, 10), (LONG, LONG_BYTES)):
        url = await store.blobs.presign(key, method="PUT", expires=timedelta(minutes=1))
        await asyncio.to_thread(sent, url, fill * size)


async def test_a_backup_follows_what_is_written_by_url(store: Store) -> None:
    """Contents of one length differ all the same, and each state comes back with the hashes that nobody had made."""
    await store.blobs.put("kept", random.Random(1).randbytes(LONG_BYTES), when=ANY)
    states = {}
    for fill in (b"a", b"b"):
        await by_url(store, fill)
        states[fill] = await store.backups.create("manual")
    same = await store.backups.create("manual")
    assert [made.manifest.is_full for made in (*states.values(), same)] == [True, False, False]
    assert same.manifest.ports["blobs"].changes == ()
    planned = (await store.backups.plan_restore(same.backup_id))["blobs"]
    assert planned == PortChanges(unchanged={".": 1, "uploads": 2})
    assert (await store.backups.verify(same.backup_id, level="restore")).is_whole
    for fill, made in states.items():
        async with storycore.open("memory") as elsewhere:
            await store.backups.restore(made.backup_id, into=elsewhere)
            assert await content_of(elsewhere.blobs, SHORT) == fill * 10
            assert await content_of(elsewhere.blobs, LONG) == fill * LONG_BYTES


async def test_what_another_program_says_of_an_object_comes_back_as_far_as_any_store_takes_it(
    store: Store, raw: Any, tmp_path: Path
) -> None:
    """Keys and values that no other store would take are not told, and stop no restore."""
    foreign = {"Author": "ada", "my_key": "left out", "padded": "in the middle"}
    what = {"ContentType": "text/plain; charset=utf-8", "Metadata": foreign}
    raw.put_object(Bucket="storycore-foreign", Key=f"{tmp_path.name}/letter", Body=b"dear", **what)
    raw.put_object(Bucket="storycore-foreign", Key=f"{tmp_path.name}/long", Body=b"x", ContentType="x/" + "y" * 300)
    await store.backups.create("manual")
    async with storycore.open("memory") as elsewhere:
        await store.backups.restore(into=elsewhere)
        page = await elsewhere.blobs.entries()
    told = {info.key: (info.content_type, dict(info.metadata)) for info in page.blobs}
    assert told == {
        "letter": ("text/plain; charset=utf-8", {"author": "ada", "padded": "in the middle"}),
        "long": ("application/octet-stream", {}),
    }


async def test_a_long_body_may_be_copied_by_another_program(
    store: Store, raw: Any, server: Mapping[str, Any], tmp_path: Path
) -> None:
    """It carries no hash of ours then, and is compared with the record's; one that differs is damaged."""
    story = await store.stories.save(Story(user_id="ada", title="The falls", content="water " * 100_000))
    place = {"Bucket": "storycore-foreign", "Prefix": f"{tmp_path.name}/spill"}
    [key] = [each["Key"] for each in raw.list_objects_v2(**place)["Contents"]]
    body = raw.get_object(Bucket=place["Bucket"], Key=key)["Body"].read()
    raw.put_object(Bucket=place["Bucket"], Key=key, Body=body)
    store.cache.clear_l1()
    assert (await store.stories.get(story.story_id, consistent=True)).content == story.content
    raw.put_object(Bucket=place["Bucket"], Key=key, Body=body[:-1] + b"!")
    with pytest.raises(Corrupt, match="not what was written"):
        await store.stories.get(story.story_id, consistent=True)
