"""The local DynamoDB ends with whoever started it, says why it does not start, and listens on the loopback alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import boto3
import pytest
from storycore_dynamodb.testing import server

from storycore.errors import ConfigError, Unavailable

_PARENT = """
import time
from storycore_dynamodb.testing import server
with server() as place:
    print(place["endpoint_url"], flush=True)
    time.sleep(600)
"""


def _is_up(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), int(parts.port or 0))) == 0


@contextmanager
def _taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_it_serves_tables_and_streams_and_then_is_gone() -> None:
    """The settings that it yields lead to an empty service, on the loopback interface."""
    with server() as place:
        options = {
            "endpoint_url": place["endpoint_url"],
            "region_name": place["region"],
            "aws_access_key_id": place["access_key_id"],
            "aws_secret_access_key": place["secret_access_key"],
        }
        assert urlsplit(str(place["endpoint_url"])).hostname == "127.0.0.1"
        for service, operation, key in (
            ("dynamodb", "list_tables", "TableNames"),
            ("dynamodbstreams", "list_streams", "Streams"),
        ):
            client = boto3.client(service, **options)
            assert getattr(client, operation)()[key] == []
            client.close()
    assert not _is_up(str(place["endpoint_url"]))


def test_it_ends_with_a_parent_that_crashes() -> None:
    """A killed test run leaves no server behind."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        endpoint = parent.stdout.readline().strip()
        assert _is_up(endpoint)
        parent.kill()
    until = time.monotonic() + 10
    while _is_up(endpoint) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _is_up(endpoint)


def test_a_taken_port_is_told() -> None:
    """Whatever listens there, it is not taken for the server that was to be started."""
    with (
        _taken_port() as port,
        pytest.raises(Unavailable, match=f"Port {port} .* is taken"),
        server(port=port),
    ):
        pass


def test_without_ministack_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The install line stands in the message."""
    monkeypatch.setitem(sys.modules, "ministack", None)
    with pytest.raises(ConfigError, match=r"pip install 'storycore-dynamodb\[testing\]'"), server():
        pass


def test_a_server_that_fails_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it printed last stands in the message."""
    monkeypatch.setattr(sys, "executable", "/bin/false" if sys.platform != "win32" else sys.executable)
    if sys.platform == "win32":
        pytest.skip("there is no program there that only fails")
    with pytest.raises(Unavailable, match="did not start"), server():
        pass
