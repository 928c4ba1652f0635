"""Vectors in backups: there is no feed, so an increment reads everything and keeps what differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson

from storycore.backup.entries import Entry
from storycore.backup.items import read_vector, vector_item, vector_key
from storycore.backup.manifest import PortContent
from storycore.backup.sources.contract import Contents, Reached, Sink, Step
from storycore.errors import SchemaMismatch, Unsupported
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex, VectorItem

__all__ = ["VectorSource"]

_PAGE = 500


class VectorSource:
    """The items of a vector index, of all namespaces.

    Args:
        index: the open port.
        env: time.
    """

    name = str(PortName.VECTORS)
    forgets = True

    def __init__(self, index: VectorIndex, env: Environment) -> None:
        self._index = index
        self._env = env

    async def read(self, sink: Sink) -> Reached:
        """All items; of one moment where nothing was written meanwhile, as far as counts tell, and ``fuzzy`` always."""
        begun = self._env.clock.now()
        async for entries in self.scan():
            await sink.base([Step.of(entry) for entry in entries])
        spec = self._index.spec
        facts: dict[str, str | int] = {"dimension": spec.dimension, "metric": spec.metric}
        if spec.embedding is not None:
            facts["embedding"] = spec.embedding
        return Reached(begun, "fuzzy", facts=facts, reason="a vector index has no change feed")

    async def tells(self, parent: PortContent) -> bool:
        """Never: there is no feed."""
        return False

    async def read_changes(self, sink: Sink, parent: PortContent) -> Reached:
        """Not here: it is never asked for."""
        raise Unsupported("A vector index has no change feed.", feature="vectors.changes")

    def check(self, facts: Mapping[str, str | int]) -> None:
        """Refuse vectors of another model than the index's.

        Raises:
            SchemaMismatch: dimension, metric or model differ.
        """
        spec = self._index.spec
        own = {"dimension": spec.dimension, "metric": spec.metric, "embedding": spec.embedding}
        different = [name for name, value in facts.items() if own.get(name) not in (None, value)]
        if different:
            raise SchemaMismatch(
                f"The backup's vectors have another {' and '.join(different)} than the index that is to take them; "
                "restore into an index that was made for them, or leave the vectors out and ingest again."
            )

    def is_live(self, entry: Entry) -> bool:
        """No vector ends by itself."""
        return True

    def kind(self, entry: Entry) -> str:
        """The namespace."""
        namespace: str = orjson.loads(entry.key)[0]
        return namespace

    async def scan(self) -> AsyncIterator[list[Entry]]:
        """All items, by namespace and id."""
        for namespace in sorted((await self._index.stats()).counts):
            after = None
            while True:
                page = await self._index.scan(after=after, limit=_PAGE, namespace=namespace)
                yield [_entry(item, namespace) for item in page.items]
                if (after := page.next) is None:
                    break

    async def held(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The items under these keys."""
        found: dict[bytes, bytes] = {}
        for namespace, ids in _by_namespace(keys).items():
            for item in await self._index.fetch(ids, namespace=namespace):
                if item is not None:
                    found[vector_key(namespace, item.id)] = vector_item(item, namespace=namespace)
        return [found.get(key) for key in keys]

    async def apply(self, entries: Sequence[Entry], contents: Contents, *, overwrite: bool) -> list[bool]:
        """Upsert and delete items."""
        there = [None] * len(entries) if overwrite else await self.held([entry.key for entry in entries])
        done = [held is None or entry.item is None for held, entry in zip(there, entries, strict=True)]
        wanted = [entry for entry, is_wanted in zip(entries, done, strict=True) if is_wanted]
        puts: defaultdict[str, list[VectorItem]] = defaultdict(list)
        for entry in wanted:
            if entry.item is not None:
                namespace, item = read_vector(entry.item)
                puts[namespace].append(item)
        for namespace, items in puts.items():
            await self._index.upsert(items, namespace=namespace)
        for namespace, ids in _by_namespace([entry.key for entry in wanted if entry.item is None]).items():
            await self._index.delete(ids=ids, namespace=namespace)
        return done


def _entry(item: VectorItem, namespace: str) -> Entry:
    return Entry(vector_key(namespace, item.id), vector_item(item, namespace=namespace))


def _by_namespace(keys: Sequence[bytes]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        namespace, id_ = orjson.loads(key)
        found[namespace].append(id_)
    return found
