"""The VectorIndex suite catches every one of these indexes: the reference with one fault each."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.capabilities import Capabilities, Guarantees
from storycore.ports.field_types import FieldType
from storycore.ports.filters import Compare, Eq, Filter, In, Not, evaluate
from storycore.ports.vectors import (
    Deleted,
    IdPage,
    IndexSpec,
    Match,
    Metadata,
    Optimized,
    QueryPlan,
    TextQuery,
    Updated,
    Upserted,
    Vector,
    VectorItem,
    VectorPage,
    VectorQuery,
    VectorStats,
    WriteToken,
)
from storycore.testing.vector_trials import demand_index_caught, index_failure

CAUGHT_BY: dict[type[MemoryVectorIndex], str] = {}


def caught_by(test: str) -> Callable[[type[MemoryVectorIndex]], type[MemoryVectorIndex]]:
    """Note which test has to fail over a faulty index; its docstring says what is wrong with it."""

    def note(cls: type[MemoryVectorIndex]) -> type[MemoryVectorIndex]:
        CAUGHT_BY[cls] = test
        return cls

    return note


@caught_by("test_scores_mean_the_same_everywhere")
class DistanceForScore(MemoryVectorIndex):
    """Euclidean results carry the distance, so that lower is better."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return [replace(m, score=-m.score) if self.spec.metric == "euclidean" else m for m in super()._search(query)]


@caught_by("test_equal_scores_are_ordered_by_id")
class TiesInOrderOfWriting(MemoryVectorIndex):
    """Equal scores come in the order in which the items were written."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        order = list(self._spaces.get(query.namespace, {}))
        return sorted(found, key=lambda m: (-m.score, order.index(m.id)))[: query.top_k]


@caught_by("test_a_query_gives_as_many_as_there_are_and_no_more")
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


@caught_by("test_filters_are_exact_and_two_valued")
class NotEqualNeedsTheField(_OtherLogic):
    """``$ne`` and ``$nin`` pass over items that lack the field, as SQL's NULL would."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        if isinstance(where, Not) and isinstance(where.term, (Eq, In)) and where.term.field not in metadata:
            return False
        return evaluate(where, metadata)


@caught_by("test_filters_are_exact_and_two_valued")
class TrueIsOne(_OtherLogic):
    """``True`` and ``1`` are the same to ``$eq``."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        return metadata.get(where.field) == where.value if isinstance(where, Eq) else evaluate(where, metadata)


@caught_by("test_filters_are_exact_and_two_valued")
class EmptyInMatchesAll(_OtherLogic):
    """``$in: []`` is left out of the filter instead of matching nothing."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        return where == In(getattr(where, "field", ""), ()) or evaluate(where, metadata)


@caught_by("test_filters_are_exact_and_two_valued")
class BoundsAreRounded(_OtherLogic):
    """Whole-number bounds are rounded to a float before they are compared."""

    def holds(self, where: Filter, metadata: Any) -> bool:
        if isinstance(where, Compare) and abs(where.bound) < 2**60:
            return evaluate(Compare(where.field, where.op, float(where.bound)), metadata)
        return evaluate(where, metadata)


@caught_by("test_of_equal_ids_in_one_call_the_last_wins")
class AppendsDuplicates(MemoryVectorIndex):
    """Counts every item of a call, also those with equal ids."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        return replace(await super().upsert(items, namespace=namespace), written=len(items))


@caught_by("test_of_equal_ids_in_one_call_the_last_wins")
class FirstDuplicateWins(MemoryVectorIndex):
    """Of equal ids in a call the first is kept."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        return await super().upsert(items[::-1], namespace=namespace)


@caught_by("test_upsert_replaces_the_whole_item")
class MergesOnUpsert(MemoryVectorIndex):
    """Upsert keeps metadata keys of the item that it replaces."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        held = self._spaces.get(namespace, {})
        merged = [replace(i, metadata={**(held[i.id].metadata if i.id in held else {}), **i.metadata}) for i in items]
        return await super().upsert(merged, namespace=namespace)


@caught_by("test_readers_see_whole_calls")
class WritesItemByItem(MemoryVectorIndex):
    """Between two items of a call others may read."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        for item in items:
            await super().upsert([item], namespace=namespace)
            await asyncio.sleep(0)
        return await super().upsert(items, namespace=namespace)


@caught_by("test_updating_what_is_not_there_is_not_found")
class UpdateCreates(MemoryVectorIndex):
    """Update writes an item that was not there."""

    async def update(self, id: str, *, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        if id not in self._spaces.get(namespace, {}):
            await self.upsert([VectorItem(id, array("f", [1] * self.spec.dimension))], namespace=namespace)
        return await super().update(id, namespace=namespace, **change)


@caught_by("test_update_changes_what_it_names_and_nothing_else")
class UpdateReplacesMetadata(MemoryVectorIndex):
    """Update takes ``set`` for all the metadata."""

    async def update(self, id: str, *, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        token = await super().update(id, namespace=namespace, **change)
        if change["set"]:
            self._spaces[namespace][id] = replace(self._spaces[namespace][id], metadata=dict(change["set"]))
        return token


@caught_by("test_other_namespaces_change_nothing")
class DeletesEverywhere(MemoryVectorIndex):
    """Deleting by ids forgets to look at the namespace."""

    async def delete(self, *, ids: Sequence[str] | None = None, **chosen: Any) -> Deleted:
        deleted = await super().delete(ids=ids, **chosen)
        for space in self._spaces.values():
            for id_ in ids or ():
                space.pop(id_, None)
        return deleted


@caught_by("test_delete_by_ids_passes_over_unknown_ones")
class CountsUnknownIds(MemoryVectorIndex):
    """Deleting tells how many ids were named, not how many items went."""

    async def delete(self, *, ids: Sequence[str] | None = None, **chosen: Any) -> Deleted:
        deleted = await super().delete(ids=ids, **chosen)
        return deleted if ids is None else replace(deleted, count=len(ids))


@caught_by("test_a_namespace_without_items_is_not_listed")
class RemembersTheDead(MemoryVectorIndex):
    """Emptied namespaces stay in ``stats``."""

    async def stats(self) -> VectorStats:
        return VectorStats({name: len(space) for name, space in self._spaces.items()})


@caught_by("test_a_stored_item_is_nobody_elses")
class SharesItsItems(MemoryVectorIndex):
    """Hands out the stored items themselves."""

    async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
        self._require_open()
        return [self._spaces.get(namespace, {}).get(id_) for id_ in ids]


@caught_by("test_fetch_keeps_the_order_of_the_ids")
class FetchLeavesOutWhatIsMissing(MemoryVectorIndex):
    """``fetch`` gives a shorter list instead of ``None``."""

    async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
        return [item for item in await super().fetch(ids, namespace=namespace) if item is not None]


@caught_by("test_a_prefix_is_no_pattern")
class PrefixIsAPattern(MemoryVectorIndex):
    """``%`` in a prefix stands for anything, as in SQL's LIKE."""

    async def list_ids(self, *, prefix: str = "", **place: Any) -> IdPage:
        return await super().list_ids(prefix=prefix.split("%")[0], **place)


@caught_by("test_pages_walk_over_all_ids_once")
class LastPageIsLost(MemoryVectorIndex):
    """A page that is full is taken for the last one."""

    async def list_ids(self, *, limit: int = 100, **place: Any) -> IdPage:
        page = await super().list_ids(limit=limit, **place)
        return replace(page, next=None)


@caught_by("test_pages_walk_over_all_ids_once")
class PagesOverlap(MemoryVectorIndex):
    """A page begins with the last item of the one before."""

    def _ids_behind(self, after: str | None, namespace: str) -> list[str]:
        return sorted(id_ for id_ in self._spaces.get(namespace, {}) if after is None or id_ >= after)

    async def scan(self, *, limit: int = 100, **place: Any) -> VectorPage:
        return await super().scan(limit=limit + 1, **place)


@caught_by("test_pages_go_on_while_items_change")
class PagesByPlace(MemoryVectorIndex):
    """A page begins at a number of items instead of behind an id."""

    def _ids_behind(self, after: str | None, namespace: str) -> list[str]:
        ids = super()._ids_behind(None, namespace)
        places = vars(self).setdefault("places", {})
        start = places.setdefault(after, len([id_ for id_ in ids if id_ <= after])) if after else 0
        places.update({id_: place for place, id_ in enumerate(ids, 1)} if not after else {})
        return ids[start:]


@caught_by("test_pages_go_on_while_items_change")
class PagesNeedTheirId(MemoryVectorIndex):
    """A page behind an id that is gone is the first one again."""

    def _ids_behind(self, after: str | None, namespace: str) -> list[str]:
        return super()._ids_behind(after if after in self._spaces.get(namespace, {}) else None, namespace)


@caught_by("test_vectors_come_back_as_float32")
class KeepsTooLittlePrecision(MemoryVectorIndex):
    """Vectors are kept with three digits."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        rounded = [replace(i, values=array("f", [float(f"{v:.3g}") for v in i.values])) for i in items]
        return await super().upsert(rounded, namespace=namespace)


@caught_by("test_min_score_includes_its_bound")
class MinScoreExcludesItsBound(MemoryVectorIndex):
    """``min_score`` is taken for "more than"."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        return [m for m in found if query.min_score is None or m.score > query.min_score][: query.top_k]


@caught_by("test_a_token_of_the_future_is_a_stale_read")
class IgnoresTokens(MemoryVectorIndex):
    """``at_least`` is passed over in silence."""

    def _require_seen(self, token: WriteToken | None) -> None:
        return None


@caught_by("test_matches_carry_vectors_only_when_asked")
class NeverCarriesValues(MemoryVectorIndex):
    """``include_values`` is passed over."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return super()._search(replace(query, include_values=False))


@caught_by("test_a_stored_vector_can_ask")
class UnknownIdFindsNothing(MemoryVectorIndex):
    """A query by an id that is not stored gives an empty list instead of ``NotFound``."""

    def _search(self, query: VectorQuery) -> list[Match]:
        unknown = query.id is not None and query.id not in self._spaces.get(query.namespace, {})
        return [] if unknown else super()._search(query)


@caught_by("test_namespaces_are_apart")
class MatchesForgetTheirNamespace(MemoryVectorIndex):
    """Every match says that it is from the default namespace."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return [replace(m, namespace="default") for m in super()._search(query)]


@caught_by("test_optimize_changes_no_result")
class OptimizeDropsTheOldest(MemoryVectorIndex):
    """Compaction loses an item."""

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        for space in self._spaces.values() if not dry_run else ():
            space.pop(next(iter(space), ""), None)
        return await super().optimize()


@caught_by("test_a_dry_run_of_optimize_changes_nothing")
class OptimizesForTrial(MemoryVectorIndex):
    """A dry run is none."""

    async def optimize(self, *, dry_run: bool = False) -> Optimized:
        for space in self._spaces.values() if dry_run else ():
            space.pop(next(iter(space), ""), None)
        return await super().optimize()


@caught_by("test_a_closed_store_is_unavailable")
class StaysOpen(MemoryVectorIndex):
    """``close`` does nothing."""

    async def close(self) -> None:
        return None


@caught_by("test_delete_by_ids_passes_over_unknown_ones")
class ClaimsLessThanItTells(MemoryVectorIndex):
    """Says that it does not count what it deletes, and counts all the same."""

    @property
    def capabilities(self) -> Capabilities:
        claimed = super().capabilities
        features = {name: how for name, how in claimed.features.items() if name != "vectors.delete_count"}
        return replace(claimed, features=features)


@caught_by("test_matches_come_without_metadata_when_asked")
class AlwaysCarriesMetadata(MemoryVectorIndex):
    """Metadata comes along though it was not asked for."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return super()._search(replace(query, include_metadata=True))


@caught_by("test_matches_come_without_metadata_when_asked")
class FiltersNeedMetadata(MemoryVectorIndex):
    """Without metadata in the results the filter finds nothing to look at."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(query)
        return found if query.include_metadata or query.where is None else []


@caught_by("test_filters_of_any_selectivity_find_the_best")
class MissesSome(MemoryVectorIndex):
    """Passes over one item in eight, as an index that approximates too much."""

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        kept = [match for match in found if query.exact or hash(match.score) % 8]
        return (kept + [match for match in found if match not in kept])[: query.top_k]


@caught_by("test_filters_of_any_selectivity_find_the_best")
class StarvesUnderFilters(MemoryVectorIndex):
    """Looks at the nearest 50 only, and filters what it saw."""

    def _search(self, query: VectorQuery) -> list[Match]:
        seen = {match.id for match in super()._search(replace(query, where=None, top_k=50))}
        return [match for match in super()._search(query) if query.exact or match.id in seen]


@caught_by("test_filters_of_any_selectivity_find_the_best")
class ExactIsIgnored(MissesSome):
    """``exact=True`` is answered like any other query."""

    def _search(self, query: VectorQuery) -> list[Match]:
        return super()._search(replace(query, exact=False))


@caught_by("test_a_rehearsed_delete_counts_and_removes_nothing")
class RehearsedDeletesDelete(MemoryVectorIndex):
    """``dry_run`` of a delete is passed over."""

    async def delete(self, *, dry_run: bool = False, **chosen: Any) -> Deleted:
        return await super().delete(**chosen)


@caught_by("test_a_rehearsed_update_counts_and_changes_nothing")
class RehearsedUpdatesUpdate(MemoryVectorIndex):
    """``dry_run`` of an update by filter is passed over."""

    async def update_where(self, where: Filter, *, dry_run: bool = False, **change: Any) -> Updated:
        return await super().update_where(where, **change)


@caught_by("test_a_rehearsed_delete_counts_and_removes_nothing")
class RehearsalsCountNames(MemoryVectorIndex):
    """A rehearsed delete counts the ids that were named, also unknown ones and those named twice."""

    async def delete(self, *, ids: Sequence[str] | None = None, dry_run: bool = False, **chosen: Any) -> Deleted:
        deleted = await super().delete(ids=ids, dry_run=dry_run, **chosen)
        return replace(deleted, count=len(ids)) if dry_run and ids is not None else deleted


@caught_by("test_a_rehearsal_has_the_token_of_the_last_write")
class RehearsalsPromiseAWrite(MemoryVectorIndex):
    """The token of a rehearsal stands for a write that never comes."""

    async def update_where(self, where: Filter, *, dry_run: bool = False, **change: Any) -> Updated:
        updated = await super().update_where(where, dry_run=dry_run, **change)
        return replace(updated, token=WriteToken(str(self._writes + dry_run)))


@caught_by("test_update_by_filter_removes_keys")
class UpdateByFilterKeepsKeys(MemoryVectorIndex):
    """An update by filter passes over ``unset``."""

    async def update_where(self, where: Filter, *, unset: Sequence[str] = (), **change: Any) -> Updated:
        return await super().update_where(where, **change)


@caught_by("test_update_by_filter_changes_exactly_the_matches")
class UpdateByFilterReplaces(MemoryVectorIndex):
    """An update by filter takes ``set`` for all the metadata."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        chosen = [item.id for item in self._chosen(namespace, where)]
        updated = await super().update_where(where, namespace=namespace, **change)
        for id_ in chosen:
            self._spaces[namespace][id_] = replace(self._spaces[namespace][id_], metadata=dict(change["set"] or {}))
        return updated


@caught_by("test_update_by_filter_changes_exactly_the_matches")
class UpdateByFilterGoesEverywhere(MemoryVectorIndex):
    """An update by filter forgets to look at the namespace."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        for other in set(self._spaces) - {namespace}:
            await super().update_where(where, namespace=other, **change)
        return await super().update_where(where, namespace=namespace, **change)


@caught_by("test_update_by_filter_changes_exactly_the_matches")
class UpdateByFilterNeedsTheField(MemoryVectorIndex):
    """An update by filter passes over items that lack what it sets."""

    def _chosen(self, namespace: str, where: Filter | None) -> list[VectorItem]:
        return [item for item in super()._chosen(namespace, where) if not self._updating or "n" in item.metadata]

    async def update_where(self, where: Filter, **change: Any) -> Updated:
        self._updating = True
        try:
            return await super().update_where(where, **change)
        finally:
            self._updating = False

    _updating = False


@caught_by("test_update_by_filter_changes_exactly_the_matches")
class UpdateByFilterTouchesVectors(MemoryVectorIndex):
    """An update by filter writes vectors back as it keeps them for searching, at unit length."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        chosen = [item.id for item in self._chosen(namespace, where)]
        updated = await super().update_where(where, namespace=namespace, **change)
        for id_ in chosen:
            item = self._spaces[namespace][id_]
            length = sum(value * value for value in item.values) ** 0.5
            values = array("f", [value / length for value in item.values])
            self._spaces[namespace][id_] = replace(item, values=values)
        return updated


@caught_by("test_readers_see_an_update_by_filter_whole")
class UpdateByFilterGoesItemByItem(MemoryVectorIndex):
    """Between two items of an update by filter others may read."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        for item in self._chosen(namespace, where):
            await super().update(item.id, namespace=namespace, set=change["set"])
            await asyncio.sleep(0)
        return await super().update_where(where, namespace=namespace, **change)


@caught_by("test_update_by_filter_lets_no_item_grow_too_large")
class UpdateByFilterStopsHalfway(MemoryVectorIndex):
    """An update by filter has written some items when one of them turns out too large."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        dry_run, unset = change.pop("dry_run", False), change.pop("unset", ())
        for item in [] if dry_run else self._chosen(namespace, where):
            await super().update(item.id, namespace=namespace, set=change["set"], unset=unset)
        return await super().update_where(where, namespace=namespace, unset=unset, dry_run=dry_run, **change)


@caught_by("test_a_plan_tells_true_numbers")
class PlansForgetTheFilter(MemoryVectorIndex):
    """A plan tells that all items are candidates, whatever the filter."""

    async def explain(self, query: VectorQuery) -> QueryPlan:
        return await super().explain(replace(query, where=None))


@caught_by("test_a_plan_that_is_not_approximate_is_kept")
class PlansPromiseTooMuch(MissesSome):
    """A plan tells that nothing is approximate, and the query misses items."""


@caught_by("test_a_plan_needs_what_the_query_needs")
class PlansForUnknownItems(MemoryVectorIndex):
    """A query by an id that is not stored has a plan."""

    def _target(self, query: VectorQuery) -> Vector:
        return query.values or array("f", [1]) if query.top_k == 10 else super()._target(query)


class Modest(MemoryVectorIndex):
    """Claims nothing that is optional: rounds its scores, orders equal ones otherwise, counts and compares nothing."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def delete(self, *, dry_run: bool = False, **chosen: Any) -> Deleted:
        deleted = await super().delete(dry_run=dry_run, **chosen)
        return deleted if dry_run else replace(deleted, count=None)

    async def update_where(self, where: Filter, *, dry_run: bool = False, **change: Any) -> Updated:
        updated = await super().update_where(where, dry_run=dry_run, **change)
        return updated if dry_run else replace(updated, count=None)

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        return {}

    def _search(self, query: VectorQuery) -> list[Match]:
        found = super()._search(replace(query, top_k=10_000))
        found.sort(key=lambda m: (m.score, m.id), reverse=True)
        return [replace(m, score=m.score * (1 - 1e-7)) for m in found[: query.top_k]]


class Late(MemoryVectorIndex):
    """Shows a write only to the third read behind it, and says so; it is no less right."""

    def __init__(self, spec: IndexSpec) -> None:
        super().__init__(spec)
        self._shown: tuple[dict[str, dict[str, VectorItem]], int] = ({}, 0)
        self._reads_to_come = 0

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, guarantees=Guarantees(read_after_write=False))

    async def query(self, queries: Sequence[VectorQuery]) -> list[list[Match]]:
        with self._as_shown():
            return await super().query(queries)

    async def search_text(self, queries: Sequence[TextQuery]) -> list[list[Match]]:
        with self._as_shown():
            return await super().search_text(queries)

    async def fetch(self, ids: Sequence[str], *, namespace: str = "default") -> list[VectorItem | None]:
        with self._as_shown():
            return await super().fetch(ids, namespace=namespace)

    async def list_ids(self, **place: Any) -> IdPage:
        with self._as_shown():
            return await super().list_ids(**place)

    async def scan(self, **place: Any) -> VectorPage:
        with self._as_shown():
            return await super().scan(**place)

    async def stats(self) -> VectorStats:
        with self._as_shown():
            return await super().stats()

    async def explain(self, query: VectorQuery) -> QueryPlan:
        with self._as_shown():
            return await super().explain(query)

    def _token(self, *, wrote: bool) -> WriteToken:
        self._reads_to_come = 2 if wrote else self._reads_to_come
        return super()._token(wrote=wrote)

    @contextmanager
    def _as_shown(self) -> Iterator[None]:
        """Show what was there before the last writes, until enough reads have come."""
        if self._reads_to_come:
            self._reads_to_come -= 1
        else:
            self._shown = {name: dict(space) for name, space in self._spaces.items()}, self._writes
        held = self._spaces, self._writes
        self._spaces, self._writes = self._shown
        try:
            yield
        finally:
            self._spaces, self._writes = held


@pytest.mark.parametrize("cls", CAUGHT_BY, ids=lambda cls: cls.__name__)
async def test_a_faulty_index_fails_its_test(cls: type[MemoryVectorIndex], tmp_path: Path) -> None:
    """The test that is about the fault fails on an index with it, and passes on the reference."""
    await demand_index_caught(cls, CAUGHT_BY[cls], tmp_path)


@pytest.mark.parametrize("cls", [Modest, Late], ids=lambda cls: cls.__name__)
async def test_an_index_that_claims_less_passes(cls: type[MemoryVectorIndex], tmp_path: Path) -> None:
    """What the port leaves open is not demanded of an index that does not claim it."""
    assert await index_failure(cls, tmp_path) is None


@pytest.mark.parametrize("cls", [FirstDuplicateWins, TiesInOrderOfWriting, UpdateCreates])
async def test_the_machine_alone_finds_faults(cls: type[MemoryVectorIndex], tmp_path: Path) -> None:
    """The state machine would catch what no example was written for."""
    assert await index_failure(cls, tmp_path, ["test_any_trace_agrees_with_the_reference"]) is not None
