"""The change feed as instances: in order, nothing left out, remembered by groups, and read by one member at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeVar

import pytest
from pydantic import BaseModel

import storycore
from storycore.app import Store
from storycore.entities import Key, entity, part
from storycore.entities.changes import ChangeStream, EntityChange
from storycore.entities.consumer_groups import GROUP_KIND, Group, LeaseLostError
from storycore.errors import (
    ConditionFailed,
    Corrupt,
    Effect,
    FeedGap,
    InvalidArgument,
    StorycoreError,
    Unavailable,
)
from storycore.hooks import hookimpl
from storycore.layers.around import Interceptor, Operation
from storycore.layers.checks import checked
from storycore.memory.entities import MemoryEntityStore
from storycore.ports import entities as port
from storycore.ports.entities import Action, Delete, FeedPosition, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.story import User
from storycore.testing.clock import ManualClock

T = TypeVar("T")

LIGHT = {"embedder": "memory://"}


class Note(BaseModel):
    id: str
    text: str = ""


NOTE = entity(Note, kind="note", key=Key(pk=("note", part.id), sk=("note",)), spill=2000)


CROWDED = entity(Note, kind="crowded", key=Key(pk=("crowded", part.id), sk=("note",)))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "local"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    """A store whose clock stands until it is moved."""
    env = Environment(clock=clock)
    async with storycore.open(request.param, dir=tmp_path, overrides=LIGHT, env=env) as opened:
        await opened.init()
        yield opened


async def write(store: Store, *ids: str, text: str = "") -> None:
    for id in ids:  # noqa: A001 - the field's name
        await store.repository(NOTE).save(Note(id=id, text=text))


def changes(store: Store, group: str | None = "g", **options: Any) -> ChangeStream:
    return store.changes(**{"kinds": [NOTE], "group": group, "start": "oldest", "longest_pause": 0.01, **options})


async def take(stream: ChangeStream, count: int) -> list[EntityChange]:
    """So many changes, all of them done."""
    found: list[EntityChange] = []
    async with aclosing(aiter(stream)) as walk:
        async for change in walk:
            found.append(change)
            if len(found) == count:
                await stream.commit()
                return found
    raise AssertionError("the stream ended")


def ids(found: list[EntityChange]) -> list[str]:
    return [change.key.pk.partition("#")[2] for change in found]


async def quiet(stream: ChangeStream, seconds: float = 0.04) -> bool:
    """Whether nothing is told for a while."""
    try:
        async with asyncio.timeout(seconds):
            await take(stream, 1)
    except TimeoutError:
        return True
    return False


async def test_changes_are_told_as_instances_in_their_order(store: Store) -> None:
    """Creation, change and deletion, each with its version; instances know theirs and can be saved."""
    notes = store.repository(NOTE)
    await notes.create(Note(id="a", text="one"))
    await notes.patch("a", set={"text": "two"})
    await notes.delete("a")
    created, changed, deleted = await take(changes(store), 3)
    assert [(c.kind, c.action) for c in (created, changed, deleted)] == [
        ("note", Action.PUT),
        ("note", Action.PUT),
        ("note", Action.DELETE),
    ]
    assert created.version < changed.version == deleted.version
    assert (created.instance, changed.instance, deleted.instance) == (
        Note(id="a", text="one"),
        Note(id="a", text="two"),
        None,
    )
    assert created.key == notes.address("a")


async def test_only_the_wanted_kinds_are_told(store: Store) -> None:
    """And without any all that the store knows, but nothing that services keep for themselves."""
    await store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
    await write(store, "a")
    await take(changes(store, group="other"), 1)
    await write(store, "b")
    assert ids(await take(changes(store, group=None), 2)) == ["a", "b"]
    everything = await take(changes(store, group=None, kinds=None), 3)
    assert [change.kind for change in everything] == ["user", "note", "note"]
    with pytest.raises(InvalidArgument, match="There is no kind 'nota'"):
        store.changes(kinds=["nota"])


async def test_a_long_body_is_told_whole(store: Store) -> None:
    """Where it is kept is nobody's business."""
    await write(store, "a", text="x" * 5000)
    [change] = await take(changes(store), 1)
    assert change.instance == Note(id="a", text="x" * 5000)


async def test_a_group_goes_on_where_it_was(store: Store) -> None:
    """What is done is told once; what was given out and not done is told again."""
    await write(store, *"abcd")
    assert ids(await take(changes(store), 2)) == ["a", "b"]
    async with aclosing(aiter(changes(store))) as walk:
        async for change in walk:
            assert ids([change]) == ["c"]
            break
    assert ids(await take(changes(store), 2)) == ["c", "d"]
    assert ids(await take(changes(store, group="another"), 4)) == ["a", "b", "c", "d"]
    assert await quiet(changes(store))


async def test_asking_for_the_next_change_makes_the_present_one_done(store: Store) -> None:
    """So a loop that just goes on needs no word about it."""
    await write(store, *"abc")
    stream = changes(store)
    async with stream:
        walk = aiter(stream)
        assert [(await anext(walk)).key.pk for _ in range(3)] == ["note#a", "note#b", "note#c"]
    assert ids(await take(changes(store), 1)) == ["c"]


async def test_a_silent_feed_has_everything_saved(store: Store) -> None:
    """A consumer that dies while it waits has nothing told again."""
    await write(store, *"ab")
    stream = changes(store)
    walk = aiter(stream)
    await anext(walk)
    await anext(walk)
    waiting = asyncio.create_task(anext(walk))  # type: ignore[arg-type]  # a coroutine
    [record] = await store.entities.get([port.Key("!group#g", "place")])
    while record is None or b"null" in record.body or (await _saved(store)) != stream.position:
        await asyncio.sleep(0.005)
        [record] = await store.entities.get([port.Key("!group#g", "place")])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await write(store, "c")
    assert ids(await take(changes(store), 1)) == ["c"]


async def _saved(store: Store) -> object:
    member = Group(store.entities, store.env, "g", timedelta(seconds=1))
    record = await member._lease._read()
    assert record is not None
    import orjson

    return orjson.loads(record.body)[0]


async def test_latest_is_behind_everything_that_is_there(store: Store) -> None:
    """Also for a group that is new; once it has been somewhere it goes on there."""
    await write(store, *"ab")
    seen: list[str] = []

    async def follow(stream: ChangeStream) -> None:
        seen.extend(ids(await take(stream, 1)))

    for group in (None, "g"):
        following = asyncio.create_task(follow(changes(store, group=group, start="latest")))
        await asyncio.sleep(0.03)
        await write(store, f"new-{group}")
        await following
    assert seen == ["new-None", "new-g"]
    await write(store, "z")
    assert ids(await take(changes(store, start="latest"), 1)) == ["z"]


async def test_a_stream_that_does_not_wait_ends_when_the_feed_is_silent(store: Store) -> None:
    """A job that is run now and then does what there is, and ends; so does one whose turn it is not."""
    assert [change async for change in changes(store, wait=False)] == []
    await write(store, *"ab")
    assert ids([change async for change in changes(store, wait=False)]) == ["a", "b"]
    await write(store, "c")
    stream = changes(store)
    async with stream:
        assert ids([await anext(aiter(stream))]) == ["c"]
        assert [change async for change in changes(store, wait=False)] == []


async def test_a_stream_can_start_behind_any_change(store: Store) -> None:
    """A change's position is where to go on."""
    await write(store, *"abc")
    first, _ = await take(changes(store, group=None), 2)
    assert ids(await take(changes(store, group=None, start=first.position), 2)) == ["b", "c"]


async def test_of_two_members_one_reads_and_the_other_takes_over_when_he_leaves(store: Store) -> None:
    """Every change is told once between them, in order."""
    await write(store, *"abcd")
    first, second = changes(store), changes(store)
    walk = aiter(first)
    await anext(walk)
    await anext(walk)
    assert await quiet(second)
    other = asyncio.create_task(take(second, 3))
    await first.close()
    assert ids(await other) == ["b", "c", "d"]


async def test_a_member_who_dies_is_followed_by_another_when_his_lease_ends(store: Store, clock: ManualClock) -> None:
    """The dead one, should he wake up, hears that his turn is over, and waits."""
    await write(store, *"abcd")
    first, second = changes(store), changes(store)
    walk = aiter(first)
    await anext(walk)
    await anext(walk)
    fence = first.fence
    clock.advance(timedelta(seconds=29))
    assert await quiet(second)
    clock.advance(timedelta(seconds=2))
    async with second:
        other = aiter(second)
        assert ids([await anext(other)]) == ["a"]
        assert (second.fence or 0) > (fence or 0)
        woken = asyncio.create_task(anext(walk))  # type: ignore[arg-type]  # a coroutine
        with pytest.raises(ConditionFailed, match="has the turn by now"):
            await first.commit()
        assert ids([await anext(other)]) == ["b"]
        await asyncio.sleep(0.02)
        assert not woken.done()
        assert ids([await anext(other)]) == ["c"]
    assert ids([await woken]) == ["c"]
    await first.close()


async def test_a_member_who_is_busy_keeps_his_turn(store: Store, clock: ManualClock) -> None:
    """He gives signs of life while he works on one change, however long that takes."""
    await write(store, "a")
    first = changes(store, lease=timedelta(seconds=1))
    walk = aiter(first)
    await anext(walk)
    record = await _version(store)
    for _ in range(100):
        clock.advance(timedelta(milliseconds=5))
        await asyncio.sleep(0.01)
        if await _version(store) != record:
            break
    assert await _version(store) != record
    clock.advance(timedelta(milliseconds=900))
    assert await quiet(changes(store))
    await first.close()


async def _version(store: Store) -> int:
    [record] = await store.entities.get([port.Key("!group#g", "place")], consistent=True)
    assert record is not None
    return record.version


async def test_many_members_share_the_work_without_losing_any(store: Store) -> None:
    """Members come and go while changes are made: all are told, each key's in order."""
    told: list[tuple[str, int]] = []

    async def member() -> None:
        for _ in range(4):
            for change in await take(changes(store), 5):
                told.append((change.key.pk, change.version))

    async def writer(name: str) -> None:
        for i in range(30):
            await write(store, name, text=str(i))

    await asyncio.gather(*(writer(name) for name in "ab"), *(member() for _ in range(3)))
    assert len(told) == len(set(told)) == 60
    for name in "ab":
        versions = [version for pk, version in told if pk == f"note#{name}"]
        assert versions == sorted(versions)


async def test_consuming_writes_nothing_that_would_wake_the_consumer(store: Store) -> None:
    """What a group saves is itself a change; a silent feed stays silent."""
    await write(store, "a")
    await take(changes(store), 1)
    waiting = asyncio.create_task(take(changes(store), 1))
    await asyncio.sleep(0.05)
    before = await _version(store)
    await asyncio.sleep(0.05)
    assert await _version(store) == before
    await write(store, "b")
    assert ids(await waiting) == ["b"]


async def test_a_record_that_cannot_be_read_does_not_stop_the_stream(store: Store) -> None:
    """Its instance is asked for where the consumer can decide what to do."""
    await store.entities.write([Put(key=port.Key("note#bad", "note"), kind="note", body=b"{")])
    await write(store, "a")
    bad, good = await take(changes(store), 2)
    with pytest.raises(Corrupt):
        _ = bad.instance
    assert good.instance == Note(id="a")


async def test_a_lost_body_does_not_stop_the_stream(store: Store) -> None:
    """It is told where the instance is asked for, as for any record that cannot be read."""
    await write(store, "a")
    await write(store, "b", text="x" * 5000)
    await write(store, "c")
    [body] = (await store.blobs.entries("spill/")).blobs
    await store.blobs.delete([body.key])
    first, lost, last = await take(changes(store), 3)
    assert (first.instance, last.instance) == (Note(id="a"), Note(id="c"))
    with pytest.raises(Corrupt):
        assert lost.instance


async def test_changes_that_are_no_longer_kept_are_a_gap_that_names_the_group_and_the_cure(
    store: Store, clock: ManualClock
) -> None:
    """After a reset the group goes on at the end."""
    await write(store, *"ab")
    await take(changes(store), 1)
    clock.advance(timedelta(hours=50))
    await store.entities.expire(clock.now())
    with pytest.raises(FeedGap, match=r"group 'g'.*reset\('latest'\)"):
        await take(changes(store), 1)
    await changes(store).reset("latest")
    await write(store, "c")
    assert ids(await take(changes(store), 1)) == ["c"]


async def test_a_reset_reaches_the_member_who_is_reading(store: Store) -> None:
    """He begins there with his next look."""
    await write(store, *"abc")
    stream = changes(store)
    walk = aiter(stream)
    assert ids([await anext(walk), await anext(walk)]) == ["a", "b"]
    await changes(store).reset("oldest")
    with pytest.raises(ConditionFailed):
        await stream.commit()
    assert ids([await anext(walk), await anext(walk)]) == ["a", "b"]
    await stream.close()
    with pytest.raises(InvalidArgument, match="Only a group"):
        await changes(store, group=None).reset()


async def test_a_position_of_another_feed_is_a_gap_for_a_group(store: Store) -> None:
    """As after a store was restored: nothing is skipped in silence."""
    await changes(store).reset(FeedPosition("somewhere else"))
    with pytest.raises(FeedGap, match="group 'g'"):
        await take(changes(store), 1)
    with pytest.raises(InvalidArgument):
        await take(changes(store, group=None, start=FeedPosition("somewhere else")), 1)


async def test_a_stream_ends_with_its_store(tmp_path: Path) -> None:
    """Whoever waits for a change stops waiting; what was done is saved."""
    async with storycore.open("local", dir=tmp_path, overrides=LIGHT) as store:
        await store.init()
        await write(store, *"ab")
        told: list[str] = []

        async def follow(group: str | None) -> None:
            async for change in changes(store, group=group):
                told.extend(ids([change]))

        following = asyncio.gather(follow("g"), follow(None))
        while len(told) < 4:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
    await following
    async with storycore.open("local", dir=tmp_path, overrides=LIGHT) as store:
        await write(store, "c")
        assert ids(await take(changes(store), 1)) == ["c"]


async def test_a_cancelled_consumer_gives_its_turn_back(store: Store) -> None:
    """The next one need not wait for the lease's end."""
    await write(store, "a")

    async def follow() -> None:
        async for _ in changes(store):
            await asyncio.Event().wait()

    consumer = asyncio.create_task(follow())
    await asyncio.sleep(0.03)
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    assert ids(await take(changes(store), 1)) == ["a"]


async def test_outside_its_loop_there_is_nothing_to_commit(store: Store) -> None:
    """The loop has saved what was done when it ended, and that is no loss of a turn."""
    await write(store, *"ab")
    stream = changes(store, wait=False)
    await stream.commit()
    assert ids([change async for change in stream]) == ["a", "b"]
    await stream.commit()
    assert [change async for change in changes(store, wait=False)] == []


class Crowd:
    """While the feed is read others write what the reader does not want, and time passes."""

    slot: ClassVar[int] = 15

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.store: Store | None = None
        self.left = 12
        self.saved: list[object] = []

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        if operation.name == "changes" and self.store is not None and self.left:
            self.left -= 1
            self.saved.append(await _saved(self.store))
            await self.store.repository(CROWDED).save(Note(id="x"))
            self.clock.advance(timedelta(seconds=4))
        return await proceed()

    @hookimpl
    def storycore_layers(self, port: PortName, adapter: str) -> list[Interceptor]:
        return [self]


async def test_what_is_passed_over_in_a_feed_that_is_never_silent_is_saved_too(clock: ManualClock) -> None:
    """Else a group that waits for something rare would fall behind what the feed keeps."""
    crowd = Crowd(clock)
    async with storycore.open("memory", plugins=[crowd], env=Environment(clock=clock)) as store:
        await write(store, "a")
        async with changes(store) as stream:
            walk = aiter(stream)
            await anext(walk)
            await stream.commit()
            crowd.store = store
            waiting = asyncio.ensure_future(anext(walk))
            while crowd.left:
                await asyncio.sleep(0.001)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    assert len(set(crowd.saved)) > 2


async def test_a_stream_is_read_by_one_loop_at_a_time(store: Store) -> None:
    """Two would tear its place apart."""
    await write(store, *"ab")
    stream = changes(store)
    async with stream:
        await anext(aiter_of := aiter(stream))
        with pytest.raises(InvalidArgument, match="one loop at a time"):
            await take(stream, 1)
        assert ids([await anext(aiter_of)]) == ["b"]


@pytest.mark.parametrize(
    "options",
    [
        {"group": ""},
        {"group": "no blanks"},
        {"group": "x" * 65},
        {"lease": timedelta(milliseconds=999)},
        {"start": None},
        {"start": 7},
        {"longest_pause": 0},
        {"longest_pause": True},
        {"longest_pause": "1"},
    ],
)
async def test_wrong_arguments_are_refused(store: Store, options: dict[str, Any]) -> None:
    """Where the stream is made, not where it is read."""
    with pytest.raises(InvalidArgument):
        changes(store, **options)


class Flaky(MemoryEntityStore):
    """Writes the group's record, and says that it could not."""

    fails = False

    async def write(self, writes, *, atomic=False, token=None):  # type: ignore[no-untyped-def]  # as the port's
        written = await super().write(writes, atomic=atomic, token=token)
        if self.fails:
            self.fails = False
            raise Unavailable("cut")
        return written


async def test_a_save_whose_answer_was_lost_costs_no_turn(clock: ManualClock) -> None:
    """The record is read back, and says whose it is."""
    env = Environment(clock=clock)
    flaky = Flaky(env)
    inner = checked(PortName.ENTITIES, flaky)
    await inner.open()
    member = Group(inner, env, "g", timedelta(seconds=30))
    rival = Group(inner, env, "g", timedelta(seconds=30))

    async def start() -> FeedPosition | None:
        return None

    assert await member.take(start) is True
    flaky.fails = True
    with pytest.raises(Unavailable):
        await member.save()
    await member.save()
    assert (member.is_held, await rival.take(start)) == (True, False)
    await inner.write([Delete(key=port.Key("!group#g", "place"))])
    with pytest.raises(LeaseLostError):
        await member.save()
    assert (member.is_held, await rival.take(start)) == (False, True)
    await member.release()
    await rival.release()


async def test_a_member_leaves_also_where_the_store_fails(clock: ManualClock) -> None:
    """His turn ends with his lease; the failure does not hide what ended his loop."""
    env = Environment(clock=clock)
    flaky = Flaky(env)
    await flaky.open()
    member, rival = (Group(flaky, env, "g", timedelta(seconds=30)) for _ in range(2))

    async def start() -> FeedPosition | None:
        return None

    assert await member.take(start) is True
    await flaky.close()
    await member.release()
    await flaky.open()
    assert (member.is_held, await rival.take(start)) == (False, False)
    clock.advance(timedelta(seconds=30))
    assert await rival.take(start) is True
    await rival.release()


async def test_two_members_who_begin_at_once_do_not_both_get_the_turn(store: Store) -> None:
    """The record is created by one."""

    async def start() -> FeedPosition | None:
        await asyncio.sleep(0)
        return None

    members = [Group(store.entities, store.env, "new", timedelta(seconds=9)) for _ in range(5)]
    assert sorted(await asyncio.gather(*(member.take(start) for member in members))) == [False] * 4 + [True]
    for member in members:
        await member.release()
    records = (await store.entities.scan(port.Segment())).records
    assert [record.kind for record in records] == [GROUP_KIND]


class Storm:
    """Every few operations on entities fail, before or after their effect."""

    slot: ClassVar[int] = 15

    def __init__(self) -> None:
        self.random = Random(11)
        self.blows = False

    async def __call__(self, operation: Operation, proceed: Callable[[], Awaitable[T]]) -> T:
        if not self.blows or operation.port is not PortName.ENTITIES or self.random.random() > 0.1:
            return await proceed()
        if operation.writes and self.random.random() < 0.5:
            await proceed()
            raise Unavailable("the answer was lost", effect=Effect.UNKNOWN)
        raise Unavailable("it never arrived")

    @hookimpl
    def storycore_layers(self, port: PortName, adapter: str) -> list[Interceptor]:
        return [self]


async def test_nothing_is_left_out_while_everything_fails_now_and_then(clock: ManualClock) -> None:
    """Members that fail and come back are told all changes, of each key in order but for what is told again."""
    storm, told = Storm(), []
    async with storycore.open("memory", plugins=[storm], env=Environment(clock=clock)) as store:
        for i in range(60):
            await write(store, "abc"[i % 3], text=str(i))
        wanted = {(f"note#{'abc'[i % 3]}", str(i)) for i in range(60)}
        storm.blows = True

        async def member() -> None:
            while wanted - set(told):
                clock.advance(timedelta(seconds=1))
                with suppress(StorycoreError):
                    async for change in changes(store, wait=False):
                        assert change.instance is not None
                        told.append((change.key.pk, change.instance.text))
                        await asyncio.sleep(0)
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(*(member() for _ in range(3)))
    firsts = {name: [int(text) for pk, text in dict.fromkeys(told) if pk == name] for name in ("note#a", "note#b")}
    assert firsts == {"note#a": list(range(0, 60, 3)), "note#b": list(range(1, 60, 3))}


def test_a_sync_store_tells_changes(tmp_path: Path) -> None:
    """A plain loop, which can be left like any other."""
    with storycore.open_sync("local", dir=tmp_path, overrides=LIGHT) as store:
        store.init()
        notes = store.repository(NOTE)
        notes.save(Note(id="a"))
        notes.save(Note(id="b"))
        stream = store.changes(kinds=[NOTE], group="g", start="oldest", longest_pause=0.01)
        told = []
        for change in stream:
            told.append(change.instance.id)
            if len(told) == 2:
                stream.commit()
                break
        assert told == ["a", "b"]
        notes.save(Note(id="c"))
        again = store.changes(kinds=[NOTE], group="g", wait=False)
        assert [change.instance.id for change in again] == ["c"]
