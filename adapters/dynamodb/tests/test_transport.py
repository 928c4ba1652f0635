"""The way to the service: it never blocks the event loop, has few threads, and says why it cannot be gone."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import warnings
from contextvars import ContextVar
from pathlib import Path

import pytest
from botocore import exceptions as vendor
from botocore.client import BaseClient
from pydantic import ValidationError
from storycore_dynamodb._boto import BotoTransport, _failure
from storycore_dynamodb._calls import Calls
from storycore_dynamodb._transport import Lost
from storycore_dynamodb.config import DynamodbConfig
from storycore_dynamodb.entities import open_entities
from urllib3.exceptions import SSLError

from storycore.errors import AccessDenied, ConfigError, Effect, Unavailable
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.testing.harness import Harness

KEYS = {"access_key_id": "name", "secret_access_key": "a-secret-word"}


async def test_the_event_loop_goes_on_during_many_calls(harness: Harness) -> None:
    """While 64 calls are under way a ticker ticks, and no more threads run than are allowed."""
    store = await harness.started(connections=4)
    ticks = 0
    most_threads = 0

    async def tick() -> None:
        nonlocal ticks, most_threads
        while True:
            await asyncio.sleep(0.001)
            ticks += 1
            names = [thread.name for thread in threading.enumerate()]
            most_threads = max(most_threads, sum(name.startswith("storycore-dynamodb") for name in names))

    ticker = asyncio.create_task(tick())
    await asyncio.gather(*(store.write([Put(key=Key("p", f"{i}"), kind="k")]) for i in range(64)))
    ticker.cancel()
    assert ticks >= 16
    assert 1 <= most_threads <= 4
    await store.close()


async def test_the_raw_client_is_boto3s(harness: Harness) -> None:
    """What the port does not offer is done with the client itself."""
    store = await harness.started()
    assert store.native(BaseClient).meta.service_model.service_name == "dynamodb"
    await store.close()


async def test_an_address_where_nobody_listens_is_unavailable() -> None:
    """Nothing was sent, so nothing was done; health says so without raising."""
    config = DynamodbConfig(
        table="none", region="us-east-1", endpoint_url="http://127.0.0.1:9", max_attempts=2, retry_base_ms=1, **KEYS
    )
    store = open_entities(config, Environment())
    with pytest.raises(Unavailable, match="endpoint_url") as caught:
        await store.open()
    assert caught.value.effect is Effect.NONE
    with pytest.raises(Unavailable):
        await store.ensure()
    assert (await store.health()).ok is False


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing says who it is or where."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("bare")
async def test_missing_credentials_are_named_with_their_cure() -> None:
    """No credentials, or an unknown profile, are AccessDenied; no region is a ConfigError."""
    where = {"endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(AccessDenied, match="secret_access_key"):
        await open_entities(DynamodbConfig(table="none", region="us-east-1", **where), Environment()).open()
    unknown = DynamodbConfig(table="none", region="us-east-1", profile_name="nobody", **where)
    with pytest.raises(AccessDenied, match="profile_name that"):
        await open_entities(unknown, Environment()).open()
    with pytest.raises(ConfigError, match="region"):
        await open_entities(DynamodbConfig(table="none", **KEYS), Environment()).open()


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({"endpoint_url": "127.0.0.1:8000"}, "endpoint_url as http"),
        ({"endpoint_url": "not a url"}, "endpoint_url as http"),
        ({"region": "mars central"}, "name of an AWS region"),
    ],
)
async def test_a_place_that_cannot_be_is_a_matter_of_configuration(settings: dict[str, str], cure: str) -> None:
    """Nothing can be sent there, today or later, by whatever operation connects."""
    config = DynamodbConfig(**{"table": "none", "region": "us-east-1", **KEYS, **settings})
    for connect in (open_entities(config, Environment()).open, open_entities(config, Environment()).ensure):
        with pytest.raises(ConfigError, match=cure):
            await connect()


@pytest.mark.parametrize(
    ("error", "effect"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), Effect.NONE),
        (ssl.SSLError(1, "decryption failed or bad record mac"), Effect.UNKNOWN),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Effect.UNKNOWN),
    ],
)
def test_a_failure_of_encryption_may_come_after_the_request(error: ssl.SSLError, effect: Effect) -> None:
    """Only a certificate that is not trusted is found out before anything is sent; a write is not repeated blindly."""
    failure = _failure(vendor.SSLError(endpoint_url="https://127.0.0.1:9", error=SSLError(error)))
    assert isinstance(failure, Lost)
    assert failure.effect is effect


def test_the_place_that_is_shown_has_no_password() -> None:
    """What stands in an address for a proxy in between is nobody's to read."""
    config = DynamodbConfig(table="none", endpoint_url="http://ada:secret@127.0.0.1:9")
    assert "secret" not in str(open_entities(config, Environment()).info)


def test_half_of_the_credentials_are_refused() -> None:
    """A key without its secret, or a token without either, cannot be what was meant."""
    for half in ({"access_key_id": "x"}, {"secret_access_key": "x"}, {"session_token": "x"}):
        with pytest.raises(ValidationError, match="belong"):
            DynamodbConfig(table="none", **half)


def test_settings_do_not_show_their_secret() -> None:
    """Neither as text nor in the place of the store."""
    config = DynamodbConfig(table="none", region="eu-central-1", **KEYS)
    assert "a-secret-word" not in f"{config!r} {open_entities(config, Environment()).info}"


async def test_a_forked_child_hears_that_the_store_is_not_its_own(harness: Harness) -> None:
    """It has none of the store's threads, so every call is Unavailable instead of waiting for ever."""
    store: EntityStore = await harness.started()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(_in_child(store))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert await store.get([Key("p", "a")]) == [None]
    await store.close()


def _in_child(store: EntityStore) -> int:
    """How many of the calls did anything but refuse; none of them waits before it does."""
    wrong = 0
    for call in (store.get([Key("p", "a")]), store.write([Put(key=Key("p", "a"), kind="k")]), store.ensure()):
        try:
            call.send(None)
        except Unavailable:
            continue
        wrong += 1
    return wrong


async def test_a_call_after_closing_fails_at_once(harness: Harness) -> None:
    """A request that finds the connection closed under it is not sent again and again."""
    config = DynamodbConfig.model_validate(harness.settings(retry_base_ms=10_000))
    transport = BotoTransport(config)
    calls = Calls(transport, config, Environment())
    await transport.open()
    await transport.close()
    with pytest.raises(Unavailable, match="open the store again"):
        await asyncio.wait_for(calls.send("DescribeTable", {}), timeout=1)


async def test_a_request_is_sent_in_its_callers_context(harness: Harness) -> None:
    """So that whatever watches boto3, as OpenTelemetry's instrumentation does, knows on whose behalf it is sent."""
    who, seen = ContextVar("who", default=""), list[str]()
    store = await harness.started(transport="boto3")
    store.native(BaseClient).meta.events.register("before-send.dynamodb", lambda **_: seen.append(who.get()))
    who.set("ada")
    await store.write([Put(key=Key("p", "s"), kind="k")])
    assert set(seen) == {"ada"}
    await store.close()
