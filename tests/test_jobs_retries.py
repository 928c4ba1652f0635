"""What fails is tried again before its next due time, and what cannot be read stops no other job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.errors import ConfigError, Corrupt
from storycore.jobs import Job, Jobs, Outcome, Run, RunRecord
from storycore.jobs.standing import Standing
from storycore.jobs.state import run_partition, state_key
from storycore.layers.checks import checked
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.entities import EntityStore, Key, Put
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.virtual_time import LoopClock, VirtualLoop

T = TypeVar("T")

MINUTE = timedelta(minutes=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    """A store on virtual time; its jobs fail at the runs whose numbers are given."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = LoopClock(loop)
        self.env = Environment(clock=self.clock)
        self.memory = MemoryEntityStore(self.env)
        self.store: EntityStore = checked(PortName.ENTITIES, self.memory)  # type: ignore[assignment]  # a checked entity store is one
        self.told: list[RunRecord] = []
        self.begun: list[str] = []

    def jobs(self, *given: Job) -> Jobs:
        """The jobs as one process sees them."""

        async def tell(record: RunRecord) -> None:
            self.told.append(record)

        return Jobs(self.store, self.env, tell=tell, given=lambda: given, namespace="n")

    def job(self, failures: set[int], *, name: str = "j", seconds: float = 0.0, **options: Any) -> Job:
        """Hourly; its runs are logged with the minute at which they begin."""
        count = 0

        async def work(run: Run) -> None:
            nonlocal count
            count += 1
            self.begun.append(f"{self.clock.now():%H:%M} {run.attempt}")
            await asyncio.sleep(seconds)
            if count in failures:
                raise Corrupt(f"run {count} failed")

        return Job(name=name, cron="0 * * * *", work=work, **{"retries": 3, "retry_after": 5 * MINUTE, **options})

    async def until(self, minutes: float) -> None:
        """Let time pass up to so many minutes behind the beginning."""
        await asyncio.sleep((START + minutes * MINUTE - self.clock.now()).total_seconds())

    async def fates(self, jobs: Jobs) -> list[str]:
        """The history from its beginning."""
        lines = reversed(await jobs.history("j"))
        return [f"{line.outcome} {line.due:%H:%M} {line.attempt}" for line in lines if line.due is not None]


def play(story: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """A story in a world of its own that begins at midnight."""

    async def told() -> T:
        world = World(loop)
        async with world.memory:
            return await story(world)

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(told())
    finally:
        loop.close()


def served(failures: set[int], minutes: float, **options: Any) -> tuple[list[str], list[str]]:
    """When the runs of a job began, and how they ended, within so many minutes."""

    async def story(world: World) -> tuple[list[str], list[str]]:
        jobs = world.jobs(world.job(failures, **options))
        async with jobs.runner():
            await world.until(minutes)
        return world.begun, await world.fates(jobs)

    return play(story)


def test_what_failed_is_tried_again_with_growing_pauses() -> None:
    """Until it succeeds; the next due time is as if nothing had been."""
    begun, fates = served({1, 2}, 121)
    assert begun == ["01:00 1", "01:05 2", "01:15 3", "02:00 1"]
    assert fates == ["retried 01:00 1", "retried 01:00 2", "done 01:00 3", "done 02:00 1"]


def test_it_is_given_up_when_all_retries_failed() -> None:
    """The last one has failed for good."""
    begun, fates = served({1, 2, 3, 4}, 121)
    assert begun == ["01:00 1", "01:05 2", "01:15 3", "01:35 4", "02:00 1"]
    assert fates[3:] == ["failed 01:00 4", "done 02:00 1"]


@pytest.mark.parametrize(
    ("options", "fates"),
    [
        ({"retries": 0}, ["failed 01:00 1", "done 02:00 1"]),
        ({"retry_after": 60 * MINUTE}, ["failed 01:00 1", "done 02:00 1"]),
        ({"max_late": 4 * MINUTE}, ["failed 01:00 1", "done 02:00 1"]),
        ({"catch_up": "none"}, ["retried 01:00 1", "done 01:00 2", "done 02:00 1"]),
        ({"catch_up": "all"}, ["retried 01:00 1", "done 01:00 2", "done 02:00 1"]),
    ],
)
def test_a_retry_comes_before_the_next_due_time_or_not_at_all(options: dict[str, Any], fates: list[str]) -> None:
    """Nor later than the job may be late."""
    assert served({1}, 121, **options)[1] == fates


def test_a_run_that_took_too_long_is_tried_again_too() -> None:
    """As one that raised."""
    fates = served(set(), 100, seconds=120, deadline=MINUTE, retries=1)[1]
    assert fates == ["retried 01:00 1", "timed_out 01:00 2"]


def test_a_retry_that_nobody_made_gives_way_to_the_next_due_time() -> None:
    """Its due time has failed then, which is written down once."""

    async def story(world: World) -> list[str]:
        job = world.job({1}, seconds=1)
        async with world.jobs(job).runner():
            await world.until(61)
        await world.until(150)
        jobs = world.jobs(job)
        async with jobs.runner():
            await world.until(151)
        return await world.fates(jobs)

    assert play(story) == ["retried 01:00 1", "failed 01:00 1", "done 02:00 1"]


def test_a_retry_outlives_its_runner_and_is_made_by_another() -> None:
    """Closed while it waits, or while it runs; a run by hand between leaves it as it is."""

    async def story(world: World) -> list[str]:
        job = world.job({1}, seconds=60)
        async with world.jobs(job).runner():
            await world.until(62)
        by_hand = await world.jobs(job).run("j")
        assert by_hand.outcome is Outcome.DONE
        async with world.jobs(job).runner():
            await world.until(66.5)
        jobs = world.jobs(job)
        async with jobs.runner():
            await world.until(70)
        return await world.fates(jobs)

    assert play(story) == ["retried 01:00 1", "cancelled 01:00 2", "done 01:00 3"]


def test_two_runners_make_a_retry_once() -> None:
    """As any due time."""

    async def story(world: World) -> list[str]:
        job = world.job({1, 2}, seconds=20)
        async with world.jobs(job).runner(), world.jobs(job).runner():
            await world.until(100)
        return world.begun

    assert [line[:5] for line in play(story)] == ["01:00", "01:05", "01:15"]


def test_a_job_that_is_tried_again_is_shown_with_its_next_try() -> None:
    """It is well as long as there is one, and failing behind the last."""

    async def story(world: World) -> list[tuple[str, str, bool]]:
        jobs = world.jobs(world.job({1, 2, 3, 4}, retries=1))
        seen: list[tuple[str, str, bool]] = []
        async with jobs.runner():
            for minutes in (61, 66):
                await world.until(minutes)
                [status] = await jobs.list()
                health = await jobs.health()
                assert status.next is not None and health is not None
                seen.append((status.standing, f"{status.next:%H:%M}", health.ok))
        return seen

    assert play(story) == [(Standing.RETRYING, "01:05", True), (Standing.FAILING, "02:00", False)]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    failures=st.sets(st.integers(1, 12), max_size=10),
    retries=st.integers(0, 4),
    pause=st.sampled_from([1, 4, 7, 13, 40]),
    breaks=st.lists(st.tuples(st.integers(61, 290), st.integers(1, 70)), max_size=3),
    seconds=st.sampled_from([0, 90, 700]),
)
def test_every_due_time_has_one_fate_whatever_is_tried_again(
    failures: set[int], retries: int, pause: int, breaks: list[tuple[int, int]], seconds: int
) -> None:
    """Runs that fail, runners that stop for a while: each due time ends once, no try comes behind its end."""
    ends = {"done", "failed", "timed_out", "given_up", "missed", "skipped"}

    async def story(world: World) -> list[RunRecord]:
        job = world.job(failures, retries=retries, retry_after=pause * MINUTE, seconds=float(seconds), attempts=99)
        for begin, length in sorted(breaks):
            if START + begin * MINUTE > world.clock.now():
                async with world.jobs(job).runner():
                    await world.until(begin)
                await asyncio.sleep(length * 60)
        jobs = world.jobs(job)
        async with jobs.runner():
            await asyncio.sleep(6 * 3600)
        return list(reversed(await jobs.history("j")))

    history = play(story)
    ended: dict[datetime, int] = {}
    for number, line in enumerate(history):
        if line.due is not None and line.outcome in ends:
            assert line.due not in ended
            ended[line.due] = number
    assert all(number <= ended.get(line.due, number) for number, line in enumerate(history) if line.due is not None)
    counted = sum(line.count for line in history if line.outcome in ends)
    first, last = min(ended), max(ended)
    assert counted == round((last - first) / timedelta(hours=1)) + 1


async def damaged(world: World, *jobs: str) -> None:
    """Put bytes into the records of jobs that nobody can read."""
    await world.store.write([Put(key=state_key("n", job), kind="job_state", body=b"[{") for job in jobs])


def test_a_damaged_record_stops_its_job_and_no_other() -> None:
    """It is told once in the history and as an event, in health, and where the job is run by hand; a reset mends it."""

    async def story(world: World) -> list[str]:
        jobs = world.jobs(world.job(set()), world.job(set(), name="k"))
        await damaged(world, "j")
        async with jobs.runner():
            await world.until(130)
            health = await jobs.health()
            assert health is not None
            assert (health.ok, "`storycore jobs reset j --yes`" in health.detail) == (False, True)
            standing = {status.name: status.standing for status in await jobs.list()}
            assert standing == {"j": Standing.UNREADABLE, "k": Standing.OK}
            with pytest.raises(Corrupt, match="jobs reset j"):
                await jobs.run("j")
            assert [(line.job, line.outcome) for line in world.told if line.outcome != "done"] == [("j", "failed")]
            [line] = await jobs.history("j")
            assert "cannot be read" in line.detail
            await jobs.reset("j")
            await world.until(190)
        return world.begun

    assert play(story) == ["01:00 1", "02:00 1", "03:00 1", "03:00 1"]


def test_a_record_that_is_damaged_during_a_run_ends_no_runner() -> None:
    """The run is not written down, and the other jobs go on."""

    async def story(world: World) -> list[str]:
        jobs = world.jobs(world.job(set(), seconds=600), world.job(set(), name="k"))
        async with jobs.runner():
            await world.until(65)
            await damaged(world, "j")
            await world.until(181)
        standing = {status.name: status.standing for status in await jobs.list()}
        return [f"{name} {each}" for name, each in standing.items()] + [str(len(await jobs.history("k")))]

    assert play(story) == ["j unreadable", "k ok", "3"]


def test_a_damaged_line_of_history_is_named() -> None:
    """With what becomes of it."""

    async def story(world: World) -> None:
        jobs = world.jobs(world.job(set()))
        await jobs.run("j")
        await world.store.write([Put(key=Key(run_partition("n", "j"), "9"), kind="job_run", body=b"{")])
        with pytest.raises(Corrupt, match=r"history_days"):
            await jobs.history("j")
        assert (await jobs.list())[0].standing is Standing.OK

    play(story)


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": True}, {"retries": 21}, {"retry_after": timedelta()}])
def test_a_wrong_number_of_retries_is_refused(options: dict[str, Any]) -> None:
    """The error names the setting."""

    async def story(world: World) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            world.jobs(world.job(set(), **options)).names()

    play(story)
