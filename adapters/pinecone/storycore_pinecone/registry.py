"""The types of metadata fields, kept as records in a namespace of the adapter's own.

One record for each field of each namespace: two processes that fix different fields never overwrite each other. The
service shows a write only after a while, so what this process wrote, read or removed lately counts more than a read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, cast

from storycore.errors import InvalidKey, SchemaConflict
from storycore.ports.environment import Environment
from storycore.ports.field_types import FieldType, fixed_types
from storycore.ports.vectors import IndexSpec, Metadata
from storycore_pinecone._calls import Calls, unless_missing
from storycore_pinecone._client import OneIndex
from storycore_pinecone._wire import ids_in_batches, lines_of_ids

__all__ = ["RESERVED", "Registry", "require_free"]

RESERVED: Final = "__storycore__"
"""The namespace with the adapter's own records."""

_SETTLED: Final = timedelta(seconds=60)
"""After so long a read is believed when it no longer shows what was seen before."""
_NAMESPACES: Final = 4_096
_FORGOTTEN: Final = 100_000
_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A field's type, the stamp of the record that fixed it, and when this process learnt of it."""

    type: FieldType
    stamp: str
    at: datetime


def require_free(namespace: str) -> None:
    """Raise ``InvalidKey`` for the namespace that is the adapter's own."""
    if namespace == RESERVED:
        raise InvalidKey(f"The namespace {RESERVED!r} holds the adapter's own records; choose another name.")


class Registry:
    """The field types of all namespaces, as far as this process has met them.

    Args:
        index: the client.
        calls: sends requests.
        spec: what is declared counts everywhere.
        env: names and dates what is fixed.
    """

    def __init__(self, index: OneIndex, calls: Calls, spec: IndexSpec, env: Environment) -> None:
        self._index = index
        self._calls = calls
        self._declared = spec.fields
        self._values = [1.0] + [0.0] * (spec.dimension - 1)
        self._env = env
        self._known: OrderedDict[str, dict[str, _Fixed]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._turn = asyncio.Lock()

    async def fix(self, namespace: str, written: Sequence[Metadata]) -> None:
        """Fix the types of fields that are written for the first time.

        Args:
            namespace: where they are written.
            written: the metadata of the items that will be stored.

        Raises:
            SchemaConflict: a field has another type; nothing was written.
        """
        try:
            doubtful = {*fixed_types(self._types(namespace), written, namespace=namespace)}
        except SchemaConflict:  # unless another process has forgotten the types since
            doubtful = {name for metadata in written for name in metadata} - self._declared.keys()
        if doubtful:
            async with self._turn:
                await self._look_up(namespace, doubtful)
                added = fixed_types(self._types(namespace), written, namespace=namespace)
                await self._write(namespace, added)

    async def types(self, namespace: str, fields: Iterable[str]) -> Mapping[str, FieldType]:
        """The types of fields, of those that have one; what is not known here is looked up."""
        wanted = frozenset(fields)
        if unknown := wanted - self._types(namespace).keys():
            await self._look_up(namespace, unknown)
        return {field: type_ for field, type_ in self._types(namespace).items() if field in wanted}

    def adds(self, namespace: str, metadata: Metadata) -> bool:
        """Whether a write of the metadata may fix a type that this process does not know."""
        return not metadata.keys() <= self._types(namespace).keys()

    async def forget(self, namespace: str) -> None:
        """Drop the types of a namespace, for everybody."""
        async with self._turn:
            known = self._known.pop(namespace, {})
            ids = dict.fromkeys([*(_id(namespace, field) for field in known), *await self._listed(namespace)])
            records = await self._records(list(ids))
            stamps = [fixed.stamp for fixed in known.values()] + [stamp for _, _, stamp in records]
            self._forgotten.update(dict.fromkeys(stamps))
            while len(self._forgotten) > _FORGOTTEN:
                self._forgotten.popitem(last=False)
            removals = [
                unless_missing(partial(self._index.remove, {"ids": batch}, namespace=RESERVED))
                for batch in ids_in_batches(list(ids))
            ]
            await self._calls.send_all(removals, writes=True)

    def _types(self, namespace: str) -> dict[str, FieldType]:
        held = self._known.get(namespace, {})
        return {**{field: fixed.type for field, fixed in held.items()}, **self._declared}

    async def _look_up(self, namespace: str, fields: Iterable[str]) -> None:
        """Learn what the index says of the fields."""
        asked = {_id(namespace, field): field for field in fields}
        found = {field: (type_, stamp) for field, type_, stamp in await self._records(list(asked))}
        now, held = self._env.clock.now(), self._space(namespace)
        for field in asked.values():
            if field in found:
                type_, stamp = found[field]
                if stamp not in self._forgotten:
                    held[field] = _Fixed(type_, stamp, now)
            elif field in held and now - held[field].at > _SETTLED:
                del held[field]

    async def _write(self, namespace: str, added: Mapping[str, FieldType]) -> None:
        now, stamp = self._env.clock.now(), self._env.new_id()
        fixed = {field: _Fixed(type_, f"{stamp}.{place}", now) for place, (field, type_) in enumerate(added.items())}
        records = [
            {
                "id": _id(namespace, field),
                "values": self._values,
                "metadata": {"namespace": namespace, "field": field, "type": each.type, "stamp": each.stamp},
            }
            for field, each in fixed.items()
        ]
        batches = [records[start : start + _LISTED] for start in range(0, len(records), _LISTED)]
        requests = [partial(self._index.upsert, vectors=batch, namespace=RESERVED) for batch in batches]
        await self._calls.send_all(requests, writes=True)
        self._space(namespace).update(fixed)

    def _space(self, namespace: str) -> dict[str, _Fixed]:
        held = self._known.setdefault(namespace, {})
        self._known.move_to_end(namespace)
        if len(self._known) > _NAMESPACES:
            self._known.popitem(last=False)
        return held

    async def _records(self, ids: Sequence[str]) -> list[tuple[str, FieldType, str]]:
        """Field, type and stamp of the records that there are."""
        requests = [partial(self._index.fetch, ids=line, namespace=RESERVED) for line in lines_of_ids(ids)]
        answers = await self._calls.send_all(requests)
        found = [record.metadata or {} for answer in answers for record in answer.vectors.values()]
        return [(str(each["field"]), cast("FieldType", each["type"]), str(each["stamp"])) for each in found]

    async def _listed(self, namespace: str) -> list[str]:
        """The ids of the records of a namespace."""
        prefix, token = f"{_digest(namespace)}.", None
        ids: list[str] = []
        while True:
            request = partial(
                self._index.list_paginated, prefix=prefix, limit=_LISTED, pagination_token=token, namespace=RESERVED
            )
            page = await self._calls.send(request)
            ids += [each.id for each in page.vectors if each.id is not None]
            token = page.pagination.next if page.pagination is not None else None
            if not token:
                return ids


def _id(namespace: str, field: str) -> str:
    return f"{_digest(namespace)}.{_digest(field)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
