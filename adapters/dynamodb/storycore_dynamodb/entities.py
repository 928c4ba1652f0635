"""Entities in one DynamoDB table: one request for each single write, transactions for atomic ones."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from importlib.metadata import version
from urllib.parse import urlsplit

from storycore.errors import StorycoreError, Unavailable
from storycore.ports.capabilities import Capabilities, Durability, Guarantees, Support
from storycore.ports.entities import (
    ChangePage,
    FeedPosition,
    Key,
    Position,
    QueryPlan,
    Record,
    RecordPage,
    Segment,
    Write,
    Written,
)
from storycore.ports.environment import Environment
from storycore.ports.instants import micros
from storycore.ports.lifecycle import AdapterInfo, Health, Lifecycle, Provision
from storycore.ports.records import settled
from storycore_dynamodb._atomic import AtomicWriter
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._drift import differences
from storycore_dynamodb._feed import StreamFeed
from storycore_dynamodb._lean import LeanTransport
from storycore_dynamodb._provision import Provisioner
from storycore_dynamodb._reads import Reader
from storycore_dynamodb._sweep import Sweeper
from storycore_dynamodb._table import table_definition
from storycore_dynamodb._transport import Refused, Transport
from storycore_dynamodb._usage import Consumed
from storycore_dynamodb._versions import Versions
from storycore_dynamodb._writes import Writer
from storycore_dynamodb.config import DynamodbConfig

__all__ = ["DynamodbEntityStore", "open_entities"]

_FEED_SECONDS = 24 * 3600
"""How long a stream keeps changes (Amazon DynamoDB: data retention limit for DynamoDB Streams)."""


def open_entities(config: DynamodbConfig, env: Environment) -> DynamodbEntityStore:
    """The entity store of the adapter ``dynamodb``."""
    return DynamodbEntityStore(config, env)


class DynamodbEntityStore(Lifecycle):
    """An entity store in one DynamoDB table, which any number of machines may have open and write to.

    Args:
        config: the table and how it is reached.
        env: the clock, ids and randomness.
        transport: another way to the service than the settings name.
    """

    def __init__(self, config: DynamodbConfig, env: Environment, transport: Transport | None = None) -> None:
        self._config = config
        self._env = env
        self._transport: Transport = _transport_of(config) if transport is None else transport
        self._calls = Calls(self._transport, config, env)
        self._versions = Versions(env.clock)
        self._reader = Reader(self._calls, env, eventual=config.eventual_reads)
        self._writer = Writer(self._calls, self._versions, env)
        self._atomic = AtomicWriter(self._calls, self._reader, self._versions, env)
        self._provisioner = Provisioner(self._calls, config)
        self._sweeper = Sweeper(self._calls)
        self._feed = StreamFeed(config.table, self._calls.send)
        self._opening = asyncio.Lock()
        self._info = AdapterInfo("dynamodb", version("storycore-dynamodb"), _place(config))

    @property
    def info(self) -> AdapterInfo:
        """The adapter's name and version, the table and where it is."""
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        """Batches of reads, an account of queries; a change feed where the stream is on."""
        features = {"entities.batch_get": Support.NATIVE, "entities.explain": Support.NATIVE}
        if self._config.stream:
            features["entities.changes"] = Support.NATIVE
        guarantees = Guarantees(
            Durability.REPLICATED, read_after_write=not self._config.eventual_reads, multi_process=True
        )
        feed = {"entities.changes_lag_ms": self._config.stream_lag_ms, "entities.changes_kept_seconds": _FEED_SECONDS}
        limits = feed if self._config.stream else {}
        return Capabilities(features=features, limits=limits, guarantees=guarantees)

    async def open(self) -> None:
        """Connect; the table must exist and be of this layout."""
        async with self._opening:
            if not self._opened:
                async with AsyncExitStack() as undo:
                    await self._connect(undo)
                    self._versions.saw(await self._provisioner.require_usable())
                    undo.pop_all()
                self._owner = os.getpid()
                self._opened = True

    async def ensure(self, *, dry_run: bool = False) -> Provision:
        """Make the table, or what it lacks: indexes, stream, time to live, continuous backups, the layout's mark."""
        async with AsyncExitStack() as stack:
            if self._opened:
                self._require_open()
            else:
                await stack.enter_async_context(self._opening)
                await self._connect(stack)
            actions = await self._provisioner.ensure(dry_run=dry_run)
            return Provision(tuple(actions), tuple(await self._provisioner.differences()))

    async def health(self, *, deep: bool = False) -> Health:
        """Ask the service for the table; ``deep`` also compares it with its definition."""
        began = time.perf_counter()
        try:
            self._require_open()
            table = await self._provisioner.description()
        except StorycoreError as exc:
            return Health(ok=False, detail=exc.message)
        latency_ms = (time.perf_counter() - began) * 1000
        detour = getattr(self._transport, "detour", None)
        drifted = differences(table_definition(self._config), table) if deep else []
        facts: dict[str, str | int | float | bool] = {
            "status": str(table["TableStatus"]),
            "items": int(table.get("ItemCount", 0)),
            "size_bytes": int(table.get("TableSizeBytes", 0)),
            "transport": self._config.transport if detour is None else f"boto3, because {detour}",
            **self._calls.usage.facts(),
        }
        is_ok = table["TableStatus"] in ("ACTIVE", "UPDATING")
        detail = "; ".join(drifted) or ("" if is_ok else f"The table is {facts['status']}; wait until it is active.")
        return Health(ok=is_ok, detail=detail, latency_ms=latency_ms, facts=facts)

    async def close(self) -> None:
        """Close the connections; requests that are under way come to their end."""
        if self._opened:
            self._opened = False
            self._natives = ()
            if os.getpid() != self._owner:
                return
            try:
                if (version_ahead := self._versions.ahead) is not None:
                    with suppress(StorycoreError):  # without the mark, versions rest on the clock, as they did
                        await self._provisioner.remember(version_ahead)
            finally:
                await self._transport.close()

    def consumed(self) -> dict[str, Consumed]:
        """Calls and capacity units by operation of the service, since this store was made."""
        return self._calls.usage.by_operation()

    async def get(self, keys: Sequence[Key], *, consistent: bool = True) -> list[Record | None]:
        """The live records under ``keys``, a hundred in a request."""
        self._require_open()
        return await self._reader.get(keys, consistent=consistent) if keys else []

    async def write(self, writes: Sequence[Write], *, atomic: bool = False, token: str | None = None) -> list[Written]:
        """Apply writes: each for itself and at the same time, or all in one transaction."""
        self._require_open()
        if not atomic:
            if len(writes) == 1:  # a task costs as much as the request
                return settled([await self._outcome(writes[0])])
            return settled(await asyncio.gather(*(self._outcome(write) for write in writes)))
        return await self._atomic.apply(writes, token) if writes or token else []

    async def query(self, plan: QueryPlan) -> RecordPage:
        """Live records of one partition, in order; an index lags by a moment."""
        self._require_open()
        return await self._reader.query(plan)

    async def scan(self, segment: Segment, *, after: Position | None = None, limit: int = 100) -> RecordPage:
        """Live records of one segment."""
        self._require_open()
        return await self._reader.scan(segment, after=after, limit=limit)

    async def changes(self, after: FeedPosition | None = None, *, limit: int = 100) -> ChangePage:
        """The change feed behind ``after``: the table's stream, which is kept for 24 hours."""
        self._require_open()
        return await self._feed.changes(after, limit=limit)

    async def changes_end(self) -> FeedPosition:
        """The end of the table's stream, for which its shards are read to theirs."""
        self._require_open()
        return await self._feed.end(self._env.clock.now())

    async def explain(self, plan: QueryPlan) -> Mapping[str, object]:
        """The request that ``query(plan)`` would send now, as JSON; a start within the walk is told by its keys."""
        self._require_open()
        return self._reader.explain(plan)

    async def expire(self, now: datetime, *, budget: int = 1000, dry_run: bool = False) -> int:
        """Scan the table for what has expired and remove it, unless the settings leave that to AWS."""
        self._require_open()
        if not self._config.sweeps:
            return 0
        at = micros(min(now, self._env.clock.now()))
        return await (self._sweeper.due(at, budget) if dry_run else self._sweeper.sweep(at, budget))

    def _require_open(self) -> None:
        super()._require_open()
        if os.getpid() != self._owner:  # a child has none of its parent's threads, and would wait for ever
            raise Unavailable(
                f"The table {self._config.table!r} was opened before this process was forked; "
                "open a store of its own in each process."
            )

    async def _outcome(self, write: Write) -> Written | StorycoreError:
        try:
            return await self._writer.apply(write)
        except StorycoreError as exc:
            return exc

    async def _connect(self, undo: AsyncExitStack) -> None:
        undo.push_async_callback(self._transport.close)
        try:
            client = await self._transport.open()
        except Refused as exc:
            raise self._calls.translated(exc) from exc
        self._natives = (client, self._calls.usage)


def _place(config: DynamodbConfig) -> str:
    where = ", ".join(part for part in (config.region, _address(config.endpoint_url)) if part is not None)
    return f"{config.table} ({where})" if where else config.table


def _address(url: str | None) -> str | None:
    """A URL without the name and the password that may stand in it."""
    if url is None:
        return None
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _transport_of(config: DynamodbConfig) -> Transport:
    """The way to the service that the settings name."""
    return LeanTransport(config) if config.transport == "lean" else BotoTransport(config)
