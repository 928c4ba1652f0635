"""Writes: in batches, and by filter where the service can, else item by item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pinecone import ResponseInfo, UpdateResponse, UpsertResponse

from storycore.errors import Effect, NotFound, PartialFailure, StorycoreError
from storycore.ports.filters import Filter, evaluate
from storycore.ports.metadata_size import check_size
from storycore.ports.vectors import Metadata, Upserted, Vector, VectorItem, WriteToken
from storycore_pinecone._calls import Calls, gravest, in_part, unless_missing
from storycore_pinecone._client import OneIndex, space_of
from storycore_pinecone._updating import update_matching
from storycore_pinecone._wire import batches, ids_in_batches
from storycore_pinecone.filters import EVERYTHING, Compiled, Constant
from storycore_pinecone.freshness import Freshness
from storycore_pinecone.positions import Positions
from storycore_pinecone.reading import LACKING, Reading
from storycore_pinecone.registry import Registry

__all__ = ["Changing"]

_AHEAD: Final = 16
"""Batches that are made and not yet written: 2 MB each."""


class Changing:
    """Writes to one index, and remembers where in the log each write is.

    Args:
        index: the client.
        calls: sends requests.
        reading: finds what is changed item by item.
        registry: the types of fields.
        positions: where they are remembered.
        freshness: waits until reads show them.
    """

    def __init__(
        self,
        index: OneIndex,
        calls: Calls,
        reading: Reading,
        registry: Registry,
        positions: Positions,
        freshness: Freshness,
    ) -> None:
        self.positions = positions
        self._freshness = freshness
        self._index = index
        self._calls = calls
        self._reading = reading
        self._registry = registry

    async def upsert(self, items: Sequence[VectorItem], namespace: str) -> Upserted:
        """Replace or add whole items; of equal ids the last wins.

        Raises:
            PartialFailure: some batches could not be written; its outcomes follow ``items``.
        """
        latest = list({item.id: item for item in items}.values())
        if not latest:
            return Upserted(0, self.positions.last(namespace))
        await self._registry.fix(namespace, [item.metadata for item in latest])
        token, failed = await self._store(latest, namespace)
        if len(failed) == len(latest):
            raise gravest([*failed.values()])
        if failed:
            raise PartialFailure(
                f"{self._calls.place} could not write {len(failed)} of {len(latest)} items; one of the errors: "
                f"{gravest([*failed.values()])} Repeat the upsert with the items that failed.",
                outcomes=[failed.get(item.id, item.id) for item in items],
            )
        return Upserted(len(latest), token)

    async def update(
        self, id_: str, namespace: str, *, values: Vector | None, added: Metadata, removed: Sequence[str]
    ) -> WriteToken:
        """Change an item: in one request, unless keys are removed, which only a new upsert of the item can do."""
        stored = await self._stored(id_, namespace, is_rewritten=bool(removed))
        await self._registry.fix(namespace, [added])
        if stored.metadata.keys() & {*removed}:
            changed = VectorItem(id_, stored.values if values is None else values, _merged(stored, added, removed))
            return await self._restore([changed], namespace)
        if values is None and not added:
            return self.positions.last(namespace)
        request = partial(
            self._index.update,
            id=id_,
            values=None if values is None else values.tolist(),
            set_metadata=dict(added) or None,
            namespace=space_of(namespace),
        )
        return self._wrote(namespace, await self._calls.send(request, writes=True))

    async def _stored(self, id_: str, namespace: str, *, is_rewritten: bool) -> VectorItem:
        """The item to change; one that is read to be stored again is read after what this index has written.

        Raises:
            NotFound: there is none, even once reads show what this index has written.
            StaleRead: they do not show it in time.
        """
        if is_rewritten:
            await self._freshness.reached(namespace)
        [stored] = await self._reading.fetch([id_], namespace)
        if stored is None and not is_rewritten:
            await self._freshness.reached(namespace)
            [stored] = await self._reading.fetch([id_], namespace)
        if stored is None:
            raise NotFound(f"There is no item {id_!r} in namespace {namespace!r}.")
        return stored

    async def update_where(
        self, where: Filter, form: Compiled, namespace: str, *, added: Metadata, removed: Sequence[str]
    ) -> WriteToken:
        """Change the metadata of all matching items."""
        new = await self._registry.added(namespace, [added])
        if form is Constant.NEVER or not (added or removed) or (new and not await self.count(where, form, namespace)):
            return self.positions.last(namespace)
        await self._registry.fix(namespace, [added] if new else [])
        if removed:
            return await self._rewrite(where, form, namespace, added, removed)
        try:
            answer = await update_matching(
                self._index, self._calls, self._freshness, namespace, form=_sendable(form), added=added
            )
        except LACKING as lacking:
            return await self._rewrite(
                where, form, namespace, added, removed, is_begun=lacking.effect is not Effect.NONE
            )
        return self.positions.last(namespace) if answer is None else self._wrote(namespace, answer)

    async def delete_ids(self, ids: Sequence[str], namespace: str) -> WriteToken:
        """Remove items by id."""
        selectors = [{"ids": batch} for batch in ids_in_batches(list(dict.fromkeys(ids)))]
        return await self._remove(selectors, namespace)

    async def delete_where(self, where: Filter, form: Compiled, namespace: str) -> WriteToken:
        """Remove all matching items."""
        if form is Constant.NEVER:
            return self.positions.last(namespace)
        if form is Constant.ALWAYS:
            return await self._remove([{"deleteAll": True}], namespace)
        try:
            return await self._remove([{"filter": form}], namespace)
        except LACKING:
            return await self.delete_ids(await self._reading.matching(namespace, where, _sendable(form)), namespace)

    async def delete_all(self, namespace: str) -> WriteToken:
        """Remove all items and forget the types of their fields."""
        token = await self._remove([{"deleteAll": True}], namespace)
        try:
            await self._registry.forget(namespace)
        except StorycoreError as error:
            in_part(error)
            raise
        return token

    async def count(self, where: Filter, form: Compiled, namespace: str) -> int:
        """How many items match now: told by an update that is only rehearsed, else counted."""
        if form is Constant.NEVER:
            return 0
        request = partial(
            self._index.update, filter=_sendable(form), namespace=space_of(namespace), dry_run=True, set_metadata={}
        )
        try:
            answer = await self._calls.send(unless_missing(request))
        except LACKING:
            answer = UpdateResponse()
        if answer is None:
            return 0
        if answer.matched_records is not None:
            return answer.matched_records
        return len(await self._reading.matching(namespace, where, _sendable(form)))

    async def _store(
        self, items: Sequence[VectorItem], namespace: str
    ) -> tuple[WriteToken, Mapping[str, StorycoreError]]:
        """Send items in batches, of which only a few are made ahead: the token, and the errors by id."""
        sent: list[tuple[list[str], asyncio.Task[WriteToken | StorycoreError]]] = []
        ahead = asyncio.Semaphore(_AHEAD)

        async def stored(batch: list[dict[str, Any]]) -> WriteToken | StorycoreError:
            request = partial(self._index.upsert, vectors=batch, namespace=space_of(namespace))
            try:
                return self._wrote(namespace, await self._calls.send(request, writes=True))
            except StorycoreError as error:
                return error
            finally:
                ahead.release()

        async with asyncio.TaskGroup() as group:
            async for batch in batches(items):
                await ahead.acquire()
                sent.append(([record["id"] for record in batch], group.create_task(stored(batch))))
        outcomes = [(ids, task.result()) for ids, task in sent]
        tokens = [outcome for _, outcome in outcomes if not isinstance(outcome, StorycoreError)]
        failed = {id_: outcome for ids, outcome in outcomes if isinstance(outcome, StorycoreError) for id_ in ids}
        return max(tokens, key=_place_in_log, default=self.positions.last(namespace)), failed

    async def _restore(self, items: Sequence[VectorItem], namespace: str) -> WriteToken:
        """Store changed items again; any failure is the call's.

        Raises:
            TooLarge: one has too much metadata; nothing is stored.
        """
        for item in items:
            check_size(item.metadata, of=f"item {item.id!r}")
        token, failed = await self._store(items, namespace)
        if failed:
            error = gravest([*failed.values()])
            raise error if len(failed) == len(items) else in_part(error)
        return token

    async def _rewrite(
        self,
        where: Filter,
        form: Compiled,
        namespace: str,
        added: Metadata,
        removed: Sequence[str],
        *,
        is_begun: bool = False,
    ) -> WriteToken:
        """Read what matches, and store it changed; some of it may have been changed before.

        Raises:
            StaleRead: reads do not show in time what this index has written.
            TooLarge: an item would have too much metadata; what was stored before it stays.
        """
        await self._freshness.reached(namespace)
        token = self.positions.last(namespace)
        ids = await self._reading.matching(namespace, where, _sendable(form))
        for some in ids_in_batches(ids):
            try:
                stored = await self._reading.fetch(some, namespace)
                items = [item for item in stored if item is not None and evaluate(where, item.metadata)]
                changed = [VectorItem(item.id, item.values, _merged(item, added, removed)) for item in items]
                if changed:
                    token = await self._restore(changed, namespace)
            except StorycoreError as error:
                if is_begun:
                    in_part(error)
                raise
            is_begun = is_begun or bool(changed)
        return token

    async def _remove(self, selectors: Sequence[Mapping[str, object]], namespace: str) -> WriteToken:
        requests: list[Callable[[], Awaitable[ResponseInfo | None]]] = [
            unless_missing(partial(self._index.remove, selector, namespace=space_of(namespace)))
            for selector in selectors
        ]
        answers = await self._calls.send_all(requests, writes=True)
        told = [each.lsn_committed for each in answers if each is not None]
        places = [lsn for lsn in told if lsn is not None]
        return self.positions.wrote(namespace, max(places)) if places else self.positions.last(namespace)

    def _wrote(self, namespace: str, answer: UpsertResponse | UpdateResponse) -> WriteToken:
        info: Any = answer.response_info
        return self.positions.wrote(namespace, info.lsn_committed if info is not None else None)


def _sendable(form: Compiled) -> dict[str, object]:
    """A filter for a request that must have one."""
    return EVERYTHING if isinstance(form, Constant) else form


def _place_in_log(token: WriteToken) -> tuple[bool, int]:
    place = token.partition("@")[0]
    return (not place.isdecimal(), int(place) if place.isdecimal() else 0)


def _merged(item: VectorItem, added: Metadata, removed: Sequence[str]) -> Metadata:
    return {key: value for key, value in item.metadata.items() if key not in removed} | dict(added)
