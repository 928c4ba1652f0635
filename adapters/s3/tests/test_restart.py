"""A server that ends and begins again in the middle of an upload."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from storycore_s3 import testing

from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ABSENT
from storycore.ports.lifecycle import PortName
from storycore.testing.blob_examples import content_of
from storycore.testing.harness import Harness

PART = bytes(range(256)) * 4096 * 6


class Server:
    """A server that keeps its folder and its port when it is restarted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = testing._ports(0)
        self.settings = {
            "endpoint_url": f"http://127.0.0.1:{self._ports[0]}",
            "region": "us-east-1",
            "access_key_id": "storycore",
            "secret_access_key": "0123456789abcdef",
        }
        self._process = self._started()

    def restart(self) -> None:
        """End it and begin again."""
        self.stop()
        self._process = self._started()

    def stop(self) -> None:
        """End it."""
        testing._stop(self._process)

    def _started(self) -> Popen[bytes]:
        secret = self.settings["secret_access_key"]
        process = testing._started(testing._program(), self._ports, self._folder, secret)
        testing._wait(process, self.settings, self._folder / "log")
        return process


@pytest.fixture
def server_of_its_own(tmp_path: Path) -> Iterator[Server]:
    """A server that may be restarted."""
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.skipif("STORYCORE_SLOW" not in os.environ, reason="takes twelve seconds; set STORYCORE_SLOW=1 to run it")
async def test_an_upload_goes_on_when_the_server_is_back(tmp_path: Path, server_of_its_own: Server) -> None:
    """Parts that were under way are sent again, and those before them are not lost."""
    patient = {"keys": "portable", "part_bytes": 5 * 1024 * 1024, "retry_base_ms": 200, "max_attempts": 30}
    harness = Harness(PortName.BLOBS, "s3", patient, tmp_path, served=server_of_its_own.settings)
    store: BlobStore = await harness.started()

    async def content() -> AsyncIterator[bytes]:
        yield PART
        yield PART
        await asyncio.to_thread(server_of_its_own.restart)
        yield PART

    info = await store.put("a", content(), when=ABSENT)
    assert (await store.head("a"), await content_of(store, "a")) == (info, PART * 3)
    await store.close()
