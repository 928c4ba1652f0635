"""Pairs: what one adapter holds comes back from its backup in any other, at the edges of what a port takes."""

from __future__ import annotations

import random
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from storycore.backup.archive import Archive
from storycore.backup.index import Index, Mark, item_mark
from storycore.backup.keys import Passphrase
from storycore.backup.making import make_backup
from storycore.backup.manifest import Manifest
from storycore.backup.restoring import Selection, restore
from storycore.backup.scratch import sources_of
from storycore.backup.sources import Source
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.entities import FieldValue, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.events import Event
from storycore.ports.lifecycle import Port, PortName
from storycore.ports.vectors import Metadata, VectorItem
from storycore.testing.clock import ManualClock
from storycore.testing.harness import Harness
from storycore.testing.servers import served

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIELDS: Mapping[str, FieldValue] = {
    "empty": "",
    "text": 'é e\u0301 \x00 \U0010ffff \u2028 " \\',
    "largest": 10**38 - 1,
    "least": -(10**38) + 1,
    "word": 2**63,
    "below": -(2**63) - 1,
    "third": 1 / 3,
    "tiny": 1e-130,
    "huge": 9.99e125,
    "whole": 3.0,
    "minus": -0.0,
    "exact": Decimal("12345678901234567890123456789.012345678"),
    "small": Decimal("1E-130"),
    "large": Decimal("9.9999999999999999999999999999999999999E+125"),
    "yes": True,
    "no": False,
    "set": frozenset({"", "a", "é", "\x00", "x" * 500}),
    "a.b": "dot",
    "ä ö": 1,
}
KEYS = [
    Key("\x01", "\x00"),
    Key("a\nb", "c\nd"),
    Key('",null,{', '"\\'),
    Key("é", "e\u0301"),
    Key("e\u0301", "é"),
    Key("\U0010ffff", "\uffff"),
    Key("p" * 2048, "s" * 1024),
    Key("#" * 10, "~"),
    Key(" ", " "),
]


async def write_entities(port: Any) -> None:  # Any: each port's own type
    """Records with every key, type of field, expiry and body that is at an edge, and some that are gone."""
    bodies = [b"", b"\n", b"\x00" * 3, bytes(range(256)) * 100, random.Random(1).randbytes(200_000)]
    ends = [None, NOW + SECOND, NOW + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC), NOW - SECOND]
    await port.write([Put(key=key, kind="edge", body=b"{}") for key in KEYS])
    await port.write([Put(key=Key("bodies", str(n)), kind="b" * 60, body=each) for n, each in enumerate(bodies)])
    await port.write([Put(key=Key("ends", str(n)), kind="e", expires_at=each) for n, each in enumerate(ends)])
    await port.write([Put(key=Key("fields", "all"), kind="story~unique", fields=FIELDS, body=b"\xff\n{")])
    slots = {slot: Key(f"by {slot} é", "x" * slot) for slot in range(1, 9)}
    await port.write([Put(key=Key("listed", "in all"), kind="story~deleted", index_keys=slots)])


async def write_blobs(port: Any) -> None:  # Any: each port's own type
    """Blobs of odd names, and of lengths around what goes into an entry and into a frame."""
    names = (
        "..",
        "a/../b",
        "a/",
        "a//b",
        "é",
        "e\u0301",
        "CON",
        ".hidden",
        "a b+%2F&?#",
        "k" * 1000,
        "backups",
        "A",
        "a",
    )
    for name in names:
        await port.put(name, name.encode(), when=ANY, content_type="text/plain; charset=utf-8")
    for size in (0, 1, 65_536, 65_537, 1_048_576, 1_048_577):
        content = random.Random(size).randbytes(size)
        await port.put(f"sizes/{size}", content, when=ANY, metadata={"user-id": "~ ada !", "n": "1"})


async def write_vectors(port: Any) -> None:  # Any: each port's own type
    """Vectors with the least and the largest numbers, and metadata of each type."""
    edges = [(3.4e38, 0, 0), (1e-45, 1, 0), (-0.0, 1, 1), (1 / 3, -1 / 3, 1e-20)]
    metadata: Metadata = {"text": 'é \x00 "', "n": -(2**53), "share": 0.1, "is": True, "tags": ["", "b"], "empty": ""}
    items = [VectorItem(f"v {n}~", array("f", edge), metadata if n else {}) for n, edge in enumerate(edges)]
    for namespace in ("default", "other one", "n" * 500):
        await port.upsert(items, namespace=namespace)


async def write_events(port: Any) -> None:  # Any: each port's own type
    """Events of one moment, of the first and the last, and with data of each type."""
    data: dict[str, JsonValue] = {"é": [None, True, -(2**53), 1e-7, 1e300, "\x00", {"": []}], "long": "x" * 200_000}
    moments = (NOW, NOW, NOW, datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOW + timedelta(days=9))
    for n, at in enumerate(moments):
        await port.emit([Event(id=f"é \n {n}" + "x" * 100 * (n == 5), type="t é", at=at, subject="" if n % 2 else "ä")])
    await port.emit([Event(id="data", type="x" * 128, at=NOW, subject="s" * 512, data=data)])


WRITERS: Mapping[PortName, Callable[[Any], Any]] = {  # Any: each port's own type
    PortName.ENTITIES: write_entities,
    PortName.BLOBS: write_blobs,
    PortName.VECTORS: write_vectors,
    PortName.EVENTS: write_events,
}
ADAPTERS: Mapping[PortName, Sequence[str]] = {
    PortName.ENTITIES: ("memory", "sqlite", "dynamodb"),
    PortName.BLOBS: ("memory", "files", "s3"),
    PortName.VECTORS: ("memory", "faiss"),
    PortName.EVENTS: ("memory", "sqlite", "dynamodb"),
}
RING = [
    (port, one, two) for port, names in ADAPTERS.items() for one, two in zip(names, [*names[1:], names[0]], strict=True)
]
"""Each is once where a backup comes from and once where it goes: items are the same bytes wherever they come from."""


@asynccontextmanager
async def opened(port: PortName, adapter: str, path: Path, config: pytest.Config) -> AsyncIterator[tuple[Port, Source]]:
    """An empty port, and how backups see it."""
    path.mkdir()
    options: dict[str, object] = {"dimension": 3, "metric": "dot"} if port is PortName.VECTORS else {}
    harness = Harness(port, adapter, options, path, ManualClock(NOW), served=served(adapter, config))
    async with await harness.started() as made:
        [source] = sources_of({port: made}, Environment(clock=harness.clock))
        yield made, source


async def digest_of(source: Source, path: Path) -> tuple[int, str]:
    """Of all that a port holds now."""
    with Index(path / f"digest of {source.name}") as index:
        async for entries in source.scan():
            index.note([Mark(e.mark, item_mark(e.key, e.item)) for e in entries if e.item is not None], changed=False)
        return index.state(NOW)


@pytest.mark.parametrize(("port", "one", "two"), RING)
async def test_what_one_adapter_held_is_what_another_holds(
    port: PortName, one: str, two: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By the digest of the backup, and by that of another backup, which is made of what was restored."""
    env = Environment(clock=ManualClock(NOW))
    async with AsyncExitStack() as stack:
        blobs: BlobStore = checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env))
        archive = Archive(await stack.enter_async_context(blobs), Passphrase("correct horse", 10), env)
        origin, source = await stack.enter_async_context(opened(port, one, tmp_path / "one", request.config))
        await WRITERS[port](origin)
        made = [await make_backup(archive, [source], kind="manual", store="s")]
        made.append(await make_backup(archive, [source], kind="manual", store="s", chain=made))
        _, target = await stack.enter_async_context(opened(port, two, tmp_path / "two", request.config))
        await restore(archive, made, [target], Selection())
        made.append(await make_backup(archive, [target], kind="manual", store="t"))
        first, *others = [_state(each, port) for each in made]
        assert others == [first, first] == [await digest_of(target, tmp_path)] * 2
        assert first[0] > 0


def _state(manifest: Manifest, port: PortName) -> tuple[int, str]:
    return manifest.ports[port].items, manifest.ports[port].digest
