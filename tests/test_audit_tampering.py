"""Whatever is done to a stored trail by somebody without its key is found, wherever a writer died nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from storycore.audit.keys import SettledKey
from storycore.audit.places import Place
from storycore.audit.trail import AuditTrail
from storycore.audit.verifying import AuditReport
from storycore.errors import Corrupt, NotFound, StorycoreError
from storycore.layers.acting import acting
from storycore.layers.checks import checked
from storycore.memory.blobs import open_blobs
from storycore.memory.config import MemoryBlobConfig
from storycore.ports.blobs import BlobStore
from storycore.ports.conditions import ANY
from storycore.ports.environment import Environment
from storycore.ports.lifecycle import PortName
from storycore.testing.clock import ManualClock
from storycore.testing.faults import Fault, Faults, from_call

SECRET = "6b" * 32
Objects = dict[str, bytes]


class World:
    """A place for trails, things that are watched, and faults between a trail and its place."""

    def __init__(self, place: BlobStore, things: BlobStore, clock: ManualClock) -> None:
        self.place, self.things, self.clock = place, things, clock
        self.env = Environment(clock=clock)
        self.faults = Faults(PortName.BLOBS, operations={"put", "delete"})

    def trail(self, *, secret: str = SECRET) -> AuditTrail:
        """One more store's trail over the place."""
        place = Place(self.faults.around(self.place), "audit/")
        return AuditTrail(place, SettledKey(secret), self.env, who="test", flush_seconds=60)

    async def act(self, trail: AuditTrail, *actors: str) -> None:
        """One put by each, and what was recorded is stored."""
        watched = cast(BlobStore, trail.watched(PortName.BLOBS, self.things))
        for actor in actors:
            self.clock.advance(1)
            with acting(actor):
                await watched.put("thing", b"x", when=ANY)
        await trail.flush()

    async def objects(self) -> Objects:
        """All that is stored."""
        found: Objects = {}
        page = await self.place.entries("audit/")
        for each in page.blobs:
            async with await self.place.get(each.key) as reader:
                found[each.key] = await reader.read()
        return found

    async def put(self, objects: Objects) -> None:
        """Let the place hold exactly these."""
        await self.place.delete(list(await self.objects()))
        for name, data in objects.items():
            await self.place.put(name, data, when=ANY)

    async def verify(self) -> AuditReport:
        """As somebody does who has recorded nothing himself."""
        return await self.trail().verify()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    env = Environment(clock=ManualClock())
    stores = [checked(PortName.BLOBS, open_blobs(MemoryBlobConfig(), env)) for _ in range(2)]
    async with stores[0] as place, stores[1] as things:
        yield World(cast(BlobStore, place), cast(BlobStore, things), cast(ManualClock, env.clock))


async def history(at: World) -> list[Objects]:
    """Two chains that were closed and one that was not, of which the first was pruned; all states on the way."""
    states = []
    for chain in range(3):
        trail = at.trail()
        for batch in range(3):
            await at.act(trail, "user:ada", f"job:{chain}.{batch}")
            states.append(await at.objects())
        if chain < 2:
            await trail.close()
            states.append(await at.objects())
        if chain == 1:
            await trail.prune(at.clock.now() - timedelta(seconds=8.5))
            states.append(await at.objects())
    return states


def test_an_untouched_trail_is_whole() -> None:
    """Also with chains that were pruned, or that nobody closed, which is told and is no damage."""

    async def run() -> None:
        async with world() as at:
            states = await history(at)
            for state in states:
                await at.put(state)
                assert (await at.verify()).findings == ()
            report = await at.verify()
            assert (report.chains, len(report.unclosed)) == (3, 1)
            assert any("pruned" in name for name in states[-1])

    asyncio.run(run())


@dataclass(frozen=True)
class Change:
    """What is done to the objects."""

    how: str
    first: int
    second: int


def changed(objects: Objects, change: Change) -> Objects:
    """The objects after it."""
    names, result = sorted(objects), dict(objects)
    first, second = names[change.first % len(names)], names[change.second % len(names)]
    data = objects[first]
    match change.how:
        case "flip":
            place = change.second % (8 * len(data))
            flipped = bytearray(data)
            flipped[place // 8] ^= 1 << place % 8
            result[first] = bytes(flipped)
        case "drop":
            del result[first]
        case "swap":
            result[first], result[second] = objects[second], objects[first]
        case "truncate":
            result[first] = data[: change.second % len(data)]
        case "cut lines":
            lines = data.splitlines(keepends=True)
            result[first] = b"".join(lines[: change.second % len(lines)])
        case "mix lines":
            lines = data.splitlines(keepends=True)
            turn = change.second % len(lines)
            result[first] = b"".join([*lines[turn:], *lines[:turn]])
        case "copy":
            result[first] = objects[second]
        case "double":
            result[f"{first}{change.second % 10}"] = data
        case "plant":
            result[first.rpartition("/")[0] + f"/{change.second:012d}-00001767225700000"[:28]] = data
    return result


HOW = ["flip", "drop", "swap", "truncate", "cut lines", "mix lines", "copy", "double", "plant"]
CHANGES = st.builds(Change, st.sampled_from(HOW), st.integers(0, 40), st.integers(0, 4000))


@given(change=CHANGES)
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_any_change_is_found(change: Change) -> None:
    """Bits that flip, objects and lines that go, change places, end early or come from elsewhere."""

    async def run() -> None:
        async with world() as at:
            states = await history(at)
            objects = changed(states[-1], change)
            assume(objects != states[-1])
            assume(not (change.how == "drop" and any("/users/" in name for name in states[-1].keys() - objects.keys())))
            await at.put(objects)
            report = await at.verify()
            assert report.findings, change
            assert all(finding.detail for finding in report.findings)

    asyncio.run(run())


async def test_an_older_state_of_a_part_is_found() -> None:
    """Whoever brings back an old head, or what said how far was pruned, is contradicted by the rest.

    A writer may die between a batch and its head, so a head may be one batch behind, and that alone loses nothing.
    """
    async with world() as at:
        states = await history(at)
        last, tried = states[-1], 0
        for old in states[:-1]:
            for name in old.keys() & last.keys():
                if old[name] != last[name] and not is_one_batch_behind(name, old[name], last):
                    await at.put({**last, name: old[name]})
                    assert (await at.verify()).findings, name
                    tried += 1
        assert tried >= 3


def is_one_batch_behind(name: str, head: bytes, last: Objects) -> bool:
    """Whether a head is that of the last batch but one, or not told of the end."""
    starts = sorted(int(each.split("/")[3][:12]) for each in last if f"/chains/{name.split('/')[-1]}/" in each)
    return "/heads/" in name and orjson.loads(head)["seq"] >= starts[-1] - 1


async def test_the_end_of_a_chain_is_missed_by_a_later_one() -> None:
    """Also where an older head was put in its place; of the newest chain nobody can know."""
    async with world() as at:
        states = await history(at)
        for number, expected in ((1, ["cut"]), (2, [])):
            chain = sorted({name.split("/")[2] for name in states[-1] if "/chains/" in name})[number]
            batches = sorted(name for name in states[-1] if f"/chains/{chain}/" in name)
            older = next(state for state in reversed(states) if batches[-2] in state and batches[-1] not in state)
            kept = {name: data for name, data in states[-1].items() if name != batches[-1]}
            head = f"audit/heads/{chain}"
            await at.put({**kept, head: older[head]})
            assert [finding.kind for finding in (await at.verify()).findings] == expected


async def test_a_chain_that_is_gone_is_missed_by_a_later_one() -> None:
    """The first record of each tells how far the ones before it went, also when the head went with it."""
    async with world() as at:
        states = await history(at)
        chains = sorted({name.split("/")[2] for name in states[-1] if "/chains/" in name})
        kept = {name: data for name, data in states[-1].items() if chains[1] not in name}
        await at.put(kept)
        [finding] = (await at.verify()).findings
        assert (finding.kind, finding.chain) == ("missing", chains[1])


async def test_another_key_verifies_nothing() -> None:
    """Neither the right trail with the wrong key, nor a trail that was made with another one."""
    async with world() as at:
        await history(at)
        assert not (await at.trail(secret="00" * 32).verify()).is_whole
        other = at.trail(secret="00" * 32)
        with pytest.raises(StorycoreError, match="another key"):
            await at.act(other, "mallory")


FAULTS = [Fault.BEFORE, Fault.LOST, Fault.AFTER]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_wherever_a_writer_dies_the_trail_is_whole(fault: Fault) -> None:
    """All that it had stored is there, in order, and nothing is taken for damage."""
    for call in range(8):
        async with world() as at:
            first, dying = at.trail(), at.trail()
            await at.act(first, "a")
            await first.close()
            at.faults.plan(from_call(call, fault))
            done = 0
            try:
                for number in range(3):
                    await at.act(dying, f"d{number}")
                    done = number + 1
            except StorycoreError:
                pass
            at.faults.plan([])
            report = await at.verify()
            assert report.findings == (), (call, fault)
            actors = [record.actor async for record in at.trail().records() if record.action == "blobs.put"]
            assert actors[: 1 + done] == ["a", "d0", "d1", "d2"][: 1 + done]
            assert len(actors) <= 2 + done


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_a_batch_that_nobody_confirmed_is_stored_once(fault: Fault) -> None:
    """The same records come under the same name again, whatever became of the first try."""
    for call in range(6):
        async with world() as at:
            trail = at.trail()
            at.faults.plan([*([None] * call), fault])
            for number in range(3):
                try:
                    await at.act(trail, f"d{number}")
                except StorycoreError:
                    await trail.flush()
            await trail.close()
            assert (await at.verify()).is_whole
            actors = [record.actor async for record in at.trail().records() if record.action == "blobs.put"]
            assert actors == ["d0", "d1", "d2"]


@given(seconds=st.floats(0, 20), fault=st.sampled_from(FAULTS), call=st.integers(0, 6))
@settings(max_examples=40, deadline=None, database=None, derandomize=True)
def test_pruning_leaves_what_is_newer(seconds: float, fault: Fault, call: int) -> None:
    """Whole batches go, nothing newer does, the rest verifies, also in the middle of it; doing it again ends it."""

    async def run() -> None:
        async with world() as at:
            await at.put((await history(at))[-1])
            before = [record async for record in at.trail().records()]
            limit = at.clock.now() - timedelta(seconds=seconds)
            at.faults.plan(from_call(call, fault))
            pruning = at.trail()
            try:
                await pruning.prune(limit)
            except StorycoreError:
                at.faults.plan([])
                assert (await at.verify()).findings == ()
                await pruning.prune(limit)
            at.faults.plan([])
            assert (await at.verify()).findings == ()
            left = {(record.chain, record.seq) async for record in at.trail().records()}
            newer = {(record.chain, record.seq) for record in before if record.at >= limit}
            assert newer <= left
            again = await at.trail().prune(limit)
            assert (again.records, again.chains) == (0, 0)

    asyncio.run(run())


async def test_damage_is_not_pruned_away() -> None:
    """Whoever changed something cannot have it cleared by the next pruning."""
    async with world() as at:
        objects = (await history(at))[-1]
        name = next(name for name in sorted(objects) if "/chains/" in name)
        await at.put({**objects, name: objects[name].replace(b"blobs.put", b"blobs.get")})
        held = await at.objects()
        with pytest.raises(Corrupt, match="Nothing was pruned"):
            await at.trail().prune(at.clock.now())
        assert await at.objects() == held


LINES: Mapping[str, Callable[[list[bytes], int], Sequence[bytes]]] = {
    "one is gone": lambda lines, at: [*lines[:at], *lines[at + 1 :]],
    "one is changed": lambda lines, at: [*lines[:at], lines[at].replace(b"e", b"3", 1), *lines[at + 1 :]],
    "it ends early": lambda lines, at: lines[:at],
    "one is there twice": lambda lines, at: [*lines[: at + 1], *lines[at:]],
    "one is foreign": lambda lines, at: [*lines[:at], b'{"chain":"x","seq":1}\n', *lines[at:]],
}


@pytest.mark.parametrize("how", LINES)
async def test_an_export_is_verified_anywhere(how: str, tmp_path: Path) -> None:
    """It is whole as it was written, and nothing in it can be changed."""
    async with world() as at:
        await history(at)
        exporter = at.trail()
        done = await exporter.export(tmp_path / "trail.jsonl")
        assert (done.chains, (await exporter.verify_file(done.path)).findings) == (3, ())
        lines = done.path.read_bytes().splitlines(keepends=True)
        assert done.records + done.chains + 1 == len(lines)
        for place in range(len(lines)):
            made = LINES[how](lines, place)
            if how == "one is there twice" and b'"seal"' in lines[place]:
                continue  # what it says stands there once more
            done.path.write_bytes(b"".join(made))
            assert (await exporter.verify_file(done.path)).findings, place


async def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    """Neither a file, nor does it leave one when it cannot be ended."""
    async with world() as at:
        objects = (await history(at))[-1]
        (tmp_path / "there").write_text("mine")
        with pytest.raises(StorycoreError, match="exists already"):
            await at.trail().export(tmp_path / "there")
        name = next(name for name in objects if "/chains/" in name)
        await at.put({**objects, name: b"nonsense\n"})
        with pytest.raises(Corrupt):
            await at.trail().export(tmp_path / "new")
        with pytest.raises(StorycoreError, match="does not exist"):
            await at.trail().export(tmp_path / "no" / "new")
        with pytest.raises(NotFound, match="does not exist"):
            await at.trail().export(tmp_path / "there" / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["there"]
