"""The sync face: the same objects without await; never a deadlock, not in a loop, not after a fork, not at exit."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

import storycore
from storycore.errors import Effect, InvalidArgument, NotFound, Unavailable
from storycore.ports.conditions import ANY
from storycore.ports.lifecycle import PortName
from storycore.story import Story, StoryStatus, User
from storycore.sync import SyncStore


def user(name: str = "ada") -> User:
    return User(user_id=name, email=f"{name}@example.com", username=name)


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *args], capture_output=True, text=True, timeout=60, check=False
    )


def test_repositories_work_without_await() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        store.users.save(user())
        assert store.users.get("ada").email == "ada@example.com"
        with pytest.raises(NotFound):
            store.users.get("nobody")


def test_ports_work_without_await() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        store.health()
        assert {name: port.health().ok for name, port in store.ports.items()} == dict.fromkeys(PortName, True)


def test_pages_and_listings_are_plain_iterators() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        for number in range(5):
            store.stories.save(Story(story_id=f"s{number}", user_id="ada", session_id="x", content="words"))
        page = store.stories.by_user("ada", status=StoryStatus.DRAFT, limit=3)
        assert len(page.items) == 3
        assert len(list(store.stories.summaries("ada"))) == 5


def test_an_entity_declaration_gets_its_repository() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        repository = store.repository("user")
        repository.put(user())
        assert repository.get(user_id="ada").username == "ada"


def test_a_sync_function_is_cached_in_both_tiers_and_invalidated() -> None:
    calls: list[str] = []
    with storycore.open_sync("memory") as store:

        @store.cache.cached("weather:{city}", ttl=300)
        def weather(city: str) -> str:
            calls.append(city)
            return f"sunny in {city}"

        assert [weather("Richmond"), weather("Richmond")] == ["sunny in Richmond"] * 2
        store.cache.clear_l1()
        assert (weather("Richmond"), calls) == ("sunny in Richmond", ["Richmond"])
        weather.invalidate("Richmond")
        weather("Richmond")
        assert calls == ["Richmond"] * 2


def test_a_cached_result_of_any_type_comes_back_as_it_is() -> None:
    with storycore.open_sync("memory") as store:

        @store.cache.cached("id:{number}", ttl=300)
        def identifier(number: int) -> UUID:
            return UUID(int=number)

        @store.cache.cached("digits:{number}", ttl=300)
        def digits(number: int) -> frozenset[str]:
            return frozenset(str(number))

        assert [identifier(1), identifier(1)] == [UUID(int=1)] * 2
        assert [digits(12), digits(12)] == [frozenset("12")] * 2


def test_cached_functions_may_call_themselves_and_each_other() -> None:
    with storycore.open_sync("memory") as store:

        @store.cache.cached("fibonacci:{number}", ttl=300)
        def fibonacci(number: int) -> int:
            return number if number < 2 else int(fibonacci(number - 1) + fibonacci(number - 2))

        assert fibonacci(60) == 1548008755920


def test_whatever_a_cached_function_raises_reaches_its_caller() -> None:
    with storycore.open_sync("memory") as store:

        @store.cache.cached("first:{number}", ttl=300)
        def first(number: int) -> int:
            return 100 // number if number < 50 else next(iter(()))

        with pytest.raises(ZeroDivisionError):
            first(0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            first(50)


def test_a_cached_function_can_be_a_method() -> None:
    with storycore.open_sync("memory") as store:

        class Station:
            users = store.users

            @store.cache.cached("measured:{city}", ttl=300)
            def measured(self, city: str) -> str:
                return f"rain in {city}"

            @store.cache.cached("forecast:{city}", ttl=300)
            async def forecast(self, city: str) -> str:
                return f"sunny in {city}"

        station = Station()
        assert (station.measured("Richmond"), station.forecast("Richmond")) == ("rain in Richmond", "sunny in Richmond")
        assert station.users.find("ada") is None


def test_a_typed_region_loads_once() -> None:
    loaded: list[str] = []

    async def load(user_id: str) -> User:
        loaded.append(user_id)
        return user(user_id)

    with storycore.open_sync("memory") as store:
        region = store.cache.region("user:{user_id}", User, ttl=60)
        assert [region.get_or_load(user_id="ada", load=load).username for _ in range(2)] == ["ada", "ada"]
        assert loaded == ["ada"]


def test_a_region_loads_through_a_repository_of_the_store_or_any_sync_function() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        store.users.save(user())
        by_repository = store.cache.region("user:{key}", User, ttl=60)
        assert by_repository.get_or_load(key="ada", load=lambda key: store.users.get(key)).username == "ada"
        by_method = store.cache.region("name:{username}", User, ttl=60)
        assert by_method.get_or_load(username="ada", load=store.users.by_username).user_id == "ada"


def test_blobs_are_read_in_a_with_block() -> None:
    with storycore.open_sync("memory") as store:
        store.blobs.put("a", b"12345", when=ANY)
        with store.blobs.get("a") as reader:
            assert b"".join(reader) == b"12345"


def test_backups_and_jobs_work_without_await(tmp_path: Path) -> None:
    """From the first backup to the moment that is restored, and from the declaration of a job to its history."""
    with storycore.open_sync("memory", dir=tmp_path, overrides={"backup": {"owner_keys": True}}) as store:
        store.init(enable_backups=True)
        store.users.save(user())
        seen: list[tuple[str, int]] = []
        made = store.backups.create(progress=lambda port, done: seen.append((port, done)))
        assert ("entities", 3) in seen
        assert store.backups.show().id == store.backups.record().series == made.backup_id
        assert store.backups.verify(level="restore").is_whole
        store.users.delete("ada")
        assert store.backups.plan_restore()["entities"].added
        store.backups.restore(mode="merge", on_conflict="skip")
        assert store.users.get("ada").username == "ada"
        assert (store.backups.erase("ada").backups, store.backups.verify_recording()) == ((made.backup_id,), [])
        assert list(store.backups.prune(dry_run=True).kept) == [made.backup_id]

        @store.jobs.job("report", cron="0 6 * * MON")
        async def report() -> str:
            return "42 pages"

        with store.jobs.runner():
            assert store.jobs.run("report").detail == "42 pages"
        assert [each.outcome for each in store.jobs.history("report")] == ["done"]
        store.jobs.reset("report")
        assert {each.standing for each in store.jobs.list() if each.name == "report"} == {"new"}
        with pytest.raises(InvalidArgument, match="loop each"), storycore.open_sync("memory") as other:
            store.backups.restore(into=other)


async def test_it_refuses_to_block_a_running_loop() -> None:
    with pytest.raises(InvalidArgument, match=r"storycore\.open"):
        storycore.open_sync("memory")


def test_a_store_that_was_opened_before_the_loop_refuses_inside_it() -> None:
    with storycore.open_sync("memory") as store:

        async def inside() -> None:
            with pytest.raises(InvalidArgument, match="block the event loop"):
                store.users.get("ada")

        asyncio.run(inside())


def test_several_threads_share_one_store() -> None:
    with storycore.open_sync("memory") as store:
        store.init()
        threads = [threading.Thread(target=store.users.save, args=(user(f"u{n}"),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert {store.users.get(f"u{n}").username for n in range(8)} == {f"u{n}" for n in range(8)}


def test_a_closed_store_says_so() -> None:
    store = storycore.open_sync("memory")
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="open it again"):
        store.users.get("ada")


def test_a_call_that_is_under_way_when_the_store_closes_ends() -> None:
    begun, told = threading.Event(), []

    async def endless() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await asyncio.sleep(60)

    def upload() -> None:
        try:
            store.blobs.put("a", endless(), when=ANY)
        except Unavailable as exc:
            told.append((exc.message, exc.effect))

    store = storycore.open_sync("memory")
    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    assert begun.wait(10)
    store.close()
    thread.join(10)
    assert told == [("The store was closed during the call; open it again.", Effect.UNKNOWN)]


def test_calls_that_race_with_closing_never_hang() -> None:
    told: list[type[BaseException]] = []

    def read(store: SyncStore) -> None:
        try:
            while True:
                store.users.find("ada")
        except BaseException as exc:
            told.append(type(exc))

    for _ in range(10):
        store = storycore.open_sync("memory")
        threads = [threading.Thread(target=read, args=(store,), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        store.close()
        for thread in threads:
            thread.join(10)
    assert told == [Unavailable] * 30


def test_a_store_stays_open_as_long_as_something_of_it_is_used() -> None:
    before = threading.active_count()
    users = storycore.open_sync("memory").users
    find = users.find
    del users
    gc.collect()
    assert find("ada") is None
    del find
    gc.collect()
    assert threading.active_count() == before


def test_a_wrong_profile_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with pytest.raises(storycore.StorycoreError):
        storycore.open_sync("memory", overrides={"cache": "no-such-adapter://"})
    assert threading.active_count() == before


FORKED = """
    import os, sys
    import storycore
    from storycore.story import User

    store = storycore.open_sync("local", dir=sys.argv[1], overrides={"embedder": "memory://"})
    store.init()
    store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
    users = store.users
    pid = os.fork()
    if pid == 0:
        users.save(User(user_id="bob", email="bob@example.com", username="bob"))
        os._exit(0 if users.get("ada").username == "ada" else 1)
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), users.get("bob").username, users.get("ada").username)
    store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_opens_the_store_anew(tmp_path: Path) -> None:
    done = run(FORKED, str(tmp_path / "data"))
    assert (done.stdout.split(), done.returncode) == (["0", "bob", "ada"], 0), done.stderr


FORKED_FUNCTION = """
    import os, signal, sys
    import storycore

    store = storycore.open_sync("local", dir=sys.argv[1], overrides={"embedder": "memory://"})
    store.init()

    @store.cache.cached("process:{number}", ttl=60)
    def process(number: int) -> int:
        return os.getpid()

    async def load(number):
        return os.getpid()

    region = store.cache.region("number:{number}", int, ttl=60)
    assert process(1) == os.getpid()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        mine = (process(1) == os.getppid(), process(2) == os.getpid(), region.get_or_load(number=1, load=load) > 1)
        os._exit(0 if all(mine) else 1)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), process(2) == child)
    store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_cached_functions_and_regions_work_in_a_forked_child(tmp_path: Path) -> None:
    done = run(FORKED_FUNCTION, str(tmp_path / "data"))
    assert (done.stdout.split(), done.returncode) == (["0", "True"], 0), done.stderr


def test_a_store_that_is_collected_on_its_own_loop_does_not_wait_for_itself() -> None:
    class Owner:
        def __init__(self) -> None:
            self.itself = self
            self.store = storycore.open_sync("memory")

    owner = Owner()
    thread = owner.store._session._thread
    gc.collect()
    gc.disable()
    try:
        del owner
        asyncio.run_coroutine_threadsafe(_collect(), thread._loop)
        thread._thread.join(5)
    finally:
        gc.enable()
    assert not thread._thread.is_alive()


async def _collect() -> None:
    gc.collect()


LEFT_OPEN = """
    import sys
    import storycore
    from storycore.story import User

    store = storycore.open_sync("local", dir=sys.argv[1], overrides={"embedder": "memory://"})
    store.init()
    store.users.save(User(user_id="ada", email="ada@example.com", username="ada"))
    print("saved")
"""


def test_an_interpreter_that_ends_with_the_store_open_ends_quietly_and_keeps_the_data(tmp_path: Path) -> None:
    done = run(LEFT_OPEN, str(tmp_path / "data"))
    assert (done.stdout, done.stderr, done.returncode) == ("saved\n", "", 0)
    with storycore.open_sync("local", dir=tmp_path / "data") as store:
        assert store.users.get("ada").username == "ada"
