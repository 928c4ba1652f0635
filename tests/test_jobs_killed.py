"""A process that is killed in the middle of a job leaves it to another one, which does it again when the lease ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

import storycore
from storycore.app import Store
from storycore.jobs import Run
from storycore.jobs.state import JobState, state_key
from storycore.opening import Opening
from storycore.ports.entities import Put

WORKER = """
import asyncio, sys
import storycore

async def main():
    jobs = {"lease_seconds": 1, "off": sys.argv[2]}
    async with storycore.open("memory", overrides={"entities": sys.argv[1], "jobs": jobs}) as store:
        @store.jobs.job("long", cron="0 * * * *")
        async def long(run):
            print("begun", run.due.isoformat(), run.attempt, run.fence, flush=True)
            await asyncio.sleep(60)
        await store.jobs.serve()

asyncio.run(main())
"""
OFF = "expired.sweep,cache.warm,vectors.optimize,spilled.sweep"


def opening(entities: str) -> Opening:
    """The same store as the other process has."""
    return storycore.open("memory", overrides={"entities": entities, "jobs": {"lease_seconds": 1, "off": OFF}})


async def owed(store: Store, due: datetime) -> None:
    """Let the job have been served until just before a due time."""
    state = JobState(settled=due - timedelta(seconds=1))
    body = orjson.dumps([state, "", due])
    await store.ports["entities"].write([Put(key=state_key("default", "long"), kind="job_state", body=body)])


async def test_a_killed_process_leaves_its_job_to_another_one(tmp_path: Path) -> None:
    """Never beside it, and with a greater fence; the history tells that the first one was lost."""
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    entities = f"sqlite:///{tmp_path}/s.db"
    async with opening(entities) as store:
        await store.init(warm_cache=False)
        await owed(store, due)
        worker = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), entities, OFF], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        said = (await asyncio.to_thread(worker.stdout.readline)).split()
        assert said[:3] == ["begun", due.isoformat(), "1"]
        runs: list[Run] = []

        @store.jobs.job("long", cron="0 * * * *")
        async def long(run: Run) -> None:
            runs.append(run)

        async with store.jobs.runner(poll=timedelta(seconds=1)):
            await asyncio.sleep(0.3)
            assert runs == []
            worker.send_signal(signal.SIGKILL)
            await asyncio.to_thread(worker.wait)
            worker.stdout.close()
            while not runs:
                await asyncio.sleep(0.02)
        assert [(run.due, run.attempt, run.fence > int(said[3])) for run in runs] == [(due, 2, True)]
        history = [(each.outcome, each.due, each.attempt) for each in await store.jobs.history("long")]
        assert history == [("done", due, 2), ("lost", due, 1)]
