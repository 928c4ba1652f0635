"""What happens to calls and listeners when the way to the server is cut, slow, silent or crowded."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Sequence

import pytest
from storycore_redis._connection import Refused
from storycore_redis._link import SingleLink
from storycore_redis.cache import open_cache
from storycore_redis.config import RedisConfig

from storycore.errors import AccessDenied, DeadlineExceeded, Effect, Retry, StorycoreError, Throttled, Unavailable
from storycore.ports.cache import Cache, Changed
from storycore.ports.environment import Environment
from storycore.testing.cache_examples import LEASE, TTL, fill, item, lease_of

SOON = 0.03


async def eventually(store: Cache, key: str) -> bytes | None:
    """What is read once the connection is there again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await store.get([key]))[0]
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.01)


async def test_a_cut_fails_what_is_in_flight_and_the_next_call_connects_again(store, far, proxy) -> None:
    """Reads have no effect, writes may have had one; nothing waits, and nothing is repeated."""
    await store.put([item("k")])
    proxy.passing.clear()
    reading, writing = asyncio.create_task(far.get(["k"])), asyncio.create_task(far.bump(["c"]))
    await asyncio.sleep(SOON)
    await proxy.cut()
    for task, effect in ((reading, Effect.NONE), (writing, Effect.UNKNOWN)):
        with pytest.raises(Unavailable) as caught:
            await task
        assert (caught.value.effect, caught.value.retry) == (effect, Retry.BACKOFF)
    proxy.passing.set()
    assert await far.get(["k"]) == [b"v"]
    assert proxy.connections == 2


async def test_a_server_that_says_no_more_counts_as_gone(store, far, proxy) -> None:
    """A connection that is closed in one direction is closed."""
    await store.put([item("k")])
    await far.get(["k"])
    proxy.half_close()
    await asyncio.sleep(SOON)
    assert await eventually(far, "k") == b"v"
    assert proxy.connections == 2


async def test_while_the_server_is_gone_calls_fail_at_once(far, proxy) -> None:
    """After one failed attempt nobody waits for the next one, which comes after a pause."""
    await proxy.stop()
    with pytest.raises(Unavailable):
        await far.get(["k"])
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(Unavailable) as caught:
            await far.get(["k"])
    assert time.perf_counter() - started < 0.5
    assert str(proxy.port) in caught.value.message
    assert not (await far.health()).ok
    await proxy.start()
    assert await eventually(far, "k") is None


async def test_a_late_answer_is_dropped_and_the_connection_goes_on(harness, store, proxy) -> None:
    """The deadline fails the one call; answers still reach who asked for them."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, deadline_ms=30) as far:
        await store.put([item("k", b"1"), item("q", b"2")])
        proxy.passing.clear()
        with pytest.raises(DeadlineExceeded) as read:
            await far.get(["k"])
        with pytest.raises(DeadlineExceeded) as written:
            await far.bump(["c"])
        assert (read.value.effect, written.value.effect) == (Effect.NONE, Effect.UNKNOWN)
        proxy.passing.set()
        assert await eventually(far, "q") == b"2"
        assert proxy.connections == 1


async def test_a_busy_process_is_not_taken_for_a_slow_server(harness, store) -> None:
    """An answer that has arrived while the loop was held up is read before it is called late."""
    await store.put([item("k")])
    async with await harness.started(deadline_ms=10) as hasty:
        found: list[object] = []
        while [b"v"] not in found and len(found) < 5:  # the server may be late indeed, but not each time
            reading = asyncio.create_task(hasty.get(["k"]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.045)
            found += await asyncio.gather(reading, return_exceptions=True)
        assert [b"v"] in found


async def test_a_silent_server_is_given_up(harness, proxy) -> None:
    """Without any answer the connection counts as lost, also when commands have no deadline."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, stall_timeout_ms=200) as far:
        proxy.passing.clear()
        with pytest.raises(Unavailable):
            await far.get(["k"])
        proxy.passing.set()
        assert await eventually(far, "k") is None
        assert proxy.connections > 1


async def test_a_cancelled_call_leaves_the_others_in_order(harness, proxy, far) -> None:
    """Its answer is taken off the line and dropped."""
    await far.put([item(str(i), str(i).encode()) for i in range(50)])
    proxy.passing.clear()
    tasks = [asyncio.create_task(far.get([str(i)])) for i in range(50)]
    await asyncio.sleep(0.01)
    for task in tasks[::3]:
        task.cancel()
    proxy.passing.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [i for i, got in enumerate(found) if isinstance(got, asyncio.CancelledError)] == list(range(0, 50, 3))
    assert all(got == [str(i).encode()] for i, got in enumerate(found) if i % 3)


async def test_more_calls_than_may_be_in_flight_are_refused(harness, proxy) -> None:
    """Memory is bounded when the server is slow; the refusal says that nothing was done."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, max_in_flight=5) as far:
        proxy.passing.clear()
        tasks = [asyncio.create_task(far.bump(["c"])) for _ in range(8)]
        await asyncio.sleep(0.01)
        proxy.passing.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [got for got in found if isinstance(got, StorycoreError)]
        assert [(type(got), got.effect) for got in refused] == [(Throttled, Effect.NONE)] * 3


async def test_an_acquisition_that_fails_in_part_leaves_no_lease(harness, proxy, store) -> None:
    """Leases that were granted beside a refusal are given back."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, max_in_flight=3) as far:
        counting = asyncio.create_task(far.bump(["c"]))  # takes one of three places
        await asyncio.sleep(0)
        with pytest.raises(Throttled):
            await far.acquire(["a", "b", "c"], lease=LEASE)
        await counting
        for key in ("a", "b", "c"):
            await lease_of(store, key)


async def test_one_turn_of_the_loop_is_one_write(far, proxy) -> None:
    """What many tasks ask for at once leaves together."""
    await far.get(["k"])
    before = proxy.requests
    await asyncio.gather(*(far.get([str(i)]) for i in range(100)))
    assert proxy.requests - before == 1


async def test_bytes_that_are_no_protocol_end_the_connection() -> None:
    """Whoever answers at that address is no Redis."""

    async def gibber(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(gibber, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        store = cache_at(port)
        with pytest.raises(Unavailable):
            await store.open()
        await store.close()


def cache_at(port: int) -> Cache:
    """A cache at a port, with nothing else said."""
    return open_cache(RedisConfig(host="127.0.0.1", port=port, connect_timeout_ms=500), Environment())


async def test_a_wrong_password_is_denied_and_not_told(harness) -> None:
    """The error names the server and the cure, and no secret; later calls fail too."""
    made = harness.make(password="hunter2")
    with pytest.raises(AccessDenied) as caught:
        await made.open()
    assert "password" in caught.value.message
    assert "hunter2" not in caught.value.message
    await made.close()


async def test_a_server_that_is_not_there_is_unavailable(harness, proxy) -> None:
    """``open`` says so, and may be tried again."""
    await proxy.stop()
    made = harness.make(host="127.0.0.1", port=proxy.port)
    with pytest.raises(Unavailable):
        await made.open()
    await proxy.start()
    await made.open()
    assert await made.get(["k"]) == [None]
    await made.close()


async def test_a_server_that_does_not_answer_is_given_up_while_connecting(harness, proxy) -> None:
    """Connecting has its own time."""
    proxy.passing.clear()
    made = harness.make(host="127.0.0.1", port=proxy.port, connect_timeout_ms=40)
    with pytest.raises((DeadlineExceeded, Unavailable)):
        await made.open()
    await made.close()


async def test_an_open_that_is_cancelled_leaves_no_attempt_behind(harness, proxy) -> None:
    """Nothing goes on in the background, and the store may be opened later."""
    made = harness.make(host="127.0.0.1", port=proxy.port)
    proxy.passing.clear()
    before = len(asyncio.all_tasks())
    opening = asyncio.create_task(made.open())
    await asyncio.sleep(SOON)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await proxy.cut()
    assert len(asyncio.all_tasks()) <= before
    proxy.passing.set()
    async with made:
        assert await made.get(["k"]) == [None]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_is_refused_and_harms_nobody(store) -> None:
    """The child gets an error instead of the parent's answers, and its close does not close the parent's connection."""
    await store.put([item("k")])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.get(["k"]).send(None)
        except Unavailable:
            code = 0
        except BaseException:
            code = 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert await store.get(["k"]) == [b"v"]


async def test_a_lost_connection_tells_listeners_that_nothing_is_known(store, far, proxy) -> None:
    """``None`` at once; and over the new connection changes are told as before."""
    told: list[Changed | None] = []
    await far.listen(told.append)
    await far.get(["k"])
    await proxy.cut()
    await asyncio.sleep(SOON)
    assert told == [None]
    await eventually(far, "k")
    await store.put([item("k")])
    await asyncio.sleep(SOON)
    assert told == [None, Changed(keys=("k",))]


async def test_a_silent_server_tells_listeners_too(harness, proxy) -> None:
    """Nobody calls, but the connection is probed, and a copy in memory does not outlive a network that is gone."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, stall_timeout_ms=200) as far:
        told: list[Changed | None] = []
        await far.listen(told.append)
        proxy.passing.clear()
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.005)
        assert told == [None]
        proxy.passing.set()


async def test_a_flushed_server_tells_listeners_that_everything_is_gone(harness, store) -> None:
    """What the server says with one word reaches every listener."""
    told: list[Changed | None] = []
    await store.listen(told.append)
    await store.get(["k"])
    async with await harness.started() as other:
        await native(other, ("FLUSHDB",))
    await asyncio.sleep(SOON)
    assert told == [None]


async def test_a_fill_from_before_a_cut_still_counts(store, far, proxy) -> None:
    """Leases live on the server, not in the connection; an invalidation meanwhile kills them."""
    kept, killed = await lease_of(far, "kept"), await lease_of(far, "killed")
    await proxy.cut()
    await store.invalidate(["killed"])
    await eventually(far, "kept")
    assert (await fill(far, kept), await fill(far, killed)) == (True, False)


async def test_forgotten_scripts_are_given_again(store) -> None:
    """A server whose scripts were flushed is told them by the next call."""
    lease = await lease_of(store, "k")
    await native(store, ("SCRIPT", "FLUSH"))
    assert await fill(store, lease)
    await native(store, ("SCRIPT", "FLUSH"))
    assert await store.touch(["k"] * 3, TTL) == [True] * 3
    await native(store, ("SCRIPT", "FLUSH"))
    assert await store.invalidate(["k"]) == 1


async def test_what_others_wrote_is_a_miss(harness, store) -> None:
    """Bytes without our beginning are no value, whoever put them there; and a key of another type is told."""
    name = f"kit-{harness.name}:v:{{k}}"
    for foreign in (b"", b"x", b"1" * 17, b"2999999999999999zz", b"1999999999999999", b"1 99999999999999v"):
        await native(store, ("SET", name, foreign))
        assert await store.get(["k"]) == [None]
        assert (await store.keys()).keys == []
        assert await fill(store, await lease_of(store, "k"))
        assert await store.invalidate(["k"]) == 1
    await native(store, ("LPUSH", name, "x"))
    with pytest.raises(StorycoreError) as caught:
        await store.get(["k"])
    assert caught.value.code == "corrupt"


async def native(store: Cache, command: Sequence[str | bytes]) -> object:
    """A command of the server's own."""
    try:
        return await store.native(SingleLink).call(command)
    except Refused as exc:
        raise AssertionError(str(exc)) from exc


async def test_a_user_who_may_not_listen_can_still_connect_again(harness, store, proxy) -> None:
    """What was refused is not asked for on the next connection, which would then never be made."""
    link = store.inner._link
    name = f"deaf-{harness.env.new_id()}"
    await link.call(("ACL", "SETUSER", name, "on", "nopass", "~*", "&*", "+@all", "-client|tracking"))
    try:
        async with await harness.started(host="127.0.0.1", port=proxy.port, username=name, password="x") as far:
            with pytest.raises(AccessDenied):
                await far.listen(lambda changed: None)
            await proxy.cut()
            await asyncio.sleep(SOON)
            assert await eventually(far, "k") is None
    finally:
        await link.call(("ACL", "DELUSER", name))


async def test_listening_that_is_cancelled_leaves_no_listener(store, far, proxy) -> None:
    """Nobody is told who does not know how to end it."""
    told: list[Changed | None] = []
    proxy.passing.clear()
    listening = asyncio.create_task(far.listen(told.append))
    await asyncio.sleep(SOON)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    proxy.passing.set()
    await proxy.cut()
    await asyncio.sleep(SOON)
    assert told == []


async def test_many_keys_are_invalidated_and_cleared_however_few_may_be_in_flight(harness) -> None:
    """Invalidations that were pending come in one call, and a namespace has any number of keys."""
    async with await harness.started(max_in_flight=1500) as store:
        keys = [f"k{i}" for i in range(4000)]
        for start in range(0, len(keys), 1000):
            await store.put([item(key) for key in keys[start : start + 1000]])
        assert await store.invalidate(keys[:2000]) == 2000
        assert await store.clear() == 2000


async def test_a_lease_whose_answer_came_too_late_is_given_back(harness, store, proxy) -> None:
    """The deadline ends the call, and nobody has to wait for the lease's end."""
    async with await harness.started(host="127.0.0.1", port=proxy.port, deadline_ms=20) as far:
        await far.release([await lease_of(far, "q")])
        proxy.passing.clear()
        with pytest.raises(DeadlineExceeded):
            await far.acquire(["k"], lease=LEASE)
        proxy.passing.set()
        await asyncio.sleep(SOON)
        assert (await store.acquire(["k"], lease=LEASE))[0].lease is not None


async def test_a_login_that_the_server_repeats_is_not_shown() -> None:
    """A server that does not know HELLO quotes it, password and all."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        quoted = "with args beginning with: '3' 'AUTH' 'default' 'hunter2'"
        writer.write(f"-ERR unknown command 'HELLO', {quoted}\r\n".encode())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = RedisConfig.model_validate({"host": "127.0.0.1", "port": port, "password": "hunter2"})
    store = open_cache(config, Environment())
    with pytest.raises(StorycoreError) as caught:
        await store.open()
    shown = "".join(traceback.format_exception(caught.value))
    server.close()
    await server.wait_closed()
    assert "unknown command" in shown
    assert "hunter2" not in shown


async def test_a_replica_s_refusal_fails_no_read_that_is_under_way() -> None:
    """The connection is left: what was asked over it is answered, what comes next goes over another one."""
    connections: list[asyncio.StreamWriter] = []

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while asked := await reader.read(10_000):
            if b"HELLO" in asked:
                writer.write(b"%0\r\n")
            elif b"EVALSHA" in asked:
                writer.write(b"-READONLY You can't write against a read only replica.\r\n")
                await writer.drain()
                await asyncio.sleep(SOON)
            writer.write(b"$18\r\n19999999999999999v\r\n" * asked.count(b"GET\r\n"))
        writer.close()

    async with await asyncio.start_server(replica, "127.0.0.1", 0) as other:
        store = cache_at(other.sockets[0].getsockname()[1])
        await store.open()
        writing, reading = asyncio.create_task(store.invalidate(["k"])), asyncio.create_task(store.get(["k"]))
        with pytest.raises(Unavailable, match="connect to the primary"):
            await writing
        assert await store.get(["k"]) == [b"v"]
        assert await reading == [b"v"]
        assert len(connections) == 2
        await store.close()
