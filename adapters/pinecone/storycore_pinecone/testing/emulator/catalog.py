"""The indexes: create, describe, list, configure, delete, as the control plane does."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from .knobs import Knobs
from .limits import MAX_DIMENSION, MAX_FIELD_NAME_BYTES, MAX_INDEX_NAME_CHARS, MAX_TAG_CHARS, MAX_TAGS
from .namespaces import Namespace
from .records import DEFAULT_NAMESPACE
from .refusals import Refusal

__all__ = ["Catalog", "Index"]

_DENSE: Final = "_values"
_RESERVED: Final = {_DENSE: "dense_vector", "_sparse_values": "sparse_vector"}
_METRICS: Final = ("cosine", "dotproduct", "euclidean")
_CLOUDS: Final = ("aws", "gcp", "azure")
_TYPES: Final = ("dense_vector", "sparse_vector", "string")
_CONFIGURE: Final = frozenset({"schema", "deployment", "read_capacity", "tags", "deletion_protection"})
_CREATE: Final = _CONFIGURE | {"name", "cmek_id"}
_TAG_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_TAG_VALUE: Final = re.compile(r"[ -~]*")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ON_DEMAND: Final = {"mode": "OnDemand", "status": {"state": "Ready", "current_replicas": None, "current_shards": None}}
_MANAGED: Final = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}


@dataclass(slots=True, eq=False)
class Index:
    """One index.

    Attributes:
        name: of it.
        schema: as it was sent.
        deployment: as it was sent.
        protected: whether it refuses to be deleted.
        tags: of it.
        spaces: its namespaces, by name.
        past: the last position in the log of each namespace that was deleted.
        waiting: how many descriptions say that it is not ready.
        leaving: how many descriptions still find it although it was deleted; ``None``: it was not.
    """

    name: str
    schema: dict[str, Any]  # of the wire: checked where it came in
    deployment: dict[str, object]
    protected: bool
    tags: dict[str, str]
    waiting: int
    leaving: int | None = None
    spaces: dict[str, Namespace] = field(default_factory=dict)
    past: dict[str, int] = field(default_factory=dict)

    @property
    def has_documents(self) -> bool:
        """Whether its fields have names of their own, so that the vectors API is not for it."""
        return not set(self.schema["fields"]) <= set(_RESERVED)

    @property
    def dimension(self) -> int:
        """Of its dense vectors; 0: it has none."""
        return int(self.schema["fields"].get(_DENSE, {}).get("dimension", 0))

    @property
    def metric(self) -> str:
        """Of its dense vectors."""
        return str(self.schema["fields"].get(_DENSE, {}).get("metric", "cosine"))

    @property
    def state(self) -> str:
        """As a description tells it."""
        if self.leaving is not None:
            return "Terminating"
        return "Initializing" if self.waiting else "Ready"

    def existing(self, name: str) -> Namespace | None:
        """The namespace of that name; the default one is always there."""
        return self.space(name) if name == DEFAULT_NAMESPACE else self.spaces.get(name)

    def space(self, name: str) -> Namespace:
        """The namespace of a write: it is there from now on."""
        if name not in self.spaces:
            self.spaces[name] = Namespace(self.past.pop(name, 0))
        return self.spaces[name]


class Catalog:
    """All indexes.

    Args:
        address: of the server, ``http://host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._indexes: dict[str, Index] = {}

    def serving(self, name: str) -> Index:
        """The index that serves its own address.

        Raises:
            Refusal: there is none, or it is not ready.
        """
        index = self._indexes.get(name)
        if index is None or index.leaving is not None:
            raise Refusal(404, f"Index {name} not found.")
        if index.waiting:
            raise Refusal(503, f"Index {name} is not ready")
        return index

    def create(self, body: dict[str, Any], knobs: Knobs) -> dict[str, object]:
        """A new index, described."""
        if unknown := set(body) - _CREATE:
            raise Refusal(422, f"Failed to deserialize the JSON body: unknown field `{min(unknown)}`")
        name = body.get("name") or f"index-{uuid.uuid4().hex[:8]}"
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_INDEX_NAME_CHARS:
            raise Refusal(
                400,
                "Index name must contain only lowercase alphanumeric characters or hyphens, must not begin or end with "
                f"a hyphen, and must be at most {MAX_INDEX_NAME_CHARS} characters long",
            )
        if name in self._indexes:
            raise Refusal(409, "Resource already exists.")
        self._indexes[name] = Index(
            name=name,
            schema=_checked_schema(body.get("schema")),
            deployment=_checked_deployment(body.get("deployment")),
            protected=_is_protected(body.get("deletion_protection"), default=False),
            tags=_checked_tags(body.get("tags"), {}),
            waiting=knobs.ready_after_describes,
        )
        return self._described(self._indexes[name])

    def describe(self, name: str) -> dict[str, object]:
        """One index. Each description brings it nearer to being ready, or to being gone."""
        found = self._described(self._known(name))
        self._grow(self._indexes[name])
        return found

    def list(self) -> dict[str, object]:
        """All indexes, in the order of their names."""
        return {"indexes": [self._described(self._indexes[name]) for name in sorted(self._indexes)]}

    def configure(self, name: str, body: dict[str, Any]) -> dict[str, object]:
        """Change protection and tags, which is all that the API changes of such an index."""
        index = self._known(name)
        if unknown := set(body) - _CONFIGURE:
            raise Refusal(422, f"Failed to deserialize the JSON body: unknown field `{min(unknown)}`")
        if body.get("schema") is not None:
            raise Refusal(400, "The schema of an index cannot be changed")
        if body.get("deployment") is not None:
            raise Refusal(400, "The deployment of a managed index cannot be changed")
        index.protected = _is_protected(body.get("deletion_protection"), default=index.protected)
        index.tags = _checked_tags(body.get("tags"), index.tags)
        return self._described(index)

    def delete(self, name: str, knobs: Knobs) -> None:
        """Delete an index."""
        index = self._known(name)
        if index.protected:
            raise Refusal(
                403, "Deletion protection is enabled for this index. Disable deletion protection before retrying."
            )
        index.leaving = knobs.gone_after_describes
        if not index.leaving:
            del self._indexes[name]

    def settle(self) -> None:
        """Let reads see every write, and indexes be ready or gone."""
        for index in list(self._indexes.values()):
            index.waiting = 0
            for space in index.spaces.values():
                space.settle()
            if index.leaving is not None:
                del self._indexes[index.name]

    def reset(self) -> None:
        """Forget everything."""
        self._indexes.clear()

    def _known(self, name: str) -> Index:
        if name not in self._indexes:
            raise Refusal(404, f"Index {name} not found.")
        return self._indexes[name]

    def _grow(self, index: Index) -> None:
        index.waiting = max(0, index.waiting - 1)
        if index.leaving is not None:
            index.leaving -= 1
            if index.leaving <= 0:
                del self._indexes[index.name]

    def _described(self, index: Index) -> dict[str, object]:
        return {
            "name": index.name,
            "host": f"{self._address}/i/{index.name}",
            "status": {"ready": index.state == "Ready", "state": index.state},
            "schema": index.schema,
            "deployment": index.deployment,
            "read_capacity": _ON_DEMAND,
            "deletion_protection": "enabled" if index.protected else "disabled",
            "tags": index.tags or None,
        }


def _checked_schema(found: object) -> dict[str, Any]:
    """The schema of a new index, by the description of "CreateIndexSchema" in the vendor's definition."""
    fields = found.get("fields") if isinstance(found, dict) else None
    if not isinstance(fields, dict) or not fields:
        raise Refusal(400, "schema.fields must name at least one field")
    for name, settings in fields.items():
        _check_field(name, settings)
    types = [settings["type"] for settings in fields.values()]
    if types.count("dense_vector") > 1 or types.count("sparse_vector") > 1:
        raise Refusal(400, "A schema has at most one dense_vector and one sparse_vector field")
    if any(name.startswith("_") for name in fields) and any(
        _RESERVED.get(name) != settings["type"] for name, settings in fields.items()
    ):
        raise Refusal(400, "Field names that start with _ are reserved: _values and _sparse_values stand alone")
    return {"fields": fields}


def _check_field(name: str, settings: object) -> None:
    if not isinstance(settings, dict) or settings.get("type") not in _TYPES:
        raise Refusal(400, f"The type of field {name} must be one of {', '.join(_TYPES)}")
    if not 0 < len(name.encode()) <= MAX_FIELD_NAME_BYTES or name.startswith("$"):
        raise Refusal(400, f"A field name has 1 to {MAX_FIELD_NAME_BYTES} bytes and does not start with $")
    if settings["type"] == "string" and not isinstance(settings.get("full_text_search"), dict):
        raise Refusal(400, f"The string field {name} needs full_text_search; metadata is not declared")
    if settings["type"] == "dense_vector":
        _check_dense(name, settings)


def _check_dense(name: str, settings: dict[str, object]) -> None:
    for needed in ("dimension", "metric"):
        if needed not in settings:
            raise Refusal(422, f"Failed to deserialize the JSON body into the target type: missing field `{needed}`")
    dimension, metric = settings["dimension"], settings["metric"]
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 1 <= dimension <= MAX_DIMENSION:
        raise Refusal(400, f"The dimension of field {name} must be between 1 and {MAX_DIMENSION}, got {dimension}")
    if metric not in _METRICS:
        raise Refusal(400, f"The metric of field {name} must be one of {', '.join(_METRICS)}, got {metric}")


def _checked_deployment(found: object) -> dict[str, object]:
    if found is None:
        return dict(_MANAGED)
    if not isinstance(found, dict) or found.get("deployment_type") != "managed":
        raise Refusal(400, "This emulator has managed deployments alone")
    if not all(isinstance(found.get(name), str) and found[name] for name in ("cloud", "region")):
        raise Refusal(400, "A managed deployment needs cloud and region")
    if unknown := set(found) - set(_MANAGED):
        raise Refusal(422, f"Failed to deserialize the JSON body: unknown field `{min(unknown)}`")
    if found["cloud"] not in _CLOUDS:
        raise Refusal(404, f"Resource cloud: {found['cloud']} region: {found['region']} not found.")
    return found


def _is_protected(found: object, *, default: bool) -> bool:
    if found not in (None, "enabled", "disabled"):
        raise Refusal(400, "deletion_protection must be enabled or disabled")
    return default if found is None else found == "enabled"


def _checked_tags(found: object, known: dict[str, str]) -> dict[str, str]:
    """The tags with the new ones; an empty value takes one away."""
    if found is None:
        return known
    longest_key, longest_value = MAX_TAG_CHARS
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Refusal(400, "tags must be strings")
    for name, value in found.items():
        if len(name) > longest_key or len(value) > longest_value:
            raise Refusal(400, f"The key of a tag has at most {longest_key} characters, its value {longest_value}")
        if not _TAG_KEY.fullmatch(name) or not _TAG_VALUE.fullmatch(value):
            raise Refusal(400, f"The tag {name!r} has a character that tags do not have")
    tags = {name: value for name, value in {**known, **found}.items() if value}
    if len(tags) > MAX_TAGS:
        raise Refusal(400, f"An index has at most {MAX_TAGS} tags")
    return tags
