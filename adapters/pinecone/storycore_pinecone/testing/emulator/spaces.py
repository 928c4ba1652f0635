"""The namespaces of an index: create, describe, list, delete."""

from __future__ import annotations

from .calls import Answer, Call
from .catalog import Index
from .knobs import Knobs
from .limits import DEFAULT_PAGE, MAX_LIST, MAX_NAMESPACE_FIELDS
from .namespaces import Namespace
from .pages import page, page_size, pagination
from .records import checked_prefix, namespace_of
from .refusals import Refusal

__all__ = ["Spaces"]


class Spaces:
    """The calls about namespaces. Here the wire has names with underscores, in the vectors API it has none."""

    def create(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """A namespace without records. The default one is always there."""
        name = namespace_of(call.body.get("name"))
        schema = _checked_schema(call.body.get("schema"))
        if index.existing(name) is not None:
            raise Refusal(409, f"Namespace {name} already exists")
        index.space(name).schema = schema
        return Answer(body=_described(name, index.spaces[name]))

    def describe(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """One namespace."""
        name = namespace_of(call.target)
        return Answer(body=_described(name, _known(index, name)))

    def list(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Namespaces, in bitwise order."""
        size = page_size(call.text("limit"), default=DEFAULT_PAGE, most=MAX_LIST)
        prefix = checked_prefix(call.text("prefix"))
        names = [name for name in index.spaces if name.startswith(prefix)]
        found, token = page(names, call.text("paginationToken"), size)
        described = [_described(name, index.spaces[name]) for name in found]
        return Answer(body={"namespaces": described, "total_count": len(names), **pagination(token)})

    def delete(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """A namespace with all its records."""
        name = namespace_of(call.target)
        index.past[name] = _known(index, name).lsn
        del index.spaces[name]
        return Answer(body={})


def _known(index: Index, name: str) -> Namespace:
    space = index.existing(name)
    if space is None:
        raise Refusal(404, "Namespace not found")
    return space


def _checked_schema(found: object) -> object:
    """Which fields are filterable. It is kept and told; filters go by every field all the same."""
    if found is None:
        return None
    fields = found.get("fields") if isinstance(found, dict) else None
    if not isinstance(fields, dict) or len(fields) > MAX_NAMESPACE_FIELDS:
        raise Refusal(400, f"schema.fields must be an object of at most {MAX_NAMESPACE_FIELDS} fields")
    for name, settings in fields.items():
        if settings != {"filterable": True}:
            raise Refusal(400, f"Field '{name}' is set to filterable: false. Only filterable: true is supported.")
    return found


def _described(name: str, space: Namespace) -> dict[str, object]:
    """Counts are 64-bit integers as decimal strings, as the vendor's definition says."""
    records = space.read().values()
    size = sum(record.values.nbytes for record in records)
    found: dict[str, object] = {"name": name, "record_count": str(len(records)), "size_bytes": str(size)}
    fields = {field for record in records for field in record.metadata}
    found["indexed_fields"] = {"fields": sorted(fields)}
    if space.schema is not None:
        found["schema"] = space.schema
    return found
