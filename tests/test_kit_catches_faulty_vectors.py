"""The VectorIndex suite catches every one of these indexes: the reference with one fault each."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from storycore.memory.config import MemoryVectorConfig
from storycore.memory.vectors import MemoryVectorIndex, open_vectors
from storycore.plugins import Adapter
from storycore.ports.capabilities import Capabilities
from storycore.ports.environment import Environment
from storycore.ports.filters import Compare, Eq, Filter, In, Not, evaluate
from storycore.ports.lifecycle import PortName
from storycore.ports.vectors import (
    Deleted,
    IdPage,
    Match,
    Optimized,
    Upserted,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore.testing.harness import Harness
from storycore.testing.vector_examples import DIMENSION
from storycore.testing.vectors import VectorIndexSuite

FAULTS: list[type[MemoryVectorIndex]] = []


def fault(cls: type[MemoryVectorIndex]) -> type[MemoryVectorIndex]:
    """Note a faulty index; its docstring says what is wrong with it."""
    FAULTS.append(cls)
    return cls


@fault
class DistanceForScore(MemoryVectorIndex):
    """Euclidean results carry the distance, so that lower is better."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return [replace(m, score=-m.score) if self.spec.metric == "euclidean" else m for m in super()._search(query)]


@fault
class TiesInOrderOfWriting(MemoryVectorIndex):
    """Equal scores come in the order in which the items were written."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        order = list(self._spaces.get(query.namespace, {}))
        return sorted(found, key=lambda m: (-m.score, order.index(m.id)))[: query.top_k]


@fault
class CutsBeforeFiltering(MemoryVectorIndex):
    """Takes the best ``top_k`` first and filters them afterwards, so that too few are left."""

    def _search(self, query: VectorQuery) -> list[Match]:
        where = query.where
        return [m for m in super()._search(replace(query, where=None)) if where is None or evaluate(where, m.metadata)]


class _OtherLogic(MemoryVectorIndex):
    """Chooses by a logic of its own."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        raise NotImplementedError

    def _search(self, query: VectorQuery) -> list[Match]:
        where = query.where
        found = super()._search(replace(query, where=None, top_k=10_000))
        return [m for m in found if where is None or self.holds(where, m.metadata)][: query.top_k]


@fault
class NotEqualNeedsTheField(_OtherLogic):
    """``$ne`` and ``$nin`` pass over items that lack the field, as SQL's NULL would."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        if isinstance(where, Not) and isinstance(where.term, (Eq, In)) and where.term.field not in metadata:
            return False
        return evaluate(where, metadata)


@fault
class TrueIsOne(_OtherLogic):
    """``True`` and ``1`` are the same to ``$eq``."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        return metadata.get(where.field) == where.value if isinstance(where, Eq) else evaluate(where, metadata)


@fault
class EmptyInMatchesAll(_OtherLogic):
    """``$in: []`` is left out of the filter instead of matching nothing."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        return where == In(getattr(where, "field", ""), ()) or evaluate(where, metadata)


@fault
class BoundsAreRounded(_OtherLogic):
    """Whole-number bounds are rounded to a float before they are compared."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        if isinstance(where, Compare) and abs(where.bound) < 2**60:
            return evaluate(Compare(where.field, where.op, float(where.bound)), metadata)
        return evaluate(where, metadata)


@fault
class AppendsDuplicates(MemoryVectorIndex):
    """Counts every item of a call, also those with equal ids."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        return replace(await super().upsert(items, namespace=namespace), written=len(items))


@fault
class FirstDuplicateWins(MemoryVectorIndex):
    """Of equal ids in a call the first is kept."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        return await super().upsert(items[::-1], namespace=namespace)


@fault
class MergesOnUpsert(MemoryVectorIndex):
    """Upsert keeps metadata keys of the item that it replaces."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        held = self._spaces.get(namespace, {})
        merged = [replace(i, metadata={**(held[i.id].metadata if i.id in held else {}), **i.metadata}) for i in items]
        return await super().upsert(merged, namespace=namespace)


@fault
class WritesItemByItem(MemoryVectorIndex):
    """Between two items of a call others may read."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        for item in items:
            await super().upsert([item], namespace=namespace)
            await asyncio.sleep(0)
        return await super().upsert(items, namespace=namespace)


@fault
class UpdateCreates(MemoryVectorIndex):
    """Update writes an item that was not there."""

    async def update(self, id: str, *, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        if id not in self._spaces.get(namespace, {}):
            await self.upsert([VectorItem(id, array("f", [1] * self.spec.dimension))], namespace=namespace)
        return await super().update(id, namespace=namespace, **change)


@fault
class UpdateReplacesMetadata(MemoryVectorIndex):
    """Update takes ``set`` for all the metadata."""

    async def update(self, id: str, *, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        token = await super().update(id, namespace=namespace, **change)
        if change["set"]:
            self._spaces[namespace][id] = replace(self._spaces[namespace][id], metadata=dict(change["set"]))
        return token


@fault
class DeletesEverywhere(MemoryVectorIndex):
    """Deleting by ids forgets to look at the namespace."""

    async def delete(self, *, ids: Sequence[str] | None = None, **chosen: Any) -> Deleted:
        deleted = await super().delete(ids=ids, **chosen)
        for space in self._spaces.values():
            for id_ in ids or ():
                space.pop(id_, None)
        return deleted


@fault
class CountsUnknownIds(MemoryVectorIndex):
    """Deleting tells how many ids were named, not how many items went."""

    async def delete(self, *, ids: Sequence[str] | None = None, **chosen: Any) -> Deleted:
        deleted = await super().delete(ids=ids, **chosen)
        return deleted if ids is None else replace(deleted, count=len(ids))


@fault
class RemembersTheDead(MemoryVectorIndex):
    """Emptied namespaces stay in ``stats``."""

    async def stats(self) -> VectorStats:
        return VectorStats({name: len(space) for name, space in self._spaces.items()})


@fault
class SharesItsItems(MemoryVectorIndex):
    """Hands out the stored items themselves."""

    async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
        self._require_open()
        return [self._spaces.get(namespace, {}).get(id_) for id_ in ids]


@fault
class FetchLeavesOutWhatIsMissing(MemoryVectorIndex):
    """``fetch`` gives a shorter list instead of ``None``."""

    async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
        return [item for item in await super().fetch(ids, namespace=namespace) if item is not None]


@fault
class PrefixIsAPattern(MemoryVectorIndex):
    """``%`` in a prefix stands for anything, as in SQL's LIKE."""

    async def list_ids(self, *, prefix: str = "", **place: Any) -> IdPage:
        return await super().list_ids(prefix=prefix.split("%")[0], **place)


@fault
class LastPageIsLost(MemoryVectorIndex):
    """A page that is full is taken for the last one."""

    async def list_ids(self, *, limit: int = 100, **place: Any) -> IdPage:
        page = await super().list_ids(limit=limit, **place)
        return replace(page, next=None)


@fault
class PagesOverlap(MemoryVectorIndex):
    """A page begins with the last item of the one before."""

    def _ids_behind(self, after: str | None, namespace: str) -> list[str]:
        return sorted(id_ for id_ in self._spaces.get(namespace, {}) if after is None or id_ >= after)

    async def scan(self, *, limit: int = 100, **place: Any) -> VectorPage:
        return await super().scan(limit=limit + 1, **place)


@fault
class KeepsTooLittlePrecision(MemoryVectorIndex):
    """Vectors are kept with three digits."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        rounded = [replace(i, values=array("f", [float(f"{v:.3g}") for v in i.values])) for i in items]
        return await super().upsert(rounded, namespace=namespace)


@fault
class MinScoreExcludesItsBound(MemoryVectorIndex):
    """``min_score`` is taken for "more than"."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        return [m for m in found if query.min_score is None or m.score > query.min_score][: query.top_k]


@fault
class IgnoresTokens(MemoryVectorIndex):
    """``at_least`` is passed over in silence."""

    def _require_seen(self, token: WriteToken | None) -> None:
        return None


@fault
class NeverCarriesValues(MemoryVectorIndex):
    """``include_values`` is passed over."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return super()._search(replace(query, include_values=False))


@fault
class UnknownIdFindsNothing(MemoryVectorIndex):
    """A query by an id that is not stored gives an empty list instead of ``NotFound``."""

    def _search(self, query: VectorQuery) -> list[Match]:
        unknown = query.id is not None and query.id not in self._spaces.get(query.namespace, {})
        return [] if unknown else super()._search(query)


@fault
class MatchesForgetTheirNamespace(MemoryVectorIndex):
    """Every match says that it is from the default namespace."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return [replace(m, namespace="default") for m in super()._search(query)]


@fault
class OptimizeDropsTheOldest(MemoryVectorIndex):
    """Compaction loses an item."""

    async def optimize(self) -> Optimized:
        for space in self._spaces.values():
            space.pop(next(iter(space), ""), None)
        return await super().optimize()


@fault
class StaysOpen(MemoryVectorIndex):
    """``close`` does nothing."""

    async def close(self) -> None:
        return None


@fault
class ClaimsLessThanItTells(MemoryVectorIndex):
    """Says that it does not count what it deletes, and counts all the same."""

    @property
    def capabilities(self) -> Capabilities:
        claimed = super().capabilities
        features = {name: how for name, how in claimed.features.items() if name != "vectors.delete_count"}
        return replace(claimed, features=features)


class Modest(MemoryVectorIndex):
    """Claims nothing that is optional: rounds its scores, orders equal ones otherwise, and counts no deletes."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def delete(self, **chosen: Any) -> Deleted:
        return replace(await super().delete(**chosen), count=None)

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        found.sort(key=lambda m: (m.score, m.id), reverse=True)
        return [replace(m, score=m.score * (1 - 1e-7)) for m in found[: query.top_k]]


def open_faulty(config: MemoryVectorConfig, env: Environment) -> MemoryVectorIndex:
    """The index that the running test wants."""
    return _Wanted.cls(open_vectors(config, env).spec)


class _Wanted:
    cls: ClassVar[type[MemoryVectorIndex]] = MemoryVectorIndex


FAULTY = Adapter(
    name="memory", ports={PortName.VECTORS: f"{__name__}:open_faulty"}, config=MemoryVectorConfig, url_path=""
)


class _Suite(VectorIndexSuite):
    adapter = FAULTY


def _examples(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments of a test's parametrize marks, combined."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    axes = [[{mark.args[0]: value} for value in mark.args[1]] for mark in marks]
    for combined in itertools.product(*axes):
        yield {name: value for given in combined for name, value in given.items()}


async def _run(test: Callable[..., Any], example: dict[str, Any], place: Path) -> None:
    harness = Harness(PortName.VECTORS, FAULTY, {"dimension": DIMENSION}, place)
    wanted = inspect.signature(test).parameters
    given = {**example, **({"harness": harness} if "harness" in wanted else {})}
    if "store" in wanted:
        given["store"] = await harness.started()
    result = test(**given)
    if inspect.isawaitable(result):
        await result


def _all_examples() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Every example of every test of the suite; the state machine, which takes longest, comes last."""
    tests = [pair for pair in inspect.getmembers(_Suite(), inspect.ismethod) if pair[0].startswith("test_")]
    for name, test in sorted(tests, key=lambda pair: "any_trace" in pair[0]):
        for example in _examples(test):
            yield name, test, example


async def _first_failure(path: Path) -> str | None:
    """The first test of the suite that fails; a skipped test proves nothing."""
    for number, (name, test, example) in enumerate(_all_examples()):
        place = path / str(number)
        place.mkdir()
        try:
            await _run(test, example, place)
        except pytest.skip.Exception:
            continue
        except (Exception, pytest.fail.Exception):  # whatever the fault makes of the test
            return name
    return None


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.__name__)
async def test_a_faulty_index_fails_the_suite(
    cls: type[MemoryVectorIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least one test of the suite fails on an index with this fault."""
    monkeypatch.setattr(_Wanted, "cls", cls)
    assert await _first_failure(tmp_path) is not None, cls.__doc__


async def test_the_reference_passes_the_same_run(tmp_path: Path) -> None:
    """The run that catches the faults finds none in the reference, so that a catch means something."""
    assert await _first_failure(tmp_path) is None


async def test_an_index_that_claims_less_passes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the port leaves open is not demanded of an index that does not claim it."""
    monkeypatch.setattr(_Wanted, "cls", Modest)
    assert await _first_failure(tmp_path) is None
