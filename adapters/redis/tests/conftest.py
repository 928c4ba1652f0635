"""The local server that the tests of this folder share, a place on it for each test, and a faulty way to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from storycore.ports.cache import Cache
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served


class Proxy:
    """Passes bytes between clients and the server, until a test wants it otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self.connections = 0
        self.requests = 0
        self.passing = asyncio.Event()
        self.passing.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port, or on the one from before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut the present ones."""
        self._server.close()
        await self.cut()
        await self._server.wait_closed()

    async def cut(self) -> None:
        """End all connections at once."""
        for writer in self._writers:
            writer.transport.abort()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._writers.clear()

    def half_close(self) -> None:
        """Tell the clients that nothing more will come, and keep listening to them."""
        for writer in self._writers[::2]:
            writer.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        inner_reader, inner_writer = await asyncio.open_connection(*self.target)
        self._writers += [writer, inner_writer]
        for source, target in ((reader, inner_writer), (inner_reader, writer)):
            pump = asyncio.create_task(self._pump(source, target, gated=target is writer))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, gated: bool) -> None:
        try:
            while data := await source.read(65536):
                if gated:
                    await self.passing.wait()
                else:
                    self.requests += 1
                target.write(data)
        except ConnectionError:
            pass
        finally:
            target.close()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Mapping[str, object]:
    """The settings that lead to the server; the conformance suite uses the same one."""
    return served("redis", request.config)


@pytest.fixture
def harness(tmp_path: Path, server: Mapping[str, object]) -> Harness:
    """A namespace that nobody else has, and a clock that stands still."""
    return Harness(PortName.CACHE, "redis", {}, tmp_path, served=server)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[Cache]:
    """An open cache, straight to the server."""
    made: Cache = await harness.started()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def proxy(server: Mapping[str, object]) -> AsyncIterator[Proxy]:
    """A way to the server that can be disturbed."""
    made = Proxy(str(server["host"]), int(str(server["port"])))
    await made.start()
    yield made
    made.passing.set()
    await made.stop()


@pytest_asyncio.fixture
async def far(harness: Harness, proxy: Proxy) -> AsyncIterator[Cache]:
    """An open cache in the same place, through the proxy."""
    made: Cache = await harness.started(host="127.0.0.1", port=proxy.port, stall_timeout_ms=60_000)
    yield made
    await made.close()
