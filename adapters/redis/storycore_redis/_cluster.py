"""The way to a Redis Cluster, through redis-py, which knows which node holds a key and follows keys that move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final

from redis import exceptions
from redis.asyncio.cluster import RedisCluster

from storycore_redis._connection import Command, Late, Lost, Refused
from storycore_redis._link import is_forgotten
from storycore_redis._scripts import Script
from storycore_redis.config import RedisConfig

__all__ = ["ClusterLink"]

_SCAN_STEP: Final = 1000
_AT_ONCE: Final = 32
"""How many commands are under way; each has a connection for itself."""
_CODES: Final[tuple[tuple[type[exceptions.RedisError], str], ...]] = (
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"),
)
"""redis-py takes the code off an answer; here it is put on again."""


class ClusterLink:
    """The way to all nodes, each command on its own; it hears no pushes."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._deadline = config.deadline_ms / 1000 or None
        self._client: RedisCluster | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Learn where which keys are."""
        config = self._config
        self._client = RedisCluster(
            host=config.host,
            port=config.port,
            username=config.username,
            password=config.password.get_secret_value() if config.password else None,
            ssl=config.tls,
            ssl_ca_certs=str(config.tls_ca_file) if config.tls_ca_file else None,
            ssl_certfile=str(config.tls_cert_file) if config.tls_cert_file else None,
            ssl_keyfile=str(config.tls_key_file) if config.tls_key_file else None,
            ssl_check_hostname=config.tls_check_hostname,
            socket_connect_timeout=config.connect_timeout_ms / 1000,
            max_connections=_AT_ONCE,
        )
        try:
            await self._in_time(self._client.initialize(), config.connect_timeout_ms / 1000)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def call(self, command: Command) -> Any:  # as the server answers
        """The answer to one command of one key, or of none by any node."""
        async with self._places:
            return await self._in_time(self._opened().execute_command(*command), self._deadline)

    async def calls(self, commands: Sequence[Command]) -> list[Any]:  # as the server answers
        """The answers to several at once."""
        return await asyncio.gather(*map(self.call, commands), return_exceptions=True)

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """The values, each from its node."""
        found: list[bytes | None] = await asyncio.gather(*(self.call(("GET", name)) for name in names))
        return found

    async def run(self, script: Script, keys: Sequence[Sequence[str]], args: Sequence[Command]) -> list[Any]:
        """Run a script on the node of each group of keys."""
        return await asyncio.gather(
            *(self._run(script, (len(group), *group, *given)) for group, given in zip(keys, args, strict=True)),
            return_exceptions=True,
        )

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names that fit on every primary, one after the other."""
        for node in self._opened().get_primaries():
            cursor: int | bytes = 0
            while True:
                asking = node.execute_command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_STEP)
                cursor, names = await self._in_time(asking, self._deadline)
                yield names
                if int(cursor) == 0:
                    break

    async def track(self) -> None:
        """Not offered."""
        raise Refused("NOPUSH a cluster does not tell changes")

    async def _run(self, script: Script, rest: Command) -> Any:  # as the script answers
        try:
            return await self.call(("EVALSHA", script.sha, *rest))
        except Refused as exc:
            if not is_forgotten(exc):
                raise
        return await self.call(("EVAL", script.text, *rest))

    def _opened(self) -> RedisCluster:
        if self._client is None:
            raise Lost("the store is closed", was_sent=False)
        return self._client

    async def _in_time(self, asking: Coroutine[Any, Any, Any], seconds: float | None) -> Any:  # as the server answers
        try:
            async with asyncio.timeout(seconds):
                return await asking
        except (TimeoutError, exceptions.TimeoutError) as exc:
            raise Late("the deadline has passed", was_sent=True) from exc
        except (exceptions.ConnectionError, exceptions.RedisClusterException, OSError) as exc:
            raise _lost_or_refused(exc) from exc
        except exceptions.RedisError as exc:
            raise _refused(exc) from exc


def _lost_or_refused(exc: Exception) -> Exception:
    """redis-py derives some refusals from errors of the connection."""
    known = any(isinstance(exc, kind) for kind, _ in _CODES)
    return _refused(exc) if known else Lost(str(exc), was_sent=True)


def _refused(exc: Exception) -> Refused:
    code = next((code for kind, code in _CODES if isinstance(exc, kind)), "")
    return Refused(f"{code} {exc}".strip())
