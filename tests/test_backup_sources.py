"""Ports without a feed: an increment keeps what differs and what vanished, and what is restored is what was there."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Selection, plan_restore, restore
from storycore.backup.sources.vectors import VectorSource
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness

KEYS = Passphrase("correct horse", 10)
ENV = Environment(clock=ManualClock(datetime(2026, 11, 22, 2, tzinfo=UTC)))


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), ENV))
    async with blobs:
        yield Archive(blobs, KEYS, ENV)


async def index(adapter: str, path: Path) -> VectorIndex:
    """An empty index of three dimensions."""
    options = {"dimension": 3, **({"path": str(path / "vectors.db")} if adapter == "faiss" else {})}
    opened: VectorIndex = await Harness(PortName.VECTORS, adapter, options, path).started()
    return opened


def item(number: int, x: int = 1) -> VectorItem:
    return VectorItem(f"i{number}", array("f", [1, number, x]), {"x": x, "tags": ["a", "b"][: x % 3]})


async def state(store: VectorIndex) -> dict[tuple[str, str], VectorItem]:
    """All items of all namespaces."""
    found = {}
    for namespace in (await store.stats()).counts:
        page = await store.scan(limit=1000, namespace=namespace)
        found.update({(namespace, each.id): each for each in page.items})
    return found


async def backup(archive: Archive, store: VectorIndex, parent: Manifest | None = None) -> Manifest:
    chain = () if parent is None else await archive.chain(parent.id)
    return await make_backup(archive, [VectorSource(store, ENV)], kind="manual", store="s", chain=chain)


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "backup"]), st.integers(0, 6), st.integers(1, 4), st.booleans()),
    max_size=20,
)


@settings(max_examples=20, deadline=None)
@given(STEPS, st.sampled_from(["memory", "faiss"]), st.sampled_from(["memory", "faiss"]))
async def test_every_backup_of_an_index_brings_its_state_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, bool]], one: str, two: str
) -> None:
    """Full and increments over replaced and removed vectors of two namespaces, between any two adapters."""
    path = tmp_path_factory.mktemp("index")
    blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), ENV))
    made: list[tuple[Manifest, dict[tuple[str, str], VectorItem]]] = []
    async with blobs, await index(one, path / "source") as source:
        archive = Archive(blobs, KEYS, ENV)
        for step, number, x, is_other in [*steps, ("backup", 0, 1, False)]:
            namespace = "other" if is_other else "default"
            if step == "put":
                await source.upsert([item(number, x)], namespace=namespace)
            elif step == "delete":
                await source.delete(ids=[f"i{number}"], namespace=namespace)
            else:
                made.append((await backup(archive, source, made[-1][0] if made else None), await state(source)))
        for number, (manifest, expected) in enumerate(made):
            async with await index(two, path / f"target{number}") as target:
                await restore(archive, await archive.chain(manifest.id), [VectorSource(target, ENV)], Selection())
                assert expected == await state(target)
                again = await backup(archive, target)
                assert again.ports["vectors"].digest == manifest.ports["vectors"].digest


async def test_an_increment_holds_only_what_differs(tmp_path: Path, archive: Archive) -> None:
    """Of fifty vectors one replaced, one added and two removed are four entries."""
    async with await index("memory", tmp_path) as store:
        await store.upsert([item(n) for n in range(50)])
        full = await backup(archive, store)
        await store.upsert([item(3, 2), item(50)])
        await store.delete(ids=["i4", "i5"])
        increment = (await backup(archive, store, full)).ports["vectors"]
        assert (increment.base, sum(part.entries for part in increment.changes), increment.items) == ((), 4, 49)


async def test_a_merge_skips_or_overwrites_vectors(tmp_path: Path, archive: Archive) -> None:
    """What is there stays with ``skip``, and the plan tells it beforehand."""
    async with await index("memory", tmp_path / "a") as source, await index("memory", tmp_path / "b") as target:
        await source.upsert([item(1), item(2), item(3)])
        chain = [await backup(archive, source)]
        await target.upsert([item(2), item(3, 2), item(4)])
        to = [VectorSource(target, ENV)]
        plan = (await plan_restore(archive, chain, to, Selection()))["vectors"]
        assert (plan.added, plan.unchanged, plan.replaced, plan.removed) == tuple({"default": 1} for _ in range(4))
        await restore(archive, chain, to, Selection(), mode="merge", on_conflict="skip")
        assert (await target.fetch(["i1", "i3"])) == [item(1), item(3, 2)]
        await restore(archive, chain, to, Selection(), mode="merge", on_conflict="overwrite")
        assert (await target.fetch(["i3", "i4"])) == [item(3), item(4)]
