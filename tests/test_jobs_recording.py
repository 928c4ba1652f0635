"""The job that records: with it, and nothing else, any second of a store can be restored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import storycore
from storycore.app import Store
from storycore.errors import ConfigError
from storycore.opening import Opening
from storycore.ports.environment import Environment
from storycore.profiles import load
from storycore.story import User
from storycore.testing.clock import ManualClock

START = datetime(2026, 11, 22, 2, tzinfo=UTC)


def opening(folder: Path, clock: ManualClock, **overrides: Any) -> Opening:
    """A store in memory whose profile says something of backups."""
    backup = {"passphrase": "a long enough passphrase", **overrides.pop("backup", {})}
    return storycore.open("memory", dir=folder, overrides={"backup": backup, **overrides}, env=Environment(clock=clock))


async def saved(store: Store, name: str) -> None:
    """A user of this name."""
    await store.users.save(User(user_id=name, email=f"{name}@example.com", username=name))


async def test_any_second_is_restored_where_only_jobs_run(tmp_path: Path) -> None:
    """The first run makes the backup that is needed, the later ones seal; none has failed."""
    clock = ManualClock(START)
    async with opening(tmp_path, clock) as store, opening(tmp_path / "other", clock) as other:
        await store.init(warm_cache=False)
        await other.init(warm_cache=False)
        await saved(store, "ada")
        outcomes, moments = [], []
        for name in ("bob", "eve"):
            outcomes.append((await store.jobs.run("backup.record")).outcome)
            clock.advance(60)
            await saved(store, name)
            clock.advance(60)
            moments.append(clock.now())
            clock.advance(60)
        outcomes.append((await store.jobs.run("backup.record")).outcome)
        assert outcomes == ["done"] * 3
        assert len((await store.backups.list()).manifests) == 1
        await store.backups.restore(at=moments[0], into=other)
        assert [await other.users.find(name) is not None for name in ("ada", "bob", "eve")] == [True, True, False]


async def test_a_gap_has_failed_and_names_the_backup_that_ends_it(tmp_path: Path) -> None:
    """Recording goes on behind that, and the next run is well again."""
    clock = ManualClock(START)
    async with opening(tmp_path, clock) as store:
        await store.init(warm_cache=False)
        await store.jobs.run("backup.record")
        await saved(store, "ada")
        clock.advance(60)
        await store.jobs.run("backup.record")
        segments = [i.key for i in (await store.blobs.entries("backups/segments/")).blobs if i.key[-1].isdigit()]
        await store.blobs.delete(segments)
        await store.backups.close()
        store._backups = None
        clock.advance(60)
        lost = await store.jobs.run("backup.record")
        newest = (await store.backups.list()).manifests[0].id
        assert (lost.outcome, newest in lost.detail, "Segment 1" in lost.detail) == ("failed", True, True)
        assert (await store.jobs.run("backup.record")).outcome == "done"


@pytest.mark.parametrize(
    ("minutes", "cron"), [(1, "*/1 * * * *"), (20, "*/20 * * * *"), (120, "0 */2 * * *"), (1440, "0 0 * * *")]
)
async def test_the_profile_says_how_often(tmp_path: Path, minutes: int, cron: str) -> None:
    """By the minute, by the hour, by the day."""
    async with opening(tmp_path, ManualClock(START), backup={"record_every": minutes}) as store:
        [status] = [each for each in await store.jobs.list() if each.name == "backup.record"]
        assert status.cron == cron
        assert status.next is not None and status.next > START


def test_the_interval_may_come_from_the_environment(tmp_path: Path) -> None:
    """As a text."""
    environ = {"STORYCORE__BACKUP__RECORD_EVERY": "15"}
    assert load("memory", environ=environ, cwd=tmp_path).backup.record_every == 15


@pytest.mark.parametrize("setting", [{"record_every": 0}, {"ports": ["blobs"]}])
async def test_there_is_no_such_job_where_nothing_is_to_be_recorded(tmp_path: Path, setting: dict[str, Any]) -> None:
    """Switched off, or without entities."""
    async with opening(tmp_path, ManualClock(START), backup=setting) as store:
        assert "backup.record" not in store.jobs.names()
        assert "backup.daily" in store.jobs.names()


@pytest.mark.parametrize("minutes", [7, -5, 90, 2880])
def test_an_interval_that_no_clock_has_is_refused(tmp_path: Path, minutes: int) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="record_every"):
        load("memory", overrides={"dir": str(tmp_path), "backup": {"record_every": minutes}})


async def test_an_interval_must_fit_the_feed(tmp_path: Path) -> None:
    """Where the feed forgets sooner, health says so, and what would fit."""
    backup = {"passphrase": "a long enough passphrase", "record_every": 60}
    entities = f"sqlite:///{tmp_path}/s.db?feed_retention=PT1H"
    async with storycore.open("memory", dir=tmp_path, overrides={"backup": backup, "entities": entities}) as store:
        await store.init(warm_cache=False)
        with pytest.raises(ConfigError, match="every 30 minutes at least"):
            store.jobs.names()
        assert (await store.health())["jobs"].ok is False
