"""What a vector index promises about crashes: a process is killed while it writes, and what it leaves is whole.

The writer follows a script in which each step is one call. Whatever is there afterwards has to be what the reference
holds after the acknowledged steps, or after one more.

``STORYCORE_KILL_ROUNDS`` in the environment sets the number of kills, for a long run.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import ClassVar, Final

import pytest

from storycore.filters import F
from storycore.ports.filters import MetadataValue
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import VectorIndex, VectorItem
from storycore.testing.harness import Harness
from storycore.testing.machines import outcome
from storycore.testing.processes import Child, Line, child
from storycore.testing.vector_durability import durable
from storycore.testing.vector_examples import DIMENSION, found, item, search_words

__all__ = ["VectorKills"]

HERE: Final = "storycore.testing.vector_kills"
SPACES: Final = ("default", "n2")
_MOST_STEPS: Final = 30
_LONGEST_SECONDS: Final = 0.01
_WORDS: Final = ("fire", "river", "mill")


class VectorKills:
    """The part of the VectorIndex suite that kills.

    Args:
        kill_rounds: how often a writing process is killed; ``None``: 3 times, or once for an adapter that brings a
            server.
    """

    kill_rounds: ClassVar[int | None] = None

    @pytest.mark.asyncio
    async def test_what_was_acknowledged_survives_a_kill(self, harness: Harness) -> None:
        """After a kill every acknowledged call is there, and the one in flight is there whole or not at all."""
        await (await durable(harness, "vectors.atomic")).close()
        choose, steps = random.Random(7), 0
        async with await Harness(PortName.VECTORS, "memory", {"dimension": DIMENSION}, harness.path).started() as model:
            for _ in range(int(os.environ.get("STORYCORE_KILL_ROUNDS", 0)) or harness.fitting(self.kill_rounds, 3)):
                acknowledged = await _killed(harness, steps, choose)
                harness.count("kills")
                harness.count("writes acknowledged before kills", acknowledged - steps)
                for step in range(steps, acknowledged):
                    await take(model, step)
                steps = await _verified(harness, model, acknowledged)


async def take(store: VectorIndex, step: int) -> object:
    """Take one step of the script: a call that depends on nothing but the number of the step."""
    chance = random.Random(step)
    namespace = chance.choice(SPACES)
    kind = chance.choice(["upsert", "upsert", "update", "update_where", "ids", "where", "all"])
    if kind == "upsert":
        items = [_item(chance, step) for _ in range(chance.randint(1, 8))]
        return await outcome(store.upsert(items, namespace=namespace))
    if kind == "update":
        changed = _item(chance, step)
        call = store.update(changed.id, values=changed.values, set=changed.metadata, namespace=namespace)
        return await outcome(call)
    if kind == "update_where":
        changed, where = _item(chance, step), F.n <= chance.randint(0, 9)
        return await outcome(store.update_where(where, set=changed.metadata, unset=["gone"], namespace=namespace))
    if kind == "ids":
        return await outcome(store.delete(ids=[f"i{chance.randint(0, 19)}" for _ in range(4)], namespace=namespace))
    if kind == "where":
        return await outcome(store.delete(where=F.n == chance.randint(0, 9), namespace=namespace))
    return await outcome(store.delete(all=step % 3 == 0, ids=None if step % 3 == 0 else [], namespace=namespace))


def _item(chance: random.Random, step: int) -> VectorItem:
    """An item; its field ``wild`` is now a number and now a text, so that calls are refused for its type."""
    numbers = [chance.randint(1, 3), *(chance.randint(-2, 2) for _ in range(DIMENSION - 1))]
    text = " ".join(chance.choice(_WORDS) for _ in range(chance.randint(0, 5)))
    made = item(f"i{chance.randint(0, 19)}", *numbers, n=chance.randint(0, 9), step=step, text=text, gone="g")
    if chance.random() < 0.1:
        wild: MetadataValue = 1 if chance.random() < 0.5 else "t"
        return VectorItem(made.id, made.values, {**made.metadata, "wild": wild})
    return made


async def _killed(harness: Harness, done: int, choose: random.Random) -> int:
    """Let a process go on with the script, and kill it; how many steps are acknowledged in all."""
    async with child(harness, f"{HERE}:_write_for_ever", done) as writer:
        acknowledged = done
        for _ in range(choose.randint(1, _MOST_STEPS)):
            acknowledged = await writer.hear()
        await asyncio.sleep(choose.random() * _LONGEST_SECONDS)
        await writer.kill()
        return await _last(writer, acknowledged)


async def _last(writer: Child, acknowledged: int) -> int:
    while (said := await writer.hear()) is not None:
        acknowledged = said
    return acknowledged


async def _write_for_ever(store: VectorIndex, line: Line, step: int) -> None:
    """Go on with the script, and report each step once it has returned."""
    while True:
        await take(store, step)
        step += 1
        line.say(step)


async def _verified(harness: Harness, model: VectorIndex, acknowledged: int) -> int:
    """Compare what is there with the reference; how many steps are done, the acknowledged ones or one more."""
    async with await harness.started() as store:
        health = await store.health(deep=True)
        assert health.ok, health.detail
        state = await _state(store)
        if state == await _state(model):
            return acknowledged
        await take(model, acknowledged)
        assert await _state(model) == state, "what is there is neither the state before the call nor the one after it"
        return acknowledged + 1


async def _state(store: VectorIndex) -> object:
    """Everything that can be read, as one value."""
    held: list[object] = [(await store.stats()).counts]
    for namespace in SPACES:
        held.append((await store.scan(limit=1000, namespace=namespace)).items)
        held.append([await found(store, F.n == n, namespace=namespace) for n in range(10)])
        if store.capabilities.has("vectors.text"):
            held.append([await _having(store, word, namespace) for word in _WORDS])
    return held


async def _having(store: VectorIndex, word: str, namespace: str) -> list[str]:
    return sorted(match.id for match in await search_words(store, word, namespace=namespace, top_k=1000))
