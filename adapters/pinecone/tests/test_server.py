"""The local Pinecone ends with whoever started it, says why it does not start, and lets in who knows its key alone."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pinecone import AsyncPinecone, Pinecone, RetryConfig
from pinecone.errors import UnauthorizedError
from storycore_pinecone.testing import Admin, server
from storycore_pinecone.testing.emulator.knobs import Knobs

from storycore.errors import ConfigError, Unavailable

_PARENT = """
import time
from storycore_pinecone.testing import server
with server() as place:
    print(place["endpoint_url"], flush=True)
    time.sleep(600)
"""
_IMPORTED = """
import sys
sys.path.insert(0, sys.argv[1])
import emulator.process
print([name for name in sys.modules if name.partition(".")[0].startswith(("storycore", "pinecone"))])
"""
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]


def _is_up(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), int(parts.port or 0))) == 0


def test_it_serves_and_then_is_gone() -> None:
    """The settings that it yields lead to an empty service, on the loopback interface."""
    with server() as place:
        assert urlsplit(str(place["endpoint_url"])).hostname == "127.0.0.1"
        with Pinecone(api_key=str(place["api_key"]), host=str(place["endpoint_url"])) as client:
            assert list(client.indexes.list()) == []
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
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"did not start on port {port} "), server(port=port):
            pass


def test_a_knob_that_there_is_not_is_told() -> None:
    """A server that would not behave as ordered does not start."""
    with pytest.raises(Unavailable, match="There is no 'speed'"), server(knobs={"speed": 3}):
        pass


def test_it_shares_no_code_with_what_is_proved_on_it() -> None:
    """Neither the adapter nor storycore nor the vendor's client is imported by the emulator."""
    import storycore_pinecone.testing as package

    found = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORTED, package.__path__[0]], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


async def test_the_asynchronous_client_speaks_with_it(local_pinecone: dict[str, str], admin: Admin) -> None:
    """What one client wrote, the other reads."""
    field = {"type": "dense_vector", "dimension": 2, "metric": "cosine"}
    async with AsyncPinecone(api_key=local_pinecone["api_key"], host=local_pinecone["endpoint_url"]) as client:
        model = await client.indexes.create(name="stories", schema={"fields": {"_values": field}})
        index = await client.index(host=str(model.host))
        written = await index.upsert(vectors=[("a", [1.0, 0.0])])
        found = await index.query(vector=[2.0, 0.0], top_k=1)
        await index.close()
    assert (written.upserted_count, [match.id for match in found.matches]) == (1, ["a"])


def test_another_key_is_refused(local_pinecone: dict[str, str], admin: Admin) -> None:
    """The key is checked on both planes."""
    settings = RetryConfig(max_retries=0)
    with Pinecone(api_key="other", host=local_pinecone["endpoint_url"], retry_config=settings) as client:
        with pytest.raises(UnauthorizedError):
            client.indexes.describe("stories")
        with (
            client.Index(host=f"{local_pinecone['endpoint_url']}/i/stories") as index,
            pytest.raises(UnauthorizedError),
        ):
            index.query(vector=[1.0], top_k=1)


def test_a_missing_key_is_told_in_plain_text(local_pinecone: dict[str, str], admin: Admin) -> None:
    """As the vendor's definition has it: not every answer is JSON."""
    connection = HTTPConnection(urlsplit(local_pinecone["endpoint_url"]).netloc, timeout=10)
    connection.request("GET", "/indexes")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("content-type"), answer.read()) == (401, "text/plain", b"Unauthorized")
    connection.close()


async def test_many_calls_at_once_are_each_answered(local_pinecone: dict[str, str], admin: Admin) -> None:
    """Connections wait for nobody, and writes do not mix."""
    field = {"type": "dense_vector", "dimension": 2, "metric": "cosine"}
    async with AsyncPinecone(api_key=local_pinecone["api_key"], host=local_pinecone["endpoint_url"]) as client:
        model = await client.indexes.create(name="stories", schema={"fields": {"_values": field}})
        index = await client.index(host=str(model.host))
        await asyncio.gather(*(index.upsert(vectors=[(f"{key}", [1.0, key])], namespace="x") for key in range(50)))
        found = await asyncio.gather(*(index.query(id=f"{key}", top_k=1, namespace="x") for key in range(50)))
        await index.close()
    assert [answer.matches[0].id for answer in found] == [f"{key}" for key in range(50)]
    assert {answer.response_info.lsn_reconciled for answer in found} == {50}


def test_another_version_of_the_api_is_refused(raw: Raw) -> None:
    """A client that speaks of other shapes learns it at once."""
    status, body, _ = raw("GET", "/indexes", X_Pinecone_Api_Version="2025-04")
    assert status == 400
    assert "2026-07" in str(body["error"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/i/stories/query", b"{", 400),
        ("POST", "/i/stories/query", b"[1]", 400),
        ("POST", "/i/stories/query", b"[" * 100_000, 400),
        ("GET", "/i/unknown/vectors/list", None, 404),
        ("POST", "/i/stories/records/namespaces/x/search", {}, 501),
        ("PUT", "/indexes", {}, 501),
        ("GET", "/", None, 501),
        ("GET", "/i", None, 501),
        ("GET", "/_admin/unknown", None, 404),
    ],
)
def test_what_it_does_not_serve_is_refused(raw: Raw, method: str, path: str, body: object, status: int) -> None:
    """Neither a broken body nor an unknown path ends the server."""
    assert raw(method, path, body)[0] == status


def test_a_request_line_beyond_the_gateway_is_refused(raw: Raw) -> None:
    """A fetch of many long ids has to be split by bytes, too."""
    assert raw("GET", f"/i/stories/vectors/fetch?ids={'x' * 100_000}")[0] == 431


def test_the_admin_refuses_what_it_does_not_know(admin: Admin) -> None:
    """A test that orders nonsense fails, and does not pass for want of an effect."""
    for order in (
        lambda: admin.turn(speed=3),
        lambda: admin.turn(missing="sometimes"),
        lambda: admin.turn(visible_after_reads=True),
        lambda: admin.turn(visible_after_reads=-1),
        lambda: admin.fail("dance"),
        lambda: admin.fail(often=3),
        lambda: admin.fail(status="503"),
    ):
        with pytest.raises(ConfigError, match="refuses POST"):
            order()


def test_the_readme_tells_every_knob() -> None:
    """Its table has the knobs with their defaults."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").partition("## Local server")[2]
    told = dict(re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", text, re.MULTILINE))
    defaults = {name: "0" if value == 0 else json.dumps(value).strip('"') for name, value in asdict(Knobs()).items()}
    assert told == defaults
