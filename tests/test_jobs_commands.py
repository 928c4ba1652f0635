"""`storycore jobs`, the store's own jobs, the plugins' and what becomes of misses and failures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.app import Store
from storycore.cli.program import run
from storycore.errors import ConfigError, InvalidArgument, NotFound
from storycore.hooks import hookimpl
from storycore.jobs import Job, Run
from storycore.jobs.defaults import DEFAULTS, default_jobs
from storycore.ports.environment import Environment
from storycore.profiles import load
from storycore.testing.clock import ManualClock

OWN = ["cache.warm", "expired.sweep", "spilled.sweep", "vectors.optimize"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a quick local layer."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STORYCORE")]:
        monkeypatch.delenv(name)
    (tmp_path / "storycore.toml").write_text(
        'default = "quick"\n[profile.quick]\nextends = "local"\ndir = "data"\nembedder = "memory://"\n'
        'vectors = "memory://"\n[profile.quick.jobs]\ntime_zone = "Europe/Berlin"\noff = ["cache.warn"]\n'
    )
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command line; its status and what it printed."""
    status = run(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_job_is_run_by_hand_and_stands_in_the_history(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run NAME`, `list` and `history` agree, for people and as JSON; a setting that names no job is told."""
    call(capsys, "init")
    status, out, _ = call(capsys, "jobs", "run", "expired.sweep", "--json")
    ran = json.loads(out)["run"]
    assert (status, ran["outcome"], ran["due"], json.loads(ran["detail"])) == (0, "done", None, {"removed": 0})
    status, out, _ = call(capsys, "jobs", "list", "--json")
    listed = json.loads(out)
    assert (status, [each["name"] for each in listed["jobs"]]) == (0, OWN)
    assert {each["name"]: each["standing"] for each in listed["jobs"]}["expired.sweep"] == "ok"
    assert {each["zone"] for each in listed["jobs"]} == {"Europe/Berlin"}
    assert "Did you mean 'cache.warm'?" in listed["unknown"][0]
    assert "expired.sweep" in call(capsys, "jobs", "list")[1]
    told = json.loads(call(capsys, "jobs", "run", "expired.sweep", "--dry-run", "--json")[1])
    assert told == {"dry_run": True, "job": "expired.sweep", "would": {"removed": 0}}
    assert call(capsys, "jobs", "run", "expired.sweep", "--dry-run")[1] == 'expired.sweep would: {"removed":0}\n'
    status, out, _ = call(capsys, "jobs", "history", "expired.sweep", "--json")
    assert [each["outcome"] for each in json.loads(out)["runs"]] == ["done"]
    lines = call(capsys, "jobs", "history")[1].splitlines()
    assert [line.split()[-4:] for line in lines if "done" in line] == [["-", "expired.sweep", "done", '{"removed":0}']]
    health = json.loads(call(capsys, "health", "--json")[1])["health"]
    assert health["jobs"]["ok"] is True


def test_wrong_use_is_refused_with_the_cure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown job, a store that was not made, an expression and a zone that mean nothing."""
    status, _, err = call(capsys, "jobs", "run", "expired.sweeb")
    assert (status, "Did you mean 'expired.sweep'?" in err) == (2, True)
    status, _, err = call(capsys, "jobs", "run", "--dry-run")
    assert (status, "about one job" in err) == (2, True)
    status, _, err = call(capsys, "jobs", "run", "cache.warm", "--dry-run")
    assert (status, "cannot say beforehand" in err) == (2, True)
    status, _, err = call(capsys, "jobs", "run", "expired.sweep")
    assert (status, "storycore init" in err) == (1, True)
    text = (folder / "storycore.toml").read_text()
    (folder / "storycore.toml").write_text(text.replace("Europe/Berlin", "Europe/Berln"))
    status, _, err = call(capsys, "jobs", "list")
    assert (status, "Did you mean 'Europe/Berlin'?" in err) == (2, True)
    (folder / "storycore.toml").write_text(text + 'cron = { "expired.sweep" = "0 25 * * *" }\n')
    status, _, err = call(capsys, "jobs", "list")
    assert (status, "jobs.expired.sweep.cron: the hour '25'" in err) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_when_it_is_told_to(
    folder: Path, capsys: pytest.CaptureFixture[str], sign: signal.Signals
) -> None:
    """Ctrl-C and the signal of a service manager end it well."""
    call(capsys, "init")
    process = subprocess.Popen(
        [sys.executable, "-m", "storycore", "jobs", "run"], stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert process.stderr is not None
    assert "no such job" in process.stderr.readline()
    assert "until Ctrl-C" in process.stderr.readline()
    time.sleep(0.05)
    process.send_signal(sign)
    assert (process.communicate(timeout=20)[1], process.returncode) == ("Stopped.\n", 0)


class Gardener:
    """A plugin with a job."""

    @hookimpl
    def storycore_jobs(self, store: Store) -> Sequence[Job]:
        """Rake, and fail at it."""

        async def rake() -> None:
            raise NotFound(f"no rake in {store.profile.namespace}")

        return [Job(name="garden.rake", cron="0 6 * * *", work=rake)]


async def test_a_plugin_brings_jobs_and_a_failure_is_an_event() -> None:
    """The event says what failed; the run itself is an answer."""
    overrides = {"embedder": "memory://"}
    async with storycore.open("memory", overrides=overrides, plugins=[Gardener()]) as store:
        await store.init()
        record = await store.jobs.run("garden.rake")
        [event] = (await store.events.read(types=["job_failed"])).events
        health = await store.health()
    assert (record.outcome, record.detail) == ("failed", "not_found: no rake in default")
    assert event.event.data["job"] == "garden.rake"
    assert event.event.data["detail"] == record.detail
    assert (health["jobs"].ok, "garden.rake failed" in health["jobs"].detail) == (False, True)


async def test_the_application_adds_jobs_of_its_own() -> None:
    """By a decorator; the work may ask for the run, and two of a name are refused."""
    async with storycore.open("memory") as store:
        await store.init()
        seen: list[Any] = []

        @store.jobs.job("report", cron="0 6 * * MON", tz="America/New_York", summary="Write the report.")
        async def report(run: Run) -> str:
            seen.append(run)
            return "42 pages"

        with pytest.raises(ConfigError, match="two jobs of the name 'report'"):
            store.jobs.job("report", cron="0 6 * * MON")(report)
        assert (await store.jobs.run("report")).detail == "42 pages"
        assert (seen[0].job, seen[0].due, seen[0].attempt, seen[0].fence >= 1) == ("report", None, 1, True)
        assert {"report", *OWN} <= set(store.jobs.names())


async def test_the_upkeep_does_something() -> None:
    """Every job of the store runs by hand, and ends well."""
    async with storycore.open("memory") as store:
        await store.init()
        assert {name: (await store.jobs.run(name)).outcome for name in OWN} == dict.fromkeys(OWN, "done")
        assert set(await store.maintain()) == {"expired", "vectors", "dropped", "spilled"}


def test_backups_are_jobs_where_a_profile_says_something_of_them(tmp_path: Path) -> None:
    """All of the default jobs have a work then."""
    profile = load("memory", overrides={"dir": str(tmp_path), "backup": {"passphrase": "a long enough passphrase"}})
    with storycore.open_sync(profile) as store:
        store.init()
        assert sorted(store.jobs.names()) == sorted(DEFAULTS)
        assert store.jobs.run("backup.daily").outcome == "done"
        assert store.jobs.run("backup.verify").outcome == "done"
        assert store.jobs.run("backup.prune").outcome == "done"
    assert default_jobs({}, plans={}) == []


async def test_a_job_says_first_what_it_would_do(tmp_path: Path) -> None:
    """The store's own do, where they change or cost something; an application's where it was declared a plan."""
    backup = {"ports": ["entities"], "passphrase": "a long enough passphrase", "keep_last": 1}
    off = {f"keep_{rule}": 0 for rule in ("daily", "weekly", "monthly")}
    overrides = {"backup": {**backup, **off}}
    async with storycore.open("memory", dir=tmp_path, overrides=overrides) as store:
        await store.init()
        assert await store.jobs.plan("expired.sweep") == {"removed": 0}
        assert await store.jobs.plan("vectors.optimize") == {"dropped": 0, "detail": "nothing to do"}
        assert await store.jobs.plan("spilled.sweep") == {"checked": 0, "waiting": 0, "deleted": 0}
        assert await store.jobs.plan("backup.daily") == {"full": True, "because": "it is the first one"}
        made = (await store.backups.create()).manifest.id
        assert await store.jobs.plan("backup.daily") == {"full": False, "builds_on": made}
        await store.backups.create(full=True)
        assert [await store.jobs.plan("backup.prune") for _ in range(2)] == [{"removed": [made]}] * 2
        assert await store.jobs.history() == []

        async def pages() -> str:
            return "42 pages"

        @store.jobs.job("report", cron="0 6 * * MON", plan=pages)
        async def report() -> None:
            raise AssertionError

        assert await store.jobs.plan("report") == "42 pages"
        with pytest.raises(InvalidArgument, match=r"'cache.warm' cannot say beforehand"):
            await store.jobs.plan("cache.warm")
        with pytest.raises(InvalidArgument, match="no job 'reprot'"):
            await store.jobs.plan("reprot")
        store.jobs.add(Job(name="hasty", cron="0 6 * * *", work=pages, plan=lambda: "42 pages"))  # type: ignore[arg-type, return-value]  # what is refused
        with pytest.raises(ConfigError, match="plan of a job is an async function, and that of 'hasty'"):
            await store.jobs.plan("hasty")
        with pytest.raises(ConfigError, match="the plan is an async function without arguments"):
            store.jobs.add(Job(name="bad", cron="0 6 * * *", work=pages, plan=lambda run: pages()))


async def test_the_settings_may_come_from_the_environment_and_a_wrong_one_makes_the_store_unwell(
    tmp_path: Path,
) -> None:
    """Lists are written with commas; health says what `storycore jobs list` would."""
    environ = {"STORYCORE__JOBS__OFF": "cache.warm, expired.sweep", "STORYCORE__JOBS__TIME_ZONE": "Nowhere/At_All"}
    profile = load("memory", environ=environ, cwd=tmp_path)
    assert profile.jobs.off == ("cache.warm", "expired.sweep")
    async with storycore.open(profile) as store:
        await store.init()
        found = (await store.health())["jobs"]
    assert (found.ok, "no time zone 'Nowhere/At_All'" in found.detail) == (False, True)


async def test_a_job_that_nobody_serves_makes_the_store_unwell() -> None:
    """Once somebody has served it; the line says since when."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with storycore.open("memory", env=Environment(clock=clock)) as store:
        await store.init()
        assert "jobs" not in await store.health()
        async with store.jobs.runner():
            while any(status.standing == "new" for status in await store.jobs.list()):
                await asyncio.sleep(0.005)
        assert (await store.health())["jobs"].ok is True
        clock.advance(timedelta(days=2))
        found = (await store.health())["jobs"]
    assert (found.ok, "expired.sweep is overdue by 47 h" in found.detail) == (False, True)
