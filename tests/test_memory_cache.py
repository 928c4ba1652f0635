"""The reference cache keeps the Cache contract, and its own bound."""

from __future__ import annotations

from pathlib import Path

from storycore.ports.lifecycle import PortName
from storycore.testing.cache import CacheSuite
from storycore.testing.cache_examples import item
from storycore.testing.harness import Harness


class TestMemoryCache(CacheSuite):
    adapter = "memory"


async def test_values_beyond_the_bound_are_evicted_oldest_first(tmp_path: Path) -> None:
    """The bound counts keys and values; a value that alone exceeds it is not kept."""
    store = await Harness(PortName.CACHE, "memory", {"max_bytes": 20}, tmp_path).started()
    await store.put([item("a", b"123456789"), item("b", b"123456789")])
    assert await store.get(["a", "b"]) == [b"123456789", b"123456789"]
    await store.put([item("c", b"1")])
    assert await store.get(["a", "b", "c"]) == [None, b"123456789", b"1"]
    await store.put([item("d", bytes(20))])
    assert await store.get(["a", "b", "c", "d"]) == [None] * 4
    await store.close()


async def test_replacing_a_value_frees_its_bytes(tmp_path: Path) -> None:
    """However often a key is put, it counts once."""
    store = await Harness(PortName.CACHE, "memory", {"max_bytes": 20}, tmp_path).started()
    for _ in range(5):
        await store.put([item("a", b"123456789"), item("b", b"1")])
    assert await store.get(["a", "b"]) == [b"123456789", b"1"]
    await store.close()
