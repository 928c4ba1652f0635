"""The local S3 that all tests of this folder share, an empty place on it for each test, and a way past the adapter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config

from storycore.errors import Unavailable
from storycore.ports.blobs import BlobStore
from storycore.ports.lifecycle import PortName
from storycore.testing.harness import Harness
from storycore.testing.servers import served


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Mapping[str, object]:
    """The settings that lead to the server; the conformance suite uses the same one."""
    return served("s3", request.config)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, object]]:
    """The settings that lead to it; a server that has a KMS; it ends with the run."""
    folder = tmp_path_factory.mktemp("ministack")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MINISTACK_"))}
    settled = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "s3,kms", "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "import sys; del sys.argv[1:]; from ministack.app import main; main()"],
            env={**environ, **settled},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, folder / "log")
        yield {
            "endpoint_url": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test",
        }
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise Unavailable(f"ministack did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def harness(tmp_path: Path, server: Mapping[str, object]) -> Harness:
    """A place that nobody else has, with parts as small as they may be and short pauses."""
    options = {"keys": "portable", "part_bytes": 5 * 1024 * 1024, "retry_base_ms": 1, "max_attempts": 3}
    return Harness(PortName.BLOBS, "s3", options, tmp_path, served=server)


@pytest_asyncio.fixture
async def store(harness: Harness) -> AsyncIterator[BlobStore]:
    """The opened adapter."""
    opened = await harness.started()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def raw(server: Mapping[str, Any]) -> Iterator[Any]:
    """A client that knows nothing of the adapter."""
    client = boto3.Session().client(
        "s3",
        endpoint_url=server["endpoint_url"],
        region_name=server["region"],
        aws_access_key_id=server["access_key_id"],
        aws_secret_access_key=server["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


@pytest.fixture
def place(harness: Harness) -> dict[str, str]:
    """Where the raw client finds what the store keeps under the key ``a``."""
    settings = harness.settings()
    return {"Bucket": str(settings["bucket"]), "Key": f"{settings['prefix']}a"}
