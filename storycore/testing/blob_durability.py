"""What a blob store promises beyond one process: blobs outlive it whole, and several processes may write."""

from __future__ import annotations

from typing import Final

import pytest

from storycore.errors import AlreadyExists, VersionConflict
from storycore.ports.blobs import BlobInfo, BlobMatches, BlobStore
from storycore.ports.capabilities import Durability
from storycore.ports.conditions import ABSENT, ANY
from storycore.testing.blob_examples import CONTENTS, METADATA, ODD_KEYS, content_of, walk
from storycore.testing.harness import Harness
from storycore.testing.processes import Child, Line, child

__all__ = ["BlobDurability"]

HERE: Final = "storycore.testing.blob_durability"


class BlobDurability:
    """The part of the BlobStore suite that closes, kills and races."""

    @pytest.mark.asyncio
    async def test_everything_is_there_after_opening_again(self, harness: Harness) -> None:
        """Contents, infos and versions outlive closing where durability is claimed."""
        store = await _durable(harness)
        for i, content in enumerate(CONTENTS):
            await store.put(ODD_KEYS[i], content, when=ANY, metadata=METADATA[i % len(METADATA)], content_type="a/b")
        before = await walk(store)
        await store.close()
        store = await harness.started()
        assert await walk(store) == before
        assert [await content_of(store, key) for key in ODD_KEYS[: len(CONTENTS)]] == CONTENTS
        await store.close()

    @pytest.mark.asyncio
    async def test_what_was_acknowledged_survives_a_kill(self, harness: Harness) -> None:
        """After a writer is killed acknowledged blobs are there, every blob is whole, and none is half written."""
        store = await _durable(harness)
        await store.close()
        acknowledged: dict[str, int] = {}
        for life in range(3):
            async with child(harness, f"{HERE}:_put_for_ever", 1000 * life) as writer:
                for _ in range(12):
                    key, number = await writer.hear()
                    acknowledged[key] = number
                await writer.kill()
        store = await harness.started()
        found = {one.key: one for one in await walk(store) if isinstance(one, BlobInfo)}
        for key, number in acknowledged.items():
            assert number <= int((await content_of(store, key))[:8]), key
        for key, info in found.items():
            content = await content_of(store, key)
            assert (len(content), content) == (info.size_bytes, content[:8] * (len(content) // 8))
        assert (await store.health(deep=True)).ok
        await store.close()

    @pytest.mark.asyncio
    async def test_of_several_processes_one_creates_a_blob(self, harness: Harness) -> None:
        """``ABSENT`` has exactly one winner for each key, and its content is what all then read."""
        store = await _shared(harness)
        async with (
            child(harness, f"{HERE}:_create", 30, "one") as one,
            child(harness, f"{HERE}:_create", 30, "two") as two,
        ):
            won = await _started([one, two])
        keys = [f"race/{i}" for i in range(30)]
        assert sorted(won[0] + won[1]) == sorted(keys)
        for key in keys:
            assert await content_of(store, key) == (b"one" if key in won[0] else b"two")
        await store.close()

    @pytest.mark.asyncio
    async def test_no_update_of_several_processes_is_lost(self, harness: Harness) -> None:
        """Counting up by reading and writing under ``BlobMatches`` loses no count."""
        store = await _shared(harness)
        await store.put("count", b"0", when=ABSENT)
        async with child(harness, f"{HERE}:_count", 15) as one, child(harness, f"{HERE}:_count", 15) as two:
            await _started([one, two])
        assert await content_of(store, "count") == b"30"
        await store.close()


async def _durable(harness: Harness) -> BlobStore:
    store: BlobStore = await harness.started()
    if store.capabilities.guarantees.durability is Durability.PROCESS:
        await store.close()
        pytest.skip("not claimed: durability beyond the process")
    return store


async def _shared(harness: Harness) -> BlobStore:
    store: BlobStore = await harness.started()
    if not store.capabilities.guarantees.multi_process:
        await store.close()
        pytest.skip("not claimed: several processes")
    return store


async def _started(children: list[Child]) -> list[list[str]]:
    """Start all at once, when all are ready, and give what each of them reports."""
    for one in children:
        assert await one.hear() == "ready"
    for one in children:
        one.say("go")
    return [await one.hear() for one in children]


async def _put_for_ever(store: BlobStore, line: Line, number: int) -> None:
    """Write, replace and copy blobs that repeat a growing number, and report each that is safe."""
    while True:
        number += 1
        content = b"%08d" % number * (1 + 20_000 * (number % 3))
        info = await store.put(f"kill/{number % 5}", content, when=ANY)
        line.say((info.key, number))
        info = await store.copy(info.key, f"kill/copy/{number % 5}", when=ANY)
        line.say((info.key, number))


async def _create(store: BlobStore, line: Line, count: int, name: str) -> None:
    """Try to be the first with each key, and report where that was so."""
    line.say("ready")
    line.hear()
    won: list[str] = []
    for i in range(count):
        try:
            won.append((await store.put(f"race/{i}", name.encode(), when=ABSENT)).key)
        except AlreadyExists:
            continue
    line.say(won)


async def _count(store: BlobStore, line: Line, times: int) -> None:
    """Count up, reading again whenever somebody else was faster."""
    line.say("ready")
    line.hear()
    done = 0
    while done < times:
        async with await store.get("count") as reader:
            number = int(await reader.read())
        try:
            await store.put("count", b"%d" % (number + 1), when=BlobMatches(reader.info.version))
        except VersionConflict:
            continue
        done += 1
    line.say([])
