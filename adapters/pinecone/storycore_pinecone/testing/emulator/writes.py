"""What changes the records of an index: upsert, update, delete."""

from __future__ import annotations

from .calls import Answer, Call
from .catalog import Index
from .filters import compiled
from .knobs import Knobs
from .limits import MAX_IDS, MAX_REQUEST_BYTES, MAX_UPDATED, MAX_UPSERT_RECORDS
from .namespaces import Changes, Namespace
from .records import Record, checked_id, checked_metadata, checked_values, namespace_of
from .refusals import Refusal

__all__ = ["Writes"]


class Writes:
    """The writing calls of the vectors API. Each is all or nothing, and one position in the log of its namespace."""

    def upsert(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Store records, each in the place of what was there."""
        _refuse_documents(index)
        if call.size > MAX_REQUEST_BYTES:
            size = -(-call.size // 1_000_000)
            raise Refusal(400, f"Request size {size}MB exceeds the maximum supported size of 2MB")
        vectors = call.body.get("vectors")
        if not isinstance(vectors, list) or not 1 <= len(vectors) <= MAX_UPSERT_RECORDS:
            raise Refusal(400, f"Between 1 and {MAX_UPSERT_RECORDS} vectors can be upserted at once")
        changes = {record.id: record for record in (_record(index, item) for item in vectors)}
        space = index.space(namespace_of(call.namespace()))
        return _written(space, changes, knobs, {"upsertedCount": len(vectors)})

    def update(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Change one record, or the metadata of all that a filter holds for."""
        _refuse_documents(index)
        if call.body.get("sparseValues") is not None:
            raise Refusal(400, "Index configuration does not support sparse values")
        key, condition = call.body.get("id"), call.body.get("filter")
        if (key is None) == (condition is None):
            raise Refusal(400, "Update must have exactly one of id and filter")
        metadata = checked_metadata(call.body.get("setMetadata"))
        if condition is not None:
            return self._update_by_filter(index, call, metadata, knobs)
        space = index.spaces.get(namespace_of(call.namespace()))
        found = None if space is None else space.committed.get(checked_id(key))
        values = call.body.get("values")
        named = f"Vector ID '{key}'"
        fresh = None if values is None or values == [] else checked_values(values, index.dimension, named)
        if space is None or found is None:
            return Answer(body={})
        record = Record(found.id, found.values if fresh is None else fresh, _merged(found, metadata))
        return _written(space, {found.id: record}, knobs, {})

    def delete(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Delete records by id, by filter, or all. Ids without a record are passed over."""
        _refuse_documents(index)
        ids, condition, everything = call.body.get("ids"), call.body.get("filter"), call.flag("deleteAll")
        if sum((bool(ids), condition is not None, everything)) != 1:
            raise Refusal(400, "Delete must have exactly one of ids, filter and deleteAll")
        test = None if condition is None else compiled(_nonempty(condition), missing=knobs.missing)
        keys = _ids(ids) if ids else []
        name = namespace_of(call.namespace())
        space = index.existing(name)
        if space is None:
            if knobs.delete_in_unknown_namespace == "refuse":
                raise Refusal(404, "Namespace not found")
            return Answer(body={})
        if test is not None:
            keys = [key for key, record in space.committed.items() if test(record.metadata)]
        chosen = list(space.committed) if everything else keys
        return _written(space, dict.fromkeys(chosen), knobs, {})

    def _update_by_filter(self, index: Index, call: Call, metadata: dict[str, object], knobs: Knobs) -> Answer:
        if call.body.get("values"):
            raise Refusal(400, "Update by filter changes metadata alone")
        if not metadata and not call.flag("dryRun"):
            raise Refusal(400, "Update by filter needs setMetadata")
        test = compiled(_nonempty(call.body["filter"]), missing=knobs.missing)
        space = index.spaces.get(namespace_of(call.namespace()))
        if space is None:
            return Answer(body={"matchedRecords": 0})
        if call.flag("dryRun"):
            return Answer(body={"matchedRecords": sum(test(record.metadata) for record in space.read().values())})
        found = [record for record in space.committed.values() if test(record.metadata)]
        changed = found[:MAX_UPDATED]
        changes = {record.id: Record(record.id, record.values, _merged(record, metadata)) for record in changed}
        return _written(space, changes, knobs, {"matchedRecords": len(found)})


def _written(space: Namespace, changes: Changes, knobs: Knobs, body: dict[str, object]) -> Answer:
    return Answer(body=body, headers=lsn_header("written", space.write(changes, knobs), knobs))


def lsn_header(kind: str, lsn: int, knobs: Knobs) -> dict[str, str]:
    """The header with a position in the log, of a write or of a read, by the names that the knobs choose.

    The page "Check data freshness" has the first names; the SDK tells of the second ones for the vectors API.
    """
    names = {
        "documented": {"written": "x-pinecone-request-lsn", "read": "x-pinecone-max-indexed-lsn"},
        "vectors": {"written": "x-pinecone-lsn-committed", "read": "x-pinecone-lsn-reconciled"},
        "none": {},
    }[knobs.lsn_headers]
    return {names[kind]: str(lsn)} if kind in names else {}


def _record(index: Index, item: object) -> Record:
    if not isinstance(item, dict):
        raise Refusal(400, "A vector must be an object")
    if item.get("sparseValues") is not None:
        raise Refusal(400, "Index configuration does not support sparse values")
    key = checked_id(item.get("id"))
    values = checked_values(item.get("values"), index.dimension, f"Vector ID '{key}'")
    return Record(key, values, checked_metadata(item.get("metadata")))


def _merged(record: Record, metadata: dict[str, object]) -> dict[str, object]:
    """The metadata with what is set; the limit holds for the whole."""
    return checked_metadata({**record.metadata, **metadata})


def _ids(found: object) -> list[str]:
    if not isinstance(found, list) or len(found) > MAX_IDS:
        raise Refusal(400, f"At most {MAX_IDS} IDs can be deleted at once")
    return [checked_id(item) for item in found]


def _nonempty(condition: object) -> object:
    if not condition:
        raise Refusal(400, "filter must not be empty")
    return condition


def _refuse_documents(index: Index) -> None:
    if index.has_documents:
        raise Refusal(400, "This index has a document schema: records are written through the documents API")
