"""The caches that storycore's is measured beside; their versions are in ``benchmarks/peers/caching.txt``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Program", "peer", "redis_peers"]

TTL_SECONDS = 3600


@dataclass(frozen=True)
class Program:
    """One client of a server.

    Args:
        get: reads one key.
        get_many: reads several in one call.
        is_async: whether many tasks can use it at once.
    """

    get: Callable[[str], Awaitable[object]]
    get_many: Callable[[Sequence[str]], Awaitable[object]]
    is_async: bool = True


def peer(name: str) -> Any:  # peers have no precise types
    """A peer's module; without it the program ends and says how to bring the peers along."""
    try:
        return importlib.import_module(name)
    except ImportError:
        command = "uv run --with-requirements benchmarks/peers/caching.txt python"
        raise SystemExit(f"{name} is not installed. Run: {command} {' '.join(sys.argv)}") from None


@asynccontextmanager
async def redis_peers(place: Mapping[str, object], keys: Sequence[str], value: bytes) -> AsyncIterator[dict[str, Any]]:
    """The peers as ``Program`` by name, connected, each with all keys in a database of its own."""
    url = f"redis://:{place['password']}@{place['host']}:{place['port']}"
    async with AsyncExitStack() as stack:
        yield {
            "redis-py": await _redis_py(stack, f"{url}/1", keys, value),
            "valkey-glide": await _glide(stack, place, keys, value),
            "cashews": await _cashews(stack, f"{url}/3", keys, value),
            "aiocache": await _aiocache(stack, place, keys, value),
            "dogpile.cache": _dogpile(stack, f"{url}/5", keys, value),
        }


async def _redis_py(stack: AsyncExitStack, url: str, keys: Sequence[str], value: bytes) -> Program:
    client = await stack.enter_async_context(peer("redis.asyncio").Redis.from_url(url))
    await client.mset(dict.fromkeys(keys, value))
    return Program(client.get, client.mget)


async def _glide(stack: AsyncExitStack, place: Mapping[str, object], keys: Sequence[str], value: bytes) -> Program:
    glide = peer("glide")
    settings = glide.GlideClientConfiguration(
        [glide.NodeAddress(place["host"], int(str(place["port"])))],
        credentials=glide.ServerCredentials(password=place["password"]),
        database_id=2,
    )
    client = await glide.GlideClient.create(settings)
    stack.push_async_callback(client.close)
    await client.mset(dict.fromkeys(keys, value))
    return Program(client.get, client.mget)


async def _cashews(stack: AsyncExitStack, url: str, keys: Sequence[str], value: bytes) -> Program:
    cache = peer("cashews").Cache()
    cache.setup(url)
    await cache.init()
    stack.push_async_callback(cache.close)
    await cache.set_many(dict.fromkeys(keys, value), expire=TTL_SECONDS)
    return Program(cache.get, lambda some: cache.get_many(*some))


async def _aiocache(stack: AsyncExitStack, place: Mapping[str, object], keys: Sequence[str], value: bytes) -> Program:
    serializer = peer("aiocache.serializers").PickleSerializer()  # its own for bytes
    cache = peer("aiocache").Cache(
        peer("aiocache").Cache.REDIS,
        endpoint=place["host"],
        port=int(str(place["port"])),
        password=place["password"],
        db=4,
        serializer=serializer,
        pool_max_size=100,
    )
    stack.push_async_callback(cache.close)
    await cache.multi_set([(key, value) for key in keys], ttl=TTL_SECONDS)
    return Program(cache.get, cache.multi_get)


def _dogpile(stack: AsyncExitStack, url: str, keys: Sequence[str], value: bytes) -> Program:
    region = (
        peer("dogpile.cache")
        .make_region()
        .configure("dogpile.cache.redis", expiration_time=TTL_SECONDS, arguments={"url": url})
    )
    region.set_multi(dict.fromkeys(keys, value))
    stack.callback(region.backend.reader_client.close)

    async def get(key: str) -> object:
        return region.get(key)

    async def get_many(some: Sequence[str]) -> object:
        return region.get_multi(some)

    return Program(get, get_many, is_async=False)
