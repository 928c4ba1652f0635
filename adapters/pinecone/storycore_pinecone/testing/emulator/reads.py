"""What reads the records of an index: query, fetch, fetch by metadata, list, statistics."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from .calls import Answer, Call
from .catalog import Index
from .filters import Test, compiled
from .knobs import Knobs
from .limits import DEFAULT_PAGE, MAX_FETCH_PAGE, MAX_IDS, MAX_LIST, MAX_RESULT_BYTES, MAX_TOP_K
from .namespaces import Namespace
from .pages import page, page_size, pagination
from .records import Floats, Record, checked_id, checked_prefix, checked_values, namespace_of
from .refusals import Refusal
from .scoring import Ranking

__all__ = ["Reads"]

_USAGE = {"readUnits": 1}


class Reads:
    """The reading calls of the vectors API."""

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking

    def query(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """The nearest records."""
        space, seen, name = _seen(index, call)
        body = call.body
        top_k = body.get("topK")
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
            raise Refusal(400, f"topK must be between 1 and {MAX_TOP_K}, got {top_k}")
        if body.get("sparseVector") is not None:
            raise Refusal(400, "Index configuration does not support sparse values")
        wanted = _wanted(index, call, seen)
        test = None if body.get("filter") is None else _test(body["filter"], knobs)
        values, metadata = call.flag("includeValues"), call.flag("includeMetadata")
        found: list[tuple[Record, float]] = []
        if space is not None and wanted is not None:
            found = self._ranking.nearest(space, wanted, metric=index.metric, top_k=top_k, test=test, knobs=knobs)
        matches = [{**record.body(values=values, metadata=metadata), "score": score} for record, score in found]
        if len(orjson.dumps(matches)) > MAX_RESULT_BYTES:
            raise Refusal(400, "Query result size exceeds 4MB; lower topK, or leave out values or metadata")
        return Answer(body={"matches": matches, "namespace": name, "usage": _USAGE})

    def fetch(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Records by id; ids without a record are left out."""
        ids = [checked_id(item) for item in call.query.get("ids", [])]
        if not 1 <= len(ids) <= MAX_IDS:
            raise Refusal(400, f"Between 1 and {MAX_IDS} IDs can be fetched at once, got {len(ids)}")
        _, seen, name = _seen(index, call)
        vectors = {key: seen[key].body() for key in ids if key in seen}
        return Answer(body={"vectors": vectors, "namespace": name, "usage": _USAGE})

    def fetch_by_metadata(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Records that a filter holds for."""
        size = page_size(call.body.get("limit"), default=DEFAULT_PAGE, most=MAX_FETCH_PAGE)
        if not call.body.get("filter"):
            raise Refusal(400, "filter must not be empty")
        test = _test(call.body["filter"], knobs)
        _, seen, name = _seen(index, call)
        found = [key for key, record in seen.items() if test(record.metadata)]
        keys, token = page(found, call.body.get("paginationToken"), size)
        vectors = {key: seen[key].body() for key in keys}
        return Answer(body={"vectors": vectors, "namespace": name, "usage": _USAGE, **pagination(token)})

    def list(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Ids, in bitwise order."""
        size = page_size(call.text("limit"), default=DEFAULT_PAGE, most=MAX_LIST)
        _, seen, name = _seen(index, call)
        prefix = checked_prefix(call.text("prefix"))
        keys, token = page([key for key in seen if key.startswith(prefix)], call.text("paginationToken"), size)
        vectors = [{"id": key} for key in keys]
        return Answer(body={"vectors": vectors, "namespace": name, "usage": _USAGE, **pagination(token)})

    def stats(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """How many records there are."""
        if call.body.get("filter"):
            raise Refusal(400, "Serverless indexes do not support describing index stats with metadata filtering")
        counts = {name: len(space.read()) for name, space in sorted(index.spaces.items())}
        namespaces = {name: {"vectorCount": count} for name, count in counts.items()}
        total = sum(counts.values())
        shape: dict[str, object] = {} if index.has_documents else {"dimension": index.dimension, "metric": index.metric}
        return Answer(
            body={
                "namespaces": namespaces,
                "indexFullness": 0.0,
                "totalVectorCount": total,
                "vectorType": "dense",
                **shape,
            }
        )


def _seen(index: Index, call: Call) -> tuple[Namespace | None, Mapping[str, Record], str]:
    """The namespace of a call, what it sees of it, and its name. An unknown namespace is empty."""
    name = namespace_of(call.namespace())
    space = None if index.has_documents else index.spaces.get(name)
    return space, {} if space is None else space.read(), name


def _wanted(index: Index, call: Call, seen: Mapping[str, Record]) -> Floats | None:
    """The vector that is asked about; ``None``: that of a record which is not there."""
    vector, key = call.body.get("vector"), call.body.get("id")
    if (vector is None or vector == []) == (key is None):
        raise Refusal(400, "Query must have exactly one of vector and id")
    if key is not None:
        record = seen.get(checked_id(key))
        return None if record is None else record.values
    return None if index.has_documents else checked_values(vector, index.dimension, "The query vector")


def _test(condition: object, knobs: Knobs) -> Test:
    return compiled(condition, missing=knobs.missing)
