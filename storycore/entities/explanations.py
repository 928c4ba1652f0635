"""Explanations: what an operation will do and cost, told before it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

from storycore.entities.costs import query_cost
from storycore.entities.patterns import Pattern
from storycore.entities.reading import Source
from storycore.entities.shards import chunk_length
from storycore.entities.walks import LONGEST_PAGE, first_read_length
from storycore.errors import InvalidArgument
from storycore.ports.entities import Key, QueryPlan
from storycore.ports.item_size import ITEM_BYTES

__all__ = ["Explanation", "check_assumptions", "explain_query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What an operation does and costs.

    Args:
        operation: ``query``, ``get``, ``put``, ``patch`` or ``delete``.
        kind: of the entity, or the kinds of a collection.
        index: the access pattern's name, ``""`` for the table itself.
        keys: the record keys that are read or written.
        plans: what is asked of the store, one for each shard.
        consistent: whether it sees every write that returned before.
        requests: how many requests production needs.
        records: how many records are read.
        read_units: capacity units of reading.
        write_units: capacity units of writing, those of the indexes included.
        assumed: what had to be assumed, by name.
        notes: what else is worth knowing, one sentence each.
        native: the store's own account of the first plan, where it gives one: its request, or its query plan.
    """

    operation: str
    kind: str
    index: str = ""
    keys: Sequence[Key] = ()
    plans: Sequence[QueryPlan] = ()
    consistent: bool
    requests: int
    records: int = 0
    read_units: float = 0.0
    write_units: int = 0
    assumed: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    native: Mapping[str, object] | None = None

    def as_dict(self) -> dict[str, Any]:  # values that JSON knows
        """All of it as plain values."""
        return asdict(self)


async def explain_query(
    source: Source[Any],
    pattern: Pattern,
    plans: Sequence[QueryPlan],
    *,
    limit: int,
    is_filtered: bool,
    item_bytes: int,
    matches: float,
    native: bool,
) -> Explanation:
    """What a page of a query does and costs.

    Raises:
        InvalidArgument: ``item_bytes`` or ``matches`` is out of range.
    """
    check_assumptions(item_bytes, matches)
    wanted = min(limit, LONGEST_PAGE) + 1
    read = max(ceil(wanted / matches), first_read_length(wanted)) if is_filtered else wanted
    length = min(read, LONGEST_PAGE)
    if len(plans) > 1:
        length = chunk_length(length, len(plans))
        read = max(length, chunk_length(read, len(plans)))
    asked = [replace(plan, limit=length) for plan in plans]
    cost = query_cost([read] * len(plans), item_bytes, consistent=plans[0].consistent)
    store = source.store
    told = native and store.capabilities.has("entities.explain")
    return Explanation(
        operation="query",
        kind=source.kind,
        index=pattern.name,
        plans=asked,
        consistent=plans[0].consistent,
        requests=cost.requests,
        records=cost.records,
        read_units=cost.units,
        assumed={"item_bytes": item_bytes, **({"matches": matches} if is_filtered else {})},
        notes=_query_notes(source, plans, is_filtered),
        native=await store.explain(asked[0]) if told else None,
    )


def check_assumptions(item_bytes: object, matches: object) -> None:
    """Raise ``InvalidArgument`` unless a record can be so large, and such a share can match."""
    if isinstance(item_bytes, bool) or not isinstance(item_bytes, int) or not 1 <= item_bytes <= ITEM_BYTES:
        raise InvalidArgument(f"item_bytes is 1 to {ITEM_BYTES}, not {item_bytes!r}.")
    if isinstance(matches, bool) or not isinstance(matches, int | float) or not 0 < matches <= 1:
        raise InvalidArgument(f"matches is a share above 0 and up to 1, not {matches!r}.")


def _query_notes(source: Source[Any], plans: Sequence[QueryPlan], is_filtered: bool) -> list[str]:
    notes = []
    if plans[0].slot is not None:
        notes.append("The index may lag behind writes that have just returned.")
    if len(plans) > 1:
        notes.append(f"Each of the {len(plans)} shards is asked, at the same time.")
    if is_filtered:
        notes.append("What the filter leaves out is read and paid for.")
    if not source.bodies:
        notes.append("Leaving the bodies out makes answers smaller, not cheaper in read units.")
    if len(source.entities) > 1:
        notes.append("Records of other kinds in the partition are read, paid for and passed over.")
    return notes
