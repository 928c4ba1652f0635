"""The VectorIndex suite catches every one of these indexes: the reference with one fault in its types of fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from storycore.errors import SchemaConflict
from storycore.memory.vectors import MemoryVectorIndex
from storycore.ports.field_types import FieldType, fixed_types
from storycore.ports.filters import Filter
from storycore.ports.metadata_size import check_size
from storycore.ports.vectors import Deleted, Metadata, Updated, Upserted, VectorItem, WriteToken
from storycore.testing.vector_trials import demand_index_caught

CAUGHT_BY: dict[type[MemoryVectorIndex], str] = {}


def caught_by(test: str) -> Callable[[type[MemoryVectorIndex]], type[MemoryVectorIndex]]:
    """Note which test has to fail over a faulty index; its docstring says what is wrong with it."""

    def note(cls: type[MemoryVectorIndex]) -> type[MemoryVectorIndex]:
        CAUGHT_BY[cls] = test
        return cls

    return note


@caught_by("test_another_type_is_a_conflict_and_writes_nothing")
class AcceptsEveryType(MemoryVectorIndex):
    """A conflict is accepted."""

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        return {}


@caught_by("test_another_type_is_a_conflict_and_writes_nothing")
class WritesTheGoodItems(MemoryVectorIndex):
    """Of a call with a conflict the items without one are written."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        try:
            return await super().upsert(items, namespace=namespace)
        except SchemaConflict as conflict:
            good = [item for item in items if conflict.field not in item.metadata]
            await super().upsert(good, namespace=namespace)
            raise


@caught_by("test_another_type_is_a_conflict_and_writes_nothing")
class UpdatesTheVectorFirst(MemoryVectorIndex):
    """An update with a conflict has replaced the vector."""

    async def update(self, id: str, *, values: Any = None, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        await super().update(id, values=values, namespace=namespace)
        return await super().update(id, namespace=namespace, **change)


class _OtherKinds(MemoryVectorIndex):
    """Knows types by a rule of its own."""

    def kind(self, value: Any) -> str:
        raise NotImplementedError

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        held: dict[str, Any] = dict(self._types.get(namespace, {}))
        for metadata in written:
            for name, value in metadata.items():
                if held.setdefault(name, self.kind(value)) != self.kind(value):
                    raise SchemaConflict(f"The field {name!r} has another type.", field=name)
        return held


@caught_by("test_what_is_one_type_is_no_conflict")
class ListsAreAnotherType(_OtherKinds):
    """A list of texts conflicts with a text."""

    def kind(self, value: Any) -> str:
        return "number" if type(value) is float else type(value).__name__.replace("int", "number")


@caught_by("test_what_is_one_type_is_no_conflict")
class FractionsAreAnotherType(_OtherKinds):
    """A fraction conflicts with a whole number."""

    def kind(self, value: Any) -> str:
        return "str" if isinstance(value, list) else type(value).__name__


@caught_by("test_another_type_is_a_conflict_and_writes_nothing")
class BoolsAreNumbers(_OtherKinds):
    """A bool is taken for a number."""

    def kind(self, value: Any) -> str:
        return "number" if isinstance(value, (int, float)) else "string"


@caught_by("test_two_types_in_one_call_are_a_conflict")
class LooksAtEachItemAlone(MemoryVectorIndex):
    """Two types in one call are accepted where the field is new."""

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        types = self._types.get(namespace, {})
        known = {**self._spec.fields, **types}
        return {
            **types,
            **{k: v for each in written for k, v in fixed_types(known, [each], namespace=namespace).items()},
        }


@caught_by("test_only_the_last_of_equal_ids_has_a_type")
class LooksAtWhatIsReplaced(MemoryVectorIndex):
    """Items that a later one of the same call replaces fix types."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        self._types_with(namespace, [item.metadata for item in items])
        return await super().upsert(items, namespace=namespace)


@caught_by("test_a_refused_call_fixes_no_type")
class NotesTypesTooEarly(_OtherKinds):
    """A refused call has fixed the types of its other fields."""

    def kind(self, value: Any) -> str:
        return (
            "string"
            if isinstance(value, list)
            else {int: "number", float: "number"}.get(type(value), type(value).__name__)
        )

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        held: dict[str, Any] = self._types.setdefault(namespace, {})
        for metadata in written:
            for name, value in sorted(metadata.items()):
                if held.setdefault(name, self.kind(value)) != self.kind(value):
                    raise SchemaConflict(f"The field {name!r} has another type.", field=name)
        return held


@caught_by("test_each_namespace_has_its_own_types")
class OneTypeForAllNamespaces(MemoryVectorIndex):
    """A field has one type in the whole index."""

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        every = {name: kind for types in self._types.values() for name, kind in types.items()}
        return {**self._types.get(namespace, {}), **fixed_types(every, written, namespace=namespace)}


@caught_by("test_updates_fix_types_too")
class UpdatesFixNothing(MemoryVectorIndex):
    """A field that an update writes first has no type."""

    async def update(self, id: str, *, namespace: str = "default", **change: Any) -> WriteToken:  # noqa: A002
        before = dict(self._types.get(namespace, {}))
        token = await super().update(id, namespace=namespace, **change)
        self._types[namespace] = before
        return token


@caught_by("test_updates_fix_types_too")
class UpdatesByFilterFixNothing(MemoryVectorIndex):
    """A field that an update by filter writes first has no type."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        before = dict(self._types.get(namespace, {}))
        updated = await super().update_where(where, namespace=namespace, **change)
        self._types[namespace] = before
        return updated


@caught_by("test_an_update_by_filter_conflicts_whether_or_not_anything_matches")
class ConflictsNeedAMatch(MemoryVectorIndex):
    """An update by filter that changes nothing is not checked."""

    async def update_where(self, where: Filter, *, namespace: str = "default", **change: Any) -> Updated:
        if not self._chosen(namespace, where):
            return Updated(0, self._token(wrote=False))
        return await super().update_where(where, namespace=namespace, **change)


class _Forgetful(MemoryVectorIndex):
    """Forgets the types of fields that no item has any more, whenever this is asked."""

    def forget(self, namespace: str) -> None:
        left = {name for item in self._spaces.get(namespace, {}).values() for name in item.metadata}
        self._types[namespace] = {name: kind for name, kind in self._types.get(namespace, {}).items() if name in left}


@caught_by("test_types_outlive_their_items")
class DeletesByIdsForgetTypes(_Forgetful):
    """Types are forgotten when a delete by ids takes the last item that had the field."""

    async def delete(self, *, ids: Sequence[str] | None = None, namespace: str = "default", **how: Any) -> Deleted:
        deleted = await super().delete(ids=ids, namespace=namespace, **how)
        if ids is not None:
            self.forget(namespace)
        return deleted


@caught_by("test_types_outlive_their_items")
class DeletesByFilterForgetTypes(_Forgetful):
    """Types are forgotten when a delete by filter takes the last item that had the field."""

    async def delete(self, *, where: Filter | None = None, namespace: str = "default", **how: Any) -> Deleted:
        deleted = await super().delete(where=where, namespace=namespace, **how)
        if where is not None:
            self.forget(namespace)
        return deleted


@caught_by("test_types_outlive_their_items")
class ReplacingForgetsTypes(_Forgetful):
    """Types are forgotten when an upsert replaces the last item that had the field."""

    async def upsert(self, items: Sequence[VectorItem], *, namespace: str = "default") -> Upserted:
        written = await super().upsert(items, namespace=namespace)
        if len(items) == 1:
            self.forget(namespace)
        return written


@caught_by("test_delete_all_forgets_the_types")
class TypesAreForEver(MemoryVectorIndex):
    """``delete(all=True)`` keeps the types."""

    def _remove(self, namespace: str, ids: Sequence[str], *, all: bool) -> None:  # noqa: A002
        super()._remove(namespace, ids, all=False)


@caught_by("test_delete_all_forgets_the_types")
class AnEmptyNamespaceKeepsItsTypes(MemoryVectorIndex):
    """``delete(all=True)`` does nothing at all where no item is left."""

    def _remove(self, namespace: str, ids: Sequence[str], *, all: bool) -> None:  # noqa: A002
        super()._remove(namespace, ids, all=all and bool(ids))


@caught_by("test_only_a_real_delete_all_forgets_types")
class RehearsalsForgetTypes(MemoryVectorIndex):
    """A rehearsed ``delete(all=True)`` forgets the types."""

    async def delete(self, *, all: bool = False, namespace: str = "default", **how: Any) -> Deleted:  # noqa: A002
        deleted = await super().delete(all=all, namespace=namespace, **how)
        if all:
            self._types.pop(namespace, None)
        return deleted


@caught_by("test_declared_types_hold_everywhere_and_always")
class DeclaredTypesAreOnlyOfOneNamespace(MemoryVectorIndex):
    """What is declared counts in the default namespace only."""

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        held = self._types.get(namespace, {})
        declared = self._spec.fields if namespace == "default" else {}
        return {**held, **fixed_types({**declared, **held}, written, namespace=namespace)}


@caught_by("test_declared_types_hold_everywhere_and_always")
class DeclaredTypesAreForgotten(MemoryVectorIndex):
    """After ``delete(all=True)`` what was declared counts no more."""

    def _types_with(self, namespace: str, written: Sequence[Metadata]) -> dict[str, FieldType]:
        held = self._types.get(namespace, {})
        declared = {} if namespace in self._emptied else self._spec.fields
        return {**held, **fixed_types({**declared, **held}, written, namespace=namespace)}

    def _remove(self, namespace: str, ids: Sequence[str], *, all: bool) -> None:  # noqa: A002
        self._emptied = self._emptied | {namespace} if all else self._emptied
        super()._remove(namespace, ids, all=all)

    _emptied: frozenset[str] = frozenset()


class _Rehearsing(MemoryVectorIndex):
    """Rehearses an update by filter in a way of its own."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        raise NotImplementedError

    async def update_where(
        self, where: Filter, *, dry_run: bool = False, namespace: str = "default", **change: Any
    ) -> Updated:
        if not dry_run:
            return await super().update_where(where, namespace=namespace, **change)
        chosen = self._chosen(namespace, where)
        self.rehearsed(chosen, change.get("set") or {}, namespace)
        return Updated(len(chosen), self._token(wrote=False))


@caught_by("test_a_rehearsed_update_is_refused_where_the_update_would_be")
class RehearsalsOnlyCount(_Rehearsing):
    """A rehearsed update counts, and says nothing of the conflict that the update would raise."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        pass


@caught_by("test_a_rehearsed_update_is_refused_where_the_update_would_be")
class RehearsalsNeedAMatch(_Rehearsing):
    """A rehearsed update that would change nothing is not compared."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        if chosen:
            self._types_with(namespace, [change])


@caught_by("test_a_rehearsed_update_is_refused_where_the_update_would_be")
class RehearsalsFixTypes(_Rehearsing):
    """A rehearsed update fixes the types of its fields."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        self._types[namespace] = self._types_with(namespace, [change])


@caught_by("test_a_rehearsed_update_tells_which_item_would_grow_too_large")
class RehearsalsDoNotMeasure(_Rehearsing):
    """A rehearsed update says nothing of an item that would grow too large."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        self._types_with(namespace, [change])


@caught_by("test_a_rehearsed_update_tells_which_item_would_grow_too_large")
class RehearsalsAddUpSizes(_Rehearsing):
    """A rehearsed update measures what is stored and what is added, and forgets what is removed or replaced."""

    def rehearsed(self, chosen: Sequence[VectorItem], change: Metadata, namespace: str) -> None:
        self._types_with(namespace, [change])
        for item in chosen:
            check_size({**item.metadata, **{f"+{key}": value for key, value in change.items()}}, of=f"item {item.id!r}")


@pytest.mark.parametrize("cls", CAUGHT_BY, ids=lambda cls: cls.__name__)
async def test_a_faulty_index_fails_its_test(cls: type[MemoryVectorIndex], tmp_path: Path) -> None:
    """The test that is about the fault fails on an index with it, and passes on the reference."""
    await demand_index_caught(cls, CAUGHT_BY[cls], tmp_path)
