"""The local server, and the vendor's own client on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from urllib.parse import urlsplit

import orjson
import pytest
from pinecone import Index, Pinecone, RetryConfig
from storycore_pinecone.testing import Admin, server

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object]]]


@pytest.fixture(scope="session")
def local_pinecone() -> Iterator[Mapping[str, object]]:
    """One server for all tests of the server: the settings that lead to it."""
    with server() as settings:
        yield settings


@pytest.fixture
def admin(local_pinecone: Mapping[str, object]) -> Admin:
    """What turns the server, which is empty now and as it was at its start."""
    found = Admin(local_pinecone)
    found.reset()
    return found


@pytest.fixture
def sdk(local_pinecone: Mapping[str, object], admin: Admin) -> Iterator[Pinecone]:
    """The vendor's client. It repeats nothing, so that each answer is seen."""
    client = Pinecone(
        api_key=str(local_pinecone["api_key"]),
        host=str(local_pinecone["endpoint_url"]),
        retry_config=RetryConfig(max_retries=0),
    )
    with client:
        yield client


@pytest.fixture
def new_index(sdk: Pinecone) -> Iterator[NewIndex]:
    """Make an index and connect to it: ``new_index(dimension=2, metric="cosine")``."""
    opened: list[Index] = []

    def make(*, name: str = "stories", dimension: int = 2, metric: str = "cosine") -> Index:
        field = {"type": "dense_vector", "dimension": dimension, "metric": metric}
        model = sdk.indexes.create(name=name, schema={"fields": {"_values": field}}, timeout=-1)
        opened.append(sdk.Index(host=str(model.host)))
        return opened[-1]

    yield make
    for index in opened:
        index.close()


@pytest.fixture
def raw(local_pinecone: Mapping[str, object], admin: Admin) -> Raw:
    """Send what the vendor's client would not: ``raw("POST", "/i/stories/query", {...})`` gives status and body."""

    def send(method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, object]]:
        connection = HTTPConnection(urlsplit(str(local_pinecone["endpoint_url"])).netloc, timeout=10)
        sent = {"Api-Key": str(local_pinecone["api_key"]), "X-Pinecone-Api-Version": "2026-07"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        return answer.status, orjson.loads(found) if found else {}

    return send
