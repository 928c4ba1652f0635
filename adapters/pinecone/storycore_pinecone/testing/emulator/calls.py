"""One request to an index, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .refusals import Refusal

__all__ = ["Answer", "Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        operation: its name, ``upsert`` for example.
        target: the index or the namespace that the path names; empty: none.
        query: what stands behind the question mark.
        body: what was sent; empty: nothing.
        size: of the body, in bytes.
    """

    operation: str
    target: str
    query: Mapping[str, list[str]]
    body: Mapping[str, Any]  # of the wire: each operation checks what it takes
    size: int

    def text(self, name: str) -> str | None:
        """A parameter of the query."""
        values = self.query.get(name)
        return values[-1] if values else None

    def flag(self, name: str) -> bool:
        """A boolean of the body; ``False`` if there is none.

        Raises:
            Refusal: it is something else.
        """
        found = self.body.get(name)
        if found is None:
            return False
        if not isinstance(found, bool):
            raise Refusal(400, f"{name} must be a boolean")
        return found

    def namespace(self) -> object:
        """The namespace that it names, unchecked."""
        return self.body.get("namespace", self.text("namespace"))

    def ids(self) -> list[str]:
        """The ids of the records that it is about."""
        body = self.body
        found: list[object] = [body.get("id"), *(self.query.get("ids") or ())]
        found += body["ids"] if isinstance(body.get("ids"), list) else []
        vectors = body.get("vectors")
        found += [item.get("id") for item in vectors if isinstance(item, dict)] if isinstance(vectors, list) else []
        return [item for item in found if isinstance(item, str)]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; ``body`` goes over the wire as JSON, ``None`` as nothing."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
