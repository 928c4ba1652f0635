"""The local server, and the vendor's own client on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from http.client import HTTPConnection
from urllib.parse import urlsplit

import orjson
import pytest
from pinecone import Index, Pinecone, RetryConfig
from storycore_pinecone.testing import Admin, server

NewIndex = Callable[..., Index]
Raw = Callable[..., tuple[int, dict[str, object], Mapping[str, str]]]


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


@pytest.fixture(scope="session")
def _client(local_pinecone: Mapping[str, object]) -> Iterator[Pinecone]:
    """One client for all tests: each has a store of certificates, which takes its time."""
    settings = RetryConfig(max_retries=0)
    key, host = str(local_pinecone["api_key"]), str(local_pinecone["endpoint_url"])
    with Pinecone(api_key=key, host=host, retry_config=settings) as client:
        yield client


@pytest.fixture
def sdk(_client: Pinecone, admin: Admin) -> Pinecone:
    """The vendor's client. Of the control plane it repeats nothing; of an index it does."""
    return _client


@pytest.fixture(scope="session")
def _connected(_client: Pinecone) -> Iterator[Callable[[str], Index]]:
    with ExitStack() as stack:

        @cache
        def connect(host: str) -> Index:
            return stack.enter_context(_client.Index(host=host))

        yield connect


@pytest.fixture
def new_index(sdk: Pinecone, _connected: Callable[[str], Index]) -> NewIndex:
    """Make an index and connect to it: ``new_index(dimension=2, metric="cosine")``."""

    def make(*, name: str = "stories", dimension: int = 2, metric: str = "cosine") -> Index:
        field = {"type": "dense_vector", "dimension": dimension, "metric": metric}
        model = sdk.indexes.create(name=name, schema={"fields": {"_values": field}}, timeout=-1)
        return _connected(str(model.host))

    return make


@pytest.fixture
def raw(local_pinecone: Mapping[str, object], admin: Admin) -> Raw:
    """Send what the vendor's client would not, and once: it repeats calls of an index whatever it is told.

    ``raw("POST", "/i/stories/query", {...})`` gives the status, the body and the headers of the answer.
    """

    def send(
        method: str, path: str, body: object = None, timeout: float = 10.0, **headers: str
    ) -> tuple[int, dict[str, object], Mapping[str, str]]:
        connection = HTTPConnection(urlsplit(str(local_pinecone["endpoint_url"])).netloc, timeout=timeout)
        sent = {"Api-Key": str(local_pinecone["api_key"]), "X-Pinecone-Api-Version": "2026-07"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        return answer.status, orjson.loads(found) if found else {}, dict(answer.getheaders())

    return send
