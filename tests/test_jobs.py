"""Jobs on virtual time: each due time is run once, late rather than never, whoever dies, sleeps or turns the clock."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from storycore.errors import ConditionFailed, ConfigError, InvalidArgument, NotFound, Unavailable
from storycore.jobs import Job, Jobs, Outcome, Run, RunRecord
from storycore.jobs.standing import Standing
from storycore.layers.checks import checked
from storycore.memory.entities import MemoryEntityStore
from storycore.ports.entities import EntityStore
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.virtual_time import LoopClock, VirtualLoop

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class TurnableClock(LoopClock):
    """The time of a loop, turned by as much as a test says."""

    turned = timedelta()

    def now(self) -> datetime:
        """The present."""
        return super().now() + self.turned


class World:
    """A store on virtual time, with any number of processes that run its jobs."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = TurnableClock(loop)
        self.env = Environment(clock=self.clock)
        self.memory = MemoryEntityStore(self.env)
        self.told: list[RunRecord] = []
        self.log: list[tuple[str, datetime | None, int]] = []

    async def __aenter__(self) -> World:
        await self.memory.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.memory.close()

    def jobs(self, *given: Job, **options: Any) -> Jobs:
        """The jobs as one process sees them."""

        async def tell(record: RunRecord) -> None:
            if record.outcome is not Outcome.DONE:
                self.told.append(record)

        store: EntityStore = checked(PortName.ENTITIES, self.memory)  # type: ignore[assignment]  # a checked entity store is one
        options = {"namespace": "n", **options}
        return Jobs(store, self.env, tell=tell, given=lambda: given, **options)

    def work(self, *, seconds: float = 0.0) -> Callable[[Run], Awaitable[None]]:
        """Work that takes so long, and is logged when it is done."""

        async def do(run: Run) -> None:
            await asyncio.sleep(seconds)
            self.log.append((run.job, run.due, run.attempt))

        return do

    @property
    def due(self) -> list[str]:
        """The due times that were run, in the order in which they were."""
        return ["by hand" if due is None else due.strftime("%d %H:%M") for _, due, _ in self.log]

    def at(self, text: str) -> float:
        """Seconds from now until a time of the first days."""
        day, _, time = text.partition(" ")
        moment = START.replace(day=int(day), hour=int(time[:2]), minute=int(time[3:]))
        return (moment - self.clock.now()).total_seconds()

    async def until(self, text: str) -> None:
        """Let time pass."""
        await asyncio.sleep(self.at(text))


def play(story: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """A story in a world of its own."""

    async def told() -> T:
        async with World(loop) as world:
            return await story(world)

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(told())
    finally:
        loop.close()


def job(world: World, cron: str = "0 * * * *", *, name: str = "j", seconds: float = 0.0, **options: Any) -> Job:
    """A job that is logged."""
    options.setdefault("work", world.work(seconds=seconds))
    return Job(name=name, cron=cron, **options)


def test_a_job_runs_when_it_is_due() -> None:
    """At the very second, each due time once; one that is served for the first time owes nothing."""

    async def story(world: World) -> list[str]:
        await world.until("01 00:30")
        async with world.jobs(job(world)).runner():
            await world.until("01 03:01")
        return world.due

    assert play(story) == ["01 01:00", "01 02:00", "01 03:00"]


@pytest.mark.parametrize(
    ("options", "ran", "missed"),
    [
        ({"catch_up": "latest"}, ["01 01:00", "01 06:00", "01 07:00"], 4),
        ({"catch_up": "all"}, ["01 01:00", *(f"01 0{hour}:00" for hour in range(2, 8))], 0),
        ({"catch_up": "none"}, ["01 01:00", "01 07:00"], 5),
        ({"catch_up": "latest", "max_late": 10 * MINUTE}, ["01 01:00", "01 07:00"], 5),
        ({"catch_up": "all", "max_late": 2 * HOUR}, ["01 01:00", "01 05:00", "01 06:00", "01 07:00"], 3),
    ],
)
def test_what_passed_while_nobody_ran_jobs_is_caught_up(options: dict[str, Any], ran: list[str], missed: int) -> None:
    """As the job says; what is left out is told as missed, in one event."""

    async def story(world: World) -> tuple[list[str], int]:
        hourly = job(world, **options)
        await world.until("01 00:30")
        async with world.jobs(hourly).runner():
            await world.until("01 01:10")
        await world.until("01 06:30")
        async with world.jobs(hourly).runner():
            await world.until("01 07:10")
        [status] = await world.jobs(hourly).list()
        told = [record for record in world.told if record.outcome is Outcome.MISSED]
        assert sum(record.count for record in told) == status.counts.get("missed", 0)
        assert len(told) <= 1
        return world.due, status.counts.get("missed", 0)

    assert play(story) == (ran, missed)


@pytest.mark.parametrize(
    ("overlap", "ran", "left_out"),
    [
        ("skip", ["01 01:00", "01 04:00"], {"skipped": 4}),
        ("wait", ["01 01:00", "01 03:00", "01 06:00"], {"missed": 4}),
    ],
)
def test_what_passes_while_a_job_runs_is_left_out_or_waits(
    overlap: str, ran: list[str], left_out: dict[str, int]
) -> None:
    """A run of two and a half hours overruns two due times; where they wait, the later one is run after it."""

    async def story(world: World) -> tuple[list[str], dict[str, int]]:
        slow = job(world, seconds=9000, deadline=5 * HOUR, overlap=overlap)
        await world.until("01 00:30")
        async with world.jobs(slow).runner():
            await world.until("01 08:45")
            [status] = await world.jobs(slow).list()
        return world.due, {name: count for name, count in status.counts.items() if name != "done"}

    due, others = play(story)
    assert (due[: len(ran)], others) == (ran, left_out)


def test_two_runners_run_each_due_time_once() -> None:
    """Whichever is first; the other finds it done."""

    async def story(world: World) -> list[str]:
        hourly = job(world, seconds=1)
        await world.until("01 00:30")
        async with world.jobs(hourly).runner(), world.jobs(hourly).runner(), world.jobs(hourly).runner():
            await world.until("01 05:01")
        return world.due

    assert play(story) == [f"01 0{hour}:00" for hour in range(1, 6)]


def test_stores_of_two_namespaces_have_jobs_of_their_own() -> None:
    """The same name in the same entities is run by each; neither sees the other's history."""

    async def story(world: World) -> tuple[list[str], list[int]]:
        first, second = (world.jobs(job(world), namespace=name) for name in ("n", "m"))
        await world.until("01 00:30")
        async with first.runner(), second.runner():
            await world.until("01 01:01")
        await first.run("j")
        return world.due, [len(await jobs.history("j")) for jobs in (first, second)]

    assert play(story) == (["01 01:00", "01 01:00", "by hand"], [2, 1])


def test_jobs_run_beside_each_other_and_each_alone() -> None:
    """One that takes long holds up no other."""

    async def story(world: World) -> list[str]:
        slow = job(world, name="slow", seconds=1200)
        quick = job(world, "*/15 * * * *", name="quick")
        await world.until("01 00:59")
        async with world.jobs(slow, quick).runner():
            await world.until("01 01:40")
        return [name for name, _, _ in world.log]

    assert play(story) == ["quick", "quick", "slow", "quick"]


def test_a_job_that_raises_has_failed_and_runs_again_when_it_is_due() -> None:
    """The failure is told, stands in the history, and makes health bad until the next good run."""

    async def story(world: World) -> tuple[list[Standing], list[str]]:
        is_broken = True

        async def work() -> str:
            if is_broken:
                raise NotFound("nothing there")
            return "all well"

        jobs = world.jobs(job(world, work=work))
        await world.until("01 00:30")
        standings = []
        async with jobs.runner():
            await world.until("01 01:01")
            standings.append((await jobs.list())[0].standing)
            health = await jobs.health()
            assert health is not None
            assert (health.ok, "j failed, it never ended well" in health.detail) == (False, True)
            is_broken = False
            await world.until("01 02:01")
            standings.append((await jobs.list())[0].standing)
        assert [record.outcome for record in world.told] == [Outcome.FAILED]
        return standings, [record.detail for record in await jobs.history("j")]

    assert play(story) == ([Standing.FAILING, Standing.OK], ["all well", "not_found: nothing there"])


def test_a_job_that_hangs_is_cancelled_at_its_deadline() -> None:
    """It is told as timed out, and is run again when it is due."""

    async def story(world: World) -> list[tuple[str, datetime | None]]:
        jobs = world.jobs(job(world, seconds=1e6, deadline=10 * MINUTE))
        await world.until("01 00:30")
        async with jobs.runner():
            await world.until("01 01:11")
            history = await jobs.history("j")
        return [(record.outcome, record.due) for record in history]

    assert play(story) == [("timed_out", START + HOUR)]


def test_a_job_that_will_not_end_is_not_begun_beside_itself() -> None:
    """Work that swallows its cancellation keeps its turn; what passes meanwhile is left out."""

    async def story(world: World) -> tuple[int, int]:
        begun = most = 0

        async def work() -> None:
            nonlocal begun, most
            begun, most = begun + 1, max(most, begun + 1)
            end = world.clock.now() + 3 * HOUR
            while world.clock.now() < end:
                try:
                    await asyncio.sleep((end - world.clock.now()).total_seconds())
                except asyncio.CancelledError:
                    continue
            begun -= 1

        jobs = world.jobs(job(world, work=work, deadline=10 * MINUTE))
        await world.until("01 00:30")
        runner, other = jobs.runner(), world.jobs(job(world, work=work)).runner()
        async with runner:
            await world.until("01 01:30")
            async with other:
                await world.until("01 03:30")
                assert [record.outcome for record in world.told] == [Outcome.TIMED_OUT]
                await world.until("01 04:30")
        return most, len([record for record in world.told if record.outcome is Outcome.TIMED_OUT])

    most, timed_out = play(story)
    assert most == 1
    assert timed_out >= 1


@pytest.mark.parametrize(
    ("result", "detail"),
    [
        (None, ""),
        ("done \udcff", "done ?"),
        ({"count": 3, 1: {2}}, '{"count":3,"1":"{2}"}'),
        ({"big": 2**70}, "{'big': 1180591620717411303424}"),
        ("x" * 5000, "x" * 1000),
        (object(), ""),
    ],
)
def test_whatever_work_returns_can_be_written_down(result: object, detail: str) -> None:
    """Texts and mappings as far as they can be, cut to a thousand characters."""

    async def story(world: World) -> tuple[str, str]:
        async def work() -> object:
            return result

        jobs = world.jobs(job(world, work=work))
        return (await jobs.run("j")).detail, (await jobs.history("j"))[0].detail

    assert play(story) == (detail, detail)


def test_work_that_cancels_itself_has_failed() -> None:
    """The runner goes on."""

    async def story(world: World) -> list[str]:
        async def work() -> None:
            raise asyncio.CancelledError

        jobs = world.jobs(job(world, work=work))
        await world.until("01 00:30")
        async with jobs.runner():
            await world.until("01 02:01")
            return [record.outcome for record in await jobs.history("j")]

    assert play(story) == ["failed", "failed"]


def test_a_runner_that_is_closed_leaves_its_run_to_the_next() -> None:
    """The work is cancelled, that is told, and the due time is run when somebody serves again."""

    async def story(world: World) -> tuple[list[str], list[str]]:
        slow = job(world, seconds=600)
        await world.until("01 00:30")
        async with world.jobs(slow).runner():
            await world.until("01 01:05")
        assert world.due == []
        async with world.jobs(slow).runner():
            await world.until("01 01:20")
        return world.due, [record.outcome for record in world.told]

    assert play(story) == (["01 01:00"], ["cancelled"])


def test_a_failing_store_is_waited_for() -> None:
    """Looks that fail are repeated; what became due meanwhile is run late."""

    async def story(world: World) -> list[str]:
        hourly = job(world)
        await world.until("01 00:30")
        async with world.jobs(hourly).runner():
            await world.until("01 00:50")
            await world.memory.close()
            await world.until("01 01:30")
            await world.memory.open()
            await world.until("01 02:01")
        return world.due

    assert play(story) == ["01 01:00", "01 02:00"]


def test_the_first_look_must_succeed() -> None:
    """Who serves a store that cannot be reached hears of it at once."""

    async def story(world: World) -> None:
        await world.memory.close()
        with pytest.raises(Unavailable):
            await world.jobs(job(world)).serve()

    play(story)


def test_a_job_is_run_by_hand_while_runners_begin_to_serve_it() -> None:
    """They take its turn to write down when they first saw it; that is no run, and is over at once."""

    async def story(world: World) -> list[str]:
        jobs, others = (world.jobs() for _ in range(2))
        async with jobs.runner(), others.runner():
            for steps in range(40):
                for each in (jobs, others):
                    each.add(job(world, name=f"j{steps}"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                assert (await jobs.run(f"j{steps}")).outcome is Outcome.DONE
        return world.due

    assert play(story) == ["by hand"] * 40


def test_a_job_is_run_by_hand_once() -> None:
    """That settles no due time, and nobody else may do so meanwhile."""

    async def story(world: World) -> list[str]:
        jobs, others = (world.jobs(job(world, seconds=60)) for _ in range(2))
        running = asyncio.create_task(jobs.run("j"))
        await asyncio.sleep(1)
        assert (await others.list())[0].standing is Standing.RUNNING
        with pytest.raises(ConditionFailed, match="another process"):
            await others.run("j")
        assert (await running).outcome is Outcome.DONE
        with pytest.raises(InvalidArgument, match="Did you mean 'j'"):
            await others.run("J")
        await world.until("01 00:30")
        async with jobs.runner():
            await world.until("01 01:02")
        return world.due

    assert play(story) == ["by hand", "01 01:00"]


def test_health_tells_what_is_overdue_and_since_when() -> None:
    """Only where jobs are used at all; what is switched off is nobody's concern."""

    async def story(world: World) -> str:
        daily = job(world, "0 2 * * *", name="backup.daily")
        jobs = world.jobs(daily)
        assert await jobs.health() is None
        async with jobs.runner():
            await world.until("01 02:01")
        healthy = await jobs.health()
        assert healthy is not None
        assert healthy.ok
        await world.until("02 02:30")
        late = await jobs.health()
        assert late is not None
        assert late.ok
        await world.until("02 09:01")
        off = await world.jobs(daily, off=["backup.daily"]).health()
        assert off is not None
        assert off.ok
        sick = await jobs.health()
        assert sick is not None
        assert not sick.ok
        return sick.detail

    detail = "backup.daily is overdue by 7 h, last good 31 h ago; does a runner serve it? `storycore jobs run`"
    assert play(story) == detail


def test_the_profile_decides_when_and_whether() -> None:
    """Its expression and its zone count, and what it switches off runs by hand alone; a wrong name is told."""

    async def story(world: World) -> list[str]:
        crons, off = {"a": "30 9 * * *", "bb": "0 0 * * *"}, ["c", "nothing"]
        given = [job(world, "0 1 * * *", name=name) for name in "ac"] + [job(world, "0 3 * * *", name="b", tz="UTC")]
        jobs = world.jobs(*given, crons=crons, off=off, zone="Asia/Kolkata")
        async with jobs.runner():
            await world.until("01 12:00")
        assert (await jobs.run("c")).outcome is Outcome.DONE
        assert [sentence.split(",")[0] for sentence in jobs.unknown()] == [
            "jobs.off names 'nothing'",
            "jobs.cron names 'bb'",
        ]
        return [f"{name} {due:%H:%M}" if due else name for name, due, _ in world.log]

    assert play(story) == ["b 03:00", "a 04:00", "c"]


def test_a_job_that_is_added_later_is_served_too() -> None:
    """By runners that serve already."""

    async def story(world: World) -> list[str]:
        jobs = world.jobs()
        async with jobs.runner(poll=HOUR):
            await asyncio.sleep(1)
            jobs.job("later", cron="5 0 * * *")(world.work())
            await world.until("01 00:06")
        return world.due

    assert play(story) == ["01 00:05"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"cron": "x"}, "jobs.j.cron"),
        ({"tz": "Mars/Base"}, "jobs.j.tz"),
        ({"catch_up": "some"}, "jobs.j.catch_up"),
        ({"overlap": "both"}, "jobs.j.overlap"),
        ({"max_late": timedelta()}, "jobs.j.max_late"),
        ({"deadline": None}, "jobs.j.deadline"),
        ({"attempts": 0}, "jobs.j.attempts"),
        ({"work": None}, "jobs.j: the work"),
        ({"work": lambda a, b: None}, "jobs.j: the work"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(options: dict[str, Any], named: str) -> None:
    """When it is declared."""

    async def story(world: World) -> None:
        with pytest.raises(ConfigError, match=named):
            world.jobs().add(Job(**{"name": "j", "cron": "0 0 * * *", "work": world.work(), **options}))

    play(story)


def test_a_name_is_one_jobs() -> None:
    """Two of a name are refused."""

    async def story(world: World) -> None:
        jobs = world.jobs(job(world))
        with pytest.raises(ConfigError, match="two jobs of the name 'j'"):
            jobs.job("j", cron="0 0 * * *")(world.work())

    play(story)


def test_an_idle_runner_does_next_to_nothing() -> None:
    """In a day without anything due it looks around every poll and at the end, and writes nothing."""

    async def story(world: World) -> int:
        yearly = [job(world, "0 0 1 6 *", name=f"j{number}") for number in range(9)]
        jobs, reads = world.jobs(*yearly), 0
        inner = world.memory.get

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal reads
            reads += 1
            return await inner(*args, **kwargs)

        world.memory.get = counted  # type: ignore[method-assign]  # counts what passes
        async with jobs.runner(poll=MINUTE):
            await world.until("01 10:00")
        return reads

    assert play(story) <= 600 + 20


@pytest.mark.parametrize("turns", range(6))
def test_a_runner_that_is_woken_while_it_is_closed_ends(turns: int) -> None:
    """Whatever the loop is about to do when it is cancelled."""

    async def story(world: World) -> bool:
        runner = world.jobs(job(world)).runner()
        async with runner:
            await asyncio.sleep(1)
            runner.wake()
            for _ in range(turns):
                await asyncio.sleep(0)
            closing = asyncio.create_task(runner.close())
            await asyncio.wait({closing}, timeout=60)
            return closing.done()

    assert play(story)


def test_the_decorator_has_the_defaults_of_a_job() -> None:
    """Both ways to declare a job mean the same where nothing is said."""
    usual = {each.name: each.default for each in fields(Job) if each.default is not MISSING}
    given = inspect.signature(Jobs.job).parameters
    assert {name: given[name].default for name in usual} == usual
