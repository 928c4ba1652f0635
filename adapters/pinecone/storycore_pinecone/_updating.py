"""Updates by filter in requests of the service, each of which changes a part where very many match."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from pinecone import UpdateResponse

from storycore.errors import Effect, StorycoreError, Unavailable, Unsupported
from storycore.ports.filters import And, Eq, Not
from storycore.ports.vectors import Metadata
from storycore_pinecone._calls import Calls, in_part, unless_missing
from storycore_pinecone._client import OneIndex, space_of
from storycore_pinecone.filters import Compiled, compiled
from storycore_pinecone.freshness import Freshness

__all__ = ["update_matching"]

_AT_ONCE: Final = 100_000
"""Records that one request changes (Pinecone: "Update records", limitations)."""
_STALLED: Final = 20
_PAUSE_SECONDS: Final = 0.25


async def update_matching(
    index: OneIndex,
    calls: Calls,
    freshness: Freshness,
    namespace: str,
    *,
    form: Mapping[str, object],
    added: Metadata,
) -> UpdateResponse | None:
    """Merge into the metadata of all items that match, with as many requests as that takes.

    Args:
        index: the client.
        calls: sends requests.
        freshness: waits until the next request is about what the one before has left.
        namespace: whose items.
        form: the filter in the service's words.
        added: what is merged.

    Returns:
        The answer to the last request; ``None``: there is no such namespace.

    Raises:
        Unavailable: the items that are left do not become fewer.
        Unsupported: one request does not do, and ``added`` has a list: which items hold exactly it cannot be asked.
    """

    async def send(filter_: Mapping[str, object]) -> UpdateResponse | None:
        request = partial(index.update, filter=filter_, set_metadata=dict(added), namespace=space_of(namespace))
        return await calls.send(unless_missing(request), writes=True)

    answer, stalled = await send(form), 0
    while answer is not None and (matched := answer.matched_records or 0) > _AT_ONCE:
        try:
            await freshness.reached(namespace)
            answer = await send({"$and": [form, _unlike(added)]})
        except StorycoreError as error:
            in_part(error)
            raise
        if answer is not None and (answer.matched_records or 0) >= matched:
            stalled += 1
            if stalled == _STALLED:
                raise Unavailable(
                    f"{calls.place} still finds {matched} items that were to be changed; repeat the update.",
                    effect=Effect.UNKNOWN,
                )
            await asyncio.sleep(_PAUSE_SECONDS)
    return answer


def _unlike(added: Metadata) -> Compiled:
    """The filter that matches what an update has not changed yet."""
    scalars = tuple(Eq(key, value) for key, value in added.items() if isinstance(value, (str, bool, int, float)))
    if len(scalars) < len(added):
        raise Unsupported("Pinecone cannot be asked which items hold exactly a list.", feature="vectors")
    return compiled(Not(And(scalars)), {})
