"""What backups ask of an S3 server where there are many of them: requests, seconds and CPU of each deed.

    python benchmarks/backups_many.py [--backups 400] [--json]

One small full backup a day, by a clock that is moved, in a bucket of a local server; then the deeds in turn. Requests
are those that boto3 sends. The server runs on the same machine, so seconds say little and requests much.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.client import BaseClient

from storycore.backup.archive import Archive
from storycore.backup.keys import Passphrase
from storycore.backup.manifest import Manifest
from storycore.backup.retention import Retention
from storycore.backup.service import Backups
from storycore.backup.sources import Source
from storycore.backup.sources.entities import EntitySource
from storycore.layers.checks import checked
from storycore.memory.config import MemoryConfig
from storycore.memory.entities import open_entities
from storycore.plugins import Plugins
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock

KEYS = Passphrase("a passphrase of a benchmark", 10)


class Requests:
    """Counts what boto3 sends from here on."""

    def __init__(self) -> None:
        self.count = 0
        send = BaseClient._make_api_call

        def counted(self_: BaseClient, /, operation_name: Any, api_params: Any) -> Any:  # Any: boto3's own
            self.count += 1
            return send(self_, operation_name, api_params)

        BaseClient._make_api_call = counted  # pyright: ignore[reportAttributeAccessIssue]  # the name of its self


@asynccontextmanager
async def backups(clock: ManualClock) -> AsyncIterator[tuple[EntityStore, Backups]]:
    """A store in memory, and its backups in a bucket of a local server."""
    env, adapter = Environment(clock=clock), Plugins().adapter("s3")
    with adapter.serving() as place:
        config = adapter.config_for(PortName.BLOBS).model_validate({"bucket": "storycore-bench", **place})
        blobs = checked(PortName.BLOBS, adapter.opener(PortName.BLOBS)(config, env))
        await blobs.ensure()
        async with blobs, checked(PortName.ENTITIES, open_entities(MemoryConfig(), env)) as store:
            archive, retention = Archive(blobs, KEYS, env), Retention(last=3, daily=7, weekly=5, monthly=12)
            sources = [EntitySource(store, env)]
            yield store, Backups(archive, sources, env, store="bench", scratch=no_scratch, retention=retention)


@asynccontextmanager
async def no_scratch(path: Path, manifest: Manifest) -> AsyncIterator[Sequence[Source]]:
    """Nothing here is restored."""
    raise AssertionError("no verification here restores")
    yield ()


async def measured(count: int) -> dict[str, dict[str, float]]:
    """Each deed once, behind so many days with a backup each."""
    clock, requests = ManualClock(datetime(2026, 1, 1, 2, tzinfo=UTC)), Requests()
    async with backups(clock) as (store, made):
        for day in range(count):
            await store.write([Put(key=Key("p", str(day)), kind="note", body=b"{}" * 50)])
            await made.create("daily", full=True)
            clock.advance(timedelta(days=1))
        deeds: dict[str, Callable[[], Awaitable[object]]] = {
            "create": made.create,
            "create, full": lambda: made.create(full=True),
            "show": made.show,
            "list": made.list,
            "prune, dry run": lambda: made.prune(dry_run=True),
            "prune": made.prune,
        }
        return {name: await timed(deed, requests) for name, deed in deeds.items()}


async def timed(deed: Callable[[], Awaitable[object]], requests: Requests) -> dict[str, float]:
    """Requests, seconds and CPU seconds of one deed."""
    before, began, cpu = requests.count, time.perf_counter(), time.process_time()
    await deed()
    taken = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    return {"requests": requests.count - before, **{name: round(value, 2) for name, value in taken.items()}}


def main() -> None:
    """Measure and tell."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--backups", type=int, default=400)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    found = asyncio.run(measured(given.backups))
    if given.json:
        print(json.dumps({"backups": given.backups, "deeds": found}))
        return
    print(f"{given.backups} backups, one a day")
    for name, each in found.items():
        print(f"{name:16} {each['requests']:6.0f} requests {each['seconds']:7.2f} s {each['cpu_seconds']:7.2f} s CPU")


if __name__ == "__main__":
    main()
