"""The types of metadata fields, kept as records in a namespace of the adapter's own.

One record for each field of each namespace, so that two processes that fix different fields never overwrite each
other; and one with the namespace's age, which grows when its types are forgotten: records of an earlier age are void.
The service shows a write only after a while, so what this process wrote counts even while a read does not show it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, cast

from storycore.errors import InvalidKey, SchemaConflict
from storycore.ports.environment import Environment
from storycore.ports.field_types import FieldType, fixed_types, type_of
from storycore.ports.filters import MetadataValue
from storycore.ports.vectors import IndexSpec, Metadata
from storycore_pinecone._calls import Calls, unless_missing
from storycore_pinecone._client import OneIndex
from storycore_pinecone._wire import lines_of_ids

__all__ = ["RESERVED", "Registry", "require_free"]

RESERVED: Final = "__storycore__"
"""The namespace with the adapter's own records."""

_NAMESPACES: Final = 4_096
_BATCH: Final = 50
"""Records of one write: well below 2 MB at the longest names and dimensions."""


_TURN: Final = 256
"""Items that are looked through before other tasks get a turn."""


@dataclass(slots=True)
class _Space:
    """What is known of a namespace: its age, the types of that age, and when the index was last asked."""

    age: int = 0
    types: dict[str, FieldType] = field(default_factory=dict)
    asked: datetime | None = None


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
        env: the clock.
        trust_seconds: for how long what is known is taken for true without asking.
    """

    def __init__(self, index: OneIndex, calls: Calls, spec: IndexSpec, env: Environment, *, trust_seconds: float):
        self._index = index
        self._calls = calls
        self._declared = spec.fields
        self._values = [1.0] + [0.0] * (spec.dimension - 1)
        self._clock = env.clock
        self._trust = timedelta(seconds=trust_seconds)
        self._spaces: OrderedDict[str, _Space] = OrderedDict()
        self._turn = asyncio.Lock()

    async def fix(self, namespace: str, written: Sequence[Metadata]) -> None:
        """Fix the types of fields that are written for the first time.

        Args:
            namespace: where they are written.
            written: the metadata of the items that will be stored.

        Raises:
            SchemaConflict: a field has another type; nothing was written.
        """
        fields = await _distinct(written)
        if await self.added(namespace, fields):
            async with self._turn:
                added = await self.added(namespace, fields)
                await self._write(namespace, added)

    async def added(self, namespace: str, written: Sequence[Metadata]) -> Mapping[str, FieldType]:
        """The types that a write would fix.

        Raises:
            SchemaConflict: a field has another type.
        """
        fields = {name for metadata in written for name in metadata} - self._declared.keys()
        if fields and not self._is_trusted(namespace, fields):
            await self._ask(namespace, fields)
        try:
            return fixed_types(self._types(namespace), written, namespace=namespace)
        except SchemaConflict:
            if not fields or not self._trust:
                raise
        await self._ask(namespace, fields)
        return fixed_types(self._types(namespace), written, namespace=namespace)

    async def types(self, namespace: str, fields: Iterable[str]) -> Mapping[str, FieldType]:
        """The types of fields, of those that have one; they are looked up unless what is known is trusted."""
        wanted = frozenset(fields)
        asked = wanted - self._declared.keys()
        if asked and not self._is_trusted(namespace, asked):
            await self._ask(namespace, asked)
        return {name: type_ for name, type_ in self._types(namespace).items() if name in wanted}

    async def forget(self, namespace: str) -> None:
        """Make the types of a namespace void, for everybody."""
        async with self._turn:
            await self._ask(namespace, ())
            age = self._space(namespace).age + 1
            await self._store([self._record(_age_id(namespace), {"namespace": namespace, "age": age})])
            self._spaces[namespace] = _Space(age, asked=self._clock.now())

    def _is_trusted(self, namespace: str, fields: Iterable[str]) -> bool:
        """Whether the index need not be asked: all fields are known, and it was asked lately."""
        space = self._space(namespace)
        if space.asked is None or not space.types.keys() >= {*fields}:
            return False
        return self._clock.now() - space.asked < self._trust

    def _types(self, namespace: str) -> dict[str, FieldType]:
        return {**self._space(namespace).types, **self._declared}

    async def _ask(self, namespace: str, fields: Iterable[str]) -> None:
        """Learn what the index says of the namespace's age and of fields; of another age, everything anew."""
        wanted = [*fields]
        found = await self._records(namespace, wanted)
        age = int(found.get(_age_id(namespace), {}).get("age", 0))
        space = self._space(namespace)
        if age > space.age:
            space = self._spaces[namespace] = _Space(age)
            found = await self._records(namespace, wanted)
        space.asked = self._clock.now()
        for name in wanted:
            if (held := found.get(_id(namespace, space.age, name))) is not None:
                space.types[name] = cast("FieldType", held["type"])

    async def _write(self, namespace: str, added: Mapping[str, FieldType]) -> None:
        space = self._space(namespace)
        await self._store(
            [
                self._record(_id(namespace, space.age, name), {"namespace": namespace, "field": name, "type": type_})
                for name, type_ in added.items()
            ]
        )
        space.types.update(added)

    async def _store(self, records: Sequence[Mapping[str, Any]]) -> None:
        batches = [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]
        requests = [partial(self._index.upsert, vectors=batch, namespace=RESERVED) for batch in batches]
        await self._calls.send_all(requests, writes=True)

    def _record(self, id_: str, metadata: Mapping[str, object]) -> Mapping[str, Any]:
        return {"id": id_, "values": self._values, "metadata": dict(metadata)}

    def _space(self, namespace: str) -> _Space:
        space = self._spaces.setdefault(namespace, _Space())
        self._spaces.move_to_end(namespace)
        if len(self._spaces) > _NAMESPACES:
            self._spaces.popitem(last=False)
        return space

    async def _records(self, namespace: str, fields: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The metadata of the namespace's records that there are, by id: that of its age, and those of fields."""
        age = self._space(namespace).age
        ids = [_age_id(namespace), *(_id(namespace, age, name) for name in fields)]
        requests = [
            unless_missing(partial(self._index.fetch, ids=line, namespace=RESERVED))
            for line in lines_of_ids(ids, len(self._values))
        ]
        answers = await self._calls.send_all(requests)
        return {id_: record.metadata or {} for answer in answers if answer for id_, record in answer.vectors.items()}


async def _distinct(written: Iterable[Metadata]) -> list[Metadata]:
    """One value of each field and type: large calls are looked through once, while other tasks get their turn."""
    found: dict[tuple[str, FieldType], MetadataValue] = {}
    for place, metadata in enumerate(written):
        if place % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        for name, value in metadata.items():
            found.setdefault((name, type_of(value)), value)
    return [{name: value} for (name, _), value in found.items()]


def _age_id(namespace: str) -> str:
    return f"{_digest(namespace)}.age"


def _id(namespace: str, age: int, name: str) -> str:
    return f"{_digest(namespace)}.{age}.{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
