"""What a blob store promises about listings: order, prefixes, folding, pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import product

import pytest

from storycore.ports.blobs import BlobInfo, BlobStore
from storycore.ports.conditions import ANY
from storycore.testing.blob_examples import ODD_KEYS, walk

__all__ = ["BlobListing"]

TREE = ["a", "a-b", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a0", "b//c", "b/c/d", "b\u00e9/x", "c"]


class BlobListing:
    """The part of the BlobStore suite that lists."""

    @pytest.mark.asyncio
    async def test_an_empty_store_lists_nothing(self, store: BlobStore) -> None:
        """There is one page, it is empty, and nothing is left behind it."""
        page = await store.entries()
        assert (list(page.blobs), list(page.prefixes), page.next) == ([], [], None)

    @pytest.mark.asyncio
    async def test_keys_are_in_the_order_of_their_bytes(self, store: BlobStore) -> None:
        """Neither case nor accents nor slashes upset the order, and keys beyond the first plane come last."""
        for key in ODD_KEYS:
            await store.put(key, b"", when=ANY)
        assert _names(await walk(store)) == _ordered(ODD_KEYS)
        assert _names(await walk(store, limit=7)) == _ordered(ODD_KEYS)
        for prefix in ("a", "a/", "..", "/", "x" * 180, "é", "%", "^", "e", "a%2"):
            assert _names(await walk(store, prefix)) == _ordered(k for k in ODD_KEYS if k.startswith(prefix)), prefix

    @pytest.mark.asyncio
    async def test_a_prefix_is_text_and_no_folder(self, store: BlobStore) -> None:
        """Any beginning of a key finds it, also in the middle of a name; a whole key finds itself."""
        await _plant(store)
        for prefix in ("a", "a/", "a/b", "a/b/", "a/b/1", "b", "b\u00e9", "zzz", "a/b/1x"):
            assert _names(await walk(store, prefix)) == _ordered(k for k in TREE if k.startswith(prefix)), prefix

    @pytest.mark.asyncio
    async def test_a_listing_begins_behind_after(self, store: BlobStore) -> None:
        """``after`` is exclusive and need not be a key; with a prefix both hold."""
        await _plant(store)
        for prefix, after in product(
            ["", "a/", "b"], ["", "a", "a/", "a/1", "a/1x", "a0", "b/", "c", "zz", "\U0010ffff"]
        ):
            expected = _ordered(k for k in TREE if k.startswith(prefix) and k.encode() > after.encode())
            assert _names(await walk(store, prefix, after=after)) == expected, (prefix, after)

    @pytest.mark.asyncio
    async def test_a_delimiter_folds(self, store: BlobStore) -> None:
        """Keys that hold it behind the prefix appear as one common prefix; the others are blobs."""
        await _plant(store)
        page = await store.entries(delimiter="/")
        assert [blob.key for blob in page.blobs] == ["a", "a-b", "a0", "c"]
        assert list(page.prefixes) == ["a/", "b/", "b\u00e9/"]
        page = await store.entries("a/", delimiter="/")
        assert ([blob.key for blob in page.blobs], list(page.prefixes)) == (["a/", "a/1", "a/2"], ["a/b/"])
        page = await store.entries("a", delimiter="/")
        assert ([blob.key for blob in page.blobs], list(page.prefixes)) == (["a", "a-b", "a0"], ["a/"])
        page = await store.entries("b/", delimiter="/")
        assert ([blob.key for blob in page.blobs], list(page.prefixes)) == ([], ["b//", "b/c/"])

    @pytest.mark.asyncio
    async def test_any_text_may_be_a_delimiter(self, store: BlobStore) -> None:
        """One character or several, inside and across slashes."""
        await _plant(store)
        for prefix, delimiter, after in product(
            ["", "a", "a/", "b"], ["-", "b", "/b/", "a/", "\u00e9", "//"], [None, "a/"]
        ):
            found = _names(await walk(store, prefix, delimiter=delimiter, after=after))
            assert found == _folded(prefix, delimiter, after or ""), (prefix, delimiter, after)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 12])
    async def test_pages_add_up(self, store: BlobStore, limit: int) -> None:
        """Pages of any size give everything once and in order, folded or not; no page exceeds the limit."""
        await _plant(store)
        assert _names(await walk(store, limit=limit)) == _ordered(TREE)
        for prefix, delimiter in product(["", "a", "a/", "b/"], ["/", "b"]):
            found = _names(await walk(store, prefix, delimiter=delimiter, limit=limit))
            assert found == _folded(prefix, delimiter, ""), (prefix, delimiter)

    @pytest.mark.asyncio
    async def test_a_page_is_full_while_something_is_left(self, store: BlobStore) -> None:
        """``next`` is given where something is left, and the last page says that nothing is."""
        await _plant(store)
        page = await store.entries(limit=len(TREE) - 1)
        assert (len(page.blobs), page.next is None) == (len(TREE) - 1, False)
        rest = await store.entries(limit=len(TREE) - 1, after=page.next)
        assert ([blob.key for blob in rest.blobs], rest.next) == (["c"], None)
        assert (await store.entries(limit=1000)).next is None

    @pytest.mark.asyncio
    async def test_a_listing_of_more_than_a_page_goes_on(self, store: BlobStore) -> None:
        """Without a limit a page holds at most 1000."""
        keys = [f"many/{i:04}" for i in range(1003)]
        for start in range(0, len(keys), 100):
            await asyncio.gather(*(store.put(key, b"", when=ANY) for key in keys[start : start + 100]))
        page = await store.entries()
        assert (len(page.blobs), page.next is None) == (1000, False)
        assert [blob.key for blob in (await store.entries(after=page.next)).blobs] == keys[1000:]
        assert list((await store.entries(delimiter="/")).prefixes) == ["many/"]

    @pytest.mark.asyncio
    async def test_a_walk_goes_on_while_blobs_come_and_go(self, store: BlobStore) -> None:
        """What is there from beginning to end is listed once, whatever is written and deleted between the pages."""
        await _plant(store)
        first = await store.entries(limit=5)
        await store.delete([first.blobs[-1].key, "a/b/1"])
        await store.put("a/000", b"", when=ANY)
        await store.put("a/b/3", b"", when=ANY)
        rest = await walk(store, after=first.next)
        assert _names(rest) == ["a/b/2", "a/b/3", "a0", "b//c", "b/c/d", "b\u00e9/x", "c"]


async def _plant(store: BlobStore) -> None:
    for key in TREE:
        await store.put(key, key.encode(), when=ANY)


def _names(found: list[BlobInfo | str]) -> list[str]:
    return [one if isinstance(one, str) else one.key for one in found]


def _ordered(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=str.encode)


def _folded(prefix: str, delimiter: str, after: str) -> list[str]:
    names: set[str] = set()
    for key in TREE:
        head, found, _ = key.removeprefix(prefix).partition(delimiter)
        if key.startswith(prefix):
            names.add(prefix + head + found)
    return _ordered(name for name in names if name.encode() > after.encode())
