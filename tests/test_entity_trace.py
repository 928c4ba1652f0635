"""One random trace over every entity store there is: after each step all of them agree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from storycore.memory.config import MemoryConfig
from storycore.memory.entities import MemoryEntityStore
from storycore.plugins import Adapter
from storycore.ports.entities import Record
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.entity_trace import run_trace
from storycore.testing.harness import Harness
from storycore.testing.servers import served

LONG = os.environ.get("STORYCORE_LONG_TRACES")


class Forgetful(MemoryEntityStore):
    """Drops the fields of what is put a second time."""

    def __init__(self, config: MemoryConfig, env: Environment) -> None:
        super().__init__(env)

    def _store(self, record: Record) -> Record:
        return super()._store(replace(record, fields={}) if record.key in self._records else record)


def harnesses(names: Sequence[str], path: Path, server: Mapping[str, object]) -> list[Harness]:
    """A place for each adapter."""
    places = []
    for name in names:
        (path / name).mkdir()
        settings = server if name == "dynamodb" else {}
        places.append(Harness(PortName.ENTITIES, name, {}, path / name, served=settings))
    return places


@pytest.mark.parametrize("seed", [11, 12])
async def test_memory_and_sqlite_agree(tmp_path: Path, seed: int) -> None:
    """Five hundred steps, in which every kind of step and of outcome occurs."""
    report = await run_trace(harnesses(["memory", "sqlite"], tmp_path, {}), seed=seed, steps=500)
    assert (report.steps, len(report.kinds)) == (500, 9)
    assert {"done", "PartialFailure", "TransactionConflict", "VersionConflict", "NotFound"} <= set(report.outcomes)


async def test_memory_sqlite_and_dynamodb_agree(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The same steps on all three."""
    places = harnesses(["memory", "sqlite", "dynamodb"], tmp_path, served("dynamodb", request.config))
    report = await run_trace(places, seed=21, steps=60)
    assert (list(report.stores), report.steps) == (["memory", "sqlite", "dynamodb"], 60)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="takes minutes: set STORYCORE_LONG_TRACES to the seeds, as in 1,2,3")
@pytest.mark.parametrize("seed", [int(seed) for seed in (LONG or "1").split(",")])
async def test_two_thousand_steps_are_the_same_on_all_three(
    tmp_path: Path, request: pytest.FixtureRequest, seed: int
) -> None:
    """One trace of 2,000 random steps, with crashes, sweeps and passing time."""
    places = harnesses(["memory", "sqlite", "dynamodb"], tmp_path, served("dynamodb", request.config))
    report = await run_trace(places, seed=seed, steps=2000)
    assert (report.steps, len(report.stores)) == (2000, 3)


async def test_a_difference_names_seed_step_and_store(tmp_path: Path) -> None:
    """A trace that fails can be run again, and tells which store answered otherwise."""
    faulty = Adapter(name="forgetful", ports={PortName.ENTITIES: f"{__name__}:Forgetful"}, config=MemoryConfig)
    places = harnesses(["memory", "sqlite"], tmp_path, {})
    places.append(Harness(PortName.ENTITIES, faulty, {}, tmp_path / "forgetful"))
    with pytest.raises(AssertionError, match=r"seed 3, step \d+: forgetful[\s\S]*The last steps:\n"):
        await run_trace(places, seed=3, steps=200)
