"""The namespaces of an index: create, describe, list, delete."""

from __future__ import annotations

from .calls import Answer, Call
from .catalog import Index
from .knobs import Knobs
from .limits import DEFAULT_PAGE, MAX_LIST
from .namespaces import Namespace
from .pages import page, page_size, pagination
from .records import namespace_of
from .refusals import Refusal

__all__ = ["Spaces"]


class Spaces:
    """The calls about namespaces. Here the wire has names with underscores, in the vectors API it has none."""

    def create(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """A namespace without records."""
        name = namespace_of(call.body.get("name"))
        if name in index.spaces:
            raise Refusal(409, f"Namespace {name} already exists")
        index.space(name).schema = call.body.get("schema")
        return Answer(status=201, body=_described(name, index.spaces[name]))

    def describe(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """One namespace."""
        name = namespace_of(call.target)
        return Answer(body=_described(name, _known(index, name)))

    def list(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """Namespaces, in bitwise order."""
        size = page_size(call.text("limit"), default=DEFAULT_PAGE, most=MAX_LIST)
        prefix = call.text("prefix") or ""
        names = [name for name in index.spaces if name.startswith(prefix)]
        found, token = page(names, call.text("paginationToken"), size)
        described = [_described(name, index.spaces[name]) for name in found]
        return Answer(body={"namespaces": described, "total_count": len(names), **pagination(token)})

    def delete(self, index: Index, call: Call, knobs: Knobs) -> Answer:
        """A namespace with all its records."""
        name = namespace_of(call.target)
        index.past[name] = _known(index, name).lsn
        del index.spaces[name]
        return Answer(status=202, body={})


def _known(index: Index, name: str) -> Namespace:
    if name not in index.spaces:
        raise Refusal(404, "Namespace not found")
    return index.spaces[name]


def _described(name: str, space: Namespace) -> dict[str, object]:
    found: dict[str, object] = {"name": name, "record_count": len(space.read())}
    if space.schema is not None:
        found["schema"] = space.schema
    return found
