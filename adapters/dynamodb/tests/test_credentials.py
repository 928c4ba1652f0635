"""Credentials that expire are renewed in time, in a thread, once for all who wait, and never on the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from storycore_dynamodb._boto import BotoTransport
from storycore_dynamodb._credentials import KeyRing
from storycore_dynamodb._signing import Keys
from storycore_dynamodb._transport import Refused
from storycore_dynamodb.config import DynamodbConfig


class Service:
    """Gives out credentials that last for as long as the test says, and remembers who asked."""

    def __init__(self) -> None:
        self.given = 0
        self.threads: set[str] = set()
        self.lasts_seconds: list[float] = []
        self.seconds = 0.0

    def fetch(self) -> dict[str, Any]:
        """New credentials, as botocore wants them."""
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        if not self.lasts_seconds:
            raise CredentialRetrievalError(provider="test", error_msg="secret details")
        self.given += 1
        until = datetime.now(UTC) + timedelta(seconds=self.lasts_seconds.pop(0))
        return {
            "access_key": f"key{self.given}",
            "secret_key": "s",
            "token": f"token{self.given}",
            "expiry_time": until.isoformat(),
        }

    def credentials(self) -> RefreshableCredentials:
        """Credentials of this service."""
        return RefreshableCredentials.create_from_metadata(self.fetch(), self.fetch, "test")


@pytest.fixture
def service() -> Service:
    """A service that has not been asked yet."""
    return Service()


@pytest_asyncio.fixture
async def run() -> AsyncIterator[Callable[[Callable[[], Any]], Any]]:
    """Threads for what blocks, with failures in the transport's words."""
    boto = BotoTransport(DynamodbConfig(table="tab", region="r", access_key_id="a", secret_access_key="b"))
    await boto.open()
    yield boto.run
    await boto.close()


async def test_what_does_not_expire_is_looked_at_once(run: Any) -> None:
    """Keys from settings stay as they are, whatever the time."""
    clock = [0.0]
    ring = KeyRing(Credentials("a", "s"), run, lambda: clock[0])
    assert ring.fresh is None
    assert await ring.renewed() == Keys("a", "s")
    clock[0] = 1e9
    assert ring.fresh is await ring.renewed() == Keys("a", "s")


async def test_what_lasts_is_looked_at_without_waiting(run: Any, service: Service) -> None:
    """The look is due every half minute; who comes then gets what is at hand, and later ones what is new."""
    clock = [1000.0]
    service.lasts_seconds = [800, 4000]
    ring = KeyRing(service.credentials(), run, lambda: clock[0])
    service.seconds = 0.02
    first = await ring.renewed()  # 800 seconds are few enough for botocore to renew them at once
    assert first.access_key == "key2"
    assert ring.fresh is first
    clock[0] = 1031
    assert ring.fresh is None
    assert await ring.renewed() is first
    clock[0] = 900  # set back: look again rather than trust it
    assert ring.fresh is None


async def test_what_is_about_to_end_is_not_signed_with(run: Any, service: Service) -> None:
    """All who come wait for the same renewal, which happens in a thread and once."""
    clock = [1000.0]
    service.lasts_seconds = [4000]
    credentials = service.credentials()
    ring = KeyRing(credentials, run, lambda: clock[0])
    assert (await ring.renewed()).access_key == "key1"
    credentials._expiry_time = datetime.now(UTC) + timedelta(seconds=60)
    service.lasts_seconds, service.seconds = [4000], 0.02
    service.threads.clear()
    clock[0] = 1031
    assert ring.fresh is None
    waiting = [asyncio.create_task(ring.renewed()) for _ in range(5)]
    await asyncio.sleep(0)
    assert ring.fresh is None
    waiting[0].cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found[1:] == [Keys("key2", "s", "token2")] * 4
    assert isinstance(found[0], asyncio.CancelledError)
    assert service.given == 2
    assert [name.startswith("storycore-dynamodb") for name in service.threads] == [True]


async def test_credentials_that_cannot_be_renewed_are_named(run: Any, service: Service) -> None:
    """Who needs them hears it, each time anew; when they come back, all is well."""
    clock = [1000.0]
    service.lasts_seconds = [30]
    ring = KeyRing(service.credentials(), run, lambda: clock[0])
    for _ in range(2):
        with pytest.raises(Refused, match="NoCredentials: CredentialRetrievalError") as caught:
            await ring.renewed()
        assert "secret details" not in str(caught.value)
    service.lasts_seconds = [4000]
    assert (await ring.renewed()).access_key == "key2"
