"""Random histories of processes that die, sleep and stand still: every due time has one fate, and is done once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from storycore.jobs import Job, Jobs, Outcome, Run, Runner, RunRecord
from storycore.jobs.declaration import CatchUp
from storycore.layers.checks import checked
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.virtual_time import LoopClock, VirtualLoop

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STEP = 10 * MINUTE
FATES = {Outcome.DONE, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.GIVEN_UP, Outcome.MISSED, Outcome.SKIPPED}


class TurnableClock(LoopClock):
    """The time of a loop, turned by as much as a history says."""

    turned = timedelta()

    def now(self) -> datetime:
        """The present."""
        return super().now() + self.turned


class Wire:
    """One process's way to the store: it may stand still, and it ends with the process."""

    def __init__(self, store: MemoryEntityStore) -> None:
        self._store: Any = checked(PortName.ENTITIES, store)
        self.is_dead = False
        self.moves = asyncio.Event()
        self.moves.set()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        async def passed(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)  # others come between
            await self.moves.wait()
            if self.is_dead:
                raise asyncio.CancelledError
            return await operation(*args, **kwargs)

        return passed


class Process:
    """A process that runs jobs."""

    def __init__(self, world: World, job: Callable[[Process], Job]) -> None:
        self.wire = Wire(world.memory)
        store: EntityStore = self.wire  # type: ignore[assignment]  # it has whatever the store has
        made = job(self)
        self.jobs = Jobs(store, world.env, namespace="n", tell=world.tell, given=lambda: [made])
        self.runner: Runner = self.jobs.runner()

    async def begin(self) -> None:
        await self.runner.__aenter__()

    async def die(self) -> None:
        """Nothing more is written, and nothing more is done."""
        self.wire.is_dead = True
        self.wire.moves.set()
        await self.runner.close()

    async def end(self) -> None:
        """As a service manager would have it."""
        self.wire.moves.set()
        await self.runner.close()


class World:
    """A store on virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = TurnableClock(loop)
        self.env = Environment(clock=self.clock)
        self.memory = MemoryEntityStore(self.env)
        self.done: list[datetime] = []
        self.records: list[RunRecord] = []

    async def tell(self, record: RunRecord) -> None:
        self.records.append(record)

    def job(self, seconds: int, **options: Any) -> Callable[[Process], Job]:
        """A job that is due every ten minutes and takes so long."""

        def made(process: Process) -> Job:
            async def work(run: Run) -> None:
                await asyncio.sleep(seconds)
                assert run.due is not None
                self.done.append(run.due)

            return Job(name="j", cron="*/10 * * * *", work=work, **options)

        return made

    async def state(self, job: Callable[[Process], Job]) -> tuple[datetime | None, Counter[str]]:
        """Up to where everything is decided, and how often it ended how."""
        [held] = await Process(self, job).jobs._board.read(["j"])
        assert held is not None
        return held.state.settled, Counter(held.state.counts)


def play(story: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """A story in a world of its own."""

    async def told() -> T:
        world = World(loop)
        await world.memory.open()
        return await story(world)

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(told())
    finally:
        loop.close()


def due_between(after: datetime, until: datetime) -> list[datetime]:
    """Every ten minutes."""
    count = int((until - START) / STEP)
    return [START + n * STEP for n in range(count + 1) if after < START + n * STEP <= until]


EVENT = st.tuples(st.integers(10, 2500), st.sampled_from(["begin", "die", "end", "still", "move"]), st.integers(0, 2))
POLICIES = st.sampled_from(["latest", "all", "none"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(events=st.lists(EVENT, max_size=14), seconds=st.sampled_from([0, 5, 400, 1500]), catch_up=POLICIES)
def test_every_due_time_has_one_fate_and_is_done_once(
    events: list[tuple[int, str, int]], seconds: int, catch_up: CatchUp
) -> None:
    """However processes begin, die, end, stand still and go on, and whichever of three does it."""

    async def story(world: World) -> None:
        job = world.job(seconds, catch_up=catch_up, attempts=1000)
        await asyncio.sleep(61)
        processes: dict[int, Process] = {9: Process(world, job)}
        await processes[9].begin()
        registered = world.clock.now()
        stood_still = False
        for pause, action, which in events:
            await asyncio.sleep(pause)
            process = processes.get(which)
            if action == "begin" and process is None:
                processes[which] = Process(world, job)
                await processes[which].begin()
            elif process is not None and action in ("die", "end"):
                await (processes.pop(which).die() if action == "die" else processes.pop(which).end())
            elif process is not None and action == "still":
                process.wire.moves.clear()
                stood_still = True
            elif process is not None:
                process.wire.moves.set()
            if action == "die" and 9 in processes and pause % 2:
                await processes.pop(9).die()
        for process in processes.values():
            await process.end()
        final = Process(world, job)
        await final.begin()
        await asyncio.sleep(3 * 3600)
        await final.end()
        await _judge(world, job, registered, catch_up, may_repeat=stood_still)

    play(story)


async def _judge(
    world: World, job: Callable[[Process], Job], registered: datetime, catch_up: CatchUp, *, may_repeat: bool
) -> None:
    """Count fates: in the state, in the history and in what was really done."""
    settled, counts = await world.state(job)
    assert settled is not None
    due = due_between(registered, settled)
    fates = {outcome.value: counts[outcome.value] for outcome in FATES}
    assert sum(fates.values()) == len(due)
    written = [record.due for record in await Process(world, job).jobs.history("j", limit=1000)
               if record.outcome is Outcome.DONE]  # fmt: skip
    assert len(written) == len(set(written)) == counts["done"]
    assert set(written) <= set(world.done)
    assert may_repeat or sorted(world.done) == sorted(due for due in written if due is not None)
    if catch_up == "all":
        assert sorted(due for due in written if due is not None) == due


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    spans=st.lists(st.tuples(st.integers(30, 9000), st.integers(30, 20000)), min_size=1, max_size=6),
    catch_up=POLICIES,
    late=st.sampled_from([None, 5, 25, 90]),
)
def test_what_is_run_is_what_an_enumeration_of_due_times_says(
    spans: list[tuple[int, int]], catch_up: CatchUp, late: int | None
) -> None:
    """One process that is up and down for random times; the work takes no time."""
    max_late = None if late is None else late * MINUTE

    async def story(world: World) -> tuple[list[datetime], list[datetime]]:
        job = world.job(0, catch_up=catch_up, max_late=max_late)
        expected: list[datetime] = []
        seen: datetime | None = None
        for up, down in spans:
            process = Process(world, job)
            begun = world.clock.now()
            await process.begin()
            await asyncio.sleep(up + 0.5)
            await process.end()
            ended = world.clock.now()
            owed = [] if seen is None else due_between(seen, begun)
            most = timedelta.max if max_late is None else max_late
            most = min(most, MINUTE) if catch_up == "none" else most
            timely = [due for due in owed if begun - due <= most]
            expected += timely if catch_up == "all" else timely[-1:]
            expected += due_between(begun, ended)
            seen = ended
            await asyncio.sleep(down + 0.25)
        return world.done, expected

    done, expected = play(story)
    assert done == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    turns=st.lists(st.tuples(st.integers(30, 3000), st.integers(-25 * 60, 6 * 3600)), max_size=6),
    seconds=st.sampled_from([0, 300]),
)
def test_a_clock_that_is_turned_repeats_nothing(turns: list[tuple[int, int]], seconds: int) -> None:
    """Forward is like a sleep; back by less than an hour waits; each due time is done once at most."""

    async def story(world: World) -> None:
        job = world.job(seconds, attempts=1000)
        process = Process(world, job)
        registered = world.clock.now()
        await process.begin()
        for pause, turn in turns:
            await asyncio.sleep(pause)
            behind = world.clock.turned.total_seconds() < 0
            world.clock.turned += timedelta(seconds=abs(turn) if behind else turn)
        await asyncio.sleep(4000)
        await process.end()
        settled, counts = await world.state(job)
        assert settled is not None
        assert len(world.done) == len(set(world.done)) == counts["done"]
        assert sum(counts[outcome.value] for outcome in FATES) == len(due_between(registered, settled))

    play(story)


def test_a_clock_that_was_far_ahead_does_not_stop_a_job_for_years() -> None:
    """What was settled in a wrong future counts no more once the clock is right."""

    async def story(world: World) -> list[datetime]:
        process = Process(world, world.job(0))
        world.clock.turned = timedelta(days=3650)
        await process.begin()
        await asyncio.sleep(700)
        world.clock.turned = timedelta()
        await asyncio.sleep(1300)
        await process.end()
        return world.done

    assert [due.year for due in play(story)] == [2035, 2026, 2026]


def test_a_run_whose_runner_died_is_lost_and_run_again() -> None:
    """After its lease, by another runner, as a second attempt; the history tells both."""

    async def story(world: World) -> list[tuple[str, int]]:
        job = world.job(300)
        first, second = Process(world, job), Process(world, job)
        await asyncio.sleep(30)
        await first.begin()
        await asyncio.sleep(600)
        await first.die()
        await second.begin()
        await asyncio.sleep(450)
        await second.end()
        assert world.done == [START + STEP]
        return [(record.outcome, record.attempt) for record in await second.jobs.history("j")]

    assert play(story) == [("done", 2), ("lost", 1)]


def test_a_due_time_over_which_runners_die_is_given_up() -> None:
    """After as many attempts as the job says; the next due time is run again."""

    async def story(world: World) -> Counter[str]:
        job = world.job(500, attempts=2, catch_up="all")
        await asyncio.sleep(30)
        for pause in (600, 100):
            process = Process(world, job)
            await process.begin()
            await asyncio.sleep(pause)
            await process.die()
        last = Process(world, job)
        await last.begin()
        await asyncio.sleep(1200)
        await last.end()
        assert START + STEP not in world.done
        return Counter(record.outcome for record in world.records)

    counts = play(story)
    assert (counts["given_up"], counts["lost"], counts["done"] >= 1) == (1, 1, True)


def test_a_runner_that_stood_still_writes_nothing_over_its_successor() -> None:
    """When it moves again it finds the turn another's: neither its outcome nor its line of history is kept."""

    async def story(world: World) -> tuple[list[str], int]:
        fences: list[int] = []

        def job(process: Process) -> Job:
            async def work(run: Run) -> str:
                fences.append(run.fence)
                await asyncio.sleep(100)
                return f"attempt {run.attempt}"

            return Job(name="j", cron="0 * * * *", work=work)

        first, second = Process(world, job), Process(world, job)
        await asyncio.sleep(3000)
        await first.begin()
        await asyncio.sleep(605)
        first.wire.moves.clear()
        await second.begin()
        await asyncio.sleep(300)
        first.wire.moves.set()
        await asyncio.sleep(30)
        await first.end()
        await second.end()
        history = [f"{record.outcome} {record.detail}" for record in await second.jobs.history("j")]
        assert fences == sorted(set(fences))
        return history, len(fences)

    history, runs = play(story)
    assert (history, runs) == (["done attempt 2", "lost Its runner gave no sign of life any more."], 2)
